"""Trimaps: which pixels are background, which are foreground, and which the network is asked about.

After reading a trimap has exactly three levels, 0, 128 and 255. Files are read tolerantly, because they come
out of paint programs and JPEG: up to a tenth of the range is background, from nine tenths on foreground.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.errors import InputError, SizeMismatchError, TrimapError
from mematte.image.bands import row_bands
from mematte.image.color import FloatArray, as_float
from mematte.image.read import DEFAULT_MAX_PIXELS, Picture, as_picture

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255

BACKGROUND_UP_TO, FOREGROUND_FROM = 0.1, 0.9
"""Shares of the range. The same that PyMatting takes."""

# JPEG smears colour by a few levels; a coloured trimap differs by far more, and over more than specks.
_CHROMA_TOLERANCE, _COLOURED_SHARE_TOLERANCE = 0.12, 0.002

MASK_FOREGROUND_ABOVE, MASK_BACKGROUND_BELOW = 0.94, 0.04
RADIUS_AT_ONE_MEGAPIXEL_PX = 10

Levels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Trimap:
    """A trimap as read.

    Attributes:
        levels: (H, W) uint8, only BACKGROUND, UNKNOWN and FOREGROUND.
        notes: what a user should know about the file, each a phrase.
    """

    levels: Levels
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.levels.shape[0], self.levels.shape[1]


def read_trimap(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Trimap:
    """Read a trimap in any format, depth and channel layout that `read_picture` reads.

    Raises:
        ImageFileError: the file cannot be read.
        TrimapError: it is coloured, holds labels, or hides its levels in the alpha channel.
    """
    return as_trimap(path, max_pixels=max_pixels)


def as_trimap(source: object, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Trimap:
    """A `Trimap` from whatever a caller has.

    An alpha channel is ignored, with a note.

    Args:
        source: a path, a PIL image, a `Trimap` (returned as it is), or a numpy array (H, W[, 1, 3 or 4])
            of bool (True is foreground), uint8, uint16 or float in [0, 1].

    Raises:
        ImageFileError, InputError: as `as_picture`.
        TrimapError: it is coloured, holds labels 0, 1, 2, or hides its levels in the alpha channel.
    """
    if isinstance(source, Trimap):
        return source
    picture = as_picture(_bool_as_uint8(source), max_pixels=max_pixels, role="trimap")
    grey = _grey(picture, "trimap")
    _reject_labels(grey, "trimap", "0, 128 and 255 (background, unknown, foreground)", most=2)
    if picture.alpha is not None and grey.min() == grey.max():
        raise TrimapError(
            "The trimap's colour is the same everywhere and only its alpha channel varies. "
            "Save it as a grey picture without alpha: 0 background, 128 unknown, 255 foreground."
        )
    levels = np.empty(grey.shape, np.uint8)
    top = np.iinfo(grey.dtype).max if grey.dtype.kind == "u" else 1
    for rows in row_bands(grey.shape):
        band = grey[rows]
        levels[rows] = UNKNOWN
        levels[rows][band <= BACKGROUND_UP_TO * top] = BACKGROUND
        levels[rows][band >= FOREGROUND_FROM * top] = FOREGROUND
    return Trimap(levels, picture.notes)


def check_trimap(levels: Levels, image_size: tuple[int, int] | None = None) -> tuple[str, ...]:
    """Whether a matte can be made from this trimap.

    Args:
        levels: (H, W) uint8, three levels.
        image_size: (height, width) of the image it belongs to; None to leave that out.

    Returns:
        Warnings, each a sentence, if foreground or background is missing.

    Raises:
        SizeMismatchError: it is not as large as the image.
        TrimapError: no pixel is unknown.
    """
    size = (levels.shape[0], levels.shape[1])
    if image_size is not None and size != tuple(image_size):
        raise SizeMismatchError((image_size[0], image_size[1]), size)
    has_background, has_unknown, has_foreground = (
        any((levels[rows] == level).any() for rows in row_bands(size))
        for level in (BACKGROUND, UNKNOWN, FOREGROUND)
    )
    if not has_unknown:
        raise TrimapError(
            "The trimap has no unknown pixel, so there is nothing to estimate. Paint the edge of the object "
            "grey (128), or make a trimap from a mask with `mematte trimap MASK` or --mask; where the mask "
            "has no soft edge, with a radius above 0."
        )
    missing = []
    if not has_foreground:
        missing.append(
            "The trimap has no foreground: nothing says what the object is. Paint its inside white."
        )
    if not has_background:
        missing.append("The trimap has no background: nothing says what to remove. Paint the outside black.")
    return tuple(missing)


def as_mask(source: object, *, max_pixels: int = DEFAULT_MAX_PIXELS) -> FloatArray:
    """A mask or alpha, (H, W) float32 in [0, 1], from whatever a caller has.

    If the file has an alpha channel that is not opaque everywhere, that channel is the mask: it is a cut-out.

    Args:
        source: as for `as_trimap`, without a `Trimap`.

    Raises:
        ImageFileError, InputError: as `as_picture`; also for integers that are only 0 and 1.
        TrimapError: it is coloured and has no alpha.
    """
    picture = as_picture(_bool_as_uint8(source), max_pixels=max_pixels, role="mask")
    grey = picture.alpha if picture.alpha is not None else _grey(picture, "mask")
    _reject_labels(grey, "mask", "0 to 255 (for 0 and 1: mask.astype(bool))", most=1)
    return np.clip(as_float(grey), 0, 1)


def default_radius_px(size: tuple[int, int]) -> int:
    """Half the width of the unknown band for a picture of (height, width): 10 px at one megapixel.

    It grows with the picture's side, not its area: a hair on a photo twice as wide is twice as long.
    """
    return max(1, round(RADIUS_AT_ONE_MEGAPIXEL_PX * math.sqrt(size[0] * size[1] / 1e6)))


def trimap_from_mask(mask: NDArray[Any], radius_px: int | None = None) -> Levels:
    """A trimap from a mask or an alpha: what lies deeper than the radius on either side is known.

    Foreground is what is above 0.94, background what is below 0.04, both eroded by a disc. Distances are
    exact and Euclidean, so that a large radius costs no more than a small one. Beyond the picture's edge
    nothing is assumed.

    Args:
        mask: (H, W) bool, uint8, uint16 or float in [0, 1].
        radius_px: None for `default_radius_px`; 0 leaves only the mask's own soft pixels unknown.

    Returns:
        (H, W) uint8: BACKGROUND, UNKNOWN, FOREGROUND.

    Raises:
        InputError: the radius is negative, or the mask is of another type or shape.
        TrimapError: the mask is empty (nothing above 0.94) or full (nothing below 0.04).
    """
    values = as_mask(mask)
    size = (values.shape[0], values.shape[1])
    radius_px = default_radius_px(size) if radius_px is None else radius_px
    if radius_px < 0:
        raise InputError(f"The radius must be 0 px or more, not {radius_px}.")
    foreground = (values > MASK_FOREGROUND_ABOVE).astype(np.uint8)
    background = (values < MASK_BACKGROUND_BELOW).astype(np.uint8)
    if not foreground.any():
        raise TrimapError(
            f"The mask is empty: its highest value is {values.max():.2f}, and foreground is above 0.94."
        )
    if not background.any():
        raise TrimapError(
            f"The mask is full: its lowest value is {values.min():.2f}, and background is below 0.04."
        )
    levels = np.full(size, UNKNOWN, np.uint8)
    levels[_deeper_than(foreground, radius_px)] = FOREGROUND
    levels[_deeper_than(background, radius_px)] = BACKGROUND
    return levels


def _deeper_than(region: Levels, radius_px: int) -> NDArray[np.bool_]:
    """(H, W) of 0 and 1 -> where every pixel within the radius is 1: erosion by a disc."""
    distance = cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(distance > radius_px)


def _grey(picture: Picture, role: str) -> NDArray[Any]:
    """(H, W) of the picture's dtype: the green of a picture without colours; else an error."""
    pixels = picture.pixels
    top = np.iinfo(pixels.dtype).max if pixels.dtype.kind == "u" else 1
    coloured = 0
    for rows in row_bands(picture.size):
        band = pixels[rows]
        coloured += int(np.count_nonzero(band.max(axis=2) - band.min(axis=2) > _CHROMA_TOLERANCE * top))
    share = coloured / (picture.size[0] * picture.size[1])
    if share > _COLOURED_SHARE_TOLERANCE:
        ask = (
            "A trimap is grey: 0 background, 128 unknown, 255 foreground."
            if role == "trimap"
            else "A mask is grey: 0 outside, 255 inside. A cut-out with an alpha channel is a mask too."
        )
        raise TrimapError(f"The {role} is coloured: {share:.1%} of its pixels are not grey. {ask}")
    return pixels[..., 1]


def _reject_labels(grey: NDArray[Any], role: str, wanted: str, most: int) -> None:
    if grey.dtype == np.uint16 and most < int(grey.max()) <= 255:
        raise TrimapError(
            f"The {role} has 16 bits per pixel, but its values are 0 to {int(grey.max())}, as 16-bit levels "
            "all black. Save it with 8 bits, or multiply by 257."
        )
    if grey.dtype.kind == "u" and 0 < (highest := int(grey.max())) <= most:
        raise TrimapError(
            f"The {role} seems to hold labels: its values are 0 to {highest}, as levels of {grey.dtype} "
            f"all black. Levels must be {wanted}."
        )


def _bool_as_uint8(source: object) -> object:
    if isinstance(source, np.ndarray) and source.dtype == np.bool_:
        return source.astype(np.uint8) * np.uint8(255)
    return source
