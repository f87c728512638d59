"""The worker's part: tiles cut out of pictures, the seed of what becomes of them, and their batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mematte.data.foregrounds import random_view
from mematte.data.published import Backgrounds, Drawn
from mematte.train.carry import carried

Bytes = NDArray[np.uint8]

MERGE_CHANCE = 0.5  # two foregrounds, one over the other


class Pointed(Drawn, Protocol):
    """A foreground that knows where its alpha is soft: (P, 2) pixels as (x, y)."""

    @property
    def points(self) -> NDArray[np.int32]: ...


class PointedForegrounds(Protocol):
    """Where foregrounds come from, such as what `load_foregrounds` gives."""

    def draw(self, rng: np.random.Generator, /) -> Pointed: ...


@dataclass(frozen=True)
class RawSample:
    """What a worker hands over.

    foregrounds: one or two (T, T, 4) uint8 RGBA tiles, the first in front, straight alpha, colour valid
    everywhere. background: (S, S, 3) uint8. seed: of everything that is still to happen.
    """

    foregrounds: tuple[Bytes, ...]
    background: Bytes
    seed: int


@dataclass(frozen=True)
class RawBatch:
    """B samples. fronts: (B, T, T, 4), backs: (K, T, T, 4), backgrounds: (B, S, S, 3), all uint8.

    back_of: (K,) the samples that the backs lie behind. seeds: (B,). These two stay on the CPU.
    """

    fronts: Tensor
    backs: Tensor
    back_of: Tensor
    backgrounds: Tensor
    seeds: Tensor

    def to(self, device: torch.device | str) -> RawBatch:
        """The batch with its pictures on another device."""
        return self._each(partial(carried, device=device))

    def pin_memory(self) -> RawBatch:
        """The batch with its pictures in page-locked memory; `DataLoader(pin_memory=True)` calls it."""
        return self._each(lambda pictures: pictures.pin_memory())

    def again(self, showing: int) -> RawBatch:
        """The batch with other seeds: of the same tiles the device makes something else."""
        return replace(self, seeds=self.seeds + showing)

    def _each(self, change: Callable[[Tensor], Tensor]) -> RawBatch:
        fronts, backs, backgrounds = map(change, (self.fronts, self.backs, self.backgrounds))
        return replace(self, fronts=fronts, backs=backs, backgrounds=backgrounds)


def tile_px(size_px: int) -> int:
    """Side of a foreground tile: half as much again as the crop, for turning; beyond, it is mirrored."""
    return size_px + 2 * (size_px // 4)


class RawSource:
    """Endless raw samples, each a function of the generator's state alone.

    Example:
        source = RawSource(foregrounds, backgrounds)
        generators = (np.random.default_rng([seed, step, number]) for number in range(16))
        batch = collate([source.sample(rng, 512) for rng in generators])  # in a worker
        pictures, truth, unknown = compose_on_device(batch.to("cuda"))
    """

    def __init__(self, foregrounds: PointedForegrounds, backgrounds: Backgrounds) -> None:
        cv2.setNumThreads(1)  # samples are made in parallel by processes, not by threads in each
        self._foregrounds = foregrounds
        self._backgrounds = backgrounds

    def sample(self, rng: np.random.Generator, size_px: int) -> RawSample:
        """What becomes one crop of `size_px` squared."""
        count = 2 if rng.random() < MERGE_CHANCE else 1
        tiles = tuple(self._tile(rng, size_px) for _ in range(count))
        return RawSample(tiles, self._backgrounds.photograph(rng, size_px), int(rng.integers(2**62)))

    def _tile(self, rng: np.random.Generator, size_px: int) -> Bytes:
        foreground = self._foregrounds.draw(rng)
        view = random_view(rng, foreground.points, foreground.pyramid.size_px, size_px)
        # The device turns the tile: here only place and scale.
        upright = replace(view, angle=0.0, flip=False, stretch=1.0)
        return foreground.pyramid.warp(upright, tile_px(size_px))


def collate(samples: Sequence[RawSample]) -> RawBatch:
    """Samples of one crop size -> their batch."""
    fronts = np.stack([sample.foregrounds[0] for sample in samples])
    merged = [number for number, sample in enumerate(samples) if len(sample.foregrounds) > 1]
    backs = [samples[number].foregrounds[1] for number in merged]
    return RawBatch(
        torch.from_numpy(fronts),
        torch.from_numpy(np.stack(backs) if backs else fronts[:0]),
        torch.tensor(merged, dtype=torch.int64),
        torch.from_numpy(np.stack([sample.background for sample in samples])),
        torch.tensor([sample.seed for sample in samples], dtype=torch.int64),
    )
