"""Pictures kept at several sizes, so that one cheap warp makes a crop at any scale without aliasing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

_SMALLEST_PX = 32  # the shorter side of the last level, about
# A level is used from 0.7 to 1.4 of its own size: below, bilinear sampling skips pixels; above, it blurs.
_SWITCH = 1.4


@dataclass(frozen=True)
class View:
    """Where a crop looks: a similarity transform from source pixels to crop pixels.

    centre: (x, y) in source pixels, the point that comes to lie in the middle of the crop.
    scale: crop pixels per source pixel. angle: radians. stretch: extra factor of the source's x axis.
    """

    centre: tuple[float, float]
    scale: float
    angle: float = 0.0
    flip: bool = False
    stretch: float = 1.0

    def matrix(self, size_px: int, level_scale: float) -> NDArray[np.float64]:
        """2x3 matrix that takes pixels of a level (`level_scale` = its size / full size) to crop pixels."""
        scale = self.scale / level_scale
        cosine, sine = np.cos(self.angle) * scale, np.sin(self.angle) * scale
        along = self.stretch * (-1.0 if self.flip else 1.0)
        linear = np.array([[cosine * along, -sine], [sine * along, cosine]])
        # Pixel centres lie at +0.5: halving a picture moves them.
        centre = (np.array(self.centre) + 0.5) * level_scale - 0.5
        shift = (size_px - 1) / 2 - linear @ centre
        return np.column_stack([linear, shift])


class Pyramid:
    """A uint8 picture and its halves, quarters, ... down to about `_SMALLEST_PX`."""

    def __init__(self, picture: Bytes) -> None:
        levels = [np.ascontiguousarray(picture)]
        while min(levels[-1].shape[:2]) >= 2 * _SMALLEST_PX:
            height, width = levels[-1].shape[:2]
            half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
            levels.append(cast(Bytes, half))
        self.levels: Sequence[Bytes] = levels

    @property
    def size_px(self) -> tuple[int, int]:
        """(height, width) of the full-size picture."""
        height, width = self.levels[0].shape[:2]
        return height, width

    @property
    def memory_bytes(self) -> int:
        """What keeping it takes."""
        return sum(level.nbytes for level in self.levels)

    def warp(self, view: View, size_px: int, interpolation: int = cv2.INTER_LINEAR) -> Bytes:
        """The (size_px, size_px, C) crop that `view` shows; beyond the border the border pixels repeat."""
        return self._warp(view, size_px, interpolation, cv2.BORDER_REPLICATE)

    def warp_mirrored(self, view: View, size_px: int, interpolation: int = cv2.INTER_LINEAR) -> Bytes:
        """Like `warp`, but the picture continues as its own mirror image."""
        return self._warp(view, size_px, interpolation, cv2.BORDER_REFLECT_101)

    def _warp(self, view: View, size_px: int, interpolation: int, border: Any) -> Bytes:
        level = 0
        while level + 1 < len(self.levels) and view.scale * 2 ** (level + 1) <= _SWITCH:
            level += 1
        source = self.levels[level]
        level_scale = source.shape[1] / self.levels[0].shape[1]
        matrix = view.matrix(size_px, level_scale)
        if min(source.shape[:2]) == 1:
            border = cv2.BORDER_REPLICATE  # OpenCV would look for the other side of a mirror for ever
        crop = cv2.warpAffine(source, matrix, (size_px, size_px), flags=interpolation, borderMode=border)
        return cast(Bytes, crop)
