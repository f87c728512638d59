"""Decode: the decoder, tile by tile, only where the trimap is unknown.

Only the picture's true edges count as edges: each tile sees all that its pixels see in one piece, so
tiled equals whole.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mematte.model.decoder import Decoder

from .plan import Tile


def decode(
    decoder: nn.Module,
    features: Tensor,
    inputs: Tensor,
    tiles: Iterable[Tile],
    alpha: NDArray[np.float32],
    done: Callable[[Tile], None],
) -> None:
    """Write the decoder's alpha into `alpha` (H, W) wherever a tile's core lies.

    Args:
        features: (1, h, w, C) from the backbone.
        inputs: (1, 4, 16 h, 16 w), what the backbone saw.
        tiles: from `plan.tiles`.
        alpha: (H, W) float32, changed in place; H <= 16 h, W <= 16 w.
        done: called after each tile.
    """
    patch = inputs.shape[-2] // features.shape[1]
    for tile in tiles:
        rows, columns = tile.window
        part = features[:, _tokens(rows, patch), _tokens(columns, patch)]
        decoded = decoder(part, inputs[..., rows, columns].contiguous(memory_format=torch.channels_last))
        kept = decoded[0, 0][tile.kept].float().cpu().numpy()
        target = alpha[tile.core]  # the padding beyond the picture is cut off here
        target[...] = kept[: target.shape[0], : target.shape[1]]
        done(tile)


def _tokens(pixels: slice, patch: int) -> slice:
    return slice(pixels.start // patch, pixels.stop // patch)


def without_batch_norm(decoder: Decoder) -> Decoder:
    """A copy of a decoder in eval mode whose batch norms are folded into the convolutions before them."""
    folded = copy.deepcopy(decoder)
    for sequence in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        for index, module in enumerate(sequence):
            before = sequence[index - 1]
            if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                sequence[index - 1] = fuse_conv_bn_eval(before, module)
                sequence[index] = nn.Identity()
    return folded
