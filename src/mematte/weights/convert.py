"""Other people's checkpoints -> our parameter names, by tables.

A row is (their pattern, our name); `#` stands for a number that both names carry. Every key is used once and every
parameter filled once, or a `WeightsError` lists which.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from mematte.model import ModelSpec

# Lin et al. 2025 and Yao et al. 2024 as published (`.pth`).
PUBLISHED = (
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
    ("backbone.routers.#.in_conv", "backbone.blocks.#R.router.embed"),
    ("backbone.routers.#.out_conv", "backbone.blocks.#R.router.score"),
    ("decoder.convstream.convs.#.conv", "decoder.details.#.0"),
    ("decoder.convstream.convs.#.bn", "decoder.details.#.1"),
    ("decoder.fusion_blks.#.conv.conv", "decoder.fusions.#.0"),
    ("decoder.fusion_blks.#.conv.bn", "decoder.fusions.#.1"),
    ("decoder.matting_head.matting_convs", "decoder.head"),
)


def rename(key: str, table: tuple[tuple[str, str], ...], spec: ModelSpec) -> str | None:
    """Their key -> our key, or None where the table has no row for it."""
    for theirs, ours in table:
        match = re.fullmatch(re.escape(theirs).replace(r"\#", r"(\d+)") + r"((?:\.\w+)*)", key)
        if match:
            *numbers, rest = match.groups()
            if "#R" in ours:
                routed = [index for index, letter in enumerate(spec.blocks) if letter == "R"]
                numbers, ours = [str(routed[int(numbers[0])])], ours.replace("#R", "#")
            for number in numbers:
                ours = ours.replace("#", number, 1)
            return ours + rest
    return None


def convert(theirs: Mapping[str, Tensor], spec: ModelSpec) -> dict[str, Tensor]:
    ours = {}
    for key, value in theirs.items():
        name = rename(key, PUBLISHED, spec)
        assert name, key
        if name == "backbone.positions":  # the first entry is a class token's, which nothing reads
            value = value[:, 1:].unflatten(1, (spec.window, spec.window))
        if value.ndim == 4 and re.search(r"residual\.(shrink|expand)\.", name):
            value = value[:, :, 0, 0]
        ours[name] = value
    return ours
