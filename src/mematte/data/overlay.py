"""A foreground of any size laid over a background, with its trimap, in levels of 8 or 16 bits.

Composites are made of display-referred values, as in the literature: I = alpha F + (1 - alpha) B, rounded
once. Nothing of the picture's size is ever float but what the reader or the writer of a file takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.layouts import Role
from mematte.errors import DataError, InputError, TrimapError
from mematte.image import (
    BACKGROUND,
    DEFAULT_MAX_PIXELS,
    FOREGROUND,
    UNKNOWN,
    Picture,
    as_mask,
    estimate_foreground,
    read_picture,
)
from mematte.image.bands import BAND_PIXELS, row_bands
from mematte.image.color import FloatArray, as_float
from mematte.image.trimap import depth_px

Levels = NDArray[Any]  # uint8 or uint16, display-referred; alpha too
Depth = Literal[8, 16]
Size = tuple[int, int]  # (height, width)

_DEEPEST_PX = np.iinfo(np.uint16).max


@dataclass(frozen=True, eq=False)
class Foreground:
    """A foreground, ready to be laid over backgrounds.

    Attributes:
        colors: (H, W, 3) uint8 or uint16, valid under soft alpha.
        alpha: (H, W) of the same type.
        inside: (H, W) uint16, how deep an opaque pixel lies: distance to the nearest other one, rounded up.
        outside: (H, W) uint16, the same of the transparent ones.
    """

    colors: Levels
    alpha: Levels
    inside: NDArray[np.uint16]
    outside: NDArray[np.uint16]

    @property
    def size(self) -> Size:
        """(height, width) in pixels."""
        return self.alpha.shape[0], self.alpha.shape[1]

    def trimap(self, inner_px: int, outer_px: int) -> NDArray[np.uint8]:
        """(H, W): known is what lies deeper than the radius among the opaque or the transparent pixels.

        So every partial pixel is unknown, whatever the radii.
        """
        levels = np.full(self.size, UNKNOWN, np.uint8)
        levels[self.inside > inner_px] = FOREGROUND
        levels[self.outside > outer_px] = BACKGROUND
        return levels


def read_foreground(
    files: Mapping[Role, Path], bits: Depth = 8, *, max_pixels: int = DEFAULT_MAX_PIXELS
) -> Foreground:
    """A cutout, a foreground with its alpha, or an image with its alpha: then its colours are estimated.

    Raises:
        ImageFileError: a file cannot be read.
        DataError: sizes differ, there is no alpha, or it is transparent or opaque everywhere.
    """
    if "cutout" in files:
        source = files["cutout"]
        picture = read_picture(source, max_pixels=max_pixels)
        own = picture.alpha
        if own is None:
            raise DataError(f"{source} has no alpha channel, or it is opaque everywhere: nothing is cut out.")
        alpha = _quantised(picture.size, lambda rows: as_float(own[rows]), bits)
    elif "alpha" in files and ("foreground" in files or "image" in files):
        source = files["alpha"]
        of_colors = files["foreground" if "foreground" in files else "image"]
        alpha = _read_alpha(source, bits, max_pixels)
        picture = read_picture(of_colors, max_pixels=max_pixels)
        if alpha.shape != picture.size:
            raise DataError(
                f"{source} is {alpha.shape[1]}x{alpha.shape[0]} px, and {of_colors}, which it belongs to, "
                f"{picture.size[1]}x{picture.size[0]} px."
            )
    else:
        raise DataError(
            f"A foreground is a cutout, or colours and an alpha, not {' and '.join(files) or 'nothing'}."
        )
    top = np.iinfo(alpha.dtype).max
    if alpha.max() == 0 or alpha.min() == top:
        raise DataError(
            f"{source} is {'opaque' if alpha.max() else 'transparent'} everywhere: there is no matte in it."
        )
    if "cutout" in files or "foreground" in files:
        colors = levels_of(picture, bits)
    else:
        estimated = estimate_foreground(picture.display(), as_float(alpha))
        colors = _quantised(picture.size, lambda rows: estimated[rows], bits)
        del estimated
    return Foreground(colors, alpha, _depth(alpha == top), _depth(alpha == 0))


def levels_of(picture: Picture, bits: Depth) -> Levels:
    """(H, W, 3) display-referred, whatever the picture's depth and encoding."""
    if picture.bits == bits and not picture.linear:
        return picture.pixels
    return _quantised(picture.size, picture.display, bits)


@dataclass(frozen=True)
class Window:
    """The part of a background that is seen, in its own pixels."""

    left: int
    top: int
    width: int
    height: int


def window_of(background: Size, size: Size, place: tuple[float, float] = (0.5, 0.5)) -> Window:
    """The largest part of a background that has the proportions of `size`.

    Args:
        background: its (height, width).
        size: the foreground's.
        place: (down, right) where the part lies, 0 to 1.
    """
    scale = max(wanted / length for wanted, length in zip(size, background, strict=True))
    height, width = (
        max(1, min(length, round(wanted / scale))) for wanted, length in zip(size, background, strict=True)
    )
    top, left = round((background[0] - height) * place[0]), round((background[1] - width) * place[1])
    return Window(left, top, width, height)


def cover(background: Levels, window: Window, size: Size) -> Levels:
    """(h, w, 3) -> (H, W, 3) of the same type: the window, made smaller by areas or larger by cubics."""
    rows = slice(window.top, window.top + window.height)
    part = background[rows, window.left : window.left + window.width]
    if part.shape[:2] == size:
        return part
    is_smaller = size[0] * size[1] < window.height * window.width
    method = cv2.INTER_AREA if is_smaller else cv2.INTER_CUBIC
    return cast(Levels, cv2.resize(np.ascontiguousarray(part), size[::-1], interpolation=method))


def merge(colors: Levels, alpha: Levels, background: Levels, *, band_pixels: int = BAND_PIXELS) -> Levels:
    """alpha F + (1 - alpha) B, to the nearest level: (H, W, 3), (H, W), (H, W, 3) of one type -> (H, W, 3).

    In whole numbers, so that it is exact and the same on every machine.
    """
    top = int(np.iinfo(colors.dtype).max)
    merged = np.empty_like(colors)
    for rows in row_bands((alpha.shape[0], alpha.shape[1]), band_pixels):
        # At most top * top + top / 2, which for 16 bits too is less than 2 ** 32.
        share = alpha[rows][..., None].astype(np.uint32)
        mixed = share * colors[rows]
        mixed += (top - share) * background[rows]
        mixed += top // 2
        mixed //= top
        merged[rows] = mixed
    return merged


def _read_alpha(path: Path, bits: Depth, max_pixels: int) -> Levels:
    picture = read_picture(path, max_pixels=max_pixels, role="mask")
    try:
        values = as_mask(picture)
    except (InputError, TrimapError) as error:
        raise DataError(f"{path}: {error}") from error
    return _quantised(picture.size, lambda rows: values[rows], bits)


def _quantised(size: Size, band: Callable[[slice], FloatArray], bits: Depth) -> Levels:
    """(H, W[, 3]) of the nearest levels of the float rows (h, W[, 3]) that `band` gives."""
    dtype = np.uint8 if bits == 8 else np.uint16
    top = np.float32(np.iinfo(dtype).max)
    return np.concatenate(
        [np.rint(np.clip(band(rows), 0, 1) * top).astype(dtype) for rows in row_bands(size)]
    )


def _depth(region: NDArray[np.bool_]) -> NDArray[np.uint16]:
    """(H, W) the distance of each True pixel from the nearest False one, rounded up: whole radii suffice."""
    distance = depth_px(region.view(np.uint8))
    np.ceil(distance, out=distance)
    return np.minimum(distance, _DEEPEST_PX, out=distance).astype(np.uint16)
