"""Attention: 14x14 windows with relative positions, and global attention of all tokens or a chosen few.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025; windows and decomposed
relative positions as in Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection",
ECCV 2022.
Shapes: B images, (h, w) token grid, N = h * w tokens, C channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# A row of attention scores is N numbers per head: global attention with positions takes its queries in
# groups of at most so many scores, so that memory stays linear in N.
MAX_SCORES = 1 << 25


class Attention(nn.Module):
    """Multi-head attention; what may look at what is the method that is called."""

    def __init__(self, channels: int, heads: int, positions: int | None = None) -> None:
        """`positions`: tokens per axis that relative positions are made for; None = none."""
        super().__init__()
        self.heads = heads
        self.head_channels = channels // heads
        self.qkv = nn.Linear(channels, 3 * channels)
        self.project = nn.Linear(channels, channels)
        if positions is not None:
            # Offsets -(p-1) ... p-1 along one axis, p = positions.
            self.relative_rows = nn.Parameter(torch.zeros(2 * positions - 1, self.head_channels))
            self.relative_columns = nn.Parameter(torch.zeros(2 * positions - 1, self.head_channels))

    def split(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, N, C) -> query, key, value, each (B, heads, N, C / heads)."""
        batch, count, _ = tokens.shape
        qkv = self.qkv(tokens).view(batch, count, 3, self.heads, self.head_channels)
        query, key, value = qkv.permute(2, 0, 3, 1, 4).unbind(0)
        return query, key, value

    def merge(self, attended: Tensor) -> Tensor:
        """(B, heads, N, C / heads) -> (B, N, C), projected."""
        merged: Tensor = self.project(attended.transpose(1, 2).flatten(2))
        return merged

    def among(self, tokens: Tensor) -> Tensor:
        """Plain softmax attention of (B, N, C) tokens among themselves. The scores are never materialised."""
        return self.merge(F.scaled_dot_product_attention(*self.split(tokens)))

    def masked(self, tokens: Tensor, decision: Tensor, eps: float = 1e-6) -> Tensor:
        """Dense attention in which a token sees the attending tokens and itself.

        Differentiable in the decision.

        Args:
            tokens: (B, N, C).
            decision: (B, N), 1 = attends, 0 = is refined instead; gradients flow into it.
            eps: keeps the quotient defined.

        Source: Lin et al. 2025, training of the routers; the masking follows Rao et al., "DynamicViT", 2021.
        """
        query, key, value = self.split(tokens)
        count = tokens.shape[1]
        scores = (query * self.head_channels**-0.5) @ key.transpose(-2, -1)
        seen = decision[:, None, None, :]
        seen = seen + (1 - seen) * torch.eye(count, device=seen.device, dtype=seen.dtype)
        # float32: a sum of thousands of exponentials is no work for eight bits of mantissa.
        weights = (scores.float() - scores.float().amax(dim=-1, keepdim=True)).exp() * seen
        weights = (weights + eps / count) / (weights.sum(dim=-1, keepdim=True) + eps)
        return self.merge(weights.to(value.dtype) @ value)

    def positioned(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Attention of all tokens of a grid with decomposed relative positions.

        Args:
            tokens: (B, h * w, C), row by row.
            grid: (h, w).

        The positions' scores come from the *unscaled* query and are added to the scaled scores.
        """
        height, width = grid
        query, key, value = self.split(tokens)
        rows = _offsets(self.relative_rows, height)
        columns = _offsets(self.relative_columns, width)
        # Whole token rows per group of queries.
        group = max(1, MAX_SCORES // (query.shape[0] * self.heads * width * height * width))
        parts = []
        for first in range(0, height, group):
            last = min(first + group, height)
            part = query[:, :, first * width : last * width]
            on_grid = part.unflatten(2, (last - first, width))
            by_row = torch.einsum("bnyxc,ykc->bnyxk", on_grid, rows[first:last])
            by_column = torch.einsum("bnyxc,xkc->bnyxk", on_grid, columns)
            bias = (by_row[..., :, None] + by_column[..., None, :]).flatten(4).flatten(2, 3)
            parts.append(F.scaled_dot_product_attention(part, key, value, attn_mask=bias))
        return self.merge(torch.cat(parts, dim=2) if len(parts) > 1 else parts[0])


def _offsets(relative: Tensor, length: int) -> Tensor:
    """(2p - 1, c) parameters -> (length, length, c): the entry of each (query, key) pair along one axis."""
    if relative.shape[0] != 2 * length - 1:
        stretched = F.interpolate(relative.float().T[None], size=2 * length - 1, mode="linear")
        relative = stretched[0].T.to(relative.dtype)
    index = torch.arange(length, device=relative.device)
    return relative[index[:, None] - index[None, :] + length - 1]


def to_windows(tokens: Tensor, size: int) -> Tensor:
    """(B, h, w, C) -> (B * windows, size * size, C); the grid is zero-padded at the bottom and right."""
    batch, height, width, channels = tokens.shape
    tokens = F.pad(tokens, (0, 0, 0, -width % size, 0, -height % size))
    rows, columns = tokens.shape[1] // size, tokens.shape[2] // size
    windows = tokens.view(batch, rows, size, columns, size, channels).permute(0, 1, 3, 2, 4, 5)
    return windows.reshape(batch * rows * columns, size * size, channels)


def from_windows(windows: Tensor, size: int, grid: tuple[int, int]) -> Tensor:
    """The inverse of `to_windows`: (B * windows, size * size, C) -> (B, h, w, C) for grid = (h, w)."""
    height, width = grid
    rows, columns = -(-height // size), -(-width // size)
    tokens = windows.view(-1, rows, columns, size, size, windows.shape[-1]).permute(0, 1, 3, 2, 4, 5)
    return tokens.reshape(-1, rows * size, columns * size, windows.shape[-1])[:, :height, :width]
