"""Threads and wires with gaps between them: nets, meshes, baskets, lace, webs."""

from __future__ import annotations

import itertools

import cv2
import numpy as np

from mematte.data.draws import ratio
from mematte.data.procedural.canvas import Canvas, Points, Random
from mematte.data.procedural.curves import outline
from mematte.data.procedural.strands import draw_strands, strands


def net(canvas: Canvas, rng: Random) -> None:
    """Nets, bags, fences, baskets, lace grounds: a deformed grid of threads, sometimes woven and knotted."""
    size = canvas.size_px
    pitch = ratio(rng, 7, 80)
    width = float(np.clip(pitch * ratio(rng, 0.03, 0.4), 0.4, 20))
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
    wire = ratio(rng, 1, 9)
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


def mesh(canvas: Canvas, rng: Random) -> None:
    """A cylinder, cone or sheet of fine wire mesh with a rim, and things behind the mesh that belong to it.

    The mesh is drawn on the round body: its cells narrow towards the sides, its back is seen through its
    front, and the light slides around it as on metal.
    """
    size = canvas.size_px
    around = int(ratio(rng, 36, 170))
    top, bottom = size * rng.uniform(0.2, 0.4) * np.array([1.0, rng.uniform(0.65, 1.05)])
    height, tilt = size * rng.uniform(0.5, 0.8), rng.uniform(0.03, 0.3)
    start = (size - height) / 2 + rng.normal(0, 0.03) * size
    centre = size * rng.uniform(0.42, 0.58)
    flat = rng.random() < 0.25
    pitch = np.pi * (top + bottom) / around
    rows = max(4, round(height / (pitch * rng.uniform(0.65, 1.5))))
    wire = max(0.5, pitch * rng.uniform(0.1, 0.36))
    lit, polish = rng.uniform(-1.2, 1.2), rng.uniform(1, 10)
    base, gain, tint = rng.uniform(0.2, 0.6), rng.uniform(0.1, 0.5), rng.uniform(0, 0.5)

    def place(turn: Points, level: Points, front: bool) -> Points:
        """Turns in radians (0 = facing us) and levels in [0, 1] -> (..., 2) on the canvas."""
        radius = top + (bottom - top) * level
        if flat:
            x, y = centre + radius * turn / np.pi * 2, start + height * level
        else:
            x = centre + radius * np.sin(turn)
            y = start + height * level + radius * tilt * np.cos(turn) * (1 if front else -1)
        return np.stack([x, y], -1)

    def metal(turn: float, front: bool) -> float:
        shade = (
            base + gain * max(0.0, np.cos(turn - lit)) ** polish + 0.12 * max(0.0, np.cos(turn + 1.1)) ** 8
        )
        return float(shade * (1.0 if front else 0.6))

    def side(front: bool) -> None:
        for begin, end in itertools.pairwise(np.linspace(-np.pi / 2, np.pi / 2, 15)):
            shade = metal((begin + end) / 2, front)
            paths = [place(turn, level, front) for turn, level in _cells(form, around, rows, begin, end)]
            canvas.lines(paths, wire, shade, tint)
            if front and wire > 1.2:
                # Round wire: a thin light line on the lit side.
                canvas.lines([path - wire * 0.22 for path in paths], wire * 0.35, shade + 0.2, tint)

    def ring(level: float, width: float, front: bool) -> None:
        turns = np.linspace(-np.pi / 2, np.pi / 2, 29)
        # Whole passes, dark to light, so that the round ends of one piece lie under the next pass.
        for lift, share, gain in ((0.0, 1.0, 0.75), (0.12, 0.6, 1.0), (0.2, 0.25, 1.25)):
            for begin, end in itertools.pairwise(turns):
                turn = np.linspace(begin, end, 5)
                path = place(turn, np.full(5, level), front) - [0, width * lift]
                canvas.lines([path], width * share, metal((begin + end) / 2, front) * gain, tint)

    form = str(rng.choice(["diamond", "hexagon", "grid"], p=[0.5, 0.3, 0.2]))
    rim = pitch * rng.uniform(0.6, 2.2)
    if not flat:
        if rng.random() < 0.8:
            side(front=False)
        ring(0.0, rim, front=False)
    for _ in range(int(rng.integers(0, 6))):
        _content(canvas, rng, centre, start, min(top, bottom) * 0.85, height)
    side(front=True)
    ring(0.0, rim, front=True)
    ring(1.0, rim * rng.uniform(0.7, 2.5), front=True)


def _cells(form: str, around: int, rows: int, begin: float, end: float) -> list[tuple[Points, Points]]:
    """Wires of a mesh between two turns: (turns, levels) of each; levels run from 0 to 1 in `rows`."""
    half = np.pi / around  # half a cell
    first, last = int(np.floor(begin / half)), int(np.ceil(end / half))
    steps = np.arange(first, last + 1)
    turns = np.clip(steps * half, -np.pi / 2, np.pi / 2)
    wires: list[tuple[Points, Points]] = []
    if form == "grid":
        levels = np.linspace(0, 1, 20)
        wires += [(np.full(20, turn), levels) for turn in turns[::2]]
        wires += [(turns, np.full(len(turns), row / rows)) for row in range(rows + 1)]
        return wires
    reach = 0.5 if form == "diamond" else 0.3
    for row in range(rows):
        sign = np.where((steps + row) % 2 == 0, 1.0, -1.0)
        wires.append((turns, np.clip((row + 0.5 + reach * sign) / rows, 0, 1)))
        if form == "hexagon":
            low, high = (row + 0.5 + reach) / rows, min(1.0, (row + 1.5 - reach) / rows)
            wires += [(np.full(2, turn), np.array([low, high])) for turn in turns[sign > 0]]
    return wires


def _content(canvas: Canvas, rng: Random, centre: float, start: float, radius: float, height: float) -> None:
    """A pencil, ruler or sheet of paper that stands in a basket and looks out of it."""
    foot = np.array([centre + rng.uniform(-0.8, 0.8) * radius, start + height * rng.uniform(0.8, 0.97)])
    head = np.array([centre + rng.uniform(-1, 1) * radius, start - height * rng.uniform(-0.4, 0.3)])
    shade, tint, hue = rng.uniform(0.25, 0.75), rng.random(), rng.random()
    if rng.random() < 0.25:
        corners = np.array([[-1.0, 0], [1, 0], [0.9, 1], [-0.8, 1.1]]) * [radius * 0.5, height * 0.6]
        sheet = (foot + head) / 2 + (corners - corners.mean(0)) + rng.normal(0, 12, (4, 2))
        canvas.polygons([sheet], shade + 0.1, tint, hue)
        canvas.polygons([sheet[:3]], shade, tint, hue)
        return
    width = rng.uniform(8, 34)
    direction = (head - foot) / np.linalg.norm(head - foot)
    across = np.array([-direction[1], direction[0]])
    canvas.lines([np.array([foot, head])], width, shade * 0.6, tint, hue)
    canvas.lines([np.array([foot, head]) + across * width * 0.05], width * 0.6, shade, tint, hue)
    canvas.lines([np.array([foot, head]) + across * width * 0.15], width * 0.2, shade * 1.3, 1 - tint, hue)
    if rng.random() < 0.6:
        tip = head + direction * width * 2
        half = across * width / 2
        canvas.polygons([np.array([head + half, tip, head - half])], 0.7, 0.5, 0.5)


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
    canvas.layer[:] = cv2.multiply(canvas.layer, mask.layer[..., 3:].repeat(4, 2), scale=1 / 255)
