from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mematte.errors import MatteError, SizeMismatchError, TrimapError
from mematte.image import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    Picture,
    Trimap,
    as_mask,
    as_trimap,
    check_trimap,
    default_radius_px,
    open_trimap,
    read_trimap,
    trimap_from_mask,
    write_trimap,
)
from mematte.image.trimap import depth_px

LEVELS = (
    np.array([[BACKGROUND, UNKNOWN, FOREGROUND], [UNKNOWN, FOREGROUND, BACKGROUND]], np.uint8)
    .repeat(4, 0)
    .repeat(4, 1)
)


def palette(levels: np.ndarray) -> Image.Image:
    image = Image.fromarray((levels // 100).astype(np.uint8), "L").convert("P")
    image.putpalette([0, 0, 0, 128, 128, 128, 255, 255, 255] + [7] * (253 * 3))
    return image


STORED = {
    "grey": lambda: Image.fromarray(LEVELS),
    "rgb": lambda: Image.fromarray(LEVELS).convert("RGB"),
    "rgba": lambda: Image.fromarray(LEVELS).convert("RGBA"),
    "grey with alpha": lambda: Image.fromarray(LEVELS).convert("LA"),
    "palette": lambda: palette(LEVELS),
    "16 bits": lambda: Image.fromarray(LEVELS.astype(np.uint16) * 257),
}


@pytest.mark.parametrize("stored", STORED)
def test_a_trimap_is_read_however_it_is_stored(tmp_path: Path, stored: str) -> None:
    STORED[stored]().save(tmp_path / "t.png")
    for trimap in (read_trimap(tmp_path / "t.png"), as_trimap(STORED[stored]())):
        np.testing.assert_array_equal(trimap.levels, LEVELS)
        assert (trimap.levels.dtype, trimap.size, trimap.notes) == (np.uint8, (8, 12), ())


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("t.exr", "half"),
        ("t.exr", "float"),
        ("t.tif", "float"),
        ("t.tif", "uint16"),
        ("t.dpx", "uint16"),
        ("t.jxl", "uint8"),
    ],
)
def test_a_trimap_is_read_in_every_format(store: Any, name: str, kind: str) -> None:
    values = (
        LEVELS / np.float32(255)
        if kind in ("half", "float")
        else LEVELS.astype(kind) * (257 if kind == "uint16" else 1)
    )
    values = values[..., None].repeat(3, 2) if name == "t.dpx" else values
    header = {"compression": "jpegxl:100"} if name == "t.jxl" else {}
    np.testing.assert_array_equal(read_trimap(store(name, values, kind, **header)).levels, LEVELS)


def test_a_jpeg_trimap_is_read_in_spite_of_its_noise(tmp_path: Path) -> None:
    large = LEVELS.repeat(8, 0).repeat(8, 1)
    Image.fromarray(large).convert("RGB").save(tmp_path / "t.jpg", quality=70)
    assert (read_trimap(tmp_path / "t.jpg").levels == large).mean() > 0.97


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32", "float64", "bool"])
def test_arrays_of_every_accepted_type_are_trimaps(dtype: str) -> None:
    levels = np.where(LEVELS == UNKNOWN, FOREGROUND, LEVELS) if dtype == "bool" else LEVELS
    scale = {"uint8": 1, "uint16": 257}.get(dtype, 1 / 255)
    np.testing.assert_array_equal(as_trimap((levels.astype(float) * scale).astype(dtype)).levels, levels)


@pytest.mark.parametrize(
    ("value", "level"),
    [(0, BACKGROUND), (25, BACKGROUND), (26, UNKNOWN), (229, UNKNOWN), (230, FOREGROUND), (255, FOREGROUND)],
)
def test_a_tenth_of_the_range_at_either_end_is_known(value: int, level: int) -> None:
    array = np.array([[value, 128]], np.uint8)
    assert as_trimap(array).levels[0, 0] == level
    assert as_trimap(array.astype(np.uint16) * 257).levels[0, 0] == level


@given(st.lists(st.integers(0, 255), min_size=1, max_size=64))
def test_reading_gives_three_levels_and_reading_them_again_changes_nothing(values: list[int]) -> None:
    array = np.array([values, [128] * len(values)], np.uint8)
    once = as_trimap(array).levels
    assert set(np.unique(once)) <= {BACKGROUND, UNKNOWN, FOREGROUND}
    np.testing.assert_array_equal(as_trimap(once).levels, once)


def test_a_trimap_is_passed_through() -> None:
    trimap = Trimap(LEVELS)
    assert as_trimap(trimap) is trimap


def test_the_alpha_of_a_trimap_is_ignored_and_said(tmp_path: Path) -> None:
    alpha = np.full(LEVELS.shape, 200, np.uint8)
    Image.merge("LA", (Image.fromarray(LEVELS), Image.fromarray(alpha))).save(tmp_path / "t.png")
    trimap = read_trimap(tmp_path / "t.png")
    np.testing.assert_array_equal(trimap.levels, LEVELS)
    assert trimap.notes == ("the trimap's own alpha channel is ignored",)


def test_a_whole_trimap_has_no_warnings() -> None:
    assert check_trimap(LEVELS, image_size=(8, 12)) == ()


@pytest.mark.parametrize(("missing", "word"), [(FOREGROUND, "no foreground"), (BACKGROUND, "no background")])
def test_a_missing_side_is_a_warning_that_names_it(missing: int, word: str) -> None:
    (warning,) = check_trimap(np.where(missing == LEVELS, UNKNOWN, LEVELS).astype(np.uint8))
    assert word in warning


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jxl", ".exr"])
def test_a_trimap_survives_writing(tmp_path: Path, suffix: str) -> None:
    write_trimap(tmp_path / f"t{suffix}", LEVELS)
    np.testing.assert_array_equal(read_trimap(tmp_path / f"t{suffix}").levels, LEVELS)


@pytest.mark.parametrize(
    ("size", "radius"),
    [((1000, 1000), 10), ((2000, 2000), 20), ((500, 2000), 10), ((4000, 6000), 49), ((1, 1), 1)],
)
def test_the_default_radius_grows_with_the_side(size: tuple[int, int], radius: int) -> None:
    assert default_radius_px(size) == radius


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32 - 1), st.integers(0, 9))
def test_a_trimap_from_a_mask_is_erosion_by_a_disc(seed: int, radius: int) -> None:
    """The oracle: look at every pixel within the radius, one by one."""
    mask = np.zeros((24, 31), np.float32)
    random = np.random.default_rng(seed)
    y, x = int(random.integers(0, 12)), int(random.integers(0, 15))
    mask[y : y + 12, x : x + 16] = random.choice([0.5, 1.0, 1.0, 1.0, 1.0, 1.0], (12, 16))

    levels = trimap_from_mask(mask, radius)

    yy, xx = np.mgrid[:24, :31]
    for row in range(0, 24, 3):
        for column in range(0, 31, 2):
            near = (yy - row) ** 2 + (xx - column) ** 2 <= radius**2
            around = mask[near]
            expected = (
                FOREGROUND if (around > 0.94).all() else BACKGROUND if (around < 0.04).all() else UNKNOWN
            )
            assert levels[row, column] == expected


def test_depths_are_roots_of_whole_numbers_whatever_the_last_bits_that_opencv_gives(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    region = np.ones((60, 80), np.uint8)
    region[30, 40] = 0
    rows, columns = np.mgrid[:60, :80]
    exact = np.sqrt(((rows - 30) ** 2 + (columns - 40) ** 2).astype(np.float32))
    transform, rng = cv2.distanceTransform, np.random.default_rng(0)

    def inexact(mask: np.ndarray, *arguments: int) -> np.ndarray:
        noise = rng.uniform(1 - 3e-7, 1 + 3e-7, mask.shape).astype(np.float32)
        return np.asarray(transform(mask, *arguments), np.float32) * noise

    monkeypatch.setattr(cv2, "distanceTransform", inexact)

    assert not np.array_equal(inexact(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE), exact)
    np.testing.assert_array_equal(depth_px(region), exact)
    assert (depth_px(np.ones((3, 4), np.uint8)) > 1e4).all()  # nothing to be near to


def test_the_picture_s_edge_is_no_edge_of_the_object() -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[20:] = 255
    levels = trimap_from_mask(mask, 5)
    assert (levels[-1] == FOREGROUND).all()
    assert (levels[0] == BACKGROUND).all()
    assert (levels == UNKNOWN).sum() == 10 * 40


def test_a_mask_may_be_bool_integers_or_float() -> None:
    mask = np.zeros((30, 30), bool)
    mask[8:22, 8:22] = True
    expected = trimap_from_mask(mask)
    for other in (mask.astype(np.uint8) * 255, mask.astype(np.uint16) * 65535, mask.astype(np.float32)):
        np.testing.assert_array_equal(trimap_from_mask(other), expected)


def test_the_alpha_of_a_cut_out_is_its_mask(tmp_path: Path, rgba: np.ndarray) -> None:
    Image.fromarray(rgba).save(tmp_path / "cutout.png")
    np.testing.assert_allclose(as_mask(tmp_path / "cutout.png"), rgba[..., 3] / 255, atol=1e-6)


def test_a_grey_mask_is_read_as_its_values(tmp_path: Path, rgb: np.ndarray) -> None:
    Image.fromarray(rgb[..., 0]).save(tmp_path / "mask.png")
    np.testing.assert_allclose(as_mask(tmp_path / "mask.png"), rgb[..., 0] / 255, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "kind", "scale"),
    [("t.png", "uint8", 1), ("t.png", "uint16", 257), ("t.tif", "float", 1 / 255), ("t.exr", "half", 1 / 255),
     ("t.dpx", "uint8", 1)],
)  # fmt: skip
@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (17, 33), (223, 64)])
def test_a_trimap_read_by_rows_is_the_one_read_whole(
    store: Any, name: str, kind: str, scale: float, size: tuple[int, int]
) -> None:
    levels = np.random.default_rng(1).choice(np.array([0, 128, 255], np.uint8), size)
    levels[0, 0] = UNKNOWN
    stored = (levels * np.float32(scale)).astype(np.float32 if scale < 1 else kind)
    path = store(name, stored[..., None].repeat(3, 2) if name == "t.dpx" else stored, kind)
    whole = read_trimap(path)

    with open_trimap(path) as trimap:
        scan = trimap.scan(size)
        found = np.concatenate([trimap.level_rows(slice(y, y + 9)) for y in range(0, size[0], 9)])
        assert (trimap.size, trimap.notes) == (whole.size, whole.notes)

    np.testing.assert_array_equal(found, levels)
    np.testing.assert_array_equal(whole.levels, levels)
    for other in (scan, whole.scan()):
        assert other.unknown == (levels == UNKNOWN).sum()
        assert other.warnings == check_trimap(levels)
        assert other.cells.shape == (-(-size[0] // 16), -(-size[1] // 16))
        for y, x in np.ndindex(other.cells.shape):  # the oracle: look into each cell
            cell = levels[y * 16 : y * 16 + 16, x * 16 : x * 16 + 16]
            assert other.cells[y, x] == (cell == UNKNOWN).any()


def test_cells_of_a_trimap_of_many_bands_lie_where_they_belong() -> None:
    levels = np.zeros((3000, 1500), np.uint8)
    levels[2999, 1499], levels[1333, 16] = UNKNOWN, UNKNOWN
    scan = Trimap(levels).scan(patch_px=16)
    assert np.argwhere(scan.cells).tolist() == [[83, 1], [187, 93]]
    assert Trimap(levels).scan(patch_px=1000).cells.tolist() == [[False, False], [True, False], [False, True]]


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (lambda: np.full((9, 9, 3), (255, 0, 0), np.uint8), "is coloured: 100.0%"),
        (lambda: np.eye(9, dtype=np.uint8) * 2, "seems to hold labels: its values are 0 to 2"),
        (lambda: np.eye(9, dtype=np.uint16) * 255, "16 bits per pixel, but its values are 0 to 255"),
        (lambda: np.stack((np.full_like(LEVELS, 9), LEVELS), axis=2), "only its alpha channel varies"),
        (lambda: np.eye(9, dtype=np.uint8) * 255, "no unknown pixel"),
    ],
)
def test_a_scan_refuses_what_reading_and_checking_refuse(tmp_path: Path, stored: Any, message: str) -> None:
    pixels = stored()
    grey_with_alpha = pixels.ndim == 3 and pixels.shape[2] == 2
    image = Image.fromarray(pixels, "LA") if grey_with_alpha else Image.fromarray(pixels)
    image.save(tmp_path / "t.png")
    with open_trimap(tmp_path / "t.png") as trimap, pytest.raises(TrimapError, match=message):
        trimap.scan()
    with pytest.raises(TrimapError, match=message):
        check_trimap(read_trimap(tmp_path / "t.png").levels)


def test_a_scan_says_what_is_missing_and_what_does_not_fit(tmp_path: Path) -> None:
    Image.fromarray(np.full((8, 12), 128, np.uint8)).save(tmp_path / "t.png")
    with open_trimap(tmp_path / "t.png") as trimap:
        assert [warning.split(":")[0] for warning in trimap.scan((8, 12)).warnings] == [
            "The trimap has no foreground", "The trimap has no background"
        ]  # fmt: skip
        with pytest.raises(SizeMismatchError, match="the image is 8x12 px, the trimap 12x8 px"):
            trimap.scan((12, 8))


def test_the_alpha_of_a_trimap_is_a_note_after_the_scan(tmp_path: Path) -> None:
    alpha = Image.new("L", (12, 8), 200)
    Image.merge("LA", (Image.fromarray(LEVELS), alpha)).save(tmp_path / "t.png")
    with open_trimap(tmp_path / "t.png") as trimap:
        trimap.scan()
        assert trimap.notes == ("the trimap's own alpha channel is ignored",)


@pytest.mark.parametrize(("highest", "advice"), [(255.0, "Divide by 255"), (2.0, "Divide by 2")])
def test_floats_that_go_beyond_one_are_neither_mask_nor_trimap(highest: float, advice: str) -> None:
    levels = np.linspace(0, highest, 900, dtype=np.float32).reshape(30, 30)
    for read in (as_mask, as_trimap):
        with pytest.raises(MatteError, match=advice):
            read(Picture(np.repeat(levels[..., None], 3, axis=2), linear=True))
