"""Attention: 14x14 windows with relative positions, and global attention of all tokens or a chosen few.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025; windows and decomposed
relative positions as in Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection",
ECCV 2022.
Shapes: B images, (h, w) token grid, N = h * w tokens, C channels.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .masked import masked_attention
from .parted import PartedLinear

# A query's scores are N numbers per head: where they are made, the queries come in groups of at most so many
# scores, so that memory stays linear in N. Of all heads on a GPU, which wants much to do at once; on a CPU of
# one head after the other, so that they stay in its caches.
MAX_SCORES = 1 << 25
MAX_SCORES_OF_A_HEAD = 1 << 21

Area = tuple[slice, slice]
"""Rows and columns of a grid; both with start and stop."""


class Attention(nn.Module):
    """Multi-head attention; what may look at what is the method that is called."""

    def __init__(self, channels: int, heads: int, positions: int | None = None) -> None:
        """`positions`: tokens per axis that relative positions are made for; None = none."""
        super().__init__()
        self.heads = heads
        self.head_channels = channels // heads
        self.qkv = PartedLinear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        if positions is not None:
            # Offsets -(p-1) ... p-1 along one axis, p = positions.
            self.relative_rows = nn.Parameter(torch.zeros(2 * positions - 1, self.head_channels))
            self.relative_columns = nn.Parameter(torch.zeros(2 * positions - 1, self.head_channels))

    @property
    def query_part(self) -> slice:
        """Which of `qkv`'s outputs are queries."""
        return slice(0, self.heads * self.head_channels)

    @property
    def key_value_part(self) -> slice:
        """Which are keys and values."""
        return slice(self.heads * self.head_channels, 3 * self.heads * self.head_channels)

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, C) -> query, key, value, each (B, heads, N, C / heads)."""
        batch, count, _ = tokens.shape
        qkv = self.qkv(tokens).view(batch, count, 3, self.heads, self.head_channels)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def query(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, heads, N, C / heads): the first part of `split`."""
        query = self.qkv.part(tokens, self.query_part)
        split: Tensor = query.unflatten(2, (self.heads, self.head_channels)).transpose(1, 2)
        return split

    def key_value(self, tokens: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, 2C): what `query` looks at, in the shape that takes least memory to fill."""
        return self.qkv.part(tokens, self.key_value_part)

    def look(self, query: Tensor, key_value: Tensor, scores_at_once: int = MAX_SCORES_OF_A_HEAD) -> Tensor:
        """Softmax attention of some tokens to all those in `key_value`; never are all scores there at once.

        Args:
            query: (B, heads, n, C / heads).
            key_value: (B, N, 2C).
            scores_at_once: at most, but at least one query's; where scores are made at all.

        Returns:
            (B, n, C), projected.
        """
        key, value = self.key_and_value(key_value)
        # On a CPU the fused kernel is the fastest in float32 alone: two products of bfloat16 and what is
        # between them take two thirds of its time.
        if query.device.type != "cpu" or query.dtype == torch.float32:
            return self.merge(F.scaled_dot_product_attention(query, key, value))
        query = query * self.head_channels**-0.5
        at_once = max(1, scores_at_once // max(1, key.shape[2]))
        heads = [
            torch.cat([(some @ keys.T).softmax(dim=1) @ values for some in queries.split(at_once)])
            for queries, keys, values in _each_head(query, key, value)
        ]
        return self.merge(torch.stack(heads).view_as(query))

    def key_and_value(self, key_value: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N, 2C) from `key_value` -> key, value, each (B, heads, N, C / heads)."""
        parts = key_value.unflatten(2, (2, self.heads, self.head_channels))
        key, value = parts.permute(2, 0, 3, 1, 4).unbind(0)
        return key, value

    def merge(self, attended: Tensor) -> Tensor:
        """(B, heads, N, C / heads) -> (B, N, C), projected."""
        merged: Tensor = self.project(attended.transpose(1, 2).flatten(2))
        return merged

    def among(self, tokens: Tensor, scores_at_once: int = MAX_SCORES_OF_A_HEAD) -> Tensor:
        """Plain softmax attention of (B, N, C) tokens among themselves; `scores_at_once` as for `look`."""
        return self.look(self.query(tokens), self.key_value(tokens), scores_at_once)

    def masked(self, tokens: Tensor, decision: Tensor) -> Tensor:
        """Softmax attention in which a token sees the attending tokens and itself, to train routers.

        Args:
            tokens: (B, N, C).
            decision: (B, N), 1 = attends, 0 = is refined instead; gradients flow into it.

        Returns:
            (B, N, C), projected.
        """
        return self.merge(masked_attention(*self.split(tokens), decision))

    def positioned(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Attention of all tokens of a grid with decomposed relative positions.

        Args:
            tokens: (B, h * w, C), row by row.
            grid: (h, w).

        Returns:
            (B, h * w, C), projected.
        """
        query, key, value = self.split(tokens)
        on_grid = query.unflatten(2, grid)
        parts = []
        for area in query_areas(grid, MAX_SCORES // (query.shape[0] * self.heads)):
            parts.append(self.look_around(on_grid[:, :, area[0], area[1]], key, value, area, grid))
        return self.merge(torch.cat(parts, dim=2) if len(parts) > 1 else parts[0])

    def look_around(
        self, query: Tensor, key: Tensor, value: Tensor, area: Area, grid: tuple[int, int]
    ) -> Tensor:
        """Softmax attention of an area's queries to all tokens of a grid, with decomposed relative positions.

        Args:
            query: (B, heads, y, x, C / heads), those of the area.
            key: (B, heads, h * w, C / heads).
            value: as key.
            area: where on the grid the queries lie.
            grid: (h, w).

        Returns:
            (B, heads, y * x, C / heads).

        The positions' scores come from the *unscaled* query and are added to the scaled scores.
        """
        rows = _offsets(self.relative_rows, grid[0], area[0])
        columns = _offsets(self.relative_columns, grid[1], area[1])
        by_row = torch.einsum("bnyxc,yck->bnyxk", query, rows)
        by_column = torch.einsum("bnyxc,xck->bnyxk", query, columns)
        if query.device.type != "cpu":  # on one the fused kernel takes longer than what follows
            mask = (by_row[..., :, None] + by_column[..., None, :]).flatten(4).flatten(2, 3)
            return F.scaled_dot_product_attention(query.flatten(2, 3), key, value, attn_mask=mask)
        query = query * self.head_channels**-0.5
        if sum(grid) <= self.head_channels:
            # Few enough to be further channels: of the query its scores by row and column, of the key which
            # row and column it is in. One product adds them up.
            places = _places(grid, like=key)
            key = torch.cat((key, places.expand(*key.shape[:2], *places.shape)), dim=3)
            query = torch.cat((query, by_row, by_column), dim=4).flatten(2, 3)
            attended: Tensor = (query @ key.transpose(2, 3)).softmax(dim=3) @ value
            return attended
        heads = []
        for queries, keys, values, in_rows, in_columns in _each_head(query, key, value, by_row, by_column):
            scores = queries.flatten(0, 1) @ keys.T
            on_grid = scores.view(*queries.shape[:2], *grid)
            on_grid += in_rows[..., :, None]
            on_grid += in_columns[..., None, :]
            heads.append(scores.softmax(dim=1) @ values)
        return torch.stack(heads).view(*query.shape[:2], -1, self.head_channels)


def _each_head(*parts: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """(B, heads, ...) tensors -> those of one head of one image after the other."""
    return zip(*(part.flatten(0, 1) for part in parts), strict=True)


def query_areas(grid: tuple[int, int], most_scores: int) -> Iterator[Area]:
    """Areas that cover a grid row by row, each with at most `most_scores` pairs of query and key per head.

    Whole rows, as many as possible; where one row is too much, parts of it; never less than one token.
    """
    height, width = grid
    queries = max(1, most_scores // (height * width))
    rows, columns = max(1, queries // width), min(width, queries)
    for top in range(0, height, rows):
        for left in range(0, width, columns):
            yield slice(top, min(top + rows, height)), slice(left, min(left + columns, width))


def _offsets(relative: Tensor, length: int, queries: slice) -> Tensor:
    """(2p - 1, c) parameters -> (queries, c, length): the entry of each (query, key) pair along one axis."""
    if relative.shape[0] != 2 * length - 1:
        stretched = F.interpolate(relative.float().T[None], size=2 * length - 1, mode="linear")
        relative = stretched[0].T.to(relative.dtype)
    # Pair (q, k) has entry q - k + length - 1: those of one query lie side by side, the last key first. Taken
    # so and turned round that is one kernel on a GPU; looked up by number it would be five.
    return relative.unfold(0, length, 1)[queries].flip(2)


def _places(grid: tuple[int, int], like: Tensor) -> Tensor:
    """(h * w, h + w): for each token of a grid a one at its row, and another at its column."""
    rows, columns = (torch.eye(length, dtype=like.dtype, device=like.device) for length in grid)
    return torch.cat((rows.repeat_interleave(grid[1], dim=0), columns.repeat(grid[0], 1)), dim=1)


def to_windows(tokens: Tensor, size: int) -> Tensor:
    """(B, h, w, C) -> (B * windows, size * size, C); the grid is zero-padded at the bottom and right."""
    batch, height, width, channels = tokens.shape
    tokens = F.pad(tokens, (0, 0, 0, -width % size, 0, -height % size))
    rows, columns = tokens.shape[1] // size, tokens.shape[2] // size
    windows = tokens.view(batch, rows, size, columns, size, channels).permute(0, 1, 3, 2, 4, 5)
    return windows.reshape(batch * rows * columns, size * size, channels)


def from_windows(windows: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `to_windows`: (B * windows, size * size, C) -> (B, h, w, C) for grid = (h, w)."""
    height, width = grid
    rows, columns = -(-height // size), -(-width // size)
    tokens = windows.view(-1, rows, columns, size, size, windows.shape[-1]).permute(0, 1, 3, 2, 4, 5)
    return tokens.reshape(-1, rows * size, columns * size, windows.shape[-1])[:, :height, :width]
