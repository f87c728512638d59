"""Trimaps as people draw them: tight, wide, lopsided, wobbly, from a coarse mask, nearly all unknown.

Every function keeps the contract: where the trimap is 0 the alpha is exactly 0, where it is 255 exactly 1.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# style -> probability
STYLES: dict[str, float] = {
    "band": 0.34,  # two independent radii, tight to moderate
    "wobbly": 0.30,  # radii that change along the contour, as by hand
    "wide": 0.16,  # radii up to a fifth of the crop
    "coarse": 0.13,  # from a coarse mask, as from a segmentation network
    "scribble": 0.07,  # nearly all unknown, a few safe spots stay known
}
# People paint known regions with a round brush and leave small holes unknown.
BRUSH_CHANCE = 0.45
SPECKS_CHANCE = 0.5


def distance(mask: Mask) -> Floats:
    """(H, W) distance in pixels of each True pixel from the nearest False one; large where there is none."""
    if mask.all():
        return np.full(mask.shape, 1e4, np.float32)
    return cast(Floats, cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, 5))


def smooth_field(rng: np.random.Generator, size_px: int, cells: int) -> Floats:
    """(size_px, size_px) smooth random field in about [0, 1] with `cells` bumps per side."""
    grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
    return cast(Floats, cv2.resize(grid, (size_px, size_px), interpolation=cv2.INTER_CUBIC))


def make_trimap(alpha: Floats, rng: np.random.Generator) -> Bytes:
    """(S, S) alpha in [0, 1] -> (S, S) trimap {0, 128, 255} in a style drawn from `STYLES`."""
    size_px = alpha.shape[0]
    style = str(rng.choice(list(STYLES), p=list(STYLES.values())))
    inside = distance(alpha >= 1)
    outside = distance(alpha <= 0)
    unit = size_px / 224
    if style == "coarse":
        sigma = unit * rng.uniform(1, 6)
        mask = cv2.GaussianBlur(alpha, (0, 0), sigma) > rng.uniform(0.25, 0.75)
        radius_in, radius_out = unit * np.exp(rng.uniform(np.log(3), np.log(24), 2))
        foreground = distance(mask) > radius_in
        background = distance(~mask) > radius_out
    elif style == "scribble":
        reach_in, reach_out = rng.uniform(0.5, 0.95, 2)
        foreground = inside > max(2.0, reach_in * float(np.minimum(inside, size_px).max()))
        background = outside > max(2.0, reach_out * float(np.minimum(outside, size_px).max()))
    else:
        if style == "wide":
            radius_in, radius_out = unit * rng.uniform(8, 45, 2)
        else:
            radius_in, radius_out = unit * np.exp(rng.uniform(np.log(1.5), np.log(20), 2))
        if style == "wobbly":
            cells = int(rng.integers(2, 9))
            foreground = inside > radius_in * (0.2 + 1.6 * smooth_field(rng, size_px, cells))
            background = outside > radius_out * (0.2 + 1.6 * smooth_field(rng, size_px, cells))
        else:
            foreground = inside > radius_in
            background = outside > radius_out
    if rng.random() < BRUSH_CHANCE:
        brush_px = unit * float(np.exp(rng.uniform(np.log(2), np.log(16))))
        foreground, background = painted(foreground, brush_px), painted(background, brush_px)
    if rng.random() < SPECKS_CHANCE:
        # Nobody paints small holes one by one: they lie inside the unknown band.
        smallest_px = size_px * size_px * float(np.exp(rng.uniform(np.log(2e-4), np.log(4e-2))))
        background = without_specks(background, smallest_px)
        foreground = without_specks(foreground, smallest_px)
    trimap = np.full(alpha.shape, 128, np.uint8)
    trimap[foreground & (alpha >= 1)] = 255
    trimap[background & (alpha <= 0)] = 0
    return trimap


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
