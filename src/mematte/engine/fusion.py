"""Fusion: the decoder's fusions made ready for inference, and what they take."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

from mematte.model import ModelSpec
from mematte.model.doubling import SMOOTHING, Ends, Kernel, add_convolved, kernel_of

# Coarse rows and columns beyond a pixel that it sees at one level: two 3x3 convolutions, this level's and
# that of the next or the head, see two finer ones, for which doubling needs two coarse ones.
HALO_ROWS = 2
FUSION_HALO_ROWS = 1  # what a fusion alone sees

# Maps of a fusion's outputs that are there at once: of the details, of the coarse map spread out, smoothed.
STRIP_MAPS = 3


@dataclass(frozen=True)
class Level:
    """One of the decoder's four fusions. Channels, and pixels of the picture."""

    detail: int
    coarse: int
    fused: int
    scale: int  # px of the picture per pixel of the details and of the result

    @property
    def around_px(self) -> int:
        """How much around the pixels that are kept is computed."""
        return 2 * HALO_ROWS * self.scale

    @property
    def operations(self) -> float:
        """Per pixel of the result."""
        return (18 * self.detail + 18 * self.coarse / 4 + 2 * len(SMOOTHING) ** 2) * self.fused


def levels(spec: ModelSpec) -> list[Level]:
    """The decoder's fusions, from the coarsest."""
    return [
        Level(detail, coarse, fused, spec.patch >> (number + 1))
        for number, (detail, coarse, fused) in enumerate(
            zip(
                (*reversed(spec.detail_channels), 4),
                (spec.channels, *spec.fusion_channels[:-1]),
                spec.fusion_channels,
                strict=True,
            )
        )
    ]


class Fusion(nn.Module):
    """What a fusion of `Decoder` computes, its batch norm folded into the convolution.

    Args:
        convolution: of details and the doubled coarse map, in this order.
        detail_channels: how many of its inputs are details.
    """

    bias: Tensor  # (O,)
    detail: Tensor  # (O, D, 3, 3)

    def __init__(self, convolution: nn.Conv2d, detail_channels: int) -> None:
        super().__init__()
        assert convolution.bias is not None, "the batch norm is folded into it"
        weight = convolution.weight.detach()
        self.register_buffer("bias", convolution.bias.detach())
        self.register_buffer("detail", weight[:, :detail_channels].contiguous())
        for name, part in kernel_of(weight[:, detail_channels:])._asdict().items():
            self.register_buffer(name, part)
        self.strip_channels = STRIP_MAPS * convolution.out_channels
        """Numbers per pixel of the finer map that are made at once."""

    def forward(self, detail: Tensor, coarse: Tensor, ends: Ends) -> Tensor:
        """(B, D, 2h, 2w) and (B, C, h, w) -> (B, O, 2h, 2w)."""
        kernel = Kernel(*(self.get_buffer(name) for name in Kernel._fields))
        fused = F.conv2d(detail, self.detail, self.bias, padding=1)
        return add_convolved(fused, coarse, kernel, ends).relu_()
