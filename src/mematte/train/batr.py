"""Batch-constrained Adaptive Token Routing: the batch meets the target share, not each image.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mematte.model.blocks import Routing

from .ranks import mean_over_ranks

TARGET_SHARE = 0.25


def attending_shares(routings: Sequence[Routing]) -> Tensor:
    """(R, B) share of attending tokens of each router in each image, with gradient."""
    return torch.stack([routing.attend.float().mean(dim=1) for routing in routings])


def batch_constraint(shares: Tensor, target: float = TARGET_SHARE, balance: float = 0.0) -> Tensor:
    """(mean share - target) squared: an easy image may attend less so that a hard one can attend more.

    Args:
        shares: (R, B) `attending_shares` of this process's part of the batch; the mean is over all processes.
        target: mean share over routers and images.
        balance: weight of the mean of (share - target) squared over the single routers. The paper has none; a
            short training without a teacher else meets the target by one router that sends everybody to
            attention and others that send nobody, which is a choice of blocks and not of tokens.
    """
    of_routers = mean_over_ranks(shares.mean(dim=1))
    return (of_routers.mean() - target) ** 2 + balance * ((of_routers - target) ** 2).mean()


def image_constraint(shares: Tensor, target: float = TARGET_SHARE) -> Tensor:
    """What BATR is compared with: every image has to meet the target by itself. `shares` as above."""
    return ((shares.mean(dim=0) - target) ** 2).mean()
