"""Recipe: every number of a training run. The runs themselves are files in `recipes/`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mematte.model import ModelSpec

from .batr import TARGET_SHARE


@dataclass(frozen=True)
class Phase:
    """What a batch is made of, from a point of the run on."""

    starts_at: float  # progress, 0 ... 1
    crops: tuple[tuple[int, int, float], ...]  # (size in px, crops per process and step, probability)


@dataclass(frozen=True)
class Recipe:
    """A run on one machine, measured in hours because hours are what there is."""

    spec: ModelSpec
    hours: float
    phases: tuple[Phase, ...]
    learning_rate: float  # of AdamW, and of Muon scaled to the same update size
    matrix_learning_rate: float
    weight_decay: float = 0.05
    warmup_steps: int = 200
    decay_share: float = 0.4  # the last part of the run, over which the learning rate falls to zero
    averaging: float = 0.999  # exponential moving average of the weights, per step
    gradient_norm: float = 1.0
    target_share: float = TARGET_SHARE
    loss_weights: tuple[tuple[str, float], ...] = (
        ("unknown_l1", 1.0),
        ("known_l1", 1.0),
        ("laplacian", 1.0),
        ("gradient", 1.0),
        ("routing", 1.0),
    )
    routers_balance: float = 0.0  # see `batch_constraint`
    noise_ends_at: float = 0.65  # progress at which the routers' decisions are no longer random
    seed: int = 0
    data: str = ""  # what it is trained on and under which licences, for the record in the weights

    def phase(self, progress: float) -> Phase:
        """The phase that `progress` (0 ... 1) of the run lies in."""
        return max((p for p in self.phases if p.starts_at <= progress), key=lambda p: p.starts_at)

    def batch(self, step: int, progress: float) -> tuple[int, int]:
        """(size in px, crops per process) of a step; the same in every process."""
        crops = self.phase(progress).crops
        rng = np.random.default_rng([self.seed, step])
        size_px, count, _ = crops[rng.choice(len(crops), p=[probability for *_, probability in crops])]
        return size_px, count

    def routing_noise(self, progress: float) -> float:
        """Factor on the routers' Gumbel noise: 1 for a third of the way, then falling to 0."""
        return min(1.0, max(0.0, 1.5 * (1 - progress / self.noise_ends_at)))

    def rate_factor(self, step: int, progress: float) -> float:
        """Learning rate relative to its peak: a short rise, a plateau, a straight fall to zero.

        The plateau makes runs that go on possible: one that is to be continued starts from before the fall.
        """
        rise = min(1.0, (step + 1) / self.warmup_steps)
        fall = min(1.0, max(0.0, 1 - progress) / self.decay_share)
        return rise * fall
