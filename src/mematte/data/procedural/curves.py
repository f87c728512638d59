"""Closed outlines, places along and inside them, and paths that wander."""

from __future__ import annotations

from typing import cast

import numpy as np

from mematte.data.procedural.canvas import Points, Random


def outline(rng: Random, size_px: int, radius: float | None = None, roughness: float | None = None) -> Points:
    """(256, 2) closed contour around a random centre, random where not given.

    radius: about the mean one, as a share of the size. roughness: how much the radii vary around it.
    """
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


def meander(rng: Random, size_px: int, length: float, wobble: float) -> Points:
    """(160, 2) smooth random walk across the canvas, `length` pixels long, centred near its middle."""
    steps = 160
    turn = np.convolve(rng.normal(0, wobble, steps + 20), np.ones(20) / 20, "valid")[:steps]
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(turn)
    path = np.cumsum(np.column_stack([np.cos(heading), np.sin(heading)]) * (length / steps), axis=0)
    return cast(Points, path - path.mean(0) + rng.uniform(0.3, 0.7, 2) * size_px)
