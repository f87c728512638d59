"""Loggers: TensorBoard's curves and pictures, which no run ends for."""

from __future__ import annotations

import logging
from collections.abc import Callable

from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

log = logging.getLogger("mematte.train")


def log_figures(trainer: Trainer, figures: dict[str, float]) -> None:
    """Figures of this step."""
    for_each_logger(trainer, lambda logger: logger.log_metrics(figures, step=trainer.global_step))


def for_each_logger(trainer: Trainer, write: Callable[[Logger], None]) -> None:
    """Let each write. One that cannot, on a full disk, is left out from then on."""
    for logger in list(trainer.loggers):
        try:
            write(logger)
        except (OSError, ValueError) as error:
            log.error("%s writes no more: %s", type(logger).__name__, error)
            trainer.loggers = [other for other in trainer.loggers if other is not logger]
