from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest

from mematte.image import estimate_foreground


def soft_disc(height: int, width: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A reddish disc with a soft edge on blue: (image, alpha, true foreground)."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    radius = np.hypot(y - height / 2, x - width / 2) / min(height, width)
    alpha = np.clip((0.42 - radius) / 0.15, 0, 1).astype(np.float32)
    foreground = np.stack((0.7 + 0.2 * x / width, 0.2 + 0.2 * y / height, np.full_like(x, 0.1)), 2)
    background = np.broadcast_to(np.float32([0.1, 0.3, 0.9]), foreground.shape)
    image = foreground * alpha[..., None] + background * (1 - alpha[..., None])
    return image.astype(np.float32), alpha, foreground.astype(np.float32)


def test_the_colour_of_the_object_is_found_under_its_soft_edge() -> None:
    image, alpha, truth = soft_disc(120, 140)
    found = estimate_foreground(image, alpha)
    soft = (alpha > 0.1) & (alpha < 1)
    assert np.abs(found - truth)[soft].mean() < 0.03
    assert np.abs(found - truth)[soft].mean() < 0.2 * np.abs(image - truth)[soft].mean()


def test_opaque_pixels_keep_their_colours_exactly() -> None:
    image, alpha, _ = soft_disc(100, 150)
    for whole_px in (64, 2048):
        found = estimate_foreground(image, alpha, whole_px=whole_px)
        np.testing.assert_array_equal(found[alpha == 1], image[alpha == 1])


@pytest.mark.parametrize("size", [(200, 150), (129, 257)])
def test_tiled_equals_whole_where_it_can_be_seen(size: tuple[int, int]) -> None:
    image, alpha, _ = soft_disc(*size)
    whole, tiled = estimate_foreground(image, alpha), estimate_foreground(image, alpha, whole_px=96)
    assert np.abs(whole - tiled)[alpha > 0].max() < 1e-3


def test_scene_linear_highlights_are_not_clipped() -> None:
    image, alpha, truth = soft_disc(80, 80)
    found = estimate_foreground(image * 20, alpha)
    assert np.abs(found / 20 - truth)[alpha > 0.1].mean() < 0.03


def test_without_foreground_there_is_still_a_colour_and_inputs_are_not_changed() -> None:
    image, alpha, _ = soft_disc(70, 90)
    before = image.copy(), alpha.copy()
    assert np.isfinite(estimate_foreground(image, alpha * 0, whole_px=64)).all()
    estimate_foreground(image, alpha)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(alpha, before[1])


def test_a_single_pixel_keeps_its_colour() -> None:
    image = np.array([[[0.2, 0.5, 0.9]]], np.float32)
    np.testing.assert_array_equal(estimate_foreground(image, np.array([[0.5]], np.float32)), image)


def test_threads_may_estimate_at_once_whatever_numba_runs_on() -> None:
    """Its own threads, where there is neither OpenMP nor TBB, end the process that two ask at once."""
    program = """
from concurrent.futures import ThreadPoolExecutor
import numba
import os
import subprocess
import sys

import numpy as np
from mematte.image import estimate_foreground

image, alpha = np.ones((300, 300, 3), np.float32), np.full((300, 300), 0.5, np.float32)
with ThreadPoolExecutor(4) as pool:
    list(pool.map(lambda _: estimate_foreground(image, alpha), range(200)))
print(numba.threading_layer())
"""
    settings = {"NUMBA_THREADING_LAYER": "workqueue", "NUMBA_NUM_THREADS": "4"}

    done = subprocess.run(
        [sys.executable, "-c", program], env={**os.environ, **settings}, capture_output=True, text=True
    )

    assert (done.returncode, done.stdout) == (0, "workqueue\n"), done.stderr[-2000:]
