"""Batch-constrained Adaptive Token Routing: the batch meets the target share, not each image.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mematte.model.blocks import Routing

TARGET_SHARE = 0.25


def attending_shares(routings: Sequence[Routing]) -> Tensor:
    """(R,) mean share of attending tokens of each router, over images and tokens, with gradient."""
    return torch.stack([routing.attend.float().mean() for routing in routings])


def batch_constraint(shares: Tensor, target: float = TARGET_SHARE, balance: float = 0.0) -> Tensor:
    """(mean share - target) squared: an easy image may attend less so that a hard one can attend more.

    Args:
        shares: (R,) `attending_shares` of the whole batch, all processes' parts together.
        target: mean share over routers.
        balance: weight of the mean of (share - target) squared over the single routers. The paper has none; a
            short training without a teacher else meets the target by one router that sends everybody to
            attention and others that send nobody, which is a choice of blocks and not of tokens.
    """
    return (shares.mean() - target) ** 2 + balance * ((shares - target) ** 2).mean()
