"""Tiles turned, sheared, scaled and flipped."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from mematte.data.published import ANGLE_DEGREES, SCALES, SHEAR_DEGREES
from mematte.train.carry import carried

from .draws import Draws


def turns(draws: Draws) -> Tensor:
    """(B, 2, 2) random maps from crop to tile, around the middles: the recipe's affine map, inverted."""
    angle, shear = (
        draws.uniform(-limit, limit) * (math.pi / 180) for limit in (ANGLE_DEGREES, SHEAR_DEGREES)
    )
    scale = 1 / draws.ratio(*SCALES)
    flip = torch.where(draws.uniform(0, 1) < 0.5, -1.0, 1.0)
    cosine, sine, slope = angle.cos() * scale, angle.sin() * scale, shear.tan()
    first = torch.stack((cosine * flip, sine * flip), dim=1)
    second = torch.stack((cosine * slope - sine, sine * slope + cosine), dim=1)
    return torch.stack((first, second), dim=2)


def affine(tiles: Tensor, matrices: Tensor, size_px: int) -> Tensor:
    """Bilinear crops around the tiles' middles; beyond its border a tile goes on as its mirror image.

    Args:
        tiles: (B, T, T, 4) uint8.
        matrices: (B, 2, 2) from (x, y) of the crop to (x, y) of the tile, both from the middle.
        size_px: side of the crops.

    Returns:
        (B, 4, S, S). With the unit matrix exactly the middle of the tile, where T - S is even.
    """
    count, side = tiles.shape[:2]
    matrices = carried(matrices, tiles.device)
    steps = torch.arange(size_px, device=tiles.device) - (size_px - 1) / 2
    along_x, along_y = steps.view(1, 1, -1), steps.view(1, -1, 1)
    corner, part = [], []
    for row in (0, 1):
        weights = matrices[:, row].view(count, 2, 1, 1)
        place = weights[:, 0] * along_x + weights[:, 1] * along_y + (side - 1) / 2
        corner.append(place.floor())
        part.append((place - corner[-1]).view(count, 1, size_px, size_px))
    columns, rows = ([_mirrored(start.long() + step, side) for step in (0, 1)] for start in corner)
    # The four bytes of a pixel are fetched as one number.
    words = tiles.contiguous().view(torch.int32).view(count, side * side)

    def fetch(row: Tensor, column: Tensor) -> Tensor:
        found = words.gather(1, (row * side + column).view(count, -1)).view(torch.uint8)
        return found.view(count, size_px, size_px, 4).permute(0, 3, 1, 2).float() / 255

    top = torch.lerp(fetch(rows[0], columns[0]), fetch(rows[0], columns[1]), part[0])
    bottom = torch.lerp(fetch(rows[1], columns[0]), fetch(rows[1], columns[1]), part[0])
    return torch.lerp(top, bottom, part[1])


def _mirrored(place: Tensor, side: int) -> Tensor:
    """Any integer -> [0, side): ... 2 1 [0 1 2 ... side-1] side-2 ..."""
    last = side - 1
    return last - (place.remainder(2 * last) - last).abs()
