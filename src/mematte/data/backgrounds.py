"""Photographs: the backgrounds of crops, and the texture under procedural mattes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mematte.data.draws import ratio
from mematte.data.pictures import as_folders, names_within, picture_files, read_rgb
from mematte.data.pyramid import Pyramid, View
from mematte.data.shelf import DEFAULT_MEMORY_BYTES, Entry, Lottery, Shelf
from mematte.errors import DataError

Bytes = NDArray[np.uint8]

BACKGROUNDS_ONLY = ("ccbysa", "elementary")
"""Parts of folder names whose photographs are share-alike or of mixed licence: they may lie behind a
foreground, but are never the texture of one."""


class BackgroundLibrary:
    """The photographs of folders; each is as likely as any other."""

    def __init__(self, behind: Lottery[Pyramid], textures: Lottery[Pyramid] | None = None) -> None:
        """`textures`: those of them that may also be the texture of a foreground; None = all."""
        self._behind = behind
        self._textures = behind if textures is None else textures

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._behind)

    @property
    def textures(self) -> BackgroundLibrary:
        """The photographs that may be the texture of a foreground."""
        return BackgroundLibrary(self._textures)

    @classmethod
    def load(
        cls,
        folders: Sequence[Path] | Path,
        longest_px: int = 900,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
    ) -> BackgroundLibrary:
        """Every picture in and below the folders; see `BACKGROUNDS_ONLY`.

        Raises:
            DataError: there are no pictures, none that may be a texture, or too many damaged ones.
        """
        entries: list[Entry[Pyramid]] = []
        textures: list[bool] = []
        for folder in as_folders(folders):
            for file in picture_files(folder):
                entries.append(Entry(file, partial(read_background, file, longest_px)))
                names = names_within(file, folder)
                textures.append(not any(part in name for name in names for part in BACKGROUNDS_ONLY))
        if entries and not any(textures):
            raise DataError(
                f"No photograph in {', '.join(map(str, as_folders(folders)))} may be the texture of a "
                f"foreground: all folders' names hold {' or '.join(BACKGROUNDS_ONLY)}. Add photographs that "
                "are not share-alike."
            )
        shelf = Shelf(entries, "backgrounds")
        shelf.load(memory_bytes)
        return cls(Lottery(shelf), Lottery(shelf, textures))

    def photograph(self, rng: np.random.Generator, size_px: int) -> Bytes:
        """(size_px, size_px, 3) uint8: a random part of a random photograph, at a random scale."""
        pyramid = self._behind.draw(rng)
        height, width = pyramid.size_px
        smallest = size_px / min(height, width)
        # From the whole photograph to a detail at 1.3 times its own size.
        scale = ratio(rng, smallest, max(1.3, smallest * 1.01))
        reach = size_px / 2 / scale
        x = rng.uniform(reach, max(reach, width - reach))
        y = rng.uniform(reach, max(reach, height - reach))
        angle = float(rng.normal(0, 0.15)) if rng.random() < 0.5 else 0.0
        view = View((x, y), scale, angle, flip=bool(rng.random() < 0.5))
        return pyramid.warp_mirrored(view, size_px)


def read_background(file: Path, longest_px: int) -> Pyramid:
    """A photograph, at limited size.

    Raises:
        ImageFileError: it is damaged.
    """
    return Pyramid(read_rgb(file, longest_px))
