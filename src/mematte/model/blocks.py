"""The three kinds of block, each named by the letter that draws it: W (window), G (global), R (routed).

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025; W and G with their
residual convolution from Yao et al., "ViTMatte", 2024, and Li et al., "ViTDet", 2022.
Shapes: B images, (h, w) token grid, N = h * w tokens, C channels.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from .attention import Attention, from_windows, to_windows
from .ltrm import TokenRefinement
from .router import Decide, Router

LAYER_NORM_EPS = 1e-6
RESIDUAL_HALO_TOKENS = 1  # what the residual convolution sees beyond a band


class Routing(NamedTuple):
    """What one routed block decided."""

    log_probs: Tensor  # (B, N, 2) of [attend, refine]
    attend: Tensor  # (B, N) bool or 0/1 floats


class Mlp(nn.Sequential):
    """Per token: C -> ratio * C -> C."""

    def __init__(self, channels: int, ratio: int) -> None:
        super().__init__(
            nn.Linear(channels, ratio * channels), nn.GELU(), nn.Linear(ratio * channels, channels)
        )


class ResidualConvolution(nn.Module):
    """Bottleneck 1x1 -> 3x3 -> 1x1 with a LayerNorm over the channels after each, added to its input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        # A 1x1 convolution on a channels-last map is a linear layer.
        self.shrink = nn.Linear(channels, half, bias=False)
        self.shrink_norm = nn.LayerNorm(half, eps=LAYER_NORM_EPS)
        self.mix = nn.Conv2d(half, half, 3, padding=1, bias=False)
        self.mix_norm = nn.LayerNorm(half, eps=LAYER_NORM_EPS)
        self.expand = nn.Linear(half, channels, bias=False)
        self.expand_norm = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        nn.init.zeros_(self.expand_norm.weight)  # an untrained block passes its input through

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        hidden = nn.functional.gelu(self.shrink_norm(self.shrink(tokens)))
        hidden = self.mix(hidden.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        hidden = nn.functional.gelu(self.mix_norm(hidden))
        refined: Tensor = tokens + self.expand_norm(self.expand(hidden))
        return refined


class WindowBlock(nn.Module):
    """W: attention inside 14x14 windows."""

    def __init__(self, channels: int, heads: int, mlp_ratio: int, window: int) -> None:
        super().__init__()
        self.window = window
        self.norm1 = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.attention = Attention(channels, heads, positions=window)
        self.norm2 = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(channels, mlp_ratio)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        # Padding comes after the norm: padding tokens take part as keys, their q, k and v are the biases.
        windows = to_windows(self.norm1(tokens), self.window)
        windows = self.attention.positioned(windows, (self.window, self.window))
        tokens = tokens + from_windows(windows, self.window, (tokens.shape[1], tokens.shape[2]))
        refined: Tensor = tokens + self.mlp(self.norm2(tokens))
        return refined


class GlobalBlock(nn.Module):
    """G: every token attends to every token, with relative positions. The teacher's block."""

    def __init__(self, channels: int, heads: int, mlp_ratio: int, positions: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.attention = Attention(channels, heads, positions=positions)
        self.norm2 = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(channels, mlp_ratio)
        self.residual = ResidualConvolution(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        """(B, h, w, C) -> (B, h, w, C)."""
        grid = (tokens.shape[1], tokens.shape[2])
        attended = self.attention.positioned(self.norm1(tokens).flatten(1, 2), grid)
        tokens = tokens + attended.unflatten(1, grid)
        tokens = tokens + self.mlp(self.norm2(tokens))
        refined: Tensor = self.residual(tokens)
        return refined


class RoutedBlock(nn.Module):
    """R: a router sends each token to global attention or to the refinement module."""

    def __init__(self, channels: int, heads: int, mlp_ratio: int) -> None:
        super().__init__()
        self.router = Router(channels)
        self.norm1 = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.attention = Attention(channels, heads)
        self.refinement = TokenRefinement(channels)
        self.norm2 = nn.LayerNorm(channels, eps=LAYER_NORM_EPS)
        self.mlp = Mlp(channels, mlp_ratio)
        self.residual = ResidualConvolution(channels)

    def forward(self, tokens: Tensor, decide: Decide) -> tuple[Tensor, Routing]:
        """(B, h, w, C) -> (B, h, w, C), and what was decided."""
        log_probs = self.router(tokens.flatten(1, 2))
        attend = decide(log_probs)
        branch = self.gathered(tokens, attend) if attend.dtype == torch.bool else self.masked(tokens, attend)
        tokens = tokens + branch
        tokens = tokens + self.mlp(self.norm2(tokens))
        return self.residual(tokens), Routing(log_probs, attend)

    def masked(self, tokens: Tensor, decision: Tensor) -> Tensor:
        """Training: both branches for every token, mixed by the decision, so that it gets a gradient."""
        attended = self.attention.masked(self.norm1(tokens).flatten(1, 2), decision).view_as(tokens)
        share = decision.view(*tokens.shape[:3], 1).to(tokens.dtype)
        mixed: Tensor = share * attended + (1 - share) * self.refinement(tokens)
        return mixed

    def gathered(self, tokens: Tensor, attend: Tensor) -> Tensor:
        """Inference: each token goes through its own branch only.

        Images are gathered one by one, since their numbers of attending tokens differ: a batch gives what
        its images give alone.
        """
        if bool(attend.all()):
            return self.attention.among(self.norm1(tokens).flatten(1, 2)).view_as(tokens)
        branch: Tensor = self.refinement(tokens)
        for image in range(tokens.shape[0]):
            chosen = attend[image].nonzero()[:, 0]
            if len(chosen):
                attending = self.norm1(tokens[image].flatten(0, 1)[chosen])
                attended = self.attention.among(attending[None])[0]
                branch[image].view(-1, tokens.shape[-1])[chosen] = attended.to(branch.dtype)
        return branch
