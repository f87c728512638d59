"""Batch-constrained Adaptive Token Routing: the batch meets the target share, not each image.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mematte.model.blocks import Routing

TARGET_SHARE = 0.25


def attending_share(routings: Sequence[Routing]) -> Tensor:
    """Mean share of attending tokens over routers, images and tokens: a scalar in [0, 1], with gradient."""
    return torch.stack([routing.attend.float().mean() for routing in routings]).mean()


def batch_constraint(share: Tensor, target: float = TARGET_SHARE) -> Tensor:
    """(share - target) squared: an easy image may attend less so that a hard one can attend more.

    `share` is the `attending_share` of the whole batch, all processes' parts together.
    """
    return (share - target) ** 2
