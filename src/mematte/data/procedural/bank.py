"""The table of kinds, one finished matte, and the numbered drawings that crops are cut from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.foregrounds import clean_alpha, edge_points, extend_colour
from mematte.data.procedural.canvas import Bytes, Canvas, Random
from mematte.data.procedural.hair_and_fur import feather, fur, hair, plush
from mematte.data.procedural.nets_and_lace import basket, lace, mesh, net, web
from mematte.data.procedural.plants import bamboo, blossom, foliage, grass, stems, thistle, twigs
from mematte.data.procedural.smoke_and_glass import glass, smoke
from mematte.data.procedural.solids import solid
from mematte.data.procedural.threads import fringe, wool
from mematte.data.pyramid import Pyramid

# kind -> (how to draw it, probability)
KINDS: dict[str, tuple[Callable[[Canvas, Random], None], float]] = {
    "hair": (hair, 0.11),
    "fur": (fur, 0.09),
    "plush": (plush, 0.06),
    "wool": (wool, 0.04),
    "fringe": (fringe, 0.08),
    "stems": (stems, 0.03),
    "twigs": (twigs, 0.05),
    "foliage": (foliage, 0.06),
    "bamboo": (bamboo, 0.09),
    "blossom": (blossom, 0.08),
    "thistle": (thistle, 0.06),
    "grass": (grass, 0.02),
    "net": (net, 0.04),
    "mesh": (mesh, 0.06),
    "basket": (basket, 0.01),
    "lace": (lace, 0.02),
    "feather": (feather, 0.02),
    "web": (web, 0.01),
    "smoke": (smoke, 0.01),
    "glass": (glass, 0.01),
    "solid": (solid, 0.05),
}
_NAMES = list(KINDS)
_CHANCES = np.cumsum([chance for _, chance in KINDS.values()])


@dataclass(frozen=True)
class ProceduralMatte:
    """A finished drawing. `pyramid` has shade, tint and hue, valid everywhere, and alpha."""

    kind: str
    pyramid: Pyramid
    points: NDArray[np.int32]

    @property
    def memory_bytes(self) -> int:
        """What keeping it takes."""
        return self.pyramid.memory_bytes + self.points.nbytes


def draw_matte(rng: Random, size_px: int = 900, kind: str | None = None) -> ProceduralMatte:
    """Draw one matte of `kind`, or of a kind drawn from `KINDS`."""
    if kind is None:
        kind = _NAMES[int(np.searchsorted(_CHANCES / _CHANCES[-1], rng.random(), side="right"))]
    canvas = Canvas(size_px)
    KINDS[kind][0](canvas, rng)
    small = cv2.resize(canvas.layer, (size_px, size_px), interpolation=cv2.INTER_AREA)
    alpha = clean_alpha(np.ascontiguousarray(small[..., 3]))
    if not alpha.any():
        return draw_matte(rng, size_px, kind)
    coverage = np.maximum(small[..., 3:].astype(np.float32), 1)
    values = small[..., :3].astype(np.float32) * 255 / coverage
    colour = extend_colour(np.clip(values + 0.5, 0, 255).astype(np.uint8), alpha, reliable=64)
    picture = np.dstack([colour, alpha])
    picture = cast(Bytes, cv2.copyMakeBorder(picture, 16, 16, 16, 16, cv2.BORDER_REPLICATE))
    for edge in (np.s_[:16], np.s_[-16:], np.s_[:, :16], np.s_[:, -16:]):
        picture[edge][..., 3] = 0
    return ProceduralMatte(kind, Pyramid(picture), edge_points(np.ascontiguousarray(picture[..., 3])))


class MatteBank:
    """Endless numbered drawings, of which a window of `capacity` is in use: each serves many crops.

    Drawing number k is made when it is first asked for, from a generator of its own: what `draw` gives
    depends on the generator passed to it, the seed and the window only, never on what was drawn before.
    Finished drawings are kept while they fit into `memory_bytes`, the last used ones longest.
    """

    def __init__(
        self, size_px: int = 900, capacity: int = 240, *, seed: int = 0, memory_bytes: int = 5 * 2**28
    ) -> None:
        self.size_px, self.capacity, self.seed, self.memory_bytes = size_px, capacity, seed, memory_bytes
        self.first = 0
        self._kept: OrderedDict[int, ProceduralMatte] = OrderedDict()
        self._kept_bytes = 0

    def move_window(self, first: int) -> None:
        """From now on use the drawings first ... first + capacity - 1; those before are forgotten."""
        self.first = first
        for number in [number for number in self._kept if number < first]:
            self._kept_bytes -= self._kept.pop(number).memory_bytes

    def draw_ahead(self, processes: int) -> None:
        """Make the drawings of the window that fit into memory, for processes that are forked later to share.

        `processes`: that draw them, at the same time.
        """
        window = range(self.first, self.first + self.capacity)
        numbers = [number for number in window if number not in self._kept]
        with ProcessPoolExecutor(processes, mp_context=get_context("fork")) as pool:
            made = pool.map(partial(_numbered, self.seed, self.size_px), numbers)
            for number, matte in zip(numbers, made, strict=True):
                if self._kept_bytes + matte.memory_bytes > self.memory_bytes:
                    pool.shutdown(cancel_futures=True)
                    break
                self._keep(number, matte)

    def draw(self, rng: Random) -> ProceduralMatte:
        """One drawing of the window."""
        return self.drawing(self.first + int(rng.integers(self.capacity)))

    def drawing(self, number: int) -> ProceduralMatte:
        """The drawing of that number, kept or made again."""
        matte = self._kept.get(number)
        if matte is None:
            matte = _numbered(self.seed, self.size_px, number)
            self._keep(number, matte)
            while self._kept_bytes > self.memory_bytes and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].memory_bytes
        self._kept.move_to_end(number)
        return matte

    def _keep(self, number: int, matte: ProceduralMatte) -> None:
        self._kept[number] = matte
        self._kept_bytes += matte.memory_bytes


def _numbered(seed: int, size_px: int, number: int) -> ProceduralMatte:
    return draw_matte(np.random.default_rng([seed, number]), size_px)
