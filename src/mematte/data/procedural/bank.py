"""The table of kinds, one finished matte, and the stock of them that crops are cut from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.foregrounds import clean_alpha, edge_points, extend_colour
from mematte.data.procedural.canvas import Bytes, Canvas, Random
from mematte.data.procedural.hair_and_fur import feather, fur, hair, plush, wool
from mematte.data.procedural.nets_and_lace import basket, lace, net, web
from mematte.data.procedural.plants import foliage, grass, stems, twigs
from mematte.data.procedural.smoke_and_glass import glass, smoke
from mematte.data.procedural.solids import solid
from mematte.data.pyramid import Pyramid

# kind -> (how to draw it, probability)
KINDS: dict[str, tuple[Callable[[Canvas, Random], None], float]] = {
    "hair": (hair, 0.12),
    "fur": (fur, 0.11),
    "plush": (plush, 0.09),
    "wool": (wool, 0.09),
    "stems": (stems, 0.08),
    "twigs": (twigs, 0.07),
    "foliage": (foliage, 0.09),
    "grass": (grass, 0.03),
    "net": (net, 0.06),
    "basket": (basket, 0.04),
    "lace": (lace, 0.03),
    "feather": (feather, 0.03),
    "web": (web, 0.02),
    "smoke": (smoke, 0.01),
    "glass": (glass, 0.02),
    "solid": (solid, 0.11),
}
_NAMES = list(KINDS)
_CHANCES = np.cumsum([chance for _, chance in KINDS.values()])


@dataclass(frozen=True)
class ProceduralMatte:
    """A finished drawing. `pyramid` has the channels shade, tint, alpha; shade and tint valid everywhere."""

    kind: str
    pyramid: Pyramid
    points: NDArray[np.int32]


def draw_matte(rng: Random, size_px: int = 900, kind: str | None = None) -> ProceduralMatte:
    """Draw one matte of `kind`, or of a kind drawn from `KINDS`."""
    if kind is None:
        kind = _NAMES[int(np.searchsorted(_CHANCES / _CHANCES[-1], rng.random(), side="right"))]
    canvas = Canvas(size_px)
    KINDS[kind][0](canvas, rng)
    small = cv2.resize(canvas.layer, (size_px, size_px), interpolation=cv2.INTER_AREA)
    alpha = clean_alpha(np.ascontiguousarray(small[..., 2]))
    if not alpha.any():
        return draw_matte(rng, size_px, kind)
    coverage = np.maximum(small[..., 2:].astype(np.float32), 1)
    colour = np.clip(small.astype(np.float32) * 255 / coverage + 0.5, 0, 255).astype(np.uint8)
    colour = extend_colour(colour, alpha, reliable=64)
    picture = np.dstack([colour[..., :2], alpha])
    picture = cast(Bytes, cv2.copyMakeBorder(picture, 16, 16, 16, 16, cv2.BORDER_REPLICATE))
    for edge in (np.s_[:16], np.s_[-16:], np.s_[:, :16], np.s_[:, -16:]):
        picture[edge][..., 2] = 0
    return ProceduralMatte(kind, Pyramid(picture), edge_points(np.ascontiguousarray(picture[..., 2])))


class MatteBank:
    """A changing stock of drawings: each serves many crops, so drawing them richly costs little.

    It starts with `first` drawings, one more follows after every `every` requests, and beyond
    `capacity` the oldest gives way. All randomness comes from the generators passed to `draw`.
    """

    def __init__(self, size_px: int = 900, capacity: int = 160, first: int = 12, every: int = 12) -> None:
        self.size_px, self.capacity, self.first, self.every = size_px, capacity, first, every
        self._mattes: list[ProceduralMatte] = []
        self._requests = 0
        self._drawn = 0

    def draw(self, rng: Random) -> ProceduralMatte:
        """One of the stock, which this request may renew."""
        if self._drawn < self.first or self._requests % self.every == 0:
            matte = draw_matte(rng, self.size_px)
            if len(self._mattes) < self.capacity:
                self._mattes.append(matte)
            else:
                self._mattes[self._drawn % self.capacity] = matte
            self._drawn += 1
        self._requests += 1
        return self._mattes[int(rng.integers(len(self._mattes)))]
