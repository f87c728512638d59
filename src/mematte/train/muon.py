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

from .ranks import rank, ranks

# Of the published quintic: singular values end up in about [0.7, 1.2], which serves as well as 1.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5


def orthogonal(matrices: Tensor, precision: torch.dtype = torch.float32) -> Tensor:
    """The nearest matrices with all singular values near 1: (..., m, n) -> (..., m, n), by Newton-Schulz.

    Args:
        matrices: of the precision of the result.
        precision: of the products. bfloat16 changes the result by 2 % of its norm, which serves as well.
    """
    if matrices.shape[-2] > matrices.shape[-1]:
        return orthogonal(matrices.mT, precision).mT
    start = (matrices / (torch.linalg.matrix_norm(matrices, keepdim=True) + 1e-7)).to(precision)
    # In half precision no factor: in the squares of squares small singular values would be lost.
    by_factor = precision == torch.float32 and matrices.shape[-1] > 1.5 * matrices.shape[-2]
    return (_iterated_factor(start) @ start if by_factor else _iterated(start)).to(matrices.dtype)


def _iterated(matrices: Tensor) -> Tensor:
    """X_k+1 = (a + b S + c S S) X_k with S = X_k X_k^T: (..., m, n) -> (..., m, n)."""
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        square = matrices @ matrices.mT
        matrices = a * matrices + (b * square + c * (square @ square)) @ matrices
    return matrices


def _iterated_factor(start: Tensor) -> Tensor:
    """The same as X_k = Q_k X_0, which costs less for wide matrices: (..., m, n) -> the (..., m, m) Q."""
    square = start @ start.mT
    a, b, c = COEFFICIENTS
    factor = torch.eye(square.shape[-1], dtype=square.dtype, device=square.device)
    for iteration in range(ITERATIONS):
        step = b * square + c * (square @ square)
        step.diagonal(dim1=-2, dim2=-1).add_(a)
        factor = step @ factor
        if iteration + 1 < ITERATIONS:
            square = step @ square @ step
    return factor


class Muon(torch.optim.Optimizer):
    """For weights of two dimensions and more: linear layers (out, in) and filters (out, in, height, width).

    Processes that train together share the work: each makes its part of the updates orthogonal. All of them
    must call `step` with the same gradients.

    Args:
        params: the weights, or groups of them.
        lr: size of the update, on AdamW's scale (its root mean square is 0.2 lr).
        weight_decay: decoupled, times lr.
        momentum: of the gradient; Nesterov.
        precision: of the products that make an update orthogonal.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
        lr: float = 1e-3,
        weight_decay: float = 0.0,
        momentum: float = 0.95,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Update every weight that has a gradient."""
        loss = None if closure is None else torch.enable_grad()(closure)()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if weights:
                directions = self._directions(weights, group["momentum"])
                torch._foreach_mul_(weights, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(weights, directions, alpha=-group["lr"])
        return loss

    def _directions(self, weights: list[nn.Parameter], momentum: float) -> list[Tensor]:
        """The update of each weight, of its shape, of root mean square 0.2."""
        gradients = [cast(Tensor, weight.grad) for weight in weights]
        for weight in weights:
            if not self.state[weight]:
                self.state[weight]["momentum"] = torch.zeros_like(weight)
        averages = [self.state[weight]["momentum"] for weight in weights]
        torch._foreach_lerp_(averages, gradients, 1 - momentum)
        ahead = torch._foreach_lerp(gradients, averages, momentum)
        joint = torch.zeros(sum(weight.numel() for weight in weights), device=weights[0].device)
        # Laid out as the weights are: all can be added at once then.
        directions = [
            part.as_strided(weight.shape, weight.stride())
            for weight, part in zip(weights, joint.split([weight.numel() for weight in weights]), strict=True)
        ]
        shapes = [(len(weight), weight[0].numel()) for weight in weights]
        # All matrices of one shape at once: a GPU would wait for the launches of one after another.
        alike: dict[tuple[int, int], list[int]] = {}
        for index in sorted(_fair_share(shapes, rank(), ranks())):
            alike.setdefault(shapes[index], []).append(index)
        for shape, indices in alike.items():
            matrices = torch.stack([ahead[index].reshape(shape) for index in indices])
            made = orthogonal(matrices, self.precision) * (0.2 * max(shape) ** 0.5)
            for index, matrix in zip(indices, made, strict=True):
                directions[index].copy_(matrix.view_as(directions[index]))
        if ranks() > 1:
            dist.all_reduce(joint)  # the others' parts are zero here
        return directions


def _fair_share(shapes: list[tuple[int, int]], number: int, processes: int) -> set[int]:
    """Indices of the matrices that process `number` has to do: the largest first, each to the idlest."""
    work = [0] * processes
    mine = set()
    for index in sorted(range(len(shapes)), key=lambda i: -(min(shapes[i]) ** 2) * max(shapes[i])):
        idlest = work.index(min(work))
        small, large = sorted(shapes[index])
        work[idlest] += 2 * small * small * large + 15 * small**3
        if idlest == number:
            mine.add(index)
    return mine
