"""Made of fibres: hair, fur, plush, feathers."""

from __future__ import annotations

import numpy as np

from mematte.data.draws import ratio
from mematte.data.procedural.canvas import Canvas, Random
from mematte.data.procedural.curves import along, inside, outline
from mematte.data.procedural.strands import draw_strands, strands


def hair(canvas: Canvas, rng: Random) -> None:
    """Long hair in locks around an opaque head, with flyaway strands."""
    size = canvas.size_px
    head = outline(rng, size, radius=rng.uniform(0.15, 0.32))
    canvas.polygons([head], rng.uniform(0.3, 0.7), rng.random())
    curl, gravity = rng.normal(0, 1.0), rng.uniform(0, 0.8) * (rng.random() < 0.5)
    locks = int(rng.integers(40, 220))
    per_lock = int(rng.integers(6, 40))
    roots, normals = along(rng, head, locks)
    roots = roots + (head.mean(0) - roots) * rng.uniform(0, 0.5, (locks, 1))
    lean = normals + rng.normal(0, 0.6) + rng.normal(0, rng.uniform(0.1, 0.5), locks)
    length = size * rng.uniform(0.12, 0.45)
    if rng.random() < 0.4:
        # Combed: all locks flow one way and end in the air.
        flow = rng.uniform(-np.pi, np.pi)
        lean = flow + rng.normal(0, rng.uniform(0.05, 0.35), locks)
        length = size * rng.uniform(0.3, 0.7)
    spread = rng.uniform(1.5, 14)
    fan = rng.uniform(0.03, 0.25)
    count = locks * per_lock
    which = np.repeat(np.arange(locks), per_lock)
    paths = strands(
        rng,
        roots[which] + rng.normal(0, spread, (count, 2)),
        lean[which] + rng.normal(0, fan, count),
        length * rng.uniform(0.5, 1.2, locks)[which] * rng.uniform(0.6, 1.15, count),
        curl=curl,
        wobble=rng.uniform(0.05, 0.4),
        gravity=gravity,
    )
    thin = rng.uniform(0.34, 0.9)
    shine = rng.uniform(0.1, 0.6)
    sheen = (shine, shine + rng.uniform(0.1, 0.35)) if rng.random() < 0.5 else None
    dark, width = rng.uniform(0.1, 0.5), (thin, thin * rng.uniform(1.3, 3.5))
    draw_strands(canvas, rng, paths, width, (dark, 0.8), groups=32, sheen=sheen)
    loose = int(rng.integers(10, 250))
    roots, normals = along(rng, head, loose)
    paths = strands(
        rng,
        roots,
        normals + rng.normal(0, 0.7, loose),
        length * rng.uniform(0.4, 1.5, loose),
        curl=curl + rng.normal(0, 0.6),
        wobble=rng.uniform(0.2, 1.0),
        gravity=gravity,
    )
    draw_strands(canvas, rng, paths, (0.34, max(0.5, thin)), (0.4, 0.85), taper=False)


def fur(canvas: Canvas, rng: Random) -> None:
    """Short dense coat: strands over the whole body that stick out along its contour."""
    size = canvas.size_px
    body = outline(rng, size, radius=rng.uniform(0.2, 0.36), roughness=rng.uniform(0.05, 0.25))
    canvas.polygons([body], rng.uniform(0.25, 0.6), rng.random())
    length = size * ratio(rng, 0.012, 0.11)
    comb, order = rng.uniform(-np.pi, np.pi), rng.uniform(0, 0.9)
    tangle = rng.uniform(0.1, 0.6)
    width = (rng.uniform(0.34, 0.8), rng.uniform(0.9, 2.5))
    inner = int(rng.integers(1500, 5000))
    roots = inside(rng, body, inner)
    away = np.arctan2(roots[:, 1] - body.mean(0)[1], roots[:, 0] - body.mean(0)[0])
    edge = int(rng.integers(1500, 9000))
    rim, normals = along(rng, body, edge)
    rim = rim + (body.mean(0) - rim) * rng.uniform(0, 0.08, (edge, 1))
    roots, away = np.concatenate([roots, rim]), np.concatenate([away, normals])
    count = len(roots)
    angles = away + order * np.sin(comb - away) + rng.normal(0, tangle, count)
    paths = strands(
        rng,
        roots,
        angles,
        length * rng.uniform(0.4, 1.5, count),
        curl=rng.normal(0, 0.6),
        wobble=rng.uniform(0.05, 0.6),
        steps=6,
    )
    draw_strands(canvas, rng, paths, width, groups=24)


def plush(canvas: Canvas, rng: Random) -> None:
    """Toys, felt, cloth: round parts one over another, each with a short fuzz along its contour."""
    size = canvas.size_px
    fuzz = ratio(rng, 1.5, 18)
    density = rng.uniform(1, 5)
    centre = rng.uniform(0.4, 0.6, 2) * size
    for _ in range(int(rng.integers(2, 9))):
        part = outline(rng, size, radius=rng.uniform(0.05, 0.25), roughness=rng.uniform(0, 0.12))
        part = part - part.mean(0) + centre + rng.normal(0, 0.16, 2) * size
        shade, tint = rng.uniform(0.45, 1), rng.random()
        tints = (tint - 0.2, tint + 0.2)
        around = np.linalg.norm(np.diff(part, axis=0), axis=1).sum()
        count = int(around * density)
        roots, normals = along(rng, part, count)
        paths = strands(
            rng,
            roots + (part.mean(0) - roots) * 0.01,
            normals + rng.normal(0, 0.7, count),
            fuzz * rng.gamma(2.5, 0.4, count),
            wobble=0.8,
            steps=4,
        )
        draw_strands(
            canvas, rng, paths, (0.34, 1.0), (shade * 0.8, min(1, shade * 1.2)), tints, taper=False, groups=4
        )
        canvas.polygons([part], shade, tint)
        if rng.random() < 0.6:
            inner = int(rng.integers(300, 2000))
            roots = inside(rng, part, inner)
            paths = strands(
                rng, roots, rng.uniform(-np.pi, np.pi, inner), fuzz * rng.gamma(2, 0.5, inner), steps=4
            )
            draw_strands(
                canvas,
                rng,
                paths,
                (0.4, 1.6),
                (shade * 0.7, min(1, shade * 1.2)),
                tints,
                taper=False,
                groups=6,
            )


def feather(canvas: Canvas, rng: Random) -> None:
    """A feather or fan of feathers: shafts with barbs that part here and there, down at the root."""
    size = canvas.size_px
    for _ in range(int(rng.choice([1, 1, 2, 5]))):
        length = size * rng.uniform(0.5, 0.9)
        shaft = strands(
            rng,
            rng.uniform(0.1, 0.4, (1, 2)) * size,
            np.array([rng.uniform(0.1, 1.4)]),
            np.array([length]),
            curl=rng.normal(0, 0.6),
            wobble=0.05,
            steps=200,
        )[0]
        barb = length * rng.uniform(0.08, 0.25)
        bands = rng.uniform(2, 14)
        fluffy = rng.uniform(0.15, 0.4) if rng.random() < 0.8 else 0.9
        for side in (-1, 1):
            count = int(rng.integers(400, 1200))
            share = np.sort(rng.uniform(0.05, 1, count))
            index = np.minimum((share * 199).astype(int), 198)
            step = shaft[index + 1] - shaft[index]
            heading = np.arctan2(step[:, 1], step[:, 0])
            envelope = np.sin(np.pi * np.clip(share * 1.02, 0, 1) ** 0.6) ** 0.5
            splits = np.zeros(count)
            for at in rng.random(int(rng.integers(1, 6))):
                splits += 0.25 * np.tanh((share - at) * 60) * np.exp(-np.abs(share - at) * 14)
            downy = share < fluffy
            angles = (
                heading
                + side * (0.85 + splits)
                + np.where(downy, rng.normal(0, 0.5, count), rng.normal(0, 0.02, count))
            )
            lengths = barb * envelope * np.where(downy, rng.uniform(0.5, 1.2, count), 1)
            for soft in (False, True):
                some = downy == soft
                if not some.any():
                    continue
                paths = strands(
                    rng,
                    shaft[index[some]],
                    angles[some],
                    lengths[some],
                    curl=-side * 0.3,
                    wobble=0.8 if soft else 0.02,
                    steps=10,
                )
                stripe = (np.sin(share[some] * bands * 6.28) > 0).astype(int)
                for colour in (0, 1):
                    draw_strands(
                        canvas,
                        rng,
                        paths[stripe == colour],
                        (0.34, 0.6 if soft else 1.6),
                        shades=(0.45 + 0.2 * colour, 0.8 + 0.2 * colour),
                        groups=5,
                        taper=False,
                    )
        canvas.lines([shaft[:130]], length * 0.008, 0.9, 0.5)
        canvas.lines([shaft[100:]], length * 0.004, 0.9, 0.5)
