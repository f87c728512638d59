"""The supersampled canvas every kind is drawn on."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Bytes = NDArray[np.uint8]
Points = NDArray[np.float64]  # (..., 2): x, y in pixels
Paint = NDArray[np.float64]  # (..., 4): a value of `layer`
Random = np.random.Generator

SUPERSAMPLING = 3
_FIXED = 4  # OpenCV's coordinates: fixed point with 4 fractional bits
_ANTIALIASED = cv2.LINE_AA


class Canvas:
    """A square drawing of `size_px`; coordinates and widths are given in its pixels.

    Drawn on `layer`, `SUPERSAMPLING` times as wide and high: averaged down, it holds exact coverage.
    Channels of `layer`: shade, tint and hue, each times coverage, and coverage. What is drawn later covers.
    """

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        full = size_px * SUPERSAMPLING
        self.layer: Bytes = np.zeros((full, full, 4), np.uint8)

    def polygons(
        self,
        outlines: Points | Sequence[Points],
        shade: ArrayLike = 1.0,
        tint: ArrayLike = 0.0,
        hue: ArrayLike = 0.0,
    ) -> None:
        """Fill closed outlines, each (N, 2), in one paint or, given arrays, in one each."""
        paints = self.paint(shade, tint, hue)
        self.stacked([(outlines, np.broadcast_to(paints, (len(outlines), 4)))])

    def stacked(self, parts: Sequence[tuple[Points | Sequence[Points], Paint]]) -> None:
        """Fill outlines with their paints, the first of every part before the second of any.

        For things made of several parts, each of which covers all of the thing drawn before it.
        """
        ready = [(self._fixed_paths(outlines), paints.tolist()) for outlines, paints in parts]
        for number in range(len(ready[0][0])):
            for outlines, paints in ready:
                cv2.fillPoly(self.layer, [outlines[number]], paints[number], _ANTIALIASED, _FIXED)

    def holes(self, outlines: Points | Sequence[Points]) -> None:
        """Cut closed outlines out of what is drawn so far."""
        self.stacked([(outlines, np.zeros((len(outlines), 4)))])

    def lines(
        self,
        paths: Points | Sequence[Points],
        width_px: float,
        shade: float = 1.0,
        tint: float = 0.0,
        hue: float = 0.0,
    ) -> None:
        """Draw open paths, each (N, 2), `width_px` wide (at least a third of a pixel)."""
        width = max(1, round(width_px * SUPERSAMPLING))
        paint = self.paint(shade, tint, hue).tolist()
        cv2.polylines(self.layer, self._fixed_paths(paths), False, paint, width, _ANTIALIASED, _FIXED)

    def _fixed_paths(self, paths: Points | Sequence[Points]) -> list[NDArray[np.int32]]:
        # All paths of an array at once: ten thousands of small conversions would cost more than drawing.
        if isinstance(paths, np.ndarray):
            return list(self._fixed(paths))
        return [self._fixed(path) for path in paths]

    def _fixed(self, path: Points) -> NDArray[np.int32]:
        # +0.5, -0.5: pixel centres of the small picture to those of the large one.
        large = (path + 0.5) * SUPERSAMPLING - 0.5
        # Far outside is cut off: OpenCV's fixed point overflows at 2^15 pixels.
        return np.rint(np.clip(large, -8000, 16000) * (1 << _FIXED)).astype(np.int32)

    @staticmethod
    def paint(shade: ArrayLike, tint: ArrayLike = 0.0, hue: ArrayLike = 0.0) -> Paint:
        """(..., 4): the value of a fully covered pixel of `layer`; all three are cut to [0, 1]."""
        values = np.stack(np.broadcast_arrays(shade, tint, hue, 1.0), -1).astype(np.float64)
        return np.clip(values, 0, 1) * 255
