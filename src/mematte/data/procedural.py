"""Procedural mattes: hair, fur, wool, stems, foliage, nets, baskets, smoke, glass, plain outlines, ...

Each is drawn at several times its size and averaged down, so its alpha is the exact coverage. Besides
coverage a drawing carries two values per pixel that say how its colour is to be made: `shade` (how
light) and `tint` (which of two textures), different for every strand, leaf and wire.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.foregrounds import clean_alpha, edge_points, extend_colour
from mematte.data.pyramid import Pyramid

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Points = NDArray[np.float64]
Random = np.random.Generator

SUPERSAMPLING = 3
_FIXED = 4  # OpenCV's coordinates: fixed point with 4 fractional bits
_ANTIALIASED = cv2.LINE_AA


class Canvas:
    """A square drawing of `size_px`; coordinates and widths are given in its pixels.

    Channels of `layer`: shade * coverage, tint * coverage, coverage.
    """

    def __init__(self, size_px: int) -> None:
        self.size_px = size_px
        full = size_px * SUPERSAMPLING
        self.layer: Bytes = np.zeros((full, full, 3), np.uint8)

    def polygons(self, outlines: Sequence[Points], shade: float = 1.0, tint: float = 0.0) -> None:
        """Fill closed outlines, each (N, 2)."""
        for outline in outlines:
            cv2.fillPoly(self.layer, [self._fixed(outline)], self._paint(shade, tint), _ANTIALIASED, _FIXED)

    def holes(self, outlines: Sequence[Points]) -> None:
        """Cut closed outlines out of what is drawn so far."""
        for outline in outlines:
            cv2.fillPoly(self.layer, [self._fixed(outline)], (0, 0, 0), _ANTIALIASED, _FIXED)

    def lines(
        self, paths: Points | Sequence[Points], width_px: float, shade: float = 1.0, tint: float = 0.0
    ) -> None:
        """Draw open paths, each (N, 2), `width_px` wide (at least a third of a pixel)."""
        width = max(1, round(width_px * SUPERSAMPLING))
        # All paths of an array at once: ten thousands of small conversions would cost more than drawing.
        fixed = list(self._fixed(paths)) if isinstance(paths, np.ndarray) else [self._fixed(p) for p in paths]
        cv2.polylines(self.layer, fixed, False, self._paint(shade, tint), width, _ANTIALIASED, _FIXED)

    def _fixed(self, path: Points) -> NDArray[np.int32]:
        # +0.5, -0.5: pixel centres of the small picture to those of the large one.
        large = (path + 0.5) * SUPERSAMPLING - 0.5
        # Far outside is cut off: OpenCV's fixed point overflows at 2^15 pixels.
        return np.rint(np.clip(large, -8000, 16000) * (1 << _FIXED)).astype(np.int32)

    @staticmethod
    def _paint(shade: float, tint: float) -> tuple[float, float, float]:
        return (float(np.clip(shade, 0, 1)) * 255, float(np.clip(tint, 0, 1)) * 255, 255.0)


# -------------------------------------------------------------------------------------------- shapes


def outline(rng: Random, size_px: int, radius: float | None = None, roughness: float | None = None) -> Points:
    """(256, 2) closed contour around a random centre; `radius` and `roughness` are shares of the size."""
    angles = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    radius = rng.uniform(0.15, 0.42) if radius is None else radius
    roughness = rng.uniform(0.05, 0.35) if roughness is None else roughness
    radii = np.ones(256)
    for order in range(1, 10):
        radii += roughness * rng.normal() / order**1.1 * np.sin(order * angles + rng.uniform(0, 6.3))
    radii = np.clip(radii, 0.25, 2.2) * radius * size_px
    centre = rng.uniform(0.35, 0.65, 2) * size_px
    squash = np.exp(rng.normal(0, 0.25))
    return cast(
        Points,
        np.column_stack(
            [centre[0] + radii * np.cos(angles) * squash, centre[1] + radii * np.sin(angles) / squash]
        ),
    )


def along(rng: Random, contour: Points, count: int) -> tuple[Points, Points]:
    """`count` random points on a closed contour and the direction of its outward normal, in radians."""
    index = rng.integers(0, len(contour), count)
    step = np.roll(contour, -1, 0)[index] - contour[index]
    points = contour[index] + step * rng.random((count, 1))
    return points, np.arctan2(-step[:, 0], step[:, 1])


def inside(rng: Random, contour: Points, count: int) -> Points:
    """About `count` random points inside a contour (star-shaped around its mean)."""
    centre = contour.mean(0)
    points = contour[rng.integers(0, len(contour), count)]
    return cast(Points, centre + (points - centre) * np.sqrt(rng.random((count, 1))))


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
    """(N, steps + 1, 2) curved paths. curl: radians over the whole length, of each strand its own."""
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
    shades: tuple[float, float] = (0.35, 1.0),
    tints: tuple[float, float] = (0.0, 1.0),
    taper: bool = True,
    groups: int = 12,
) -> None:
    """Draw strands in groups of one width, shade and tint, thick at the root and thin at the tip."""
    members = rng.integers(0, groups, len(paths))
    for group in range(groups):
        some = paths[members == group]
        if not len(some):
            continue
        width = float(np.exp(rng.uniform(np.log(width_px[0]), np.log(width_px[1]))))
        shade, tint = float(rng.uniform(*shades)), float(rng.uniform(*tints))
        if taper and width * SUPERSAMPLING > 1.5:
            for share in (1.0, 0.8, 0.55):
                end = max(2, round(some.shape[1] * share))
                canvas.lines(some[:, :end], width * (1.25 - share), shade, tint)
            canvas.lines(some[:, : max(2, some.shape[1] // 3)], width, shade, tint)
        else:
            canvas.lines(some, width, shade, tint)


def leaf(
    length: float, width: float, angle: float, root: Points, bend: float = 0.0, teeth: int = 0
) -> Points:
    """Outline of a leaf or blade: pointed, widest before its middle, bent, perhaps toothed."""
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


def meander(rng: Random, size_px: int, length: float, wobble: float, steps: int = 160) -> Points:
    """(steps, 2) smooth random walk across the canvas."""
    turn = np.convolve(rng.normal(0, wobble, steps + 20), np.ones(20) / 20, "valid")[:steps]
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(turn)
    path = np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]) * (length / steps), axis=0)
    return cast(Points, path - path.mean(0) + rng.uniform(0.3, 0.7, 2) * size_px)


def warp_grid(rng: Random, points: Points, size_px: int, amount: float) -> Points:
    """Points moved by a smooth random deformation, `amount` as a share of the size."""
    moved = points.copy()
    for _ in range(3):
        wave = rng.normal(0, 1, 2) * rng.uniform(2, 7) / size_px
        shift = rng.normal(0, 1, 2) * amount * size_px / 2
        moved += np.sin(points @ wave + rng.uniform(0, 6.3))[:, None] * shift
    return moved


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


# ---------------------------------------------------------------------------------------------- kinds


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
    draw_strands(canvas, rng, paths, (thin, thin * rng.uniform(1.3, 3.5)), groups=24)
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
    draw_strands(canvas, rng, paths, (0.34, max(0.5, thin)), taper=False)


def fur(canvas: Canvas, rng: Random) -> None:
    """Short dense coat: strands over the whole body that stick out along its contour."""
    size = canvas.size_px
    body = outline(rng, size, radius=rng.uniform(0.2, 0.36), roughness=rng.uniform(0.05, 0.25))
    canvas.polygons([body], rng.uniform(0.25, 0.6), rng.random())
    length = size * np.exp(rng.uniform(np.log(0.012), np.log(0.11)))
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
    fuzz = float(np.exp(rng.uniform(np.log(1.5), np.log(18))))
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


def wool(canvas: Canvas, rng: Random) -> None:
    """Yarn: thick wandering threads, each with a halo of fine fluff; or a fuzzy ball."""
    size = canvas.size_px
    threads = int(rng.integers(2, 16))
    fluff_length = size * np.exp(rng.uniform(np.log(0.006), np.log(0.05)))
    density = rng.uniform(1, 12)
    yarn = float(np.exp(rng.uniform(np.log(2), np.log(30))))
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


def _starts(rng: Random, size_px: int, count: int) -> list[tuple[Points, float]]:
    """Points near the border and the directions from there to the middle."""
    angles = rng.uniform(-np.pi, np.pi, count)
    points = size_px * (0.5 + 0.42 * np.column_stack([np.cos(angles), np.sin(angles)]))
    return [(point, float(angle + np.pi)) for point, angle in zip(points, angles, strict=True)]


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


def _keep_inside(canvas: Canvas, contour: Points) -> None:
    mask = Canvas(canvas.size_px)
    mask.polygons([contour])
    canvas.layer[:] = cv2.multiply(canvas.layer, mask.layer[..., 2:].repeat(3, 2), scale=1 / 255)


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


def _paint_field(canvas: Canvas, alpha: Floats, shade: Floats) -> None:
    full = canvas.layer.shape[0]
    tint = np.full_like(alpha, 0.5)
    field = np.dstack([shade * alpha, tint * alpha, alpha]).astype(np.float32)
    large = cv2.resize(field, (full, full), interpolation=cv2.INTER_LINEAR)
    canvas.layer[:] = np.clip(large * 255 + 0.5, 0, 255).astype(np.uint8)


def solid(canvas: Canvas, rng: Random) -> None:
    """Plain objects with crisp outlines: blobs, polygons, bars, plates with holes, cloth, letters."""
    size = canvas.size_px
    for _ in range(int(rng.integers(1, 6))):
        shade, tint = rng.uniform(0.7, 1), rng.random()
        form = int(rng.integers(5))
        if form == 0:
            canvas.polygons([outline(rng, size)], shade, tint)
        elif form == 1:
            corners = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 9))))
            radii = size * rng.uniform(0.12, 0.4, len(corners))
            centre = rng.uniform(0.3, 0.7, 2) * size
            canvas.polygons(
                [centre + np.column_stack([np.cos(corners), np.sin(corners)]) * radii[:, None]], shade, tint
            )
        elif form == 2:
            angle, middle = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8, 2) * size
            reach = np.array([np.cos(angle), np.sin(angle)]) * size * rng.uniform(0.2, 0.9)
            canvas.lines([np.array([middle - reach, middle + reach])], rng.uniform(4, 120), shade, tint)
        elif form == 3:
            # Cloth or flag: straight sides, two of them wavy.
            along_x = np.linspace(0, 1, 60)
            wave = rng.uniform(0.01, 0.06) * np.sin(along_x * rng.uniform(3, 14) + rng.uniform(0, 6))
            upper = np.column_stack([along_x, 0.25 + wave])
            lower = np.column_stack([along_x, rng.uniform(0.55, 0.8) + wave + rng.normal(0, 0.02)])[::-1]
            turn = rng.normal(0, 0.4)
            rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
            cloth = (np.vstack([upper, lower]) - 0.5) @ rotation * rng.uniform(0.5, 0.9) + 0.5
            canvas.polygons([cloth * size], shade, tint)
            if rng.random() < 0.3:
                # Frayed: threads that hang from the hem.
                hem = cloth[60:] * size
                roots = hem[rng.integers(0, len(hem), 300)] + rng.normal(0, 1, (300, 2))
                threads = strands(
                    rng,
                    roots,
                    np.pi / 2 - turn + rng.normal(0, 0.3, 300),
                    size * rng.uniform(0.01, 0.08) * rng.random(300),
                )
                draw_strands(canvas, rng, threads, (0.4, 1.5), groups=4, taper=False)
        else:
            path = meander(rng, size, size * rng.uniform(0.5, 1.5), rng.uniform(0.05, 0.4))
            canvas.lines([path], rng.uniform(3, 60), shade, tint)
    if rng.random() < 0.4:
        canvas.holes(
            [
                (outline(rng, size, 0.1) - size / 2) * rng.uniform(0.1, 0.8) + rng.uniform(0.2, 0.8, 2) * size
                for _ in range(int(rng.integers(1, 10)))
            ]
        )
    if rng.random() < 0.2:
        text = "".join(chr(int(code)) for code in rng.integers(65, 91, 3))
        position = (int(size * 0.5), int(size * rng.uniform(1.2, 2.4)))
        cv2.putText(
            canvas.layer,
            text,
            position,
            int(rng.integers(8)),
            size / 45,
            canvas._paint(1.0, rng.random()),
            int(rng.integers(8, 60)),
            cv2.LINE_AA,
        )


# kind -> (how to draw it, probability)
KINDS: dict[str, tuple[Callable[[Canvas, Random], None], float]] = {
    "hair": (hair, 0.12),
    "fur": (fur, 0.11),
    "plush": (plush, 0.09),
    "wool": (wool, 0.09),
    "stems": (stems, 0.08),
    "twigs": (twigs, 0.07),
    "foliage": (foliage, 0.09),
    "grass": (grass, 0.03),
    "net": (net, 0.06),
    "basket": (basket, 0.04),
    "lace": (lace, 0.03),
    "feather": (feather, 0.03),
    "web": (web, 0.02),
    "smoke": (smoke, 0.01),
    "glass": (glass, 0.02),
    "solid": (solid, 0.11),
}
_NAMES = list(KINDS)
_CHANCES = np.cumsum([chance for _, chance in KINDS.values()])


@dataclass(frozen=True)
class ProceduralMatte:
    """A finished drawing. `pyramid` has the channels shade, tint, alpha; shade and tint valid everywhere."""

    kind: str
    pyramid: Pyramid
    points: NDArray[np.int32]


def draw_matte(rng: Random, size_px: int = 900, kind: str | None = None) -> ProceduralMatte:
    """Draw one matte of `kind`, or of a kind drawn from `KINDS`."""
    if kind is None:
        kind = _NAMES[int(np.searchsorted(_CHANCES / _CHANCES[-1], rng.random(), side="right"))]
    canvas = Canvas(size_px)
    KINDS[kind][0](canvas, rng)
    small = cv2.resize(canvas.layer, (size_px, size_px), interpolation=cv2.INTER_AREA)
    alpha = clean_alpha(np.ascontiguousarray(small[..., 2]))
    if not alpha.any():
        return draw_matte(rng, size_px, kind)
    coverage = np.maximum(small[..., 2:].astype(np.float32), 1)
    colour = np.clip(small.astype(np.float32) * 255 / coverage + 0.5, 0, 255).astype(np.uint8)
    colour = extend_colour(colour, alpha, reliable=64)
    picture = np.dstack([colour[..., :2], alpha])
    picture = cast(Bytes, cv2.copyMakeBorder(picture, 16, 16, 16, 16, cv2.BORDER_REPLICATE))
    for edge in (np.s_[:16], np.s_[-16:], np.s_[:, :16], np.s_[:, -16:]):
        picture[edge][..., 2] = 0
    return ProceduralMatte(kind, Pyramid(picture), edge_points(np.ascontiguousarray(picture[..., 2])))


class MatteBank:
    """A changing stock of drawings: each serves many crops, so drawing them richly costs little.

    It starts with `first` drawings, one more follows after every `every` requests, and beyond
    `capacity` the oldest gives way. All randomness comes from the generators passed to `draw`.
    """

    def __init__(self, size_px: int = 900, capacity: int = 160, first: int = 12, every: int = 12) -> None:
        self.size_px, self.capacity, self.first, self.every = size_px, capacity, first, every
        self._mattes: list[ProceduralMatte] = []
        self._requests = 0
        self._drawn = 0

    def draw(self, rng: Random) -> ProceduralMatte:
        """One of the stock, which this request may renew."""
        if self._drawn < self.first or self._requests % self.every == 0:
            matte = draw_matte(rng, self.size_px)
            if len(self._mattes) < self.capacity:
                self._mattes.append(matte)
            else:
                self._mattes[self._drawn % self.capacity] = matte
            self._drawn += 1
        self._requests += 1
        return self._mattes[int(rng.integers(len(self._mattes)))]
