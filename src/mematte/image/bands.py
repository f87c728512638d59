"""Bands: a picture goes by a few rows at a time, so that a float copy of the whole never exists."""

from __future__ import annotations

from collections.abc import Iterator

BAND_PIXELS = 2_000_000  # 24 MB of float32 RGB: large enough that Python's share of the time is nothing


def row_bands(size: tuple[int, int], pixels: int = BAND_PIXELS) -> Iterator[slice]:
    """Slices of rows that cover a picture of (height, width), each of about `pixels` pixels or one row."""
    height, width = size
    rows = max(1, pixels // max(1, width))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))
