"""Plants: stems, twigs, foliage, grass."""

from __future__ import annotations

import numpy as np

from mematte.data.procedural.canvas import Canvas, Points, Random
from mematte.data.procedural.curves import inside, outline
from mematte.data.procedural.strands import draw_strands, strands


def stems(canvas: Canvas, rng: Random) -> None:
    """Bamboo-like stems and reeds: nearly parallel bars with nodes, and narrow leaves."""
    size = canvas.size_px
    main = rng.uniform(-np.pi, np.pi)
    for _ in range(int(rng.integers(2, 14))):
        angle = main + rng.normal(0, 0.25)
        middle = rng.uniform(0, 1, 2) * size
        direction = np.array([np.cos(angle), np.sin(angle)])
        share = np.linspace(-0.8, 0.8, 30)[:, None] * size
        bow = np.array([-direction[1], direction[0]]) * (share / size) ** 2 * rng.normal(0, 0.15) * size
        path = middle + share * direction + bow
        width = float(np.exp(rng.uniform(np.log(1.5), np.log(28))))
        shade, tint = rng.uniform(0.5, 0.9), rng.random()
        canvas.lines([path], width, shade, tint)
        lit = path + np.array([-direction[1], direction[0]]) * width * 0.2
        canvas.lines([lit], width * 0.35, min(1, shade * 1.3), tint)
        for node in rng.integers(1, 29, int(rng.integers(0, 6))):
            across = np.array([-direction[1], direction[0]]) * width * 0.58
            canvas.lines(
                [np.array([path[node] - across, path[node] + across])],
                max(0.7, width * 0.15),
                shade * 0.6,
                tint,
            )
        leaves = int(rng.integers(0, 16))
        length = rng.uniform(0.05, 0.2) * size
        for _ in range(leaves):
            root = path[rng.integers(30)]
            blade = leaf(
                length * rng.uniform(0.5, 1.3),
                length * rng.uniform(0.06, 0.2),
                angle + rng.choice([-1, 1]) * rng.uniform(0.2, 1.3),
                root,
                rng.normal(0, 0.5),
            )
            canvas.polygons([blade], rng.uniform(0.35, 1), rng.random())


def twigs(canvas: Canvas, rng: Random) -> None:
    """A branching plant, from a few pixels down to a third of one, bare or with small leaves."""
    size = canvas.size_px
    bends, fork = rng.uniform(0.05, 0.4), rng.uniform(0.2, 0.8)
    leaf_length = size * rng.uniform(0.008, 0.05) * (rng.random() < 0.6)
    leaf_shape = rng.uniform(0.25, 0.8)
    level = [
        (root, towards + rng.normal(0, 0.5), size * rng.uniform(0.25, 0.5), rng.uniform(2, 16))
        for root, towards in _starts(rng, size, int(rng.integers(2, 7)))
    ]
    for depth in range(int(rng.integers(3, 6))):
        following = []
        for root, angle, length, width in level[:400]:
            path = strands(
                rng,
                root[None],
                np.array([angle]),
                np.array([length]),
                curl=rng.normal(0, bends),
                wobble=bends,
            )[0]
            shade, tint = rng.uniform(0.4, 1), rng.random() * 0.4
            canvas.lines([path], width, shade, tint)
            for _ in range(int(rng.integers(2, 5))):
                at = int(rng.integers(4, len(path)))
                turn = rng.choice([-1, 1]) * fork * rng.uniform(0.5, 1.3)
                following.append(
                    (
                        path[at],
                        angle + turn,
                        length * rng.uniform(0.45, 0.8),
                        max(0.34, width * rng.uniform(0.4, 0.7)),
                    )
                )
            if leaf_length and depth >= 2:
                for at in rng.integers(2, len(path), int(rng.integers(2, 7))):
                    grown = leaf_length * rng.uniform(0.6, 1.4)
                    blade = leaf(
                        grown, grown * leaf_shape, rng.uniform(-np.pi, np.pi), path[at], rng.normal(0, 0.3)
                    )
                    canvas.polygons([blade], rng.uniform(0.3, 1), 0.4 + 0.6 * rng.random())
        level = following


def foliage(canvas: Canvas, rng: Random) -> None:
    """A clump of leaves with holes, lighter towards the viewer; or sprays of leaves along stalks."""
    if rng.random() < 0.5:
        sprays(canvas, rng)
        return
    size = canvas.size_px
    body = outline(rng, size, radius=rng.uniform(0.2, 0.4))
    count = int(rng.integers(60, 900))
    length = size * rng.uniform(0.6, 1.8) / np.sqrt(count)
    slim, teeth = rng.uniform(0.12, 0.75), int(rng.integers(5, 12)) if rng.random() < 0.3 else 0
    roots = inside(rng, body, count)
    common = rng.uniform(-np.pi, np.pi)
    order = rng.random()
    for number, root in enumerate(roots):
        front = number / count
        angle = common + rng.normal(0, 0.4) if rng.random() < order else rng.uniform(-np.pi, np.pi)
        grown = length * rng.uniform(0.5, 1.5)
        blade = leaf(grown, grown * slim * rng.uniform(0.4, 1.1), angle, root, rng.normal(0, 0.4), teeth)
        shade, tint = 0.3 + 0.5 * front + rng.uniform(-0.2, 0.2), rng.random()
        canvas.polygons([blade], shade, tint)
        if grown > 25:
            vein = strands(rng, root[None], np.array([angle]), np.array([grown * 0.8]), wobble=0, steps=4)
            canvas.lines(vein, max(0.5, grown * 0.012), shade * 1.3, tint)
    stalks = int(rng.integers(0, 30))
    if stalks:
        roots = inside(rng, body, stalks)
        paths = strands(
            rng, roots, rng.uniform(-np.pi, np.pi, stalks), rng.uniform(0.05, 0.3, stalks) * size, wobble=0.3
        )
        draw_strands(canvas, rng, paths, (0.6, 4), groups=6)


def sprays(canvas: Canvas, rng: Random) -> None:
    """Stalks with leaves in pairs along them: ferns, palms, ivy, climbing plants."""
    size = canvas.size_px
    pairs, slim = int(rng.integers(6, 40)), rng.uniform(0.1, 0.7)
    length = size * float(np.exp(rng.uniform(np.log(0.02), np.log(0.16))))
    spread, lift = rng.uniform(0.05, 0.5), rng.uniform(0.4, 1.4)
    teeth = int(rng.integers(5, 12)) if rng.random() < 0.2 else 0
    centre, wide = rng.uniform(0.3, 0.7, 2) * size, rng.uniform(0.02, 0.3) * size
    for _ in range(int(rng.integers(3, 22))):
        stalk = strands(
            rng,
            centre + rng.normal(0, wide, (1, 2)),
            rng.uniform(-np.pi, np.pi, 1),
            size * rng.uniform(0.2, 0.5, 1),
            curl=rng.normal(0, 0.8),
            wobble=0.2,
            steps=pairs,
        )[0]
        shade, tint = rng.uniform(0.4, 0.9), rng.random()
        canvas.lines([stalk], rng.uniform(0.6, 5), shade * 0.8, 0.3)
        step = np.diff(stalk, axis=0)
        heading = np.arctan2(step[:, 1], step[:, 0])
        for at in range(1, pairs):
            for side in (-1, 1):
                grown = length * rng.uniform(0.7, 1.2) * np.sin(np.pi * (0.15 + 0.75 * at / pairs))
                angle = heading[at] + side * lift + rng.normal(0, spread)
                blade = leaf(grown, grown * slim, angle, stalk[at], -side * 0.3 + rng.normal(0, 0.2), teeth)
                light = shade * rng.uniform(0.75, 1.2)
                canvas.polygons([blade], light, tint + rng.normal(0, 0.15))
                if grown > 30:
                    vein = strands(
                        rng, stalk[at][None], np.array([angle]), np.array([grown * 0.8]), wobble=0, steps=4
                    )
                    canvas.lines(vein, max(0.5, grown * 0.012), light * 1.25, tint)


def grass(canvas: Canvas, rng: Random) -> None:
    """Blades that rise from a line or a tuft and bend over."""
    size = canvas.size_px
    count = int(rng.integers(40, 400))
    tuft = rng.random() < 0.5
    spread = rng.uniform(0.02, 0.12) if tuft else rng.uniform(0.3, 0.5)
    length = size * rng.uniform(0.2, 0.6)
    width = float(np.exp(rng.uniform(np.log(1), np.log(14))))
    lean = rng.uniform(0.15, 0.6)
    for _ in range(count):
        root = np.array([size * (0.5 + spread * rng.normal()), size * rng.uniform(0.75, 0.95)])
        angle = -np.pi / 2 + rng.normal(0, lean)
        blade = leaf(
            length * rng.uniform(0.4, 1.3), width * rng.uniform(0.5, 1.5), angle, root, rng.normal(0, 0.8)
        )
        canvas.polygons([blade], rng.uniform(0.3, 1), rng.random())


def leaf(
    length: float, width: float, angle: float, root: Points, bend: float = 0.0, teeth: int = 0
) -> Points:
    """Outline of a leaf or blade: pointed, widest before its middle, bent, perhaps toothed.

    `length` and `width` in pixels, `angle` and `bend` in radians, `teeth` on each side.
    """
    share = np.linspace(0, 1, 20 if not teeth else 60)
    half = width / 2 * np.sin(np.pi * share**0.8)
    if teeth:
        half = half * (1 + 0.25 * np.abs((share * teeth) % 1 - 0.5))
    heading = angle + bend * share
    spine = root + np.cumsum(
        np.column_stack([np.cos(heading), np.sin(heading)]) * (length / len(share)), axis=0
    )
    across = np.column_stack([-np.sin(heading), np.cos(heading)]) * half[:, None]
    return np.concatenate([spine + across, (spine - across)[::-1]])


def _starts(rng: Random, size_px: int, count: int) -> list[tuple[Points, float]]:
    """Points near the border and the directions from there to the middle."""
    angles = rng.uniform(-np.pi, np.pi, count)
    points = size_px * (0.5 + 0.42 * np.column_stack([np.cos(angles), np.sin(angles)]))
    return [(point, float(angle + np.pi)) for point, angle in zip(points, angles, strict=True)]
