"""Random numbers of each sample, and changes to the samples that they choose."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mematte.train.carry import carried


class Draws:
    """Random numbers for B samples, each from the sample's own seed; all on the CPU."""

    _COUNT = 256

    def __init__(self, seeds: Tensor) -> None:
        self.seeds = seeds
        generators = [torch.Generator().manual_seed(seed) for seed in seeds.tolist()]
        self._numbers = torch.stack([torch.rand(self._COUNT, generator=one) for one in generators])
        self._used = 0

    def numbers(self, count: int) -> Tensor:
        """(B, count) in [0, 1), not used before."""
        start, self._used = self._used, self._used + count
        assert self._used <= self._COUNT
        return self._numbers[:, start : self._used]

    def uniform(self, low: float, high: float) -> Tensor:
        """(B,) in [low, high)."""
        return low + (high - low) * self.numbers(1)[:, 0]

    def ratio(self, low: float, high: float) -> Tensor:
        """(B,) in [low, high), its logarithm uniform."""
        return self.uniform(math.log(low), math.log(high)).exp()

    def normal(self, deviation: float) -> Tensor:
        """(B,) around 0."""
        first, second = self.numbers(2).unbind(1)
        return deviation * (-2 * (1 - first).log()).sqrt() * (2 * math.pi * second).cos()

    def chosen(self, chance: float) -> Tensor:
        """(K,) numbers of the samples that something happens to."""
        return (self.uniform(0, 1) < chance).nonzero()[:, 0]


def change_chosen(
    pictures: Tensor, chosen: Tensor, change: Callable[..., Tensor], *arguments: Tensor
) -> Tensor:
    """Pictures of which the chosen ones are changed; each argument has one row per sample of the batch."""
    if not len(chosen):
        return pictures
    at = carried(chosen, pictures.device)
    rows = (carried(argument[chosen], pictures.device) for argument in arguments)
    return pictures.index_copy(0, at, change(pictures[at], *rows))


def per_sample(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1): one number per sample."""
    return values.view(-1, 1, 1, 1)
