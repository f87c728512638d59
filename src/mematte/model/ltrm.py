"""Lightweight Token Refinement Module: what the tokens get that do not attend globally.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025; efficient channel
attention (ECA) from Wang et al., "ECA-Net", CVPR 2020.
Shapes: B images, (h, w) token grid, C channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

HALO_TOKENS = 2  # what the 5x5 depthwise convolution sees beyond a band


class Depthwise(nn.Conv2d):
    """A filter for each channel. Trained on a CPU in mixed precision it stays in float32: the gradient of its
    weights takes oneDNN a fifth of the time there that it takes in bfloat16."""

    def forward(self, maps: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w), in the precision of `maps`."""
        if maps.device.type != "cpu" or not torch.is_autocast_enabled("cpu"):
            return super().forward(maps)
        with torch.autocast("cpu", enabled=False):
            bias = None if self.bias is None else self.bias.float()
            mixed: Tensor = self._conv_forward(maps.float(), self.weight.float(), bias)
            return mixed.to(maps.dtype)


class TokenRefinement(nn.Module):
    """A depthwise convolution between two linear layers, then a gate per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.expand = nn.Linear(channels, 2 * channels)
        self.activation = nn.GELU()
        self.mix = Depthwise(2 * channels, 2 * channels, 5, padding=HALO_TOKENS, groups=2 * channels)
        self.shrink = nn.Linear(2 * channels, channels)
        self.gate = nn.Conv1d(1, 1, 5, padding=2, bias=False)

    def hidden(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) tokens, not normalised -> (B, h, w, 2C), everything before the last linear layer."""
        hidden = self.activation(self.expand(tokens)).permute(0, 3, 1, 2)
        return nn.functional.gelu(self.mix(hidden)).permute(0, 2, 3, 1)

    def channel_gate(self, mean_hidden: Tensor) -> Tensor:
        """(B, 2C) mean of `hidden` over all tokens of the image -> (B, C) factor 1 + ECA.

        The last layer is linear, so the mean of its outputs is its output of the mean: tokens whose
        refinement nobody reads need not pass through it.
        """
        mean: Tensor = self.shrink(mean_hidden)
        factor: Tensor = 1 + self.gate(mean[:, None]).sigmoid()[:, 0]
        return factor

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) tokens, not normalised -> (B, h, w, C) refinement, to be added to the tokens."""
        hidden = self.hidden(tokens)
        factor = self.channel_gate(hidden.mean(dim=(1, 2)))
        refined: Tensor = self.shrink(hidden) * factor[:, None, None]
        return refined
