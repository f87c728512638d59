"""Colours changed: gamma, contrast, brightness, cast and saturation."""

from __future__ import annotations

import torch
from torch import Tensor

from .draws import Draws, change_chosen, per_sample


def jitter_colour(pictures: Tensor, draws: Draws, chance: float, strength: float = 1.0) -> Tensor:
    """Change gamma, contrast, brightness, cast and saturation of some (B, 3, S, S) pictures."""
    chosen = draws.chosen(chance)
    gamma, contrast = draws.normal(0.25 * strength).exp(), draws.normal(0.2 * strength).exp()
    shift = draws.normal(0.08 * strength)
    casts = torch.stack([shift + draws.normal(0.04 * strength) for _ in range(3)], dim=1)
    saturation = draws.uniform(1 - 0.8 * strength, 1 + 0.5 * strength)
    return change_chosen(pictures, chosen, _recolour, gamma, contrast, casts, saturation)


def _recolour(pictures: Tensor, gamma: Tensor, contrast: Tensor, casts: Tensor, saturation: Tensor) -> Tensor:
    # Not `**`: on a CPU its last pixels come from another routine than the others, with other last bits.
    curve = (pictures.clamp(min=0).log() * per_sample(gamma)).exp()
    curve = ((curve - 0.5) * per_sample(contrast) + 0.5 + casts[..., None, None]).clamp(0, 1)
    grey = (curve[:, :1] + curve[:, 1:2] + curve[:, 2:]) / 3
    return torch.lerp(grey, curve, per_sample(saturation)).clamp(0, 1)
