"""Pictures: upright RGB rows, held in memory (`Picture`) or read from a file as they are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from mematte.image.color import FloatArray, as_float, linear_to_srgb
from mematte.image.metadata import Metadata

PixelArray = NDArray[Any]
Depth = Literal[8, 16, 32]
"""Bits per channel; 32 is float."""


class Rows(Protocol):
    """An upright RGB picture that gives its rows: a `Picture`, or a `PictureFile` that may exceed memory.

    Slices of rows have a step of 1; their ends may lie beyond the picture, as ends of slices may.
    """

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""

    @property
    def linear(self) -> bool:
        """True for scene-linear values, which may exceed 1; False for display-referred ones."""

    @property
    def bits(self) -> Depth:
        """Bits per channel; 32 is float."""

    @property
    def metadata(self) -> Metadata:
        """What results keep."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, each a phrase."""

    @property
    def has_alpha(self) -> bool:
        """Whether the rows read so far have an alpha of their own that is not opaque everywhere."""

    def stored(self, rows: slice = slice(None)) -> PixelArray:
        """(h, W, 3) uint8, uint16 or float32, as the file holds them; not to be changed."""

    def values(self, rows: slice = slice(None)) -> FloatArray:
        """(h, W, 3) float32 in the picture's own encoding; integers become [0, 1]."""

    def display(self, rows: slice = slice(None)) -> FloatArray:
        """(h, W, 3) float32 in [0, 1], display-referred sRGB; the array is the caller's to change."""


@dataclass(frozen=True, eq=False, repr=False)
class Picture:
    """An upright RGB picture as its file holds it. Nothing may change its arrays: they may be the caller's.

    Attributes:
        pixels: (H, W, 3) uint8, uint16 or float32, in the file's own encoding; straight, not premultiplied.
        linear: True for scene-linear values (EXR, HDR, float TIFF), which may exceed 1; False for
            display-referred ones (sRGB or alike).
        alpha: (H, W) of the same dtype, the photograph's own alpha; None where it has none or is opaque
            everywhere. The estimate never uses it.
        metadata: what results keep.
        notes: what a user should know, each a phrase: "grey picture", "first of 12 frames".
    """

    pixels: PixelArray
    linear: bool = False
    alpha: PixelArray | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """In a line."""
        height, width = self.size
        encoding = "scene-linear" if self.linear else "display-referred"
        return f"Picture({width}x{height} px, {self.pixels.dtype}, {encoding})"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def bits(self) -> Depth:
        """Bits per channel; 32 is float."""
        return depth_of(self.pixels.dtype)

    @property
    def has_alpha(self) -> bool:
        """Whether there is an alpha that is not opaque everywhere."""
        return self.alpha is not None

    def stored(self, rows: slice = slice(None)) -> PixelArray:
        """(h, W, 3) of the rows asked for, of the picture's own dtype: a view."""
        return self.pixels[rows]

    def values(self, rows: slice = slice(None)) -> FloatArray:
        """(h, W, 3) float32 of the rows asked for in the picture's own encoding; integers become [0, 1]."""
        return as_float(self.pixels[rows])

    def display(self, rows: slice = slice(None)) -> FloatArray:
        """(h, W, 3) float32 in [0, 1] of the rows asked for, display-referred sRGB: what the network sees.

        Scene-linear values go through the plain sRGB curve and are clipped at 1; no other tone mapping, so
        that a value means the same in every picture. The array is the caller's to change.
        """
        return displayed(self.pixels[rows], self.linear)


def displayed(stored: PixelArray, linear: bool) -> FloatArray:
    """Stored values of any shape -> display-referred float32 in [0, 1]; a new array."""
    values = linear_to_srgb(as_float(stored)) if linear else as_float(stored)
    is_view = not linear and stored.dtype.kind == "f"
    return np.clip(values, 0, 1, out=None if is_view else values)


def depth_of(dtype: np.dtype[Any]) -> Depth:
    """Bits per channel of a stored dtype."""
    depths: dict[str, Depth] = {"uint8": 8, "uint16": 16}
    return depths.get(dtype.name, 32)
