"""Trimaps as people draw them: tight, wide, wobbly, from a coarse mask."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from mematte.train.carry import carried

from .camera import LARGEST_SIGMA_PX, blur
from .draws import Draws, change_chosen, per_sample
from .erosion import eroded, painted

# style -> probability, of the trimap styles of `data/trimaps.py` that need no search over the whole crop
STYLES: dict[str, float] = {"band": 0.38, "wobbly": 0.32, "wide": 0.16, "coarse": 0.14}
WOBBLE = (0.2, 1.8)  # factors on the radii, along the contour
BRUSH_CHANCE = 0.4  # known regions painted with a round brush


def make_trimap(alpha: Tensor, draws: Draws) -> Tensor:
    """(B, 1, S, S) alpha -> (B, 1, S, S) trimap 0 / 0.5 / 1 in styles drawn from `STYLES`.

    Where the trimap is 0 the alpha is exactly 0, where it is 1 exactly 1.
    """
    size_px, device = alpha.shape[-1], alpha.device
    unit = size_px / 224  # radii are those of data/trimaps.py, meant for crops of 224 px
    bounds = torch.tensor(list(STYLES.values())).cumsum(0)[:-1]
    number = torch.searchsorted(bounds, draws.uniform(0, 1), right=True)
    style = {name: per_sample(number == place) for place, name in enumerate(STYLES)}
    # Foreground and background are channels: (B, 2, ...).
    tight_px = torch.stack([draws.ratio(1.5 * unit, 20 * unit) for _ in range(2)], dim=1)
    wide_px = torch.stack([draws.uniform(8 * unit, 45 * unit) for _ in range(2)], dim=1)
    radius_px = torch.where(style["wide"], wide_px[..., None, None], tight_px[..., None, None])
    limits_px = (radius_px * torch.where(style["wobbly"], WOBBLE[1], 1.0))[..., 0, 0]

    known = torch.cat((alpha >= 1, alpha <= 0), dim=1)
    sigma_px, threshold = draws.uniform(unit, 6 * unit), draws.uniform(0.25, 0.75)
    soft = _softened(alpha, carried(sigma_px, device), 6 * unit)
    guess = soft > per_sample(carried(threshold, device))
    known = torch.where(carried(style["coarse"], device), torch.cat((guess, ~guess), dim=1), known)
    wobble = torch.where(carried(style["wobbly"], device), _wobble(draws, size_px, device), 1.0)
    known = eroded(known, carried(radius_px, device) * wobble, limits_px)
    chosen, brush_px = draws.chosen(BRUSH_CHANCE), draws.ratio(2 * unit, 16 * unit)
    paint = partial(painted, limits_px=brush_px[chosen, None].expand(-1, 2))
    known = change_chosen(known, chosen, paint, per_sample(brush_px))
    foreground, background = known.split(1, dim=1)
    trimap = torch.where(foreground & (alpha >= 1), 1.0, 0.5)
    return torch.where(background & (alpha <= 0), 0.0, trimap)


def _softened(alpha: Tensor, sigma_px: Tensor, largest_px: float) -> Tensor:
    """Blurred alpha, computed at a size at which `blur` reaches the largest sigma."""
    shrink = math.ceil(largest_px / LARGEST_SIGMA_PX)
    small = blur(F.avg_pool2d(alpha, shrink, ceil_mode=True), sigma_px / shrink)
    return F.interpolate(small, size=alpha.shape[-2:], mode="bilinear")


def _wobble(draws: Draws, size_px: int, device: torch.device) -> Tensor:
    """(B, 2, S, S) smooth factors on a radius within `WOBBLE`: slow bumps and quicker ones, mixed."""
    slow, quick = (
        F.interpolate(
            carried(draws.numbers(2 * cells**2).reshape(-1, 2, cells, cells), device),
            size=size_px,
            mode="bicubic",
        )
        for cells in (3, 6)
    )
    share = per_sample(carried(draws.uniform(0, 1), device))
    low, high = WOBBLE
    return (low + (high - low) * torch.lerp(slow, quick, share)).clamp(low, high)
