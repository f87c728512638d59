"""Crops -> batches of tensors."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from mematte.data.crops import CropSource

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406])
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225])


def make_batch(
    source: CropSource, rng: np.random.Generator, size_px: int, count: int
) -> tuple[Tensor, Tensor, Tensor]:
    """`count` crops of `size_px` px as the network and the losses take them.

    Returns:
        inputs (B, 4, S, S): normalised RGB, trimap 0 / 0.5 / 1; truth (B, 1, S, S) alpha in [0, 1];
        unknown (B, 1, S, S), 1 where the trimap is unknown, else 0.
    """
    crops = [source.sample(rng, size_px) for _ in range(count)]
    image = torch.from_numpy(np.stack([crop.image for crop in crops])).float() / 255
    trimap = torch.from_numpy(np.stack([crop.trimap for crop in crops]))[..., None]
    levels = torch.where(trimap == 128, 0.5, trimap.float() / 255)
    inputs = torch.cat(((image - IMAGENET_MEAN) / IMAGENET_STD, levels), dim=-1).permute(0, 3, 1, 2)
    truth = torch.from_numpy(np.stack([crop.alpha for crop in crops]))[:, None]
    return inputs, truth, (trimap == 128).float().permute(0, 3, 1, 2)
