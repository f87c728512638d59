"""Foreground pictures with alpha: reading, colour under soft alpha, and random views of them."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.draws import ratio
from mematte.data.layouts import Pair, find_pairs
from mematte.data.pictures import (
    as_folders,
    names_within,
    read_cutout,
    read_with_alpha,
    shrink,
    shrink_cutout,
    with_alpha,
    without_alpha,
)
from mematte.data.pyramid import Pyramid, View
from mematte.data.shelf import DEFAULT_MEMORY_BYTES, Entry, Lottery, Shelf
from mematte.errors import DataError

log = logging.getLogger("mematte.data")

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
# Crop pixels per source pixel. Above 1 hairs are as wide and soft as in photographs of 20 megapixels.
SCALES = (0.25, 2.0)
_MARGIN_PX = 16
_POINTS = 3000  # that views are centred near, of one picture
_UNMIXING_PX = (90, 6)  # radii: first from far around, then the detail


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
    sums: list[Floats] = [cast(Floats, cv2.merge([colour * weight[..., None], weight]))]
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


def unmixed_colour(image: Bytes, alpha: Bytes) -> Bytes:
    """The foreground's own colour under soft alpha, where a photograph shows it mixed with the background.

    (H, W, 3) and (H, W) -> (H, W, 3). PyMatting's estimate is 2 levels of 255 closer on average over some
    twenty mixed pictures, and equal in the median. But it takes nine times as long, and it starts OpenMP
    threads, after which a forked process that calls it again is killed: training reads pictures in such.

    Source: Forte, "Approximate Fast Foreground Colour Estimation", ICIP 2021.
    """
    mixed = image.astype(np.float32)
    cover = alpha.astype(np.float32)[..., None] * np.float32(1 / 255)
    front = back = mixed
    for radius_px in _UNMIXING_PX:
        near = _mean_around(cover, radius_px)
        front_mean = _mean_around(front * cover, radius_px) / (near + np.float32(1e-5))
        back_mean = _mean_around(back * (1 - cover), radius_px) / (1 - near + np.float32(1e-5))
        missing = mixed - cover * front_mean - (1 - cover) * back_mean
        front, back = np.clip(front_mean + cover * missing, 0, 255), back_mean
    return cast(Bytes, np.where(cover >= 1, image, (front + np.float32(0.5)).astype(np.uint8)))


def _mean_around(values: Floats, radius_px: int) -> Floats:
    """(H, W, C) -> (H, W, C)."""
    side = 2 * radius_px + 1
    mean = cv2.blur(values, (side, side), borderType=cv2.BORDER_REPLICATE)
    return cast(Floats, mean.reshape(values.shape))


def edge_points(alpha: Bytes) -> NDArray[np.int32]:
    """Up to `_POINTS` (x, y) of pixels that a trimap would call unknown: partial, or next to an edge."""
    kernel = np.ones((5, 5), np.uint8)
    near = cv2.morphologyEx(alpha, cv2.MORPH_GRADIENT, kernel) > 40
    partial = (alpha > 12) & (alpha < 243)
    ys, xs = np.nonzero(near | partial)
    if not len(ys):
        ys, xs = np.nonzero(alpha >= 0)
    points = np.column_stack([xs, ys]).astype(np.int32)
    # Spread over all of them, in an order that does not depend on anything but their number.
    return points[np.random.default_rng(0).permutation(len(points))[:_POINTS]]


@dataclass(frozen=True)
class Foreground:
    """A picture with alpha, ready for views. `pyramid` is RGBA with colour valid everywhere."""

    pyramid: Pyramid
    points: NDArray[np.int32]

    @property
    def memory_bytes(self) -> int:
        """What keeping it takes."""
        return self.pyramid.memory_bytes + self.points.nbytes

    @classmethod
    def from_rgba(cls, picture: Bytes) -> Foreground:
        """Clean the alpha, extend the colour, add a transparent margin.

        Raises:
            DataError: it is transparent or opaque everywhere.
        """
        colour, alpha = without_alpha(picture)
        alpha = useful_alpha(alpha)
        margin = (_MARGIN_PX,) * 4
        colour = cast(Bytes, cv2.copyMakeBorder(extend_colour(colour, alpha), *margin, cv2.BORDER_REPLICATE))
        points = edge_points(alpha) + np.int32(_MARGIN_PX)  # where the picture is cut off is no edge
        alpha = cast(Bytes, cv2.copyMakeBorder(alpha, *margin, cv2.BORDER_CONSTANT, value=0))
        return cls(Pyramid(with_alpha(colour, alpha)), points)


def useful_alpha(alpha: Bytes) -> Bytes:
    """The alpha, cleaned.

    Raises:
        DataError: there is nothing to learn from it, for it is the same everywhere.
    """
    alpha = clean_alpha(alpha)
    if not alpha.any():
        raise DataError("it is transparent everywhere: there is no foreground in it.")
    if alpha.min() == 255:
        raise DataError("it is opaque everywhere: there is no edge in it.")
    return alpha


def random_view(
    rng: np.random.Generator,
    points: NDArray[np.int32],
    picture_size_px: tuple[int, int],
    crop_size_px: int,
    scales: tuple[float, float] = SCALES,
) -> View:
    """A view centred near an unknown-ish pixel, of any direction, at a scale from a log-uniform range."""
    longest = max(picture_size_px)
    # Small pictures may grow, but never so far that their alpha turns into mush.
    lowest = min(max(scales[0], 0.6 * crop_size_px / longest), 1.5)
    scale = ratio(rng, lowest, max(scales[1], lowest * 1.1))
    x, y = points[int(rng.integers(len(points)))]
    offset = rng.normal(0, crop_size_px * 0.12, 2) / scale
    angle = rng.normal(0, 0.35) if rng.random() < 0.7 else rng.uniform(-np.pi, np.pi)
    stretch = float(np.exp(rng.normal(0, 0.1)))
    return View((x + offset[0], y + offset[1]), scale, float(angle), bool(rng.random() < 0.5), stretch)


def load_foregrounds(
    folders: Sequence[Path] | Path, longest_px: int = 1100, memory_bytes: int = DEFAULT_MEMORY_BYTES
) -> Lottery[Foreground]:
    """Cut-outs, foregrounds with alpha, and photographs with alpha, in any layout of `find_pairs`.

    Drawn by the weight of their folder.

    Raises:
        DataError: a folder holds none, or too many of them are damaged.
    """
    entries = [
        Entry(next(iter(pair.files.values())), partial(read_foreground, pair, longest_px), weight)
        for folder in as_folders(folders)
        for pair, weight in weighted_pairs(folder)
    ]
    shelf = Shelf(entries, "foregrounds")
    shelf.load(memory_bytes)
    return Lottery(shelf)


def weighted_pairs(folder: Path) -> list[tuple[Pair, float]]:
    """The pairs of a folder, each with the weight of the innermost folder that `WEIGHTS` names."""
    found = find_pairs(folder)
    if found.unpaired:
        log.warning(
            "%d pictures in %s belong to no pair and are not used, such as %s",
            len(found.unpaired),
            folder,
            found.unpaired[0],
        )

    def weight(pair: Pair) -> float:
        names = names_within(next(iter(pair.files.values())), folder)
        return next((WEIGHTS[name] for name in names if name in WEIGHTS), OTHER_WEIGHT)

    return [(pair, weight(pair)) for pair in found.pairs]


def read_foreground(pair: Pair, longest_px: int) -> Foreground:
    """The foreground of a pair, at limited size.

    Raises:
        MatteError: one of the files is damaged, or they do not fit together.
    """
    if "cutout" in pair.files:
        return Foreground.from_rgba(read_cutout(pair.files["cutout"], longest_px))
    if "foreground" in pair.files:
        colour, alpha = read_with_alpha(pair.files["foreground"], pair.files["alpha"])
        return Foreground.from_rgba(shrink_cutout(colour, alpha, longest_px))
    image, alpha = (
        shrink(part, longest_px) for part in read_with_alpha(pair.files["image"], pair.files["alpha"])
    )
    return Foreground.from_rgba(with_alpha(unmixed_colour(image, alpha), alpha))
