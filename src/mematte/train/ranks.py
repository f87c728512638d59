"""Ranks: processes that train one network together, each on its own part of the batch."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """This process's number, 0 where it is alone."""
    return dist.get_rank() if dist.is_initialized() else 0


def ranks() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_initialized() else 1


def mean_over_ranks(value: Tensor) -> Tensor:
    """The mean over all ranks; of a loss, with the gradient of this rank's part.

    With gradients averaged afterwards, a loss of this mean has the gradient of the joint batch. Without a
    gradient the mean is the same bit by bit in all ranks.
    """
    if not dist.is_initialized():
        return value
    mean = value.detach().clone()
    dist.all_reduce(mean)
    mean /= ranks()
    return value + (mean - value).detach() if value.requires_grad else mean


def from_first_rank(value: float, device: torch.device) -> float:
    """The first rank's value, in all of them."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor(value, dtype=torch.float64, device=device)
    dist.broadcast(shared, 0)
    return shared.item()
