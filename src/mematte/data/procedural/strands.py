"""Strands: thin curved paths, thousands at a time. Hairs, fibres, barbs, threads, stalks, veins."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mematte.data.draws import ratio
from mematte.data.procedural.canvas import SUPERSAMPLING, Canvas, Points, Random


def strands(
    rng: Random,
    roots: Points,
    angles: NDArray[np.float64],
    lengths: NDArray[np.float64],
    *,
    curl: float = 0.0,
    wobble: float = 0.1,
    gravity: float = 0.0,
    steps: int = 14,
) -> NDArray[np.float64]:
    """(N, steps + 1, 2) curved paths that start at `roots` (N, 2) in the directions `angles` (N,).

    Args:
        lengths: (N,) in pixels.
        curl: the mean turn over the whole length, in radians; each strand has its own.
        wobble: standard deviation of the random turns, summed over the whole length, in radians.
        gravity: how strongly headings turn towards straight down, the more the nearer the tip.
    """
    count = len(roots)
    bend = curl * rng.normal(1, 0.5, (count, 1)) / steps + rng.normal(0, wobble, (count, steps)) / np.sqrt(
        steps
    )
    heading = angles[:, None] + np.cumsum(bend, 1)
    # Gravity turns headings towards straight down (pi / 2 in image coordinates).
    heading = heading + gravity * np.sin(np.pi / 2 - heading) * np.linspace(0, 1, steps)
    move = np.stack([np.cos(heading), np.sin(heading)], -1) * (lengths / steps)[:, None, None]
    return np.concatenate([roots[:, None], roots[:, None] + np.cumsum(move, 1)], 1)


def draw_strands(
    canvas: Canvas,
    rng: Random,
    paths: NDArray[np.float64],
    width_px: tuple[float, float],
    shades: tuple[float, float] = (0.35, 0.85),
    tints: tuple[float, float] = (0.0, 1.0),
    hues: tuple[float, float] = (0.0, 0.4),
    taper: bool = True,
    groups: int = 12,
    relief: float = 0.0,
    sheen: tuple[float, float] | None = None,
) -> None:
    """Draw (N, steps + 1, 2) paths in `groups` of one width and paint each, within the ranges given.

    Args:
        taper: thick at the root and thin at the tip, where the width leaves room for it.
        relief: how much lighter the lit side of strands wide enough to have one is.
        sheen: the part of the length, as shares, where all strands shine, as hair does in a band.
    """
    members = rng.integers(0, groups, len(paths))
    # From the dark ones to the light ones: what lies behind is in the shadow of what lies before it.
    levels = np.sort(rng.uniform(*shades, groups)) if len(paths) else ()
    for group, level in enumerate(levels):
        some = paths[members == group]
        if not len(some):
            continue
        width = ratio(rng, width_px[0], width_px[1])
        shade, tint, hue = float(level), float(rng.uniform(*tints)), float(rng.uniform(*hues))
        if taper and width * SUPERSAMPLING > 1.5:
            for share in (1.0, 0.8, 0.55):
                end = max(2, round(some.shape[1] * share))
                canvas.lines(some[:, :end], width * (1.25 - share), shade, tint, hue)
            canvas.lines(some[:, : max(2, some.shape[1] // 3)], width, shade, tint, hue)
        else:
            canvas.lines(some, width, shade, tint, hue)
        if relief and width * SUPERSAMPLING > 3:
            end = some.shape[1] if not taper else max(2, round(some.shape[1] * 0.5))
            canvas.lines(some[:, :end] - width * 0.18, width * 0.4, shade + relief, tint, hue)
        if sheen is not None:
            start, end = (round(some.shape[1] * share) for share in sheen)
            if end - start > 1:
                canvas.lines(some[:, start:end], width * 0.6, shade + rng.uniform(0.1, 0.3), tint, hue)
