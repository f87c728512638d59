"""Detail capture: coarse features + the image itself -> alpha at full resolution.

Source: Yao et al., "ViTMatte: Boosting Image Matting with Pretrained Plain Vision Transformers", 2024,
unchanged in Lin et al. 2025.
Shapes: B images of (H, W) pixels, (h, w) = (H / 16, W / 16) token grid, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .doubling import Ends, add_convolved, kernel_of
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


class Fusion(ConvNormRelu):
    """Details, and below them a coarse map half as large, which is doubled, as the channels of one map.

    On a CPU that map is never made: see `doubling`. What that brings training on a GPU is not known yet.
    """

    def __init__(self, detail: int, coarse: int, outputs: int) -> None:
        super().__init__(detail + coarse, outputs)
        self.detail_channels = detail

    def forward(self, detail: Tensor, coarse: Tensor) -> Tensor:  # type: ignore[override]
        """(B, D, 2h, 2w) and (B, C, h, w) -> (B, O, 2h, 2w)."""
        if detail.device.type != "cpu":
            doubled = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
            published: Tensor = super().forward(torch.cat((detail, doubled), dim=1))  # type: ignore[no-untyped-call]
            return published
        convolution, norm, activation = self
        weight = convolution.get_parameter("weight")
        fused = F.conv2d(detail, weight[:, : self.detail_channels], padding=1)
        kernel = kernel_of(weight[:, self.detail_channels :])
        activated: Tensor = activation(norm(add_convolved(fused, coarse, kernel, Ends())))
        return activated


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
        details = (eighth, quarter, half, 4)
        self.fusions = nn.ModuleList(
            Fusion(detail, coarse, outputs)
            for detail, coarse, outputs in zip(details, inputs, spec.fusion_channels, strict=True)
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
            fused = fuse(details.pop(), fused)
        alpha: Tensor = self.head(fused).float().sigmoid()
        return alpha
