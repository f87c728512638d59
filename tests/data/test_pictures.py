"""Finding and reading pictures of any common format, at limited size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.data.pictures import (
    names_within,
    picture_files,
    read_cutout,
    read_levels,
    read_rgb,
    read_with_alpha,
    shrink,
    shrink_cutout,
)
from mematte.errors import DataError, ImageFileError, SizeMismatchError, TrimapError

RED = (200, 60, 20)


def write(file: Path, picture: np.ndarray) -> Path:
    """RGB(A) or grey -> a file, lossless where the format is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if picture.ndim == 3:
        code = cv2.COLOR_RGB2BGR if picture.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        picture = cv2.cvtColor(picture, code)
    quality = [cv2.IMWRITE_WEBP_QUALITY, 101] if file.suffix == ".webp" else []
    assert cv2.imwrite(str(file), picture, quality)
    return file


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".JPEG", ".webp", ".tif", ".bmp"])
def test_common_formats_are_read_as_rgb(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"a{suffix}", np.full((30, 40, 3), RED, np.uint8))
    picture = read_rgb(file, 100)
    assert picture.shape == (30, 40, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture.astype(int) - RED).max() <= 3


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bits_become_eight(tmp_path: Path, suffix: str) -> None:
    file = write(tmp_path / f"a{suffix}", np.full((30, 40, 3), [level * 257 for level in RED], np.uint16))
    assert (read_rgb(file, 100) == RED).all()


def test_grey_pictures_become_rgb(tmp_path: Path) -> None:
    assert (read_rgb(write(tmp_path / "a.png", np.full((5, 7), 90, np.uint8)), 9) == (90, 90, 90)).all()


@pytest.mark.parametrize(
    ("shape", "expected"), [((300, 200), (100, 67)), ((1000, 1), (100, 1)), ((9, 8), (9, 8))]
)
def test_pictures_are_reduced_to_the_longest_side(shape: tuple[int, int], expected: tuple[int, int]) -> None:
    assert shrink(np.zeros((*shape, 3), np.uint8), 100).shape[:2] == expected


def test_hidden_colours_do_not_mix_into_a_reduced_edge() -> None:
    alpha = np.zeros((400, 400), np.uint8)
    alpha[:, 101:300] = 255
    colour = np.zeros((400, 400, 3), np.uint8)  # black outside, as many programs write it
    colour[:, 101:300] = RED
    small = shrink_cutout(colour, alpha, 100)
    assert small.shape == (100, 100, 4)
    assert np.abs(small[small[..., 3] > 0][:, :3].astype(int) - RED).max() <= 1
    assert len(np.unique(small[..., 3])) == 3


@pytest.mark.parametrize(("dtype", "suffix"), [(np.uint8, ".png"), (np.uint16, ".png"), (np.uint8, ".webp")])
def test_cutouts_of_any_depth_are_read(tmp_path: Path, dtype: type, suffix: str) -> None:
    picture = np.full((20, 20, 4), (*RED, 128), np.uint8)
    picture[5:, 5:, 3] = 255
    file = write(tmp_path / f"a{suffix}", picture.astype(dtype) * dtype(257 if dtype == np.uint16 else 1))
    assert (read_cutout(file, 100) == picture).all()


@pytest.mark.parametrize("channels", [3, 4])
def test_a_cutout_without_an_edge_is_an_error(tmp_path: Path, channels: int) -> None:
    with pytest.raises(DataError, match="must have an alpha channel that is not opaque"):
        read_cutout(write(tmp_path / "a.png", np.full((9, 9, channels), 255, np.uint8)), 100)


def test_an_alpha_of_another_size_is_an_error_with_both_sizes(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", np.zeros((30, 40, 3), np.uint8))
    alpha = write(tmp_path / "a_alpha.png", np.zeros((40, 30), np.uint8))
    with pytest.raises(DataError, match=r"a\.png is 40x30 px, but its alpha .*a_alpha\.png 30x40 px"):
        read_with_alpha(image, alpha)


def test_a_coloured_alpha_is_an_error(tmp_path: Path) -> None:
    image = write(tmp_path / "a.png", np.full((30, 40, 3), RED, np.uint8))
    with pytest.raises(TrimapError, match="coloured"):
        read_with_alpha(image, image)


def test_a_trimap_of_another_size_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SizeMismatchError, match="40x30"):
        read_levels(write(tmp_path / "t.png", np.zeros((30, 30), np.uint8)), (30, 40), 100)


@pytest.mark.parametrize("content", [b"", b"not a picture", "truncated"])
@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_damaged_files_are_errors_that_name_them(tmp_path: Path, suffix: str, content: bytes | str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    file = write(tmp_path / f"broken{suffix}", noise)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2] if isinstance(content, str) else content)
    with pytest.raises(ImageFileError, match=f"broken{suffix}"):
        read_rgb(file, 100)


def test_pictures_are_found_at_any_depth_but_not_hidden_ones(tmp_path: Path) -> None:
    for name in ("b.jpg", "x/y/z/a.PNG", "x/.hidden/c.png", ".d.png", "x/notes.txt", "x/e.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = [file.relative_to(tmp_path).as_posix() for file in picture_files(tmp_path)]
    assert found == ["b.jpg", "x/e.tiff", "x/y/z/a.PNG"]


def test_linked_folders_are_followed_and_circles_end(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "a.png").write_bytes(b"")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "set")
    assert picture_files(tmp_path / "set") == [tmp_path / "set" / "link" / "a.png"]


@pytest.mark.parametrize("files", [[], ["readme.txt", "film.mp4"]])
def test_a_folder_without_pictures_says_what_to_do(tmp_path: Path, files: list[str]) -> None:
    for name in files:
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(DataError, match=r"no pictures in .* Name a folder that holds pictures"):
        picture_files(tmp_path)


def test_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere is not a folder"):
        picture_files(tmp_path / "nowhere")


def test_names_go_from_the_files_folder_up_to_the_one_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    assert names_within(Path("/data/set/x/y/a.png"), Path("/data/set")) == ("y", "x", "set")
    assert names_within(Path("data/set/a.png"), Path("/data/set")) == ("set",)
