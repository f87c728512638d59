"""Trimaps: which pixels are background, which are foreground, and which the network is asked about.

After reading a trimap has exactly three levels, 0, 128 and 255. Files are read tolerantly, because they come
out of paint programs and JPEG: up to a tenth of the range is background, from nine tenths on foreground.
A `Trimap` is held in memory; a `TrimapFile` gives its rows from the file. Both are `TrimapRows`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.errors import InputError, SizeMismatchError, TrimapError
from mematte.image.bands import row_bands
from mematte.image.closing import Closing
from mematte.image.color import FloatArray, as_float
from mematte.image.file import PictureFile, open_picture
from mematte.image.picture import PixelArray, Rows
from mematte.image.read import DEFAULT_MAX_PIXELS, as_picture

BACKGROUND, UNKNOWN, FOREGROUND = 0, 128, 255

BACKGROUND_UP_TO, FOREGROUND_FROM = 0.1, 0.9
"""Shares of the range. The same that PyMatting takes."""

# JPEG smears colour by a few levels; a coloured trimap differs by far more, and over more than specks.
_CHROMA_TOLERANCE, _COLOURED_SHARE_TOLERANCE = 0.12, 0.002

MASK_FOREGROUND_ABOVE, MASK_BACKGROUND_BELOW = 0.94, 0.04
RADIUS_AT_ONE_MEGAPIXEL_PX = 10

Levels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class TrimapScan:
    """What a trimap holds, and where the network is needed.

    Attributes:
        unknown: how many pixels are unknown; more than 0.
        cells: (ceil(H / patch_px), ceil(W / patch_px)) bool, True where a cell of `patch_px` pixels squared
            has an unknown pixel; the last row and column may be cut short by the edge.
        patch_px: side of a cell.
        warnings: each a sentence, if foreground or background is missing.
    """

    unknown: int
    cells: NDArray[np.bool_]
    patch_px: int
    warnings: tuple[str, ...]


class TrimapRows(Protocol):
    """A trimap that gives its rows: a `Trimap`, or a `TrimapFile` that may exceed memory."""

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know about the file, each a phrase."""

    def level_rows(self, rows: slice) -> Levels:
        """(h, W) uint8 of the rows asked for: BACKGROUND, UNKNOWN, FOREGROUND; not to be changed."""

    def scan(self, image_size: tuple[int, int] | None = None, *, patch_px: int = 16) -> TrimapScan:
        """Go through all rows once; raise if no matte can be made from them."""


@dataclass(frozen=True, eq=False, repr=False)
class Trimap:
    """A trimap as read.

    Attributes:
        levels: (H, W) uint8, only BACKGROUND, UNKNOWN and FOREGROUND.
        notes: what a user should know about the file, each a phrase.
    """

    levels: Levels
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """In a line."""
        height, width = self.size
        return f"Trimap({width}x{height} px)"

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.levels.shape[0], self.levels.shape[1]

    def level_rows(self, rows: slice) -> Levels:
        """(h, W) uint8 of the rows asked for: a view."""
        return self.levels[rows]

    def scan(self, image_size: tuple[int, int] | None = None, *, patch_px: int = 16) -> TrimapScan:
        """Count, and find the cells with unknown pixels; see `TrimapFile.scan`.

        Raises:
            SizeMismatchError: it is not as large as the image.
            TrimapError: no pixel is unknown.
        """
        return scan_rows(self.size, self.level_rows, image_size, patch_px)


class TrimapFile(Closing):
    """An open trimap file: the levels of `read_trimap`, a few rows at a time. A context manager.

    Costs what the `PictureFile` costs that it reads: `memory_bytes`.
    """

    def __init__(self, picture: PictureFile) -> None:
        self._picture = picture

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._picture.close()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, upright."""
        return self._picture.size

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, each a phrase; complete after `scan`."""
        return self._picture.notes

    @property
    def streams(self) -> bool:
        """As `PictureFile.streams`."""
        return self._picture.streams

    @property
    def decoder_bytes(self) -> int:
        """As `PictureFile.decoder_bytes`."""
        return self._picture.decoder_bytes

    @property
    def memory_bytes(self) -> int:
        """As `PictureFile.memory_bytes`."""
        return self._picture.memory_bytes

    def level_rows(self, rows: slice) -> Levels:
        """(h, W) uint8 of the rows asked for: BACKGROUND, UNKNOWN, FOREGROUND.

        Whether they mean what they seem to, only `scan` can say.

        Raises:
            ImageFileError: the file is damaged or truncated.
        """
        return _levels(self._picture.stored(rows)[..., 1])

    def scan(self, image_size: tuple[int, int] | None = None, *, patch_px: int = 16) -> TrimapScan:
        """Read all rows once: what `read_trimap` and `check_trimap` refuse is refused, and cells are found.

        Args:
            image_size: (height, width) of the image it belongs to; None to leave that out.
            patch_px: side of the cells.

        Raises:
            ImageFileError: the file is damaged or truncated.
            SizeMismatchError: it is not as large as the image.
            TrimapError: it is coloured, holds labels, hides its levels in the alpha channel, or no pixel is
                unknown.
        """
        survey = _Survey("trimap")

        def levels(rows: slice) -> Levels:
            return _levels(survey.add(self._picture.stored(rows)))

        def check() -> None:
            survey.check_trimap(self._picture.has_alpha)

        return scan_rows(self.size, levels, image_size, patch_px, check)


def open_trimap(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> TrimapFile:
    """Open a trimap for reading by rows; only its header is read here. See `open_picture` and `read_trimap`.

    Raises:
        ImageFileError: as `open_picture`.
    """
    return TrimapFile(open_picture(path, max_pixels=max_pixels, role="trimap"))


def read_trimap(path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS) -> Trimap:
    """Read a trimap in any format, depth and channel layout that `read_picture` reads.

    Raises:
        ImageFileError: the file cannot be read.
        TrimapError: it is coloured, holds labels, or hides its levels in the alpha channel.
    """
    with open_picture(path, max_pixels=max_pixels, role="trimap") as picture:
        return _trimap_of(picture)


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
    if isinstance(source, (str, os.PathLike)):
        return read_trimap(source, max_pixels=max_pixels)
    return _trimap_of(as_picture(_bool_as_uint8(source), max_pixels=max_pixels, role="trimap"))


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
    return Trimap(levels).scan(image_size).warnings


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
    grey = picture.alpha
    if grey is None:
        grey, survey = picture.pixels[..., 1], _Survey("mask")
        for rows in row_bands(picture.size):
            survey.add(picture.pixels[rows])
        survey.check_grey()
    _reject_labels(grey.dtype, float(grey.max()), "mask", "0 to 255 (for 0 and 1: mask.astype(bool))", most=1)
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
    if not radius_px >= 0:  # as NaN is not either
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
    levels[deeper_than(foreground, radius_px)] = FOREGROUND
    levels[deeper_than(background, radius_px)] = BACKGROUND
    return levels


def deeper_than(region: Levels, radius_px: int) -> NDArray[np.bool_]:
    """(H, W) of 0 and 1 -> where every pixel within the radius is 1: erosion by a disc."""
    return np.asarray(depth_px(region) > radius_px)


def depth_px(region: Levels) -> NDArray[np.float32]:
    """(H, W) of 0 and 1 -> how far each 1 is from the nearest 0, in pixels; 0 for a 0.

    OpenCV's roots may be off in their last bits, with one thread otherwise each time: a pixel exactly as far
    away as a radius would be now within it and now beyond. Squares of distances are whole numbers.
    """
    distance = cv2.distanceTransform(region, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    with np.errstate(over="ignore"):  # without a 0 it is the largest number there is
        np.rint(np.multiply(distance, distance, out=distance), out=distance)
    return np.asarray(np.sqrt(distance, out=distance), dtype=np.float32)


class _Survey:
    """What is asked of a trimap's or a mask's file before its grey is believed, gathered by rows."""

    def __init__(self, role: str) -> None:
        self._role = role
        self._dtype: np.dtype[Any] = np.dtype(np.uint8)
        self._pixels = self._coloured = 0
        self._lowest, self._highest = math.inf, -math.inf

    def add(self, stored: PixelArray) -> PixelArray:
        """Take note of rows (n, W, 3); returns their grey, (n, W): the green of pixels without colour."""
        top = np.iinfo(stored.dtype).max if stored.dtype.kind == "u" else 1
        grey = stored[..., 1]
        self._dtype = stored.dtype
        self._pixels += grey.size
        if stored.strides[2] != 0:  # else one channel, shown three times
            # Channel by channel: along an axis of three numpy takes thirty times as long.
            red, green, blue = (stored[..., channel] for channel in range(3))
            spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
            self._coloured += int(np.count_nonzero(spread > _CHROMA_TOLERANCE * top))
        self._lowest = min(self._lowest, float(grey.min()))
        self._highest = max(self._highest, float(grey.max()))
        return grey

    def check_grey(self) -> None:
        """Raise if it is coloured."""
        share = self._coloured / self._pixels
        if share > _COLOURED_SHARE_TOLERANCE:
            ask = (
                "A trimap is grey: 0 background, 128 unknown, 255 foreground."
                if self._role == "trimap"
                else "A mask is grey: 0 outside, 255 inside. A cut-out with an alpha channel is a mask too."
            )
            raise TrimapError(f"The {self._role} is coloured: {share:.1%} of its pixels are not grey. {ask}")

    def check_trimap(self, has_alpha: bool) -> None:
        """Raise if it is coloured, holds labels, or only its alpha varies."""
        self.check_grey()
        wanted = "0, 128 and 255 (background, unknown, foreground)"
        _reject_labels(self._dtype, self._highest, "trimap", wanted, most=2)
        if has_alpha and self._lowest == self._highest:
            raise TrimapError(
                "The trimap's colour is the same everywhere and only its alpha channel varies. "
                "Save it as a grey picture without alpha: 0 background, 128 unknown, 255 foreground."
            )


def _trimap_of(picture: Rows) -> Trimap:
    levels, survey = np.empty(picture.size, np.uint8), _Survey("trimap")
    for rows in row_bands(picture.size):
        levels[rows] = _levels(survey.add(picture.stored(rows)))
    survey.check_trimap(picture.has_alpha)
    return Trimap(levels, picture.notes)


def _levels(grey: PixelArray) -> Levels:
    """Grey of any dtype and shape -> its three levels."""
    top = np.iinfo(grey.dtype).max if grey.dtype.kind == "u" else 1
    levels = np.full(grey.shape, UNKNOWN, np.uint8)
    levels[grey <= BACKGROUND_UP_TO * top] = BACKGROUND
    levels[grey >= FOREGROUND_FROM * top] = FOREGROUND
    return levels


def scan_rows(
    size: tuple[int, int],
    levels_of: Callable[[slice], Levels],
    image_size: tuple[int, int] | None,
    patch_px: int,
    check: Callable[[], None] = lambda: None,
) -> TrimapScan:
    """Go through a trimap once; `check` runs behind the last row and may refuse what it was read from."""
    if image_size is not None and size != tuple(image_size):
        raise SizeMismatchError((image_size[0], image_size[1]), size)
    height, width = size
    cells = np.zeros((-(-height // patch_px), -(-width // patch_px)), np.bool_)
    unknown = foreground = 0
    for rows in row_bands(size, multiple=patch_px):
        levels = levels_of(rows)
        is_unknown = levels == UNKNOWN
        unknown += int(np.count_nonzero(is_unknown))
        foreground += int(np.count_nonzero(levels == FOREGROUND))
        top = rows.start // patch_px
        cells[top : top - (-len(levels) // patch_px)] = _any_in_cells(is_unknown, patch_px)
    check()
    if not unknown:
        raise TrimapError(
            "The trimap has no unknown pixel, so there is nothing to estimate. Paint the edge of the object "
            "grey (128), or make a trimap from a mask with `mematte trimap MASK` or --mask; where the mask "
            "has no soft edge, with a radius above 0."
        )
    missing = []
    if not foreground:
        missing.append(
            "The trimap has no foreground: nothing says what the object is. Paint its inside white."
        )
    if unknown + foreground == height * width:
        missing.append("The trimap has no background: nothing says what to remove. Paint the outside black.")
    return TrimapScan(unknown, cells, patch_px, tuple(missing))


def _any_in_cells(flags: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    """(h, w) -> (ceil(h / side), ceil(w / side)): whether any flag of a cell is set."""
    # Most of it in one go, some ten times as fast as `reduceat`.
    whole = len(flags) // side * side
    by_row = flags[:whole].reshape(-1, side, flags.shape[1]).any(axis=1)
    if whole < len(flags):
        by_row = np.concatenate((by_row, flags[whole:].any(axis=0, keepdims=True)))
    cells: NDArray[np.bool_] = np.logical_or.reduceat(by_row, np.arange(0, flags.shape[1], side), axis=1)
    return cells


_HIGHEST_FLOAT = 1.5  # what resampling may make of 1 is less, labels and levels up to 255 are more


def _reject_labels(dtype: np.dtype[Any], highest: float, role: str, wanted: str, most: int) -> None:
    if dtype == np.uint16 and most < highest <= 255:
        raise TrimapError(
            f"The {role} has 16 bits per pixel, but its values are 0 to {highest:.0f}, as 16-bit levels "
            "all black. Save it with 8 bits, or multiply by 257."
        )
    if dtype.kind == "f" and highest > _HIGHEST_FLOAT:
        raise TrimapError(
            f"The {role} holds floats up to {highest:g}; floats go from 0 to 1. Divide by "
            f"{255 if 128 <= highest <= 255 else highest:g}, or save it with 8 bits."
        )
    if dtype.kind == "u" and 0 < highest <= most:
        raise TrimapError(
            f"The {role} seems to hold labels: its values are 0 to {highest:.0f}, as levels of {dtype} "
            f"all black. Levels must be {wanted}."
        )


def _bool_as_uint8(source: object) -> object:
    if isinstance(source, np.ndarray) and source.dtype == np.bool_:
        return source.astype(np.uint8) * np.uint8(255)
    return source
