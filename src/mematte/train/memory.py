"""Does a batch fit? Asked before the first step, not answered by a crash in the middle of the night."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from mematte.engine.memory import free_bytes
from mematte.errors import TrainingError
from mematte.model import MEMatte, gumbel
from mematte.model.masked import scores_at_once

from .losses import matting_losses
from .recipe import Crops, Recipe

# Gradients that are alive at the same time, the allocator's rounding, a loader's queue.
MARGIN = 1.25


@dataclass(frozen=True)
class Need:
    """Bytes that a process needs to train."""

    fixed: int  # weights, gradients, optimiser, average, teacher, scores in passing
    per_crop: int  # what the backward pass keeps of one crop of the largest size

    def of(self, crops: int, area: float = 1.0) -> int:
        """Bytes with so many crops at once, of `area` times that of the largest size."""
        return int(MARGIN * (self.fixed + crops * area * self.per_crop))

    def largest(self, available: int, area: float = 1.0) -> int:
        """Crops that fit into so many bytes."""
        return max(0, int((available / MARGIN - self.fixed) // (area * self.per_crop)))


def measure_need(network: MEMatte, recipe: Recipe, half: bool, teacher: bool, device: str = "cpu") -> Need:
    """What one crop keeps, by one forward pass of a small one: all that is kept grows with its area, but for
    the scores of `G` blocks, which grow with its square. `R` blocks keep none, but make some at once."""
    weights = sum(parameter.numel() * parameter.element_size() for parameter in network.parameters())
    states = 2 if recipe.optimiser == "adamw" else 1.3
    fixed = int(weights * (3 + states + (1 if teacher else 0)))
    size_px = max(crops.size_px for crops in recipe.crops)
    small_px = min(size_px, 224)  # a whole window: of a smaller crop the most would be padding
    kept = _kept_bytes(network, small_px)
    per_crop = kept * size_px**2 / small_px**2
    dense = network.spec.blocks.count("G") * network.spec.heads
    scores = 3 * 4 * dense  # scores, weights and mask of each pair of tokens, float32
    per_crop += scores * ((size_px // 16) ** 4 - (size_px**2 / small_px**2) * (small_px // 16) ** 4)
    if "R" in network.spec.blocks:
        fixed += 3 * 4 * scores_at_once(device, (size_px // 16) ** 2)
    return Need(fixed, int(per_crop * (0.6 if half else 1.0)))


def check_memory(need: Need, recipe: Recipe, available: int, ranks: int, where: str) -> None:
    """Refuse a batch that does not fit.

    Raises:
        TrainingError: says what it needs, what there is, and the largest batch that fits.
    """
    largest_px = max(crops.size_px for crops in recipe.crops)

    def fitting(crops: Crops) -> int:
        return need.largest(available, (crops.size_px / largest_px) ** 2)

    most = max(recipe.crops, key=lambda crops: crops.count * crops.size_px**2)
    at_once = most.count // (recipe.accumulate * ranks)
    if at_once <= fitting(most):
        return
    needed = need.of(at_once, (most.size_px / largest_px) ** 2)
    gigabytes = f"{needed / 1e9:.1f} GB for {at_once} crops of {most.size_px} px at once"
    parts = [
        parts
        for parts in range(1, most.count + 1)
        if all(
            crops.count % (parts * ranks) == 0 and crops.count // (parts * ranks) <= fitting(crops)
            for crops in recipe.crops
        )
    ]
    if fitting(most) < 1:
        advice = f"Not even one fits: use crops smaller than {most.size_px} px or a smaller network."
    elif parts:
        advice = (
            f"The largest that fits is {fitting(most)}: set accumulate={parts[0]}, which makes the batch of "
            "parts."
        )
    else:
        advice = f"The largest that fits is {fitting(most)}: set crops to counts of many equal parts."
    raise TrainingError(
        f"Training needs about {gigabytes}, and {where} has {available / 1e9:.1f} GB. {advice}"
    )


def available_bytes(device: torch.device, processes: int) -> int:
    """Free memory for each of the processes that share the device."""
    return free_bytes(device) // processes


def _kept_bytes(network: MEMatte, size_px: int) -> int:
    """Bytes that autograd keeps for the backward pass of one crop."""
    network = deepcopy(network)  # a forward pass in training moves the running statistics
    seen: dict[int, int] = {}
    parameters = {parameter.data_ptr() for parameter in network.parameters()}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    inputs = torch.zeros(1, 4, size_px, size_px)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        matting = network(inputs, partial(gumbel, noise=0.0))
        region = torch.ones(1, 1, size_px, size_px)
        torch.stack(list(matting_losses(matting.alpha, region, region).values())).sum()
    return sum(seen.values())
