"""Leaves and petals: pointed shapes with a lit and an unlit side, hundreds at a time."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mematte.data.procedural.canvas import Canvas, Points, Random

Numbers = NDArray[np.float64]
_STEPS = 12
# Where along its length a leaf is widest: the exponent of sin(pi * share ** exponent).
_SHAPES = (0.55, 1.1)


def draw_leaves(
    canvas: Canvas,
    rng: Random,
    roots: Points,
    angles: Numbers,
    lengths: ArrayLike,
    widths: ArrayLike,
    *,
    shade: ArrayLike = 0.7,
    tint: ArrayLike = 0.5,
    hue: ArrayLike = 0.0,
    bend: float = 0.3,
    light: float = -1.6,
    relief: float = 0.25,
    rib: float = 0.06,
) -> None:
    """Draw N leaves, one over the other, each from its root (N, 2) in its direction.

    Args:
        angles, lengths, widths, shade, tint, hue: (N,) or one for all.
        bend: standard deviation of how far leaves turn along their length, in radians.
        light: where the light comes from, in radians: the half that faces it is lighter.
        relief: the difference of the halves, as a share of the shade.
        rib: the width of the midrib as a share of the leaf's; 0 for none.
    """
    count = len(roots)
    if not count:
        return
    share = np.linspace(0, 1, _STEPS)
    lengths, widths = (np.broadcast_to(np.asarray(value, float), count) for value in (lengths, widths))
    heading = angles[:, None] + rng.normal(0, bend, (count, 1)) * share
    direction = np.stack([np.cos(heading), np.sin(heading)], -1)
    spine = roots[:, None] + np.cumsum(direction, 1) * (lengths / _STEPS)[:, None, None]
    across = np.stack([-direction[..., 1], direction[..., 0]], -1)
    half = np.sin(np.pi * share ** rng.uniform(*_SHAPES)) * widths[:, None] / 2
    # Leaves turn: we see more of one half than of the other.
    turned = rng.uniform(0.35, 1.0, (count, 1, 1))
    swap = rng.random((count, 1, 1)) < 0.5
    upper = spine + across * half[..., None] * np.where(swap, turned, 1)
    lower = spine - across * half[..., None] * np.where(swap, 1, turned)
    whole = np.concatenate([upper, lower[:, ::-1]], 1)
    facing = np.cos(heading[:, _STEPS // 2] + np.pi / 2 - light)
    lit = np.where((facing > 0)[:, None, None], upper, lower)
    bright = np.concatenate([lit, spine[:, ::-1]], 1)
    shade = np.broadcast_to(np.asarray(shade, float), count)
    gain = relief * (0.3 + 0.7 * np.abs(facing)) * rng.uniform(0.3, 1.5, count)
    parts: list[tuple[Points, Numbers]] = [
        # The whole leaf first: two halves side by side would leave a gap where both are antialiased.
        (cast(Points, whole), canvas.paint(shade * (1 - gain), tint, hue)),
        (cast(Points, bright), canvas.paint(shade * (1 + gain), tint, hue)),
    ]
    if rib and float(widths.max()) * rib > 0.4:
        thick = (widths * rib / 2 * rng.uniform(0.5, 1.2, count))[:, None, None] * (1 - share[:, None])
        sign = rng.choice([-1, 1], p=[0.3, 0.7])
        ribs = np.concatenate([spine + across * thick, (spine - across * thick)[:, ::-1]], 1)
        parts.append((cast(Points, ribs), canvas.paint(shade * (1 + sign * relief), tint, hue)))
    if rng.random() < 0.5 and float(np.median(lengths)) > 25:
        # The outer part catches the light: a second, smaller patch towards the tip.
        tip = slice(_STEPS * 5 // 12, None)
        patch = np.concatenate([(spine * 0.35 + lit * 0.65)[:, tip], spine[:, tip][:, ::-1]], 1)
        parts.append((cast(Points, patch), canvas.paint(shade * (1 + gain * 1.6) + 0.03, tint, hue)))
    canvas.stacked(parts)
