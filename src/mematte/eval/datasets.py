"""A folder on disk -> pairs to score: pictures, their true alphas and their trimaps, in any known layout."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mematte.data.layouts import PICTURE_SUFFIXES, Found, find_pairs
from mematte.errors import DataError, InputError, SizeMismatchError
from mematte.eval.evaluate import EvalPair
from mematte.eval.metrics import Alpha, Region
from mematte.image import (
    DEFAULT_MAX_PIXELS,
    UNKNOWN,
    as_mask,
    read_picture,
    read_trimap,
    trimap_from_mask,
)

WHOLE_IMAGE = frozenset(("distinctions-646", "p3m-500-p", "p3m-500-np", "p3m-10k"))
"""Layouts whose sets are scored on every pixel, as their papers do; all others on the unknown ones."""

# In one folder for a picture's name, the first of these is taken: what keeps an alpha exactly comes first.
_SUFFIXES = (".png", ".tif", ".tiff", ".exr", ".webp", ".jxl")


@dataclass(frozen=True)
class Trimaps:
    """Where trimaps come from.

    Attributes:
        kind: "files"; "alpha", made of the true alpha; or "none", all pixels are unknown.
        folder: of files that do not lie where the layout says; as given, or relative to the data set.
        radius_px: of those made of the alpha, as `mematte trimap` makes them.
    """

    kind: str = "files"
    folder: Path | None = None
    radius_px: int | None = None

    def __str__(self) -> str:
        if self.kind == "none":
            return "none, every pixel is unknown"
        if self.kind == "alpha":
            return f"made of the true alphas, radius {self.radius_px} px"
        return f"files of {self.folder}" if self.folder else "the data set's"


@dataclass(frozen=True)
class PairFiles:
    """The files of one pair, not read yet."""

    name: str
    image: Path
    truth: Path
    trimap: Path | None  # None: made of the truth, or none

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.image, self.truth, *([] if self.trimap is None else [self.trimap]))


@dataclass(frozen=True)
class DataSet:
    """What is to be scored.

    Attributes:
        found: the folder, its layout, and what does not pair.
        region: where its errors count, unless somebody says otherwise.
        trimaps: where they come from.
        pairs: sorted by name.
        lacking: names of pairs that are left out because they have no trimap.
    """

    found: Found
    region: Region
    trimaps: Trimaps
    pairs: tuple[PairFiles, ...]
    lacking: tuple[str, ...]

    def read(self, pair: PairFiles, max_pixels: int = DEFAULT_MAX_PIXELS) -> EvalPair:
        """Read one pair.

        Raises:
            MatteError: a file is damaged or none of its kind, or they differ in size.
        """
        picture = read_picture(pair.image, max_pixels=max_pixels)
        truth = read_alpha(pair.truth, max_pixels)
        check_size("true alpha", truth.shape, picture.size)
        if pair.trimap is not None:
            trimap = read_trimap(pair.trimap, max_pixels=max_pixels).levels
            if trimap.shape != picture.size:
                raise SizeMismatchError(picture.size, (trimap.shape[0], trimap.shape[1]))
        elif self.trimaps.kind == "alpha":
            trimap = trimap_from_mask(truth, self.trimaps.radius_px)
        else:
            trimap = np.full(picture.size, UNKNOWN, np.uint8)
        image = picture.display() if picture.pixels.dtype.kind == "f" else picture.pixels
        return EvalPair(pair.name, image, trimap, truth)


def open_data_set(
    folder: Path,
    layout: str | None = None,
    *,
    trimaps: str | None = None,
    trimap_radius_px: int | None = None,
) -> DataSet:
    """Find what there is to score in a folder; reads no picture. Of a set that is split, its test part.

    Args:
        folder: the data set.
        layout: as in `find_pairs`; by default it is recognised.
        trimaps: a folder in place of the layout's: one of the data set's own ("trimap2"), or any other.
            "none" for methods that take none: every pixel is then unknown.
        trimap_radius_px: make them of the true alphas instead, with this radius.

    Raises:
        DataError: no data set is found, it holds nothing to matte, or it has no trimaps.
    """
    if trimaps is not None and trimap_radius_px is not None:
        raise InputError("Trimaps are read from files or made of the alphas, not both.")
    found = find_pairs(folder, layout, part="test")
    if "image" not in found.pairs[0].files:
        raise DataError(
            f"{folder} is laid out as {found.layout.name}, {found.layout}: it holds foregrounds, "
            "no photographs to matte. Lay them over backgrounds with `mematte data compose` first."
        )
    files, source = _trimap_files(found, trimaps, trimap_radius_px)
    if source.kind == "files" and not any(pair.name in files for pair in found.pairs):
        raise DataError(_no_trimaps(found, trimaps))
    pairs = tuple(
        PairFiles(pair.name, pair.files["image"], pair.files["alpha"], files.get(pair.name))
        for pair in found.pairs
        if source.kind != "files" or pair.name in files
    )
    taken = {pair.name for pair in pairs}
    lacking = tuple(pair.name for pair in found.pairs if pair.name not in taken)
    called = {found.layout.name} if layout is None else {layout.lower()}
    return DataSet(found, "whole" if called & WHOLE_IMAGE else "unknown", source, pairs, lacking)


def read_alpha(path: Path, max_pixels: int = DEFAULT_MAX_PIXELS) -> Alpha:
    """An alpha from a file of any depth: (H, W) uint8 as it is stored, or floating point in [0, 1].

    Of three equal channels one is taken; of a cut-out its alpha channel.

    Raises:
        ImageFileError, TrimapError: it cannot be read, or is no grey picture.
    """
    picture = read_picture(path, max_pixels=max_pixels, role="mask")
    alpha = as_mask(picture)
    if picture.pixels.dtype == np.uint8:
        return np.rint(alpha * 255).astype(np.uint8)
    if picture.pixels.dtype == np.uint16:
        return np.rint(alpha.astype(np.float64) * 65535) / 65535
    return alpha


def check_size(what: str, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    """Raise unless a plane is as large as its picture, (height, width)."""
    if shape != size:
        raise DataError(
            f"The {what} must be as large as the picture: the picture is {size[1]}x{size[0]} px, the {what} "
            f"{shape[1]}x{shape[0]} px."
        )


def files_by_name(
    folder: Path, names: Iterable[str], endings: Iterable[str] = ("",), but: Iterable[Path] = ()
) -> tuple[dict[str, Path], tuple[Path, ...]]:
    """Which file of a folder is that of each name, and the pictures that are nobody's.

    Args:
        folder: where to look; names with slashes lie in its folders, or in it as "part__name".
        names: of pairs.
        endings: what may stand between a name and the suffix, the best first.
        but: files that are something else.

    Raises:
        DataError: there is no such folder.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is {'a file' if folder.exists() else 'not there'}. Name a folder.")
    by_stem: dict[str, list[Path]] = {}
    known = {os.path.realpath(file) for file in but}
    for file in sorted(folder.rglob("*")):
        if os.path.realpath(file) in known:
            continue
        if file.suffix.lower() in PICTURE_SUFFIXES and not file.name.startswith("."):
            stem = file.relative_to(folder).with_suffix("").as_posix()
            by_stem.setdefault(unicodedata.normalize("NFC", stem), []).append(file)

    def rank(file: Path) -> int:
        suffix = file.suffix.lower()
        return _SUFFIXES.index(suffix) if suffix in _SUFFIXES else len(_SUFFIXES)

    chosen: dict[str, Path] = {}
    for name in names:
        for stem in (spelling + ending for ending in endings for spelling in (name, flat_name(name))):
            if stem in by_stem:
                chosen[name] = min(by_stem[stem], key=rank)
                break
    taken = set(chosen.values())
    others = tuple(file for files in by_stem.values() for file in files if file not in taken)
    return chosen, others


def flat_name(name: str) -> str:
    """A pair's name as that of a file: pairs of data sets with folders have slashes in it."""
    return name.replace("\\", "/").replace("/", "__")


def _trimap_files(
    found: Found, folder: str | None, radius_px: int | None
) -> tuple[Mapping[str, Path], Trimaps]:
    """Name -> trimap, as far as there are any; and where they come from."""
    if radius_px is not None:
        return {}, Trimaps("alpha", radius_px=radius_px)
    if folder == "none":
        return {}, Trimaps("none")
    if folder is None:
        files = {pair.name: pair.files["trimap"] for pair in found.pairs if "trimap" in pair.files}
        return files, Trimaps("files", _common_folder(files, found.folder))
    own = found.folder / folder
    place = own if own.is_dir() else Path(folder)
    if not place.is_dir():
        raise DataError(
            f'There are no trimaps "{folder}": it is no folder, neither in {found.folder} nor by itself.'
        )
    files, _ = files_by_name(place, (pair.name for pair in found.pairs), ("", "_trimap", "-trimap"))
    return files, Trimaps("files", Path(folder))


def _common_folder(files: Mapping[str, Path], root: Path) -> Path | None:
    """The folder below the data set that all trimaps lie in, if it is one."""
    folders = {file.parent for file in files.values()}
    return folders.pop().relative_to(root) if len(folders) == 1 else None


def _no_trimaps(found: Found, asked: str | None) -> str:
    where = f"{asked} holds no trimaps" if asked else f"{found.folder} has no trimaps"
    return (
        f"{where} for its {len(found.pairs)} pictures (layout {found.layout.name}). Name a folder of them "
        "with --trimap; have them made of the true alphas with --trimap-from-alpha PX, which is said with "
        "the scores; or make and paint them one by one with `mematte trimap ALPHA -o TRIMAP`."
    )
