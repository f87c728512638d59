"""Validation: the four metrics of the averaged network on whole pictures, and pictures of what it does."""

from __future__ import annotations

import logging
import math
from dataclasses import astuple, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from mematte.data.layouts import find_pairs
from mematte.engine import Engine, Matte
from mematte.engine.routes import draw_routes
from mematte.errors import DataError, OutputError
from mematte.eval import Scores, eight_bit, score
from mematte.image import as_mask
from mematte.weights import save_weights

from .loggers import for_each_logger, log_figures
from .ranks import rank, ranks

if TYPE_CHECKING:
    from .module import MattingTraining

log = logging.getLogger("mematte.train")

BEST = "best.safetensors"  # the averaged weights of the lowest SAD so far
PICTURES = 4  # that TensorBoard gets


class Validation(Callback):
    """Every so many steps: the mean scores over a folder of pictures, shared among the processes."""

    def __init__(self, pictures: Path, every: int, folder: Path) -> None:
        """Find the pictures; `folder` is the run's, for the best weights.

        Raises:
            DataError: the folder holds no pictures with trimap and alpha.
        """
        self.every = every
        self.folder = folder
        self._best = math.inf
        self._validated = 0
        found = find_pairs(pictures)
        self.pairs = [pair for pair in found.pairs if {"image", "alpha", "trimap"} <= set(pair.files)]
        if not self.pairs:
            raise DataError(
                f"{pictures} cannot validate: of its {len(found.pairs)} pairs none has an image, a trimap "
                "and an alpha. Make trimaps with `mematte trimap`."
            )

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        """Validate after step `every`, 2 `every` ..., and after the last."""
        module = cast("MattingTraining", pl_module)
        step = trainer.global_step
        if step == self._validated or not (step % self.every == 0 or step == module.recipe.steps):
            return
        self._validated = step
        scores = self.validate(trainer, module)
        if rank() != 0:
            return
        log.info(
            "step %d, %d pictures: SAD %.2f, MSE x1e3 %.2f, MAD x1e3 %.2f, Grad %.2f, Conn %.2f",
            step, len(self.pairs), *astuple(scores),
        )  # fmt: skip
        if scores.sad < self._best:
            self._best = scores.sad
            try:
                save_weights(module.averaged_weights(), self.folder / BEST, overwrite=True)
            except OutputError as error:  # the run is worth more than its best weights so far
                log.error("%s", error)

    def validate(self, trainer: Trainer, module: MattingTraining) -> Scores:
        """Score the averaged network; logs the figures, the first pictures and how many tokens attend."""
        weights = module.averaged_weights()
        engine = Engine(weights, device=str(module.device))
        names = [field.name for field in fields(Scores)]
        routed = [f"share of block {index}" for index, kind in enumerate(weights.spec.blocks) if kind == "R"]
        total = torch.zeros(len(names) + len(routed) + 1, dtype=torch.float64)
        for index in range(rank(), len(self.pairs), ranks()):
            files = self.pairs[index].files
            matte = engine(files["image"], files["trimap"])
            scores = score(eight_bit(matte.alpha), as_mask(files["alpha"]), matte.trimap)
            total += torch.tensor(
                [*astuple(scores), *(routing.share for routing in matte.routings), 1], dtype=torch.float64
            )
            if index < PICTURES and rank() == 0:
                self._show(trainer, self.pairs[index].name, matte)
        total = total.to(module.device, torch.float32)
        if ranks() > 1:
            torch.distributed.all_reduce(total)
        means = (total[:-1] / total[-1]).tolist()
        figures = dict(zip(names + routed, means, strict=True))
        log_figures(trainer, {f"validation/{name}": value for name, value in figures.items()})
        return Scores(*means[: len(names)])

    def state_dict(self) -> dict[str, Any]:
        """What a run that goes on has to know."""
        return {"best": self._best, "validated": self._validated}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self._best, self._validated = state_dict["best"], state_dict["validated"]

    def _show(self, trainer: Trainer, name: str, matte: Matte) -> None:
        """Alpha and routes of one picture, in TensorBoard."""
        pictures = {"alpha": eight_bit(matte.alpha)}
        if matte.routings:
            pictures["routes"] = draw_routes(matte.picture, matte.routings, matte.report)

        def show(logger: Logger) -> None:
            if isinstance(logger, TensorBoardLogger):
                for kind, pixels in pictures.items():
                    logger.experiment.add_image(
                        f"{name}/{kind}",
                        pixels,
                        trainer.global_step,
                        dataformats="HW" if pixels.ndim == 2 else "HWC",
                    )

        for_each_logger(trainer, show)
