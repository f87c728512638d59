"""Spun and hanging: wool, fringes."""

from __future__ import annotations

import numpy as np

from mematte.data.draws import ratio
from mematte.data.procedural.canvas import Canvas, Points, Random
from mematte.data.procedural.curves import along, meander, outline
from mematte.data.procedural.strands import draw_strands, strands


def fringe(canvas: Canvas, rng: Random) -> None:
    """Threads, cords, yarn that hang close to each other from a hem, each of its own colour, with ends."""
    size = canvas.size_px
    width = ratio(rng, 2.5, 20)
    left, right = rng.uniform(0.02, 0.25) * size, rng.uniform(0.7, 0.98) * size
    threads = int(min(240, max(6, (right - left) / width * rng.uniform(0.4, 4))))
    top, length = rng.uniform(0.03, 0.3) * size, rng.uniform(0.35, 0.7) * size
    unequal, swing = rng.uniform(0.02, 0.3), rng.uniform(0.005, 0.06) * size
    light = rng.choice([-1.0, 1.0])
    dark, twist = rng.uniform(0.15, 0.5), rng.random() < 0.8
    colours = rng.random((int(rng.integers(1, 9)), 3))
    fluff = int(rng.integers(0, 90)) if rng.random() < 0.8 else 0
    hair_width = (0.34, rng.uniform(0.4, 0.7))
    down = np.linspace(0, 1, 46)
    for number in range(threads):
        front = (number + 1) / threads
        shade, tint, hue = colours[int(rng.integers(len(colours)))]
        shade = (0.25 + 0.5 * shade) * (dark + (1 - dark) * front)
        reach = length * (1 + rng.normal(0, unequal))
        start = rng.uniform(left, right)
        waves = np.zeros_like(down)
        for order in (1.0, 2.3, 5.0):
            waves += rng.normal() / order * np.sin(order * down * np.pi + rng.uniform(0, 6.3))
        lean = rng.normal(0, 0.08) * reach
        path = np.column_stack([start + lean * down**2 + swing * waves * down, top + reach * down])
        if threads > 60 and front < 0.4:
            # Hardly seen behind the others: dark, without details.
            canvas.lines([path], width, shade * 0.6, tint, hue)
            continue
        draw_yarn(canvas, rng, path, width * rng.uniform(0.7, 1.25), (shade, tint, hue), light, twist)
        if rng.random() < 0.25:
            # Dyed in sections: the colour changes along the thread.
            _, other, hue = colours[int(rng.integers(len(colours)))]
            begin = int(rng.integers(0, 35))
            part = path[begin : begin + int(rng.integers(4, 20))]
            draw_yarn(canvas, rng, part, width, (shade * rng.uniform(0.6, 1.4), other, hue), light, twist)
        if fluff:
            at = rng.integers(0, len(path), fluff)
            hairs = strands(
                rng,
                path[at] + rng.normal(0, width * 0.3, (fluff, 2)),
                rng.uniform(-np.pi, np.pi, fluff),
                width * rng.gamma(1.5, 0.4, fluff),
                wobble=1.0,
                steps=4,
            )
            draw_strands(
                canvas, rng, hairs, hair_width, (shade, shade * 1.3), (tint, tint), (hue, hue), False, 2
            )
        if rng.random() < 0.5:
            ends = int(rng.integers(3, 16))
            hairs = strands(
                rng,
                path[-1] + rng.normal(0, width * 0.25, (ends, 2)),
                np.pi / 2 + rng.normal(0, 0.5, ends),
                width * rng.uniform(0.5, 2, ends),
                steps=4,
            )
            draw_strands(
                canvas, rng, hairs, (0.5, 1.4), (shade, shade * 1.2), (tint, tint), (hue, hue), True, 2
            )
    if rng.random() < 0.6:
        # The cloth above: rows of stitches in the same colours.
        rows = int(rng.integers(3, 14))
        for row in range(rows):
            shade, tint, hue = colours[int(rng.integers(len(colours)))]
            level = top * (1.05 - row / rows)
            across = np.linspace(left - width, right + width, 40)
            path = np.column_stack([across, level + rng.normal(0, 1, 40)])
            paint = (0.3 + 0.4 * shade, tint, hue)
            draw_yarn(canvas, rng, path, max(width, top / rows * 1.25), paint, light, twist)


def draw_yarn(
    canvas: Canvas,
    rng: Random,
    path: Points,
    width: float,
    paint: tuple[float, float, float],
    light: float,
    twist: bool,
) -> None:
    """One thick thread along a path (N, 2): round, lit from one side, perhaps of twisted plies.

    `paint` is its shade, tint and hue; `light` the side that is lit, -1 or 1.
    """
    shade, tint, hue = paint
    if len(path) < 2:
        return
    canvas.lines([path], width, shade * 0.6, tint, hue)
    step = np.gradient(path, axis=0)
    step /= np.maximum(np.linalg.norm(step, axis=1, keepdims=True), 1e-6)
    side = np.column_stack([-step[:, 1], step[:, 0]]) * light
    canvas.lines([path + side * width * 0.08], width * 0.72, shade, tint, hue)
    if width > 4:
        canvas.lines([path + side * width * 0.18], width * 0.35, shade * 1.18, tint, hue)
    if not twist or width < 2.5:
        return
    around = np.linalg.norm(np.diff(path, axis=0), axis=1)
    total = np.concatenate([[0.0], np.cumsum(around)])
    places = np.arange(0, total[-1], width * rng.uniform(0.5, 0.8))
    points = np.column_stack([np.interp(places, total, path[:, axis]) for axis in (0, 1)])
    at = np.clip(np.searchsorted(total, places), 0, len(path) - 1)
    slant = step[at] * width * 0.35 + side[at] * light * width * 0.33
    plies = np.stack([points - slant, points + slant], 1)
    canvas.lines(plies, max(0.4, width * 0.12), shade * 0.5, tint, hue)
    canvas.lines(plies + step[at][:, None] * width * 0.25, max(0.4, width * 0.14), shade * 1.3, tint, hue)


def wool(canvas: Canvas, rng: Random) -> None:
    """Yarn: thick wandering threads, each with a halo of fine fluff; or a fuzzy ball."""
    size = canvas.size_px
    threads = int(rng.integers(2, 16))
    fluff_length = size * ratio(rng, 0.006, 0.05)
    density = rng.uniform(1, 12)
    yarn = ratio(rng, 2, 30)
    wobble = rng.uniform(0.05, 0.5)
    if rng.random() < 0.35:
        body = outline(rng, size, roughness=0.05)
        canvas.polygons([body], 0.5, 0.5)
        roots, normals = along(rng, body, 4000)
        paths = strands(
            rng,
            roots,
            normals + rng.normal(0, 0.9, 4000),
            fluff_length * rng.gamma(1.5, 0.7, 4000),
            wobble=1.5,
        )
        draw_strands(canvas, rng, paths, (0.34, 0.8), taper=False)
    for _ in range(threads):
        path = meander(rng, size, size * rng.uniform(0.6, 2.5), wobble)
        width = yarn * rng.uniform(0.7, 1.3)
        shade, tint = rng.uniform(0.5, 1), rng.random()
        canvas.lines([path], width, shade, tint)
        # Twist: short slanted strokes along the thread, lighter and darker.
        index = rng.integers(0, len(path) - 1, int(len(path) * 1.5))
        step = path[index + 1] - path[index]
        heading = np.arctan2(step[:, 1], step[:, 0])
        plies = strands(rng, path[index], heading + 0.5, np.full(len(index), width * 0.8), steps=3)
        draw_strands(canvas, rng, plies, (0.5, max(0.6, width / 5)), groups=6, taper=False)
        count = int(len(path) * density)
        index = rng.integers(0, len(path), count)
        paths = strands(
            rng,
            path[index] + rng.normal(0, width / 4, (count, 2)),
            rng.uniform(-np.pi, np.pi, count),
            width / 2 + fluff_length * rng.gamma(1.2, 0.6, count),
            curl=rng.normal(0, 1),
            wobble=1.5,
            steps=8,
        )
        draw_strands(canvas, rng, paths, (0.34, 0.7), taper=False, groups=5)
