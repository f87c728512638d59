"""Bands: a picture goes by a few rows at a time, so that a float copy of the whole never exists."""

from __future__ import annotations

from collections.abc import Iterator

from mematte.errors import InputError

BAND_PIXELS = 2_000_000  # 24 MB of float32 RGB: large enough that Python's share of the time is nothing


def row_bands(size: tuple[int, int], pixels: int = BAND_PIXELS, *, multiple: int = 1) -> Iterator[slice]:
    """Slices of rows that cover a picture of (height, width), each of about `pixels` pixels.

    All but the last have a multiple of `multiple` rows, at least one.
    """
    height, width = size
    rows = max(1, pixels // (max(1, width) * multiple)) * multiple
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def span_of(rows: slice, height: int) -> tuple[int, int]:
    """A slice of rows -> (first, behind the last) within the picture; equal if it is empty.

    Raises:
        InputError: the slice has a step.
    """
    start, stop, step = rows.indices(height)
    if step != 1:
        raise InputError(f"Rows are read one after the other, not with a step of {step}.")
    return start, max(start, stop)
