"""The supersampled canvas every kind is drawn on."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Points = NDArray[np.float64]  # (..., 2): x, y in pixels
Random = np.random.Generator

SUPERSAMPLING = 3
_FIXED = 4  # OpenCV's coordinates: fixed point with 4 fractional bits
_ANTIALIASED = cv2.LINE_AA


class Canvas:
    """A square drawing of `size_px`; coordinates and widths are given in its pixels.

    Drawn on `layer`, `SUPERSAMPLING` times as wide and high: averaged down, it holds exact coverage.
    Channels of `layer`: shade * coverage, tint * coverage, coverage. What is drawn later covers.
    """

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        full = size_px * SUPERSAMPLING
        self.layer: Bytes = np.zeros((full, full, 3), np.uint8)

    def polygons(self, outlines: Sequence[Points], shade: float = 1.0, tint: float = 0.0) -> None:
        """Fill closed outlines, each (N, 2)."""
        for outline in outlines:
            cv2.fillPoly(self.layer, [self._fixed(outline)], self.paint(shade, tint), _ANTIALIASED, _FIXED)

    def holes(self, outlines: Sequence[Points]) -> None:
        """Cut closed outlines out of what is drawn so far."""
        for outline in outlines:
            cv2.fillPoly(self.layer, [self._fixed(outline)], (0, 0, 0), _ANTIALIASED, _FIXED)

    def lines(
        self, paths: Points | Sequence[Points], width_px: float, shade: float = 1.0, tint: float = 0.0
    ) -> None:
        """Draw open paths, each (N, 2), `width_px` wide (at least a third of a pixel)."""
        width = max(1, round(width_px * SUPERSAMPLING))
        # All paths of an array at once: ten thousands of small conversions would cost more than drawing.
        fixed = list(self._fixed(paths)) if isinstance(paths, np.ndarray) else [self._fixed(p) for p in paths]
        cv2.polylines(self.layer, fixed, False, self.paint(shade, tint), width, _ANTIALIASED, _FIXED)

    def _fixed(self, path: Points) -> NDArray[np.int32]:
        # +0.5, -0.5: pixel centres of the small picture to those of the large one.
        large = (path + 0.5) * SUPERSAMPLING - 0.5
        # Far outside is cut off: OpenCV's fixed point overflows at 2^15 pixels.
        return np.rint(np.clip(large, -8000, 16000) * (1 << _FIXED)).astype(np.int32)

    @staticmethod
    def paint(shade: float, tint: float) -> tuple[float, float, float]:
        """The value of a fully covered pixel of `layer`; shade and tint are cut to [0, 1]."""
        return (float(np.clip(shade, 0, 1)) * 255, float(np.clip(tint, 0, 1)) * 255, 255.0)
