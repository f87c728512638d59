"""Compositing: a foreground over a colour or another picture, in linear light.

Blending display-referred values darkens soft edges: half light is 0.735 in sRGB, not 0.5.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.errors import InputError
from mematte.image.bands import row_bands, span_of
from mematte.image.color import FloatArray, as_float, linear_to_srgb, srgb_to_linear
from mematte.image.picture import Rows
from mematte.image.read import as_picture

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
        if "_" in code:  # which Python allows in numbers
            raise ValueError
        if code.startswith("#") and len(code) in (4, 7) and code[1:].isalnum():
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
    background: Color | Rows | NDArray[np.generic],
    *,
    linear: bool = False,
) -> FloatArray:
    """Foreground over background, added in linear light.

    A background picture covers the foreground: it is scaled, keeping its proportions, until it is as large
    in both directions, and what stands out is cropped equally on both sides.

    Args:
        foreground: (H, W, 3) float32, straight: display-referred, or scene-linear if `linear`.
        alpha: (H, W) float32 in [0, 1].
        background: display-referred (red, green, blue) in [0, 1]; a `Picture` or `PictureFile`; or a
            display-referred array (h, w, 3), uint8, uint16 or float in [0, 1].
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
    backdrop = Backdrop(background, size)
    result = np.empty(foreground.shape, np.float32)
    for rows in row_bands(size):
        result[rows] = blend(foreground[rows], alpha[rows], backdrop.rows(rows), linear=linear)
    return result


def blend(foreground: FloatArray, alpha: FloatArray, beneath: FloatArray, *, linear: bool) -> FloatArray:
    """Rows of a foreground over those of a `Backdrop`.

    Args:
        foreground: (n, W, 3) float32, straight: display-referred, or scene-linear if `linear`.
        alpha: (n, W) float32 in [0, 1].
        beneath: (n, W, 3) or (1, 1, 3) float32, linear.
        linear: what the foreground is, and what the result will be.

    Returns:
        (n, W, 3) float32, encoded as the foreground is.
    """
    front = foreground if linear else srgb_to_linear(foreground)
    mixed = beneath + alpha[..., None] * (front - beneath)
    return mixed if linear else np.clip(linear_to_srgb(mixed), 0, 1)


class Backdrop:
    """What lies behind a foreground of (height, width), by rows: a colour, or a picture that covers it.

    A picture is scaled, keeping its proportions, until it is as large in both directions; what stands out
    is cropped equally on both sides. Rows are scaled when they are asked for, and nothing is kept: read
    downwards, a `PictureFile` is decoded once.

    Args:
        background: as for `composite`.
        size: (height, width) of the foreground.

    Raises:
        InputError: the background is no colour and no picture.
    """

    def __init__(self, background: Color | Rows | NDArray[np.generic], size: tuple[int, int]) -> None:
        self._size = size
        self._color: FloatArray | None = None
        if isinstance(background, tuple):
            _check_color(background)
            self._color = srgb_to_linear(np.asarray(background, np.float32)).reshape(1, 1, 3)
            return
        if isinstance(background, np.ndarray):
            if background.ndim != 3 or background.shape[2] != 3 or 0 in background.shape:
                shape = "x".join(map(str, background.shape))
                raise InputError(f"A background must be (height, width, 3), not {shape}.")
            background = as_picture(background, role="background")
        self._picture: Rows = background
        height, width = self._picture.size
        scale = max(size[0] / height, size[1] / width)
        self._crop = (
            max(1, min(height, round(size[0] / scale))),
            max(1, min(width, round(size[1] / scale))),
        )
        self._corner = (height - self._crop[0]) // 2, (width - self._crop[1]) // 2
        self._shrinks = scale < 1

    def rows(self, rows: slice) -> FloatArray:
        """(n, W, 3) float32 of the rows asked for, linear; of a colour (1, 1, 3)."""
        if self._color is not None:
            return self._color
        start, stop = span_of(rows, self._size[0])
        if self._crop[0] == self._size[0]:
            return np.maximum(self._columns(start, stop), 0)
        wanted, weights = _taps(np.arange(start, stop), self._size[0], self._crop[0], self._shrinks)
        first = int(wanted.min())
        source = self._columns(first, int(wanted.max()) + 1)
        result = np.zeros((stop - start, *source.shape[1:]), np.float32)
        for tap in range(wanted.shape[1]):
            result += source[wanted[:, tap] - first] * weights[:, tap, None, None]
        return np.maximum(result, 0)  # cubic interpolation swings below black

    def _columns(self, start: int, stop: int) -> FloatArray:
        """(n, W, 3) linear: these rows of the cropped picture, with their columns scaled."""
        (top, left), (_, crop_width), width = self._corner, self._crop, self._size[1]
        result = np.empty((stop - start, width, 3), np.float32)
        for rows in row_bands((stop - start, max(crop_width, width))):
            stored = self._picture.stored(slice(top + start + rows.start, top + start + rows.stop))
            stored = stored[:, left : left + crop_width]
            values = as_float(stored) if self._picture.linear else srgb_to_linear(stored)
            if crop_width != width:
                method = cv2.INTER_AREA if self._shrinks else cv2.INTER_CUBIC
                values = np.ascontiguousarray(values)
                result[rows] = cv2.resize(values, (width, len(values)), interpolation=method)
            else:
                result[rows] = values
        return result


def _check_color(color: tuple[object, ...]) -> None:
    if len(color) != 3 or not all(
        isinstance(value, (int, float, np.number)) and 0 <= value <= 1 for value in color
    ):
        raise InputError(
            f"A background colour is (red, green, blue) of numbers in [0, 1], not {color}. Divide by 255 if "
            "it came from 8 bits."
        )


def _taps(
    at: NDArray[np.intp], size: int, source_size: int, shrinks: bool
) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
    """Positions (n,) of a line of `size` -> (n, taps) of the source's that they are made of, and weights.

    Shrinking averages what a position covers; else Keys' cubic with a = -0.75: OpenCV's INTER_AREA and
    INTER_CUBIC, whose columns these rows must match.
    """
    ratio = source_size / size
    if shrinks:
        low = at * ratio
        index = np.floor(low).astype(np.intp)[:, None] + np.arange(int(np.ceil(ratio)) + 1)
        covered = np.minimum(low[:, None] + ratio, index + 1) - np.maximum(low[:, None], index)
        weights = np.maximum(covered, 0) / ratio
    else:
        centre = (at + 0.5) * ratio - 0.5
        index = np.floor(centre).astype(np.intp)[:, None] + np.arange(-1, 3)
        far = np.abs(centre[:, None] - index)
        a = -0.75
        near_weights = ((a + 2) * far - (a + 3)) * far**2 + 1
        far_weights = ((a * far - 5 * a) * far + 8 * a) * far - 4 * a
        weights = np.where(far <= 1, near_weights, far_weights)
    return np.clip(index, 0, source_size - 1), weights.astype(np.float32)
