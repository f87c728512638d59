"""Crops -> batches of tensors, the same ones however many processes make them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from mematte.data.crops import Crop

from .carry import carried
from .on_device import Batch, RawBatch, collate
from .recipe import REPEATED_AFTER, Crops, Recipe


class Source(Protocol):
    """Where crops come from, finished or raw; each a function of the generator's state alone."""

    def sample(self, rng: np.random.Generator, size_px: int) -> Any:
        """One crop of `size_px` squared: a `Crop`, or a `RawSample` to be composed on the device."""
        ...


@runtime_checkable
class Drawing(Protocol):
    """A source that also draws mattes, and has to be told when to draw new ones."""

    def move_window(self, first: int) -> None:
        """Use the drawn mattes from number `first` on."""
        ...

    def draw_ahead(self, processes: int) -> None:
        """Make all of them, for processes that are forked later."""
        ...


@dataclass(frozen=True)
class CropBatch:
    """B finished crops on their way: a third of the bytes of what `tensors` makes of them.

    images: (B, S, S, 3) uint8. alphas: (B, S, S) float32. trimaps: (B, S, S) uint8 {0, 128, 255}.
    """

    images: Tensor
    alphas: Tensor
    trimaps: Tensor

    @classmethod
    def of(cls, crops: Sequence[Crop]) -> CropBatch:
        """Crops of one size."""
        parts = ([getattr(crop, name) for crop in crops] for name in ("image", "alpha", "trimap"))
        return cls(*(torch.from_numpy(np.stack(part)) for part in parts))

    def to(self, device: torch.device | str) -> CropBatch:
        """The batch on another device."""
        return self._each(partial(carried, device=device))

    def pin_memory(self) -> CropBatch:
        """The batch in page-locked memory; `DataLoader(pin_memory=True)` calls it."""
        return self._each(lambda part: part.pin_memory())

    def again(self, showing: int) -> CropBatch:
        """The batch in another of the square's eight positions; with `showing` 1 to 7 in all of them."""
        quarters, mirrored = showing % 4, showing % 8 >= 4

        def change(part: Tensor) -> Tensor:
            part = part.rot90(quarters, (1, 2))
            return (part.flip(2) if mirrored else part).contiguous()

        return self._each(change)

    def tensors(self) -> Batch:
        """What training takes, on the device that the batch is on."""
        trimap = self.trimaps[..., None]
        levels = torch.where(trimap == 128, 0.5, trimap.float() / 255)
        pictures = torch.cat((self.images.float() / 255, levels), dim=-1).permute(0, 3, 1, 2)
        return pictures, self.alphas[:, None], (trimap == 128).float().permute(0, 3, 1, 2)

    def _each(self, change: Callable[[Tensor], Tensor]) -> CropBatch:
        return CropBatch(*map(change, (self.images, self.alphas, self.trimaps)))


class Batches(IterableDataset[Any]):
    """This process's part of every batch, from step `first` on.

    Crop number i of a step has a generator of its own, seeded with (seed, step, i): it is the same however
    the batch is divided among processes, parts and loader workers, and after a stop it is made again.

    A recipe's `repeats` show crops again, each time in another of the square's eight positions. Those that
    will be seen again are kept; where another worker than that which made them needs them, it makes them too.
    """

    def __init__(self, source: Source, recipe: Recipe, first: int, rank: int, ranks: int) -> None:
        self.source, self.recipe, self.first, self.rank, self.ranks = source, recipe, first, rank, ranks
        self._kept: OrderedDict[tuple[int, int], CropBatch | RawBatch] = OrderedDict()
        self._room = REPEATED_AFTER * recipe.accumulate

    def __iter__(self) -> Iterator[CropBatch | RawBatch]:
        """Part by part of each step; of several loader workers each makes every so many-th part."""
        worker = get_worker_info()
        index, count = (worker.id, worker.num_workers) if worker else (0, 1)
        parts = self.recipe.accumulate
        self._room = -(-REPEATED_AFTER * parts // count)
        for number in range(self.first * parts + index, self.recipe.steps * parts, count):
            yield self.part(*divmod(number, parts))

    def part(self, step: int, part: int) -> CropBatch | RawBatch:
        """One part of a step's batch."""
        made_at, showing = self.recipe.showing(step)
        batch = self._kept.pop((made_at, part), None)
        if batch is None:
            batch = self._made(made_at, part, self.recipe.batch(step), self.recipe.drawing(step))
        if showing + 1 < self.recipe.repeats:
            self._kept[made_at, part] = batch
            if len(self._kept) > self._room:
                self._kept.popitem(last=False)
        return batch.again(showing) if showing else batch

    def _made(self, step: int, part: int, kind: Crops, drawing: int) -> CropBatch | RawBatch:
        if isinstance(self.source, Drawing):
            self.source.move_window(drawing)
        share = kind.count // (self.ranks * self.recipe.accumulate)
        first = (part * self.ranks + self.rank) * share
        generators = (
            np.random.default_rng([self.recipe.seed, step, number]) for number in range(first, first + share)
        )
        crops = [self.source.sample(rng, kind.size_px) for rng in generators]
        return CropBatch.of(crops) if isinstance(crops[0], Crop) else collate(crops)


def batch_loader(batches: Batches, workers: int, *, pin_memory: bool = False) -> DataLoader[Any]:
    """Batches made by so many other processes; 0 = by this one, when they are asked for.

    `pin_memory` moves them where a GPU copies from. Drawn mattes are made before, once for all processes.
    """
    if workers and isinstance(batches.source, Drawing):
        batches.source.move_window(batches.recipe.drawing(batches.first))
        batches.source.draw_ahead(workers)
    return DataLoader(
        batches,
        batch_size=None,
        num_workers=workers,
        pin_memory=pin_memory,
        multiprocessing_context="fork" if workers else None,
    )
