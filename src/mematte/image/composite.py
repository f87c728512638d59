"""Compositing: a foreground over a colour or another picture, in linear light.

Blending display-referred values darkens soft edges: half light is 0.735 in sRGB, not 0.5.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.errors import InputError
from mematte.image.bands import row_bands
from mematte.image.color import FloatArray, as_float, linear_to_srgb, srgb_to_linear
from mematte.image.read import Picture

Color = tuple[float, float, float]

# The sixteen colours of HTML 4, "grey" in both spellings, and the two that green screens go by.
NAMED_COLORS = {
    "black": "#000000", "silver": "#c0c0c0", "gray": "#808080", "grey": "#808080", "white": "#ffffff",
    "maroon": "#800000", "red": "#ff0000", "purple": "#800080", "fuchsia": "#ff00ff", "magenta": "#ff00ff",
    "green": "#008000", "lime": "#00ff00", "olive": "#808000", "yellow": "#ffff00", "navy": "#000080",
    "blue": "#0000ff", "teal": "#008080", "aqua": "#00ffff", "cyan": "#00ffff", "orange": "#ffa500",
}  # fmt: skip


def parse_color(text: str) -> Color:
    """A colour as people write it -> display-referred sRGB (red, green, blue) in [0, 1].

    Args:
        text: "#rgb", "#rrggbb", a name of `NAMED_COLORS`, "r,g,b" of whole numbers 0 to 255, or "r,g,b"
            with a decimal point in any of them, 0.0 to 1.0.

    Raises:
        InputError: none of these.
    """
    word = text.strip().lower()
    code = NAMED_COLORS.get(word, word)
    try:
        if code.startswith("#") and len(code) in (4, 7):
            digits = code[1:] if len(code) == 7 else "".join(digit * 2 for digit in code[1:])
            red, green, blue = (int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4))
        else:
            red, green, blue = (float(part) for part in code.split(","))
            if "." not in code:
                red, green, blue = red / 255, green / 255, blue / 255
        if not all(0 <= value <= 1 for value in (red, green, blue)):
            raise ValueError
    except ValueError:
        raise InputError(
            f'"{text}" is not a colour. Write "#rrggbb", "255,128,0", "1.0,0.5,0.0" or a name: '
            f"{', '.join(sorted(NAMED_COLORS))}."
        ) from None
    return red, green, blue


def composite(
    foreground: FloatArray,
    alpha: FloatArray,
    background: Color | Picture | NDArray[np.generic],
    *,
    linear: bool = False,
) -> FloatArray:
    """Foreground over background, added in linear light.

    A background picture covers the foreground: it is scaled, keeping its proportions, until it is as large
    in both directions, and what stands out is cropped equally on both sides.

    Args:
        foreground: (H, W, 3) float32, straight: display-referred, or scene-linear if `linear`.
        alpha: (H, W) float32 in [0, 1].
        background: display-referred (red, green, blue) in [0, 1]; a `Picture`; or a display-referred array
            (h, w, 3), uint8, uint16 or float in [0, 1].
        linear: what the foreground is, and what the result will be.

    Returns:
        (H, W, 3) float32, encoded as the foreground is.

    Raises:
        InputError: the arrays do not fit together, or a colour is none.
    """
    if foreground.ndim != 3 or foreground.shape[2] != 3 or alpha.shape != foreground.shape[:2]:
        raise InputError(
            "A composite needs a foreground (H, W, 3) and an alpha (H, W) of one size; these are "
            f"{'x'.join(map(str, foreground.shape))} and {'x'.join(map(str, alpha.shape))}."
        )
    size = (alpha.shape[0], alpha.shape[1])
    if isinstance(background, tuple):
        _check_color(background)
        behind = srgb_to_linear(np.asarray(background, np.float32)).reshape(1, 1, 3)
    else:
        behind = _cover(background, size)
    result = np.empty(foreground.shape, np.float32)
    for rows in row_bands(size):
        front = foreground[rows] if linear else srgb_to_linear(foreground[rows])
        beneath = behind if len(behind) == 1 else behind[rows]
        mixed = beneath + alpha[rows][..., None] * (front - beneath)
        result[rows] = mixed if linear else np.clip(linear_to_srgb(mixed), 0, 1)
    return result


def _check_color(color: tuple[object, ...]) -> None:
    if len(color) != 3 or not all(
        isinstance(value, (int, float, np.number)) and 0 <= value <= 1 for value in color
    ):
        raise InputError(
            f"A background colour is (red, green, blue) of numbers in [0, 1], not {color}. Divide by 255 if "
            "it came from 8 bits."
        )


def _cover(background: Picture | NDArray[np.generic], size: tuple[int, int]) -> FloatArray:
    """(h, w, 3) of any size -> (H, W, 3) linear: cropped to the proportions of `size`, then scaled."""
    is_linear = isinstance(background, Picture) and background.linear
    pixels = background.pixels if isinstance(background, Picture) else background
    if pixels.ndim != 3 or pixels.shape[2] != 3 or 0 in pixels.shape:
        raise InputError(f"A background must be (height, width, 3), not {'x'.join(map(str, pixels.shape))}.")
    height, width = pixels.shape[:2]
    scale = max(size[0] / height, size[1] / width)
    crop_height, crop_width = (
        max(1, min(length, round(wanted / scale)))
        for length, wanted in zip((height, width), size, strict=True)
    )
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    cropped = pixels[top : top + crop_height, left : left + crop_width]
    values = as_float(cropped) if is_linear else srgb_to_linear(cropped)
    if values.shape[:2] == size:
        return values
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    resized = cv2.resize(np.ascontiguousarray(values), (size[1], size[0]), interpolation=method)
    return np.maximum(resized, 0)  # cubic interpolation swings below black
