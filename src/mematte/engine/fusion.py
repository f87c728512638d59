"""Fusion: a convolution of details and a coarse map half as large, without enlarging and joining them first.

The decoder doubles the coarse map, lays it beside the details, and convolves both at once. At the finest
levels making that map takes longer than anything else. Doubling is linear, so a 3x3 convolution after it is
also four 3x3 convolutions of the coarse map itself, one for each of the four pixels that take a coarse
pixel's place: as many operations on a quarter of the pixels, whose results are added to those of the details.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mematte.model import ModelSpec
from mematte.model.decoder import beside

# Coarse rows and columns beyond a pixel that it sees at one level: two 3x3 convolutions, this level's and
# that of the next or the head, see two finer ones, for which doubling needs two coarse ones.
HALO_ROWS = 2

# How the rows of a map relate to those of its half: [parity, tap, k] is the weight of coarse row i - 1 + tap
# in doubled row 2 i + parity - 1 + k, by linear interpolation between the centres of pixels.
_DOUBLING = (
    ((0.75, 0.25, 0.0), (0.25, 0.75, 0.75), (0.0, 0.0, 0.25)),
    ((0.25, 0.0, 0.0), (0.75, 0.75, 0.25), (0.0, 0.25, 0.75)),
)


@dataclass(frozen=True)
class Level:
    """One of the decoder's four fusions. Channels, and pixels of the picture."""

    detail: int
    coarse: int
    fused: int
    scale: int  # px of the picture per pixel of the details and of the result
    apart: bool  # faster without the joined map: large maps of few channels

    @property
    def around_px(self) -> int:
        """How much around the pixels that are kept is computed."""
        return 2 * HALO_ROWS * self.scale


def levels(spec: ModelSpec) -> list[Level]:
    """The decoder's fusions, from the coarsest."""
    return [
        Level(detail, coarse, fused, spec.patch >> (number + 1), apart=number >= 2)
        for number, (detail, coarse, fused) in enumerate(
            zip(
                (*reversed(spec.detail_channels), 4),
                (spec.channels, *spec.fusion_channels[:-1]),
                spec.fusion_channels,
                strict=True,
            )
        )
    ]


class JoinedFusion(nn.Module):
    """As `Decoder.forward` computes it; the batch norm is folded into the convolution."""

    def __init__(self, convolution: nn.Conv2d) -> None:
        super().__init__()
        self.convolution = convolution
        self.strip_channels = convolution.in_channels
        """Numbers per pixel of the finer map that are made at once."""

    def forward(self, detail: Tensor, coarse: Tensor, first: bool, last: bool) -> Tensor:  # noqa: ARG002
        """(B, D, 2h, 2w) and (B, C, h, w) -> (B, O, 2h, 2w)."""
        fused: Tensor = self.convolution(beside(detail, coarse))
        return fused.relu_()


class ApartFusion(nn.Module):
    """The same without the joined map."""

    bias: Tensor  # (O,)
    detail: Tensor  # (O, D, 3, 3)
    coarse: Tensor  # (2 * 2 * O, C, 3, 3)
    top: Tensor  # (2 * O, C, 1, 3), as is `bottom`
    bottom: Tensor
    left: Tensor  # (2 * O, C, 3, 1), as is `right`
    right: Tensor

    def __init__(self, convolution: nn.Conv2d, detail_channels: int) -> None:
        super().__init__()
        assert convolution.bias is not None, "the batch norm is folded into it"
        weight = convolution.weight.detach()
        coarse = weight[:, detail_channels:]
        doubling = torch.tensor(_DOUBLING, dtype=coarse.dtype, device=coarse.device)
        self.register_buffer("bias", convolution.bias.detach())
        self.register_buffer("detail", weight[:, :detail_channels].contiguous())
        four = torch.einsum("pak,qbl,oikl->pqoiab", doubling, doubling, coarse)
        self.register_buffer("coarse", four.flatten(0, 2))
        for names, axis in ((("top", "bottom"), 2), (("left", "right"), 3)):
            for name, ends in zip(names, _at_the_ends(coarse, axis), strict=True):
                self.register_buffer(name, ends)
        self.strip_channels = 2 * convolution.out_channels
        """Numbers per pixel of the finer map that are made at once."""

    def forward(self, detail: Tensor, coarse: Tensor, first: bool, last: bool) -> Tensor:
        """(B, D, 2h, 2w) and (B, C, h, w) -> (B, O, 2h, 2w).

        `first`, `last`: whether the first and the last row are the map's ends; others are not corrected.
        """
        outputs, (height, width) = len(self.bias), coarse.shape[-2:]
        fused = F.conv2d(detail, self.detail, self.bias, padding=1)
        four = F.conv2d(coarse, self.coarse, padding=1).permute(0, 2, 3, 1)
        pixels = fused.permute(0, 2, 3, 1).unflatten(2, (width, 2)).unflatten(1, (height, 2))
        pixels += four.unflatten(3, (2, 2, outputs)).permute(0, 1, 3, 2, 4, 5)

        # So far the coarse map went on as zeros beyond its ends. But doubling repeats its last row there, and
        # only beyond that does the convolution see zeros: the two outermost rows and columns lack that.
        if first:
            fused[:, :, :2] += self._rows(coarse[:, :, :1], self.top)
        if last:
            fused[:, :, -2:] += self._rows(coarse[:, :, -1:], self.bottom)
        fused[..., :2] += self._columns(coarse[..., :1], self.left)
        fused[..., -2:] += self._columns(coarse[..., -1:], self.right)
        return fused.relu_()

    def _rows(self, row: Tensor, weight: Tensor) -> Tensor:
        """(B, C, 1, w) -> (B, O, 2, 2w)."""
        doubled = F.interpolate(row, scale_factor=(1, 2), mode="bilinear", align_corners=False)
        seen = F.conv2d(doubled, weight, padding=(0, 1))
        return torch.stack(seen.squeeze(2).chunk(2, dim=1), dim=2)

    def _columns(self, column: Tensor, weight: Tensor) -> Tensor:
        """(B, C, h, 1) -> (B, O, 2h, 2); the rows' ends are those of the four convolutions, zeros beyond."""
        column = F.pad(column, (0, 0, 1, 1))
        doubled = F.interpolate(column, scale_factor=(2, 1), mode="bilinear", align_corners=False)
        seen = F.conv2d(doubled[:, :, 1:-1], weight)
        return torch.stack(seen.squeeze(3).chunk(2, dim=1), dim=3)


def _at_the_ends(weight: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Weights (O, C, 3, 3) -> of the first coarse row for the first two rows, of the last for the last two.

    With zeros beyond row 0 the doubled rows -1 and 0 are 1/4 and 3/4 of it, and should be 0 and all of it.
    """
    above, here, below = weight.split(1, dim=axis)
    return torch.cat((here - above, above)) / 4, torch.cat((below, here - below)) / 4
