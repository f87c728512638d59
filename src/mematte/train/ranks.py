"""Ranks: processes that train one network together, each on its own part of the batch.

On a CPU one single-threaded process per core beats one process with many threads: the cores meet once per
step, not once per operation, and a core that is busy elsewhere for a moment stops nobody.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import start_processes

PATIENCE = timedelta(minutes=30)  # a rank that is silent for so long is dead


def launch(work: Callable[[], None], count: int, folder: Path) -> None:
    """Run `work` in `count` forked processes, which share what this process has loaded, and wait for them.

    Raises:
        RuntimeError: a rank ended with an error; the others are stopped.
    """
    meeting = folder / f".ranks-{os.getpid()}"
    processes = start_processes(
        _rank, args=(work, count, meeting), nprocs=count, join=False, start_method="fork"
    )
    try:
        while not processes.join():
            pass
    finally:
        meeting.unlink(missing_ok=True)


def _rank(index: int, work: Callable[[], None], count: int, meeting: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=meeting.absolute().as_uri(), rank=index, world_size=count, timeout=PATIENCE
    )
    try:
        work()
    finally:
        dist.destroy_process_group()


def rank() -> int:
    """This process's number, 0 where it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean over all ranks; of a loss, with the gradient of this rank's part.

    With gradients averaged afterwards, a loss of this mean has the gradient of the joint batch. Without a
    gradient the mean is the same bit by bit in all ranks: a schedule may hang on it.
    """
    if not dist.is_initialized():
        return value
    mean = value.detach().clone()
    dist.all_reduce(mean)
    mean /= ranks()
    return value + (mean - value).detach() if value.requires_grad else mean


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace every gradient by its mean over the ranks, in one exchange."""
    if not dist.is_initialized():
        return
    gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
    joint = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(joint)
    joint /= ranks()
    for gradient, part in zip(gradients, joint.split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(part.view_as(gradient))
