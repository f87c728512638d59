from __future__ import annotations

import numpy as np
import pytest

from mematte.image import Picture, composite, linear_to_srgb, parse_color, srgb_to_linear

COLORS = np.random.default_rng(0).random((6, 8, 3), dtype=np.float32)


@pytest.mark.parametrize(
    ("text", "color"),
    [
        ("#ff8000", (1, 128 / 255, 0)), ("#F80", (1, 136 / 255, 0)), ("white", (1, 1, 1)),
        (" Black ", (0, 0, 0)), ("255,0,51", (1, 0, 0.2)), ("1,1,1", (1 / 255,) * 3),
        ("1.0,0.5,0", (1, 0.5, 0)), ("0, 128, 255", (0, 128 / 255, 1)),
    ],
)  # fmt: skip
def test_colours_are_read_as_people_write_them(text: str, color: tuple[float, float, float]) -> None:
    assert parse_color(text) == pytest.approx(color)


def test_half_cover_of_white_over_black_is_half_the_light() -> None:
    half = np.full((2, 2), 0.5, np.float32)
    result = composite(np.ones((2, 2, 3), np.float32), half, (0, 0, 0))
    np.testing.assert_allclose(result, 0.735357, atol=1e-5)


@pytest.mark.parametrize("linear", [False, True])
def test_full_cover_shows_the_foreground_and_no_cover_the_background(linear: bool) -> None:
    behind = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    shown = composite(COLORS, np.ones((6, 8), np.float32), behind, linear=linear)
    np.testing.assert_allclose(shown, COLORS, atol=1e-5)
    hidden = composite(COLORS, np.zeros((6, 8), np.float32), behind, linear=linear)
    np.testing.assert_allclose(hidden, srgb_to_linear(behind) if linear else behind / 255, atol=1e-5)


def test_a_background_picture_covers_and_is_cropped_in_the_middle() -> None:
    behind = np.zeros((6, 24, 3), np.uint8)
    behind[:, 8:16] = 200
    result = composite(COLORS, np.zeros((6, 8), np.float32), Picture(behind))
    np.testing.assert_allclose(result, 200 / 255, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (3, 4), (50, 20), (600, 900)])
def test_a_background_of_any_size_fits(size: tuple[int, int]) -> None:
    behind = np.full((*size, 3), 0.25, np.float32)
    result = composite(COLORS, np.zeros((6, 8), np.float32), behind)
    np.testing.assert_allclose(result, 0.25, atol=1e-5)


def test_scene_linear_values_above_one_survive() -> None:
    light = np.full((2, 2, 3), 5, np.float32)
    behind = Picture(np.full((2, 2, 3), 3, np.float32), linear=True)
    result = composite(light, np.full((2, 2), 0.5, np.float32), behind, linear=True)
    np.testing.assert_allclose(result, 4)
    assert linear_to_srgb(result).min() > 1
