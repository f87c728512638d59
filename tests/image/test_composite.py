from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import pytest

from mematte.errors import InputError
from mematte.image import (
    Backdrop,
    Picture,
    blend,
    composite,
    linear_to_srgb,
    open_picture,
    parse_color,
    srgb_to_linear,
)

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


@pytest.mark.parametrize("text", ["#+1+1+1", "# 1 1 1", "#ff_000", "1_0,2,3", "1,2", "256,0,0", "redd", ""])
def test_what_only_python_takes_for_a_number_is_no_colour(text: str) -> None:
    with pytest.raises(InputError, match="is not a colour"):
        parse_color(text)


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


@pytest.mark.parametrize(
    ("source", "size"),
    [((40, 30), (40, 30)), ((40, 30), (97, 61)), ((40, 30), (20, 15)), ((41, 33), (17, 14)),
     ((300, 200), (31, 17)), ((3, 2), (90, 70)), ((1, 1), (9, 5)), ((60, 20), (21, 20))],
)  # fmt: skip
@pytest.mark.parametrize("step", [1, 7, 1000])
def test_a_background_scaled_by_rows_is_the_one_scaled_as_a_whole(
    store: Any, source: tuple[int, int], size: tuple[int, int], step: int
) -> None:
    """The oracle: OpenCV, given all of it."""
    behind = np.random.default_rng(2).integers(0, 256, (*source, 3), dtype=np.uint8)
    scale = max(size[0] / source[0], size[1] / source[1])
    crop = [max(1, min(side, round(wanted / scale))) for side, wanted in zip(source, size, strict=True)]
    top, left = (source[0] - crop[0]) // 2, (source[1] - crop[1]) // 2
    cropped = srgb_to_linear(behind[top : top + crop[0], left : left + crop[1]])
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    expected = np.maximum(cv2.resize(cropped, size[::-1], interpolation=method), 0)

    bands = [slice(y, y + step) for y in range(0, size[0], step)]
    with open_picture(store("behind.png", behind, "uint8"), role="background") as picture:
        for background in (behind, Picture(behind), picture):
            backdrop = Backdrop(background, size)
            found = np.concatenate([backdrop.rows(rows) for rows in bands])
            np.testing.assert_allclose(found, expected, atol=2e-5)


def test_blending_by_rows_is_compositing() -> None:
    alpha = np.random.default_rng(3).random((6, 8), dtype=np.float32)
    behind = np.random.default_rng(1).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    backdrop = Backdrop(behind, (6, 8))
    by_rows = [
        blend(COLORS[y : y + 1], alpha[y : y + 1], backdrop.rows(slice(y, y + 1)), linear=False)
        for y in range(6)
    ]
    np.testing.assert_allclose(np.concatenate(by_rows), composite(COLORS, alpha, behind), atol=1e-6)
