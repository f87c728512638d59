"""The training step: what the network is shown, what it is told, and what is kept of it."""

from __future__ import annotations

import logging
import os
import time
from copy import deepcopy
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import clip_grad_norm_
from torch.utils.data import DataLoader

from mematte.errors import TrainingError
from mematte.model import gumbel
from mematte.model.router import Decide, everyone
from mematte.processes import CAN_FORK
from mematte.weights import Weights
from mematte.weights.checkpoint import weights_of

from .batches import Batches, CropBatch, Source, batch_loader
from .batr import attending_shares, batch_constraint, image_constraint
from .losses import distillation, matting_losses
from .on_device import RawBatch, compose_on_device
from .optimisers import Together, make_optimiser
from .ranks import from_first_rank, rank, ranks
from .recipe import REPEATED_AFTER, Recipe
from .start import Start

log = logging.getLogger("mematte.train")


def kind_of(recipe: Recipe) -> str:
    """What a checkpoint has to be of, to go on from it."""
    spec = recipe.spec
    return f"{spec.name} ({spec.channels} channels, {spec.blocks}), {recipe.optimiser}"


def check_kind(checkpoint: dict[str, Any], recipe: Recipe) -> None:
    """Refuse a checkpoint of another network or optimiser.

    Raises:
        TrainingError: says both.
    """
    found, wanted = checkpoint.get("mematte"), kind_of(recipe)
    if found != wanted:
        raise TrainingError(
            f"The checkpoint is of {found}, the recipe asks for {wanted}. Begin another run from its "
            "weights, with start=, instead of resuming this one."
        )


class MattingTraining(LightningModule):
    """A network, its moving average, and the step that moves both on."""

    def __init__(
        self,
        recipe: Recipe,
        start: Start,
        source: Source,
        teacher: Start | None = None,
        workers: int = 0,
    ) -> None:
        """
        Args:
            start: what is trained; its network is changed in place.
            teacher: frozen; its features are what the network's are drawn to.
            workers: processes that make the crops of this one, on a GPU; 0 = its share of the cores.
        """
        super().__init__()
        self.workers = workers
        self._progress, self._spent, self._began = 0.0, 0.0, time.monotonic()
        self.recipe = recipe
        self.source = source
        self.network = start.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if recipe.freeze_batchnorm:  # for good: Lightning leaves modules in the mode that it found them in
            for module in self.network.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        self.start = start
        self.average = deepcopy(self.network).requires_grad_(False)
        # In a list, the teacher is no part of what is trained, saved and counted.
        self._teacher = [] if teacher is None else [teacher]
        for frozen in self._teacher:
            frozen.network.eval().requires_grad_(False)
        self._peaks: list[float] = []
        self._sums: dict[str, Tensor] = {}
        self._parts = 0
        self._scaler: Any = None  # of losses, where float16 is trained in
        self._norm = torch.zeros(())
        self._is_finite = True

    def _progress_now(self) -> float:
        """Share of the run that is done, of its steps or of its minutes: 0 to 1; the same in all ranks."""
        done = self.global_step / self.recipe.steps
        if self.recipe.minutes:
            done = max(done, from_first_rank(self.minutes_spent(), self.device) / self.recipe.minutes)
        return min(1.0, done)

    def minutes_spent(self) -> float:
        """Since the run's first step, without the pauses before it was resumed."""
        return self._spent + (time.monotonic() - self._began) / 60

    def configure_optimizers(self) -> Together:
        """Called by Lightning."""
        precision = torch.bfloat16 if self.trainer.precision == "bf16-mixed" else torch.float32
        optimiser = make_optimiser(self.network, self.recipe, precision)
        self._peaks = [group["peak"] for group in optimiser.param_groups]
        return optimiser

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What a checkpoint is of."""
        checkpoint["mematte"] = kind_of(self.recipe)
        checkpoint["minutes"] = self.minutes_spent()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse what is of something else; begin with the first part of a step.

        Raises:
            TrainingError: the network or the optimiser is another one; says both.
        """
        check_kind(checkpoint, self.recipe)
        self._spent = checkpoint.get("minutes", 0.0)
        # Lightning counts parts. Of a run that is to have others now, its count would begin within a step.
        parts = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["current"]
        shift = checkpoint["global_step"] * self.recipe.accumulate - parts["ready"]
        parts.update({moment: count + shift for moment, count in parts.items()})

    def train_dataloader(self) -> DataLoader[Any]:
        """From the step on that the run has reached. On a CPU the cores have enough to do without workers."""
        batches = Batches(self.source, self.recipe, self.global_step, rank(), ranks())
        on_gpu = self.device.type == "cuda"
        return batch_loader(batches, self._workers() if on_gpu and CAN_FORK else 0, pin_memory=on_gpu)

    def _workers(self) -> int:
        """Processes that make this process's crops: a power of two where crops are repeated, so that each
        is asked again for those that it has kept."""
        workers = self.workers or max(1, (os.cpu_count() or 1) // self.trainer.num_devices)
        if self.recipe.repeats > 1:
            workers = min(REPEATED_AFTER, 1 << (workers.bit_length() - 1))
        return workers

    def on_fit_start(self) -> None:
        """The teacher follows the network to its device; processes on a CPU have a core each."""
        self._scaler = getattr(self.trainer.precision_plugin, "scaler", None)
        if self.device.type == "cpu" and ranks() > 1:
            torch.set_num_threads(1)
        for teacher in self._teacher:
            teacher.network.to(device=self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def on_train_start(self) -> None:
        """The clock of a run of so many minutes starts."""
        self._began = time.monotonic()

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """Set the rates of this step; the recipe's word counts, not that of a checkpoint."""
        self._progress = self._progress_now()
        is_last_part = (batch_idx + 1) % self.recipe.accumulate == 0
        if self.recipe.minutes and self._progress >= 1 and is_last_part:
            self.trainer.should_stop = True  # after this step
        optimiser = cast(Together, self.optimizers(use_pl_optimizer=False))
        factor = self.recipe.rate_factor(self.global_step, self._progress)
        for group, peak in zip(optimiser.param_groups, self._peaks, strict=True):
            group["lr"] = peak * factor

    def training_step(self, batch: CropBatch | RawBatch, batch_idx: int) -> Tensor:
        """The total loss of one part of a batch."""
        pictures, truth, unknown = (
            compose_on_device(batch) if isinstance(batch, RawBatch) else batch.tensors()
        )
        matting = self.network(self.start.inputs(pictures), self._decide(batch_idx % self.recipe.accumulate))
        with torch.autocast(self.device.type, enabled=False):  # a convolution would round alpha to 1/256
            losses = matting_losses(matting.alpha.float(), truth, unknown)
        if matting.routings and self.recipe.routing != "everyone":
            shares = attending_shares(matting.routings)
            losses["routing"] = (
                batch_constraint(shares, self.recipe.target_share, self.recipe.routers_balance)
                if self.recipe.routing == "batch"
                else image_constraint(shares, self.recipe.target_share)
            )
            self._note("share", shares.mean())
        if self._teacher:
            with torch.no_grad():
                features, _ = self._teacher[0].network.backbone(self._teacher[0].inputs(pictures))
            losses["distillation"] = distillation(matting.features, features)
        for name, loss in losses.items():
            self._note(name, loss)
        self._parts += 1
        total = torch.stack(
            [getattr(self.recipe.weights, name) * loss for name, loss in losses.items()]
        ).sum()
        # |alpha - nan| has the gradient 0: such a loss has to spoil the gradient of all processes by itself.
        return total * torch.where(total.isfinite(), 1.0, torch.nan)

    def _note(self, name: str, value: Tensor) -> None:
        """Sums stay on the device: reading them at every step would make it wait."""
        self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach()

    def _decide(self, part: int) -> Decide:
        """Random decisions, from a generator that only step, part and process determine."""
        if self.recipe.routing == "everyone":
            return everyone
        seed = np.random.SeedSequence([self.recipe.seed, self.global_step, part, rank()])
        generator = torch.Generator(self.device)
        generator.manual_seed(int(seed.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        noise, scale = self.recipe.routing_noise(self._progress), self._gradient_scale()
        return partial(gumbel, noise=noise, generator=generator, gradient_scale=scale)

    def _gradient_scale(self) -> Tensor:
        """What Lightning multiplies a part's loss by: float16 scales it up, parts share one step."""
        one = torch.ones((), device=self.device)
        return (one if self._scaler is None else self._scaler.scale(one)) / self.recipe.accumulate

    def configure_gradient_clipping(self, optimizer: Any, *_: Any, **__: Any) -> None:
        """Clip; where the gradient is not finite, drop it, so that the optimisers leave the weights alone."""
        parameters = [parameter for parameter in self.network.parameters() if parameter.grad is not None]
        self._norm = clip_grad_norm_(parameters, self.recipe.gradient_norm)
        self._is_finite = bool(torch.isfinite(self._norm))  # asked once, since a GPU waits for it
        if not self._is_finite:
            level = logging.WARNING if rank() == 0 else logging.DEBUG
            log.log(level, "step %d: the gradient is not finite; the batch is skipped", self.global_step)
            for parameter in parameters:
                parameter.grad = None
            # What spoilt the gradient may have spoilt the running statistics too; the average's are whole.
            for spoilt, whole in zip(self.network.buffers(), self.average.buffers(), strict=True):
                spoilt.copy_(whole)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """One step, followed by the average."""
        super().optimizer_step(*args, **kwargs)
        if self._is_finite:
            self._move_average()

    @torch.no_grad()
    def _move_average(self) -> None:
        """Exponential, following closely at first, so that it soon forgets the start.

        All at once, and without a count on the device, as PyTorch's `AveragedModel` has: a GPU would wait for
        the launches of one after another, and the computer for the GPU.
        """
        step = self.global_step
        follow = 1 - min(self.recipe.averaging, (1 + step) / (10 + step))
        pairs = [
            (average, current)
            for name in ("parameters", "buffers")
            for average, current in zip(
                getattr(self.average, name)(), getattr(self.network, name)(), strict=True
            )
            if average.is_floating_point()
        ]
        averages, currents = map(list, zip(*pairs, strict=True))
        torch._foreach_lerp_(averages, currents, follow)

    def figures(self) -> dict[str, float]:
        """Means of losses and attending share since the last call, and the last gradient norm."""
        figures = {name: value.item() / self._parts for name, value in self._sums.items()}
        self._sums, self._parts = {}, 0
        return figures | {"norm": self._norm.item()}

    def averaged_weights(self) -> Weights:
        """The averaged network as weights that can be used and shipped, with the record of this run."""
        averaged = self.average if self.recipe.averaging else self.network
        record = {"recipe": self.recipe.record(), "steps": self.global_step}
        return weights_of(
            averaged,
            name=self.recipe.spec.name,
            licence=self.recipe.licence,
            training=record,
            preprocessing=self.start.preprocessing,
            enlarge_below=self.start.enlarge_below,
            windows=self.start.windows,
            narrow_above=self.start.narrow_above,
        )
