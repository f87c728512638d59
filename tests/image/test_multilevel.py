"""Foreground colours by rows: those of the whole picture. The oracle is PyMatting, given the whole."""

from __future__ import annotations

import sys
from collections.abc import Callable

import cv2
import numpy as np
import pytest
from pymatting.foreground.estimate_foreground_ml import estimate_foreground_ml

from mematte.errors import InputError
from mematte.image import foreground_bands
from tests.image.test_foreground import soft_disc


def hair(height: int, width: int) -> np.ndarray:
    """An ellipse with strands of a pixel's width: (H, W) alpha."""
    random = np.random.default_rng(0)
    drawn = np.zeros((2 * height, 2 * width), np.float32)
    cv2.ellipse(drawn, (width, height), (width // 3, height // 2), 0, 0, 360, 1.0, -1)
    for angle in random.uniform(0, 2 * np.pi, 150):
        outward = np.array([np.cos(angle), np.sin(angle)])
        root = np.array([width, height]) + outward * (width / 3, height / 2)
        tip = root + outward * random.uniform(0.1, 0.5) * width
        points = np.stack((root, tip)).astype(np.int32)
        cv2.polylines(drawn, [points], False, float(random.uniform(0.4, 1)), 1, cv2.LINE_AA)
    return cv2.resize(drawn, (width, height), interpolation=cv2.INTER_AREA).clip(0, 1)


def textured(alpha: np.ndarray) -> np.ndarray:
    """Two textures mixed by alpha: (H, W, 3)."""
    random = np.random.default_rng(1)
    front, behind = (
        cv2.resize(
            random.random((size, size, 3), dtype=np.float32), alpha.shape[::-1], interpolation=cv2.INTER_CUBIC
        ).clip(0, 1)
        for size in (30, 17)
    )
    return behind + alpha[..., None] * (front - behind)


def photograph() -> tuple[np.ndarray, np.ndarray]:
    """A photograph of an astronaut with a soft edge around where she is, roughly."""
    from skimage import data

    image = (data.astronaut() / np.float32(255)).astype(np.float32)
    drawn = cv2.ellipse(np.zeros(image.shape[:2], np.float32), (225, 180), (110, 170), 0, 0, 360, 1.0, -1)
    return image, cv2.GaussianBlur(drawn, (0, 0), 9).clip(0, 1)


PICTURES: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "soft disc": lambda: soft_disc(700, 500)[:2],
    "hair": lambda: (textured(hair(700, 500)), hair(700, 500)),
    "photograph": photograph,
    "highlights": lambda: (photograph()[0] * 7, photograph()[1]),
}


def joined(image: np.ndarray, alpha: np.ndarray, band_pixels: int) -> np.ndarray:
    found, top = np.full(image.shape, np.nan, np.float32), 0
    bands = foreground_bands(
        alpha.shape, lambda rows: image[rows], lambda rows: alpha[rows], band_pixels=band_pixels
    )
    for rows, colors in bands:
        assert rows.start == top
        found[rows] = colors
        top = rows.stop
    assert top == len(alpha)
    return found


@pytest.fixture
def few_whole_levels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several levels run behind one another, as in a picture of hundreds of megapixels."""
    # By its name: `mematte.image` also has a function of this name.
    monkeypatch.setattr(sys.modules["mematte.image.multilevel"], "_WHOLE_LEVEL_PIXELS", 3000)


@pytest.mark.usefixtures("few_whole_levels")
@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("band_pixels", [1, 40_000])
def test_bands_have_the_colours_of_the_whole(name: str, band_pixels: int) -> None:
    """Measured where 0 < alpha < 1: at most 0.00002 as seen, 0.004 where alpha is nearly 0."""
    image, alpha = PICTURES[name]()
    image = image.astype(np.float32)
    top = max(1, image.max())
    whole = estimate_foreground_ml(image / top, alpha) * top

    found = joined(image, alpha, band_pixels)

    differs = np.abs(found - whole).max(axis=2) / top
    edge = (alpha > 0) & (alpha < 1)
    assert (differs * alpha)[edge].max() < 1e-4  # a fortieth of a level of 8 bits
    assert differs[edge].max() < 0.01
    np.testing.assert_array_equal(found[alpha == 1], image[alpha == 1])


def test_bands_that_are_estimated_on_their_own_would_show() -> None:
    """Why the levels run behind one another: halves with a generous overlap differ by ten levels of 255."""
    alpha = hair(700, 500)
    image = textured(alpha)
    whole = estimate_foreground_ml(image, alpha)
    upper = estimate_foreground_ml(image[:478].copy(), alpha[:478].copy())[:350]
    differs = (np.abs(upper - whole[:350]).max(axis=2) * alpha[:350]).max()
    assert differs > 10 / 255


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (17, 5), (223, 37)])
def test_pictures_of_every_size_have_foreground_colours(size: tuple[int, int]) -> None:
    alpha = np.full(size, 0.5, np.float32)
    found = joined(np.full((*size, 3), 0.3, np.float32), alpha, 1)
    np.testing.assert_allclose(found, 0.3, atol=0.001)


def test_rows_of_another_size_are_refused() -> None:
    rows_of = np.zeros((8, 9, 3), np.float32)
    with pytest.raises(InputError, match="8x9 here; these are 8x9x3 and 8x8"):
        next(foreground_bands((8, 9), lambda rows: rows_of[rows], lambda rows: rows_of[rows, :8, 0]))
