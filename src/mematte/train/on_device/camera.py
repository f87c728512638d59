"""What cameras add to a picture: blur, sharpening, sensor noise, and the JPEG files they write."""

from __future__ import annotations

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from .draws import Draws, change_chosen, per_sample
from .jpeg import through_jpeg

SOFT_CHANCE, SHARP_CHANCE, NOISE_CHANCE, JPEG_CHANCE = 0.25, 0.15, 0.4, 0.3
LARGEST_SIGMA_PX = 4.0  # of any blur at full resolution


def blur(pictures: Tensor, sigma_px: Tensor, largest_px: float = LARGEST_SIGMA_PX) -> Tensor:
    """Gaussian blur, mirrored at the border. sigma_px: (B,), at most `largest_px`; less is faster."""
    # The same reach for all: a sample's result must not depend on the others'.
    reach = min(math.ceil(3 * largest_px), min(pictures.shape[-2:]) - 1)
    weights = [torch.exp(-0.5 * (step / sigma_px) ** 2) for step in range(reach + 1)]
    total = sum((2 * weight for weight in weights[1:]), start=weights[0])
    for axis in (-1, -2):
        length = pictures.shape[axis]
        padding = (reach, reach, 0, 0) if axis == -1 else (0, 0, reach, reach)
        padded = F.pad(pictures, padding, mode="reflect")
        blurred = padded.narrow(axis, reach, length) * per_sample(weights[0] / total)
        for step in range(1, reach + 1):
            sides = padded.narrow(axis, reach - step, length) + padded.narrow(axis, reach + step, length)
            blurred.addcmul_(sides, per_sample(weights[step] / total))
        pictures = blurred
    return pictures


def degrade(image: Tensor, draws: Draws) -> Tensor:
    """Slight blur or sharpening, sensor noise, JPEG: each sometimes."""
    soften = partial(blur, largest_px=0.8)
    image = change_chosen(image, draws.chosen(SOFT_CHANCE), soften, draws.uniform(0.3, 0.8))
    image = change_chosen(
        image, draws.chosen(SHARP_CHANCE), _sharpened, draws.uniform(0.6, 1.5), draws.uniform(0.2, 0.8)
    )
    image = change_chosen(
        image,
        draws.chosen(NOISE_CHANCE),
        _noisy,
        draws.seeds,
        draws.uniform(0.5, 8) / 255,
        draws.uniform(0, 1),
    )
    return change_chosen(image, draws.chosen(JPEG_CHANCE), through_jpeg, draws.uniform(55, 98).floor())


def _sharpened(image: Tensor, sigma_px: Tensor, amount: Tensor) -> Tensor:
    return torch.lerp(blur(image, sigma_px, largest_px=1.5), image, 1 + per_sample(amount)).clamp(0, 1)


def _noisy(image: Tensor, seeds: Tensor, deviation: Tensor, kind: Tensor) -> Tensor:
    grain = noise(seeds, image.shape[-1])
    # Two cameras in five have the same grain in all channels.
    grain = torch.where(per_sample(kind) < 0.4, grain[:, :1], grain)
    return torch.addcmul(image, grain, per_sample(deviation)).clamp(0, 1)


def noise(seeds: Tensor, size_px: int) -> Tensor:
    """(B, 3, S, S) of about normal noise, mean 0, deviation 1; the same numbers on every device."""
    place = torch.arange(3 * size_px * size_px, device=seeds.device)
    mixed = _hashed(_hashed(place)[None] ^ _hashed(_hashed(seeds & 0xFFFFFFFF) ^ (seeds >> 32))[:, None])
    # The sum of four bytes: four uniform numbers, the central limit theorem does the rest.
    total = (mixed & 255) + (mixed >> 8 & 255) + (mixed >> 16 & 255) + (mixed >> 24)
    deviation = math.sqrt(4 * (256**2 - 1) / 12)
    return ((total.float() - 4 * 127.5) / deviation).view(-1, 3, size_px, size_px)


def _hashed(value: Tensor) -> Tensor:
    """32 bits in int64 -> 32 well mixed bits; products stay below 2 ** 63."""
    for _ in range(2):
        value = ((value >> 16) ^ value) * 0x45D9F3B & 0xFFFFFFFF
    return (value >> 16) ^ value
