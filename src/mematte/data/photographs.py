"""Real photographs with alpha: crops of them need no compositing, their light and their edges are real."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.foregrounds import edge_points, random_view, useful_alpha, weighted_pairs
from mematte.data.layouts import Pair
from mematte.data.pictures import as_folders, read_levels, read_with_alpha, shrink, with_alpha, without_alpha
from mematte.data.pyramid import Pyramid, View
from mematte.data.shelf import DEFAULT_MEMORY_BYTES, Entry, Lottery, Shelf
from mematte.errors import DataError

Bytes = NDArray[np.uint8]

SCALES = (0.3, 1.4)  # crop pixels per pixel of the photograph


@dataclass(frozen=True)
class Photograph:
    """A photograph and its alpha, ready for views.

    Attributes:
        pyramid: RGB as the camera saw it, and alpha.
        points: (N, 2) x and y where crops are centred.
        pixels: of its file, however much it is reduced here.
        trimap: one that came with it; what is neither 0 nor 255 is unknown.
    """

    pyramid: Pyramid
    points: NDArray[np.int32]
    pixels: int
    trimap: Pyramid | None = None

    @property
    def memory_bytes(self) -> int:
        """What keeping it takes."""
        trimap_bytes = self.trimap.memory_bytes if self.trimap else 0
        return self.pyramid.memory_bytes + self.points.nbytes + trimap_bytes

    def random_view(
        self, rng: np.random.Generator, size_px: int, scales: tuple[float, float] = SCALES
    ) -> View:
        """A view of the size, which lies in the photograph as far as that is large enough.

        `scales`: the range of crop pixels per pixel of the photograph.
        """
        height, width = self.pyramid.size_px
        whole = size_px / min(height, width)
        smallest, largest = (max(scale, whole) for scale in scales)
        view = random_view(rng, self.points, (height, width), size_px, (smallest, largest))
        reach = size_px / 2 / view.scale
        x, y = (
            float(np.clip(centre, reach, side - reach)) if side > 2 * reach else side / 2
            for centre, side in zip(view.centre, (width, height), strict=True)
        )
        return replace(view, centre=(x, y))

    def crop(
        self, view: View, size_px: int, interpolation: int = cv2.INTER_LINEAR
    ) -> tuple[Bytes, Bytes, Bytes | None]:
        """(S, S, 3) image, (S, S) alpha, and (S, S) trimap {0, 128, 255} if it has one.

        Where the trimap is 0 the alpha is 0, where it is 255 the alpha is 255.
        """
        crop = self.pyramid.warp_mirrored(view, size_px, interpolation)
        image, alpha = without_alpha(crop)
        if self.trimap is None:
            return image, alpha, None
        levels = self.trimap.warp_mirrored(view, size_px)
        known = ((levels == 0) & (alpha == 0)) | ((levels == 255) & (alpha == 255))
        return image, alpha, np.where(known, levels, np.uint8(128))


def load_photographs(
    folders: Sequence[Path] | Path, longest_px: int = 1100, memory_bytes: int = DEFAULT_MEMORY_BYTES
) -> Lottery[Photograph]:
    """Photographs with alpha, and perhaps trimaps, in any layout of `find_pairs`.

    Each is as likely as any other of its folder's weight. `longest_px`: as for `read_photograph`.

    Raises:
        DataError: a folder holds none, or too many of them are damaged.
    """
    entries = []
    for folder in as_folders(folders):
        pairs = [(pair, weight) for pair, weight in weighted_pairs(folder) if "image" in pair.files]
        if not pairs:
            raise DataError(
                f"{folder} holds cut-outs or foregrounds, no photographs with alpha. Name it among the "
                "foregrounds, or name a folder of photographs and their alphas."
            )
        entries += [
            Entry(pair.files["image"], partial(read_photograph, pair, longest_px), weight)
            for pair, weight in pairs
        ]
    shelf = Shelf(entries, "photographs")
    shelf.load(memory_bytes)
    return Lottery(shelf)


def read_photograph(pair: Pair, longest_px: int) -> Photograph:
    """The photograph of a pair, its longer side at most `longest_px`; 0: as it is.

    Raises:
        MatteError: one of the files is damaged, or they do not fit together.
    """
    image, full_alpha = read_with_alpha(pair.files["image"], pair.files["alpha"])
    alpha = useful_alpha(shrink(full_alpha, longest_px))
    trimap = None
    if "trimap" in pair.files:
        size = (full_alpha.shape[0], full_alpha.shape[1])
        trimap = Pyramid(read_levels(pair.files["trimap"], size, longest_px))
    picture = with_alpha(shrink(image, longest_px), alpha)
    return Photograph(Pyramid(picture), edge_points(alpha), full_alpha.size, trimap)
