"""The contract of training crops: shapes, exactness in known regions, repeatability, bad folders."""

from __future__ import annotations

import logging
import multiprocessing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mematte.data import crops
from mematte.data.crops import Crop, CropSource
from mematte.data.photographs import Photograph
from mematte.data.procedural import MatteBank
from mematte.data.pyramid import View
from mematte.engine import scene
from mematte.errors import DataError, InputError
from mematte.image import Picture, Trimap

from .conftest import check_contract, same, write_pair

MakePictures = Callable[[Path], tuple[Path, Path]]
MakeSource = Callable[[tuple[Path, Path]], CropSource]


@pytest.mark.parametrize(("size_px", "seed"), [(64, 0), (96, 1), (96, 2), (224, 3)])
def test_a_crop_keeps_its_contract(source: CropSource, size_px: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(25):
        check_contract(source.sample(rng, size_px), size_px)


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
        assert same(one, two)


def test_a_crop_does_not_depend_on_the_crops_before_it(
    folders: tuple[Path, Path], make_source: MakeSource
) -> None:
    fresh, used = make_source(folders), make_source(folders)
    for seed in range(10):
        used.sample(np.random.default_rng(seed), 64)
    for seed in (3, 12, 17):
        one, two = (source.sample(np.random.default_rng(seed), 64) for source in (fresh, used))
        assert same(one, two)


def test_sampling_does_not_touch_global_random_state(source: CropSource) -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    source.sample(np.random.default_rng(0), 64)
    assert (np.random.get_state()[1] == before).all()  # type: ignore[index]


def test_image_is_the_composite_of_its_alpha(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known foreground shows the foreground's colour only, known background none of it."""
    for name in ("MERGE_CHANCE", "PHOTOGRAPH_CHANCE", "RIM_CHANCE"):
        monkeypatch.setattr(crops, name, 0.0)
    for name in ("LIGHT_CHANCE", "SHADOW_CHANCE", "CLUTTER_CHANCE", "SIMILAR_CHANCE"):
        monkeypatch.setattr(crops, name, 0.0)
    plain, grey = (200, 90, 40), 128
    monkeypatch.setattr(crops.compose, "jitter_colour", lambda picture, *_: picture)
    monkeypatch.setattr(crops.compose, "degrade", lambda picture, _: picture)
    monkeypatch.setattr(
        CropSource,
        "_background",
        lambda _self, _rng, size_px, *_: np.full((size_px, size_px, 3), grey, np.uint8),
    )
    source, rng = CropSource(*folders, procedural_share=0), np.random.default_rng(0)
    for _ in range(20):
        crop = source.sample(rng, 96)
        # The channels of a foreground are sometimes exchanged: compare the sorted colours.
        expected = grey + crop.alpha[..., None] * (np.sort(plain) - grey)
        permutations = [
            crop.image[..., order]
            for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))
        ]
        assert min(np.abs(image - expected).max() for image in permutations) <= 3


def test_a_crop_of_a_photograph_shows_the_photograph(
    photograph_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The photographs' red is their alpha."""
    monkeypatch.setattr(crops.compose, "jitter_colour", lambda picture, *_: picture)
    monkeypatch.setattr(crops.compose, "degrade", lambda picture, _: picture)
    source, rng = CropSource(photographs=photograph_dir, procedural_share=0), np.random.default_rng(0)
    for _ in range(40):
        crop = source.sample(rng, 96)
        assert np.abs(crop.image[..., 0] - crop.alpha * 255).max() <= 8  # alpha is cleaned
        check_contract(crop, 96)


def test_a_photographs_own_trimap_is_used_some_of_the_time(
    photograph_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = np.full((96, 96), 128, np.uint8)
    monkeypatch.setattr(crops, "make_trimap", lambda *_: made.copy())
    monkeypatch.setattr(crops, "_asks_enough", lambda *_: True)
    source, rng = CropSource(photographs=photograph_dir, procedural_share=0), np.random.default_rng(0)
    own = [bool((source.sample(rng, 96).trimap != 128).any()) for _ in range(100)]
    assert 0.2 < np.mean(own) < 0.6


def test_a_plain_photograph_is_nearly_shown_as_it_is(
    photograph_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[float]] = {"scale": [], "jitter": [], "degrade": []}
    view_of = Photograph.random_view

    def random_view(photograph: Photograph, *arguments: Any) -> View:
        view = view_of(photograph, *arguments)
        seen["scale"].append(view.scale)
        return view

    def note(name: str) -> Callable[..., Any]:
        return lambda picture, *_: seen[name].append(1) or picture

    monkeypatch.setattr(Photograph, "random_view", random_view)
    monkeypatch.setattr(crops.compose, "jitter_colour", note("jitter"))
    monkeypatch.setattr(crops.compose, "degrade", note("degrade"))
    plain = CropSource(photographs=photograph_dir, procedural_share=0, hard_share=0)
    rng = np.random.default_rng(0)
    for _ in range(200):
        plain.sample(rng, 96)

    assert 0.69 < min(seen["scale"]) < 0.75
    assert 1.3 < max(seen["scale"]) < 1.41
    assert 0.1 < len(seen["jitter"]) / 200 < 0.3
    assert 0.2 < len(seen["degrade"]) / 200 < 0.4


def test_small_photographs_are_shown_as_the_engine_shows_them(tmp_path: Path) -> None:
    write_pair(tmp_path, "one", (240, 320))
    usual = CropSource(photographs=tmp_path, procedural_share=0)
    few, many = 240 * 320, 240 * 320 + 1
    for seed in range(10):
        as_they_are, twice = (
            CropSource(photographs=tmp_path, procedural_share=0, enlarge_photographs_below=pixels).sample(
                np.random.default_rng(seed), 96
            )
            for pixels in (few, many)
        )
        large, small = (usual.sample(np.random.default_rng(seed), size_px) for size_px in (96, 48))
        for found, wanted in ((as_they_are, large), (twice, crops.enlarged(small))):
            assert same(found, wanted)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_share_of_photographs_is_the_one_asked_for(
    folders: tuple[Path, Path], photograph_dir: Path, monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    crop = CropSource(photographs=photograph_dir, procedural_share=0).sample(np.random.default_rng(0), 64)
    drawn = []
    monkeypatch.setattr(CropSource, "_photograph", lambda *_: drawn.append(1) or crop)
    monkeypatch.setattr(
        CropSource, "_object", lambda *_: (crop.image, np.rint(crop.alpha * 255).astype(np.uint8))
    )
    source, rng = CropSource(*folders, photograph_dir, photograph_share=share), np.random.default_rng(0)
    for _ in range(100):
        source.sample(rng, 64)
    assert abs(len(drawn) - 100 * share) < 15


def everything(folders: tuple[Path, Path], photograph_dir: Path, **options: Any) -> CropSource:
    """Cut-outs, photographs cut out, photographs as they are, drawings, over backgrounds."""
    foregrounds, backgrounds = folders
    bank = MatteBank(size_px=160, capacity=2)
    return CropSource([foregrounds, photograph_dir], [backgrounds], [photograph_dir], bank=bank, **options)


@pytest.mark.parametrize("memory_bytes", [0, 500_000, 1_500_000])
def test_pictures_read_on_demand_give_the_same_crops_in_any_order(
    folders: tuple[Path, Path], photograph_dir: Path, memory_bytes: int
) -> None:
    in_memory = everything(folders, photograph_dir)
    on_demand = everything(folders, photograph_dir, memory_bytes=memory_bytes)
    expected = [in_memory.sample(np.random.default_rng([3, number]), 64) for number in range(30)]
    for number in reversed(range(30)):
        assert same(on_demand.sample(np.random.default_rng([3, number]), 64), expected[number])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_makes_the_same_crops(folders: tuple[Path, Path], photograph_dir: Path) -> None:
    source = everything(folders, photograph_dir, memory_bytes=0)
    expected = [source.sample(np.random.default_rng(seed), 64) for seed in range(10)]
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def work() -> None:
        fresh = (source.sample(np.random.default_rng(seed), 64) for seed in range(10))
        sender.send([same(one, two) for one, two in zip(fresh, expected, strict=True)])

    process = context.Process(target=work)
    process.start()
    assert receiver.poll(60)
    assert receiver.recv() == [True] * 10
    process.join()


def test_one_damaged_background_among_many_is_left_out(
    make_pictures: MakePictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    foregrounds, backgrounds = make_pictures(tmp_path)
    for number in range(120):
        grey = np.full((24, 24, 3), number * 2, np.uint8)
        cv2.imwrite(str(backgrounds / "noise" / f"{number:03}.png"), grey)
    (backgrounds / "noise" / "050.png").write_bytes(b"not a picture")

    def sample_all(**options: Any) -> list[Crop]:
        source = CropSource(foregrounds, backgrounds, procedural_share=0, **options)
        return [source.sample(np.random.default_rng(seed), 48) for seed in range(150)]

    in_memory, on_demand = sample_all(), sample_all(memory_bytes=0)

    assert all(same(one, two) for one, two in zip(in_memory, on_demand, strict=True))
    named = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(named) == 2  # once by each source
    assert all("050.png" in message for message in named)


@pytest.mark.parametrize("which", ["fg", "bg", "photographs"])
@pytest.mark.parametrize("content", ["nothing", "no pictures", "no folder"])
def test_a_folder_without_pictures_is_an_error_that_names_it(
    folders: tuple[Path, Path], photograph_dir: Path, tmp_path: Path, which: str, content: str
) -> None:
    bare = tmp_path / "bare"
    if content != "no folder":
        bare.mkdir()
    if content == "no pictures":
        (bare / "notes.txt").write_text("x")
    named = {"fg": folders[0], "bg": folders[1], "photographs": photograph_dir} | {which: bare}
    with pytest.raises(DataError, match="bare"):
        CropSource(*named.values())


@pytest.mark.parametrize("content", [b"", b"not a picture", "truncated"])
@pytest.mark.parametrize("which", ["fg", "bg"])
def test_a_damaged_file_among_few_is_an_error_that_names_it(
    make_pictures: MakePictures, tmp_path: Path, which: str, content: bytes | str
) -> None:
    folders = make_pictures(tmp_path)
    file = next((tmp_path / which).rglob("*.webp"))
    file.write_bytes(file.read_bytes()[:60] if isinstance(content, str) else content)
    with pytest.raises(DataError, match=rf"(?s)1 of the 2 (fore|back)grounds cannot be used.*{file.name}"):
        CropSource(*folders)


def test_a_picture_without_alpha_among_cutouts_is_not_used_and_named(
    make_pictures: MakePictures, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folders = make_pictures(tmp_path)
    cv2.imwrite(str(tmp_path / "fg" / "drawn" / "opaque.png"), np.zeros((32, 32, 3), np.uint8))
    CropSource(*folders)
    assert ["opaque.png" in record.getMessage() for record in caplog.records] == [True]


@pytest.mark.parametrize(("level", "word"), [(0, "transparent"), (255, "opaque|not opaque")])
def test_a_foreground_without_an_edge_is_named(
    make_pictures: MakePictures, tmp_path: Path, level: int, word: str
) -> None:
    folders = make_pictures(tmp_path)
    plain = np.full((32, 32, 4), level, np.uint8)
    cv2.imwrite(str(tmp_path / "fg" / "drawn" / "plain.png"), plain)
    with pytest.raises(DataError, match=rf"plain\.png: it .*({word})"):
        CropSource(*folders)


def test_compositing_without_backgrounds_is_an_error_that_says_how_to_go_on(
    folders: tuple[Path, Path], photograph_dir: Path
) -> None:
    for sets, share in (((folders[0],), 0), ((), 0.5), (((), (), photograph_dir), 0.5)):
        with pytest.raises(DataError, match=r"as backgrounds.*procedural_share of 0"):
            CropSource(*sets, procedural_share=share)


def test_nothing_to_train_on_is_an_error(folders: tuple[Path, Path]) -> None:
    with pytest.raises(DataError, match="nothing to train on"):
        CropSource(backgrounds=folders[1], procedural_share=0)


@pytest.mark.parametrize("name", ["procedural_share", "photograph_share", "hard_share", "enlarged_share"])
@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_shares_outside_0_to_1_are_errors(folders: tuple[Path, Path], name: str, share: float) -> None:
    with pytest.raises(InputError, match=f"{name} must be from 0 to 1"):
        CropSource(*folders, **{name: share})


def test_drawings_alone_need_only_backgrounds(folders: tuple[Path, Path]) -> None:
    source = CropSource(backgrounds=folders[1], bank=MatteBank(size_px=160, capacity=2))
    assert (source.sample(np.random.default_rng(0), 64).trimap == 128).any()


def test_plain_composites_stand_out_more_than_hard_ones(folders: tuple[Path, Path]) -> None:
    def unknown_and_noise(hard_share: float) -> tuple[float, float]:
        bank = MatteBank(size_px=160, capacity=4)
        source, rng = CropSource(*folders, bank=bank, hard_share=hard_share), np.random.default_rng(3)
        made = [source.sample(rng, 96) for _ in range(60)]
        ripple = [np.abs(np.diff(crop.image.astype(float), axis=1))[crop.trimap[:, 1:] == 0] for crop in made]
        unknown = np.mean([(crop.trimap == 128).mean() for crop in made])
        return float(unknown), float(np.mean([part.mean() for part in ripple if part.size]))

    hard, plain = unknown_and_noise(1.0), unknown_and_noise(0.0)

    assert plain[0] < hard[0]  # careful trimaps leave less to find out
    assert plain[1] < hard[1]  # and less noise lies over the known background


def test_a_plain_background_is_not_made_like_the_foreground(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[float] = []
    monkeypatch.setattr(
        crops.compose, "match_colour", lambda picture, _, share: moved.append(share) or picture
    )
    source, rng = CropSource(*folders, procedural_share=0, hard_share=0), np.random.default_rng(0)
    for _ in range(40):
        source.sample(rng, 64)
    assert not moved


def test_enlarged_crops_are_what_the_engine_makes_of_crops_half_as_large(folders: tuple[Path, Path]) -> None:
    small = CropSource(*folders, procedural_share=0).sample(np.random.default_rng(4), 48)

    made = crops.enlarged(small)

    shown = scene.enlarged_picture(Picture(small.image, False), 2)
    trimap = scene.enlarged_trimap(Trimap(small.trimap), 2)
    assert np.abs(made.image / 255 - shown.pixels).max() < 1.01 / 255  # crops are bytes, and rounded to them
    np.testing.assert_array_equal(made.trimap, trimap.levels)
    assert made.alpha.shape == (96, 96)
    assert set(np.unique(made.alpha[made.trimap != 128])) <= {0.0, 1.0}
    # Reduced again, as the engine reduces what the network says, it is nearly the alpha it was made of.
    back = scene.reduced(made.alpha, small.trimap, 2)
    assert np.abs(back - small.alpha).mean() < 0.01


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_the_share_of_enlarged_crops_is_the_one_asked_for(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, share: float
) -> None:
    sides: list[int] = []
    original = CropSource._composite

    def noted(self: CropSource, rng: np.random.Generator, size_px: int, hard: bool) -> crops.Crop:
        sides.append(size_px)
        return original(self, rng, size_px, hard)

    monkeypatch.setattr(CropSource, "_composite", noted)
    source, rng = CropSource(*folders, procedural_share=0, enlarged_share=share), np.random.default_rng(0)
    for _ in range(100):
        assert source.sample(rng, 64).image.shape == (64, 64, 3)
    assert set(sides) <= {32, 64}
    assert abs(sides.count(32) - 100 * share) < 15
