"""Which weights are learned by which rule, and at which rate."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from mematte.model import MEMatte
from mematte.train import Recipe
from mematte.train.muon import Muon
from mematte.train.optimisers import Together, make_optimiser


def rates(network: MEMatte, recipe: Recipe) -> dict[str, tuple[float, float, type]]:
    """Peak rate, decay and rule of each weight, by name."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    return {
        names[id(parameter)]: (group["peak"], group["weight_decay"], type(optimiser))
        for optimiser in make_optimiser(network, recipe).optimisers
        for group in optimiser.param_groups
        for parameter in group["params"]
    }


def test_every_weight_has_one_rule(recipe: Recipe) -> None:
    network = MEMatte(recipe.spec)

    assert set(rates(network, recipe)) == {name for name, _ in network.named_parameters()}


def test_the_rate_falls_by_layer_from_the_decoder_down_to_the_patches(recipe: Recipe) -> None:
    paper = replace(recipe, optimiser="adamw", learning_rate=1.0, layer_decay=0.65)

    found = rates(MEMatte(recipe.spec), paper)

    assert found["decoder.head.3.weight"][0] == pytest.approx(1.0)
    assert found["backbone.blocks.1.mlp.0.weight"][0] == pytest.approx(0.65)
    assert found["backbone.blocks.0.mlp.0.weight"][0] == pytest.approx(0.65**2)
    assert found["backbone.patches.weight"][0] == pytest.approx(0.65**3)


@pytest.mark.parametrize(
    "name", ["backbone.positions", "backbone.blocks.0.norm1.weight", "backbone.blocks.0.mlp.0.bias"]
)
def test_norms_biases_and_positions_do_not_decay(recipe: Recipe, name: str) -> None:
    assert rates(MEMatte(recipe.spec), recipe)[name][1] == 0


def test_matrices_and_filters_are_muon_s_and_the_rest_adamw_s(recipe: Recipe) -> None:
    network = MEMatte(replace(recipe.spec, channels=64))

    found = {name: rule for name, (_, _, rule) in rates(network, recipe).items()}

    assert found["backbone.blocks.0.mlp.0.weight"] is Muon
    assert found["decoder.fusions.1.0.weight"] is Muon
    assert found["backbone.blocks.1.refinement.mix.weight"] is torch.optim.AdamW  # depthwise
    assert found["backbone.patches.weight"] is torch.optim.AdamW
    assert found["backbone.blocks.0.attention.relative_rows"] is torch.optim.AdamW


def test_several_optimisers_are_saved_and_restored_as_one(recipe: Recipe) -> None:
    def step(network: MEMatte, optimiser: Together, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed)
        for parameter in network.parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
        optimiser.step()

    network = MEMatte(recipe.spec)
    optimiser = make_optimiser(network, recipe)
    step(network, optimiser, 0)
    twin = MEMatte(recipe.spec)
    twin.load_state_dict(network.state_dict())
    restored = make_optimiser(twin, recipe)

    restored.load_state_dict(deepcopy(optimiser.state_dict()))
    for group in restored.param_groups:
        group["lr"] = 0.5  # the groups must be those that the optimisers use
    for group in optimiser.param_groups:
        group["lr"] = 0.5
    step(network, optimiser, 1)
    step(twin, restored, 1)

    assert all(torch.equal(a, b) for a, b in zip(network.parameters(), twin.parameters(), strict=True))
