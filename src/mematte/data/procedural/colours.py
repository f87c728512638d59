"""Colours for drawings: three of them span what tint and hue can say, shade is the light on them."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.procedural.canvas import Bytes, Random

Floats = NDArray[np.float32]
Palette = NDArray[np.float64]  # (3, 3): the colours at tint = hue = 0, at tint = 1, at hue = 1

MATERIALS: dict[str, str] = {
    "hair": "fibre",
    "fur": "fibre",
    "feather": "fibre",
    "plush": "cloth",
    "wool": "cloth",
    "fringe": "cloth",
    "lace": "cloth",
    "stems": "leaf",
    "twigs": "leaf",
    "foliage": "leaf",
    "bamboo": "leaf",
    "grass": "leaf",
    "blossom": "flower",
    "thistle": "flower",
    "net": "metal",
    "mesh": "metal",
    "basket": "metal",
    "web": "metal",
}
"""kind -> what it is made of; kinds that are not named may be of anything."""
# Above this shade a surface shines: it tends to white instead of to its full colour.
GLOSS = 0.8


def draw_palette(rng: Random, material: str | None) -> Palette:
    """Colours as a material has them, one drawing in ten as anything has them."""
    if material is None or rng.random() < 0.1:
        return _vivid(rng, 3)
    first, second, third = _PALETTES[material](rng)
    return np.clip(np.stack([first, second, third]) + rng.normal(0, 6, (3, 3)), 0, 255)


def colour_drawing(drawing: Bytes, palette: Palette, light: float, gloss: float) -> Bytes:
    """(S, S, 4) drawing -> (S, S, 3) colour, valid everywhere.

    Args:
        light: how much shade darkens, from 0 to 1.
        gloss: how much the brightest shades shine, from 0 to 1.
    """
    base, tint, hue = palette
    matrix = np.column_stack([np.zeros(3), (tint - base) / 255, (hue - base) / 255, np.zeros(3), base])
    return lit(cast(Bytes, cv2.transform(drawing, matrix)), drawing[..., 0], light, gloss)


def lit(colour: Bytes, shade: Bytes, light: float, gloss: float) -> Bytes:
    """(S, S, 3) colour under the light that (S, S) shades tell of."""
    level = np.arange(256, dtype=np.float32) / 255
    gain = (1 - light + light * np.minimum(level / GLOSS, 1)).astype(np.float32)
    shine = (gloss * 255 * np.maximum(level - GLOSS, 0) / (1 - GLOSS)).astype(np.float32)
    result = colour * gain[shade][..., None]
    if gloss:
        result += (255 - result) * (shine[shade] * np.float32(1 / 255))[..., None]
    return cast(Bytes, result.astype(np.uint8))


def _vivid(rng: Random, count: int) -> Palette:
    """Any colours: of any hue, mostly of middling saturation, of any brightness."""
    hue, value = rng.random(count), rng.uniform(0.15, 1, count)
    saturation = rng.beta(1.6, 1.4, count)
    return _from_hsv(hue, saturation, value)


def _from_hsv(
    hue: NDArray[np.float64], saturation: NDArray[np.float64], value: NDArray[np.float64]
) -> Palette:
    """Hue in turns, saturation and value in [0, 1], all (N,) -> (N, 3) in [0, 255]."""
    wave = (hue[:, None] * 6 + np.array([5.0, 3.0, 1.0])) % 6
    drop = np.clip(np.minimum(wave, 4 - wave), 0, 1)
    return cast(Palette, 255 * value[:, None] * (1 - saturation[:, None] * drop))


def _hsv(hue: float, saturation: float, value: float) -> NDArray[np.float64]:
    levels = (np.array([hue % 1]), np.array([np.clip(saturation, 0, 1)]), np.array([np.clip(value, 0, 1)]))
    return cast(NDArray[np.float64], _from_hsv(*levels)[0])


def _leaf(rng: Random) -> list[NDArray[np.float64]]:
    hue = rng.normal(0.25, 0.04) if rng.random() < 0.8 else rng.uniform(0.0, 0.17)
    saturation = rng.uniform(0.3, 0.95)
    dark = _hsv(hue + rng.normal(0.02, 0.02), saturation, rng.uniform(0.2, 0.55))
    light = _hsv(hue - rng.uniform(0, 0.06), saturation * rng.uniform(0.6, 1.0), rng.uniform(0.5, 1.0))
    return [dark, light, _hsv(rng.uniform(0.0, 0.17), rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.9))]


def _flower(rng: Random) -> list[NDArray[np.float64]]:
    green = _leaf(rng)[0]
    hue = rng.choice([0.0, 0.03, 0.08, 0.14, 0.78, 0.85, 0.93, 0.65]) + rng.normal(0, 0.02)
    saturation = rng.uniform(0.05, 0.3) if rng.random() < 0.25 else rng.uniform(0.4, 1.0)
    petal = _hsv(hue, saturation, rng.uniform(0.55, 1.0))
    inner = _hsv(hue + rng.normal(0.04, 0.06), saturation * rng.uniform(0.5, 1.2), rng.uniform(0.5, 1.0))
    return [green, petal, inner + (petal - green) * 0.5]


def _fibre(rng: Random) -> list[NDArray[np.float64]]:
    hue, value = rng.normal(0.07, 0.03), rng.beta(1.2, 1.2)
    saturation = rng.uniform(0.05, 0.75)
    if rng.random() < 0.2:
        saturation = rng.uniform(0, 0.1)  # black, grey, white
    first = _hsv(hue, saturation, 0.1 + 0.85 * value)
    second = _hsv(hue + rng.normal(0, 0.015), saturation * rng.uniform(0.5, 1.1), 0.2 + 0.8 * value)
    return [first, second, first * rng.uniform(0.5, 1.3)]


def _cloth(rng: Random) -> list[NDArray[np.float64]]:
    palette = _vivid(rng, 3)
    if rng.random() < 0.2:
        palette = palette[0] + (palette - palette[0]) * rng.uniform(0.1, 0.5)
    return list(palette)


def _metal(rng: Random) -> list[NDArray[np.float64]]:
    grey = rng.uniform(60, 250) * (1 + rng.normal(0, 0.03, 3))
    if rng.random() < 0.25:
        grey = _vivid(rng, 1)[0]  # painted
    return [grey, np.clip(grey * rng.uniform(0.6, 1.3), 0, 255), _vivid(rng, 1)[0]]


_PALETTES = {"leaf": _leaf, "flower": _flower, "fibre": _fibre, "cloth": _cloth, "metal": _metal}
