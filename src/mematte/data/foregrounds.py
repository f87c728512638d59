"""Foreground pictures with alpha: reading, colour under soft alpha, and random views of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.backgrounds import picture_files, read_picture
from mematte.data.pyramid import Pyramid, View
from mematte.errors import ImageFileError

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]

# How often a picture of a folder is drawn, relative to one of another. Photographs and exact strands are
# what real pictures look like; renders that are nearly opaque teach little about alpha.
WEIGHTS: dict[str, float] = {
    "aim500_mit": 14.0,  # photographs of fur
    "sintel_strands_ccby3": 3.0,
    "tressfx_mohawk_mit": 3.0,
    "own_strands_synthetic": 2.0,
    "ambientcg_leafset021_cc0": 0.8,
    "ambientcg_leafset024_cc0": 0.8,
    "ambientcg_net004a_cc0": 4.0,
    "polyhaven_moss01_cc0": 1.5,
    "gazebo_ccby3": 3.0,
    "ogre_mit": 3.0,
    "osm2world_cc0": 2.0,
    "scatter_mit": 2.0,
    "torque3d_mit": 1.0,
    "makehuman_cc0": 0.5,
    "magic123_apache2": 0.7,
    "kenney_smoke_cc0": 0.25,
    "rpicster_cc0": 0.3,
    "layerdiffuse_mit_ai": 1.0,
    "trellis_mit_airender": 0.35,
}
OTHER_WEIGHT = 1.0  # folders that the table does not name

# Source alphas have floors of a few levels (lossy files, rendering noise): below and above is known.
ALPHA_FLOOR, ALPHA_CEILING = 5, 250
_MARGIN_PX = 16


def clean_alpha(alpha: Bytes) -> Bytes:
    """Alpha with its noise floor and ceiling cut: exactly 0 and 255 there, stretched between."""
    return cast(Bytes, cv2.LUT(alpha, _CLEAN))


_CLEAN = np.clip(
    np.rint((np.arange(256) - ALPHA_FLOOR) * (255 / (ALPHA_CEILING - ALPHA_FLOOR))), 0, 255
).astype(np.uint8)


def extend_colour(colour: Bytes, alpha: Bytes, reliable: int = 48) -> Bytes:
    """Colour that is valid everywhere: where alpha is low it comes from the nearest reliable pixels.

    (H, W, 3) and (H, W) -> (H, W, 3). Quotients under low alpha are noise, and colour outside is
    arbitrary: interpolated into the picture, both would show as fringes. Averages at ever coarser
    levels ("pull") are filled back into the finer ones ("push").
    """
    solid = alpha >= reliable
    if solid.all():
        return colour
    weight = np.where(solid, alpha, 0).astype(np.float32)
    if not solid.any():
        weight = np.maximum(alpha, 1).astype(np.float32)
    sums: list[Floats] = [cast(Floats, np.dstack([colour * weight[..., None], weight]))]
    while max(sums[-1].shape[:2]) > 1:
        height, width = sums[-1].shape[:2]
        half = cv2.resize(sums[-1], (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
        sums.append(cast(Floats, half))
    filled = sums[-1][..., :3] / np.maximum(sums[-1][..., 3:], 1e-6)
    # The first level needs no push: the pixels to be filled have no weight of their own there.
    for level in reversed(sums[1:-1]):
        height, width = level.shape[:2]
        coarse = cv2.resize(filled, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, 3)
        trust = np.minimum(level[..., 3:] * (4 / 255), 1)
        filled = coarse + trust * (level[..., :3] / np.maximum(level[..., 3:], 1e-6) - coarse)
    filled = np.clip(filled + 0.5, 0, 255).astype(np.uint8)
    outside = cv2.resize(filled, (alpha.shape[1], alpha.shape[0]), interpolation=cv2.INTER_LINEAR)
    return cast(Bytes, np.where(solid[..., None], colour, outside.reshape(colour.shape)))


def edge_points(alpha: Bytes, count: int = 3000) -> NDArray[np.int32]:
    """Up to `count` (x, y) of pixels that a trimap would call unknown: partial, or next to an edge."""
    kernel = np.ones((5, 5), np.uint8)
    near = cv2.morphologyEx(alpha, cv2.MORPH_GRADIENT, kernel) > 40
    partial = (alpha > 12) & (alpha < 243)
    ys, xs = np.nonzero(near | partial)
    if not len(ys):
        ys, xs = np.nonzero(alpha >= 0)
    points = np.column_stack([xs, ys]).astype(np.int32)
    # Spread over all of them, in an order that does not depend on anything but their number.
    return points[np.random.default_rng(0).permutation(len(points))[:count]]


@dataclass(frozen=True)
class Foreground:
    """A picture with alpha, ready for views. `pyramid` is RGBA with colour valid everywhere."""

    pyramid: Pyramid
    points: NDArray[np.int32]

    @classmethod
    def from_rgba(cls, picture: Bytes) -> Foreground:
        """Clean the alpha, extend the colour, add a transparent margin."""
        alpha = clean_alpha(np.ascontiguousarray(picture[..., 3]))
        margin = (_MARGIN_PX,) * 4
        colour = cv2.copyMakeBorder(
            extend_colour(np.ascontiguousarray(picture[..., :3]), alpha), *margin, cv2.BORDER_REPLICATE
        )
        alpha = cast(Bytes, cv2.copyMakeBorder(alpha, *margin, cv2.BORDER_CONSTANT, value=0))
        return cls(Pyramid(np.dstack([colour, alpha])), edge_points(alpha))


def random_view(
    rng: np.random.Generator,
    points: NDArray[np.int32],
    picture_size_px: tuple[int, int],
    crop_size_px: int,
    scales: tuple[float, float] = (0.3, 1.4),
) -> View:
    """A view centred near an unknown-ish pixel, of any direction, at a scale from a log-uniform range."""
    longest = max(picture_size_px)
    # Small pictures may grow, but never so far that their alpha turns into mush.
    lowest = min(max(scales[0], 0.6 * crop_size_px / longest), 1.5)
    scale = float(np.exp(rng.uniform(np.log(lowest), np.log(max(scales[1], lowest * 1.1)))))
    x, y = points[int(rng.integers(len(points)))]
    offset = rng.normal(0, crop_size_px * 0.12, 2) / scale
    angle = rng.normal(0, 0.35) if rng.random() < 0.7 else rng.uniform(-np.pi, np.pi)
    stretch = float(np.exp(rng.normal(0, 0.1)))
    return View((x + offset[0], y + offset[1]), scale, float(angle), bool(rng.random() < 0.5), stretch)


class ForegroundLibrary:
    """All foregrounds of a folder, in memory at limited size, drawn by the weight of their folder."""

    def __init__(self, foregrounds: Sequence[Foreground], weights: Sequence[float]) -> None:
        self.foregrounds = list(foregrounds)
        self._cumulative = np.cumsum(weights) / np.sum(weights)

    @classmethod
    def load(cls, folder: Path, longest_px: int = 1100) -> ForegroundLibrary:
        """Read every RGBA picture below `folder`. A damaged one is an error that names it."""
        foregrounds, weights = [], []
        for file in picture_files(folder):
            picture = read_picture(file, longest_px, 4)
            if picture[..., 3].max() <= ALPHA_FLOOR:
                raise ImageFileError(f"{file} is transparent everywhere: there is no foreground in it.")
            foregrounds.append(Foreground.from_rgba(picture))
            weights.append(WEIGHTS.get(file.parent.name, OTHER_WEIGHT))
        return cls(foregrounds, weights)

    def draw(self, rng: np.random.Generator) -> Foreground:
        """One foreground, by weight."""
        index = int(np.searchsorted(self._cumulative, rng.random(), side="right"))
        return self.foregrounds[min(index, len(self.foregrounds) - 1)]
