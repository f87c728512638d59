"""The device's part: raw tiles in, what the network and the losses take out."""

from __future__ import annotations

import torch
from torch import Tensor

from .camera import LARGEST_SIGMA_PX, blur, degrade
from .colour import jitter_colour
from .draws import Draws, change_chosen
from .geometry import affine, turns
from .raw import RawBatch
from .trimaps import make_trimap

Batch = tuple[Tensor, Tensor, Tensor]
"""pictures (B, 4, S, S): RGB in [0, 1], trimap 0 / 0.5 / 1; truth (B, 1, S, S): alpha in [0, 1];
unknown (B, 1, S, S): 1 where the trimap is unknown, else 0."""

# What happens to a crop, as chances; `raw`, `camera` and `trimaps` have theirs.
FOREGROUND_COLOUR_CHANCE = 0.6
BACKGROUND_COLOUR_CHANCE = 0.4
IMAGE_COLOUR_CHANCE = 0.4
DEFOCUS_CHANCE = 0.3  # colour and alpha of the foreground together
DEPTH_CHANCE = 0.25  # the background out of focus
# Alphas this close to 0 or 1 are 0 or 1: half a level of 8 bits.
SNAP = 0.5 / 255


def compose_on_device(batch: RawBatch) -> Batch:
    """What training takes, on the device of the batch's pictures."""
    draws = Draws(batch.seeds)
    colour, alpha = _foreground(batch, draws)
    background = batch.backgrounds.permute(0, 3, 1, 2).float() / 255
    background = change_chosen(
        background, draws.chosen(DEPTH_CHANCE), blur, draws.ratio(0.6, LARGEST_SIGMA_PX)
    )
    background = jitter_colour(background, draws, BACKGROUND_COLOUR_CHANCE)
    image = over(colour, alpha, background)
    image = jitter_colour(image, draws, IMAGE_COLOUR_CHANCE, strength=0.5)
    image = degrade(image, draws)
    trimap = make_trimap(alpha, draws)
    image = (image * 255).round() / 255  # pictures come from files of 8 bits
    return torch.cat((image, trimap), dim=1), alpha, (trimap == 0.5).float()


def _foreground(batch: RawBatch, draws: Draws) -> tuple[Tensor, Tensor]:
    """(B, 3, S, S) colour and (B, 1, S, S) alpha of the turned, merged and defocused tiles."""
    size_px = batch.backgrounds.shape[1]

    def with_back(front: Tensor, matrices: Tensor) -> Tensor:
        return merge(front, affine(batch.backs, matrices, size_px))

    layer = affine(batch.fronts, turns(draws), size_px)
    layer = change_chosen(layer, batch.back_of, with_back, turns(draws))
    layer = change_chosen(layer, draws.chosen(DEFOCUS_CHANCE), blur, draws.ratio(0.4, LARGEST_SIGMA_PX))
    colour, alpha = layer.split((3, 1), dim=1)
    alpha = torch.where(alpha < SNAP, 0.0, torch.where(alpha > 1 - SNAP, 1.0, alpha))
    return jitter_colour(colour, draws, FOREGROUND_COLOUR_CHANCE), alpha


def merge(front: Tensor, back: Tensor) -> Tensor:
    """One (K, 4, S, S) layer over another: alpha = 1 - (1 - front)(1 - back), colour that of what is seen."""
    cover, behind = front[:, 3:], back[:, 3:] * (1 - front[:, 3:])
    total = cover + behind
    share = torch.where(total > 1e-3, cover / total.clamp(min=1e-3), 1.0)
    return torch.cat((torch.lerp(back[:, :3], front[:, :3], share), total.clamp(max=1)), dim=1)


def over(foreground: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """alpha * foreground + (1 - alpha) * background; exactly one of the two where alpha is 0 or 1."""
    return torch.lerp(background, foreground, alpha)
