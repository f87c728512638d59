"""Foregrounds over backgrounds: exact arithmetic, trimaps that keep their contract, bad files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from mematte.data.overlay import (
    Foreground,
    Window,
    cover,
    levels_of,
    merge,
    read_foreground,
    window_of,
)
from mematte.errors import DataError, ImageFileError
from mematte.image import Picture, read_picture, write_cutout

SIZE = 40, 50


def soft_disc(top: int = 255) -> NDArray[Any]:
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    alpha = np.clip((14 - np.hypot(ys - 20, xs - 25)) / 5, 0, 1)
    return np.rint(alpha * top).astype(np.uint8 if top == 255 else np.uint16)


def noise(seed: int, shape: tuple[int, ...] = (*SIZE, 3), top: int = 255) -> NDArray[Any]:
    dtype = np.uint8 if top == 255 else np.uint16
    return np.random.default_rng(seed).integers(0, top + 1, shape, dtype=dtype)


@pytest.mark.parametrize("top", [255, 65535])
def test_a_composite_is_the_nearest_level(top: int) -> None:
    colors, alpha, background = noise(0, top=top), noise(1, SIZE, top), noise(2, top=top)
    colors[0], background[1], alpha[2], alpha[3] = top, top, 0, top  # the largest products

    merged = merge(colors, alpha, background)

    share = alpha[..., None].astype(np.longdouble) / top
    exact = share * colors + (1 - share) * background
    assert merged.dtype == colors.dtype
    assert np.abs(merged - exact).max() <= 0.5 + 1e-9
    np.testing.assert_array_equal(merged[2], background[2])
    np.testing.assert_array_equal(merged[3], colors[3])


@pytest.mark.parametrize("band_pixels", [1, 50, 333])
def test_bands_equal_the_whole(band_pixels: int) -> None:
    parts = noise(0), noise(1, SIZE), noise(2)
    np.testing.assert_array_equal(merge(*parts, band_pixels=band_pixels), merge(*parts, band_pixels=10**9))


@pytest.mark.parametrize(
    ("background", "window"),
    [
        ((40, 50), Window(0, 0, 50, 40)),
        ((400, 500), Window(0, 0, 500, 400)),
        ((40, 90), Window(20, 0, 50, 40)),
        ((20, 25), Window(0, 0, 25, 20)),
        ((100, 50), Window(0, 30, 50, 40)),
        ((1, 1), Window(0, 0, 1, 1)),
    ],
)
def test_the_window_is_the_largest_of_the_foregrounds_proportions(
    background: tuple[int, int], window: Window
) -> None:
    assert window_of(background, SIZE) == window
    corner = window_of(background, SIZE, (0, 1))
    assert (corner.top, corner.left + corner.width) == (0, background[1])


@pytest.mark.parametrize("shape", [(40, 50), (40, 90), (20, 25), (400, 300), (1, 1), (7, 300)])
@pytest.mark.parametrize("top", [255, 65535])
def test_a_background_covers_the_foreground(shape: tuple[int, int], top: int) -> None:
    background = noise(4, (*shape, 3), top)
    covered = cover(background, window_of(shape, SIZE), SIZE)
    assert covered.shape == (*SIZE, 3)
    assert covered.dtype == background.dtype


def test_a_background_of_the_foregrounds_size_is_not_touched() -> None:
    background = noise(4)
    np.testing.assert_array_equal(cover(background, window_of(SIZE, SIZE), SIZE), background)


def test_a_background_made_smaller_is_a_mean_of_areas() -> None:
    background = noise(4, (80, 100, 3))
    small = cover(background, window_of((80, 100), SIZE), SIZE)
    exact = background.reshape(40, 2, 50, 2, 3).mean(axis=(1, 3))
    assert np.abs(small - exact).max() <= 0.5


@pytest.mark.parametrize("radii", [(1, 1), (1, 6), (9, 2), (100, 100)])
@pytest.mark.parametrize("top", [255, 65535])
def test_known_pixels_lie_deeper_than_the_radius(tmp_path: Path, radii: tuple[int, int], top: int) -> None:
    alpha = soft_disc(top)
    foreground = read_foreground(write_pair(tmp_path, noise(0), alpha), 8 if top == 255 else 16)

    trimap = foreground.trimap(*radii)

    assert set(np.unique(trimap)) <= {0, 128, 255}
    assert (trimap == 128).any()
    assert (trimap[(alpha > 0) & (alpha < top)] == 128).all()
    ys, xs = np.mgrid[: SIZE[0], : SIZE[1]]
    for level, known, radius in ((255, top, radii[0]), (0, 0, radii[1])):  # the oracle: every distance
        others = np.argwhere(alpha != known)
        nearest = np.hypot(ys[..., None] - others[:, 0], xs[..., None] - others[:, 1]).min(axis=-1)
        np.testing.assert_array_equal(trimap == level, nearest > radius)


def test_a_hard_edge_has_unknown_pixels(tmp_path: Path) -> None:
    alpha = (soft_disc() > 128).astype(np.uint8) * np.uint8(255)
    trimap = read_foreground(write_pair(tmp_path, noise(0), alpha)).trimap(1, 1)
    assert (trimap == 128).any()


def write_pair(folder: Path, colors: NDArray[Any], alpha: NDArray[Any], role: str = "foreground") -> Any:
    files = {role: folder / f"{role}.png", "alpha": folder / "alpha.png"}
    assert cv2.imwrite(str(files[role]), colors[..., ::-1])
    assert cv2.imwrite(str(files["alpha"]), alpha)
    return files


def write_rgba(path: Path, colors: NDArray[Any], alpha: NDArray[Any]) -> Any:
    assert cv2.imwrite(str(path), np.dstack([colors[..., ::-1], alpha]))
    return {"cutout": path}


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("top", [255, 65535])
def test_a_cutout_and_a_foreground_keep_their_values(tmp_path: Path, bits: Any, top: int) -> None:
    colors, alpha = noise(0, top=top), soft_disc(top)
    factor = (2**bits - 1) / top

    for files in (write_rgba(tmp_path / "c.png", colors, alpha), write_pair(tmp_path, colors, alpha)):
        foreground = read_foreground(files, bits)
        assert foreground.size == SIZE
        np.testing.assert_array_equal(foreground.alpha, np.rint(alpha * factor))
        np.testing.assert_array_equal(foreground.colors, np.rint(colors * factor))


def test_a_linear_cutout_becomes_display_referred(tmp_path: Path) -> None:
    colors = noise(0).astype(np.float32) / 255
    alpha = np.maximum(soft_disc(), 1).astype(np.float32) / 255  # EXR is premultiplied: no colour without
    write_cutout(tmp_path / "c.exr", colors, alpha, bits="float")

    foreground = read_foreground({"cutout": tmp_path / "c.exr"})

    np.testing.assert_allclose(foreground.colors, noise(0), atol=1)
    np.testing.assert_array_equal(foreground.alpha, np.maximum(soft_disc(), 1))


def test_the_foreground_of_an_image_is_estimated(tmp_path: Path) -> None:
    alpha = soft_disc()
    front, behind = np.full((*SIZE, 3), (200, 60, 20), np.uint8), np.full((*SIZE, 3), (0, 90, 220), np.uint8)
    files = write_pair(tmp_path, merge(front, alpha, behind), alpha, "image")

    colors = read_foreground(files).colors

    seen = alpha > 64
    assert np.abs(colors[seen].astype(int) - front[seen]).mean() < 8
    np.testing.assert_array_equal(colors[alpha == 255], front[alpha == 255])


def test_a_display_referred_picture_of_the_right_depth_is_not_copied() -> None:
    pixels = noise(0)
    assert levels_of(Picture(pixels), 8) is pixels


def test_what_is_held_belongs_to_the_file(tmp_path: Path) -> None:
    files = write_pair(tmp_path, noise(0), soft_disc())
    before = read_picture(files["foreground"]).pixels.copy()
    foreground: Foreground = read_foreground(files)
    merge(foreground.colors, foreground.alpha, noise(1))
    foreground.trimap(2, 2)
    np.testing.assert_array_equal(foreground.colors, before)


@pytest.mark.parametrize(
    ("alpha", "says"),
    [
        (np.zeros(SIZE, np.uint8), "transparent everywhere"),
        (np.full(SIZE, 255, np.uint8), "opaque everywhere"),
        (soft_disc()[:-1], "alpha.png is 50x39 px, and "),
        (np.dstack([soft_disc(), soft_disc() // 2, soft_disc() // 3]), "alpha.png: The mask is coloured"),
        ((soft_disc() > 9).astype(np.uint8), "alpha.png: The mask seems to hold labels"),
    ],
)
def test_a_bad_alpha_is_named(tmp_path: Path, alpha: NDArray[Any], says: str) -> None:
    with pytest.raises(DataError, match=says):
        read_foreground(write_pair(tmp_path, noise(0), alpha))


def test_an_opaque_picture_is_no_cutout(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"c\.png has no alpha channel"):
        read_foreground(write_rgba(tmp_path / "c.png", noise(0), np.full(SIZE, 255, np.uint8)))


@pytest.mark.parametrize("roles", [[], ["alpha"], ["image", "trimap"]])
def test_a_foreground_needs_colours_and_an_alpha(roles: list[Any]) -> None:
    with pytest.raises(DataError, match="A foreground is a cutout, or colours and an alpha"):
        read_foreground({role: Path("x.png") for role in roles})


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    files = write_pair(tmp_path, noise(0), soft_disc())
    files["foreground"].write_bytes(files["foreground"].read_bytes()[:300])
    with pytest.raises(ImageFileError, match=r"foreground\.png is truncated"):
        read_foreground(files)


def test_a_picture_above_the_limit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="the limit is"):
        read_foreground(write_pair(tmp_path, noise(0), soft_disc()), max_pixels=100)
