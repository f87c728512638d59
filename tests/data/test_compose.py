"""The composition equation, and what cameras do to a composite."""

from __future__ import annotations

import numpy as np
import pytest

from mematte.data import compose


def test_over_is_the_composition_equation() -> None:
    rng = np.random.default_rng(0)
    front, back = rng.integers(0, 256, (2, 20, 20, 3), dtype=np.uint8)
    alpha = rng.random((20, 20), dtype=np.float32)
    expected = alpha[..., None] * front + (1 - alpha[..., None]) * back
    assert np.abs(compose.over(front, alpha, back) - expected).max() <= 0.51


@pytest.mark.parametrize("level", [0.0, 1.0])
def test_over_is_exact_where_alpha_is(level: float) -> None:
    front, back = np.random.default_rng(0).integers(0, 256, (2, 9, 9, 3), dtype=np.uint8)
    image = compose.over(front, np.full((9, 9), level, np.float32), back)
    assert (image == (front if level else back)).all()


@pytest.mark.parametrize("name", ["jitter_colour", "degrade"])
def test_pictures_keep_shape_and_type_and_inputs_are_not_modified(name: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    before = picture.copy()
    for seed in range(20):
        result = getattr(compose, name)(picture, np.random.default_rng(seed))
        assert result.shape == picture.shape
        assert result.dtype == np.uint8
        assert (picture == before).all()


def test_jpeg_keeps_red_red() -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 220
    assert np.abs(compose.through_jpeg(red, 95).astype(int) - red).max() < 12


def test_matching_colour_moves_the_mean() -> None:
    dark, light = np.full((8, 8, 3), 40, np.uint8), np.full((8, 8, 3), 120, np.uint8)
    assert compose.match_colour(dark, light, 0.5).mean() == pytest.approx(80, abs=1)


@pytest.mark.parametrize("length_px", [3, 7.5, 24])
def test_motion_kernels_sum_to_one(length_px: float) -> None:
    for seed in range(5):
        assert compose.motion_kernel(np.random.default_rng(seed), length_px).sum() == pytest.approx(
            1, abs=1e-5
        )


def test_shadows_only_darken() -> None:
    back = np.full((40, 40, 3), 150, np.uint8)
    alpha = np.zeros((40, 40), np.uint8)
    alpha[10:30, 10:30] = 255
    shadowed = compose.cast_shadow(back, alpha, np.random.default_rng(0))
    assert shadowed.max() <= 150
    assert shadowed.min() < 140


def test_contrast_is_measured_in_the_region_only() -> None:
    front, back = np.full((8, 8, 3), 50, np.uint8), np.full((8, 8, 3), 50, np.uint8)
    back[:4] = 90
    region = np.zeros((8, 8), bool)
    region[:4] = True
    assert compose.contrast(front, back, region) == pytest.approx(40)
    assert compose.contrast(front, back, ~region) == pytest.approx(0)


def test_light_brightens_the_side_it_comes_from() -> None:
    colour, alpha = np.full((60, 60, 3), 100, np.uint8), np.zeros((60, 60), np.uint8)
    alpha[15:45, 15:45] = 255
    lit = compose.light_from(colour, alpha, 4, np.pi, 0.5)  # from the left
    assert lit[30, 16, 0] > 110
    assert lit[30, 43, 0] < 90
    assert lit[30, 30, 0] == pytest.approx(100, abs=2)
    assert (colour == 100).all()


def test_modulating_keeps_the_mean_brightness() -> None:
    rng = np.random.default_rng(0)
    texture = rng.integers(50, 200, (32, 32, 3), dtype=np.uint8)
    result = compose.modulate(np.full((32, 32, 3), 90, np.uint8), texture, 0.5)
    assert result.mean() == pytest.approx(90, abs=1)
    assert result.std() > 5


@pytest.mark.parametrize(("dark", "shot"), [(3.0, 0.0), (1.0, 0.4)])
def test_noise_has_the_variance_of_a_sensor(dark: float, shot: float) -> None:
    for level in (60, 180):
        flat = np.full((200, 200, 3), level, np.uint8)
        noisy = compose.with_noise(flat, np.random.default_rng(1), dark, shot).astype(float)
        assert noisy.mean() == pytest.approx(level, abs=0.5)
        assert noisy.std() == pytest.approx(np.sqrt(dark**2 + shot * level), rel=0.1)


@pytest.mark.parametrize("size_px", [16, 75])
def test_resampling_keeps_the_size_and_loses_detail(size_px: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (size_px, size_px, 3), dtype=np.uint8)
    result = compose.resampled(picture, 0.6)
    assert result.shape == picture.shape
    assert result.std() < picture.std()
