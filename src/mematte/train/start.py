"""Where a network starts: from nothing, from other weights, or as the student of a teacher."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor, nn

from mematte.errors import TrainingError
from mematte.model import MEMatte, ModelSpec
from mematte.model.blocks import RoutedBlock
from mematte.weights import Weights, build, load_weights
from mematte.weights.checkpoint import Preprocessing, Windows

from .recipe import Recipe
from .widen import can_widen, widened

log = logging.getLogger("mematte.train")


class Start(NamedTuple):
    """A network, and what training does not change of the weights that it comes from."""

    network: MEMatte
    # Crops have no padding: the network never learns what zeros beyond a picture mean.
    preprocessing: Preprocessing = Preprocessing(padding="edge")
    enlarge_below: int = 0  # pixels; this and the next two as in `Weights`
    windows: Windows = "all"
    narrow_above: int = 0

    def inputs(self, pictures: Tensor) -> Tensor:
        """(B, 4, H, W), RGB in [0, 1] and trimap -> what the network takes: colours normalised its way."""
        mean, deviation = _per_channel(self.preprocessing, pictures.device)
        return ((pictures - mean) / deviation).contiguous(memory_format=torch.channels_last)


@cache  # while a number is carried to a GPU, PyTorch waits for all that it has begun
@torch.inference_mode(mode=False)
def _per_channel(preprocessing: Preprocessing, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation of a picture's four channels, (4, 1, 1) each; the trimap stays as it is."""
    mean = torch.tensor((*preprocessing.mean, 0.0), device=device)
    deviation = torch.tensor((*preprocessing.std, 1.0), device=device)
    return mean.view(4, 1, 1), deviation.view(4, 1, 1)


def starting_point(recipe: Recipe) -> Start:
    """The recipe's network with the values that it starts from.

    Raises:
        WeightsError: the weights to start from are missing or damaged.
        TrainingError: they are of a network of another size.
    """
    torch.manual_seed(recipe.seed)
    network = MEMatte(recipe.spec)
    start = Start(network)
    if recipe.start:
        weights = load_weights(recipe.start)
        if recipe.widen:
            weights = _widened(weights, recipe)
        _fill(network, weights, recipe.start)
        asked_for = weights.enlarge_below, weights.windows, weights.narrow_above
        start = Start(network, weights.preprocessing, *asked_for)
    for block in network.backbone.blocks:
        if isinstance(block, RoutedBlock):
            if recipe.routing == "everyone":
                _always(block.router.score[-1], bias=(1.0, 0.0))
                block.router.requires_grad_(False)
            if recipe.routing == "everyone" or not recipe.refine:
                _always(block.refinement.shrink, bias=0.0)
                block.refinement.requires_grad_(False)
    return start


def frozen_teacher(recipe: Recipe) -> Start | None:
    """The network whose features the recipe's network is drawn to, if there is one.

    Raises:
        WeightsError: the teacher's weights are missing or damaged.
        TrainingError: its features are of another size.
    """
    if not recipe.teacher:
        return None
    weights = load_weights(recipe.teacher)
    if weights.spec.channels != recipe.spec.channels:
        raise TrainingError(
            f"The teacher {recipe.teacher} has features of {weights.spec.channels} channels, "
            f"{recipe.spec.name} of {recipe.spec.channels}. Name a teacher of the same size."
        )
    return Start(build(weights), weights.preprocessing)


def _widened(weights: Weights, recipe: Recipe) -> Weights:
    """The same function in a network as wide as the recipe's."""
    own = weights.spec
    wide = replace(recipe.spec, blocks=own.blocks, global_positions=own.global_positions)
    if not can_widen(own, wide):
        raise TrainingError(
            f"widen=true makes {recipe.start}, {_described(own)}, no {_described(recipe.spec)}: every number "
            "of channels has to be a multiple, heads as large as they were, and nothing else may differ."
        )
    return replace(weights, spec=wide, state=widened(weights.state, own, wide, recipe.seed))


def _always(layer: nn.Module, bias: float | tuple[float, ...]) -> None:
    """A linear layer that always answers `bias`, for comparisons: the network keeps its shape."""
    assert isinstance(layer, nn.Linear)
    nn.init.zeros_(layer.weight)
    layer.bias.data.copy_(torch.tensor(bias))


def _fill(network: MEMatte, weights: Weights, source: str) -> None:
    """Copy what both networks have. A student has routers and refinement modules that its teacher has not,
    a teacher relative positions that its student has not: those start fresh, a refinement as "no change"."""
    if not _can_share(network.spec, weights.spec):
        raise TrainingError(
            f"{source} holds weights of {_described(weights.spec)}, the recipe's network is "
            f"{_described(network.spec)}. Start from weights of the same size, or, from those of a smaller "
            "network, with widen=true."
        )
    ours = network.state_dict()
    shared = {key: value.float() for key, value in weights.state.items() if key in ours}
    fresh = [key for key in ours if key not in shared and not key.endswith("num_batches_tracked")]
    network.load_state_dict(shared, strict=False)
    for index, block in enumerate(network.backbone.blocks):
        if isinstance(block, RoutedBlock) and any(f"blocks.{index}.refinement" in key for key in fresh):
            _always(block.refinement.shrink, bias=0.0)  # it is learned from there
    if fresh:
        parts = sorted({".".join(key.split(".")[:4]) for key in fresh})
        log.info("%s has no values for %s: these start fresh", source, ", ".join(parts))


def _can_share(one: ModelSpec, other: ModelSpec) -> bool:
    both_global = any(kinds == ("G", "G") for kinds in zip(one.blocks, other.blocks, strict=False))
    positions_differ = both_global and one.global_positions != other.global_positions
    return _skeleton(one) == _skeleton(other) and not positions_differ


def _skeleton(spec: ModelSpec) -> ModelSpec:
    """What two networks that can share weights agree in: all but which blocks are routed and which global."""
    return replace(spec, name="", blocks=spec.blocks.replace("G", "R"), global_positions=0)


def _described(spec: ModelSpec) -> str:
    positions = f", {spec.global_positions} global positions" if "G" in spec.blocks else ""
    return f"{spec.name} ({spec.channels} channels, {spec.heads} heads, {spec.blocks}{positions})"
