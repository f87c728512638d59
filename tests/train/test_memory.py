"""Memory: what a batch needs is foreseen, and what does not fit is refused with what does."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mematte.errors import TrainingError
from mematte.model import MEMatte
from mematte.train import Crops, Recipe
from mematte.train.memory import Need, check_memory, measure_need


def test_a_crop_of_twice_the_side_keeps_at_least_four_times_as_much(recipe: Recipe) -> None:
    network = MEMatte(recipe.spec)

    small, large = (
        measure_need(network, replace(recipe, crops=(Crops(size_px, 1),)), half=False, teacher=False)
        for size_px in (256, 512)
    )

    assert 4 <= large.per_crop / small.per_crop < 8
    assert 0 <= large.fixed - small.fixed <= 3 * 4 * (512 // 16) ** 4  # of one head, the scores of all pairs


def test_what_a_routed_network_keeps_grows_with_the_area_alone(recipe: Recipe) -> None:
    routed, teacher = (
        MEMatte(replace(recipe.spec, blocks=blocks))
        for blocks in (recipe.spec.blocks, recipe.spec.blocks.replace("R", "G"))
    )
    assert "R" in routed.spec.blocks

    growth = [
        [
            measure_need(network, replace(recipe, crops=(Crops(size_px, 1),)), half=False, teacher=False)
            for size_px in (512, 2048)
        ]
        for network in (routed, teacher)
    ]

    ratios = [large.per_crop / small.per_crop for small, large in growth]
    assert ratios[0] == pytest.approx(16)
    assert ratios[1] > 32


@pytest.mark.parametrize("size_px", [96, 192])
def test_the_forecast_is_what_autograd_keeps(recipe: Recipe, size_px: int) -> None:
    network = MEMatte(recipe.spec)
    forecast = measure_need(network, replace(recipe, crops=(Crops(size_px, 1),)), half=False, teacher=False)

    kept: dict[int, int] = {}

    def note(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    from mematte.model.router import gumbel

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        alpha = network(torch.zeros(1, 4, size_px, size_px), gumbel).alpha
        alpha.sum()

    assert forecast.per_crop == pytest.approx(sum(kept.values()), rel=0.5)


def test_measuring_changes_nothing(recipe: Recipe) -> None:
    network = MEMatte(recipe.spec)
    before = {key: value.clone() for key, value in network.state_dict().items()}

    measure_need(network, recipe, half=False, teacher=False)

    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


def test_what_does_not_fit_is_refused_with_the_largest_that_does(recipe: Recipe) -> None:
    run = replace(recipe, crops=(Crops(512, 16),))
    need = Need(fixed=1_000_000_000, per_crop=1_000_000_000)

    with pytest.raises(TrainingError) as caught:
        check_memory(need, run, available=10_000_000_000, ranks=1, where="the cpu")

    assert "largest that fits is 7: set accumulate=4" in str(caught.value)
    check_memory(need, replace(run, accumulate=4), available=10_000_000_000, ranks=1, where="the cpu")


def test_many_small_crops_count_too(recipe: Recipe) -> None:
    run = replace(recipe, crops=(Crops(512, 1), Crops(256, 64)))
    need = Need(fixed=0, per_crop=1_000_000_000)

    with pytest.raises(
        TrainingError, match=r"20\.0 GB for 64 crops of 256 px.* 32: set accumulate=2"
    ) as caught:
        check_memory(need, replace(run, crops=(Crops(512, 8), Crops(256, 64))), 10**10, 1, "the cpu")

    assert "accumulate=2" in str(caught.value)
    with pytest.raises(TrainingError, match="set crops to counts of many equal parts"):
        check_memory(need, run, available=10**10, ranks=1, where="the cpu")
    check_memory(need, run, available=2 * 10**10, ranks=1, where="the cpu")


def test_where_not_even_one_fits_accumulation_is_no_advice(recipe: Recipe) -> None:
    with pytest.raises(TrainingError, match="Not even one fits"):
        check_memory(Need(10**9, 10**9), recipe, available=10**9, ranks=1, where="the cpu")
