"""Encode: the backbone over one resident map of tokens, piece by piece and in place.

Everything else lives only as long as its piece. The model says what a block computes; here is only where and
when, so that the result does not depend on the size of the pieces.
Shapes: (h, w) token grid, N = h * w tokens, C channels, n attending tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mematte.model.attention import Area, query_areas
from mematte.model.backbone import Backbone
from mematte.model.blocks import RESIDUAL_HALO_TOKENS, GlobalBlock, RoutedBlock, WindowBlock
from mematte.model.ltrm import HALO_TOKENS, TokenRefinement
from mematte.model.router import Decide, Router, argmax

from .plan import Plan
from .replay import Directly, Sections
from .scene import Read
from .scope import NearUnknown, Scope, sides, spans


class Routed(NamedTuple):
    """What one routed block decided."""

    attend: Tensor  # (h, w) bool
    asks: Tensor  # (h, w) bool, whom the router sent to attention; more than attend if the cap cut some off


def encode(
    backbone: Backbone,
    read: Read,
    plan: Plan,
    scope: Scope,
    decide: Decide,
    done: Callable[[float], None],
    sections: Sections | None = None,
) -> tuple[Tensor, list[Routed]]:
    """What `Backbone.forward` computes, for one picture, within the memory that was planned.

    Args:
        backbone: in eval mode.
        read: the picture, a window at a time.
        plan: sizes of the pieces.
        scope: which windows are computed. The others are not there: their tokens are zero, nobody attends to
            them, and they count in no mean. Only without `G` blocks may it leave any out.
        decide: the routers' scores -> who attends.
        done: told the share of the work that is done, 0 to 1.
        sections: who does the parts in which nothing depends on how many tokens attend; None: they are done
            as they come.

    Returns:
        (h, w, C) features, and the decisions of the routed blocks in order.
    """
    do = sections or Directly()
    tokens = do("embed", lambda: _embedded(backbone, read, plan, scope))
    routings = []
    for number, block in enumerate(backbone.blocks, start=1):
        match block:
            case WindowBlock():
                do.later(partial(_window_block, block, tokens, plan, scope))
            case RoutedBlock():
                routings.append(_routed_block(block, tokens, plan, scope, decide, do, f"block {number}"))
            case GlobalBlock():
                assert scope.is_whole, "its relative positions are those of the whole grid"
                do.later(partial(_global_block, block, tokens, plan, scope))
        done(number / len(backbone.blocks))
    return do("features", lambda: tokens), routings


def _embedded(backbone: Backbone, read: Read, plan: Plan, scope: Scope) -> Tensor:
    """(h, w, C): patches and absolute positions, a band of the picture at a time."""
    patch = backbone.patches.kernel_size[0]
    tokens = scope.new_map(backbone.patches.out_channels)
    positions = _Positions(backbone.positions, plan.grid)
    for area in _cover(plan.grid, *scope.sides(plan.pieces.piece_tokens)):
        if scope.leaves_out(area):
            continue
        rows, columns = area
        embedded = backbone.patches(read(_pixels(rows, patch), _pixels(columns, patch)))[0].permute(1, 2, 0)
        tokens[area] = scope.kept(embedded, area)
        tokens[area] += scope.kept(positions.of(rows, columns).to(tokens.dtype), area)
    return tokens


def _pixels(tokens: slice, patch: int) -> slice:
    return slice(tokens.start * patch, tokens.stop * patch)


class _Positions:
    """`Backbone.positions_for` an area at a time.

    Bicubic resizing is separable and linear: two matrices, which resizing the identity gives.
    """

    def __init__(self, positions: Tensor, grid: tuple[int, int]) -> None:
        self._positions = positions[0].float()
        self._rows, self._columns = (
            _resize_matrix(source, target, positions.device)
            for source, target in zip(positions.shape[1:3], grid, strict=True)
        )

    def of(self, rows: slice, columns: slice) -> Tensor:
        """(rows, columns, C) float32."""
        return torch.einsum("yi,ijc,xj->yxc", self._rows[rows], self._positions, self._columns[columns])


def _resize_matrix(source: int, target: int, device: torch.device) -> Tensor:
    """(target, source): what bicubic resizing multiplies one axis with."""
    identity = torch.eye(source, dtype=torch.float32, device=device)[None, None]
    if source == target:
        return identity[0, 0]
    return F.interpolate(identity, size=(target, source), mode="bicubic", align_corners=False)[0, 0]


def _window_block(block: WindowBlock, tokens: Tensor, plan: Plan, scope: Scope) -> None:
    """Windows know nothing of each other: whole ones, a few at a time."""
    most = plan.pieces.window_tokens
    if isinstance(scope, NearUnknown):
        flat = tokens.view(-1, tokens.shape[-1])
        for windows in scope.windows(most):
            flat[windows] = block(flat[windows])
        return
    for rows, columns in areas(plan.grid, most, block.window):
        tokens[rows, columns] = block(tokens[None, rows, columns])[0]


def _routed_block(
    block: RoutedBlock, tokens: Tensor, plan: Plan, scope: Scope, decide: Decide, do: Sections, name: str
) -> Routed:
    routed = do(f"{name}: route", lambda: _routed(block.router, tokens, plan, scope, decide))
    chosen = routed.attend.flatten().nonzero()[:, 0]
    flat = tokens.view(-1, tokens.shape[-1])
    attended = _attended(block, flat, chosen, plan)
    if len(chosen) < scope.count:
        do(f"{name}: refine", partial(_refine, block.refinement, tokens, plan, scope))
    flat[chosen] = attended
    do.later(partial(_finish, block, tokens, plan, scope))
    return routed


def _routed(router: Router, tokens: Tensor, plan: Plan, scope: Scope, decide: Decide) -> Routed:
    log_probs = _log_probs(router, tokens, plan, scope)
    attend = scope.kept_flags(decide(log_probs))
    # Counting whom the cap cut off would wait for a GPU once more in every block: it is done at the end.
    return Routed(attend.view(plan.grid), argmax(log_probs).view(plan.grid))


def _log_probs(router: Router, tokens: Tensor, plan: Plan, scope: Scope) -> Tensor:
    """(1, N, 2) log-probabilities, in two passes: the router's context is a mean over all tokens."""
    flat = tokens.view(-1, tokens.shape[-1])
    # float64 costs nothing here, and makes the mean independent of the pieces.
    total = torch.zeros((), dtype=_wide(tokens), device=tokens.device)
    for part in scope.parts(plan.pieces.piece_tokens):
        total = total + router.half_embed(flat[part], "context").sum(dim=0, dtype=total.dtype)
    context = (total / scope.count).to(tokens.dtype)
    # One tensor from the beginning: thousands of small ones, made between pieces that come and go, would keep
    # the gaps apart that these leave in the process's memory. At a gigapixel that was 2.4 GB.
    log_probs = flat.new_empty((len(flat), 2), dtype=torch.float32)  # as the router judges
    if not scope.is_whole:
        log_probs[:, 0], log_probs[:, 1] = -torch.inf, 0  # surely not
    for part in scope.parts(plan.pieces.piece_tokens):
        log_probs[part] = router.judge(router.half_embed(flat[part], "local"), context)
    return log_probs[None]


def _attended(block: RoutedBlock, flat: Tensor, chosen: Tensor, plan: Plan) -> Tensor:
    """(n, C): the attending tokens after attention among themselves, before anything is overwritten."""
    tokens = flat[chosen]
    attention, scores = block.attention, plan.pieces.scores
    if len(chosen) <= min(plan.pieces.piece_tokens, plan.queries_at_once(len(chosen))):
        tokens += attention.among(block.norm1(tokens[None]), scores)[0]
        return tokens
    key_value = flat.new_empty((1, len(chosen), 2 * flat.shape[1]))
    for piece in spans(len(chosen), plan.pieces.piece_tokens):
        key_value[:, piece] = attention.key_value(block.norm1(tokens[None, piece]))
    for piece in spans(len(chosen), plan.queries_at_once(len(chosen))):
        query = attention.query(block.norm1(tokens[None, piece]))
        tokens[piece] += attention.look(query, key_value, scores)[0]
    return tokens


def _refine(refinement: TokenRefinement, tokens: Tensor, plan: Plan, scope: Scope) -> None:
    """Add the LTRM's result to all tokens.

    Its gate needs the mean over all tokens before the first of them can be finished. Either the unfinished
    ones wait in a second map, or they are computed twice.
    """
    total = torch.zeros((), dtype=_wide(tokens), device=tokens.device)
    waiting = scope.new_map(tokens.shape[2]) if plan.pieces.second_map else None
    most = plan.pieces.piece_tokens
    for piece in neighbourhoods(tokens, most, HALO_TOKENS, scope):
        hidden = refinement.hidden(piece.window[None])[0][piece.inner]
        # By columns first: the other way round all of it would be copied to a wider type.
        by_column = scope.kept(hidden, piece.area).sum(dim=0, dtype=torch.float32)
        total = total + by_column.sum(dim=0, dtype=total.dtype)
        if waiting is not None:
            waiting[piece.area] = refinement.shrink(hidden)
    factor = refinement.channel_gate((total / scope.count).to(tokens.dtype)[None])[0]
    if waiting is None:
        for piece in neighbourhoods(tokens, most, HALO_TOKENS, scope):
            hidden = refinement.hidden(piece.window[None])[0][piece.inner]
            tokens[piece.area] += scope.kept(refinement.shrink(hidden) * factor, piece.area)
    elif scope.is_whole:
        torch.addcmul(tokens, waiting, factor, out=tokens)
    else:
        flat, refined = (whole.view(-1, whole.shape[-1]) for whole in (tokens, waiting))
        for part in scope.parts(most):
            flat[part] += refined[part] * factor


def _global_block(block: GlobalBlock, tokens: Tensor, plan: Plan, scope: Scope) -> None:
    """Keys and values of all tokens first; then the queries may take their own places."""
    attention = block.attention
    flat = tokens.view(1, -1, tokens.shape[-1])
    key_value = flat.new_empty((1, flat.shape[1], 2 * flat.shape[2]))
    for piece in spans(flat.shape[1], plan.pieces.piece_tokens):
        key_value[:, piece] = attention.key_value(block.norm1(flat[:, piece]))
    key, value = attention.key_and_value(key_value)
    for area in query_areas(plan.grid, plan.pieces.scores // plan.job.heads_at_once):
        part = tokens[area]
        query = attention.query(block.norm1(part.flatten(0, 1))[None]).unflatten(2, part.shape[:2])
        part += attention.merge(attention.look_around(query, key, value, area, plan.grid)).view_as(part)
    _finish(block, tokens, plan, scope)


def _finish(block: RoutedBlock | GlobalBlock, tokens: Tensor, plan: Plan, scope: Scope) -> None:
    """What comes after attention in both kinds of block: MLP and residual convolution."""
    flat = tokens.view(-1, tokens.shape[-1])
    for part in scope.parts(plan.pieces.piece_tokens):
        flat[part] += block.mlp(block.norm2(flat[part]))
    for piece in neighbourhoods(tokens, plan.pieces.piece_tokens, RESIDUAL_HALO_TOKENS, scope):
        tokens[piece.area] = scope.kept(block.residual(piece.window[None])[0][piece.inner], piece.area)


def _wide(tokens: Tensor) -> torch.dtype:
    """The type that sums over all tokens are kept in."""
    return torch.float32 if tokens.device.type == "mps" else torch.float64


def areas(grid: tuple[int, int], most_tokens: int, multiple: int = 1) -> Iterator[Area]:
    """Areas that cover a grid, about square, of at most `most_tokens` tokens but at least `multiple` squared.

    Their edges lie on multiples of `multiple`, or are the grid's own.
    """
    yield from _cover(grid, *sides(grid, most_tokens, multiple))


def _cover(grid: tuple[int, int], height: int, width: int) -> Iterator[Area]:
    """Areas of at most (height, width) that cover a grid, row by row."""
    for rows in spans(grid[0], height):
        for columns in spans(grid[1], width):
            yield rows, columns


class Neighbourhood(NamedTuple):
    """An area and what lies around it, as it was before anything was overwritten."""

    window: Tensor  # (height, width, C), a copy; of a map that is one area, the map
    inner: Area  # where in the window the area lies
    area: Area  # where in the map


def neighbourhoods(tokens: Tensor, most_tokens: int, halo: int, scope: Scope) -> Iterator[Neighbourhood]:
    """Areas of (h, w, C) with `halo` tokens around them, less where the map ends, and but for those where
    nothing is computed.

    The caller may overwrite each area before it asks for the next: later windows still show the old tokens,
    because the last rows of the areas above and the last columns of the area to the left are kept.
    """
    grid_height, grid_width, _ = tokens.shape
    height, width = scope.sides(most_tokens)
    if (height, width) == (grid_height, grid_width):
        everything = slice(0, height), slice(0, width)
        yield Neighbourhood(tokens, everything, everything)
        return
    above = tokens[:0].clone()  # the old rows just above this row of areas
    for rows in spans(grid_height, height):
        # Of a wide map a row of areas is large: only its last rows are copied.
        next_above = torch.cat((above, tokens[rows][-halo:]))[-halo:]
        top, bottom = max(0, rows.start - halo), min(grid_height, rows.stop + halo)
        inner_rows = slice(rows.start - top, rows.stop - top)
        left = tokens[rows, :0].clone()  # the old columns just to the left of this area
        for columns in spans(grid_width, width):
            if scope.leaves_out((rows, columns)):
                left = torch.cat((left, tokens[rows, columns]), dim=1)[:, -halo:]
                continue
            start, stop = max(0, columns.start - halo), min(grid_width, columns.stop + halo)
            inner_columns = slice(columns.start - start, columns.stop - start)
            window = tokens[top:bottom, start:stop].clone()
            window[: inner_rows.start] = above[len(above) - inner_rows.start :, start:stop]
            window[inner_rows, : inner_columns.start] = left[:, left.shape[1] - inner_columns.start :]
            left = window[inner_rows, : inner_columns.stop][:, -halo:].clone()
            yield Neighbourhood(window, (inner_rows, inner_columns), (rows, columns))
        above = next_above
