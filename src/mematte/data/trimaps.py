"""Trimaps as people draw them: tight, wide, lopsided, wobbly, from a coarse mask, nearly all unknown.

Every function keeps the contract: where the trimap is 0 the alpha is exactly 0, where it is 255 exactly 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.draws import ratio
from mematte.image.trimap import MASK_BACKGROUND_BELOW, MASK_FOREGROUND_ABOVE

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# style -> probability
STYLES: dict[str, float] = {
    "band": 0.20,  # two independent radii, tight to moderate
    "wobbly": 0.20,  # radii that change along the contour, as by hand
    "dabs": 0.26,  # a round brush led along the contour, dab by dab; known islands stay between
    "wide": 0.15,  # sloppy: up to WIDEST_PX on each side, however large the crop
    "coarse": 0.07,  # from a coarse mask, as from a segmentation network
    "mask": 0.06,  # from a soft mask, as the tools do that make trimaps of masks
    "scribble": 0.06,  # nearly all unknown, a few safe spots stay known
}
# What people make who take their time.
CAREFUL_STYLES: dict[str, float] = {"band": 0.3, "wobbly": 0.3, "dabs": 0.4}
# People paint known regions with a round brush and leave small holes unknown.
BRUSH_CHANCE = 0.35
SPECKS_CHANCE = 0.5
WIDEST_PX = 80


def distance(mask: Mask) -> Floats:
    """(H, W) distance in pixels of each True pixel from the nearest False one; large where there is none."""
    if mask.all():
        return np.full(mask.shape, 1e4, np.float32)
    return cast(Floats, cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5))


def smooth_field(rng: np.random.Generator, size_px: int, cells: int) -> Floats:
    """(size_px, size_px) smooth random field in about [0, 1] with `cells` bumps per side."""
    grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
    return cast(Floats, cv2.resize(grid, (size_px, size_px), interpolation=cv2.INTER_CUBIC))


def make_trimap(alpha: Floats, rng: np.random.Generator, styles: Mapping[str, float] = STYLES) -> Bytes:
    """(S, S) alpha in [0, 1] -> (S, S) trimap {0, 128, 255} in a style drawn from `styles`."""
    style = str(rng.choice(list(styles), p=list(styles.values())))
    foreground, background = _DRAWN[style](alpha, rng)
    size_px = alpha.shape[0]
    if style != "dabs" and rng.random() < BRUSH_CHANCE:
        brush_px = size_px / 224 * ratio(rng, 2, 16)
        foreground, background = painted(foreground, brush_px), painted(background, brush_px)
    if rng.random() < SPECKS_CHANCE:
        # Nobody paints small holes one by one: they lie inside the unknown band.
        smallest_px = size_px * size_px * ratio(rng, 2e-4, 4e-2)
        background = without_specks(background, smallest_px)
        # Islands of foreground are easier to see, and worth a dab.
        foreground = without_specks(foreground, smallest_px * rng.uniform(0, 0.3))
    trimap = np.full(alpha.shape, 128, np.uint8)
    trimap[foreground & (alpha >= 1)] = 255
    trimap[background & (alpha <= 0)] = 0
    return trimap


def _eroded(alpha: Floats, radius_in: float | Floats, radius_out: float | Floats) -> tuple[Mask, Mask]:
    """Foreground and background at least so far from all that is not."""
    return distance(alpha >= 1) > radius_in, distance(alpha <= 0) > radius_out


def _band(alpha: Floats, rng: np.random.Generator) -> tuple[Mask, Mask]:
    return _eroded(alpha, *_radii(alpha, rng))


def _wobbly(alpha: Floats, rng: np.random.Generator) -> tuple[Mask, Mask]:
    radii = _radii(alpha, rng)
    cells, size_px = int(rng.integers(2, 9)), alpha.shape[0]
    fields = [radius * (0.2 + 1.6 * smooth_field(rng, size_px, cells)) for radius in radii]
    return _eroded(alpha, fields[0], fields[1])


def _wide(alpha: Floats, rng: np.random.Generator) -> tuple[Mask, Mask]:
    if rng.random() < 0.6:
        radius_in, radius_out = alpha.shape[0] / 224 * rng.uniform(8, 45, 2)
    else:
        radius_in, radius_out = ratio(rng, 12, WIDEST_PX), ratio(rng, 12, WIDEST_PX)
    return _eroded(alpha, float(radius_in), float(radius_out))


def _scribble(alpha: Floats, rng: np.random.Generator) -> tuple[Mask, Mask]:
    size_px = alpha.shape[0]
    depths = distance(alpha >= 1), distance(alpha <= 0)
    reaches = rng.uniform(0.5, 0.95, 2)
    known = [
        depth > max(2.0, reach * float(np.minimum(depth, size_px).max()))
        for depth, reach in zip(depths, reaches, strict=True)
    ]
    return known[0], known[1]


def _coarse(alpha: Floats, rng: np.random.Generator) -> tuple[Mask, Mask]:
    unit = alpha.shape[0] / 224
    mask = cv2.GaussianBlur(alpha, (0, 0), unit * rng.uniform(1, 6)) > rng.uniform(0.25, 0.75)
    return distance(mask) > unit * ratio(rng, 3, 24), distance(~mask) > unit * ratio(rng, 3, 24)


def _mask(alpha: Floats, rng: np.random.Generator) -> tuple[Mask, Mask]:
    soft = cv2.GaussianBlur(alpha, (0, 0), ratio(rng, 0.5, 5))
    radius = ratio(rng, 2, 20)
    foreground, background = soft > MASK_FOREGROUND_ABOVE, soft < MASK_BACKGROUND_BELOW
    return distance(foreground) > radius, distance(background) > radius


def _dabs(alpha: Floats, rng: np.random.Generator) -> tuple[Mask, Mask]:
    size_px = alpha.shape[0]
    edge = np.maximum(distance(alpha >= 1), distance(alpha <= 0)) < 1.5  # partial, or next to another
    brush_px = ratio(rng, 4, 16)
    ys, xs = np.nonzero(edge)
    # Dabs about a third of a brush apart, and not quite where the edge is.
    chosen = rng.random(len(ys)) < min(1.0, 3 / brush_px / rng.uniform(1.0, 3.0))
    centres = np.column_stack([ys, xs])[chosen] + rng.normal(0, brush_px * 0.3, (int(chosen.sum()), 2))
    ys, xs = np.clip(np.rint(centres), 0, size_px - 1).astype(int).T
    clear = np.ones(alpha.shape, bool)
    clear[ys, xs] = False
    reach = brush_px * (0.7 + 0.6 * smooth_field(rng, size_px, int(rng.integers(2, 9))))
    # What the brush has missed is unknown all the same, and a little of what is around it.
    known = (distance(clear) > reach) & (distance(~edge) > rng.uniform(1, 4))
    return known & (alpha >= 1), known & (alpha <= 0)


def _radii(alpha: Floats, rng: np.random.Generator) -> tuple[float, float]:
    """Inner and outer radius of a hand-made band, in pixels."""
    unit = alpha.shape[0] / 224
    return unit * ratio(rng, 1.5, 22), unit * ratio(rng, 1.5, 22)


_DRAWN = {
    "band": _band,
    "wobbly": _wobbly,
    "dabs": _dabs,
    "wide": _wide,
    "coarse": _coarse,
    "mask": _mask,
    "scribble": _scribble,
}


def painted(mask: Mask, brush_px: float) -> Mask:
    """The part of a mask that a round brush of radius `brush_px` can paint without leaving it."""
    centres = distance(mask) >= brush_px
    return distance(~centres) < brush_px


def without_specks(mask: Mask, smallest_px: float) -> Mask:
    """The mask without its connected parts of fewer than `smallest_px` pixels."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    keep = stats[:, cv2.CC_STAT_AREA] >= smallest_px
    keep[0] = False
    kept: Mask = keep[labels]
    return kept
