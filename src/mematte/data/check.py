"""What is wrong with a data set, before a network is trained on it; and a sheet of it to look at.

Files are read one pair at a time, so the memory needed is that of the largest pair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.layouts import Found, Pair, Role, find_pairs
from mematte.data.pictures import shrink
from mematte.errors import MatteError, TrimapError
from mematte.files import check_spares_inputs
from mematte.image import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    Picture,
    as_mask,
    check_output,
    composite,
    read_picture,
    read_trimap,
    write_picture,
)
from mematte.image.color import FloatArray, as_float

Bytes = NDArray[np.uint8]
Size = tuple[int, int]
Level = Literal["error", "warning"]

ShowProgress = Callable[[str, float], None]
"""Called with the name of a pair that was done and the share of all that are, 0 to 1."""

# Known pixels may be off by compression and rounding; alphamatting.com's own reach 0.04 in 0.1% of them.
CONTRADICTION_ABOVE, CONTRADICTING_SHARE_ABOVE = 0.1, 0.001


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with one file.

    Attributes:
        file: where it is.
        level: an "error" makes the pair useless or harmful; a "warning" is to be looked at.
        what: what is wrong, a phrase that goes on after the file's name: "is all 0".
        advice: what to do, in sentences.
    """

    file: Path
    level: Level
    what: str
    advice: str


@dataclass(frozen=True)
class Report:
    """What a data set holds, and what is wrong with it.

    Attributes:
        found: layout, pairs, and what does not pair.
        sizes: (height, width) of the smallest, the median and the largest pair, by their pixels; empty if
            none could be read.
        problems: in the order of the pairs; what does not pair comes last.
    """

    found: Found
    sizes: tuple[Size, ...]
    problems: tuple[Problem, ...]

    def of(self, level: Level) -> tuple[Problem, ...]:
        """The errors, or the warnings."""
        return tuple(problem for problem in self.problems if problem.level == level)


def check(folder: Path, layout: str | None = None, progress: ShowProgress | None = None) -> Report:
    """Read every file of a data set and say what is wrong with it.

    Args:
        folder: the data set.
        layout: as in `find_pairs`.
        progress: told after each pair.

    Raises:
        DataError: as `find_pairs`. What is wrong with single files is in the report.
    """
    found = find_pairs(folder, layout)
    any_trimap = any("trimap" in pair.files for pair in found.pairs)
    sizes: list[Size] = []
    problems: list[Problem] = []
    for done, pair in enumerate(found.pairs, 1):
        size, here = _check_pair(pair)
        sizes += [size] if size else []
        problems += here
        if any_trimap and "trimap" not in pair.files:
            advice = "Make one with `mematte trimap`, if the pair is to be measured on."
            problems.append(Problem(pair.files["alpha"], "warning", "has no trimap, others have one", advice))
        if progress:
            progress(pair.name, done / len(found.pairs))
    problems += _unpaired(found)
    sizes.sort(key=lambda size: (size[0] * size[1], size))
    picked = (sizes[0], sizes[(len(sizes) - 1) // 2], sizes[-1]) if sizes else ()
    return Report(found, picked, tuple(problems))


def contact_sheet(
    found: Found,
    path: Path,
    *,
    columns: int = 3,
    most: int = 60,
    panel_px: int = 192,
    force: bool = False,
    progress: ShowProgress | None = None,
) -> None:
    """Write one picture of many pairs: of each its image, its alpha, and its cut-out over a checkerboard.

    Args:
        found: the data set.
        path: where the sheet goes: .png, or another format for pictures.
        columns: pairs side by side.
        most: of more pairs these many are drawn, evenly spaced in the order of their names.
        panel_px: longest side of each of the three pictures.
        force: whether an existing file may be replaced.
        progress: told after each pair.

    Raises:
        OutputError: it cannot be written there; nothing is left behind.
    """
    path = Path(path)
    if path.exists():  # asked of 100,000 files it takes seconds
        check_spares_inputs(path, [file for pair in found.pairs for file in pair.files.values()])
    check_output(path, "picture", force)
    count = min(most, len(found.pairs))
    pairs = [found.pairs[index * len(found.pairs) // count] for index in range(count)]
    columns = min(columns, count)
    cells = []
    for done, pair in enumerate(pairs, 1):
        cells.append(_cell(pair, panel_px))
        if progress:
            progress(pair.name, done / count)
    cells += [np.full_like(cells[0], _GREY)] * (-count % columns)
    rows = [np.hstack(cells[start : start + columns]) for start in range(0, len(cells), columns)]
    write_picture(path, as_float(np.vstack(rows)), force=force)


def _check_pair(pair: Pair) -> tuple[Size | None, list[Problem]]:
    """The size of a pair, if any of it could be read, and what is wrong with it."""
    problems: list[Problem] = []
    size: Size | None = None
    first: Role | None = None
    alpha: FloatArray | None = None
    for role, file in pair.files.items():
        try:
            pixels = _read(role, file)
        except MatteError as error:
            problems.append(_unreadable(role, file, error))
            continue
        own = (pixels.shape[0], pixels.shape[1])
        if size is None:
            size, first = own, role
        elif own != size:
            what = f"is {_px(own)}, its {first} {_px(size)}"
            turned = "One of them may lie on its side. " if own == size[::-1] else ""
            problems.append(Problem(file, "error", what, f"{turned}Files of one pair must be of one size."))
        if role in ("alpha", "cutout"):
            alpha = cast(FloatArray, pixels)
            problems += _check_alpha(role, file, alpha)
        elif role == "trimap":
            problems += _check_trimap(file, pixels, alpha)
    return size, problems


def _read(role: Role, file: Path) -> NDArray[Any]:
    """(H, W, 3) pixels, of alpha and cut-out the (H, W) alpha in [0, 1], of a trimap its (H, W) levels."""
    if role == "alpha":
        return as_mask(file)
    if role == "trimap":
        return read_trimap(file).levels
    picture = read_picture(file)
    return picture.pixels if role != "cutout" else _alpha_of(picture)


def _alpha_of(cutout: Picture) -> FloatArray:
    """(H, W) float32 in [0, 1]; all 1 if the picture is opaque."""
    if cutout.alpha is None:
        return np.ones(cutout.size, np.float32)
    return np.clip(as_float(cutout.alpha), 0, 1)


def _unreadable(role: Role, file: Path, error: MatteError) -> Problem:
    if isinstance(error, TrimapError):  # readable, but not what an alpha or a trimap is
        return Problem(file, "error", f"cannot be used as the {role}", str(error))
    what = str(error).removeprefix(f"{file}:").removeprefix(str(file)).strip().rstrip(".")
    return Problem(file, "error", what, "Fetch it again, or remove the pair.")


def _check_alpha(role: Role, file: Path, alpha: FloatArray) -> Iterator[Problem]:
    low, high = float(alpha.min()), float(alpha.max())
    if high <= 0:
        yield Problem(
            file, "error", "is transparent everywhere, all 0", "Find its alpha, or remove the pair."
        )
    elif low >= 1 and role == "cutout":
        advice = "Save it with its alpha channel, or remove it: a photograph is no foreground."
        yield Problem(file, "error", "has no transparency: its alpha is 1 everywhere", advice)
    elif low >= 1:
        yield Problem(file, "error", "is opaque everywhere, all 1", "Find its alpha, or remove the pair.")
    elif not ((alpha > 0) & (alpha < 1)).any():
        advice = "A network that learns from it learns hard edges: leave masks out of training."
        yield Problem(file, "warning", "is a hard mask: no pixel is partly covered", advice)


def _check_trimap(file: Path, levels: NDArray[Any], alpha: FloatArray | None) -> Iterator[Problem]:
    if not (levels == UNKNOWN).any():
        advice = "There is nothing to estimate: make it from the alpha with `mematte trimap`."
        yield Problem(file, "error", "has no unknown pixel", advice)
    if alpha is None or alpha.shape != levels.shape:
        return
    known = np.count_nonzero(levels != UNKNOWN)
    off = np.count_nonzero((levels == BACKGROUND) & (alpha > CONTRADICTION_ABOVE))
    off += np.count_nonzero((levels == FOREGROUND) & (alpha < 1 - CONTRADICTION_ABOVE))
    if off > CONTRADICTING_SHARE_ABOVE * known:
        advice = "See whether it belongs to this alpha; if it does, paint these pixels unknown."
        yield Problem(
            file, "warning", f"contradicts the alpha in {off / known:.1%} of the pixels that it knows", advice
        )


def _unpaired(found: Found) -> Iterator[Problem]:
    for file in found.unpaired:
        if "cutout" in found.layout.folders:
            advice = "If it is no foreground, keep it in another folder."
            yield Problem(file, "warning", "has no alpha channel", advice)
        else:
            advice = "Name the files of one pair alike but for the suffix, one in each folder."
            yield Problem(file, "warning", "belongs to no pair", advice)


def _px(size: Size) -> str:
    return f"{size[1]}x{size[0]} px"


_GREY = 48  # the sheet itself
_GAP_PX, _CAPTION_PX, _SQUARE_PX = 4, 18, 12
_FONT = cv2.FONT_HERSHEY_SIMPLEX, 0.4


def _cell(pair: Pair, panel_px: int) -> Bytes:
    """Three panels side by side and the pair's name below, (h, w, 3)."""
    step = panel_px + _GAP_PX
    cell = np.full((step + _CAPTION_PX, 3 * step + 2 * _GAP_PX, 3), _GREY, np.uint8)
    try:
        panels = _panels(pair, panel_px)
        caption = pair.name
    except MatteError:
        panels, caption = [], f"cannot be read: {pair.name}"
    for number, panel in enumerate(panels):
        height, width = panel.shape[:2]
        top, left = _GAP_PX + (panel_px - height) // 2, _GAP_PX + number * step + (panel_px - width) // 2
        cell[top : top + height, left : left + width] = panel
    caption = caption.encode("ascii", "replace").decode()  # OpenCV's fonts have no other letters
    while cv2.getTextSize(caption, *_FONT, 1)[0][0] > cell.shape[1] - 2 * _GAP_PX:
        caption = f"..{caption[3:]}"  # the end of a path tells more than its start
    cv2.putText(cell, caption, (_GAP_PX, cell.shape[0] - 6), *_FONT, (255,) * 3, 1, cv2.LINE_AA)
    return cell


def _panels(pair: Pair, panel_px: int) -> list[Bytes]:
    """Image, alpha, and the cut-out over a checkerboard."""
    source = next(pair.files[role] for role in ("cutout", "foreground", "image") if role in pair.files)
    picture = read_picture(source)
    alpha = _alpha_of(picture) if "cutout" in pair.files else as_mask(pair.files["alpha"])
    # Light is added up at some four times the panel's size, so that the colours of what is cut away, which
    # shrinking mixes in, stay invisible.
    color = Picture(shrink(picture.pixels, 4 * panel_px), picture.linear).display()
    small = shrink(alpha, 4 * panel_px)
    if small.shape != color.shape[:2]:  # `check` says so; here it shows
        whole = (color.shape[1], color.shape[0])
        small = cast(FloatArray, cv2.resize(small, whole, interpolation=cv2.INTER_AREA))
    small = np.clip(small, 0, 1)
    scale = max(color.shape[:2]) / panel_px
    cut_out = composite(color, small, _checkerboard((color.shape[0], color.shape[1]), _SQUARE_PX * scale))
    grey = np.repeat(small[..., None], 3, axis=2)
    return [
        cast(Bytes, np.rint(np.clip(shrink(values, panel_px), 0, 1) * 255).astype(np.uint8))
        for values in (color, grey, cut_out)
    ]


def _checkerboard(size: Size, square_px: float) -> FloatArray:
    """(H, W, 3) of light and middle grey."""
    rows, columns = (np.arange(side) // max(1, square_px) for side in size)
    squares = (rows[:, None] + columns[None]) % 2
    return np.repeat(np.where(squares, 0.8, 0.6).astype(np.float32)[..., None], 3, axis=2)
