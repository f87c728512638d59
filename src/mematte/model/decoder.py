"""Detail capture: coarse features + the image itself -> alpha at full resolution.

Source: Yao et al., "ViTMatte: Boosting Image Matting with Pretrained Plain Vision Transformers", 2024,
unchanged in Lin et al. 2025.
Shapes: B images of (H, W) pixels, (h, w) = (H / 16, W / 16) token grid, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .spec import ModelSpec

HALO_PX = 32  # what pixels of a token see: two tokens beyond it, and less of the image


class ConvNormRelu(nn.Sequential):
    """3x3 convolution, batch norm, ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, bias: bool = False) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=bias),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class Decoder(nn.Module):
    """Three strided convolutions look at the image; four fusions bring the features up to it."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        half, quarter, eighth = spec.detail_channels
        self.details = nn.ModuleList(
            ConvNormRelu(inputs, outputs, stride=2)
            for inputs, outputs in ((4, half), (half, quarter), (quarter, eighth))
        )
        inputs = (spec.channels, *spec.fusion_channels[:-1])
        beside = (eighth, quarter, half, 4)
        self.fusions = nn.ModuleList(
            ConvNormRelu(detail + below, outputs)
            for detail, below, outputs in zip(beside, inputs, spec.fusion_channels, strict=True)
        )
        self.head = nn.Sequential(
            *ConvNormRelu(spec.fusion_channels[-1], spec.head_channels, bias=True),
            nn.Conv2d(spec.head_channels, 1, 1),
        )

    def forward(self, features: Tensor, inputs: Tensor) -> Tensor:
        """Decode.

        Args:
            features: (B, h, w, C) from the backbone.
            inputs: (B, 4, H, W), what the backbone saw, H = 16 h, W = 16 w.

        Returns:
            (B, 1, H, W) alpha in [0, 1].
        """
        details = [inputs]
        for convolve in self.details:
            details.append(convolve(details[-1]))
        fused = features.permute(0, 3, 1, 2)
        for fuse in self.fusions:
            fused = fuse(beside(details.pop(), fused))
        alpha: Tensor = self.head(fused).float().sigmoid()
        return alpha


def beside(detail: Tensor, coarse: Tensor) -> Tensor:
    """Details, and half as large below them doubled, as the channels of one map."""
    doubled = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return torch.cat((detail, doubled), dim=1)
