"""Plants: stems, twigs, foliage, bamboo, blossoms, thistles, grass."""

from __future__ import annotations

import numpy as np

from mematte.data.draws import ratio
from mematte.data.procedural.canvas import Canvas, Points, Random
from mematte.data.procedural.curves import inside, outline
from mematte.data.procedural.leaves import draw_leaves
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
        width = ratio(rng, 1.5, 28)
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
    slim = rng.uniform(0.12, 0.75)
    common, order = rng.uniform(-np.pi, np.pi), rng.random()
    angles = np.where(
        rng.random(count) < order, common + rng.normal(0, 0.4, count), rng.uniform(-np.pi, np.pi, count)
    )
    lengths = length * rng.uniform(0.5, 1.5, count)
    front = np.linspace(0, 1, count)
    if rng.random() < 0.3:
        _toothed(canvas, rng, inside(rng, body, count), angles, lengths, slim)
    else:
        draw_leaves(
            canvas,
            rng,
            inside(rng, body, count),
            angles,
            lengths,
            lengths * slim * rng.uniform(0.4, 1.1, count),
            shade=(0.2 + 0.5 * front) * rng.uniform(0.6, 1.2, count),
            tint=rng.random(count),
            hue=_few(rng, count, 0.1),
            light=rng.uniform(-2.6, -0.5),
            relief=rng.uniform(0.05, 0.4),
        )
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
    length = size * ratio(rng, 0.02, 0.16)
    spread, lift = rng.uniform(0.05, 0.5), rng.uniform(0.4, 1.4)
    light, relief = rng.uniform(-2.6, -0.5), rng.uniform(0.05, 0.4)
    centre, wide = rng.uniform(0.3, 0.7, 2) * size, rng.uniform(0.02, 0.3) * size
    count = int(rng.integers(3, 22))
    for number in range(count):
        stalk = strands(
            rng,
            centre + rng.normal(0, wide, (1, 2)),
            rng.uniform(-np.pi, np.pi, 1),
            size * rng.uniform(0.2, 0.5, 1),
            curl=rng.normal(0, 0.8),
            wobble=0.2,
            steps=pairs,
        )[0]
        shade, tint = (0.3 + 0.45 * number / count) * rng.uniform(0.7, 1.2), rng.random()
        canvas.lines([stalk], rng.uniform(0.6, 5), shade * 0.8, 0.3)
        step = np.diff(stalk, axis=0)
        at = np.repeat(np.arange(1, pairs), 2)
        side = np.tile([-1.0, 1.0], pairs - 1)
        heading = np.arctan2(step[at, 1], step[at, 0])
        lengths = length * rng.uniform(0.7, 1.2, len(at)) * np.sin(np.pi * (0.15 + 0.75 * at / pairs))
        draw_leaves(
            canvas,
            rng,
            stalk[at],
            heading + side * lift + rng.normal(0, spread, len(at)),
            lengths,
            lengths * slim,
            shade=shade * rng.uniform(0.75, 1.2, len(at)),
            tint=tint + rng.normal(0, 0.15, len(at)),
            hue=_few(rng, len(at), 0.05),
            light=light,
            relief=relief,
        )


def bamboo(canvas: Canvas, rng: Random) -> None:
    """Hundreds of long pointed leaves in fans at the nodes of thin stalks, the hindmost in the dark."""
    size = canvas.size_px
    stalks = int(rng.integers(5, 26))
    length = size * ratio(rng, 0.05, 0.2)
    slim = ratio(rng, 0.07, 0.26)
    foot = np.array([rng.uniform(0.2, 0.8), rng.uniform(0.6, 1.1)]) * size
    up = -np.pi / 2 + rng.normal(0, 0.3)
    reach, opening = rng.uniform(0.5, 1.0) * size, rng.uniform(0.2, 0.8)
    light, relief = rng.uniform(-2.6, -0.5), rng.uniform(0.1, 0.4)
    droop = rng.uniform(0, 1.2)
    paths = strands(
        rng,
        foot + rng.normal(0, size * rng.uniform(0.02, 0.2), (stalks, 2)),
        up + rng.normal(0, opening, stalks),
        reach * rng.uniform(0.6, 1.1, stalks),
        curl=rng.normal(0, 0.4),
        wobble=0.2,
        steps=40,
    )
    if rng.random() < 0.5:
        # A dense heart: what can be seen between its leaves is more leaves, in the dark.
        _shadow(canvas, rng, paths[:, 8:30].reshape(-1, 2).mean(0), length, slim)
    contrast = rng.uniform(0.2, 0.75)
    for number in range(stalks):
        front = (number + 0.5) / stalks
        path, step = paths[number], np.diff(paths[number], axis=0)
        level = 0.62 * (1 - contrast * (1 - front))
        canvas.lines([path], rng.uniform(0.8, 4.5), level * 0.7, 0.2, 0.3 * rng.random())
        nodes = int(rng.integers(4, 20))
        each = int(rng.integers(2, 7))
        at = np.repeat(np.sort(rng.integers(6, 40, nodes)), each)
        heading = np.arctan2(step[at, 1], step[at, 0])
        fan = np.tile(np.linspace(-1, 1, each), nodes) * rng.uniform(0.3, 1.0)
        angles = heading + fan + rng.normal(0, 0.3, len(at))
        angles = angles + droop * np.sin(np.pi / 2 - angles) * rng.random(len(at))
        lengths = length * rng.uniform(0.45, 1.25, len(at))
        draw_leaves(
            canvas,
            rng,
            path[at] + rng.normal(0, size * 0.008, (len(at), 2)),
            angles,
            lengths,
            lengths * slim * rng.uniform(0.55, 1.15, len(at)),
            shade=level * rng.uniform(0.6, 1.3, len(at)),
            tint=np.clip(rng.normal(0.25 + 0.4 * front, 0.25, len(at)), 0, 1),
            hue=_few(rng, len(at), 0.06),
            bend=rng.uniform(0.1, 0.5),
            light=light,
            relief=relief,
            rib=0.05 if rng.random() < 0.6 else 0,
        )


def blossom(canvas: Canvas, rng: Random) -> None:
    """Flowers crowded together over leaves, with small gaps; or one large flower."""
    size = canvas.size_px
    flowers = 1 if rng.random() < 0.2 else int(ratio(rng, 4, 70))
    body = outline(rng, size, radius=rng.uniform(0.2, 0.36))
    radius = (
        size * rng.uniform(0.26, 0.42) if flowers == 1 else size * rng.uniform(0.3, 0.6) / np.sqrt(flowers)
    )
    light, relief = rng.uniform(-2.6, -0.5), rng.uniform(0.1, 0.45)
    leaves = int(rng.integers(10, 160))
    roots = inside(rng, body + rng.normal(0, 0.05, 2) * size, leaves)
    lengths = radius * rng.uniform(0.7, 2.2, leaves)
    draw_leaves(
        canvas,
        rng,
        roots,
        np.arctan2(*(roots - body.mean(0)).T[::-1]) + rng.normal(0, 0.8, leaves),
        lengths,
        lengths * rng.uniform(0.15, 0.5) * rng.uniform(0.6, 1.2, leaves),
        shade=np.linspace(0.2, 0.65, leaves) * rng.uniform(0.6, 1.2, leaves),
        tint=0.25 * rng.random(leaves),
        light=light,
        relief=relief,
    )
    petals, slim = int(rng.integers(5, 30 if flowers == 1 else 13)), rng.uniform(0.16, 0.6)
    middle = body.mean(0)
    centres = middle + (inside(rng, body, flowers) - middle) * (0 if flowers == 1 else 1.05)
    for number, centre in enumerate(centres):
        front = (number + 1) / flowers
        level = 0.4 + 0.32 * front * rng.uniform(0.7, 1.15)
        _flower(canvas, rng, centre, radius, petals, slim, level, light, relief)
    loose = int(rng.integers(0, 12))
    paths = strands(
        rng,
        inside(rng, body, loose),
        rng.uniform(-np.pi, np.pi, loose),
        radius * rng.uniform(0.5, 2.5, loose),
        curl=rng.normal(0, 1.5),
    )
    draw_strands(canvas, rng, paths, (0.6, 3), taper=False, groups=4)


def _flower(
    canvas: Canvas,
    rng: Random,
    centre: Points,
    radius: float,
    petals: int,
    slim: float,
    level: float,
    light: float,
    relief: float,
) -> None:
    """One flower: rows of petals around a core, perhaps with stamens. `level` is about its shade."""
    # Seen from the side a flower is a narrow ellipse of petals.
    squash, facing = rng.uniform(0.35, 1.0), rng.uniform(-np.pi, np.pi)
    rows = int(rng.integers(1, 4))
    for row in range(rows):
        angles = np.linspace(0, 2 * np.pi, petals, endpoint=False) + row * 0.4
        angles = angles + rng.normal(0, 0.12, petals)
        flat = np.column_stack([np.cos(angles), np.sin(angles) * squash])
        rotation = np.array([[np.cos(facing), -np.sin(facing)], [np.sin(facing), np.cos(facing)]])
        flat = flat @ rotation.T
        lengths = radius * (1 - 0.22 * row) * np.linalg.norm(flat, axis=1) * rng.uniform(0.75, 1.15, petals)
        draw_leaves(
            canvas,
            rng,
            np.repeat(centre[None], petals, 0) + flat * radius * 0.04,
            np.arctan2(flat[:, 1], flat[:, 0]),
            lengths,
            np.maximum(lengths, radius * 0.4) * slim * rng.uniform(0.8, 1.3, petals),
            shade=level * (0.85 + 0.12 * row) * rng.uniform(0.75, 1.2, petals),
            tint=rng.uniform(0.75, 1.0, petals),
            hue=np.clip(rng.normal(0.15 * row, 0.12, petals), 0, 1),
            bend=rng.uniform(0.1, 0.7),
            light=light,
            relief=relief,
            rib=0.04,
        )
    core = [np.array([centre, centre + 0.1])]
    canvas.lines(core, radius * rng.uniform(0.1, 0.45), level * 0.8, rng.uniform(0.5, 1), 0.5 * rng.random())
    if rng.random() < 0.7:
        stamens = int(rng.integers(5, 40))
        paths = strands(
            rng,
            np.repeat(centre[None], stamens, 0),
            rng.uniform(-np.pi, np.pi, stamens),
            radius * rng.uniform(0.1, rng.uniform(0.3, 1.1), stamens),
            curl=rng.normal(0, 0.5),
            steps=6,
        )
        draw_strands(canvas, rng, paths, (0.4, 2), (0.5, 0.9), (0.6, 1), (0.4, 1), taper=False, groups=3)
        canvas.lines(paths[:, -2:], rng.uniform(1, 4), level * 1.2, 0.4, 1.0)


def thistle(canvas: Canvas, rng: Random) -> None:
    """Thistles, artichokes, brushes: a bulb of scales with a thick tuft of fine curved filaments."""
    size = canvas.size_px
    bulb = outline(rng, size, radius=rng.uniform(0.1, 0.3), roughness=0.08)
    towards = rng.uniform(-np.pi, np.pi)
    along = np.array([np.cos(towards), np.sin(towards)])
    across = np.array([-along[1], along[0]])
    middle = bulb.mean(0)
    radius = float(np.linalg.norm(bulb - middle, axis=1).mean())
    light = rng.uniform(-2.6, -0.5)
    if rng.random() < 0.7:
        canvas.lines([np.array([middle, middle - along * size])], radius * rng.uniform(0.05, 0.3), 0.35, 0.1)
    canvas.polygons([bulb], 0.25, 0.15)
    scales = int(rng.integers(20, 120))
    place = rng.uniform(-1, 0.9, scales)
    roots = middle + radius * (
        place[:, None] * along + (rng.uniform(-1, 1, scales) * np.sqrt(1 - place**2))[:, None] * across
    )
    order = np.argsort(-place)
    draw_leaves(
        canvas,
        rng,
        roots[order],
        towards + rng.normal(0, 0.4, scales),
        radius * rng.uniform(0.3, 0.8, scales),
        radius * rng.uniform(0.15, 0.45, scales),
        shade=rng.uniform(0.25, 0.65, scales),
        tint=rng.uniform(0, 0.5, scales),
        light=light,
        relief=rng.uniform(0.1, 0.4),
    )
    tuft = int(ratio(rng, 250, 4000))
    opening = rng.uniform(0.25, 1.6)
    shift = rng.uniform(0, 0.8)
    roots = (
        middle
        + radius * (shift * along + rng.normal(0, rng.uniform(0.15, 0.45), tuft)[:, None] * across)
        + rng.normal(0, radius * 0.2, (tuft, 2))
    )
    away = np.arctan2(*(roots - middle + along * radius * 0.2).T[::-1])
    angles = towards + np.clip(np.angle(np.exp(1j * (away - towards))), -opening, opening)
    length = radius * rng.uniform(0.3, 1.4)
    width = ratio(rng, 0.5, 4.5)
    dark = rng.uniform(0.15, 0.4)
    paths = strands(
        rng,
        roots,
        angles + rng.normal(0, rng.uniform(0.1, 0.6), tuft),
        length * rng.uniform(0.4, 1.2, tuft),
        curl=rng.normal(0, 0.8),
        wobble=rng.uniform(0.1, 1.2),
        steps=12,
    )
    draw_strands(
        canvas,
        rng,
        paths,
        (max(0.34, width * 0.7), width * 1.3),
        (dark, 0.8),
        (0.6, 1.0),
        (0.0, 0.6),
        taper=rng.random() < 0.4,
        groups=24,
        relief=rng.uniform(0, 0.25),
    )


def _shadow(canvas: Canvas, rng: Random, middle: Points, length: float, slim: float) -> None:
    """Dark leaves around a point, close enough to leave only a few gaps."""
    size = canvas.size_px
    count = int(rng.integers(150, 700))
    lengths = length * rng.uniform(0.5, 1.3, count)
    draw_leaves(
        canvas,
        rng,
        middle + rng.normal(0, size * rng.uniform(0.08, 0.16), (count, 2)),
        rng.uniform(-np.pi, np.pi, count),
        lengths,
        lengths * slim,
        shade=np.linspace(0.08, 0.3, count) * rng.uniform(0.7, 1.3, count),
        tint=0.3 * rng.random(count),
    )


def _few(rng: Random, count: int, share: float) -> Points:
    """(count,) zeros but for a `share` of values up to one: the withered leaf, the odd one out."""
    return np.where(rng.random(count) < share, rng.random(count), 0.0)


def _toothed(
    canvas: Canvas, rng: Random, roots: Points, angles: Points, lengths: Points, slim: float
) -> None:
    """Leaves with teeth, one over the other, with a vein where they are large."""
    teeth = int(rng.integers(5, 12))
    for number, (root, angle, length) in enumerate(zip(roots, angles, lengths, strict=True)):
        blade = leaf(length, length * slim * rng.uniform(0.4, 1.1), angle, root, rng.normal(0, 0.4), teeth)
        shade, tint = 0.3 + 0.4 * number / len(roots) + rng.uniform(-0.2, 0.1), rng.random()
        canvas.polygons([blade], shade, tint)
        if length > 25:
            vein = strands(rng, root[None], np.array([angle]), np.array([length * 0.8]), wobble=0, steps=4)
            canvas.lines(vein, max(0.5, length * 0.012), shade * 1.3, tint)


def grass(canvas: Canvas, rng: Random) -> None:
    """Blades that rise from a line or a tuft and bend over."""
    size = canvas.size_px
    count = int(rng.integers(40, 400))
    tuft = rng.random() < 0.5
    spread = rng.uniform(0.02, 0.12) if tuft else rng.uniform(0.3, 0.5)
    length = size * rng.uniform(0.2, 0.6)
    width = ratio(rng, 1, 14)
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
