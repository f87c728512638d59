"""Progress: what a run writes down while it goes on."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import Callback, LightningModule, Trainer

from mematte.errors import OutputError
from mematte.files import write_text
from mematte.weights import save_weights
from mematte.weights.load import RUN_WEIGHTS

from .checkpoints import CHECKPOINT, WholeCheckpoints
from .loggers import log_figures
from .module import MattingTraining
from .pace import Pace
from .ranks import rank
from .recipe import Recipe

log = logging.getLogger("mematte.train")

LOG = "log.jsonl"


class Progress(Callback):
    """As often as the recipe says: a line in log.jsonl and TensorBoard; a checkpoint and the weights.

    Not Lightning's `ModelCheckpoint`: resumed, that saves again after the first part of the next step.
    """

    def __init__(self, recipe: Recipe, folder: Path, checkpoints: WholeCheckpoints) -> None:
        self.recipe, self.folder, self.checkpoints = recipe, folder, checkpoints
        self._since = self._idle_since = time.monotonic()
        self._waited = 0.0
        self._crops = 0.0
        self._pace = Pace()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The clock starts."""
        if trainer.global_step:
            log.info("going on from step %d of %d", trainer.global_step, self.recipe.steps)
        if rank() == 0 and (self.folder / LOG).exists():
            _forget_lines_after(trainer.global_step, self.folder / LOG)
        self._since = self._idle_since = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
        """The batch is here: how long was it waited for?"""
        self._pace.begin(pl_module.device)
        self._waited += time.monotonic() - self._idle_since
        self._crops += self.recipe.batch(trainer.global_step).count / self.recipe.accumulate

    def on_before_backward(self, *_: Any) -> None:
        """The loss is known."""
        self._pace.mark()

    def on_after_backward(self, *_: Any) -> None:
        """The gradients are there."""
        self._pace.mark()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report, and write the weights beside a checkpoint."""
        self._pace.mark()
        module = cast(MattingTraining, pl_module)
        step = trainer.global_step
        whole = (batch_idx + 1) % self.recipe.accumulate == 0
        if whole and step % self.recipe.log_every == 0:
            pace, self._pace = self._pace, Pace()
            if rank() == 0:
                self._report(trainer, module.figures(), pace)
        if whole and step % self.recipe.save_every == 0:
            trainer.save_checkpoint(self.folder / CHECKPOINT, weights_only=False)
            if rank() == 0:
                self._save_weights(module)
        self._idle_since = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last checkpoint and the weights.

        Raises:
            OutputError: the last checkpoint could not be written.
        """
        trainer.save_checkpoint(self.folder / CHECKPOINT, weights_only=False)
        if rank() == 0:
            self._save_weights(cast(MattingTraining, pl_module))
            if self.checkpoints.failure:
                raise OutputError(
                    f"{self.checkpoints.failure}. Make room and go on: mematte train --resume {self.folder}"
                )

    def _report(self, trainer: Trainer, figures: dict[str, float], pace: Pace) -> None:
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        figures |= {"crops_per_second": self._crops / seconds, "waited": self._waited / seconds}
        figures |= pace.figures(seconds)
        self._crops, self._waited = 0.0, 0.0
        log_figures(trainer, {f"train/{name}": value for name, value in figures.items()})
        rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
        try:
            with (self.folder / LOG).open("a") as file:
                file.write(json.dumps({"step": trainer.global_step} | rounded) + "\n")
        except OSError as error:  # a line less is no reason to stop
            log.error("%s could not be written: %s", self.folder / LOG, error.strerror)
        log.info("step %d of %d: %s", trainer.global_step, self.recipe.steps, _one_line(rounded))

    def _save_weights(self, module: MattingTraining) -> None:
        try:
            save_weights(module.averaged_weights(), self.folder / RUN_WEIGHTS)
        except OutputError as error:
            log.error("%s", error)


def _forget_lines_after(step: int, file: Path) -> None:
    """A run that was killed has reported steps beyond its checkpoint, which come again."""
    try:
        lines = file.read_text().splitlines(keepends=True)
        kept = [line for line in lines if json.loads(line)["step"] <= step]
        if len(kept) < len(lines):
            write_text(file, "".join(kept))
    except (OSError, ValueError, KeyError) as error:  # curves with steps twice are no reason to stop
        log.warning("%s could not be tidied: %s", file, error)


def _one_line(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())
