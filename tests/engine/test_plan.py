"""The plan is arithmetic: it keeps its budget, and tiles cover what is unknown once, on the tokens' grid."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mematte.engine.cost import operations
from mematte.engine.plan import DEFAULT_MAX_GLOBAL_TOKENS, Decoded, Job, Plan, make_plan, needs, rows_of_tiles
from mematte.errors import BudgetError
from mematte.model import BASE, SMALL, TINY, teacher
from mematte.model.decoder import HALO_PX

PLENTY, BASE_BYTES = 10**13, 300_000_000
SIZES = st.tuples(st.integers(1, 40_000), st.integers(1, 40_000))
SPECS = st.sampled_from([TINY, SMALL, BASE, teacher(SMALL)])


@pytest.mark.parametrize(
    ("size", "padded"),
    [((1, 1), (32, 32)), ((32, 64), (32, 64)), ((33, 65), (64, 96)), ((4872, 6017), (4896, 6048))],
)
def test_sizes_are_padded_to_32_px(size: tuple[int, int], padded: tuple[int, int]) -> None:
    plan = make_plan(Job(size, SMALL), PLENTY, 0)

    assert plan.padded == padded
    assert plan.job.tokens == padded[0] * padded[1] // 256
    assert plan.pieces.max_global_tokens == DEFAULT_MAX_GLOBAL_TOKENS


@settings(max_examples=100, deadline=None)
@given(size=SIZES, spec=SPECS, value_bytes=st.sampled_from([2, 4]), room=st.integers(10**6, 10**10))
def test_a_plan_keeps_its_budget_or_says_the_least(size, spec, value_bytes, room) -> None:
    job, memory = Job(size, spec, value_bytes), BASE_BYTES + room
    least = least_budget(job, BASE_BYTES)

    if memory < least:
        with pytest.raises(BudgetError):
            make_plan(job, memory, BASE_BYTES)
        memory = least
    assert BASE_BYTES < make_plan(job, memory, BASE_BYTES).peak_bytes <= memory


@settings(max_examples=100, deadline=None)
@given(
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    value_bytes=st.sampled_from([2, 4]),
    windows=st.sampled_from(["all", "unknown"]),
    tightness=st.floats(1, 3),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_what_is_unknown_never_takes_more_than_was_planned_without_knowing_it(
    size, value_bytes, windows, tightness, share, seed
) -> None:
    job = Job(size, SMALL, value_bytes, windows=windows)
    unknown = np.random.default_rng(seed).random(job.grid) < share**3
    memory = int(tightness * least_budget(job, BASE_BYTES))

    blind, knowing = make_plan(job, memory, BASE_BYTES), make_plan(job, memory, BASE_BYTES, unknown)

    assert knowing.peak_bytes <= memory
    if knowing.pieces == blind.pieces:
        assert all(knowing.stages[stage] <= blind.stages[stage] for stage in blind.stages)


def test_the_decoders_code_is_that_of_the_tiles_that_have_unknown_pixels() -> None:
    job = Job((1536, 1536), SMALL, value_bytes=2)
    pieces = replace(make_plan(job, PLENTY, 0).pieces, keep_blocks=False)
    largest = pieces.tile_px, pieces.tile_px
    planned = {
        tiles: needs(job, pieces, Decoded(tokens=9216, tiles=tiles, largest=largest))["decode"]
        for tiles in (1, 4, 9, 100)
    }

    assert planned[4] - planned[1] == 3 * (planned[9] - planned[4]) // 5 > 0
    assert planned[100] == planned[9] == needs(job, pieces)["decode"]


def test_a_decoder_in_float32_leaves_more_gaps_than_one_in_half_precision() -> None:
    def gaps(value_bytes: int) -> float:
        job = Job((4000, 4000), SMALL, value_bytes)
        kept = make_plan(job, PLENTY, 0).pieces
        returned = replace(kept, keep_blocks=False)
        with_gaps, without = (needs(job, pieces)["decode"] for pieces in (kept, returned))
        return (with_gaps - without) / without

    assert gaps(4) > 1.5 * gaps(2) > 0


def test_where_it_is_known_what_is_computed_less_memory_is_planned_and_fewer_operations() -> None:
    unknown = np.zeros((188, 250), np.bool_)
    unknown[:20] = True
    job = Job((3000, 4000), SMALL, windows="unknown")

    blind, knowing = make_plan(job, PLENTY, 0), make_plan(job, PLENTY, 0, unknown)

    assert blind.job.computed_tokens == knowing.job.tokens == 188 * 250
    assert knowing.job.computed_tokens == 2 * 14 * 250
    assert knowing.pieces == blind.pieces
    assert knowing.stages["attend"] < blind.stages["attend"]
    assert operations(knowing, 0.1).encode < 0.2 * operations(blind, 0.1).encode
    assert make_plan(replace(job, windows="all"), PLENTY, 0, unknown).job.computed_tokens == 188 * 250


def least_budget(job: Job, base_bytes: int) -> int:
    with pytest.raises(BudgetError) as raised:
        make_plan(job, 1, base_bytes)
    return raised.value.least


@settings(max_examples=60, deadline=None)
@given(size=SIZES, spec=SPECS, room=st.integers(10**8, 10**10), more=st.integers(1, 10**9))
def test_more_memory_never_lowers_the_cap_nor_the_peak(size, spec, room, more) -> None:
    room = max(room, least_budget(Job(size, spec), 0))
    tight = make_plan(Job(size, spec), BASE_BYTES + room, BASE_BYTES)
    ample = make_plan(Job(size, spec), BASE_BYTES + room + more, BASE_BYTES)

    assert tight.pieces.max_global_tokens <= ample.pieces.max_global_tokens
    assert tight.peak_bytes <= ample.peak_bytes


def test_what_is_asked_for_comes_before_speed() -> None:
    """A budget that does not suffice for everything goes to the attending tokens first."""
    job = Job((3000, 3000), SMALL, max_global_tokens=9000)
    full = make_plan(job, PLENTY, 0)
    least = least_budget(job, 0)

    tight = next(
        plan
        for plan in (make_plan(job, least + extra * 10**6, 0) for extra in range(1000))
        if plan.pieces.max_global_tokens == 9000
    )

    assert tight.peak_bytes < 0.65 * full.peak_bytes
    assert replace(tight.pieces, max_global_tokens=0) != replace(full.pieces, max_global_tokens=0)


def test_what_tiles_free_is_kept_only_where_the_budget_has_room_for_the_gaps() -> None:
    job = Job((1500, 1500), SMALL)
    ample = make_plan(job, PLENTY, 0)
    returning = replace(ample.pieces, keep_blocks=False)
    suffices = max(needs(job, returning).values())

    tight = make_plan(job, suffices, 0)

    assert ample.pieces.keep_blocks
    assert max(needs(job, ample.pieces).values()) > suffices
    assert tight.pieces == returning
    assert not make_plan(
        replace(job, on_gpu=True), PLENTY, 0
    ).pieces.keep_blocks  # another allocator's business


def test_the_fewer_tiles_the_fewer_gaps() -> None:
    few, many = np.zeros((188, 188), np.bool_), np.ones((188, 188), np.bool_)
    few[:32, :32] = True
    job = Job((3000, 3000), SMALL)

    assert make_plan(job, PLENTY, 0, few).stages["decode"] < make_plan(job, PLENTY, 0, many).stages["decode"]


@pytest.mark.parametrize("spec", [TINY, SMALL, BASE])
def test_half_precision_takes_about_half(spec) -> None:
    single, half = (make_plan(Job((4000, 4000), spec, value), PLENTY, 0).peak_bytes for value in (4, 2))

    # Colours are float32 in any case, and strips have as many bytes.
    assert 0.45 < half / single < 0.8


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    tile_px=st.sampled_from([16, 48, 64, 208]),
    share=st.sampled_from([0.0, 0.05, 1.0]),
    seed=st.integers(0, 2**16),
)
def test_tiles_cover_every_unknown_token_once(size, tile_px, share, seed) -> None:
    plan = tiled(size, tile_px)
    unknown = np.random.default_rng(seed).random(plan.grid) < share
    covered = np.zeros(plan.padded, int)
    next_row = 0

    for rows, tiles in rows_of_tiles(unknown, plan):
        assert rows.start == next_row
        next_row = rows.stop
        for tile in tiles:
            covered[tile.core] += 1
            for core, window, end in zip(tile.core, tile.window, plan.padded, strict=True):
                assert core.stop - core.start <= tile_px
                assert window.start == max(0, core.start - HALO_PX)
                assert window.stop == min(end, core.stop + HALO_PX)
                assert all(edge % 16 == 0 for edge in (core.start, core.stop, window.start, window.stop))
            assert rows.start + tile.core_in_row[0].start == tile.core[0].start
            assert unknown.repeat(16, 0).repeat(16, 1)[tile.core].any()

    assert next_row == plan.padded[0]
    assert covered.max(initial=0) <= 1
    assert (covered[unknown.repeat(16, 0).repeat(16, 1)] == 1).all()


def tiled(size: tuple[int, int], tile_px: int) -> Plan:
    plan = make_plan(Job(size, TINY), PLENTY, 0)
    return replace(plan, pieces=replace(plan.pieces, tile_px=tile_px))


def test_where_attention_makes_all_its_scores_they_are_planned_and_fewer_look_at_once() -> None:
    usual, making = (
        make_plan(Job((3000, 3000), SMALL, on_gpu=True, makes_scores=makes), PLENTY, 0)
        for makes in (False, True)
    )
    attending = usual.pieces.max_global_tokens

    assert usual.queries_at_once(attending) == min(attending, usual.pieces.piece_tokens)
    queries = making.queries_at_once(attending)
    assert SMALL.heads * queries * attending <= making.pieces.scores
    assert making.stages["attend"] > usual.stages["attend"] + SMALL.heads * queries * attending * 4
    assert making.queries_at_once(0) == 1
