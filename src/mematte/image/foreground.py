"""Foreground colours: what the object's colour is where the photograph shows a mixture with the background.

Without this a cut-out carries a halo of its old background. Source: Germer et al., "Fast Multi-Level
Foreground Estimation", ICPR 2020, by PyMatting; here in overlapping tiles where a picture is larger than one.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from mematte.errors import InputError
from mematte.image.color import FloatArray

DEFAULT_TILE_PX = 2048
"""Side of a tile; PyMatting takes about 90 bytes per pixel of it, 0.4 GB (measured)."""

_OVERLAP_SHARE = 1 / 8  # of a tile's side, on each side that has a neighbour


def estimate_foreground(
    image: FloatArray, alpha: FloatArray, *, tile_px: int = DEFAULT_TILE_PX
) -> FloatArray:
    """The foreground's own colours, smooth where alpha says that there are none.

    Opaque pixels keep the image's colours exactly. Tiles overlap by an eighth of their side and are
    cross-faded there; tiles without foreground take the mean foreground colour. The first call in a
    process takes some seconds longer: PyMatting compiles.

    Args:
        image: (H, W, 3) float32, display-referred or scene-linear (then perhaps above 1).
        alpha: (H, W) float32 in [0, 1].
        tile_px: pictures no larger than this on either side are done whole.

    Returns:
        (H, W, 3) float32, straight, in the image's encoding.

    Raises:
        InputError: the arrays do not fit together.
    """
    if image.ndim != 3 or image.shape[2] != 3 or alpha.shape != image.shape[:2]:
        raise InputError(
            f"Foreground colours need an image (H, W, 3) and an alpha (H, W) of one size; these are "
            f"{'x'.join(map(str, image.shape))} and {'x'.join(map(str, alpha.shape))}."
        )
    if tile_px < 64:
        raise InputError(f"A tile must have at least 64 px, not {tile_px}.")
    height, width = alpha.shape
    if height <= tile_px and width <= tile_px:
        return _estimate(image, alpha)

    mean = _mean_foreground(image, alpha)
    overlap = round(tile_px * _OVERLAP_SHARE)
    foreground = np.zeros(image.shape, np.float32)
    for rows, row_weight in _spans(height, tile_px, overlap):
        for columns, column_weight in _spans(width, tile_px, overlap):
            tile = alpha[rows, columns]
            if not tile.any():
                colors = mean
            elif tile.min() >= 1:
                colors = image[rows, columns]
            else:
                colors = _estimate(image[rows, columns], tile)
            foreground[rows, columns] += colors * (row_weight[:, None] * column_weight)[..., None]
    opaque = alpha >= 1
    foreground[opaque] = image[opaque]
    return foreground


def _estimate(image: FloatArray, alpha: FloatArray) -> FloatArray:
    # Here, because importing it compiles and takes a second, and a matte alone does not need it.
    from pymatting.foreground.estimate_foreground_ml import estimate_foreground_ml

    image = np.maximum(image, 0, dtype=np.float32)
    if alpha.size == 1:
        return image  # PyMatting divides by zero, and one pixel has no neighbour to learn from
    # PyMatting clips to [0, 1]; its solution scales with the image, so highlights go through as parts of
    # the highest.
    scale = max(1.0, float(image.max()))
    foreground: FloatArray = estimate_foreground_ml(
        image / np.float32(scale), np.ascontiguousarray(alpha, np.float32)
    )
    foreground = foreground.astype(np.float32, copy=False) * np.float32(scale)
    opaque = alpha >= 1
    foreground[opaque] = image[opaque]
    return foreground


def _mean_foreground(image: FloatArray, alpha: FloatArray) -> FloatArray:
    total = float(alpha.sum(dtype=np.float64))
    weighted = np.einsum("hwc,hw->c", image, alpha, dtype=np.float64)
    return np.asarray(weighted / max(total, 1e-6), np.float32)


def _spans(length: int, tile_px: int, overlap: int) -> Iterator[tuple[slice, NDArray[np.float32]]]:
    """Tiles along one axis, with weights that cross-fade in the overlaps and sum to 1 everywhere."""
    count = 1 if length <= tile_px else -(-(length - overlap) // (tile_px - overlap))
    step = (length - overlap) / count  # equal tiles: a last one of a few pixels would know too little
    for index in range(count):
        start = round(index * step)
        stop = length if index == count - 1 else round((index + 1) * step) + overlap
        weight = np.ones(stop - start, np.float32)
        ramp = (np.arange(overlap, dtype=np.float32) + np.float32(0.5)) / np.float32(max(1, overlap))
        if index > 0:
            weight[:overlap] = ramp
        if index < count - 1:
            weight[-overlap:] = 1 - ramp
        yield slice(start, stop), weight
