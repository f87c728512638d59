"""Narrow: a first look at a large picture, reduced, settles the unknown pixels that are clear from afar.

The larger a picture, the more pixels its unknown region is across, and the wider it is than any that the
network was trained on. What it says of the picture at a size that it knows better leaves a seam of unknown
pixels around all that is soft; at the picture's own size it is asked about these alone. This goes past the
paper.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.errors import BudgetError, TrimapError
from mematte.image import BACKGROUND, FOREGROUND, UNKNOWN, Picture, Rows, Trimap, TrimapRows, TrimapScan
from mematte.image.bands import row_bands
from mematte.image.picture import displayed
from mematte.image.trimap import deeper_than, scan_rows

from .execute import Executor, Progress
from .memory import freed_blocks_returned, release_freed_blocks
from .plan import Job, Plan, make_plan

Levels = NDArray[np.uint8]

LOOK_PIXELS = 2_000_000
"""The reduced picture has at most so many."""
SURE = 0.1
"""An alpha that is closer to 0 or 1 than this counts as settled ..."""
MARGIN_PX = 8
"""... if all within so many pixels of the reduced picture do too: a lone hair keeps its surroundings."""

NARROWED_BYTES = 2
"""What a pixel takes while `NarrowedTrimap` makes it."""

_CODE_BYTES = 16_000_000
"""What oneDNN keeps for the shapes of the reduced picture."""


@dataclass(frozen=True, eq=False)
class FirstLook:
    """What there is to ask about a picture.

    Attributes:
        trimap: with fewer unknown pixels, or the picture's own.
        scan: of that.
        times: smaller than it is that the network was shown the picture first; 1 = it was not.
        planned_bytes: the predicted peak of doing so, in the measure of the plan's; 0 if it was not done.
        notes: what there is to say, as in `Report`.
        is_left_out: it was planned, and the memory does not suffice.
    """

    trimap: TrimapRows
    scan: TrimapScan
    times: int = 1
    planned_bytes: int = 0
    notes: tuple[str, ...] = ()
    is_left_out: bool = False


class NarrowedTrimap:
    """A trimap of which some unknown pixels are settled: `TrimapRows`.

    Args:
        trimap: as it came.
        settled: (ceil(H / times), ceil(W / times)) levels of the reduced picture: what is known there becomes
            known here.
        times: that it is smaller.
    """

    def __init__(self, trimap: TrimapRows, settled: Levels, times: int) -> None:
        self._trimap, self._settled, self._times = trimap, settled, times

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self._trimap.size

    @property
    def notes(self) -> tuple[str, ...]:
        """As the trimap's own."""
        return self._trimap.notes

    def level_rows(self, rows: slice) -> Levels:
        """(h, W) uint8 of the rows asked for: BACKGROUND, UNKNOWN, FOREGROUND."""
        levels = self._trimap.level_rows(rows)
        first = rows.start or 0
        of_rows = np.arange(first, first + len(levels)) // self._times
        narrowed: Levels = self._settled[of_rows].repeat(self._times, axis=1)[:, : levels.shape[1]]
        np.copyto(narrowed, levels, where=levels != UNKNOWN)
        return narrowed

    def scan(self, image_size: tuple[int, int] | None = None, *, patch_px: int = 16) -> TrimapScan:
        """As `Trimap.scan`.

        Raises:
            SizeMismatchError, TrimapError: as there.
        """
        return scan_rows(self.size, self.level_rows, image_size, patch_px)


def reduction(size: tuple[int, int]) -> int:
    """How many times smaller a picture of (height, width) px is looked at first; 2 or more."""
    return max(2, math.ceil(math.sqrt(math.prod(size) / LOOK_PIXELS)))


def left_by_look(size: tuple[int, int]) -> int:
    """Bytes that a first look at a picture of (height, width) px leaves behind on a CPU."""
    times = reduction(size)
    return _CODE_BYTES + math.prod(-(-side // times) for side in size)


def look_job(job: Job) -> Job | None:
    """What there is to do before a job, the reduced picture in memory beside all else; None if nothing is."""
    if job.first_reduced == 1:
        return None
    height, width = (-(-side // job.first_reduced) for side in job.size)
    # Colours in float32, trimap, alpha.
    more_bytes = 0 if job.on_gpu else (3 * 4 + 1 + 4) * height * width
    return replace(
        job,
        size=(height, width),
        first_reduced=1,
        beside_bytes=job.beside_bytes + more_bytes,
        row_bytes=0,
        colours_bytes=0,
        near=None,
    )


def first_look(
    executor: Executor,
    photo: Rows,
    trimap: TrimapRows,
    scan: TrimapScan,
    plan: Plan,
    seconds: dict[str, float],
    progress: Progress,
) -> FirstLook:
    """Show the network the picture reduced, if that is planned.

    Args:
        executor: which estimates.
        photo: an open file, or a picture in memory.
        trimap: as large.
        scan: of the trimap, by cells of the network's patch.
        plan: for the picture at its own size.
        seconds: gets the time of "look".
        progress: told how far the work is: "look".

    Raises:
        ImageFileError, DeviceError, WeightsError: as `Engine`.
    """
    as_it_is = FirstLook(trimap, scan)
    looking = look_job(plan.job)
    if looking is None:
        return as_it_is
    times = plan.job.first_reduced
    try:
        look_plan = make_plan(looking, plan.memory, plan.base_bytes)
    except BudgetError:
        return replace(as_it_is, is_left_out=True)
    with executor.timed(seconds, "look"), freed_blocks_returned():
        shown, known = shrunk(photo, trimap, times)
        alpha = np.zeros(shown.size, np.float32)
        cells = known.scan(patch_px=scan.patch_px).cells
        half = partial(_half_of, progress)
        look_plan, _, notes = executor.estimate(look_plan, shown, known, cells, alpha, {}, half)
        settled = settle(known.levels, alpha)
        del shown, alpha
        release_freed_blocks()
        narrowed = NarrowedTrimap(trimap, settled, times)
        try:
            asked = narrowed.scan(patch_px=scan.patch_px)
        except TrimapError:  # Nothing is left to ask: the look saw no edge where people see one.
            return replace(as_it_is, times=times, planned_bytes=look_plan.peak_bytes, notes=notes)
    return FirstLook(narrowed, asked, times, look_plan.peak_bytes, notes)


def _half_of(progress: Progress, stage: str, share: float) -> None:
    progress("look", (share + (stage == "decode")) / 2)


def shrunk(photo: Rows, trimap: TrimapRows, times: int) -> tuple[Picture, Trimap]:
    """A photo and its trimap, so many times smaller, band by band.

    Returns:
        Display-referred float32 (ceil(H / times), ceil(W / times), 3), means over squares of pixels, which go
        on beyond the right and lower edge; a square is known only if all of its pixels are, and alike.
    """
    height, width = photo.size
    size = -(-height // times), -(-width // times)
    colours, levels = np.empty((*size, 3), np.float32), np.empty(size, np.uint8)
    for rows in row_bands(photo.size, 1_000_000, multiple=times):
        part = slice(rows.start // times, -(-rows.stop // times))
        shape = (part.stop - part.start) * times, size[1] * times
        whole = _continued(displayed(photo.stored(rows), photo.linear), shape)
        cv2.resize(whole, (size[1], part.stop - part.start), dst=colours[part], interpolation=cv2.INTER_AREA)
        squares = _continued(trimap.level_rows(rows), shape).reshape(-1, times, shape[1])
        least, most = (
            reduce(reduce(squares, axis=1).reshape(-1, size[1], times), axis=2)
            for reduce in (np.minimum.reduce, np.maximum.reduce)
        )
        levels[part] = np.where(least == most, least, UNKNOWN)
    return Picture(colours), Trimap(levels)


def _continued(values: NDArray[Any], shape: tuple[int, int]) -> NDArray[Any]:
    """(h, w, ...) -> of that height and width: the last pixels again."""
    more = [(0, wanted - there) for wanted, there in zip(shape, values.shape[:2], strict=True)]
    if not any(behind for _, behind in more):
        return np.ascontiguousarray(values)
    return np.pad(values, more + [(0, 0)] * (values.ndim - 2), mode="edge")


def settle(levels: Levels, alpha: NDArray[np.float32]) -> Levels:
    """Levels of a trimap with the unknown pixels settled that an alpha leaves no doubt about.

    Args:
        levels: (H, W) BACKGROUND, UNKNOWN, FOREGROUND.
        alpha: (H, W) in [0, 1], an estimate.
    """
    unknown = levels == UNKNOWN
    settled = levels.copy()
    for level, clear in ((BACKGROUND, alpha <= SURE), (FOREGROUND, alpha >= 1 - SURE)):
        settled[unknown & deeper_than(clear.view(np.uint8), MARGIN_PX)] = level
    return settled
