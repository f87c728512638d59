"""Threads and wires with gaps between them: nets, baskets, lace, webs."""

from __future__ import annotations

import cv2
import numpy as np

from mematte.data.procedural.canvas import Canvas, Points, Random
from mematte.data.procedural.curves import outline
from mematte.data.procedural.strands import draw_strands, strands


def net(canvas: Canvas, rng: Random) -> None:
    """Nets, bags, fences, baskets, lace grounds: a deformed grid of threads, sometimes woven and knotted."""
    size = canvas.size_px
    pitch = float(np.exp(rng.uniform(np.log(7), np.log(80))))
    width = float(np.clip(pitch * np.exp(rng.uniform(np.log(0.03), np.log(0.4))), 0.4, 20))
    amount = rng.uniform(0, 0.09)
    half = size * 0.75
    offsets = np.arange(-half, half, pitch)
    steps = np.linspace(-half, half, 90)
    turn = rng.uniform(0, np.pi)
    skew = np.pi / 2 if rng.random() < 0.5 else rng.uniform(0.7, 1.4)
    state = int(rng.integers(2**31))
    families = []
    for angle in (turn, turn + skew):
        direction, normal = (
            np.array([np.cos(angle), np.sin(angle)]),
            np.array([-np.sin(angle), np.cos(angle)]),
        )
        zigzag = rng.uniform(0, 0.5) * pitch * (rng.random() < 0.3)
        paths = []
        for number, offset in enumerate(offsets):
            sway = zigzag * np.sin(steps / pitch * np.pi + number * np.pi)[:, None] * normal
            path = (
                size / 2 + steps[:, None] * direction + (offset + rng.normal(0, pitch * 0.03)) * normal + sway
            )
            paths.append(warp_grid(np.random.default_rng(state), path, size, amount))
        families.append(paths)
    shades = rng.uniform(0.45, 1, 2)
    for paths, shade in zip(families, shades, strict=True):
        for path in paths:
            tint, dim = rng.random(), rng.uniform(0.85, 1.1)
            canvas.lines([path], width, shade * dim * 0.75, tint)
            canvas.lines([path], width * 0.5, shade * dim, tint)
    if rng.random() < 0.4 and pitch > 15:
        knots = width * rng.uniform(1.2, 2.2)
        for path in families[0]:
            for point in path[:: max(1, round(pitch / (1.5 * size / 90)))]:
                canvas.lines([np.array([point, point + 0.1])], knots, rng.uniform(0.4, 1), rng.random())
    if rng.random() < 0.75:
        _keep_inside(canvas, outline(rng, size, radius=rng.uniform(0.25, 0.45)))
        if rng.random() < 0.5:
            rim = outline(rng, size)
            canvas.lines(
                [np.vstack([rim, rim[:1]])], width * rng.uniform(1.5, 4), rng.uniform(0.5, 1), rng.random()
            )
    if rng.random() < 0.35:
        canvas.polygons(
            [outline(rng, size, radius=rng.uniform(0.08, 0.2))], rng.uniform(0.4, 1), rng.random()
        )


def basket(canvas: Canvas, rng: Random) -> None:
    """Wire basket or cage: rings and ribs of a round body seen from the side, front and back."""
    size = canvas.size_px
    ribs, rings = int(rng.integers(8, 40)), int(rng.integers(3, 16))
    wire = float(np.exp(rng.uniform(np.log(1), np.log(9))))
    top, bottom = rng.uniform(0.25, 0.45, 2) * size
    height, tilt = rng.uniform(0.4, 0.8) * size, rng.uniform(0.1, 0.45)
    heights = np.linspace(-0.5, 0.5, 30)
    bulge = rng.uniform(0, 0.3)
    radii = (bottom + (top - bottom) * (heights + 0.5)) * (1 + bulge * np.cos(heights * np.pi))
    angles = np.linspace(0, 2 * np.pi, ribs, endpoint=False) + rng.normal(0, 0.02, ribs)
    twist = rng.normal(0, 0.6) * (rng.random() < 0.4)
    centre = size / 2
    for angle in angles[np.argsort(np.sin(angles))]:
        turn = angle + twist * heights
        path = np.column_stack(
            [centre + radii * np.cos(turn), centre - heights * height + radii * tilt * np.sin(turn)]
        )
        near = 0.5 + 0.25 * np.sin(angle)
        canvas.lines([path], wire, near, rng.random() * 0.3)
        canvas.lines([path - wire * 0.15], wire * 0.4, near + 0.25, rng.random() * 0.3)
    around = np.linspace(0, 2 * np.pi, 120)
    for at in np.linspace(-0.5, 0.5, rings):
        radius = float(np.interp(at, heights, radii))
        path = np.column_stack(
            [centre + radius * np.cos(around), centre - at * height + radius * tilt * np.sin(around)]
        )
        canvas.lines([path], wire * rng.uniform(0.7, 1.8), rng.uniform(0.4, 1), rng.random())
    if rng.random() < 0.4:
        canvas.polygons([outline(rng, size, radius=rng.uniform(0.08, 0.2))], rng.uniform(0.4, 1), 1.0)


def lace(canvas: Canvas, rng: Random) -> None:
    """Lace and perforated cloth: a periodic pattern of holes, flowers and bridges in a cloth outline."""
    size = canvas.size_px
    cloth = outline(rng, size, radius=rng.uniform(0.3, 0.45))
    canvas.polygons([cloth], rng.uniform(0.6, 1), rng.random())
    pitch = rng.uniform(14, 70)
    petals, depth = int(rng.integers(0, 8)), rng.uniform(0, 0.4)
    share = rng.uniform(0.2, 0.48)
    around = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    state, amount = int(rng.integers(2**31)), rng.uniform(0, 0.08)
    turn = rng.uniform(0, np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    lattice = np.arange(-size * 0.75, size * 0.75, pitch)
    centres = np.array([(x + (row % 2) * pitch / 2, y) for row, y in enumerate(lattice) for x in lattice])
    centres = warp_grid(np.random.default_rng(state), centres @ rotation + size / 2, size, amount)
    centres = centres[rng.random(len(centres)) > rng.uniform(0, 0.3)]
    radii = pitch * share * (1 + depth * np.cos(petals * around))
    hole = np.column_stack([radii * np.cos(around), radii * np.sin(around)])
    canvas.holes([centre + hole * rng.uniform(0.8, 1.1) for centre in centres])
    if rng.random() < 0.6:
        threads = int(rng.integers(1, 4))
        for _ in range(threads):
            offset = rng.normal(0, pitch * 0.2, 2)
            spokes = np.stack(
                [centres + offset - pitch * 0.5, centres + offset + pitch * 0.5 * rng.choice([-1, 1], 2)], 1
            )
            canvas.lines(spokes, rng.uniform(0.4, 2), rng.uniform(0.6, 1), rng.random())
        _keep_inside(canvas, cloth)


def web(canvas: Canvas, rng: Random) -> None:
    """Radial thin things: spider webs, dandelion clocks, spokes."""
    size = canvas.size_px
    centre = rng.uniform(0.35, 0.65, 2) * size
    count = int(rng.integers(14, 160))
    angles = np.sort(rng.uniform(0, 2 * np.pi, count))
    lengths = size * rng.uniform(0.2, 0.5) * rng.uniform(0.7, 1.1, count)
    spokes = strands(
        rng, np.repeat(centre[None], count, 0), angles, lengths, wobble=rng.uniform(0, 0.2), steps=6
    )
    width = rng.uniform(0.34, 2.5)
    draw_strands(canvas, rng, spokes, (width * 0.7, width * 1.2), taper=False)
    tips = spokes[:, -1]
    if rng.random() < 0.5:
        hairs = int(rng.integers(8, 30))
        which = np.repeat(np.arange(count), hairs)
        paths = strands(
            rng,
            tips[which],
            angles[which] + rng.normal(0, 0.8, len(which)),
            size * rng.uniform(0.02, 0.1) * rng.uniform(0.6, 1.2, len(which)),
            steps=4,
        )
        draw_strands(canvas, rng, paths, (0.34, 0.6), shades=(0.7, 1), taper=False)
    else:
        for share in np.linspace(0.08, 0.95, int(rng.integers(6, 50))):
            ring = centre + (tips - centre) * share * rng.normal(1, 0.02, (count, 1))
            canvas.lines(
                [np.vstack([ring, ring[:1]])], width * rng.uniform(0.5, 1), rng.uniform(0.6, 1), rng.random()
            )
    core = outline(rng, size, 0.02)
    canvas.polygons([core - core.mean(0) + centre], 0.6, 1.0)


def warp_grid(rng: Random, points: Points, size_px: int, amount: float) -> Points:
    """Points moved by a smooth random deformation, `amount` as a share of the size."""
    moved = points.copy()
    for _ in range(3):
        wave = rng.normal(0, 1, 2) * rng.uniform(2, 7) / size_px
        shift = rng.normal(0, 1, 2) * amount * size_px / 2
        moved += np.sin(points @ wave + rng.uniform(0, 6.3))[:, None] * shift
    return moved


def _keep_inside(canvas: Canvas, contour: Points) -> None:
    """Erase what is outside a closed contour."""
    mask = Canvas(canvas.size_px)
    mask.polygons([contour])
    canvas.layer[:] = cv2.multiply(canvas.layer, mask.layer[..., 2:].repeat(3, 2), scale=1 / 255)
