"""Encode: what the backbone computes in one piece, whatever the pieces."""

import itertools
import subprocess
import sys
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mematte.engine.encode import areas, encode, neighbourhoods
from mematte.engine.plan import Job, Plan, make_plan
from mematte.engine.scope import NearUnknown, NearWindows, Scope
from mematte.model import TINY, MEMatte, ModelSpec, argmax, teacher, within_budget
from mematte.model.backbone import Backbone
from mematte.model.blocks import WindowBlock
from mematte.model.router import Decide

from ..conftest import noisy

Flags = NDArray[np.bool_]

SLIM = ModelSpec("slim", channels=24, heads=3, detail_channels=(4, 8, 8), fusion_channels=(8, 8, 8, 8))


@pytest.fixture(scope="module", params=["routed", "global"])
def network(request) -> MEMatte:
    network = MEMatte(SLIM if request.param == "routed" else teacher(SLIM)).eval()
    noisy(network)
    return network


@settings(max_examples=40, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    window_tokens=st.sampled_from([1, 196, 400, 2000]),
    piece_tokens=st.sampled_from([1, 7, 64, 300, 5000]),
    scores=st.sampled_from([100, 5000, 10**6]),
    second_map=st.booleans(),
    budget=st.sampled_from([0, 3, 10**6]),
    seed=st.integers(0, 2**16),
)
def test_the_result_does_not_depend_on_the_pieces(
    network, grid, window_tokens, piece_tokens, scores, second_map, budget, seed
) -> None:
    height, width = grid
    inputs = torch.randn(1, 4, 16 * height, 16 * width, generator=torch.Generator().manual_seed(seed))
    plan = in_pieces(
        grid,
        network.spec,
        window_tokens=window_tokens,
        piece_tokens=piece_tokens,
        scores=scores,
        second_map=second_map,
    )
    decide = partial(within_budget, budget=budget)
    shares: list[float] = []

    with torch.inference_mode():
        whole, routings = network.backbone(inputs, decide)
        features, routed = encode(
            network.backbone,
            lambda rows, columns: inputs[..., rows, columns],
            plan,
            Scope(grid, torch.zeros(())),
            decide,
            shares.append,
        )

    torch.testing.assert_close(features, whole[0], rtol=1e-5, atol=1e-5 * float(whole.abs().max()))
    assert shares == sorted(shares)
    assert shares[-1] == 1
    for one, other in zip(routed, routings, strict=True):
        assert (one.attend.flatten() == other.attend[0]).all()
        assert (one.asks.flatten() == argmax(other.log_probs)[0]).all()


@settings(max_examples=40, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    window_tokens=st.sampled_from([1, 196, 400, 2000]),
    piece_tokens=st.sampled_from([1, 7, 64, 300, 5000]),
    second_map=st.booleans(),
    budget=st.sampled_from([0, 3, 10**6]),
    unknown_tokens=st.integers(1, 4),
    seed=st.integers(0, 2**16),
)
def test_windows_that_are_left_out_are_not_there(
    grid, window_tokens, piece_tokens, second_map, budget, unknown_tokens, seed
) -> None:
    network = MEMatte(SLIM).eval()
    noisy(network)
    rng = np.random.default_rng(seed)
    unknown = np.zeros(grid, np.bool_)
    unknown.flat[rng.integers(0, unknown.size, unknown_tokens)] = True
    inputs = torch.from_numpy(rng.standard_normal((1, 4, 16 * grid[0], 16 * grid[1]), np.float32))
    plan = in_pieces(
        grid,
        SLIM,
        window_tokens=window_tokens,
        piece_tokens=piece_tokens,
        scores=10**6,
        second_map=second_map,
    )
    scope = NearUnknown(NearWindows(grid, unknown, SLIM.window), inputs)
    decide = partial(within_budget, budget=budget)

    def read(rows: slice, columns: slice) -> torch.Tensor:
        assert not scope.leaves_out(
            (slice(rows.start // 16, rows.stop // 16), slice(columns.start // 16, columns.stop // 16))
        )
        return inputs[..., rows, columns]

    there = torch.from_numpy(tokens_of_near_windows(unknown, SLIM.window))
    with torch.inference_mode():
        expected, attending = without_some(network.backbone, inputs, there, decide)
        features, routed = encode(network.backbone, read, plan, scope, decide, lambda _: None)

    torch.testing.assert_close(features, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))
    for one, attend in zip(routed, attending, strict=True):
        assert torch.equal(one.attend, attend)
        assert (one.asks >= one.attend).all()
        assert not one.asks[~there].any()


def tokens_of_near_windows(unknown: Flags, window: int) -> Flags:
    """(h, w) whether the token's window has an unknown token no further away than half its side."""
    found = np.zeros_like(unknown)
    for top, left in itertools.product(*(range(0, end, window) for end in unknown.shape)):
        for row, column in np.argwhere(unknown):
            away = max(top - row, row - top - window + 1, left - column, column - left - window + 1, 0)
            if away <= window // 2:
                found[top : top + window, left : left + window] = True
    return found


def without_some(
    backbone: Backbone, inputs: Tensor, there: Tensor, decide: Decide
) -> tuple[Tensor, list[Tensor]]:
    """(h, w, C) features, zero where no token is there, and who attends, by the parts on whole maps."""
    kept = there[..., None].float()
    tokens, attending = backbone.embed(inputs)[0] * kept, []
    for block in backbone.blocks:
        if isinstance(block, WindowBlock):
            tokens = block(tokens[None])[0] * kept
            continue
        local, context = block.router.embed(tokens).chunk(2, dim=-1)
        log_probs = block.router.judge(local[there][None], context[there].mean(dim=0))
        attend = torch.zeros_like(there)
        attend[there] = decide(log_probs)[0]
        attending.append(attend)
        hidden = block.refinement.hidden(tokens[None])[0]
        factor = block.refinement.channel_gate(hidden[there].mean(dim=0)[None])[0]
        branch = block.refinement.shrink(hidden) * factor
        if attend.any():
            branch[attend] = block.attention.among(block.norm1(tokens[attend])[None])[0]
        tokens = tokens + branch * kept
        tokens = (tokens + block.mlp(block.norm2(tokens))) * kept
        tokens = block.residual(tokens[None])[0] * kept
    return tokens, attending


def in_pieces(grid: tuple[int, int], spec: ModelSpec, **pieces: Any) -> Plan:
    """A plan with these pieces. Plans pad to 32 px; here the grid may be odd, which nothing may mind."""
    size = (16 * grid[0], 16 * grid[1])
    plan = make_plan(Job(size, spec), 10**12, 0)
    return replace(plan, job=OddJob(size, spec), pieces=replace(plan.pieces, **pieces))


class OddJob(Job):
    """A job whose picture is not padded."""

    @property
    def padded(self) -> tuple[int, int]:
        return self.size


@settings(max_examples=100, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    most=st.integers(1, 3000),
    multiple=st.sampled_from([1, 14]),
)
def test_areas_cover_the_grid_once_within_their_size(grid, most, multiple) -> None:
    covered = torch.zeros(grid, dtype=torch.int)

    for rows, columns in areas(grid, most, multiple):
        covered[rows, columns] += 1
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        assert area <= max(most, multiple**2)
        assert rows.start % multiple == columns.start % multiple == 0

    assert (covered == 1).all()


@settings(max_examples=100, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    most=st.integers(1, 400),
    halo=st.integers(1, 3),
)
def test_neighbourhoods_show_the_old_tokens_though_areas_are_overwritten(grid, most, halo) -> None:
    old = torch.randn(*grid, 2)
    tokens = old.clone()

    for piece in neighbourhoods(tokens, most, halo, Scope(grid, torch.zeros(()))):
        (rows, columns), (inner_rows, inner_columns) = piece.area, piece.inner
        around = (
            slice(rows.start - inner_rows.start, rows.start - inner_rows.start + piece.window.shape[0]),
            slice(
                columns.start - inner_columns.start,
                columns.start - inner_columns.start + piece.window.shape[1],
            ),
        )
        assert torch.equal(piece.window, old[around])
        for part, inside, end in zip(around, piece.area, grid, strict=True):
            assert part.start == max(0, inside.start - halo)
            assert part.stop == min(end, inside.stop + halo)
        tokens[rows, columns] = float("nan")

    assert tokens.isnan().all()


@settings(max_examples=100, deadline=None)
@given(
    grid=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    most=st.integers(1, 900),
    halo=st.integers(1, 3),
    at=st.integers(0, 3599),
)
def test_neighbourhoods_that_are_left_out_leave_the_others_as_they_are(grid, most, halo, at) -> None:
    old = torch.randn(*grid, 2)
    tokens, unknown = old.clone(), np.zeros(grid, np.bool_)
    unknown.flat[at % unknown.size] = True
    scope = NearUnknown(NearWindows(grid, unknown, 5), old)
    there = tokens_of_near_windows(unknown, 5)

    for piece in neighbourhoods(tokens, most, halo, scope):
        top, left = (area.start - inner.start for area, inner in zip(piece.area, piece.inner, strict=True))
        around = (slice(top, top + piece.window.shape[0]), slice(left, left + piece.window.shape[1]))
        assert torch.equal(piece.window, old[around])
        tokens[piece.area] = float("nan")

    assert tokens[torch.from_numpy(there)].isnan().all()


def test_bfloat16_stays_near_float32_in_pieces() -> None:
    network = MEMatte(TINY).eval()
    noisy(network)
    inputs = torch.randn(1, 4, 320, 256, generator=torch.Generator().manual_seed(0))
    plan = make_plan(Job((320, 256), TINY), 10**12, 0)
    features = {}
    for dtype in (torch.float32, torch.bfloat16):
        half = MEMatte(TINY).eval()
        half.load_state_dict(network.state_dict())
        half.to(dtype)
        with torch.inference_mode():
            features[dtype], _ = encode(
                half.backbone,
                lambda rows, columns, dtype=dtype: inputs[..., rows, columns].to(dtype),
                plan,
                Scope(plan.grid, torch.zeros((), dtype=dtype)),
                partial(within_budget, budget=0),  # a network of noise has many near ties
                lambda _: None,
            )

    difference = features[torch.bfloat16].float() - features[torch.float32]
    assert 0 < difference.std() < 0.02 * features[torch.float32].std()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the gaps are those of glibc's allocator")
def test_a_routers_decisions_leave_no_gaps_in_memory() -> None:
    """In a process of its own, whose memory nothing else has used: it grows by what it keeps."""
    program = """
import torch
from types import SimpleNamespace
from mematte.engine.encode import _log_probs
from mematte.engine.memory import keep_freed_blocks, process_bytes
from mematte.engine.scope import Scope
from mematte.model.router import Router

torch.set_num_threads(1)
keep_freed_blocks()
router, tokens = Router(8).eval(), torch.randn(1, 2_000_000, 8)
plan = SimpleNamespace(pieces=SimpleNamespace(piece_tokens=1764))
with torch.inference_mode():
    # The first call sets things up.
    _log_probs(router, tokens[:, :20_000], plan, Scope((1, 20_000), tokens))
    before = process_bytes()
    log_probs = _log_probs(router, tokens, plan, Scope((1, 2_000_000), tokens))
    print((process_bytes() - before) / log_probs.nbytes)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert float(said.stdout) < 1.5


def test_only_the_halos_of_a_row_of_areas_are_kept() -> None:
    """Of a wide map a row of areas is many times what a piece is."""
    largest = 0

    class Watching(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            nonlocal largest
            result = function(*args, **(kwargs or {}))
            if function.overloadpacket in (torch.ops.aten.cat, torch.ops.aten.clone):
                largest = max(largest, result.numel())
            return result

    tokens = torch.randn(64, 1000, 4)
    with Watching():
        for piece in neighbourhoods(tokens, 256, 2, Scope((64, 1000), torch.zeros(()))):
            tokens[piece.area] = piece.window[piece.inner]

    assert largest <= 2 * 2 * 1000 * 4  # the last two rows and those before them
