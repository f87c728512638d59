"""Solid things with crisp outlines: blobs, polygons, bars, cloth, ribbons, letters."""

from __future__ import annotations

import cv2
import numpy as np

from mematte.data.procedural.canvas import Canvas, Random
from mematte.data.procedural.curves import meander, outline
from mematte.data.procedural.strands import draw_strands, strands


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
            _cloth(canvas, rng, shade, tint)
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
            canvas.paint(1.0, rng.random()).tolist(),
            int(rng.integers(8, 60)),
            cv2.LINE_AA,
        )


def _cloth(canvas: Canvas, rng: Random, shade: float, tint: float) -> None:
    """Cloth or a flag: straight sides, two of them wavy; sometimes frayed."""
    size = canvas.size_px
    along_x = np.linspace(0, 1, 60)
    wave = rng.uniform(0.01, 0.06) * np.sin(along_x * rng.uniform(3, 14) + rng.uniform(0, 6))
    upper = np.column_stack([along_x, 0.25 + wave])
    lower = np.column_stack([along_x, rng.uniform(0.55, 0.8) + wave + rng.normal(0, 0.02)])[::-1]
    turn = rng.normal(0, 0.4)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    cloth = (np.vstack([upper, lower]) - 0.5) @ rotation * rng.uniform(0.5, 0.9) + 0.5
    canvas.polygons([cloth * size], shade, tint)
    if rng.random() < 0.3:
        # Threads that hang from the hem.
        hem = cloth[60:] * size
        roots = hem[rng.integers(0, len(hem), 300)] + rng.normal(0, 1, (300, 2))
        threads = strands(
            rng,
            roots,
            np.pi / 2 - turn + rng.normal(0, 0.3, 300),
            size * rng.uniform(0.01, 0.08) * rng.random(300),
        )
        draw_strands(canvas, rng, threads, (0.4, 1.5), groups=4, taper=False)
