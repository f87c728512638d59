"""Colour under soft alpha, clean alpha, views."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.data import foregrounds
from mematte.data.foregrounds import (
    Foreground,
    clean_alpha,
    edge_points,
    extend_colour,
    load_foregrounds,
    unmixed_colour,
    weighted_pairs,
)
from mematte.data.foregrounds import random_view as view_of
from mematte.data.pyramid import Pyramid, View
from mematte.errors import DataError

from .conftest import lottery_of


def soft_disc(size: int = 120) -> np.ndarray:
    ys, xs = np.mgrid[:size, :size]
    return (np.clip((size / 3 - np.hypot(ys - size / 2, xs - size / 2)) / 15, 0, 1) * 255).astype(np.uint8)


def test_colour_is_extended_outward_and_kept_inside() -> None:
    alpha = soft_disc()
    colour = np.zeros((120, 120, 3), np.uint8)  # black, as files leave it, where alpha is 0
    colour[alpha > 0] = (200, 100, 50)

    extended = extend_colour(colour, alpha)

    assert np.abs(extended.astype(int) - (200, 100, 50)).max() <= 2


def test_colour_outside_comes_from_the_nearest_side() -> None:
    alpha = np.zeros((64, 64), np.uint8)
    alpha[:, :8], alpha[:, -8:] = 255, 255
    colour = np.zeros((64, 64, 3), np.uint8)
    colour[:, :8], colour[:, -8:] = (250, 0, 0), (0, 0, 250)

    extended = extend_colour(colour, alpha)

    assert (extended[:, 12, 0] > 180).all()
    assert (extended[:, -12, 2] > 180).all()


def test_no_foreign_colour_bleeds_in_at_any_scale() -> None:
    """The hidden colour of transparent pixels (green here) must not show under soft alpha."""
    alpha = soft_disc()
    picture = np.dstack([np.zeros((120, 120), np.uint8), np.full((120, 120), 255, np.uint8)] * 2)
    picture[..., 2] = 0
    picture[..., 3] = alpha
    picture[alpha > 40, :3] = (210, 20, 20)
    foreground = Foreground.from_rgba(picture)
    for scale in (0.2, 0.5, 1.0, 2.3):
        crop = foreground.pyramid.warp(View((76, 76), scale, 0.3), 64)
        assert crop[..., 1].max() < 30, scale


@pytest.mark.parametrize(("level", "expected"), [(0, 0), (3, 0), (5, 0), (250, 255), (252, 255), (255, 255)])
def test_noise_floor_and_ceiling_of_alpha_are_cut(level: int, expected: int) -> None:
    assert clean_alpha(np.full((2, 2), level, np.uint8))[0, 0] == expected


def test_cleaning_keeps_alpha_monotonic() -> None:
    cleaned = clean_alpha(np.arange(256, dtype=np.uint8)[None])[0].astype(int)
    assert (np.diff(cleaned) >= 0).all()


def test_edge_points_lie_at_the_edge() -> None:
    alpha = np.zeros((80, 80), np.uint8)
    alpha[20:60, 20:60] = 255
    points = edge_points(alpha)
    distance = np.min(np.abs(points[:, :, None] - np.array([19.5, 59.5])), axis=(1, 2))
    assert len(points) > 100
    assert distance.max() <= 3


@pytest.mark.parametrize("alpha", [np.zeros((40, 40), np.uint8), np.full((40, 40), 255, np.uint8)])
def test_edge_points_exist_even_without_an_edge(alpha: np.ndarray) -> None:
    assert len(edge_points(alpha))


def test_the_centre_of_a_view_lands_in_the_middle() -> None:
    picture = np.zeros((200, 300), np.uint8)
    picture[60:63, 110:113] = 255
    for scale in (0.3, 0.6, 1.0, 2.0):
        crop = Pyramid(picture).warp(View((111, 61), scale, 0.7, flip=True), 65).astype(float)
        ys, xs = np.mgrid[:65, :65]
        middle = np.array([(crop * ys).sum(), (crop * xs).sum()]) / crop.sum()
        assert np.abs(middle - 32).max() < 0.6, scale


def test_minified_alpha_keeps_its_mean() -> None:
    """Thin lines must fade, not flicker, when a picture is made small."""
    picture = np.zeros((512, 512), np.uint8)
    picture[:, ::8] = 255
    for scale in (0.11, 0.2, 0.33, 0.47):
        crop = Pyramid(picture).warp(View((256, 256), scale), 48)
        assert crop.mean() == pytest.approx(255 / 8, rel=0.15), scale


def test_views_stay_within_the_scales_asked_for() -> None:
    rng = np.random.default_rng(0)
    points = np.array([[500, 400]], np.int32)
    scales = [view_of(rng, points, (1000, 1000), 224, (0.4, 1.2)).scale for _ in range(300)]
    assert 0.4 <= min(scales) < 0.45
    assert 1.1 < max(scales) <= 1.2


def test_foregrounds_are_drawn_by_weight() -> None:
    plain = Foreground(Pyramid(np.zeros((40, 40, 4), np.uint8)), np.zeros((1, 2), np.int32))
    other = Foreground(plain.pyramid, plain.points)
    library, rng = lottery_of([plain, other], [3.0, 1.0]), np.random.default_rng(0)
    share = np.mean([library.draw(rng) is plain for _ in range(2000)])
    assert share == pytest.approx(0.75, abs=0.04)


def write_pairs(folder: Path, layout: str) -> None:
    """A red soft disc over green: as a cut-out, or as foreground or photograph with alpha."""
    alpha = soft_disc()
    cover = alpha[..., None] / 255
    red, green = (
        np.full((120, 120, 3), (20, 20, 210), np.uint8),
        np.full((120, 120, 3), (20, 210, 20), np.uint8),
    )
    if layout == "cutouts":
        pictures = {"disc.png": np.dstack([np.where(cover > 0, red, green), alpha])}
    elif layout == "adobe":
        pictures = {"fg/disc.png": red, "alpha/disc.png": alpha}
    else:
        mixed = np.rint(red * cover + green * (1 - cover)).astype(np.uint8)
        pictures = {"disc.jpg": mixed, "disc_alpha.png": alpha}
    for name, picture in pictures.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        quality = [cv2.IMWRITE_JPEG_QUALITY, 100] if name.endswith(".jpg") else []
        assert cv2.imwrite(str(folder / name), picture, quality)


@pytest.mark.parametrize("layout", ["cutouts", "adobe", "pairs"])
@pytest.mark.parametrize("longest_px", [1000, 60])
def test_foregrounds_of_any_layout_keep_their_own_colour(
    tmp_path: Path, layout: str, longest_px: int
) -> None:
    write_pairs(tmp_path, layout)
    picture = load_foregrounds(tmp_path, longest_px).draw(np.random.default_rng(0)).pyramid.levels[0]
    red, green, _, alpha = (picture[..., channel].astype(int) for channel in range(4))
    assert len(np.unique(alpha)) > 20
    assert green[alpha > 25].max() < 60
    assert red[alpha > 25].min() > 180


def test_unmixing_leaves_opaque_pixels_and_the_inputs_as_they_are() -> None:
    alpha = soft_disc()
    image = np.random.default_rng(0).integers(0, 256, (120, 120, 3), dtype=np.uint8)
    before = image.copy(), alpha.copy()
    colour = unmixed_colour(image, alpha)
    assert (colour[alpha == 255] == image[alpha == 255]).all()
    assert (image == before[0]).all()
    assert (alpha == before[1]).all()


def test_where_a_photograph_cuts_its_subject_off_is_no_edge() -> None:
    picture = np.zeros((200, 200, 4), np.uint8)
    picture[100:, 50:150] = 255  # stands on the lower border
    points = Foreground.from_rgba(picture).points - 16
    assert points[:, 1].min() >= 95
    below = points[points[:, 1] > 190]
    assert np.minimum(np.abs(below[:, 0] - 49.5), np.abs(below[:, 0] - 149.5)).max() <= 3


@pytest.mark.parametrize("level", [0, 5, 250, 255])
def test_a_foreground_that_is_the_same_everywhere_is_an_error(level: int) -> None:
    with pytest.raises(DataError, match="everywhere"):
        Foreground.from_rgba(np.full((40, 40, 4), level, np.uint8))


def test_weights_are_those_of_the_innermost_folder_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foregrounds, "WEIGHTS", {"fur": 5.0, "smoke": 0.5})
    for folder in ("fur", "fur/deep/down", "fur/smoke", "other"):
        write_pairs(tmp_path / folder, "cutouts")
    weights = {pair.name: weight for pair, weight in weighted_pairs(tmp_path)}
    assert weights == {"fur/disc": 5, "fur/deep/down/disc": 5, "fur/smoke/disc": 0.5, "other/disc": 1}
    assert {weight for _, weight in weighted_pairs(tmp_path / "fur" / "deep")} == {1}
