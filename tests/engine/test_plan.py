"""The plan is arithmetic: tiles cover what is unknown, once, on the grid of tokens."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mematte.engine.plan import DEFAULT_MAX_GLOBAL_TOKENS, make_plan, tiles
from mematte.model import BASE, SMALL, TINY
from mematte.model.decoder import HALO_PX


@pytest.mark.parametrize(
    ("size", "padded"),
    [((1, 1), (32, 32)), ((32, 64), (32, 64)), ((33, 65), (64, 96)), ((4872, 6017), (4896, 6048))],
)
def test_sizes_are_padded_to_32_px(size: tuple[int, int], padded: tuple[int, int]) -> None:
    plan = make_plan(size, SMALL, None, 4)

    assert plan.padded == padded
    assert plan.tokens == padded[0] * padded[1] // 256
    assert plan.max_global_tokens == DEFAULT_MAX_GLOBAL_TOKENS


@pytest.mark.parametrize("spec", [TINY, SMALL, BASE])
def test_half_precision_allows_larger_tiles(spec) -> None:
    single = make_plan((4000, 4000), spec, None, 4).tile_px
    half = make_plan((4000, 4000), spec, None, 2).tile_px

    assert single % 16 == half % 16 == 0
    assert 256 <= single < half


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    tile_px=st.sampled_from([16, 48, 64, 208]),
    share=st.sampled_from([0.0, 0.001, 0.05, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_tiles_cover_every_unknown_pixel_once(
    size: tuple[int, int], tile_px: int, share: float, seed: int
) -> None:
    unknown = np.random.default_rng(seed).random(size) < share
    padded = make_plan(size, TINY, None, 4).padded
    covered = np.zeros(padded, int)

    for tile in tiles(unknown, padded, tile_px):
        covered[tile.core] += 1
        for core, window, end in zip(tile.core, tile.window, padded, strict=True):
            assert core.stop - core.start <= tile_px
            assert window.start == max(0, core.start - HALO_PX)
            assert window.stop == min(end, core.stop + HALO_PX)
            assert all(edge % 16 == 0 for edge in (core.start, core.stop, window.start, window.stop))
        assert unknown[tile.core].any()

    assert covered.max(initial=0) <= 1
    assert (covered[: size[0], : size[1]][unknown] == 1).all()
