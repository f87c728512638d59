"""Which weights are learned by which rule, and at which rate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from mematte.model import MEMatte

from .muon import Muon
from .recipe import Recipe


class Together(torch.optim.Optimizer):
    """Several optimisers, each with its own weights, as one."""

    def __init__(self, *optimisers: torch.optim.Optimizer) -> None:
        self.optimisers = optimisers
        super().__init__([group for each in optimisers for group in each.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Compute the gradients once, then let each optimiser update its weights."""
        loss = None if closure is None else closure()
        for optimiser in self.optimisers:
            optimiser.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Each one's state, in order."""
        return {"optimisers": [optimiser.state_dict() for optimiser in self.optimisers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        for optimiser, state in zip(self.optimisers, state_dict["optimisers"], strict=True):
            optimiser.load_state_dict(state)
        self.param_groups = [group for each in self.optimisers for group in each.param_groups]


def make_optimiser(network: MEMatte, recipe: Recipe, precision: torch.dtype = torch.float32) -> Together:
    """AdamW, or Muon for what is a matrix and AdamW for the rest; no decay on norms, biases and positions.

    `precision` is that of Muon's products. Every group has its peak rate in "peak": the run's rate at a step
    is that times `Recipe.rate_factor`.
    """
    groups: dict[tuple[bool, bool, float], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            matrix = recipe.optimiser == "muon" and _is_matrix(name, parameter)
            decays = parameter.ndim >= 2 and not _is_position(name)
            rate = recipe.layer_decay ** (len(network.backbone.blocks) + 1 - _depth(name, network))
            groups.setdefault((matrix, decays, rate), []).append(parameter)
    matrices: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for (matrix, decays, rate), parameters in groups.items():
        peak = rate * (recipe.matrix_learning_rate if matrix else recipe.learning_rate)
        (matrices if matrix else others).append(
            {
                "params": parameters,
                "lr": peak,
                "peak": peak,
                "weight_decay": recipe.weight_decay if decays else 0.0,
            }
        )
    adamw = torch.optim.AdamW(others, betas=recipe.betas, fused=True)
    return Together(Muon(matrices, precision=precision), adamw) if matrices else Together(adamw)


def _is_matrix(name: str, parameter: nn.Parameter) -> bool:
    """Linear layers of the blocks, and 3x3 convolutions between feature maps; not depthwise or first ones."""
    if _is_position(name):
        return False
    if parameter.ndim == 2:
        return name.startswith("backbone.blocks") and min(parameter.shape) > 32
    return parameter.ndim == 4 and parameter.shape[1] > 4 and parameter.shape[2] == 3


def _is_position(name: str) -> bool:
    return name.endswith(("positions", "relative_rows", "relative_columns"))


def _depth(name: str, network: MEMatte) -> int:
    """0 for the patches, 1 ... for the blocks, one more for the decoder."""
    if name.startswith("backbone.blocks."):
        return int(name.split(".")[2]) + 1
    return 0 if name.startswith("backbone.") else len(network.backbone.blocks) + 1
