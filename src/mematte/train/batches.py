"""Crops -> batches of tensors, the same ones however many processes make them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import IterableDataset, get_worker_info

from mematte.data.crops import Crop

from .on_device import IMAGENET_MEAN, IMAGENET_STD, Batch, RawBatch, collate
from .recipe import Recipe


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


def tensors(crops: Sequence[Crop]) -> Batch:
    """Crops of one size as the network and the losses take them."""
    image = torch.from_numpy(np.stack([crop.image for crop in crops])).float() / 255
    trimap = torch.from_numpy(np.stack([crop.trimap for crop in crops]))[..., None]
    levels = torch.where(trimap == 128, 0.5, trimap.float() / 255)
    inputs = torch.cat(((image - IMAGENET_MEAN) / IMAGENET_STD, levels), dim=-1).permute(0, 3, 1, 2)
    truth = torch.from_numpy(np.stack([crop.alpha for crop in crops]))[:, None]
    return inputs, truth, (trimap == 128).float().permute(0, 3, 1, 2)


class Batches(IterableDataset[Any]):
    """This process's part of every batch, from step `first` on.

    Crop number i of a step has a generator of its own, seeded with (seed, step, i): it is the same however
    the batch is divided among processes, parts and loader workers, and after a stop it is made again.
    """

    def __init__(self, source: Source, recipe: Recipe, first: int, rank: int, ranks: int) -> None:
        self.source, self.recipe, self.first, self.rank, self.ranks = source, recipe, first, rank, ranks

    def __iter__(self) -> Iterator[Batch | RawBatch]:
        """Part by part of each step; of several loader workers each makes every so many-th part."""
        worker = get_worker_info()
        index, count = (worker.id, worker.num_workers) if worker else (0, 1)
        parts = self.recipe.accumulate
        for number in range(self.first * parts + index, self.recipe.steps * parts, count):
            yield self.part(*divmod(number, parts))

    def part(self, step: int, part: int) -> Batch | RawBatch:
        """One part of a step's batch."""
        kind = self.recipe.batch(step)
        if isinstance(self.source, Drawing):
            self.source.move_window(self.recipe.drawing(step))
        share = kind.count // (self.ranks * self.recipe.accumulate)
        first = (part * self.ranks + self.rank) * share
        generators = (
            np.random.default_rng([self.recipe.seed, step, number]) for number in range(first, first + share)
        )
        crops = [self.source.sample(rng, kind.size_px) for rng in generators]
        return tensors(crops) if isinstance(crops[0], Crop) else collate(crops)
