"""Scope: which windows of the token grid are computed: all of them, or those near the unknown region.

Alpha is wanted where the trimap is unknown, and most of what a large photo shows is far from there. A window
that is left out is not there for the network: its tokens are zero, nobody attends to them, and they count in
no mean. This goes past the paper, whose networks see whole pictures.
Shapes: (h, w) token grid, N = h * w tokens, C channels, n windows.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Iterator
from functools import cached_property

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mematte.model.attention import Area

from .memory import gives_zeros_on_demand, zeros_on_demand

# Half a window: one is computed if an unknown pixel lies in it, or no further from it than this.
REACH_TOKENS = 7
# An area for a convolution is computed whole if any of its windows is: so many windows at most. Smaller ones
# would compute more of their surroundings twice than they leave out.
AREA_WINDOWS = 4

Part = slice | Tensor
"""Some tokens of the flat map: a run, or (m,) indices."""


class Scope:
    """The walk over the tokens that are computed: here all of them."""

    def __init__(self, grid: tuple[int, int], like: Tensor) -> None:
        self.grid = grid  # (height, width) in tokens
        self.count = grid[0] * grid[1]  # tokens that are computed
        self._like = like  # has the network's device and precision

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.count == self.grid[0] * self.grid[1]

    @property
    def left_out(self) -> NDArray[np.bool_] | None:
        """(h, w) tokens that are not computed; None if all are."""
        return None

    def new_map(self, channels: int) -> Tensor:
        """(h, w, C) for what is computed to be written to."""
        return self._like.new_empty((*self.grid, channels))

    def parts(self, most_tokens: int) -> Iterator[Part]:
        """The computed tokens, at most so many at a time."""
        yield from spans(self.count, most_tokens)

    def sides(self, most_tokens: int) -> tuple[int, int]:
        """(height, width) of areas for convolutions of at most so many tokens."""
        return sides(self.grid, most_tokens)

    def leaves_out(self, area: Area) -> bool:  # noqa: ARG002, whatever it is
        """Whether nothing in the area is computed."""
        return False

    def kept(self, values: Tensor, area: Area) -> Tensor:  # noqa: ARG002, whatever it is
        """(h, w, C) of an area -> the same, zero where nothing is computed."""
        return values

    def kept_flags(self, flags: Tensor) -> Tensor:
        """(1, N) bool -> the same, False where nothing is computed."""
        return flags


class NearWindows:
    """The windows that hold an unknown pixel, or lie within reach of one.

    Args:
        grid: (height, width) in tokens.
        unknown: (h, w) whether any pixel under the token is unknown; at most as large as the grid.
        window: its side in tokens.
    """

    def __init__(self, grid: tuple[int, int], unknown: NDArray[np.bool_], window: int) -> None:
        self.grid, self.window = grid, window
        self._written: dict[tuple[int, int, int], int] = {}
        rows, columns = (-(-end // window) for end in grid)
        tokens = np.zeros((rows * window, columns * window), np.uint8)
        tokens[: unknown.shape[0], : unknown.shape[1]] = unknown
        side = 2 * REACH_TOKENS + 1
        near = cv2.dilate(tokens, np.ones((side, side), np.uint8)).reshape(rows, window, columns, window)
        self.windows: NDArray[np.bool_] = near.max(axis=(1, 3)) > 0  # (rows, columns)

    @cached_property
    def tokens(self) -> NDArray[np.bool_]:
        """(h, w) whether the token's window is one of these."""
        by_token = self.windows.repeat(self.window, axis=0).repeat(self.window, axis=1)
        return by_token[: self.grid[0], : self.grid[1]]

    @cached_property
    def count(self) -> int:
        """How many tokens they hold."""
        return int(np.count_nonzero(self.tokens))

    def sides(self, most_tokens: int) -> tuple[int, int]:
        """(height, width) of areas of at most so many tokens: of whole windows, or inside of one."""
        if most_tokens >= self.window**2:
            return sides(self.grid, min(most_tokens, AREA_WINDOWS * self.window**2), self.window)
        parts = [part for part in range(1, self.window + 1) if self.window % part == 0]
        fitting = [(part, other) for part in parts for other in parts if part * other <= most_tokens]
        return max(fitting, key=math.prod)

    def in_area(self, area: Area) -> NDArray[np.bool_]:
        """Of the windows that an area touches: which are of these."""
        rows, columns = (slice(part.start // self.window, -(-part.stop // self.window)) for part in area)
        return self.windows[rows, columns]

    def bytes_written(self, most_tokens: int, token_bytes: int) -> int:
        """What a map of all tokens takes on a CPU, if areas that hold any of these windows are written to.

        Args:
            most_tokens: of an area.
            token_bytes: what one takes.
        """
        everything = token_bytes * math.prod(self.grid)
        if not gives_zeros_on_demand():
            return everything
        height, width = self.sides(most_tokens)
        if (height, width, token_bytes) not in self._written:
            tops, lefts = np.arange(0, self.grid[0], height), np.arange(0, self.grid[1], width)
            areas = np.logical_or.reduceat(np.logical_or.reduceat(self.tokens, tops), lefts, axis=1)
            tokens = areas.repeat(height, axis=0).repeat(width, axis=1)[: self.grid[0], : self.grid[1]]
            edges = np.diff(tokens.astype(np.int8), axis=1, prepend=0, append=0)
            # Of each run of tokens in a row: where it begins, and where the next token would.
            begin, end = (token_bytes * (np.argwhere(edges == step) @ (self.grid[1], 1)) for step in (1, -1))
            pages = (end - 1) // mmap.PAGESIZE - begin // mmap.PAGESIZE + 1
            self._written[height, width, token_bytes] = int(pages.sum()) * mmap.PAGESIZE
        return min(self._written[height, width, token_bytes], everything)


class NearUnknown(Scope):
    """The tokens of these windows.

    Args:
        near: the windows.
        like: has the network's device and precision.
    """

    def __init__(self, near: NearWindows, like: Tensor) -> None:
        super().__init__(near.grid, like)
        self._near, self.count = near, near.count
        self._factors = torch.from_numpy(near.tokens)[..., None].to(like)  # 1 where anything is computed
        self._starts = list(self._windows_by_shape())

    def _windows_by_shape(self) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """(height, width) of windows, since the last ones are smaller, and where their first tokens are."""
        corners = np.argwhere(self._near.windows) * self._near.window
        shapes = np.minimum(self._near.window, np.asarray(self.grid) - corners)
        for height, width in np.unique(shapes, axis=0):
            alike = corners[(shapes == (height, width)).all(axis=1)]
            yield (int(height), int(width)), torch.from_numpy(alike @ (self.grid[1], 1)).to(self._like.device)

    @property
    def left_out(self) -> NDArray[np.bool_] | None:
        """As `Scope.left_out`."""
        return None if self.is_whole else ~self._near.tokens

    def new_map(self, channels: int) -> Tensor:
        """As `Scope.new_map`: zeros."""
        return zeros_on_demand((*self.grid, channels), self._like)

    def windows(self, most_tokens: int) -> Iterator[Tensor]:
        """(n, height, width) indices into the flat map: a few windows of one shape at a time."""
        device = self._like.device
        for (height, width), starts in self._starts:
            rows = torch.arange(height, device=device)[:, None] * self.grid[1]
            inside = rows + torch.arange(width, device=device)
            for some in starts.split(max(1, most_tokens // (height * width))):
                yield some[:, None, None] + inside

    def parts(self, most_tokens: int) -> Iterator[Part]:
        """As `Scope.parts`."""
        for windows in self.windows(most_tokens):
            yield from windows.flatten().split(most_tokens)

    def sides(self, most_tokens: int) -> tuple[int, int]:
        """As `Scope.sides`: whole windows where they fit."""
        return self._near.sides(most_tokens)

    def leaves_out(self, area: Area) -> bool:
        """As `Scope.leaves_out`."""
        return not self._near.in_area(area).any()

    def kept(self, values: Tensor, area: Area) -> Tensor:
        """As `Scope.kept`."""
        return values if self._near.in_area(area).all() else values * self._factors[area]

    def kept_flags(self, flags: Tensor) -> Tensor:
        """As `Scope.kept_flags`."""
        return flags & (self._factors.view(-1) > 0)


def sides(grid: tuple[int, int], most_tokens: int, multiple: int = 1) -> tuple[int, int]:
    """(height, width) of the areas that `areas` gives; a narrow grid is covered by longer ones."""
    units = (-(-grid[0] // multiple), -(-grid[1] // multiple))
    most = max(1, most_tokens // multiple**2)
    rows = min(units[0], max(1, math.isqrt(most)))
    columns = min(units[1], max(1, most // rows))
    rows = min(units[0], max(1, most // columns))
    # Equal parts: twelve in areas of at most five are 4, 4, 4 and not 5, 5, 2.
    rows, columns = (-(-unit // -(-unit // part)) for unit, part in zip(units, (rows, columns), strict=True))
    return rows * multiple, columns * multiple


def spans(count: int, longest: int) -> Iterator[slice]:
    """Slices that cover `count` things in order."""
    for first in range(0, count, longest):
        yield slice(first, min(first + longest, count))
