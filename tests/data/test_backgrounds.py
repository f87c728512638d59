"""Photographs of any shape give crops of any size."""

from __future__ import annotations

import numpy as np
import pytest

from mematte.data.backgrounds import BackgroundLibrary


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (40, 40), (600, 35)])
@pytest.mark.parametrize("size_px", [16, 224])
def test_any_photograph_fills_a_crop(shape: tuple[int, int], size_px: int) -> None:
    library = BackgroundLibrary([np.full((*shape, 3), (10, 120, 250), np.uint8)])
    for seed in range(8):
        crop = library.photograph(np.random.default_rng(seed), size_px)
        assert crop.shape == (size_px, size_px, 3)
        assert (crop == (10, 120, 250)).all()


def test_crops_come_from_all_photographs_and_places() -> None:
    ramps = [
        np.tile(np.arange(start, start + 100, dtype=np.uint8)[None, :, None], (100, 1, 3))
        for start in (0, 150)
    ]
    library, rng = BackgroundLibrary(ramps), np.random.default_rng(0)
    means = np.array([library.photograph(rng, 32).mean() for _ in range(200)])
    assert 0.35 < (means < 125).mean() < 0.65
    assert np.std(means[means < 125]) > 5
