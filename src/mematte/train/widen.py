"""Widen: a larger network begins where a smaller one has arrived.

Every channel is there several times, and what reads it divides its weight among the copies, at random: the
network computes what it did, and training draws the copies apart. All channels are there equally often and
heads keep their size, so that LayerNorms and attention's scale see what they saw. One thing differs: the
refinement's gate convolves along the channels, and sees other neighbours where one copy ends.

Source: Chen, Goodfellow and Shlens, "Net2Net: Accelerating Learning via Knowledge Transfer", ICLR 2016.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from mematte.engine.fusion import levels
from mematte.model import MEMatte, ModelSpec

_SPREAD = 0.25  # standard deviation of the copies' shares in a weight, relative to equal ones


def can_widen(narrow: ModelSpec, wide: ModelSpec) -> bool:
    """Whether all channels of `wide` are multiples of those of `narrow`, and nothing else differs."""
    before, after = _channels(narrow), _channels(wide)
    return (
        wide.channels * narrow.heads == wide.heads * narrow.channels
        and all(more % fewer == 0 for fewer, more in zip(before, after, strict=True))
        and _without_channels(narrow) == _without_channels(wide)
    )


def widened(
    state: Mapping[str, Tensor], narrow: ModelSpec, wide: ModelSpec, seed: int = 0
) -> dict[str, Tensor]:
    """Parameters and buffers with which `wide` computes what `narrow` does.

    Args:
        state: parameters and buffers of `narrow` by name.
        narrow: the network that `state` is of.
        wide: such that `can_widen` holds.
        seed: of the copies' shares.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in MEMatte(wide).state_dict().items() if key in state}
    result = {}
    for key, shape in shapes.items():
        value = state[key]
        for axis, (fewer, more) in enumerate(zip(value.shape, shape, strict=True)):
            if fewer != more:
                parts = zip(_parts(key, axis, narrow, fewer), _parts(key, axis, wide, more), strict=True)
                originals = _originals(parts)
                value = value.index_select(axis, originals)
                if axis == 1:  # the channels that a layer sums over
                    value = value * _shares(originals, value, generator)
        result[key] = value
    return result


def _channels(spec: ModelSpec) -> tuple[int, ...]:
    return (spec.channels, spec.heads, *spec.detail_channels, *spec.fusion_channels, spec.head_channels)


def _without_channels(spec: ModelSpec) -> ModelSpec:
    return replace(
        spec,
        name="",
        channels=4,
        heads=1,
        detail_channels=(1, 1, 1),
        fusion_channels=(1, 1, 1, 1),
        head_channels=1,
    )


def _parts(key: str, axis: int, spec: ModelSpec, size: int) -> tuple[int, ...]:
    """How many channels an axis has, of each kind where it has several: each is copied for itself."""
    if "attention.qkv." in key and axis == 0:
        return (size // 3,) * 3  # query, key, value
    if ("router.embed.1." in key and axis == 0) or ("router.score.0." in key and axis == 1):
        return (size // 2,) * 2  # local, context
    fusion = re.match(r"decoder\.fusions\.(\d)\.0\.", key)
    if fusion and axis == 1:
        level = levels(spec)[int(fusion[1])]
        return level.detail, level.coarse
    return (size,)


def _originals(parts: Iterable[tuple[int, int]]) -> Tensor:
    """(before, after) channels of every part -> for each channel after, which it is a copy of."""
    start, originals = 0, []
    for before, after in parts:
        originals.append(start + torch.arange(after) % before)
        start += before
    return torch.cat(originals)


def _shares(originals: Tensor, value: Tensor, generator: torch.Generator) -> Tensor:
    """What part of its weight each copy keeps, (outputs, inputs, 1, ...); those of an original sum to one."""
    outputs = value.shape[0]
    copies = originals.bincount()[originals]
    noise = _SPREAD * torch.randn(outputs, len(originals), generator=generator)
    total = torch.zeros(outputs, int(originals.max()) + 1).index_add_(1, originals, noise)
    shares = (1 + noise - total[:, originals] / copies) / copies
    return shares.view(*shares.shape, *(1,) * (value.ndim - 2))
