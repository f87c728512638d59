"""Trimaps never contradict the alpha, whatever their style."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from mematte.data import trimaps
from mematte.data.trimaps import STYLES, WIDEST_PX, distance, make_trimap, painted, without_specks


def disc(size: int = 96, softness: float = 10) -> NDArray[np.float32]:
    ys, xs = np.mgrid[:size, :size]
    return np.clip((size / 3 - np.hypot(ys - size / 2, xs - size / 2)) / softness, 0, 1).astype(np.float32)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    "alpha", [disc(), disc(softness=0.5), 1 - disc(), disc() * 0, disc() * 0 + 1, disc() * 0.5]
)
def test_known_means_exact(style: str, alpha: NDArray[np.float32]) -> None:
    rng = np.random.default_rng(0)
    for _ in range(12):
        trimap = make_trimap(alpha, rng, {style: 1.0})
        assert set(np.unique(trimap)) <= {0, 128, 255}
        assert (alpha[trimap == 0] == 0).all()
        assert (alpha[trimap == 255] == 1).all()


def test_styles_cover_thin_bands_and_nearly_everything_unknown() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([(make_trimap(disc(224, 3), rng) == 128).mean() for _ in range(300)])
    assert shares.min() < 0.08
    assert shares.max() > 0.6


def test_bands_are_often_lopsided() -> None:
    rng, alpha = np.random.default_rng(0), disc(224, 1)
    ratios = []
    for _ in range(100):
        unknown = make_trimap(alpha, rng) == 128
        ratios.append((unknown & (alpha > 0.5)).sum() / max(1, (unknown & (alpha < 0.5)).sum()))
    assert np.mean((np.array(ratios) > 2) | (np.array(ratios) < 0.5)) > 0.25


def test_distance_is_the_euclidean_one() -> None:
    mask = np.ones((41, 41), bool)
    mask[20, 20] = False
    assert distance(mask)[20, 30] == pytest.approx(10, rel=0.03)
    assert distance(mask)[0, 0] == pytest.approx(np.hypot(20, 20), rel=0.03)
    assert distance(np.ones((4, 4), bool)).min() > 1000
    assert distance(np.zeros((4, 4), bool)).max() == 0


def test_specks_are_removed_and_the_rest_is_kept() -> None:
    mask = np.zeros((30, 30), bool)
    mask[2:4, 2:4] = True
    mask[10:25, 10:25] = True
    kept = without_specks(mask, 10)
    assert not kept[:5, :5].any()
    assert (kept[10:25, 10:25]).all()


def test_a_brush_stays_inside_and_leaves_narrow_places_out() -> None:
    mask = np.zeros((60, 60), bool)
    mask[10:50, 10:50] = True
    mask[28:31, :] = True  # a corridor narrower than the brush
    result = painted(mask, 6)
    assert not (result & ~mask).any()
    assert result[30, 30]
    assert not result[29, 2]


@pytest.mark.parametrize("size_px", [96, 224, 448])
def test_wide_trimaps_reach_far_in_crops_of_any_size(size_px: int) -> None:
    alpha = np.zeros((size_px, size_px), np.float32)
    alpha[:, : size_px // 8] = 1
    rng = np.random.default_rng(0)
    reaches = [(make_trimap(alpha, rng, {"wide": 1.0})[0] == 128).sum() for _ in range(60)]
    assert max(reaches) > min(WIDEST_PX, size_px * 0.8) * 0.75


def test_dabs_leave_islands_known_between_the_strands(monkeypatch: pytest.MonkeyPatch) -> None:
    styles = {"dabs": 1.0}
    monkeypatch.setattr(trimaps, "SPECKS_CHANCE", 0.0)
    alpha = np.zeros((224, 224), np.float32)
    for left in range(10, 200, 60):
        alpha[:, left : left + 30] = 1
    known = np.mean(
        [(make_trimap(alpha, np.random.default_rng(seed), styles) == 255).mean() for seed in range(20)]
    )
    assert 0.05 < known < 0.45


def test_a_mask_gives_the_trimap_that_tools_make() -> None:
    alpha = disc(224, 2)
    for seed in range(10):
        trimap = make_trimap(alpha, np.random.default_rng(seed), {"mask": 1.0})
        assert (trimap[(alpha > 0) & (alpha < 1)] == 128).all()
        assert (trimap == 128).mean() < 0.6
