"""Foreground colours of a picture larger than memory: the multi-level method, all fine levels in one pass.

The method (see `foreground.py`) starts with one pixel and doubles the grid until it is the picture. A level
samples the picture at its own grid, begins with the level before it and sweeps over its rows twice, from the
top, each pixel taking from its neighbours what they are by then. A row is final once the sweeps are past it,
so the levels can run behind one another down the picture, some rows apart, and only those rows are held.
Bands of rows that are estimated on their own differ from the whole by several hundredths, with whatever
overlap, because their grids do: measured in `tests/image/test_multilevel.py`. Rows that run behind one
another have the grids of the whole.

Source: Germer et al., "Fast Multi-Level Foreground Estimation", ICPR 2020, algorithm 1; the numbers are
PyMatting's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mematte.errors import InputError
from mematte.image.bands import row_bands
from mematte.image.color import FloatArray

RowsOf = Callable[[slice], FloatArray]

_REGULARIZATION, _GRADIENT_WEIGHT = 1e-5, 1.0
_SWEEPS, _SWEEPS_OF_SMALL_LEVELS, _SMALL_PX = 2, 10, 32

_WHOLE_LEVEL_PIXELS = 1_000_000
"""Levels up to this are held whole, 40 bytes per pixel."""


def foreground_bands(
    size: tuple[int, int], colors: RowsOf, alpha: RowsOf, *, band_pixels: int = 1_000_000
) -> Iterator[tuple[slice, FloatArray]]:
    """The foreground's own colours, band by band from the top, those of the whole picture.

    Everything is read twice, downwards. Where alpha is exactly 1 the colour is the picture's own. Where it
    is 0 all around nothing is computed: the colour there is what the level before the last says.

    Memory: about 100 MB for the coarse levels, and 70 bytes per pixel for a band and the rows (some dozens)
    by which the levels are apart; 170 MB measured at 50 megapixels, 10 000 px wide. The first call in a
    process takes some seconds longer: it compiles.

    Args:
        size: (height, width) of the picture.
        colors: gives (n, W, 3) float32 of the rows asked for, display-referred or scene-linear.
        alpha: gives (n, W) float32 in [0, 1].
        band_pixels: how much to read at a time, in whole rows.

    Yields:
        (rows, (n, W, 3) float32): straight, in the picture's encoding. Bands are not those that were read.

    Raises:
        InputError: colours and alpha are not of this size.
    """
    sizes = _level_sizes(size)
    fine = next((i for i, (h, w) in enumerate(sizes) if h * w > _WHOLE_LEVEL_PIXELS), len(sizes) - 1)
    samples = [_Samples(level, size) for level in sizes[:fine]]
    statistics = _Statistics()
    for rows in row_bands(size, band_pixels):
        image, cover = _checked(colors(rows), alpha(rows), rows, size)
        statistics.add(image, cover)
        for sample in samples:
            sample.add(rows, image, cover)

    # A power of two, so that dividing by it and multiplying again changes nothing.
    scale = np.float32(2 ** max(0, math.ceil(math.log2(max(1.0, statistics.highest)))))
    ceiling = np.float32(max(1.0, statistics.highest) / scale)
    level = _WholeLevel((1, 1))
    level.foreground[:], level.background[:] = statistics.means(float(scale))
    for sample in samples:
        level = level.next(sample, scale, ceiling)
    levels = [_StreamedLevel(sizes[i], size, sizes[i - 1]) for i in range(fine, len(sizes))]
    for rows in row_bands(size, band_pixels):
        image, cover = _checked(colors(rows), alpha(rows), rows, size)
        before: _WholeLevel | _StreamedLevel = level
        for streamed in levels:
            streamed.add(rows, image, cover, scale)
            streamed.advance(before, ceiling)
            before = streamed
        if (ready := levels[-1].take()) is not None:
            start, found = ready
            yield slice(start, start + len(found)), found * scale


def _level_sizes(size: tuple[int, int]) -> list[tuple[int, int]]:
    """(height, width) of each level's grid, from one pixel to the picture; PyMatting's rounding."""
    height, width = size
    steps = max(1, math.ceil(math.log2(max(size))))
    return [(round(height ** (i / steps)), round(width ** (i / steps))) for i in range(steps + 1)]


def _checked(
    image: FloatArray, alpha: FloatArray, rows: slice, size: tuple[int, int]
) -> tuple[FloatArray, FloatArray]:
    wanted = (rows.stop - rows.start, size[1])
    if image.shape != (*wanted, 3) or alpha.shape != wanted:
        raise InputError(
            f"Foreground colours need rows (n, W, 3) and alpha (n, W), {wanted[0]}x{wanted[1]} here; these "
            f"are {'x'.join(map(str, image.shape))} and {'x'.join(map(str, alpha.shape))}."
        )
    return image, alpha


class _Statistics:
    """What the first level begins with, and the picture's highest value."""

    def __init__(self) -> None:
        self.highest = 0.0
        self._sums = np.zeros((2, 3))  # foreground, background
        self._counts = np.zeros((2, 1))

    def add(self, image: FloatArray, alpha: FloatArray) -> None:
        """Take note of rows (n, W, 3) and (n, W)."""
        self.highest = max(self.highest, float(image.max()))
        for index, chosen in enumerate((alpha > 0.9, alpha < 0.1)):
            weights = chosen.astype(np.float32)
            self._counts[index] += np.count_nonzero(chosen)
            for y in range(len(image)):  # per row: float32 sums of millions go wrong
                self._sums[index] += weights[y] @ np.maximum(image[y], 0)

    def means(self, scale: float) -> NDArray[np.float64]:
        """(2, 3): mean colours of foreground and background."""
        return self._sums / (self._counts + 1e-5) / scale


class _Samples:
    """The picture at a level's grid: nearest pixels."""

    def __init__(self, size: tuple[int, int], full_size: tuple[int, int]) -> None:
        self.image = np.empty((*size, 3), np.float32)
        self.alpha = np.empty(size, np.float32)
        self._full_size = full_size

    def add(self, rows: slice, image: FloatArray, alpha: FloatArray) -> None:
        """Take the samples that lie in these rows of the picture."""
        into, inside, columns = _grid(rows, self.alpha.shape, self._full_size)
        self.image[into], self.alpha[into] = image[inside][:, columns], alpha[inside][:, columns]


def _grid(
    rows: slice, size: tuple[int, ...], full_size: tuple[int, int]
) -> tuple[slice, NDArray[np.intp], NDArray[np.intp]]:
    """Which rows of a grid of `size` lie in these of the picture; their rows in the band, their columns."""
    height, width = size
    start, stop = (-(-edge * height // full_size[0]) for edge in (rows.start, rows.stop))
    inside = np.arange(start, stop) * full_size[0] // height - rows.start
    return slice(start, stop), inside, np.arange(width) * full_size[1] // width


class _WholeLevel:
    """A level that is held whole."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.foreground = np.empty((*size, 3), np.float32)
        self.background = np.empty((*size, 3), np.float32)

    first = 0

    @property
    def done(self) -> int:
        """How many rows are final: all."""
        return self.size[0]

    def next(self, samples: _Samples, scale: np.float32, ceiling: np.float32) -> _WholeLevel:
        """The level after this one."""
        height, width = samples.alpha.shape
        level = _WholeLevel((height, width))
        ys, xs = np.arange(height) * self.size[0] // height, np.arange(width) * self.size[1] // width
        level.foreground[:] = self.foreground[ys][:, xs]
        level.background[:] = self.background[ys][:, xs]
        image = samples.image / scale
        for _ in range(_sweeps(level.size)):
            _compiled()(
                level.foreground, level.background, image, samples.alpha, 0, height, 0, height, ceiling, False
            )  # fmt: skip
        return level

    def forget(self, before: int) -> None:
        """It is small enough to stay."""


class _StreamedLevel:
    """A level whose rows go by: sampled, begun with the level before, swept, taken, forgotten.

    All arrays hold the rows from `first` on; sweep t has gone over all rows before `_swept[t]`.
    """

    def __init__(self, size: tuple[int, int], full_size: tuple[int, int], before: tuple[int, int]) -> None:
        self.size, self._full_size, self._before = size, full_size, before
        self.first = 0
        self.foreground = np.empty((0, size[1], 3), np.float32)
        self.background = np.empty((0, size[1], 3), np.float32)
        self._image = np.empty((0, size[1], 3), np.float32)
        self._alpha = np.empty((0, size[1]), np.float32)
        self._swept = [0] * _sweeps(size)
        self._taken = 0

    @property
    def done(self) -> int:
        """How many rows are final."""
        return self._swept[-1]

    def add(self, rows: slice, image: FloatArray, alpha: FloatArray, scale: np.float32) -> None:
        """Sample these rows of the picture, the next ones."""
        _, inside, columns = _grid(rows, self.size, self._full_size)
        if self.size == self._full_size:
            sampled, cover = image, alpha
        else:
            sampled, cover = image[inside][:, columns], alpha[inside][:, columns]
        self._image = np.concatenate((self._image, sampled / scale))
        self._alpha = np.concatenate((self._alpha, cover))

    def advance(self, before: _WholeLevel | _StreamedLevel, ceiling: np.float32) -> None:
        """Begin what rows can be, sweep over what can be swept, and let go of what nobody needs."""
        height, width = self.size
        begun = self.first + len(self.foreground)
        can_begin = min(self.first + len(self._alpha), -(-before.done * height // self._before[0]))
        ys = np.arange(begun, can_begin) * self._before[0] // height - before.first
        xs = np.arange(width) * self._before[1] // width
        self.foreground = np.concatenate((self.foreground, before.foreground[ys][:, xs]))
        self.background = np.concatenate((self.background, before.background[ys][:, xs]))
        before.forget(can_begin * self._before[0] // height)
        reach = can_begin
        for sweep, start in enumerate(self._swept):
            if can_begin < height:
                reach -= 1  # a row wants the one below it as the sweep before left it
            if reach > start:
                _compiled()(
                    self.foreground, self.background, self._image, self._alpha, start, reach, self.first,
                    height, ceiling, self.size == self._full_size,
                )  # fmt: skip
                self._swept[sweep] = reach

    def take(self) -> tuple[int, FloatArray] | None:
        """(first row, final rows (n, W, 3)) that were not taken yet; None if there are none."""
        start, stop = self._taken, self.done
        if start == stop:
            return None
        rows = slice(start - self.first, stop - self.first)
        found = self.foreground[rows].copy()
        opaque = self._alpha[rows] >= 1
        found[opaque] = self._image[rows][opaque]
        self._taken = stop
        self.forget(stop)
        return start, found

    def forget(self, before: int) -> None:
        """Rows further up than this are wanted by nobody but the next row to be swept last."""
        if (drop := min(before, self.done - 1) - self.first) <= 0:
            return
        self.first += drop
        self.foreground, self.background = self.foreground[drop:].copy(), self.background[drop:].copy()
        self._image, self._alpha = self._image[drop:].copy(), self._alpha[drop:].copy()


def _sweeps(size: tuple[int, int]) -> int:
    return _SWEEPS_OF_SMALL_LEVELS if max(size) <= _SMALL_PX else _SWEEPS


@cache
def _compiled() -> Callable[..., None]:
    # Here, because importing numba takes a second, and a matte alone does not need it.
    from numba import njit

    compiled: Callable[..., None] = njit(cache=True, nogil=True)(_sweep)
    return compiled


def _sweep(
    foreground: Any,
    background: Any,
    image: Any,
    alpha: Any,
    start: int,
    stop: int,
    first: int,
    height: int,
    ceiling: np.float32,
    skip_known: bool,
) -> None:
    """Go over rows `start` to `stop` once, in place. Arrays (n, W[, 3]) begin with row `first` of `height`.

    Each pixel's foreground and background, in [0, ceiling], are what explains it and agrees with its four
    neighbours, most where alpha changes. With `skip_known`, pixels as known as all their neighbours are
    left alone.
    """
    width = alpha.shape[1]
    neighbours = ((0, -1), (0, 1), (-1, 0), (1, 0))
    for y in range(start - first, stop - first):
        for x in range(width):
            cover = alpha[y, x]
            if skip_known and (cover <= 0 or cover >= 1):
                flat = True
                for dy, dx in neighbours:
                    y2 = max(0, min(height - 1, y + first + dy)) - first
                    x2 = max(0, min(width - 1, x + dx))
                    flat = flat and alpha[y2, x2] == cover
                if flat:
                    if cover >= 1:
                        for c in range(3):
                            foreground[y, x, c] = max(np.float32(0), image[y, x, c])
                    continue
            rest = np.float32(1) - cover
            a00, a01, a11 = cover * cover, cover * rest, rest * rest
            f0 = f1 = f2 = b0 = b1 = b2 = np.float32(0)
            for dy, dx in neighbours:
                y2 = max(0, min(height - 1, y + first + dy)) - first
                x2 = max(0, min(width - 1, x + dx))
                weight = np.float32(_REGULARIZATION + _GRADIENT_WEIGHT * abs(cover - alpha[y2, x2]))
                a00 += weight
                a11 += weight
                f0 += weight * foreground[y2, x2, 0]
                f1 += weight * foreground[y2, x2, 1]
                f2 += weight * foreground[y2, x2, 2]
                b0 += weight * background[y2, x2, 0]
                b1 += weight * background[y2, x2, 1]
                b2 += weight * background[y2, x2, 2]
            inverse = np.float32(1) / (a00 * a11 - a01 * a01)
            for c in range(3):
                value = max(np.float32(0), image[y, x, c])
                front = cover * value + (f0 if c == 0 else f1 if c == 1 else f2)
                behind = rest * value + (b0 if c == 0 else b1 if c == 1 else b2)
                new_front = inverse * (a11 * front - a01 * behind)
                new_behind = inverse * (a00 * behind - a01 * front)
                foreground[y, x, c] = max(np.float32(0), min(ceiling, new_front))
                background[y, x, c] = max(np.float32(0), min(ceiling, new_behind))
