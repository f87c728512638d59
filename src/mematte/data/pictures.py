"""Picture files for training: finding them, and reading them with 8 bits and at limited size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.layouts import pictures_in
from mematte.errors import DataError, SizeMismatchError
from mematte.image.bands import row_bands
from mematte.image.color import as_float
from mematte.image.read import Picture, read_picture
from mematte.image.trimap import as_mask, read_trimap

Bytes = NDArray[np.uint8]
Pixels = TypeVar("Pixels", Bytes, NDArray[np.float32])


def as_folders(folders: Sequence[Path] | Path | str) -> tuple[Path, ...]:
    """One folder or several -> several."""
    return (Path(folders),) if isinstance(folders, (str, Path)) else tuple(Path(folder) for folder in folders)


def names_within(file: Path, folder: Path) -> tuple[str, ...]:
    """Names of the folders that a file lies in, from its own up to `folder`'s."""
    top = Path(os.path.abspath(folder))  # noqa: PTH100  resolve() would replace a link's name
    inner = Path(os.path.abspath(file)).parent.relative_to(top).parts  # noqa: PTH100
    return (*reversed(inner), top.name)


def picture_files(folder: Path) -> list[Path]:
    """All picture files in a folder and in its sub-folders of any depth, sorted; hidden ones are left out.

    Raises:
        DataError: there is no such folder, one cannot be opened, or there are no pictures in it.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Name a folder that holds pictures.")
    files = sorted(pictures_in(folder))
    if not files:
        raise DataError(
            f"There are no pictures in {folder} or below it. Name a folder that holds pictures, such as "
            ".jpg, .png, .webp or .tif files."
        )
    return files


def shrink(pixels: Pixels, longest_px: int) -> Pixels:
    """(H, W[, C]), averaged down to at most `longest_px` on its longer side; 0: as it is."""
    scale = longest_px / max(pixels.shape[:2])
    if scale >= 1 or not longest_px:
        return pixels
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    return cast(Pixels, cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA))


def with_alpha(colour: Bytes, alpha: Bytes) -> Bytes:
    """(H, W, 3) and (H, W) -> (H, W, 4)."""
    return cast(Bytes, cv2.merge([colour, alpha]))


def without_alpha(picture: Bytes) -> tuple[Bytes, Bytes]:
    """(H, W, 4) -> (H, W, 3) and (H, W), both contiguous."""
    return cast(Bytes, cv2.cvtColor(picture, cv2.COLOR_RGBA2RGB)), cast(Bytes, cv2.extractChannel(picture, 3))


def shrink_cutout(colour: Bytes, alpha: Bytes, longest_px: int) -> Bytes:
    """(H, W, 3) and (H, W) -> RGBA of limited size (0: as it is), in which colours count by their alpha.

    What lies hidden where alpha is 0, often black, must not mix into the edge.
    """
    if not longest_px or max(alpha.shape) <= longest_px:
        return with_alpha(colour, alpha)
    weighted = cv2.multiply(colour, cv2.merge([alpha] * 3), dtype=cv2.CV_16U)
    total = shrink(cast(Bytes, weighted), longest_px).astype(np.float32)
    cover = shrink(alpha.astype(np.float32), longest_px)
    mean = np.clip(total / np.maximum(cover, 1e-3)[..., None] + 0.5, 0, 255)
    return with_alpha(mean.astype(np.uint8), np.rint(cover).astype(np.uint8))


def read_rgb(file: Path, longest_px: int) -> Bytes:
    """(H, W, 3) uint8.

    Raises:
        ImageFileError: it is damaged.
    """
    return shrink(eight_bits(read_picture(file)), longest_px)


def read_cutout(file: Path, longest_px: int) -> Bytes:
    """(H, W, 4) uint8, straight alpha.

    Raises:
        ImageFileError: it is damaged.
        DataError: it has no alpha channel, or one that is opaque everywhere.
    """
    picture = read_picture(file, role="cut-out")
    if picture.alpha is None:
        raise DataError("it must have an alpha channel that is not opaque everywhere.")
    alpha = picture.alpha
    if alpha.dtype != np.uint8:
        alpha = (np.clip(as_float(alpha), 0, 1) * 255 + np.float32(0.5)).astype(np.uint8)
    return shrink_cutout(eight_bits(picture), alpha, longest_px)


def read_with_alpha(file: Path, alpha_file: Path) -> tuple[Bytes, Bytes]:
    """(H, W, 3) and (H, W) uint8, at full size.

    Raises:
        ImageFileError, TrimapError: one of them is damaged, or the alpha is coloured.
        DataError: their sizes differ.
    """
    picture = read_picture(file)
    alpha = as_mask(alpha_file)
    if alpha.shape != picture.size:
        (height, width), (alpha_height, alpha_width) = picture.size, alpha.shape
        raise DataError(
            f"{file.name} is {width}x{height} px, but its alpha {alpha_file} {alpha_width}x{alpha_height} px."
        )
    return eight_bits(picture), (alpha * 255 + np.float32(0.5)).astype(np.uint8)


def read_levels(file: Path, size: tuple[int, int], longest_px: int) -> Bytes:
    """(H, W) uint8 of a trimap of that (height, width), shrunk: what is neither 0 nor 255 is unknown.

    Raises:
        ImageFileError, TrimapError: it is damaged, no trimap, or of another size.
    """
    trimap = read_trimap(file)
    if trimap.size != size:
        raise SizeMismatchError(size, trimap.size)
    return shrink(trimap.levels, longest_px)


def eight_bits(picture: Picture) -> Bytes:
    """(H, W, 3) uint8, display-referred; the picture's own array where it has 8 bits."""
    if picture.pixels.dtype == np.uint8 and not picture.linear:
        return cast(Bytes, picture.pixels)
    result = np.empty(picture.pixels.shape, np.uint8)
    for rows in row_bands(picture.size):
        result[rows] = picture.display(rows) * 255 + np.float32(0.5)
    return result
