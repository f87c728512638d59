"""Supply: how many crops the cores make, the network left out.

Where they are fewer than a GPU takes, it waits.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mematte.errors import InputError, MatteError
from mematte.processes import users_error

from .batches import Batches, Source, batch_loader
from .on_device import RawBatch
from .recipe import Recipe

_WARM_UP_BATCHES = 2  # of each worker: as many are made ahead


@dataclass(frozen=True)
class SupplyRow:
    """What some processes made.

    Attributes:
        workers: processes.
        cores: of the machine.
        crops: of whole batches.
        pixels: of these crops.
        seconds: that took, once every process was at work.
        composed: whether the crops are finished, not tiles that a GPU has yet to compose.
    """

    workers: int
    cores: int
    crops: int
    pixels: int
    seconds: float
    composed: bool

    @property
    def crops_per_second(self) -> float:
        """Of all processes together."""
        return self.crops / self.seconds


def measure_all(
    recipe: Recipe,
    source: Source,
    workers: Iterable[int] = (),
    *,
    seconds: float,
    on_row: Callable[[SupplyRow], None] = lambda _: None,
) -> list[SupplyRow]:
    """Make the crops of a recipe's first steps, in so many processes, for so long.

    Args:
        recipe: whose crops; they are those that a run of it sees.
        source: from `sources.crop_source`.
        workers: processes, one row each; empty = 1, and one for every core.
        seconds: of each row, once all processes are at work.
        on_row: told every row when it is there.

    Raises:
        InputError: the recipe has fewer steps than that takes.
        TrainingError: the recipe cannot be run.
        DataError: too many files are damaged.
    """
    recipe.check()
    cores = os.cpu_count() or 1
    rows = []
    for count in list(workers) or sorted({1, cores}):
        try:
            rows.append(_measured(recipe, source, count, cores, seconds))
        except MatteError as error:
            raise users_error(error) or error from None
        on_row(rows[-1])
    return rows


def _measured(recipe: Recipe, source: Source, workers: int, cores: int, seconds: float) -> SupplyRow:
    batches = iter(batch_loader(Batches(source, recipe, first=0, rank=0, ranks=1), workers))
    crops, pixels, composed, start, elapsed = 0, 0, True, 0.0, 0.0
    for number, batch in enumerate(batches, start=1 - _WARM_UP_BATCHES * workers):
        if number > 0:
            count, side = _extent(batch)
            crops, pixels = crops + count, pixels + count * side * side
            composed, elapsed = not isinstance(batch, RawBatch), time.perf_counter() - start
        else:
            start = time.perf_counter()
        if crops and elapsed >= seconds:
            break
    if elapsed < seconds:
        raise InputError(
            f"The recipe's {recipe.steps} steps were made before {seconds:g} s were over: nothing is left to "
            "measure. Give it more steps, or measure for a shorter time."
        )
    return SupplyRow(workers, cores, crops, pixels, elapsed, composed)


def _extent(batch: Any) -> tuple[int, int]:
    """(crops, px of a side)."""
    pictures = batch.backgrounds if isinstance(batch, RawBatch) else batch.images
    return pictures.shape[0], pictures.shape[1]


def table(rows: Sequence[SupplyRow]) -> str:
    """Rows as a Markdown table."""
    lines = [
        "| processes | crops | seconds | crops a second | of each process | megapixels a second |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.workers} | {row.crops:,} | {row.seconds:.1f} | {row.crops_per_second:.1f} "
        f"| {row.crops_per_second / row.workers:.1f} | {row.pixels / row.seconds / 1e6:.1f} |"
        for row in rows
    ]
    what = "finished crops" if rows[0].composed else "tiles that the GPU composes"
    return "\n".join([*lines, "", f"{rows[0].cores} cores; {what}."])
