"""Matting losses: what makes an alpha good.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025, trained as Yao et al.,
"ViTMatte", 2024. The published code divides by 512 * 512, its crop's area, where these divide by the pixels
they see: at its crop size the numbers are the same, at others ours do not depend on the size.
Shapes: alpha and truth (B, 1, H, W) in [0, 1]; unknown (B, 1, H, W), 1 where the trimap is unknown, else 0.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from .ranks import mean_over_ranks

LAPLACIAN_LEVELS = 5
SHRINKAGE = 0.01  # weight of the plain gradient in the gradient penalty: flat where nothing says otherwise


def region_l1(alpha: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Mean |alpha - truth| over the pixels of `region` (1 inside, 0 outside); 0 where the region is empty."""
    return ((alpha - truth).abs() * region).sum() / _pixels(region)


def region_l2(alpha: Tensor, truth: Tensor, region: Tensor) -> Tensor:
    """Mean (alpha - truth)^2 over the pixels of `region`; 0 where the region is empty.

    L1 is least at the median of what a pixel may be, which where the network cannot tell is all or nothing;
    the square is least at the mean, as is the MSE that mattes are compared by. Ours, not the paper's.
    """
    return ((alpha - truth).square() * region).sum() / _pixels(region)


def gradient_penalty(alpha: Tensor, truth: Tensor, unknown: Tensor) -> Tensor:
    """Mean difference of the Sobel derivatives over the unknown region, plus a little of alpha's own."""
    kernels = _sobel(alpha.device)
    ours = F.conv2d(alpha, kernels, padding=1)
    theirs = F.conv2d(truth, kernels, padding=1)
    penalty = (ours - theirs).abs() + SHRINKAGE * ours.abs()
    return (penalty * unknown).sum() / _pixels(unknown)


def laplacian(alpha: Tensor, truth: Tensor) -> Tensor:
    """Mean absolute difference of the Laplacian pyramids, coarser levels doubled each time, over all pixels.

    Raises:
        ValueError: the picture is too small for `LAPLACIAN_LEVELS`.
    """
    least_px = 3 << (LAPLACIAN_LEVELS - 1)
    if min(alpha.shape[-2:]) < least_px:
        raise ValueError(
            f"{LAPLACIAN_LEVELS} pyramid levels need at least {least_px} px, not {tuple(alpha.shape[-2:])}."
        )
    # The pyramid is linear: the difference of the pyramids is the pyramid of the difference.
    rest = alpha - truth
    total = rest.new_zeros(())
    for level in range(LAPLACIAN_LEVELS):
        rest = rest[..., : rest.shape[-2] // 2 * 2, : rest.shape[-1] // 2 * 2]
        coarse = _blur(rest)[..., ::2, ::2]
        spread = rest.new_zeros(rest.shape)
        spread[..., ::2, ::2] = 4 * coarse
        total = total + 2**level * (rest - _blur(spread)).abs().mean()
        rest = coarse
    return total / LAPLACIAN_LEVELS


def _pixels(region: Tensor) -> Tensor:
    """How many pixels to divide by: of a region in several processes' parts of a batch, the mean over them.

    So a process with little unknown counts little, and gradients averaged over processes are those of the
    joint batch.
    """
    return mean_over_ranks(region.sum()).clamp(min=1)


def _blur(picture: Tensor) -> Tensor:
    """5x5 binomial filter, mirrored borders."""
    row = _binomial(picture.device)
    padded = F.pad(picture, (2, 2, 2, 2), mode="reflect")
    return F.conv2d(F.conv2d(padded, row), row.mT)


# Made once for each device: while a number is carried to a GPU, PyTorch waits for all that it has begun.


@cache
@torch.inference_mode(mode=False)  # for training too, if it is inference that asks first
def _sobel(device: torch.device) -> Tensor:
    """Derivatives along x and along y, (2, 1, 3, 3)."""
    along_x = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]], device=device)
    return torch.stack((along_x, along_x.T))[:, None]


@cache
@torch.inference_mode(mode=False)
def _binomial(device: torch.device) -> Tensor:
    """(1, 1, 1, 5)."""
    return torch.tensor([[[[1.0, 4.0, 6.0, 4.0, 1.0]]]], device=device) / 16


def distillation(features: Tensor, teacher_features: Tensor) -> Tensor:
    """Mean squared difference of the student's and the frozen teacher's features, (B, h, w, C) each."""
    return F.mse_loss(features.float(), teacher_features.float())


def matting_losses(alpha: Tensor, truth: Tensor, unknown: Tensor) -> dict[str, Tensor]:
    """The losses by name; the published recipe adds them with weight 1 each, but for `unknown_l2`."""
    return {
        "unknown_l1": region_l1(alpha, truth, unknown),
        "unknown_l2": region_l2(alpha, truth, unknown),
        "known_l1": region_l1(alpha, truth, 1 - unknown),
        "laplacian": laplacian(alpha, truth),
        "gradient": gradient_penalty(alpha, truth, unknown),
    }
