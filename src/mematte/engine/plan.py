"""Plan: from a picture's size and a budget in bytes to how the network is run. Arithmetic only.

One map of tokens stays in memory; everything else is a piece of it, and lives as long as its stage. A stage's
largest moment is what stays plus what its largest piece takes, so the budget says how large pieces may be.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mematte.errors import BudgetError
from mematte.model import ModelSpec
from mematte.model.blocks import RESIDUAL_HALO_TOKENS
from mematte.model.decoder import HALO_PX
from mematte.model.ltrm import HALO_TOKENS
from mematte.model.mematte import SIZE_MULTIPLE_PX
from mematte.weights import Windows

from .fusion import STRIP_MAPS, levels
from .scope import NearWindows, sides

DEFAULT_MAX_GLOBAL_TOKENS = 18_500  # the published cap at inference

# What a stage takes, in numbers of the network's precision, measured and rounded up.
# `mematte bench memory --random 40` holds the sum against real processes.
# Per token of a piece and channel:
_WINDOW, _MLP, _RESIDUAL, _REFINE, _ROUTER, _QUERY = 8.3, 9.3, 9.0, 13.5, 3.0, 4.5
_TOKEN_BYTES = 40  # a router's decision: two log-probabilities, margins, flags
_DECIDED_BYTES = 32  # what is kept of that, for the next decision
_PREPARED_BYTES = 56  # a pixel on its way from file to network: float32 colours, twice, and what is read
# Code that runs for the first time and threads; per channel the libraries' scratch memory and the weights as
# they reorder them.
_FIXED_BYTES, _FIXED_BYTES_PER_CHANNEL = 20_000_000, 110_000
# What cuBLAS and cuDNN allocate to work in, and keep.
_GPU_WORKSPACE_BYTES = 67_000_000
# What a piece takes with the gaps between blocks that are kept, relative to itself. Pieces that follow each
# other add to that and to what libraries keep, until the gaps hold all that comes: from so many tokens that
# are computed, a piece, to four pieces.
_GAPS, _MORE_GAPS, _MORE_BYTES_PER_CHANNEL = 1.7, 1.1, 36_000
_GAPS_GROW_TOKENS = (1_764, 7_056)
# The gaps that a decoder's tiles leave where what they free is kept for the next, relative to what one takes,
# and how they grow; here unknown tokens count. By the bytes of a number: larger blocks fit into fewer gaps.
_DECODER_GAPS = {2: (0.35, 0.2), 4: (0.45, 0.6)}
# Few tiles are of one size, and for every new one oneDNN makes code, which it keeps. Gaps have room for it.
_CODE_BYTES, _TILES_WITH_CODE = 3_000_000, 10


@dataclass(frozen=True)
class Job:
    """What is to be planned. Sizes are (height, width) in px, memory is bytes."""

    size: tuple[int, int]
    spec: ModelSpec
    value_bytes: int = 4  # 4 for float32, 2 for bfloat16 and float16
    on_gpu: bool = False
    makes_scores: bool = False  # attention's, all at once, as MPS does: not a block of them after another
    max_global_tokens: int | None = None  # None: the published cap
    beside_bytes: int = 0  # what the caller will keep meanwhile and does not keep yet, such as the alpha
    row_bytes: int = 0  # what a row of the photo and the trimap take that are read from files in bands
    colours_bytes: int = 0  # what the foreground's colours take afterwards, if wanted, or else writing
    windows: Windows = "all"  # that are computed
    first_reduced: int = 1  # times smaller than that, at which the network is shown the picture before
    near: NearWindows | None = field(default=None, compare=False)  # those that are, if not all, where known

    @property
    def padded(self) -> tuple[int, int]:
        """(height, width) that the network sees, px."""
        height, width = (_up(side, SIZE_MULTIPLE_PX) for side in self.size)
        return height, width

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) in tokens."""
        height, width = self.padded
        return height // self.spec.patch, width // self.spec.patch

    @property
    def tokens(self) -> int:
        """Tokens of the grid."""
        return self.grid[0] * self.grid[1]

    @property
    def computed_tokens(self) -> int:
        """Tokens that are computed, at most."""
        return self.tokens if self.near is None else self.near.count

    @property
    def heads_at_once(self) -> int:
        """Of how many of its heads attention has the scores at once where it makes them."""
        return self.spec.heads if self.on_gpu else 1

    @property
    def map_bytes(self) -> int:
        """What the map of tokens takes."""
        return self.tokens * self.spec.channels * self.value_bytes


@dataclass(frozen=True)
class Pieces:
    """What a plan is free to choose. More is faster and takes more memory; only the cap changes results."""

    max_global_tokens: int  # per routed block
    window_tokens: int  # of a piece of whole windows
    piece_tokens: int  # of every other piece
    scores: int  # of a group of queries, of all heads that have them at once
    second_map: bool  # refined tokens wait in a map of their own; otherwise they are computed twice
    tile_px: int  # a decoder tile's side without its halo
    strip_values: int  # made at once inside a tile
    keep_blocks: bool  # what a tile frees waits for the next; otherwise the system gets it back


# The choices for each, the best first. On a CPU larger pieces would only leave its caches.
_WINDOW_SIDES = (3, 2, 1)  # windows per axis
_PIECE_SIDES = (42, 35, 28, 21, 14, 10, 7)  # tokens per axis
_SCORES = tuple(1 << bits for bits in (21, 20, 19, 18))
_TILES_PX = (512, 384, 256, 192, 128, 96, 64, 32)
_STRIP_BYTES = tuple(1 << bits for bits in (24, 23, 22, 21, 20, 19))
# A GPU has more to do at once, and below some 50,000 tokens takes less time for it than it takes to say so.
_GPU_FACTORS = (32, 16, 8)
_GPU_SCORES = tuple(1 << bits for bits in range(26, 20, -1))
_GPU_TILES_PX = (2048, 1024, *_TILES_PX)  # hundreds of launches each, more than 512 px are worth
_GPU_STRIPS = tuple(1 << bits for bits in range(27, 20, -1))
_RECORDED_STRIPS = _GPU_STRIPS[4:]  # of a recording launches cost nothing, and memory does

RECORDED_TOKENS = 10_000
"""Up to so many a GPU waits for the computer, and what a picture launches is recorded."""


@dataclass(frozen=True)
class Plan:
    """How one picture is executed."""

    job: Job
    memory: int  # the budget, bytes
    base_bytes: int  # taken before the work begins
    pieces: Pieces
    stages: dict[str, int]  # stage -> its largest moment in bytes, base included

    @property
    def padded(self) -> tuple[int, int]:
        """(height, width) that the network sees, px."""
        return self.job.padded

    @property
    def grid(self) -> tuple[int, int]:
        """(height, width) in tokens."""
        return self.job.grid

    @property
    def patch(self) -> int:
        """Pixels per token and axis."""
        return self.job.spec.patch

    def queries_at_once(self, tokens: int) -> int:
        """How many of so many attending tokens look at all of them at once."""
        return max(1, _queries_at_once(self.job, self.pieces, self.pieces.piece_tokens, tokens))

    @property
    def peak_bytes(self) -> int:
        """What is predicted at most: on a CPU of the whole process, on a GPU of what is allocated there."""
        return max(self.stages.values())


def make_plan(job: Job, memory: int, base_bytes: int, unknown: NDArray[np.bool_] | None = None) -> Plan:
    """Plan a picture within a budget: quality first, then speed.

    Args:
        job: what is to be done.
        memory: the budget in bytes: on a CPU of the whole process, on a GPU of what is allocated there.
        base_bytes: what is taken of it already.
        unknown: (h, w) token grid, where it is known already: nothing is then planned larger than it will be.

    Raises:
        BudgetError: it does not suffice for the smallest pieces; says the least that does.
    """
    if job.windows == "unknown" and unknown is not None:
        near = NearWindows(job.grid, unknown, job.spec.window)
        job = replace(job, near=near if near.count < job.tokens else None)
    *larger, factor = _GPU_FACTORS if job.on_gpu else (1,)

    def tokens(sides: Sequence[int]) -> list[int]:
        return [more * sides[0] ** 2 for more in larger] + [factor * side**2 for side in sides]

    choices: list[list[dict[str, Any]]] = [
        [{"window_tokens": count} for count in tokens([side * job.spec.window for side in _WINDOW_SIDES])],
        [{"piece_tokens": count} for count in tokens(_PIECE_SIDES)],
        [{"scores": count} for count in (_GPU_SCORES if job.on_gpu else _SCORES)],
        [{"tile_px": side} for side in (_GPU_TILES_PX if job.on_gpu else _TILES_PX)],
        [{"strip_values": count, "keep_blocks": keep} for count, keep in _strips(job)],
        [{"second_map": there} for there in (True, False)],
    ]

    def fits(pieces: Pieces) -> bool:
        return base_bytes + max(needs(job, pieces).values()) <= memory

    best, smallest = (
        {name: value for several in choices for name, value in several[which].items()} for which in (0, -1)
    )
    pieces = Pieces(max_global_tokens=_wanted_cap(job), **best)
    if not fits(pieces):
        pieces = Pieces(max_global_tokens=0, **smallest)
        if not fits(pieces):
            raise BudgetError(job.size, memory, base_bytes + max(needs(job, pieces).values()))
        pieces = replace(pieces, max_global_tokens=_largest_cap(job, pieces, memory - base_bytes))
        for several in choices:
            candidates = (replace(pieces, **choice) for choice in several)
            pieces = next(candidate for candidate in candidates if fits(candidate))
    plan = Plan(job, memory, base_bytes, pieces, {})
    if unknown is None:
        found = needs(job, pieces)
    else:
        found = needs(job, pieces, _decoded(unknown, plan))
    stages = {stage: base_bytes + need for stage, need in found.items()}
    return replace(plan, stages=stages)


def _strips(job: Job) -> list[tuple[int, bool]]:
    """Numbers made at once, and whether what is freed is kept, the best first."""
    if job.on_gpu:
        strips = _GPU_STRIPS if job.tokens > RECORDED_TOKENS else _RECORDED_STRIPS
        return [(strip, False) for strip in strips]
    # What the system gets back costs a fifth of the time, as does a strip a quarter as large.
    fitting = [size // job.value_bytes for size in _STRIP_BYTES]
    large, small = fitting[:2], fitting[2:]
    return [(strip, keep) for strips in (large, small) for keep in (True, False) for strip in strips]


@dataclass(frozen=True)
class Decoded:
    """What of a picture the decoder has to do.

    Attributes:
        tokens: with unknown pixels.
        tiles: how many.
        largest: (height, width) px of the core of the one that takes most.
    """

    tokens: int
    tiles: int
    largest: tuple[int, int]


def _decoded(unknown: NDArray[np.bool_], plan: Plan) -> Decoded:
    cores = [tile.core for _, tiles in rows_of_tiles(unknown, plan) for tile in tiles]
    sizes = [(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in cores]
    largest = max(sizes, key=math.prod, default=(0, 0))
    return Decoded(int(np.count_nonzero(unknown)), len(sizes), largest)


def _wanted_cap(job: Job) -> int:
    return DEFAULT_MAX_GLOBAL_TOKENS if job.max_global_tokens is None else job.max_global_tokens


def _largest_cap(job: Job, pieces: Pieces, room: int) -> int:
    """As many attending tokens as were asked for, or as fit."""
    wanted = _wanted_cap(job)
    counts = range(min(wanted, job.tokens) + 1)
    first_too_many = bisect.bisect_left(
        counts,
        True,
        key=lambda count: max(needs(job, replace(pieces, max_global_tokens=count)).values()) > room,
    )
    return wanted if first_too_many == len(counts) else first_too_many - 1


def needs(job: Job, pieces: Pieces, decoded: Decoded | None = None) -> dict[str, int]:
    """Bytes that each stage takes in its largest moment, beyond what is taken before the work begins.

    Args:
        job: what is to be done.
        pieces: how.
        decoded: what is unknown, where that is known; None: all may be.
    """
    spec, tokens = job.spec, job.tokens
    token = spec.channels * job.value_bytes
    height, width = sides(job.grid, pieces.piece_tokens)
    piece = height * width
    decisions = tokens * (1 + 2 * spec.blocks.count("R"))  # what is unknown; who attends, who was capped
    grown = _grown(job.computed_tokens)
    per_channel = _FIXED_BYTES_PER_CHANNEL + grown * _MORE_BYTES_PER_CHANNEL
    fixed = _FIXED_BYTES + int(spec.channels * per_channel)
    gathered = 0
    if job.windows == "unknown":  # which tokens are computed; and pieces of them are gathered, and put back
        decisions += tokens * (1 + job.value_bytes)
        gathered = 2
    if job.on_gpu:
        fixed += _GPU_WORKSPACE_BYTES
    one_map = job.map_bytes
    if job.near is not None and not job.on_gpu:
        one_map = job.near.bytes_written(pieces.piece_tokens, token)
    kept = job.beside_bytes + one_map + decisions + fixed

    def around(halo: int) -> int:
        """Tokens of a piece and of what its convolution sees beyond it."""
        return min(height + 2 * halo, job.grid[0]) * min(width + 2 * halo, job.grid[1])

    windows = math.prod(sides(job.grid, pieces.window_tokens, spec.window))
    filters = 9 * (spec.channels // 2) ** 2 * job.value_bytes  # a convolution's weights in another order
    transient: dict[str, float] = {
        "embed": piece * (spec.patch**2 * (_PREPARED_BYTES + 4 * job.value_bytes) + 3 * token),
        "windows": windows
        * ((_WINDOW + gathered) * token + 2 * spec.heads * spec.window**2 * job.value_bytes),
        "mlp": piece * (_MLP + gathered) * token,
        "residual": around(RESIDUAL_HALO_TOKENS) * _RESIDUAL * token + filters,
    }
    waiting = dict.fromkeys(transient, 0)
    waiting["embed"] = height * spec.patch * job.row_bytes
    if "R" in spec.blocks:
        most = min(pieces.max_global_tokens, job.computed_tokens)
        attending = most * token
        transient["route"] = piece * (_ROUTER + gathered) * token
        queries = _queries_at_once(job, pieces, piece, most)
        scores = 3 * spec.heads * most * job.value_bytes if job.makes_scores else 0
        transient["attend"] = queries * (_QUERY * token + scores)
        if not job.on_gpu and job.value_bytes < 4:  # as `Attention.look` does it
            transient["attend"] += 2 * max(pieces.scores, most) * job.value_bytes
        transient["refine"] = around(HALO_TOKENS) * _REFINE * token
        waiting["route"] = tokens * _TOKEN_BYTES
        waiting["attend"] = 3 * attending + tokens * _TOKEN_BYTES
        # The attending tokens wait aside while all are refined, perhaps in a second map.
        waiting["refine"] = attending + pieces.second_map * one_map + tokens * _DECIDED_BYTES
    if "G" in spec.blocks:
        queries = max(1, pieces.scores // (job.heads_at_once * tokens))
        scores = 3 * job.heads_at_once * tokens + 3 * spec.heads * sum(job.grid)  # and those of positions
        transient["attend globally"] = queries * (_QUERY * token + scores * job.value_bytes)
        waiting["attend globally"] = 2 * job.map_bytes
    gaps = _GAPS + grown * _MORE_GAPS
    # As many as if they were large, so that smaller ones never take more.
    most_tiles = min(_TILES_WITH_CODE, math.prod(-(-end // _TILES_PX[0]) for end in job.size))
    decoded = decoded or Decoded(tokens, most_tiles, (pieces.tile_px, pieces.tile_px))
    decoding, beside_tiles = _decoder_bytes(job, pieces, decoded.largest), 0.0
    if not job.on_gpu:
        beside_tiles = _CODE_BYTES * min(decoded.tiles, most_tiles)
    if pieces.keep_blocks:
        first, more = _DECODER_GAPS[job.value_bytes]
        beside_tiles = max(beside_tiles, (first + _grown(decoded.tokens) * more) * decoding)
    return {
        **{stage: kept + waiting[stage] + int(gaps * need) for stage, need in transient.items()},
        "decode": kept + int(decoding + beside_tiles),
        **({"colours": kept - one_map + job.colours_bytes} if job.colours_bytes else {}),
    }


def _grown(tokens: int) -> float:
    """How far gaps have grown, 0 to 1, when so many tokens have gone through piece by piece."""
    first, last = _GAPS_GROW_TOKENS
    return min(1.0, max(0.0, (tokens - first) / (last - first)))


def _queries_at_once(job: Job, pieces: Pieces, piece: int, attending: int) -> int:
    """How many of the attending tokens look at all of them at once, in pieces of `piece` tokens."""
    queries = min(piece, attending)
    if not job.makes_scores:
        return queries
    return min(queries, max(1, pieces.scores // (job.spec.heads * max(1, attending))))


def _decoder_bytes(job: Job, pieces: Pieces, core: tuple[int, int]) -> float:
    """What a decoder tile with a core of (height, width) px takes in its largest moment."""
    spec = job.spec

    def window(halo_px: int) -> tuple[int, int]:
        height, width = (min(side + 2 * halo_px, end) for side, end in zip(core, job.padded, strict=True))
        return height, width

    height, pixels = window(HALO_PX)[0], math.prod(window(HALO_PX))
    half, quarter, eighth = spec.detail_channels
    details = [pixels * per_pixel for per_pixel in (4, half / 4, quarter / 16, eighth / 64)]
    moments = [details[0] + 2 * details[1]]
    waiting = 0.0  # the coarser level's result
    for seen, level in zip((4, 3, 2, 1), levels(spec), strict=True):
        around = window(level.around_px)
        finer_pixels = math.prod(around) / level.scale**2
        made = STRIP_MAPS * level.fused
        least = 10 * (around[1] // level.scale) * made  # one coarse row, and two on either side
        strip = min(max(pieces.strip_values, least), finer_pixels * made)
        result = finer_pixels * (level.fused if level.scale > 1 else 2)
        moments.append(sum(details[:seen]) + waiting + result + strip)
        waiting = result
    if job.on_gpu:
        band = 4 * pixels  # the tile before is fetched meanwhile
    else:  # the rows of the photo, their alpha, and which of it is known
        band = height * job.row_bytes + min(pieces.tile_px, job.size[0]) * job.size[1] * 7
    return pixels * _PREPARED_BYTES + max(moments) * job.value_bytes + band


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


@dataclass(frozen=True)
class Tile:
    """A piece of the padded picture for the decoder; all edges lie on the grid of tokens."""

    core: tuple[slice, slice]  # the rows and columns whose alpha is kept
    window: tuple[slice, slice]  # core and halo: what is decoded
    row_start: int  # where the row of tiles begins

    @property
    def kept(self) -> tuple[slice, slice]:
        """Where the core lies within the window."""
        rows, columns = (
            slice(core.start - window.start, core.stop - window.start)
            for core, window in zip(self.core, self.window, strict=True)
        )
        return rows, columns

    @property
    def core_in_row(self) -> tuple[slice, slice]:
        """Where the core lies within its row of tiles."""
        rows, columns = self.core
        return slice(rows.start - self.row_start, rows.stop - self.row_start), columns


def rows_of_tiles(unknown: NDArray[np.bool_], plan: Plan) -> Iterator[tuple[slice, list[Tile]]]:
    """Rows of tiles that together cover every unknown pixel, each tile no larger than need be.

    Args:
        unknown: (h, w) token grid: whether any pixel under the token is unknown.
        plan: the tiles' size.

    Yields:
        The rows of the padded picture, px, and the tiles among them, which may be none.
    """
    patch, (height, width) = plan.patch, plan.grid
    side = plan.pieces.tile_px // patch
    for top in range(0, height, side):
        bottom = min(top + side, height)
        found = []
        for left in range(0, width, side):
            part = unknown[top:bottom, left : left + side]
            spans = [_span(np.any(part, axis=1 - axis)) for axis in (0, 1)]
            if spans[0] is None or spans[1] is None:
                continue
            core = tuple(
                slice((start + span.start) * patch, (start + span.stop) * patch)
                for start, span in zip((top, left), spans, strict=True)
                if span is not None
            )
            window = tuple(
                slice(max(0, part.start - HALO_PX), min(end, part.stop + HALO_PX))
                for part, end in zip(core, plan.padded, strict=True)
            )
            found.append(Tile((core[0], core[1]), (window[0], window[1]), top * patch))
        yield slice(top * patch, bottom * patch), found


def _span(occupied: NDArray[np.bool_]) -> slice | None:
    """From the first to the last True; None where there is none."""
    where = np.flatnonzero(occupied)
    return slice(int(where[0]), int(where[-1]) + 1) if len(where) else None
