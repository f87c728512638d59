"""The contract of training crops: shapes, exactness in known regions, repeatability, bad folders."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.data import crops
from mematte.data.crops import CropSource
from mematte.errors import ImageFileError, InputError

MakePictures = Callable[[Path], tuple[Path, Path]]
MakeSource = Callable[[tuple[Path, Path]], CropSource]


@pytest.mark.parametrize("size_px", [64, 224])
def test_a_crop_has_the_promised_shapes_and_levels(source: CropSource, size_px: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        crop = source.sample(rng, size_px)
        assert crop.image.shape == (size_px, size_px, 3)
        assert crop.image.dtype == np.uint8
        assert crop.alpha.shape == crop.trimap.shape == (size_px, size_px)
        assert crop.alpha.dtype == np.float32
        assert crop.trimap.dtype == np.uint8
        assert crop.alpha.min() >= 0
        assert crop.alpha.max() <= 1
        assert set(np.unique(crop.trimap)) <= {0, 128, 255}


@pytest.mark.parametrize("seed", range(3))
def test_alpha_is_exact_where_the_trimap_knows(source: CropSource, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(25):
        crop = source.sample(rng, 96)
        assert (crop.alpha[crop.trimap == 0] == 0).all()
        assert (crop.alpha[crop.trimap == 255] == 1).all()


def test_most_crops_have_something_unknown(source: CropSource) -> None:
    rng = np.random.default_rng(0)
    unknown = [(source.sample(rng, 96).trimap == 128).mean() for _ in range(40)]
    assert np.mean(np.array(unknown) > 0.04) > 0.9
    assert 0.1 < np.mean(unknown) < 0.8


def test_the_same_seed_and_order_give_the_same_crops(
    folders: tuple[Path, Path], make_source: MakeSource
) -> None:
    first, second = make_source(folders), make_source(folders)
    rngs = [np.random.default_rng([7, 3]) for _ in range(2)]
    for _ in range(15):
        one, two = first.sample(rngs[0], 80), second.sample(rngs[1], 80)
        assert (one.image == two.image).all()
        assert (one.alpha == two.alpha).all()
        assert (one.trimap == two.trimap).all()


def test_sampling_does_not_touch_global_random_state(source: CropSource) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    source.sample(np.random.default_rng(0), 64)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


def test_image_is_the_composite_of_its_alpha(
    folders: tuple[Path, Path], make_source: MakeSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known foreground shows the foreground's colour only, known background none of it."""
    for name in ("PROCEDURAL_SHARE", "MERGE_CHANCE", "PHOTOGRAPH_CHANCE", "RIM_CHANCE"):
        monkeypatch.setattr(crops, name, 0.0)
    for name in ("SHADOW_CHANCE", "CLUTTER_CHANCE", "SIMILAR_CHANCE"):
        monkeypatch.setattr(crops, name, 0.0)
    plain, grey = (200, 90, 40), 128
    monkeypatch.setattr(crops.compose, "jitter_colour", lambda picture, *_: picture)
    monkeypatch.setattr(crops.compose, "degrade", lambda picture, _: picture)
    monkeypatch.setattr(
        CropSource,
        "_background",
        lambda _self, _rng, size_px, _front: np.full((size_px, size_px, 3), grey, np.uint8),
    )
    source, rng = make_source(folders), np.random.default_rng(0)
    for _ in range(20):
        crop = source.sample(rng, 96)
        # The channels of a foreground are sometimes exchanged: compare the sorted colours.
        expected = grey + crop.alpha[..., None] * (np.sort(plain) - grey)
        permutations = [
            crop.image[..., order]
            for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
        ]
        assert min(np.abs(image - expected).max() for image in permutations) <= 3


@pytest.mark.parametrize("which", ["fg", "bg"])
def test_an_empty_folder_says_what_was_expected(
    make_pictures: MakePictures, tmp_path: Path, which: str
) -> None:
    foregrounds, backgrounds = make_pictures(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    folders = (empty, backgrounds) if which == "fg" else (foregrounds, empty)
    with pytest.raises(InputError, match=r"no pictures in .*empty.*WebP"):
        CropSource(*folders)


@pytest.mark.parametrize("content", [b"", b"not a picture", "truncated"])
@pytest.mark.parametrize("which", ["fg", "bg"])
def test_a_damaged_file_is_named(
    make_pictures: MakePictures, tmp_path: Path, which: str, content: bytes | str
) -> None:
    folders = make_pictures(tmp_path)
    file = next((tmp_path / which).rglob("*.webp"))
    file.write_bytes(file.read_bytes()[:60] if isinstance(content, str) else content)
    with pytest.raises(ImageFileError, match=file.name):
        CropSource(*folders)


def test_a_foreground_without_alpha_is_named(make_pictures: MakePictures, tmp_path: Path) -> None:
    folders = make_pictures(tmp_path)
    cv2.imwrite(str(tmp_path / "fg" / "drawn" / "opaque.webp"), np.zeros((32, 32, 3), np.uint8))
    with pytest.raises(ImageFileError, match=r"opaque\.webp must have 4 channels"):
        CropSource(*folders)


def test_a_transparent_foreground_is_named(make_pictures: MakePictures, tmp_path: Path) -> None:
    folders = make_pictures(tmp_path)
    nothing = np.zeros((32, 32, 4), np.uint8)
    nothing[0, 0] = 1
    cv2.imwrite(str(tmp_path / "fg" / "drawn" / "nothing.webp"), nothing, [cv2.IMWRITE_WEBP_QUALITY, 101])
    with pytest.raises(ImageFileError, match=r"nothing\.webp is transparent"):
        CropSource(*folders)
