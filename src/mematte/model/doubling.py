"""Doubling: the 3x3 convolution of a map that is doubled first, without doubling it.

The decoder doubles a coarse map, lays it beside the details, and convolves both at once: most of its work.
But to double by linear interpolation is to put each pixel on every second row and column, with zeros between,
and then to smooth that by (1, 3, 3, 1) / 4 along either axis. Smoothing and convolving may change places, as
the one does the same to every channel. Then the convolution meets nothing but zeros in three of four pixels,
which leaves a quarter of its operations, and what is smoothed are its few results instead of its many inputs.
Shapes: B images, C channels of the coarse map of (h, w), O of the result of (2h, 2w).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

SMOOTHING = (0.25, 0.75, 0.75, 0.25)


class Ends(NamedTuple):
    """Whether the picture ends with the first and the last row and column of a map.

    Where it does not, the outermost two rows or columns of the result are not right.
    """

    rows: tuple[bool, bool] = (True, True)
    columns: tuple[bool, bool] = (True, True)


class Kernel(NamedTuple):
    """What is convolved with, for weights (O, C, 3, 3)."""

    spread: Tensor  # (C, O, 3, 3), turned round, as a transposed convolution wants it
    smoothing: Tensor  # (O, 1, 4, 4)
    top: Tensor  # (2 * O, C, 1, 3), as is `bottom`
    bottom: Tensor
    left: Tensor  # (2 * O, C, 3, 1), as is `right`
    right: Tensor


def kernel_of(weight: Tensor) -> Kernel:
    """(O, C, 3, 3), as for `torch.nn.functional.conv2d` of the doubled map; gradients flow back into it."""
    smoothing = weight.new_tensor(SMOOTHING)
    each = (smoothing[:, None] * smoothing).repeat(len(weight), 1, 1, 1)
    spread = weight.flip(2, 3).transpose(0, 1).contiguous()
    return Kernel(spread, each, *_at_the_ends(weight, 2), *_at_the_ends(weight, 3))


def add_convolved(onto: Tensor, coarse: Tensor, kernel: Kernel, ends: Ends) -> Tensor:
    """Add the convolution of the doubled map, padded with zeros.

    Args:
        onto: (B, O, 2h, 2w); changed in place.
        coarse: (B, C, h, w).
        kernel: of the weights.
        ends: where zeros lie beyond.

    Returns:
        `onto`.
    """
    spread = F.conv_transpose2d(coarse, kernel.spread, stride=2)  # a row and a column beyond each end
    onto += F.conv2d(spread, kernel.smoothing, padding=1, groups=len(kernel.smoothing))
    del spread
    # So far the coarse map went on as zeros beyond its ends. But doubling repeats its last row there, and
    # only beyond that does the convolution see zeros: the two outermost rows and columns lack that.
    (top, bottom), (left, right) = ends
    lacking = (
        _rows(coarse[:, :, :1], kernel.top) if top else None,
        _rows(coarse[:, :, -1:], kernel.bottom) if bottom else None,
        _columns(coarse[..., :1], kernel.left) if left else None,
        _columns(coarse[..., -1:], kernel.right) if right else None,
    )
    added: Tensor = _AddAtEnds.apply(onto, *lacking)  # type: ignore[no-untyped-call]
    return added


class _AddAtEnds(torch.autograd.Function):
    """Add to the two outermost rows and columns. PyTorch's own gradient would copy the map for each."""

    @staticmethod
    def forward(ctx: Any, onto: Tensor, *lacking: Tensor | None) -> Tensor:
        ctx.mark_dirty(onto)
        ctx.types = [None if each is None else each.dtype for each in lacking]
        for part, each in zip(_ends_of(onto), lacking, strict=True):
            if each is not None:
                part += each
        return onto

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        parts = zip(_ends_of(gradient), ctx.types, strict=True)
        return gradient, *(None if dtype is None else part.to(dtype) for part, dtype in parts)


def _ends_of(whole: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    return whole[:, :, :2], whole[:, :, -2:], whole[..., :2], whole[..., -2:]


def _rows(row: Tensor, weight: Tensor) -> Tensor:
    """(B, C, 1, w) -> (B, O, 2, 2w)."""
    doubled = F.interpolate(row, scale_factor=(1, 2), mode="bilinear", align_corners=False)
    seen = F.conv2d(doubled, weight, padding=(0, 1))
    return torch.stack(seen.squeeze(2).chunk(2, dim=1), dim=2)


def _columns(column: Tensor, weight: Tensor) -> Tensor:
    """(B, C, h, 1) -> (B, O, 2h, 2); the rows' ends are those of the convolution before, zeros beyond."""
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
