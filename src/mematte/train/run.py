"""A plain training run on one machine: it can be stopped at any moment and goes on where it was."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from mematte.data.crops import CropSource
from mematte.model import MEMatte, gumbel
from mematte.weights import Weights
from mematte.weights.checkpoint import weights_of

from .batches import make_batch
from .batr import attending_shares, batch_constraint
from .losses import matting_losses
from .ranks import average_gradients, mean_over_ranks, rank, ranks
from .recipe import Recipe

log = logging.getLogger("mematte.train")

CHECKPOINT_SECONDS = 120
LOG_STEPS = 50


class Run:
    """The state of a run (network, optimisers, averaged weights, steps, seconds) and what moves it on."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe = recipe
        self.folder = folder
        self.step = 0
        self.crops = 0
        self.seconds = 0.0
        torch.manual_seed(recipe.seed)
        self.network = MEMatte(recipe.spec).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimisers = _optimisers(self.network, recipe)
        self.average = torch.optim.swa_utils.AveragedModel(
            self.network,
            multi_avg_fn=_moving_average(recipe.averaging),
            use_buffers=True,
        )
        self.loss_weights = dict(recipe.loss_weights)
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint = folder / "checkpoint.pt"
        if checkpoint.exists():
            self.load(checkpoint)

    @property
    def progress(self) -> float:
        """0 at the start, 1 when the recipe's hours are over."""
        return self.seconds / (3600 * self.recipe.hours)

    def train(self, source: CropSource) -> None:
        """Train until the recipe's hours are over, saving every two minutes."""
        rng = np.random.default_rng([self.recipe.seed, self.step, rank()])
        torch.manual_seed(int(rng.integers(2**63)))  # each rank's Gumbel noise is its own
        self.network.train()
        clock = saved = time.monotonic()
        making = 0.0
        record: dict[str, float] = {}
        while self.progress < 1:
            before = time.monotonic()
            batch = make_batch(source, rng, *self.recipe.batch(self.step, self.progress))
            making += time.monotonic() - before
            losses = self.advance(*batch)
            now = time.monotonic()
            # All ranks must agree on the time, for the schedule hangs on it.
            self.seconds += mean_over_ranks(torch.tensor(now - clock)).item()
            clock = now
            for name, value in losses.items():
                record[name] = record.get(name, 0.0) + value / LOG_STEPS
            if rank() == 0 and self.step % LOG_STEPS == 0:
                self.report(record, making)
                record, making = {}, 0.0
            if rank() == 0 and now - saved > CHECKPOINT_SECONDS:
                self.save()
                saved = time.monotonic()
        if rank() == 0:
            self.save()

    def advance(self, inputs: Tensor, truth: Tensor, unknown: Tensor) -> dict[str, float]:
        """One step on one batch; returns the losses and the attending share."""
        factor = self.recipe.rate_factor(self.step, self.progress)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * factor
        inputs = inputs.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16):
            matting = self.network(inputs, partial(gumbel, noise=self.recipe.routing_noise(self.progress)))
        losses = matting_losses(matting.alpha, truth, unknown)
        shares = mean_over_ranks(attending_shares(matting.routings))
        losses["routing"] = batch_constraint(shares, self.recipe.target_share, self.recipe.routers_balance)
        total = torch.stack([self.loss_weights[name] * loss for name, loss in losses.items()]).sum()
        total.backward()
        average_gradients(self.network.parameters())
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.recipe.gradient_norm)
        if torch.isfinite(norm):
            for optimiser in self.optimisers:
                optimiser.step()
            self.average.update_parameters(self.network)
        else:
            log.warning("step %d: the gradient is not finite; the batch is skipped", self.step)
            # What spoilt the gradient may have spoilt the running statistics too; the average's are whole.
            for spoilt, whole in zip(self.network.buffers(), self.average.module.buffers(), strict=True):
                spoilt.copy_(whole)
        self.network.zero_grad(set_to_none=True)
        self.step += 1
        self.crops += len(inputs) * ranks()
        figures = {name: loss.item() for name, loss in losses.items()}
        return figures | {"share": shares.mean().item(), "norm": norm.item()}

    def report(self, record: dict[str, float], making: float) -> None:
        """Add a line to log.jsonl."""
        state = {"step": self.step, "crops": self.crops, "seconds": round(self.seconds, 1)}
        figures = {name: round(value, 5) for name, value in record.items()}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(state | figures | {"making": round(making, 2)}) + "\n")
        log.info("step %d, %d crops, %.0f s: %s", self.step, self.crops, self.seconds, figures)

    def weights(self, licence: str) -> Weights:
        """The averaged network as weights that can be shipped, with the record of this run."""
        averaged = cast("MEMatte", self.average.module)
        record = {
            "recipe": asdict(self.recipe),
            "steps": self.step,
            "crops": self.crops,
            "hours": round(self.seconds / 3600, 2),
        }
        return weights_of(averaged, name=self.recipe.spec.name, licence=licence, training=record)

    def save(self) -> None:
        """Write checkpoint.pt beside, then rename: a full disk or a kill leaves the previous one whole."""
        state = {
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
            "step": self.step,
            "crops": self.crops,
            "seconds": self.seconds,
        }
        partial = self.folder / f".checkpoint.partial-{os.getpid()}.pt"
        try:
            torch.save(state, partial)
            partial.replace(self.folder / "checkpoint.pt")
        finally:
            partial.unlink(missing_ok=True)

    def load(self, checkpoint: Path) -> None:
        """Go on from a checkpoint that `save` wrote."""
        state: dict[str, Any] = torch.load(checkpoint, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        peaks = [[group["peak"] for group in optimiser.param_groups] for optimiser in self.optimisers]
        for optimiser, saved, peak in zip(self.optimisers, state["optimisers"], peaks, strict=True):
            optimiser.load_state_dict(saved)
            for group, value in zip(optimiser.param_groups, peak, strict=True):
                group["peak"] = value  # the recipe's word counts, not the checkpoint's
        self.step, self.crops, self.seconds = state["step"], state["crops"], state["seconds"]
        log.info("going on from step %d (%d crops)", self.step, self.crops)


Tensors = tuple[Tensor, ...] | list[Tensor]


def _moving_average(decay: float) -> Callable[[Tensors, Tensors, Tensor | int], None]:
    """Exponential moving average that follows closely at first, so that it soon forgets the random start."""

    def update(average: Tensors, current: Tensors, updates: Tensor | int) -> None:
        follow = 1 - min(decay, (1 + int(updates)) / (10 + int(updates)))
        for ours, theirs in zip(average, current, strict=True):
            if ours.is_floating_point():
                ours.lerp_(theirs, follow)
            else:
                ours.copy_(theirs)

    return update


def _optimisers(network: MEMatte, recipe: Recipe) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for the rest; no decay on norms, biases and positions."""
    matrices, filters, rest = [], [], []
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2 and name.startswith("backbone.blocks") and min(parameter.shape) > 32:
            matrices.append(parameter)
        elif parameter.ndim == 4 and not name.endswith("positions"):
            filters.append(parameter)
        else:
            rest.append(parameter)
    muon = torch.optim.Muon(
        [{"params": matrices, "peak": recipe.matrix_learning_rate}],
        lr=recipe.matrix_learning_rate,
        weight_decay=recipe.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
    adamw = torch.optim.AdamW(
        [
            {"params": filters, "peak": recipe.learning_rate, "weight_decay": recipe.weight_decay},
            {"params": rest, "peak": recipe.learning_rate, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
        betas=(0.9, 0.99),
        fused=True,
    )
    return [muon, adamw]
