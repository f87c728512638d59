"""Photographs: the backgrounds of crops, and the texture under procedural mattes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.pyramid import Pyramid, View
from mematte.errors import ImageFileError, InputError

Bytes = NDArray[np.uint8]

BACKGROUNDS_ONLY = ("ccbysa", "elementary")
"""Parts of folder names whose photographs are share-alike or of mixed licence: they may lie behind a
foreground, but are never the texture of one."""


def picture_files(folder: Path) -> list[Path]:
    """Sorted `*.webp` of the folder and of its sub-folders, one level deep."""
    files = sorted(folder.glob("*.webp")) + sorted(folder.glob("*/*.webp"))
    if not files:
        raise InputError(
            f"There are no pictures in {folder}: expected FOLDER/*.webp or FOLDER/SOURCE/*.webp. "
            "Name a folder that holds WebP pictures."
        )
    return files


def read_picture(file: Path, longest_px: int, channels: int) -> Bytes:
    """(H, W, channels) uint8, RGB or RGBA, at most `longest_px` long."""
    flags = cv2.IMREAD_COLOR if channels == 3 else cv2.IMREAD_UNCHANGED
    picture = cv2.imread(str(file), flags)
    if picture is None:
        raise ImageFileError(f"{file} cannot be read as a picture: it is damaged or of another format.")
    if picture.ndim != 3 or picture.shape[2] != channels:
        raise ImageFileError(f"{file} must have {channels} channels (RGBA, straight alpha, for foregrounds).")
    scale = longest_px / max(picture.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
        picture = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    code = cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGRA2RGBA
    return cast(Bytes, cv2.cvtColor(picture, code))


class BackgroundLibrary:
    """All photographs of a folder, in memory at limited size."""

    def __init__(self, pyramids: Sequence[Pyramid], textures: Sequence[Pyramid] | None = None) -> None:
        """`textures`: those of the pictures that may also be the texture of a foreground; None = all."""
        self.pyramids = list(pyramids)
        self._textures = self.pyramids if textures is None else list(textures)

    @property
    def textures(self) -> BackgroundLibrary:
        """The photographs that may be the texture of a foreground."""
        return BackgroundLibrary(self._textures)

    @classmethod
    def load(cls, folder: Path, longest_px: int = 900) -> BackgroundLibrary:
        """Read every picture below `folder`; see `BACKGROUNDS_ONLY`.

        Raises:
            InputError: there are no pictures, or none that may be a texture.
            ImageFileError: a picture is damaged.
        """
        files = picture_files(folder)
        pyramids = [Pyramid(read_picture(file, longest_px, 3)) for file in files]
        textures = [
            pyramid
            for file, pyramid in zip(files, pyramids, strict=True)
            if not any(part in file.parent.name for part in BACKGROUNDS_ONLY)
        ]
        if not textures:
            raise InputError(
                f"No photograph in {folder} may be the texture of a foreground: all folders' names hold "
                f"{' or '.join(BACKGROUNDS_ONLY)}. Add photographs that are not share-alike."
            )
        return cls(pyramids, textures)

    def photograph(self, rng: np.random.Generator, size_px: int) -> Bytes:
        """(size_px, size_px, 3) uint8: a random part of a random photograph, at a random scale."""
        pyramid = self.pyramids[int(rng.integers(len(self.pyramids)))]
        height, width = pyramid.size_px
        smallest = size_px / min(height, width)
        # From the whole photograph to a detail at 1.3 times its own size.
        scale = float(np.exp(rng.uniform(np.log(smallest), np.log(max(1.3, smallest * 1.01)))))
        reach = size_px / 2 / scale
        x = rng.uniform(reach, max(reach, width - reach))
        y = rng.uniform(reach, max(reach, height - reach))
        angle = float(rng.normal(0, 0.15)) if rng.random() < 0.5 else 0.0
        view = View((x, y), scale, angle, flip=bool(rng.random() < 0.5))
        return pyramid.warp_mirrored(view, size_px)
