"""Backbone: image and trimap -> patches -> a string of blocks -> features.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025.
Shapes: B images of (H, W) pixels, (h, w) = (H / 16, W / 16) token grid, C channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import GlobalBlock, RoutedBlock, Routing, WindowBlock
from .router import Decide, argmax
from .spec import ModelSpec


class Backbone(nn.Module):
    """The blocks that `ModelSpec.blocks` draws, one letter each."""

    def __init__(self, spec: ModelSpec) -> None:
        super().__init__()
        channels, heads, ratio = spec.channels, spec.heads, spec.mlp_ratio
        self.patches = nn.Conv2d(4, channels, spec.patch, stride=spec.patch)
        self.positions = nn.Parameter(torch.zeros(1, spec.window, spec.window, channels))
        nn.init.trunc_normal_(self.positions, std=0.02)
        kinds: dict[str, Callable[[], nn.Module]] = {
            "W": lambda: WindowBlock(channels, heads, ratio, spec.window),
            "G": lambda: GlobalBlock(channels, heads, ratio, spec.global_positions),
            "R": lambda: RoutedBlock(channels, heads, ratio),
        }
        self.blocks = nn.ModuleList(kinds[letter]() for letter in spec.blocks)

    def embed(self, inputs: Tensor) -> Tensor:
        """(B, 4, H, W) with H, W multiples of 16 -> (B, h, w, C) tokens with absolute positions."""
        tokens: Tensor = self.patches(inputs).permute(0, 2, 3, 1)
        return tokens + self.positions_for((tokens.shape[1], tokens.shape[2])).to(tokens.dtype)

    def positions_for(self, grid: tuple[int, int]) -> Tensor:
        """Absolute positions resized bicubically to (1, h, w, C)."""
        if grid == tuple(self.positions.shape[1:3]):
            return self.positions
        positions = self.positions.float().permute(0, 3, 1, 2)
        resized = F.interpolate(positions, size=grid, mode="bicubic", align_corners=False)
        return resized.permute(0, 2, 3, 1)

    def forward(self, inputs: Tensor, decide: Decide = argmax) -> tuple[Tensor, list[Routing]]:
        """Encode.

        Args:
            inputs: (B, 4, H, W), H and W multiples of 16: normalised RGB, trimap 0 / 0.5 / 1.
            decide: the routers' scores -> who attends.

        Returns:
            (B, h, w, C) features, and the decisions of the routed blocks in order.
        """
        tokens = self.embed(inputs)
        routings = []
        for block in self.blocks:
            if isinstance(block, RoutedBlock):
                tokens, routing = block(tokens, decide)
                routings.append(routing)
            else:
                tokens = block(tokens)
        return tokens, routings
