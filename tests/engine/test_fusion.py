"""A fusion without the joined map is the fusion with it."""

import pytest
import torch

from mematte.engine.fusion import ApartFusion, JoinedFusion


@pytest.fixture
def convolution():
    torch.manual_seed(0)
    return torch.nn.Conv2d(12, 6, 3, padding=1).double()


def maps(height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    detail = torch.randn(2, 7, 2 * height, 2 * width, dtype=torch.float64)
    return detail, torch.randn(2, 5, height, width, dtype=torch.float64)


@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (3, 2), (5, 8), (17, 4)])
@torch.no_grad()
def test_apart_is_joined_to_the_last_pixel(convolution, size) -> None:
    detail, coarse = maps(*size)

    joined = JoinedFusion(convolution)(detail, coarse, True, True)
    apart = ApartFusion(convolution, 7)(detail, coarse, True, True)

    assert torch.allclose(apart, joined, rtol=0, atol=1e-12)
    assert joined.min() == 0 < joined.max(), "the ReLU cut something and left something"


@torch.no_grad()
def test_a_strip_sees_the_same_but_for_its_two_outermost_rows(convolution) -> None:
    detail, coarse = maps(9, 4)
    apart = ApartFusion(convolution, 7)
    whole = apart(detail, coarse, True, True)

    inner = apart(detail[:, :, 4:14], coarse[:, :, 2:7], False, False)
    top = apart(detail[:, :, :10], coarse[:, :, :5], True, False)
    bottom = apart(detail[:, :, 10:], coarse[:, :, 5:], False, True)

    assert torch.allclose(inner[:, :, 2:-2], whole[:, :, 6:12], rtol=0, atol=1e-12)
    assert torch.allclose(top[:, :, :-2], whole[:, :, :8], rtol=0, atol=1e-12)
    assert torch.allclose(bottom[:, :, 2:], whole[:, :, 12:], rtol=0, atol=1e-12)
