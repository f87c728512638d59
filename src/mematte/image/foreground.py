"""Foreground colours: what the object's colour is where the photograph shows a mixture with the background.

Without this a cut-out carries a halo of its old background. Source: Germer et al., "Fast Multi-Level
Foreground Estimation", ICPR 2020, by PyMatting; larger pictures go by in bands, see `multilevel.py`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any

import numpy as np

from mematte.errors import InputError
from mematte.image.color import FloatArray
from mematte.image.multilevel import foreground_bands

DEFAULT_WHOLE_PX = 2048
"""Longest side of what PyMatting is given; it takes about 90 bytes per pixel, 0.4 GB (measured)."""


def estimate_foreground(
    image: FloatArray, alpha: FloatArray, *, whole_px: int = DEFAULT_WHOLE_PX
) -> FloatArray:
    """The foreground's own colours, smooth where alpha says that there are none.

    Opaque pixels keep the image's colours exactly. The first call in a process takes some seconds longer:
    it compiles.

    Args:
        image: (H, W, 3) float32, display-referred or scene-linear (then perhaps above 1).
        alpha: (H, W) float32 in [0, 1].
        whole_px: pictures no larger than this on either side are done by PyMatting, others in bands of as
            many pixels as a square of it; the colours are the same.

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
    if whole_px < 64:
        raise InputError(f"whole_px must be at least 64, not {whole_px}.")
    height, width = alpha.shape
    if height <= whole_px and width <= whole_px:
        return _estimate(image, alpha)

    foreground = np.empty(image.shape, np.float32)
    bands = foreground_bands(
        (height, width), lambda rows: image[rows], lambda rows: alpha[rows], band_pixels=whole_px**2
    )
    for rows, colors in bands:
        foreground[rows] = colors
    return foreground


_one_at_a_time = Lock()


def _alone() -> AbstractContextManager[object]:
    """For one thread only, unless numba's loops run on OpenMP or TBB.

    Where it has neither it has threads of its own, and ends the process if two ask for them at once.
    """
    import numba

    library: Any = numba  # its types leave this out
    try:
        is_safe = library.threading_layer() != "workqueue"
    except ValueError:  # no loop has run yet
        is_safe = False
    return nullcontext() if is_safe else _one_at_a_time


def _estimate(image: FloatArray, alpha: FloatArray) -> FloatArray:
    # Here, because importing it compiles and takes a second, and a matte alone does not need it.
    from pymatting.foreground.estimate_foreground_ml import estimate_foreground_ml

    image = np.maximum(image, 0, dtype=np.float32)
    if alpha.size == 1:
        return image  # PyMatting divides by zero, and one pixel has no neighbour to learn from
    # PyMatting clips to [0, 1]; its solution scales with the image, so highlights go through as parts of
    # the highest.
    scale = max(1.0, float(image.max()))
    with _alone():
        foreground: FloatArray = estimate_foreground_ml(
            image / np.float32(scale), np.ascontiguousarray(alpha, np.float32)
        )
    foreground = foreground.astype(np.float32, copy=False) * np.float32(scale)
    opaque = alpha >= 1
    foreground[opaque] = image[opaque]
    return foreground
