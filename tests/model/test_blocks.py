"""Routed blocks: what is computed for training is what is computed at inference."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest
import torch
from torch import Tensor

from mematte.model.blocks import GlobalBlock, ResidualConvolution, RoutedBlock
from mematte.model.ltrm import TokenRefinement

CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def routed(fill_with_noise: Callable[..., None]) -> RoutedBlock:
    block = RoutedBlock(16, 2, 4).eval()
    fill_with_noise(block)
    return block


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
@torch.inference_mode()
def test_gathered_is_what_masked_computes(routed: RoutedBlock, share: float) -> None:
    tokens = random(2, 5, 6, 16)
    attend = torch.rand(2, 30, generator=torch.Generator().manual_seed(0)) < share

    gathered, decided = routed(tokens, lambda _: attend)
    masked, _ = routed(tokens, lambda _: attend.float())

    assert decided.attend.dtype == torch.bool
    torch.testing.assert_close(gathered, masked, **CLOSE)


@torch.inference_mode()
def test_one_image_may_attend_where_another_does_not(routed: RoutedBlock) -> None:
    tokens = random(2, 4, 4, 16)
    attend = torch.stack((torch.ones(16), torch.zeros(16))).bool()

    both, _ = routed(tokens, lambda _: attend)

    for image in range(2):
        alone, _ = routed(tokens[image : image + 1], lambda _, image=image: attend[image : image + 1])
        torch.testing.assert_close(both[image : image + 1], alone, **CLOSE)


def test_blocks_do_not_change_their_input(routed: RoutedBlock) -> None:
    tokens = random(1, 4, 4, 16)
    before = tokens.clone()

    with torch.inference_mode():
        routed(tokens, lambda log_probs: log_probs[..., 0] > log_probs[..., 1])
        GlobalBlock(16, 2, 4, 8)(tokens)

    assert torch.equal(tokens, before)


def test_an_untrained_residual_convolution_passes_its_input_through() -> None:
    tokens = random(1, 3, 3, 8)

    assert torch.equal(ResidualConvolution(8)(tokens), tokens)


@torch.inference_mode()
def test_the_gate_from_the_mean_of_the_hidden_layer_is_the_gate_from_the_mean_of_the_output(
    fill_with_noise: Callable[..., None],
) -> None:
    refine = TokenRefinement(8).eval()
    fill_with_noise(refine)
    tokens = random(2, 6, 7, 8)

    output = refine.shrink(refine.hidden(tokens))
    gate = refine.gate(output.mean(dim=(1, 2))[:, None]).sigmoid()[:, 0]

    torch.testing.assert_close(refine(tokens), output + output * gate[:, None, None], **CLOSE)


def test_a_depthwise_convolution_stays_in_float32_where_a_cpu_trains_in_mixed_precision(
    fill_with_noise: Callable[..., None],
) -> None:
    mix = TokenRefinement(8).mix
    fill_with_noise(mix)
    maps = random(2, 16, 9, 9).to(torch.bfloat16)

    with torch.autocast("cpu", torch.bfloat16):
        mixed = mix(maps)
        (ours,) = torch.autograd.grad(mixed.float().square().sum(), mix.weight)

        halved = deepcopy(mix).to(torch.bfloat16)(maps)

    assert mixed.dtype == halved.dtype == torch.bfloat16
    exact = mix(maps.float())
    rounded = exact.to(torch.bfloat16).float()
    assert torch.equal(mixed.float(), rounded)
    (expected,) = torch.autograd.grad(exact, mix.weight, (2 * rounded).to(torch.bfloat16).float())
    torch.testing.assert_close(ours, expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


def test_training_gives_every_parameter_of_a_routed_block_a_gradient(routed: RoutedBlock) -> None:
    from mematte.model import gumbel

    torch.manual_seed(0)
    output, _ = routed(random(1, 5, 5, 16), gumbel)
    output.square().sum().backward()

    without = [
        name for name, value in routed.named_parameters() if value.grad is None or not value.grad.any()
    ]
    assert without == []
