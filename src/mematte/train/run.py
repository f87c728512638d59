"""A run: a folder that holds its recipe, its last checkpoint, its curves and its weights."""

from __future__ import annotations

import logging
import os
import pickle
import signal
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy, Strategy
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException

from mematte.engine.device import choose_device, choose_precision
from mematte.errors import MatteError, OutputError, TrainingError
from mematte.files import write_text
from mematte.processes import CAN_FORK, end_children, users_error
from mematte.weights.load import RUN_WEIGHTS

from .batches import Source
from .checkpoints import CHECKPOINT, WholeCheckpoints
from .memory import available_bytes, check_memory, measure_need
from .module import MattingTraining, check_kind
from .progress import Progress
from .recipe import Recipe, from_json, to_json
from .sources import crop_source
from .start import frozen_teacher, starting_point
from .validation import Validation

log = logging.getLogger("mematte.train")

RECIPE = "recipe.json"


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "auto",
    devices: int = 0,
    workers: int = 0,
    source: Source | None = None,
) -> Path:
    """Train a recipe in a folder; where the folder holds a checkpoint, go on from it.

    Args:
        recipe: what to do.
        folder: the run's; made if missing. It gets recipe.json, checkpoint.ckpt, log.jsonl, TensorBoard's
            events, weights.safetensors and, with validation, best.safetensors.
        device: "auto", "cpu", "cuda", "mps", or one of several GPUs, as "cuda:1".
        devices: GPUs, or processes on a CPU; 0 = all GPUs, or one process per core (one where the system
            cannot fork them). Under `torchrun`, which starts the processes itself, on one machine or several,
            its word counts.
        workers: processes that make the crops of each GPU; 0 = its share of the cores.
        source: of the crops; None = what the recipe's folders hold.

    Returns:
        The file of the trained weights.

    Raises:
        TrainingError: the recipe cannot be run, the batch does not fit into memory, or a process was killed.
        DataError: there is nothing to train on, or too much of it is damaged.
        WeightsError: weights to start from are missing or damaged.
        OutputError: the folder cannot be written to.
    """
    recipe.check()
    placement = _place(device, devices)
    if not (devices or placement.started_outside):
        placement = _divided(recipe, placement)
    accelerator = placement.device.type
    _check_division(recipe, placement.ranks)
    if recipe.sync_batchnorm and accelerator == "cpu":
        raise TrainingError("sync_batchnorm=true joins the statistics of several GPUs; a CPU cannot do it.")
    _check_goes_on(folder, recipe)
    _make(folder)

    start = starting_point(recipe)
    teacher = frozen_teacher(recipe)
    half = _precision(recipe, accelerator) != "32-true"
    check_memory(
        measure_need(start.network, recipe, half, teacher is not None, accelerator),
        recipe,
        available_bytes(placement.own_device(), placement.devices if accelerator == "cpu" else 1),
        placement.ranks,
        f"the {accelerator}",
    )
    forks = accelerator == "cpu" and placement.devices > 1 and not placement.started_outside
    trainer = _trainer(recipe, folder, placement, forks)
    source = source or crop_source(recipe, start.enlarge_below)
    module = MattingTraining(recipe, start, source, teacher, workers)
    # Now that nothing is left to be refused, it is what the folder goes on with.
    write_text(folder / RECIPE, to_json(recipe))
    _fit(trainer, module, folder, forks)
    return folder / RUN_WEIGHTS


def _trainer(recipe: Recipe, folder: Path, placement: _Placement, forks: bool) -> Trainer:
    """Lightning's engine, which runs the steps."""
    accelerator = placement.device.type
    checkpoints = WholeCheckpoints()
    callbacks: list[Callback] = [Progress(recipe, folder, checkpoints)]
    if recipe.validation:
        callbacks.insert(0, Validation(Path(recipe.validation), recipe.validate_every, folder))
    return Trainer(
        accelerator="gpu" if accelerator == "cuda" else accelerator,
        devices=[placement.device.index] if placement.is_one_gpu else placement.devices,
        num_nodes=placement.nodes,
        strategy=_strategy(accelerator, placement.ranks, forks),
        precision=_precision(recipe, accelerator),
        max_steps=recipe.steps,
        accumulate_grad_batches=recipe.accumulate,
        sync_batchnorm=recipe.sync_batchnorm,
        logger=TensorBoardLogger(folder, name="", version=""),
        callbacks=callbacks,
        plugins=[checkpoints],
        log_every_n_steps=recipe.log_every,
        default_root_dir=folder,
        enable_checkpointing=False,  # Progress does it
        enable_progress_bar=False,
        enable_model_summary=False,
        use_distributed_sampler=False,
        benchmark=accelerator == "cuda",  # crops have few sizes: the fastest convolutions are found once
        num_sanity_val_steps=0,
    )


def _fit(trainer: Trainer, module: MattingTraining, folder: Path, forks: bool) -> None:
    """Run the steps; from the folder's checkpoint on, if there is one. What ends them is said in words."""
    checkpoint = folder / CHECKPOINT
    on_interrupt = signal.getsignal(signal.SIGINT)
    try:
        with _one_thread() if forks else nullcontext(), warnings.catch_warnings():
            # Batches counts its steps itself, and knows how many workers it needs; frozen statistics are
            # meant to be so; the rest is between Lightning and PyTorch.
            warnings.filterwarnings(
                "ignore",
                message=".*(not have many workers|IterableDataset|Checkpoint dir|in eval mode|treespec).*",
            )
            trainer.fit(module, ckpt_path=checkpoint if checkpoint.exists() else None, weights_only=True)
    except (KeyboardInterrupt, SystemExit) as error:
        if isinstance(error, SystemExit) and not trainer.interrupted:
            raise
        # Lightning makes an exit of it, leaves its processes to themselves, and hears no more Ctrl-C.
        end_children()
        signal.signal(signal.SIGINT, on_interrupt)
        raise KeyboardInterrupt from None
    except (ProcessRaisedException, MatteError) as error:  # of a training process, or of one that makes crops
        raise users_error(error) or error from None
    except ProcessExitedException as error:
        raise TrainingError(
            f"A training process was ended from outside ({error}), by a user or by the system where memory "
            f"runs out. `mematte train --resume {folder}` goes on from the last checkpoint, if there is one."
        ) from None


class _Placement(NamedTuple):
    """Where a run's processes are."""

    device: torch.device  # with a number: that one GPU alone
    devices: int  # processes on each machine
    nodes: int = 1  # machines
    started_outside: bool = False  # by torchrun

    @property
    def ranks(self) -> int:
        """Processes on all machines together."""
        return self.devices * self.nodes

    @property
    def is_one_gpu(self) -> bool:
        """Whether it is named by its number."""
        return ":" in str(self.device)

    def own_device(self) -> torch.device:
        """That of this process, which Lightning or torchrun has numbered, where there are several."""
        if self.device.type != "cuda" or self.is_one_gpu:
            return self.device
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))


def _place(device: str, devices: int) -> _Placement:
    """What `train` is told -> where it runs.

    Raises:
        DeviceError: there is no such device.
        TrainingError: the system cannot start so many processes, or one GPU is to have several.
    """
    chosen = choose_device(device)
    if "LOCAL_WORLD_SIZE" in os.environ:
        devices = int(os.environ["LOCAL_WORLD_SIZE"])
        placement = _Placement(
            chosen, devices, int(os.environ["WORLD_SIZE"]) // devices, started_outside=True
        )
    elif devices:
        placement = _Placement(chosen, devices)
    elif str(chosen) == "cuda":
        placement = _Placement(chosen, torch.cuda.device_count())
    else:
        placement = _Placement(chosen, (os.cpu_count() or 1) if chosen.type == "cpu" and CAN_FORK else 1)
    if placement.is_one_gpu and placement.ranks > 1:
        raise TrainingError(
            f"{device} is one GPU, and the run is to have {placement.ranks} processes. Say --device cuda, "
            "and with CUDA_VISIBLE_DEVICES which GPUs there are."
        )
    if chosen.type == "cuda" and placement.devices > torch.cuda.device_count():
        raise TrainingError(
            f"{placement.devices} processes want a GPU each, and there are {torch.cuda.device_count()}. "
            "Say --devices N."
        )
    if chosen.type == "cpu" and placement.devices > 1 and not (CAN_FORK or placement.started_outside):
        raise TrainingError(
            f"This system cannot fork, so that there is one process, not {placement.devices}: --devices 1."
        )
    return placement


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


def _check_division(recipe: Recipe, processes: int) -> None:
    for crops in recipe.crops:
        if crops.count % (recipe.accumulate * processes):
            raise TrainingError(
                f"{crops.count} crops of {crops.size_px} px per step cannot be divided among {processes} "
                f"processes and accumulate={recipe.accumulate} parts. Change the count, or say --devices N."
            )


def _divided(recipe: Recipe, placement: _Placement) -> _Placement:
    """With as many of the processes as every batch can be divided among."""
    counts = [crops.count // recipe.accumulate for crops in recipe.crops]
    fitting = max(n for n in range(1, placement.devices + 1) if not any(count % n for count in counts))
    if fitting < placement.devices:
        crops = " or ".join(str(count) for count in sorted(set(counts)))
        log.info("%d processes of %d: more cannot share %s crops", fitting, placement.devices, crops)
    return placement._replace(devices=fitting)


def _check_goes_on(folder: Path, recipe: Recipe) -> None:
    """A run that is past its last step, or of another network, would get a recipe that it has not followed.

    Raises:
        TrainingError: it is.
    """
    if not (folder / CHECKPOINT).exists():
        return
    try:
        read = torch.load(folder / CHECKPOINT, map_location="cpu", weights_only=True, mmap=True)
        step = read["global_step"]
    except (OSError, RuntimeError, pickle.UnpicklingError, EOFError, KeyError):
        return  # whoever goes on from it says what is wrong with it
    check_kind(read, recipe)
    if step > recipe.steps:
        raise TrainingError(f"{folder} is at step {step} already, past steps={recipe.steps}. Give it more.")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Processes that are forked meanwhile must not wait for threads that exist in this one alone."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _make(folder: Path) -> None:
    """Make the folder, if it is not there and can be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputError(f"{folder} cannot hold a run: {error.strerror}.") from error


def _precision(recipe: Recipe, accelerator: str) -> Any:
    if recipe.precision != "auto":
        return recipe.precision
    half = choose_precision("auto", torch.device(accelerator))
    return {torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed", torch.float32: "32-true"}[half]


def _strategy(accelerator: str, processes: int, forks: bool) -> Strategy | str:
    if processes == 1:
        return "auto"
    if forks:
        # Forked processes share the pictures that this one has read. A computer that slept, or a run that was
        # stopped for a while, is no error; where one of them ends, the others hear of it at once.
        return DDPStrategy(start_method="fork", process_group_backend="gloo", timeout=timedelta(days=30))
    return DDPStrategy(process_group_backend="gloo" if accelerator == "cpu" else None)
