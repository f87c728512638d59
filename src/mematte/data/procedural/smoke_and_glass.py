"""Partial coverage over whole areas, not only at the outline: smoke, glass."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.procedural.canvas import Canvas, Random
from mematte.data.procedural.curves import outline

Floats = NDArray[np.float32]


def smoke(canvas: Canvas, rng: Random) -> None:
    """Smoke, steam, flame: noise at every scale inside a very soft outline."""
    small = canvas.size_px // 2
    density = fractal_noise(rng, small, int(rng.integers(2, 6)), persistence=rng.uniform(0.45, 0.75))
    body = np.zeros((small, small), np.uint8)
    cv2.fillPoly(body, [np.rint(outline(rng, small, radius=rng.uniform(0.2, 0.4))).astype(np.int32)], 255)
    soft = cv2.GaussianBlur(body, (0, 0), small * rng.uniform(0.03, 0.1)).astype(np.float32) / 255
    alpha = np.clip((density - rng.uniform(0.15, 0.4)) * rng.uniform(1.2, 3), 0, 1) * soft
    alpha = np.clip(alpha * rng.uniform(0.7, 1.5), 0, 1)
    shade = 0.6 + 0.4 * fractal_noise(rng, small)
    _paint_field(canvas, alpha, shade)


def glass(canvas: Canvas, rng: Random) -> None:
    """Glass, plastic, thin cloth: a nearly opaque rim, partial coverage inside, highlights."""
    size = canvas.size_px
    small = size // 2
    body = np.zeros((small, small), np.uint8)
    contour = outline(rng, small, radius=rng.uniform(0.2, 0.4), roughness=rng.uniform(0.02, 0.15))
    cv2.fillPoly(body, [np.rint(contour * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    depth = cv2.distanceTransform((body > 127).astype(np.uint8), cv2.DIST_L2, 5)
    rim = np.exp(-depth / rng.uniform(1.5, 14)) * rng.uniform(0.2, 1)
    veil = rng.uniform(0.05, 0.6) + rng.uniform(0, 0.4) * fractal_noise(rng, small, 2, 3)
    shine = np.clip(fractal_noise(rng, small, 3, 3) * 4 - rng.uniform(2.4, 3.2), 0, 1)
    alpha = np.clip(np.maximum(np.maximum(rim, veil), shine), 0, 1) * (body.astype(np.float32) / 255)
    _paint_field(canvas, alpha, 0.5 + 0.5 * shine)


def fractal_noise(
    rng: Random, size_px: int, first: int = 3, octaves: int = 6, persistence: float = 0.6
) -> Floats:
    """(size_px, size_px) noise in [0, 1] with detail at every scale."""
    total = np.zeros((size_px, size_px), np.float32)
    cells, amplitude = first, 1.0
    for _ in range(octaves):
        if cells >= size_px:
            break
        grid = rng.random((cells + 1, cells + 1), dtype=np.float32)
        total += amplitude * cv2.resize(grid, (size_px, size_px), interpolation=cv2.INTER_CUBIC)
        cells, amplitude = cells * 2, amplitude * persistence
    total -= total.min()
    return cast(Floats, total / max(float(total.max()), 1e-6))


def _paint_field(canvas: Canvas, alpha: Floats, shade: Floats) -> None:
    """Replace the drawing by square fields of any size, both in [0, 1]."""
    full = canvas.layer.shape[0]
    tint = np.full_like(alpha, 0.5)
    field = np.dstack([shade * alpha, tint * alpha, 0 * alpha, alpha]).astype(np.float32)
    large = cv2.resize(field, (full, full), interpolation=cv2.INTER_LINEAR)
    canvas.layer[:] = np.clip(large * 255 + 0.5, 0, 255).astype(np.uint8)
