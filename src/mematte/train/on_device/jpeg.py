"""What JPEG files take away from a picture."""

from __future__ import annotations

import math
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .draws import per_sample

# ITU-T T.81, annex K.1: quantisation of luma and chroma at quality 50.
_LUMA = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
_CHROMA = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    *([99] * 8 for _ in range(4)),
]


def through_jpeg(pictures: Tensor, quality: Tensor) -> Tensor:
    """Pictures as JPEG files give them back, chroma at half size; quality: (B,) from 50 to 100."""
    size_px = pictures.shape[-1]
    missing = -size_px % 16
    red, green, blue = F.pad(pictures * 255, (0, missing, 0, missing), mode="replicate").split(1, dim=1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.cat(((blue - luma) / 1.772, (red - luma) / 1.402), dim=1)
    factor = per_sample((200 - 2 * quality) / 100)
    tables = [(table * factor).round().clamp(min=1) for table in _tables(pictures.device)]
    luma = _quantised(luma - 128, tables[0]) + 128
    blueness, redness = (
        F.interpolate(_quantised(F.avg_pool2d(chroma, 2), tables[1]), scale_factor=2, mode="bilinear")
    ).split(1, dim=1)
    red, blue = luma + 1.402 * redness, luma + 1.772 * blueness
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    decoded = torch.cat((red, green, blue), dim=1)[..., :size_px, :size_px]
    return (decoded.round() / 255).clamp(0, 1)


@cache  # while a number is carried to a GPU, PyTorch waits for all that it has begun
@torch.inference_mode(mode=False)
def _tables(device: torch.device) -> list[Tensor]:
    return [torch.tensor(table, device=device) for table in (_LUMA, _CHROMA)]


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """Planes whose 8x8 blocks have lost what the (B, 1, 8, 8) table takes from their cosine transform."""
    place = torch.arange(8, device=planes.device)
    waves = torch.cos((2 * place + 1) * place[:, None] * (math.pi / 16)) / 2
    waves[0] /= math.sqrt(2)
    count, channels, height, width = planes.shape
    blocks = planes.view(count, channels, height // 8, 8, width // 8, 8)
    blocks = _product(waves, _product(waves, blocks, 3), 5)
    steps = table.view(count, 1, 1, 8, 1, 8)
    blocks = (blocks / steps).round() * steps
    return _product(waves.T, _product(waves.T, blocks, 3), 5).view(planes.shape)


def _product(matrix: Tensor, blocks: Tensor, axis: int) -> Tensor:
    """Matrix times the blocks' axis of length 8, added up in the order of that axis."""
    shape = [1] * blocks.ndim
    shape[axis] = 8
    result = torch.zeros_like(blocks)
    for number in range(8):
        result.addcmul_(matrix[:, number].view(shape), blocks.narrow(axis, number, 1))
    return result
