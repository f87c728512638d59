"""Masks eroded by discs of any radius, through exact distances."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from mematte.train.carry import carried


def squared_distance(masks: Tensor, limits_px: Tensor) -> Tensor:
    """(P, H, W) squared distance of each pixel from its mask's nearest False one, as integers.

    Args:
        masks: (P, H, W) bool. Outside the picture nothing is False.
        limits_px: (P,) on the CPU: distances are exact up to there, what is farther has some larger number.
    """
    order = limits_px.argsort(descending=True)
    limits = [math.ceil(limit) for limit in limits_px[order].tolist()]
    reach, (height, width) = limits[0], masks.shape[1:]
    # Half the bytes where the numbers are small enough: memory is what this costs.
    kind = torch.int16 if 2 * (reach + 1) ** 2 < 2**15 else torch.int32
    masks = masks[carried(order, masks.device)]
    rows = torch.arange(height, dtype=torch.int32, device=masks.device).view(-1, 1)
    # Along columns: the last False row above, the next one below.
    above = torch.where(masks, -reach - 1, rows).cummax(dim=-2).values
    below = torch.where(masks, height + reach, rows).flip(-2).cummin(dim=-2).values.flip(-2)
    far = (reach + 1) ** 2
    nearest = torch.minimum(rows - above, below - rows).clamp(max=reach + 1).square().to(kind)
    # Across: the best of all columns within reach, for those masks that want to know.
    padded = F.pad(nearest, (reach, reach), value=far)
    for step in range(1, reach + 1):
        count = sum(limit >= step for limit in limits)
        left = padded[:count].narrow(-1, reach - step, width)
        right = padded[:count].narrow(-1, reach + step, width)
        part = nearest[:count]
        torch.minimum(part, torch.minimum(left, right).add_(step * step), out=part)
    return nearest[carried(order.argsort(), masks.device)]


def eroded(masks: Tensor, radius_px: Tensor, limits_px: Tensor) -> Tensor:
    """(B, C, H, W) masks without what lies at most `radius_px` from their outsides: erosions by discs.

    Args:
        masks: bool. What is outside the picture is not outside a mask.
        radius_px: broadcast over the masks: one number per mask, or one per pixel.
        limits_px: (B, C) on the CPU: no radius is larger; the smaller, the faster.
    """
    squared = squared_distance(masks.flatten(0, 1), limits_px.flatten()).view(masks.shape)
    return squared > radius_px.square()


def painted(masks: Tensor, brush_px: Tensor, limits_px: Tensor) -> Tensor:
    """The parts of masks that a round brush of radius `brush_px` can paint without leaving them."""
    return ~eroded(~eroded(masks, brush_px, limits_px), brush_px, limits_px)
