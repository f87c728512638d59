"""A recipe: what it says of each step, how settings change it, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mematte.errors import TrainingError
from mematte.model import BASE, TINY
from mematte.model.spec import teacher
from mematte.train import Crops, LossWeights, Recipe, changed
from mematte.train.recipe import from_json, settings, to_json


@pytest.mark.parametrize(
    ("setting", "field", "value"),
    [
        ("steps=70", "steps", 70),
        ("learning_rate=2e-4", "learning_rate", 2e-4),
        ("sync_batchnorm=true", "sync_batchnorm", True),
        ("optimiser=adamw", "optimiser", "adamw"),
        ("spec=base", "spec", BASE),
        ("spec=tiny-teacher", "spec", teacher(TINY)),
        ("foregrounds=one,two", "foregrounds", ("one", "two")),
        ("foregrounds=", "foregrounds", ()),
        ("drops=[[0.2, 0.1], [0.9, 0.05]]", "drops", ((0.2, 0.1), (0.9, 0.05))),
        ('crops=[{"size_px": 64, "count": 8}]', "crops", (Crops(64, 8),)),
        ("start=runs/a=b.safetensors", "start", "runs/a=b.safetensors"),
    ],
)
def test_a_setting_is_read_as_its_field_s_type(
    recipe: Recipe, setting: str, field: str, value: object
) -> None:
    assert getattr(changed(recipe, [setting]), field) == value


def test_a_nested_setting_changes_only_itself(recipe: Recipe) -> None:
    weights = changed(recipe, ["weights.laplacian=4"]).weights

    assert weights == replace(recipe.weights, laplacian=4.0)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ("step=5", "no 'step'. The nearest is 'steps'"),
        ("weights.laplace=1", "nearest is 'weights.laplacian'"),
        ("optimizer=muon", "nearest is 'optimiser'"),
        ("spec.channels=3", "no 'spec.channels'"),
        ("steps=many", "steps=many: it is a whole number"),
        ("steps=1.5", "whole number"),
        ("precision=8", "one of auto, 32-true, bf16-mixed, 16-mixed"),
        ("spec=huge", "one of tiny, small, base, tiny-teacher"),
        ("sync_batchnorm=maybe", "true or false"),
        ("crops=[5]", "crops are a list such as"),
        ("drops=[[1]]", "list in JSON"),
        ("steps", "write key=value"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_with_advice(recipe: Recipe, setting: str, told: str) -> None:
    with pytest.raises(TrainingError) as caught:
        changed(recipe, [setting])

    assert told in str(caught.value)


def test_every_setting_is_listed_with_its_value(recipe: Recipe) -> None:
    listed = dict(settings(recipe))

    assert listed["spec"] == "test"
    assert listed["weights.laplacian"] == 1.0
    assert listed["steps"] == 6


def test_a_recipe_survives_its_file(recipe: Recipe) -> None:
    rich = replace(
        recipe, foregrounds=("a", "b"), drops=((0.5, 0.1),), crops=(Crops(64, 2, 0.5), Crops(96, 2))
    )

    assert from_json(to_json(rich)) == rich


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        ({"steps": 0}, "at least one step"),
        ({"crops": ()}, "needs crops"),
        ({"crops": (Crops(100, 2),)}, "multiple of 32"),
        ({"crops": (Crops(32, 2),)}, "at least 64"),
        ({"crops": (Crops(64, 3),), "accumulate": 2}, "equal parts"),
        ({"accumulate": 0}, "at least one part"),
        ({"target_share": 1.5}, "target_share=1.5 is not in [0, 1]"),
        ({"averaging": 1.0}, "averaging=1.0"),
        ({"learning_rate": 0.0}, "not positive"),
        ({"crops_per_drawing": 0}, "at least one"),
        ({"photograph_px": 20}, "photograph_px=20: 0 for their own size"),
        ({"seed": -1}, "seed=-1 is negative"),
        ({"gradient_norm": float("inf")}, "gradient_norm=inf is no finite number"),
        ({"gradient_norm": 0.0}, "1e9 clips none"),
        ({"weights": LossWeights(unknown_l1=float("nan"))}, "weights.unknown_l1=nan is no finite number"),
        ({"weights": LossWeights(laplacian=-1.0)}, "weights.laplacian=-1.0 is negative"),
        ({"save_every": 0}, "save_every=0: every so many steps"),
        ({"layer_decay": 2.0}, "layer_decay=2.0 is above 1"),
        ({"betas": (2.0, 0.9)}, "betas=[2.0, 0.9] are not in [0, 1)"),
        ({"drops": ((0.5, -1.0),)}, "no factor is negative"),
        ({"crops": (Crops(64, 2, 0.0), Crops(96, 2))}, "probabilities that are not positive"),
        ({"widen": True}, "needs the weights of a smaller network"),
        ({"freeze_batchnorm": True}, "there is no start="),
        ({"freeze_batchnorm": True, "start": "tiny", "sync_batchnorm": True}, "nothing for sync_batchnorm"),
    ],
)
def test_numbers_that_make_no_run_are_refused(recipe: Recipe, setting: dict[str, object], told: str) -> None:
    with pytest.raises(TrainingError) as caught:
        replace(recipe, **setting).check()  # type: ignore[arg-type]

    assert told in str(caught.value)


def test_the_rate_rises_drops_and_falls(recipe: Recipe) -> None:
    run = replace(
        recipe,
        steps=1000,
        warmup_steps=100,
        warmup_from=0.001,
        drops=((0.3, 0.1), (0.6, 0.05)),
        decay_share=0.2,
    )

    factors = [run.rate_factor(step, step / 1000) for step in (0, 50, 100, 299, 300, 600, 800, 900, 1000)]

    assert factors == pytest.approx([0.001, 0.5005, 1, 1, 0.1, 0.05, 0.05, 0.025, 0])


def test_the_published_noise_never_falls_and_ours_ends_in_the_argmax(recipe: Recipe) -> None:
    run = replace(recipe, steps=100)

    assert run.routing_noise(0.99) == 1
    falling = replace(run, noise_until=0.6)
    assert [falling.routing_noise(step / 100) for step in (0, 20, 40, 60, 99)] == pytest.approx(
        [1, 1, 0.5, 0, 0]
    )


def test_batches_are_of_each_kind_as_often_as_it_says(recipe: Recipe) -> None:
    run = replace(recipe, crops=(Crops(64, 8, 3), Crops(96, 2, 1)))

    kinds = [run.batch(step).size_px for step in range(2000)]

    assert kinds.count(64) / 2000 == pytest.approx(0.75, abs=0.03)
    assert kinds == [run.batch(step).size_px for step in range(2000)]


def test_the_kind_of_a_batch_says_nothing_of_its_crops(recipe: Recipe) -> None:
    both = replace(recipe, crops=(Crops(96, 2), Crops(128, 2)))
    first_draws = {96: [], 128: []}
    for step in range(200):
        chance = np.random.default_rng([both.seed, step, 0]).random()  # of the step's first crop
        first_draws[both.batch(step).size_px].append(chance)

    means = [np.mean(draws) for draws in first_draws.values()]
    assert means == pytest.approx([0.5, 0.5], abs=0.1)


def test_the_record_in_the_weights_names_no_folders(recipe: Recipe) -> None:
    run = replace(recipe, foregrounds=("/home/me/x",), validation="/home/me/y", start="/home/me/z")

    assert "/home" not in str(run.record())
