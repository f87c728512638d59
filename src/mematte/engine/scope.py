"""Scope: which windows of the token grid are computed: all of them, or those near the unknown region.

Alpha is wanted where the trimap is unknown, and most of what a large photo shows is far from there. A window
that is left out is not there for the network: its tokens are zero, nobody attends to them, and they count in
no mean. This goes past the paper, whose networks see whole pictures.
Shapes: (h, w) token grid, N = h * w tokens, C channels, n windows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mematte.model.attention import Area

REACH_TOKENS = (
    7  # half a window: one is computed if an unknown pixel lies in it, or no further from it than this
)
# An area for a convolution is computed whole if any of its windows is: so many windows at most. Smaller ones
# would compute more of their surroundings twice than they leave out.
AREA_WINDOWS = 4

Part = slice | Tensor
"""Some tokens of the flat map: a run, or (m,) indices."""


class Scope:
    """The walk over the tokens that are computed: here all of them."""

    def __init__(self, grid: tuple[int, int]) -> None:
        self.grid = grid  # (height, width) in tokens
        self.count = grid[0] * grid[1]  # tokens that are computed

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.count == self.grid[0] * self.grid[1]

    @property
    def left_out(self) -> NDArray[np.bool_] | None:
        """(h, w) tokens that are not computed; None if all are."""
        return None

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


class NearUnknown(Scope):
    """The windows that hold an unknown pixel, or lie within reach of one.

    Args:
        grid: (height, width) in tokens.
        unknown: (h, w) whether any pixel under the token is unknown; at most as large as the grid.
        window: its side in tokens.
        like: has the network's device and precision.
    """

    def __init__(self, grid: tuple[int, int], unknown: NDArray[np.bool_], window: int, like: Tensor) -> None:
        super().__init__(grid)
        self._window, self._device = window, like.device
        self._computed = _windows_near(unknown, grid, window)
        tokens = _tokens_of(self._computed, grid, window)
        self.count = int(np.count_nonzero(tokens))
        self._factors = torch.from_numpy(tokens)[..., None].to(like)  # 1 where anything is computed, or 0
        self._starts = list(self._windows_by_shape())

    def _windows_by_shape(self) -> Iterator[tuple[tuple[int, int], Tensor]]:
        """(height, width) of windows, since the last ones are smaller, and where their first tokens are."""
        corners = np.argwhere(self._computed) * self._window
        shapes = np.minimum(self._window, np.asarray(self.grid) - corners)
        for height, width in np.unique(shapes, axis=0):
            alike = corners[(shapes == (height, width)).all(axis=1)]
            yield (int(height), int(width)), torch.from_numpy(alike @ (self.grid[1], 1)).to(self._device)

    @property
    def left_out(self) -> NDArray[np.bool_] | None:
        """As `Scope.left_out`."""
        return None if self.is_whole else ~_tokens_of(self._computed, self.grid, self._window)

    def windows(self, most_tokens: int) -> Iterator[Tensor]:
        """(n, height, width) indices into the flat map: a few windows of one shape at a time."""
        for (height, width), starts in self._starts:
            rows = torch.arange(height, device=self._device)[:, None] * self.grid[1]
            inside = rows + torch.arange(width, device=self._device)
            for some in starts.split(max(1, most_tokens // (height * width))):
                yield some[:, None, None] + inside

    def parts(self, most_tokens: int) -> Iterator[Part]:
        """As `Scope.parts`."""
        for windows in self.windows(most_tokens):
            yield from windows.flatten().split(most_tokens)

    def sides(self, most_tokens: int) -> tuple[int, int]:
        """As `Scope.sides`: whole windows where they fit."""
        if most_tokens < self._window**2:
            return sides(self.grid, most_tokens)
        return sides(self.grid, min(most_tokens, AREA_WINDOWS * self._window**2), self._window)

    def leaves_out(self, area: Area) -> bool:
        """As `Scope.leaves_out`."""
        return not self._windows_of(area).any()

    def kept(self, values: Tensor, area: Area) -> Tensor:
        """As `Scope.kept`."""
        return values if self._windows_of(area).all() else values * self._factors[area]

    def kept_flags(self, flags: Tensor) -> Tensor:
        """As `Scope.kept_flags`."""
        return flags & (self._factors.view(-1) > 0)

    def _windows_of(self, area: Area) -> NDArray[np.bool_]:
        """Which of the windows that an area touches are computed."""
        rows, columns = (slice(part.start // self._window, -(-part.stop // self._window)) for part in area)
        return self._computed[rows, columns]


def tokens_near(grid: tuple[int, int], unknown: NDArray[np.bool_], window: int) -> int:
    """How many tokens a `NearUnknown` computes."""
    return int(np.count_nonzero(_tokens_of(_windows_near(unknown, grid, window), grid, window)))


def _windows_near(unknown: NDArray[np.bool_], grid: tuple[int, int], window: int) -> NDArray[np.bool_]:
    """(rows, columns) of windows: whether any of these tokens lies in it or within reach of it."""
    rows, columns = (-(-end // window) for end in grid)
    tokens = np.zeros((rows * window, columns * window), np.uint8)
    tokens[: unknown.shape[0], : unknown.shape[1]] = unknown
    side = 2 * REACH_TOKENS + 1
    near = cv2.dilate(tokens, np.ones((side, side), np.uint8)).reshape(rows, window, columns, window)
    touched: NDArray[np.uint8] = near.max(axis=(1, 3))
    return touched > 0


def _tokens_of(windows: NDArray[np.bool_], grid: tuple[int, int], window: int) -> NDArray[np.bool_]:
    """(h, w) whether the token's window is one of these."""
    return windows.repeat(window, axis=0).repeat(window, axis=1)[: grid[0], : grid[1]]


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
