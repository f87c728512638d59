"""The whole network: any size, any batch, any drawing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
from torch import Tensor

from mematte.model import STUDENTS, TINY, MEMatte, ModelSpec, everyone, gumbel, pad, teacher, within_budget
from mematte.model.blocks import GlobalBlock, RoutedBlock, WindowBlock

Make = Callable[..., MEMatte]


def random_inputs(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("blocks", ["W", "R", "G", "WRG", "WWRWWG"])
def test_the_string_draws_the_blocks(small_spec: ModelSpec, random_network: Make, blocks: str) -> None:
    network = random_network(replace(small_spec, blocks=blocks))

    kinds = {WindowBlock: "W", RoutedBlock: "R", GlobalBlock: "G"}
    assert "".join(kinds[type(block)] for block in network.backbone.blocks) == blocks
    with torch.inference_mode():
        matting = network(random_inputs(1, 4, 40, 50))
    assert matting.alpha.shape == (1, 1, 40, 50)
    assert matting.features.shape == (1, 4, 4, 16)
    assert len(matting.routings) == blocks.count("R")


def test_named_networks_draw_eight_windows_and_four_routed_blocks() -> None:
    assert {spec.blocks for spec in STUDENTS.values()} == {"WWRWWRWWRWWR"}
    assert {name: (spec.channels, spec.heads) for name, spec in STUDENTS.items()} == {
        "tiny": (192, 3),
        "small": (384, 6),
        "base": (768, 12),
    }
    assert teacher(TINY).blocks == "WWGWWGWWGWWG"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": "WXR"}, "made of W, R and G, not 'WXR'"),
        ({"blocks": ""}, "made of W, R and G"),
        ({"channels": 50, "heads": 3}, "50 channels cannot be split among 3 heads"),
        ({"channels": 18, "heads": 3}, "18 channels cannot be split"),
    ],
)
def test_a_spec_that_draws_nothing_is_an_error(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(TINY, **change)  # type: ignore[arg-type]


SIZES = [(1, 1), (15, 16), (16, 15), (17, 31), (33, 1), (32, 32), (223, 225), (225, 96)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_any_size(small_spec: ModelSpec, random_network: Make, height: int, width: int) -> None:
    network = random_network(small_spec)
    inputs = random_inputs(1, 4, height, width)
    before = inputs.clone()

    with torch.inference_mode():
        matting = network(inputs)
        padded = network(pad(inputs))

    assert matting.alpha.shape == (1, 1, height, width)
    assert matting.features.shape[1:3] == (-(-height // 32) * 2, -(-width // 32) * 2)
    assert matting.alpha.isfinite().all()
    assert matting.alpha.min() >= 0
    assert matting.alpha.max() <= 1
    assert torch.equal(padded.alpha[..., :height, :width], matting.alpha)
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("budget", [3, 1 << 30])
def test_a_batch_gives_what_its_images_give_alone(
    small_spec: ModelSpec, random_network: Make, budget: int
) -> None:
    network = random_network(replace(small_spec, blocks="WRWR"))
    # Of unlike strength, so that unlike numbers of tokens attend.
    inputs = random_inputs(3, 4, 64, 96) * torch.tensor([0.1, 1.0, 4.0])[:, None, None, None]
    decide = partial(within_budget, budget=budget)

    with torch.inference_mode():
        batch = network(inputs, decide)
        alone = [network(inputs[image : image + 1], decide) for image in range(3)]

    for image in range(3):
        for together, single in zip(batch.routings, alone[image].routings, strict=True):
            assert torch.equal(together.attend[image], single.attend[0])
        torch.testing.assert_close(batch.alpha[image], alone[image].alpha[0], rtol=1e-4, atol=1e-5)
    shares = {routing.attend[image].sum().item() for routing in batch.routings for image in range(3)}
    assert max(shares) <= budget
    if budget > 100:
        assert len(shares) > 1


def test_the_decision_is_an_argument(small_spec: ModelSpec, random_network: Make) -> None:
    network = random_network(small_spec)
    inputs = random_inputs(1, 4, 64, 64)

    with torch.inference_mode():
        everything = network(inputs, everyone)
        nothing = network(inputs, partial(within_budget, budget=0))

    assert everything.routings[0].attend.all()
    assert not nothing.routings[0].attend.any()
    assert not torch.allclose(everything.alpha, nothing.alpha)


def test_a_step_of_training_reaches_every_parameter(small_spec: ModelSpec, random_network: Make) -> None:
    network = random_network(small_spec).train()
    torch.manual_seed(0)

    network(random_inputs(2, 4, 64, 64), gumbel).alpha.square().sum().backward()

    # The bias before a batch norm has a gradient of zero, up to rounding: the norm takes it out again.
    without = [name for name, value in network.named_parameters() if value.grad is None]
    assert without == []


def test_bfloat16_stays_close_to_float32(small_spec: ModelSpec, random_network: Make) -> None:
    network = random_network(small_spec)
    inputs = random_inputs(1, 4, 64, 64)

    with torch.inference_mode():
        exact = network(inputs, everyone).alpha
        rough = network.bfloat16()(inputs.bfloat16(), everyone).alpha

    assert rough.dtype == torch.float32
    assert (rough - exact).abs().max() < 0.15
    assert (rough - exact).abs().mean() < 0.02


def test_a_spec_that_the_decoder_cannot_follow_is_refused() -> None:
    with pytest.raises(ValueError, match="patches are 16 px, not 8"):
        replace(TINY, patch=8)
