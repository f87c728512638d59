"""Batches: what the network takes, and the same crops however they are divided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mematte.train import Crops, Recipe
from mematte.train.batches import Batches, tensors

from .conftest import Discs


def test_a_batch_holds_what_the_network_and_the_losses_take(discs: Discs) -> None:
    inputs, truth, unknown = tensors([discs.sample(np.random.default_rng(seed), 64) for seed in range(2)])

    assert (inputs.shape, truth.shape, unknown.shape) == ((2, 4, 64, 64), (2, 1, 64, 64), (2, 1, 64, 64))
    assert set(inputs[:, 3].unique().tolist()) == {0.0, 0.5, 1.0}
    assert ((inputs[:, 3:] == 0.5) == (unknown == 1)).all()
    assert ((truth == 1) | (truth == 0) | (unknown == 1)).all()
    grey = inputs[0, 0, 0, 0] * 0.229 + 0.485  # the normalisation undone
    assert grey.item() == pytest.approx(30 / 255, abs=1e-6)


@pytest.mark.parametrize(("ranks", "parts"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_a_step_s_crops_are_the_same_however_they_are_divided(
    recipe: Recipe, discs: Discs, ranks: int, parts: int
) -> None:
    whole = replace(recipe, crops=(Crops(64, 4),))
    expected = Batches(discs, whole, 0, 0, 1).part(3, 0)[0]

    divided = [
        Batches(discs, replace(whole, accumulate=parts), 0, rank, ranks).part(3, part)[0]
        for part in range(parts)
        for rank in range(ranks)
    ]

    assert torch.equal(torch.cat(divided), expected)


def test_after_a_stop_the_rest_is_made_again(recipe: Recipe, discs: Discs) -> None:
    through = list(Batches(discs, recipe, 0, 0, 1))

    rest = list(Batches(discs, recipe, 4, 0, 1))

    assert len(through) == 6
    assert all(torch.equal(a[0], b[0]) for a, b in zip(through[4:], rest, strict=True))


@pytest.mark.parametrize("parts", [1, 2])
def test_loader_workers_keep_the_order(recipe: Recipe, discs: Discs, parts: int) -> None:
    batches = Batches(discs, replace(recipe, accumulate=parts), 1, 0, 1)

    loader = DataLoader(batches, batch_size=None, num_workers=2, multiprocessing_context="fork")

    made = [batch[0] for batch in loader]
    assert len(made) == 5 * parts
    assert all(torch.equal(a, b[0]) for a, b in zip(made, batches, strict=True))


def test_drawn_mattes_change_with_the_steps(recipe: Recipe, discs: Discs) -> None:
    run = replace(recipe, crops=(Crops(64, 4),), crops_per_drawing=8, steps=100)

    Batches(discs, run, 0, 0, 1).part(50, 0)

    assert discs.window == 50 * 4 // 8
