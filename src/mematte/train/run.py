"""A run: a folder that holds its recipe, its last checkpoint, its curves and its weights."""

from __future__ import annotations

import json
import logging
import os
import re
import time
import warnings
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.multiprocessing.spawn import ProcessRaisedException

from mematte import errors
from mematte.data.backgrounds import BackgroundLibrary
from mematte.data.crops import CropSource
from mematte.data.foregrounds import load_foregrounds
from mematte.data.published import PublishedCrops
from mematte.engine.device import choose_device, choose_precision
from mematte.errors import DataError, MatteError, OutputError, TrainingError
from mematte.weights import save_weights

from .batches import Source
from .checkpoints import CHECKPOINT, WholeCheckpoints
from .memory import available_bytes, check_memory, measure_need
from .module import MattingTraining
from .on_device import RawSource
from .ranks import rank
from .recipe import Recipe, from_json, to_json
from .start import frozen_teacher, starting_network
from .validation import Validation

log = logging.getLogger("mematte.train")

RECIPE = "recipe.json"
LOG = "log.jsonl"
WEIGHTS = "weights.safetensors"  # the averaged network as it stands


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    devices: int = 0,
    nodes: int = 1,
    source: Source | None = None,
) -> Path:
    """Train a recipe in a folder; where the folder holds a checkpoint, go on from it.

    Args:
        recipe: what to do.
        folder: the run's; made if missing. It gets recipe.json, checkpoint.ckpt, log.jsonl, TensorBoard's
            events, weights.safetensors and, with validation, best.safetensors.
        device: "auto", "cpu", "cuda" or "mps".
        devices: GPUs of this machine, or processes on a CPU; 0 = all GPUs, or one process per core.
        nodes: machines. With several, or under `torchrun`, each process is started from outside.
        source: of the crops; None = what the recipe's folders hold.

    Returns:
        The file of the trained weights.

    Raises:
        TrainingError: the recipe cannot be run, or the batch does not fit into memory.
        DataError: there is nothing to train on, or too much of it is damaged.
        WeightsError: weights to start from are missing or damaged.
        OutputError: the folder cannot be written to.
    """
    recipe.check()
    accelerator = choose_device(device).type
    started_outside = "LOCAL_WORLD_SIZE" in os.environ  # by torchrun
    if started_outside:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        nodes = int(os.environ["WORLD_SIZE"]) // devices
    elif not devices:
        devices = torch.cuda.device_count() if accelerator == "cuda" else os.cpu_count() or 1
        devices = 1 if accelerator == "mps" else devices
    _check_division(recipe, devices * nodes)
    _prepare(folder, recipe)

    network = starting_network(recipe)
    teacher = frozen_teacher(recipe)
    half = _precision(recipe, accelerator) != "32-true"
    here = torch.device(accelerator)
    check_memory(
        measure_need(network, recipe, half, teacher is not None),
        recipe,
        available_bytes(here, devices if accelerator == "cpu" else 1),
        devices * nodes,
        f"the {accelerator}",
    )
    checkpoints = WholeCheckpoints()
    callbacks: list[Callback] = [
        ModelCheckpoint(
            folder,
            CHECKPOINT.removesuffix(".ckpt"),
            every_n_train_steps=recipe.save_every,
            save_on_train_epoch_end=False,
            enable_version_counter=False,
        ),
        Progress(recipe, folder, checkpoints),
    ]
    if recipe.validation:
        callbacks.insert(0, Validation(Path(recipe.validation), recipe.validate_every, folder))
    trainer = Trainer(
        accelerator="gpu" if accelerator == "cuda" else accelerator,
        devices=devices,
        num_nodes=nodes,
        strategy=_strategy(accelerator, devices * nodes, started_outside),
        precision=_precision(recipe, accelerator),
        max_steps=recipe.steps,
        accumulate_grad_batches=recipe.accumulate,
        sync_batchnorm=recipe.sync_batchnorm,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=callbacks,
        plugins=[checkpoints],
        log_every_n_steps=recipe.log_every,
        default_root_dir=folder,
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
    )
    checkpoint = folder / CHECKPOINT
    module = MattingTraining(recipe, network, source or crop_source(recipe), teacher)
    try:
        with warnings.catch_warnings():
            # Batches counts its steps itself, and knows how many workers it needs; the rest is between
            # Lightning and PyTorch.
            warnings.filterwarnings(
                "ignore",
                message=".*(does not have many workers|IterableDataset|Checkpoint directory|treespec).*",
            )
            trainer.fit(module, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
    except ProcessRaisedException as error:
        raise _users_error(error) or error from None
    return folder / WEIGHTS


def resumed(folder: Path) -> Recipe:
    """The recipe of a run that was begun.

    Raises:
        TrainingError: the folder holds no run, or its recipe is of another version.
    """
    file = folder / RECIPE
    if not file.is_file():
        raise TrainingError(
            f"{folder} holds no run: there is no {RECIPE} in it. Start one with `mematte train`."
        )
    try:
        return from_json(file.read_text())
    except (ValueError, TypeError, KeyError) as error:
        raise TrainingError(f"{file} is no recipe of this version of mematte: {error}.") from error


def crop_source(recipe: Recipe) -> Source:
    """What the recipe's folders hold, read into memory.

    Raises:
        DataError: there is nothing to train on, or too much of it is damaged.
    """
    foregrounds, backgrounds, photographs = (
        [Path(folder) for folder in folders]
        for folders in (recipe.foregrounds, recipe.backgrounds, recipe.photographs)
    )
    if not (foregrounds or backgrounds or photographs):
        raise DataError(
            "The recipe names no pictures. Say where they are: backgrounds=DIR, with foregrounds=DIR "
            "(cut-outs) or without (drawn mattes only), or photographs=DIR (pictures with alpha)."
        )
    if recipe.augmentation != "photographic":
        if recipe.photographs or (recipe.procedural_share and not recipe.foregrounds):
            raise TrainingError(
                f"augmentation={recipe.augmentation} composes foregrounds=DIR over backgrounds=DIR; photos "
                "and drawn mattes are for augmentation=photographic."
            )
        cut_outs, behind = load_foregrounds(foregrounds), BackgroundLibrary.load(backgrounds)
        if recipe.augmentation == "published":
            return PublishedCrops(cut_outs, behind)
        return RawSource(cut_outs, behind)
    return CropSource(
        foregrounds,
        backgrounds,
        photographs,
        procedural_share=recipe.procedural_share,
        photograph_share=recipe.photograph_share,
    )


class Progress(Callback):
    """Every so many steps a line in log.jsonl and TensorBoard; beside every checkpoint the weights."""

    def __init__(self, recipe: Recipe, folder: Path, checkpoints: WholeCheckpoints) -> None:
        self.recipe, self.folder, self.checkpoints = recipe, folder, checkpoints
        self._since = self._idle_since = time.monotonic()
        self._waited = 0.0
        self._crops = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The clock starts."""
        if trainer.global_step:
            log.info("going on from step %d of %d", trainer.global_step, self.recipe.steps)
        self._since = self._idle_since = time.monotonic()

    def on_train_batch_start(self, trainer: Trainer, *_: Any) -> None:
        """The batch is here: how long was it waited for?"""
        self._waited += time.monotonic() - self._idle_since
        self._crops += self.recipe.batch(trainer.global_step).count / self.recipe.accumulate

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Report, and write the weights beside a checkpoint."""
        module = cast(MattingTraining, pl_module)
        step = trainer.global_step
        whole = (batch_idx + 1) % self.recipe.accumulate == 0
        if whole and step % self.recipe.log_every == 0 and rank() == 0:
            self._report(trainer, module.figures())
        if whole and step % self.recipe.save_every == 0 and rank() == 0:
            self._save_weights(module)
        self._idle_since = time.monotonic()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The last checkpoint and the weights.

        Raises:
            OutputError: the last checkpoint could not be written.
        """
        trainer.save_checkpoint(self.folder / CHECKPOINT)
        if rank() == 0:
            self._save_weights(cast(MattingTraining, pl_module))
            if self.checkpoints.failure:
                raise OutputError(
                    f"{self.checkpoints.failure}. Make room and go on: mematte train --resume {self.folder}"
                )

    def _report(self, trainer: Trainer, figures: dict[str, float]) -> None:
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        figures |= {"crops_per_second": self._crops / seconds, "waited": self._waited / seconds}
        self._crops, self._waited = 0.0, 0.0
        for logger in trainer.loggers:
            logger.log_metrics(
                {f"train/{name}": value for name, value in figures.items()}, trainer.global_step
            )
        rounded = {name: float(f"{value:.5g}") for name, value in figures.items()}
        with (self.folder / LOG).open("a") as file:
            file.write(json.dumps({"step": trainer.global_step} | rounded) + "\n")
        log.info("step %d of %d: %s", trainer.global_step, self.recipe.steps, _one_line(rounded))

    def _save_weights(self, module: MattingTraining) -> None:
        try:
            save_weights(module.averaged_weights(), self.folder / WEIGHTS)
        except OutputError as error:
            log.error("%s", error)


def _users_error(error: ProcessRaisedException) -> MatteError | None:
    """The error that a forked process ended with, if it is one of the user's: only its traceback came."""
    found = re.search(r"^mematte\.errors\.(\w+): (.*)", str(error), re.MULTILINE | re.DOTALL)
    return getattr(errors, found[1])(found[2].strip()) if found else None


def _one_line(figures: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in figures.items())


def _check_division(recipe: Recipe, processes: int) -> None:
    for crops in recipe.crops:
        if crops.count % (recipe.accumulate * processes):
            raise TrainingError(
                f"{crops.count} crops of {crops.size_px} px per step cannot be divided among {processes} "
                f"processes and accumulate={recipe.accumulate} parts. Change the count, or say --devices N."
            )


def _prepare(folder: Path, recipe: Recipe) -> None:
    """Make the folder and write down what is run in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f".{RECIPE}.partial-{os.getpid()}"
        partial.write_text(to_json(recipe))
        partial.replace(folder / RECIPE)
    except OSError as error:
        raise OutputError(f"{folder} cannot hold a run: {error.strerror}.") from error


def _precision(recipe: Recipe, accelerator: str) -> Any:
    if recipe.precision != "auto":
        return recipe.precision
    half = choose_precision("auto", torch.device(accelerator))
    return {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed", torch.float32: "32-true"}[half]


def _strategy(accelerator: str, processes: int, started_outside: bool) -> Strategy | str:
    if processes == 1:
        return "auto"
    if accelerator == "cpu" and not started_outside:
        # Forked processes share the pictures that this one has read.
        return DDPStrategy(start_method="fork", process_group_backend="gloo")
    return DDPStrategy(process_group_backend="gloo" if accelerator == "cpu" else None)
