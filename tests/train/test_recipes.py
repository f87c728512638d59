"""The recipes that come with the project: all can be run, and their arithmetic is the paper's."""

from __future__ import annotations

from pathlib import Path

import pytest

from mematte.cli.train import read_recipe
from mematte.model.spec import teacher
from mematte.train import Recipe

RECIPES = Path(__file__).parents[2] / "recipes"


def recipe(name: str) -> Recipe:
    return read_recipe(RECIPES / f"{name}.py")


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.py")))
def test_every_recipe_can_be_run(name: str) -> None:
    recipe(name).check()


@pytest.mark.parametrize(
    ("name", "iterations", "crops"),
    [("paper_small", 40_406, 32), ("paper_base", 64_650, 40), ("paper_small_mixed", 353_375, 8)],
)
def test_the_paper_s_recipes_have_its_iterations_and_batches(name: str, iterations: int, crops: int) -> None:
    assert (recipe(name).steps, recipe(name).crops[0].count) == (iterations, crops)


def test_the_paper_s_rates_drop_where_it_says() -> None:
    small = recipe("paper_small")
    epoch = small.steps / 30

    factors = [small.rate_factor(int(epochs * epoch), epochs / 30) for epochs in (0, 1, 5.9, 6.1, 25.9, 26.1)]

    assert factors == pytest.approx([0.001, 1, 1, 0.1, 0.1, 0.05])


def test_stage_two_trains_the_student_of_stage_one() -> None:
    assert recipe("tiny_teacher_cpu").spec == teacher(recipe("tiny_cpu").spec)
    assert recipe("tiny_cpu").weights.distillation > 0
