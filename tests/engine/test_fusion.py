"""The convolution of a doubled map, without doubling it, is the one with it."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mematte.engine.fusion import Fusion
from mematte.model.decoder import Fusion as TrainedFusion
from mematte.model.doubling import Ends

ALL = Ends()


@pytest.fixture
def convolution() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(12, 6, 3, padding=1).double()


def maps(height: int, width: int) -> tuple[Tensor, Tensor]:
    detail = torch.randn(2, 7, 2 * height, 2 * width, dtype=torch.float64)
    return detail, torch.randn(2, 5, height, width, dtype=torch.float64)


def as_published(convolution: nn.Conv2d, detail: Tensor, coarse: Tensor) -> Tensor:
    """The oracle: doubled, joined, convolved."""
    doubled = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
    return convolution(torch.cat((detail, doubled), dim=1)).relu()


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 2), (5, 8), (17, 4)])
@torch.no_grad()
def test_it_is_the_published_one_to_the_last_pixel(convolution, size) -> None:
    detail, coarse = maps(*size)

    fused = Fusion(convolution, 7)(detail, coarse, ALL)

    expected = as_published(convolution, detail, coarse)
    assert torch.allclose(fused, expected, rtol=0, atol=1e-12)
    assert fused.min() == 0 < fused.max(), "the ReLU cut something and left something"


@torch.no_grad()
def test_a_part_sees_the_same_but_for_its_two_outermost_rows_and_columns(convolution) -> None:
    detail, coarse = maps(9, 11)
    fuse = Fusion(convolution, 7)
    whole = fuse(detail, coarse, ALL)

    def part(rows: slice, columns: slice, ends: Ends) -> Tensor:
        fine_rows, fine_columns = (slice(2 * side.start, 2 * side.stop) for side in (rows, columns))
        return fuse(detail[..., fine_rows, fine_columns], coarse[..., rows, columns], ends)

    inner = part(slice(2, 7), slice(3, 9), Ends((False, False), (False, False)))
    top_left = part(slice(0, 5), slice(0, 6), Ends((True, False), (True, False)))
    bottom_right = part(slice(5, 9), slice(4, 11), Ends((False, True), (False, True)))

    assert torch.allclose(inner[..., 2:-2, 2:-2], whole[..., 6:12, 8:16], rtol=0, atol=1e-12)
    assert torch.allclose(top_left[..., :-2, :-2], whole[..., :8, :10], rtol=0, atol=1e-12)
    assert torch.allclose(bottom_right[..., 2:, 2:], whole[..., 12:, 10:], rtol=0, atol=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (1, 3), (4, 2), (5, 8)])
def test_training_has_the_published_results_and_gradients(size) -> None:
    torch.manual_seed(0)
    fuse = TrainedFusion(7, 5, 6).double()
    detail, coarse = (values.requires_grad_() for values in maps(*size))

    def results_and_gradients(published: bool) -> list[Tensor]:
        if published:
            convolution, norm, activation = fuse
            doubled = F.interpolate(coarse, scale_factor=2, mode="bilinear", align_corners=False)
            result = activation(norm(convolution(torch.cat((detail, doubled), dim=1))))
        else:
            result = fuse(detail, coarse)
        weighed = (result * torch.linspace(-1, 2, result.numel(), dtype=torch.float64).view_as(result)).sum()
        return [result, *torch.autograd.grad(weighed, (detail, coarse, *fuse.parameters()))]

    for ours, theirs in zip(results_and_gradients(False), results_and_gradients(True), strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e-10 * float(theirs.detach().abs().max() + 1))


def test_autocast_keeps_to_half_precision() -> None:
    fuse = TrainedFusion(7, 5, 6)
    detail, coarse = (values.float().requires_grad_() for values in maps(6, 9))

    with torch.autocast("cpu", dtype=torch.bfloat16):
        result = fuse(detail, coarse)
    result.float().square().sum().backward()

    assert result.dtype == torch.bfloat16
    assert detail.grad is not None
    assert coarse.grad is not None
    assert torch.isfinite(coarse.grad).all()
