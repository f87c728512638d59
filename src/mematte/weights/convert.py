"""Other people's checkpoints -> our parameter names, by tables.

A row is (their pattern, our name); `#` stands for a number that both names carry. Every key is used once and
every parameter filled once, or a `WeightsError` lists which. The spec is read off the tensors: their shapes
say the sizes, their names say which block is W, R or G.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from mematte.errors import WeightsError
from mematte.model import SPECS, ModelSpec

from .checkpoint import COUNTER, Preprocessing, check_finite, check_fit, listed, preprocessing

log = logging.getLogger(__name__)

Table = tuple[tuple[str, str], ...]

# Lin et al. 2025 (MEMatte) and Yao et al. 2024 (ViTMatte) as published, in `.pth` files.
PUBLISHED: Table = (
    ("backbone.pos_embed", "backbone.positions"),
    ("backbone.patch_embed.proj", "backbone.patches"),
    ("backbone.blocks.#.norm1", "backbone.blocks.#.norm1"),
    ("backbone.blocks.#.norm2", "backbone.blocks.#.norm2"),
    ("backbone.blocks.#.attn.qkv", "backbone.blocks.#.attention.qkv"),
    ("backbone.blocks.#.attn.proj", "backbone.blocks.#.attention.project"),
    ("backbone.blocks.#.attn.rel_pos_h", "backbone.blocks.#.attention.relative_rows"),
    ("backbone.blocks.#.attn.rel_pos_w", "backbone.blocks.#.attention.relative_columns"),
    ("backbone.blocks.#.mlp.fc1", "backbone.blocks.#.mlp.0"),
    ("backbone.blocks.#.mlp.fc2", "backbone.blocks.#.mlp.2"),
    ("backbone.blocks.#.efficient_block.fc1", "backbone.blocks.#.refinement.expand"),
    ("backbone.blocks.#.efficient_block.dwconv", "backbone.blocks.#.refinement.mix"),
    ("backbone.blocks.#.efficient_block.fc2", "backbone.blocks.#.refinement.shrink"),
    ("backbone.blocks.#.efficient_block.eca.conv", "backbone.blocks.#.refinement.gate"),
    ("backbone.blocks.#.residual.conv1", "backbone.blocks.#.residual.shrink"),
    ("backbone.blocks.#.residual.norm1", "backbone.blocks.#.residual.shrink_norm"),
    ("backbone.blocks.#.residual.conv2", "backbone.blocks.#.residual.mix"),
    ("backbone.blocks.#.residual.norm2", "backbone.blocks.#.residual.mix_norm"),
    ("backbone.blocks.#.residual.conv3", "backbone.blocks.#.residual.expand"),
    ("backbone.blocks.#.residual.norm3", "backbone.blocks.#.residual.expand_norm"),
    # The published routers are counted among themselves; ours belong to their blocks.
    ("backbone.routers.#.in_conv", "backbone.routed.#.router.embed"),
    ("backbone.routers.#.out_conv", "backbone.routed.#.router.score"),
    ("decoder.convstream.convs.#.conv", "decoder.details.#.0"),
    ("decoder.convstream.convs.#.bn", "decoder.details.#.1"),
    ("decoder.fusion_blks.#.conv.conv", "decoder.fusions.#.0"),
    ("decoder.fusion_blks.#.conv.bn", "decoder.fusions.#.1"),
    ("decoder.matting_head.matting_convs", "decoder.head"),
)

# ViTMatte as `transformers` names it (VitMatteForImageMatting with a VitDet backbone).
HUGGING_FACE: Table = (
    ("backbone.embeddings.position_embeddings", "backbone.positions"),
    ("backbone.embeddings.projection", "backbone.patches"),
    ("backbone.encoder.layer.#.norm1", "backbone.blocks.#.norm1"),
    ("backbone.encoder.layer.#.norm2", "backbone.blocks.#.norm2"),
    ("backbone.encoder.layer.#.attention.qkv", "backbone.blocks.#.attention.qkv"),
    ("backbone.encoder.layer.#.attention.proj", "backbone.blocks.#.attention.project"),
    ("backbone.encoder.layer.#.attention.rel_pos_h", "backbone.blocks.#.attention.relative_rows"),
    ("backbone.encoder.layer.#.attention.rel_pos_w", "backbone.blocks.#.attention.relative_columns"),
    ("backbone.encoder.layer.#.mlp.fc1", "backbone.blocks.#.mlp.0"),
    ("backbone.encoder.layer.#.mlp.fc2", "backbone.blocks.#.mlp.2"),
    ("backbone.encoder.layer.#.residual.conv1", "backbone.blocks.#.residual.shrink"),
    ("backbone.encoder.layer.#.residual.norm1", "backbone.blocks.#.residual.shrink_norm"),
    ("backbone.encoder.layer.#.residual.conv2", "backbone.blocks.#.residual.mix"),
    ("backbone.encoder.layer.#.residual.norm2", "backbone.blocks.#.residual.mix_norm"),
    ("backbone.encoder.layer.#.residual.conv3", "backbone.blocks.#.residual.expand"),
    ("backbone.encoder.layer.#.residual.norm3", "backbone.blocks.#.residual.expand_norm"),
    ("decoder.convstream.convs.#.conv", "decoder.details.#.0"),
    ("decoder.convstream.convs.#.batch_norm", "decoder.details.#.1"),
    ("decoder.fusion_blocks.#.conv.conv", "decoder.fusions.#.0"),
    ("decoder.fusion_blocks.#.conv.batch_norm", "decoder.fusions.#.1"),
    ("decoder.matting_head.matting_convs", "decoder.head"),
)

# A key that only one family of checkpoints has.
FAMILIES: tuple[tuple[str, str, Table], ...] = (
    ("backbone.patch_embed.proj.weight", "published", PUBLISHED),
    ("backbone.embeddings.projection.weight", "Hugging Face", HUGGING_FACE),
)

# Training keeps the frozen teacher beside the student; inference does not need it.
DROPPED_PREFIX = "teacher_backbone."

HEAD_CHANNELS = 64  # of every published network; needed only where no relative positions say it


@dataclass(frozen=True)
class Converted:
    """A checkpoint under our names."""

    spec: ModelSpec
    state: dict[str, Tensor]
    family: str  # "published" or "Hugging Face"
    notes: list[str]  # what was left out, for people


def convert(theirs: Mapping[str, Tensor], what: str) -> Converted:
    """Convert a state dict.

    Args:
        theirs: key -> tensor, of a published MEMatte or ViTMatte or of Hugging Face's ViTMatte.
        what: the name of the file, for messages.

    Raises:
        WeightsError: keys of no network that is known, keys left over, parameters left unfilled, shapes that
            do not fit each other, NaN.
    """
    keys = {_bare(key): value for key, value in theirs.items()}
    if len(keys) < len(theirs):
        raise WeightsError(f"{what}: some parameters are there twice, with and without the prefix `module.`.")
    notes = []
    if teachers := [key for key in keys if key.startswith(DROPPED_PREFIX)]:
        notes.append(
            f"left out {len(teachers)} tensors {DROPPED_PREFIX}*: the teacher is not part of the network"
        )
        keys = {key: value for key, value in keys.items() if not key.startswith(DROPPED_PREFIX)}
    family, table = _family(keys, what)

    ours: dict[str, Tensor] = {}
    unknown = []
    for key, value in keys.items():
        name = rename(key, table)
        if name is None:
            unknown.append(key)
        elif not name.endswith(COUNTER):
            ours[name] = value
    if unknown:
        raise WeightsError(
            f"{what}: {len(unknown)} keys belong to no part of the network: {listed(unknown)}."
        )

    positions = ours.get("backbone.positions")
    if positions is not None:
        ours["backbone.positions"] = _positions(positions, what)
        notes.append("left out the class token's entry of the positions: nothing reads it")
    for name, value in ours.items():
        if re.search(r"\.residual\.(shrink|expand)\.weight$", name) and value.shape[2:] == (1, 1):
            value = value[:, :, 0, 0]  # a 1x1 convolution is a linear layer
        ours[name] = value.float() if value.dtype == torch.float64 else value
    spec = read_spec(ours, what)
    ours = _place_routers(ours, spec, what)
    check_fit(ours, spec, what)
    check_finite(ours, what)
    for note in notes:
        log.info("%s: %s", what, note)
    return Converted(spec, {key: value.contiguous() for key, value in ours.items()}, family, notes)


def rename(key: str, table: Table) -> str | None:
    """Their key -> our key, or None where the table has no row for it."""
    for theirs, ours in table:
        match = re.fullmatch(re.escape(theirs).replace(r"\#", r"(\d+)") + r"((?:\.\w+)*)", key)
        if match:
            *numbers, rest = match.groups()
            for number in numbers:
                ours = ours.replace("#", number, 1)
            return ours + rest
    return None


def read_spec(state: Mapping[str, Tensor], what: str) -> ModelSpec:
    """The spec of a network from its tensors under our names.

    Raises:
        WeightsError: a tensor that says a size is missing or has the wrong number of axes, or the blocks are
            not numbered 0, 1, 2 ...
    """

    def shape(name: str, axes: int) -> torch.Size:
        if name not in state:
            raise WeightsError(
                f"{what}: the sizes of the network cannot be told, for 1 parameter is missing: {name}."
            )
        if state[name].ndim != axes:
            raise WeightsError(
                f"{what}: {name} has the shape {tuple(state[name].shape)}; {axes} axes were expected."
            )
        return state[name].shape

    channels, _, patch, _ = shape("backbone.patches.weight", 4)
    window = shape("backbone.positions", 4)[1]
    numbers = {int(match[1]) for name in state if (match := re.match(r"backbone\.blocks\.(\d+)\.", name))}
    if numbers != set(range(len(numbers))) or not numbers:
        gone = sorted(set(range(max(numbers, default=0) + 1)) - numbers)
        raise WeightsError(f"{what}: of the blocks, these are missing: {listed(map(str, gone))}.")
    letters = ""
    head_channels, global_positions = HEAD_CHANNELS, ModelSpec("", 4, 1).global_positions
    for number in range(len(numbers)):
        block = f"backbone.blocks.{number}."
        kinds = {name.removeprefix(block).split(".")[0] for name in state if name.startswith(block)}
        letters += "R" if "refinement" in kinds else "G" if "residual" in kinds else "W"
        if letters[-1] != "R":
            entries, head_channels = shape(block + "attention.relative_rows", 2)
            if letters[-1] == "G":
                global_positions = (entries + 1) // 2
    details = [shape(f"decoder.details.{level}.0.weight", 4)[0] for level in range(3)]
    fusions = [shape(f"decoder.fusions.{level}.0.weight", 4)[0] for level in range(4)]
    try:
        spec = ModelSpec(
            name="custom",
            channels=channels,
            heads=channels // max(head_channels, 1),
            blocks=letters,
            detail_channels=(details[0], details[1], details[2]),
            fusion_channels=(fusions[0], fusions[1], fusions[2], fusions[3]),
            head_channels=shape("decoder.head.0.weight", 4)[0],
            mlp_ratio=shape("backbone.blocks.0.mlp.0.weight", 2)[0] // channels,
            patch=patch,
            window=window,
            global_positions=global_positions,
        )
    except (ValueError, ArithmeticError) as error:
        raise WeightsError(f"{what}: the shapes of the tensors draw no network: {error}") from error
    names = [named.name for named in SPECS.values() if replace(named, name="custom") == spec]
    return replace(spec, name=names[0]) if names else spec


def check_config(config: Mapping[str, Any], spec: ModelSpec, what: str) -> None:
    """Hold a Hugging Face `config.json` against what its tensors say.

    Sizes are read off the tensors; what they cannot say (an activation, an epsilon, which blocks are
    windowed) must be what our network does.

    Raises:
        WeightsError: it is the configuration of another network; the message lists each value and ours.
    """
    kind = config.get("model_type")
    if kind != "vitmatte":
        raise WeightsError(
            f"{what}: config.json describes a {kind!r} network; of Hugging Face's, 'vitmatte' is read."
        )
    backbone = config.get("backbone_config")
    if not isinstance(backbone, Mapping):
        raise WeightsError(f"{what}: config.json does not describe the backbone (no `backbone_config`).")
    windows = [index for index, letter in enumerate(spec.blocks) if letter == "W"]
    others = [index for index, letter in enumerate(spec.blocks) if letter != "W"]
    # (entry, what transformers assumes where it is absent, what our network does)
    expected: list[tuple[str, Any, Any]] = [
        ("model_type", "vitdet", "vitdet"),
        ("hidden_act", "gelu", "gelu"),
        ("layer_norm_eps", 1e-6, 1e-6),
        ("num_channels", 3, 4),
        ("num_attention_heads", 12, spec.heads),
        ("num_hidden_layers", 12, len(spec.blocks)),
        ("window_size", 0, spec.window),
        ("window_block_indices", [], windows),
        ("residual_block_indices", [], others),
        ("use_relative_position_embeddings", False, True),
        ("out_features", None, [f"stage{len(spec.blocks)}"]),
    ]
    wrong = [
        f"{entry} is {found!r} and should be {ours!r}"
        for entry, default, ours in expected
        if (found := backbone.get(entry, default)) != ours and not (entry == "out_features" and found is None)
    ]
    if (found := config.get("batch_norm_eps", 1e-5)) != 1e-5:
        wrong.append(f"batch_norm_eps is {found!r} and should be 1e-05")
    if wrong:
        raise WeightsError(f"{what}: config.json describes a network that ours cannot be: {listed(wrong)}.")


def read_preprocessing(config: Mapping[str, Any], what: str) -> Preprocessing:
    """Mean and standard deviation from a Hugging Face `preprocessor_config.json`.

    Raises:
        WeightsError: values that are no mean and standard deviation, or a rescaling other than to [0, 1].
    """
    if not config.get("do_rescale", True) or abs(config.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-6:
        raise WeightsError(
            f"{what}: preprocessor_config.json does not scale 0 ... 255 to 0 ... 1, as this network's do."
        )
    if not config.get("do_normalize", True):
        return Preprocessing((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    default = [0.5, 0.5, 0.5]  # what transformers takes where nothing is said
    try:
        return preprocessing(
            tuple(map(float, config.get("image_mean", default))),
            tuple(map(float, config.get("image_std", default))),
        )
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{what}: preprocessor_config.json: {error}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file.

    Raises:
        WeightsError: it cannot be read, or is something else.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: the file cannot be read as JSON: {error}.") from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: a JSON object was expected, not a {type(content).__name__}.")
    return content


def _bare(key: str) -> str:
    """Without the `module.` that data-parallel training puts before every key."""
    while key.startswith("module."):
        key = key.removeprefix("module.")
    return key


def _family(keys: Mapping[str, Tensor], what: str) -> tuple[str, Table]:
    for mark, family, table in FAMILIES:
        if mark in keys:
            return family, table
    # The mark itself may be what is missing: then most other keys still speak.
    for _, family, table in FAMILIES:
        if sum(rename(key, table) is not None for key in keys) > len(keys) / 2:
            return family, table
    raise WeightsError(
        f"{what}: these are weights of another network. MEMatte and ViTMatte are known, as published and as "
        f"Hugging Face names them; here the keys are {listed(keys)}."
    )


def _positions(positions: Tensor, what: str) -> Tensor:
    """(1, 1 + n * n, C) -> (1, n, n, C): the first entry is a class token's, which nothing reads."""
    size = isqrt(max(positions.shape[1] - 1, 0)) if positions.ndim == 3 else 0
    if positions.ndim != 3 or positions.shape[0] != 1 or size * size != positions.shape[1] - 1 or not size:
        raise WeightsError(
            f"{what}: the absolute positions have the shape {tuple(positions.shape)}; (1, 1 + n * n, "
            f"channels) was expected."
        )
    return positions[:, 1:].view(1, size, size, -1)


def _place_routers(state: Mapping[str, Tensor], spec: ModelSpec, what: str) -> dict[str, Tensor]:
    """Routers counted among themselves -> routers of their blocks."""
    routed = [index for index, letter in enumerate(spec.blocks) if letter == "R"]
    placed = {}
    for name, value in state.items():
        match = re.match(r"backbone\.routed\.(\d+)\.", name)
        if match and int(match[1]) >= len(routed):
            raise WeightsError(
                f"{what}: there is a router {match[1]}, but only {len(routed)} blocks that one could belong "
                f"to."
            )
        placed[f"backbone.blocks.{routed[int(match[1])]}.{name[match.end() :]}" if match else name] = value
    return placed
