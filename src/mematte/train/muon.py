"""Muon: momentum whose update of each matrix is made orthogonal: all its directions are learned alike.

Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024; step size as in Liu et
al., "Muon is Scalable for LLM Training", 2025. `torch.optim.Muon` does the same for plain matrices only and
always in bfloat16, which takes ten times as long where the processor has no bfloat16 arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn

# Of the published quintic: singular values end up in about [0.7, 1.2], which serves as well as 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonal(matrix: Tensor) -> Tensor:
    """The nearest matrix with all singular values near 1: (m, n) -> (m, n), by Newton-Schulz iteration.

    With m <= n only the (m, m) product of the matrix with itself is iterated: X_k = Q_k X_0.
    """
    if matrix.shape[0] > matrix.shape[1]:
        turned: Tensor = orthogonal(matrix.T).T
        return turned
    start = matrix / (matrix.norm() + 1e-7)
    square = start @ start.T
    a, b, c = COEFFICIENTS
    factor = torch.eye(len(square), dtype=square.dtype, device=square.device)
    for iteration in range(ITERATIONS):
        step = torch.addmm(square, square, square, beta=b, alpha=c)
        step.diagonal().add_(a)
        factor = step @ factor
        if iteration + 1 < ITERATIONS:
            square = step @ square @ step
    result: Tensor = factor @ start
    return result


class Muon(torch.optim.Optimizer):
    """For weights of two dimensions and more: linear layers (out, in) and filters (out, in, height, width).

    Processes that train together share the work: each makes its part of the updates orthogonal. All of them
    must call `step` with the same gradients.

    Args:
        params: the weights, or groups of them.
        lr: size of the update, on AdamW's scale (its root mean square is 0.2 lr).
        weight_decay: decoupled, times lr.
        momentum: of the gradient; Nesterov.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            directions = self._directions(weights, group["momentum"])
            for weight, direction in zip(weights, directions, strict=True):
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                weight.add_(direction.view_as(weight), alpha=-group["lr"])
        return loss

    def _directions(self, weights: list[nn.Parameter], momentum: float) -> list[Tensor]:
        """The update of each weight, as a matrix, of root mean square 0.2."""
        rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        shapes = [(len(weight), weight[0].numel()) for weight in weights]
        mine = _fair_share(shapes, rank, ranks)
        joint = torch.zeros(sum(m * n for m, n in shapes), device=weights[0].device if weights else None)
        directions = list(joint.split([m * n for m, n in shapes]))
        for index, (weight, shape) in enumerate(zip(weights, shapes, strict=True)):
            state = self.state[weight]
            if not state:
                state["momentum"] = torch.zeros_like(weight)
            gradient = cast(Tensor, weight.grad)
            average = state["momentum"].lerp_(gradient, 1 - momentum)
            if index in mine:
                ahead = torch.lerp(gradient, average, momentum).reshape(shape)
                directions[index].copy_((orthogonal(ahead) * (0.2 * max(shape) ** 0.5)).flatten())
        if ranks > 1:
            dist.all_reduce(joint)  # the others' parts are zero here
        return directions


def _fair_share(shapes: list[tuple[int, int]], rank: int, ranks: int) -> set[int]:
    """Indices of the matrices that this process makes orthogonal: the largest first, each to the idlest."""
    work = [0] * ranks
    mine = set()
    for index in sorted(range(len(shapes)), key=lambda i: -(min(shapes[i]) ** 2) * max(shapes[i])):
        idlest = work.index(min(work))
        small, large = sorted(shapes[index])
        work[idlest] += 2 * small * small * large + 15 * small**3
        if idlest == rank:
            mine.add(index)
    return mine
