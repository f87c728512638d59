"""Crops -> batches of tensors, the same ones however many processes make them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from mematte.data.crops import Crop

from .recipe import Recipe

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406])
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225])

Batch = tuple[Tensor, Tensor, Tensor]
"""inputs (B, 4, S, S): normalised RGB, trimap 0 / 0.5 / 1; truth (B, 1, S, S): alpha in [0, 1];
unknown (B, 1, S, S): 1 where the trimap is unknown, else 0."""


class Source(Protocol):
    """Where crops come from; each a function of the generator's state alone."""

    def sample(self, rng: np.random.Generator, size_px: int) -> Crop:
        """One crop of `size_px` squared."""
        ...

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


class Batches(IterableDataset[Batch]):
    """This process's part of every batch, from step `first` on.

    Crop number i of a step has a generator of its own, seeded with (seed, step, i): it is the same however
    the batch is divided among processes, parts and loader workers, and after a stop it is made again.
    """

    def __init__(self, source: Source, recipe: Recipe, first: int, rank: int, ranks: int) -> None:
        self.source, self.recipe, self.first, self.rank, self.ranks = source, recipe, first, rank, ranks

    def __iter__(self) -> Iterator[Batch]:
        """Part by part of each step; of several loader workers each makes every so many-th part."""
        worker = get_worker_info()
        index, count = (worker.id, worker.num_workers) if worker else (0, 1)
        parts = self.recipe.accumulate
        for number in range(self.first * parts + index, self.recipe.steps * parts, count):
            yield self.part(*divmod(number, parts))

    def part(self, step: int, part: int) -> Batch:
        """One part of a step's batch."""
        kind = self.recipe.batch(step)
        self.source.move_window(self.recipe.drawing(step))
        share = kind.count // (self.ranks * self.recipe.accumulate)
        first = (part * self.ranks + self.rank) * share
        generators = (
            np.random.default_rng([self.recipe.seed, step, number]) for number in range(first, first + share)
        )
        return tensors([self.source.sample(rng, kind.size_px) for rng in generators])
