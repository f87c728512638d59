"""Scope: the walk over what is computed misses nothing, and takes nothing twice."""

import mmap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mematte.engine.scope import AREA_WINDOWS, REACH_TOKENS, NearUnknown, NearWindows, Scope, spans

GRIDS = st.tuples(st.integers(1, 60), st.integers(1, 60))


def some_unknown(grid: tuple[int, int], seed: int) -> np.ndarray:
    """A few unknown tokens of a grid."""
    rng = np.random.default_rng(seed)
    unknown = np.zeros(grid, np.bool_)
    unknown.flat[rng.integers(0, unknown.size, rng.integers(1, 4))] = True
    return unknown


@settings(max_examples=100, deadline=None)
@given(grid=GRIDS, window=st.integers(1, 15), most=st.integers(1, 500), seed=st.integers(0, 2**16))
def test_parts_and_windows_hold_every_computed_token_once(grid, window, most, seed) -> None:
    scope = NearUnknown(NearWindows(grid, some_unknown(grid, seed), window), torch.zeros(()))
    computed = scope.kept_flags(torch.ones(1, grid[0] * grid[1], dtype=torch.bool))[0]
    parts, windows = list(scope.parts(most)), list(scope.windows(most))

    assert scope.count == int(computed.sum()) > 0
    assert max(map(len, parts)) <= most
    assert torch.equal(torch.cat(parts).sort().values, computed.nonzero()[:, 0])
    assert torch.equal(
        torch.cat([some.flatten() for some in windows]).sort().values, computed.nonzero()[:, 0]
    )
    for some in windows:
        assert some.numel() <= max(most, window**2)
        rows, columns = some // grid[1], some % grid[1]
        assert (rows[:, 0, 0] % window == 0).all()
        assert (columns[:, 0, 0] % window == 0).all()
        assert (rows - rows[:, :1, :1] == torch.arange(some.shape[1])[:, None]).all()
        assert (columns - columns[:, :1, :1] == torch.arange(some.shape[2])).all()


@settings(max_examples=100, deadline=None)
@given(grid=GRIDS, most=st.integers(1, 3000), seed=st.integers(0, 2**16))
def test_what_is_left_out_of_an_area_is_zero(grid, most, seed) -> None:
    window = 14
    scope = NearUnknown(NearWindows(grid, some_unknown(grid, seed), window), torch.zeros(()))
    computed = scope.kept_flags(torch.ones(1, grid[0] * grid[1], dtype=torch.bool)).view(grid)
    height, width = scope.sides(most)

    assert min(height, grid[0]) * min(width, grid[1]) <= max(1, min(most, AREA_WINDOWS * window**2))
    for rows in spans(grid[0], height):
        for columns in spans(grid[1], width):
            inside = computed[rows, columns]
            if scope.leaves_out((rows, columns)):
                assert not inside.any()
            kept = scope.kept(torch.ones(*inside.shape, 3), (rows, columns))
            assert torch.equal(kept, inside[..., None].expand(-1, -1, 3).float())


def test_a_window_is_computed_if_an_unknown_token_is_within_half_its_side() -> None:
    unknown = np.zeros((14, 70), np.bool_)
    unknown[3, 28] = True  # the first column of the third window

    assert REACH_TOKENS == 7
    assert NearWindows((14, 70), unknown, 14).count == 2 * 14 * 14  # its own, and the one to the left of it
    assert NearWindows((14, 70), np.roll(unknown, 6, axis=1), 14).count == 2 * 14 * 14
    assert (
        NearWindows((14, 70), np.roll(unknown, 7, axis=1), 14).count == 2 * 14 * 14
    )  # now the one to the right
    assert NearWindows((14, 70), np.ones_like(unknown), 14).count == 14 * 70


@settings(max_examples=60, deadline=None)
@given(
    grid=GRIDS,
    most=st.integers(1, 3000),
    token_bytes=st.sampled_from([8, 384, 768, 1536, 5000]),
    seed=st.integers(0, 2**16),
)
def test_a_map_takes_the_pages_of_its_areas(grid, most, token_bytes, seed) -> None:
    near = NearWindows(grid, some_unknown(grid, seed), 14)
    scope = NearUnknown(near, torch.zeros(()))
    height, width = scope.sides(most)
    pages = set()
    for rows in spans(grid[0], height):
        for columns in spans(grid[1], width):
            if not scope.leaves_out((rows, columns)):
                for row in range(rows.start, rows.stop):
                    first = (row * grid[1] + columns.start) * token_bytes
                    last = (row * grid[1] + columns.stop) * token_bytes - 1
                    pages |= set(range(first // mmap.PAGESIZE, last // mmap.PAGESIZE + 1))

    counted = near.bytes_written(most, token_bytes)

    # Pages that two runs share are counted for each; never more than the whole map.
    assert min(len(pages) * mmap.PAGESIZE, token_bytes * grid[0] * grid[1]) <= counted
    assert counted <= token_bytes * grid[0] * grid[1]
    assert near.bytes_written(most, token_bytes) == counted


def test_where_zeros_take_memory_at_once_the_whole_map_counts(monkeypatch) -> None:
    near = NearWindows((50, 60), np.ones((1, 1), np.bool_), 14)
    some = near.bytes_written(784, 768)

    monkeypatch.delattr(mmap, "MAP_PRIVATE")

    assert some < near.bytes_written(784, 768) == 50 * 60 * 768
    assert torch.equal(NearUnknown(near, torch.zeros(())).new_map(3), torch.zeros(50, 60, 3))


@pytest.mark.parametrize("most", [1, 5, 14, 30, 49, 98, 195])
def test_areas_smaller_than_a_window_lie_inside_of_one(most) -> None:
    height, width = NearWindows((50, 60), np.ones((1, 1), np.bool_), 14).sides(most)

    assert height * width <= most
    assert 14 % height == 14 % width == 0


def test_nothing_is_unknown_beyond_the_picture() -> None:
    unknown = np.ones((3, 14), np.bool_)

    assert (
        NearWindows((28, 42), unknown, 14).count == 2 * 14 * 14
    )  # with the window to the right, not the one below


@pytest.mark.parametrize("unknown", [np.ones((30, 40), np.bool_)])
def test_near_everything_is_everything(unknown) -> None:
    scope = NearUnknown(NearWindows((30, 40), unknown, 14), torch.zeros(()))

    assert scope.is_whole
    assert scope.count == 1200


def test_a_whole_scope_changes_nothing() -> None:
    scope, values = Scope((4, 5), torch.zeros(())), torch.randn(2, 3, 6)

    assert scope.is_whole
    assert list(scope.parts(8)) == [slice(0, 8), slice(8, 16), slice(16, 20)]
    assert scope.kept(values, (slice(0, 2), slice(1, 4))) is values
    assert not scope.leaves_out((slice(0, 4), slice(0, 5)))


def test_spans_are_in_order_and_whole() -> None:
    assert list(spans(7, 3)) == [slice(0, 3), slice(3, 6), slice(6, 7)]
    assert list(spans(0, 3)) == []
