"""Batches: what the network takes, and the same crops however they are divided."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from mematte.train import Crops, Recipe
from mematte.train.batches import Batches, CropBatch
from mematte.train.recipe import REPEATED_AFTER

from .conftest import Discs


def test_a_batch_holds_what_training_takes(discs: Discs) -> None:
    crops = [discs.sample(np.random.default_rng(seed), 64) for seed in range(2)]

    pictures, truth, unknown = CropBatch.of(crops).tensors()

    assert (pictures.shape, truth.shape, unknown.shape) == ((2, 4, 64, 64), (2, 1, 64, 64), (2, 1, 64, 64))
    assert set(pictures[:, 3].unique().tolist()) == {0.0, 0.5, 1.0}
    assert ((pictures[:, 3:] == 0.5) == (unknown == 1)).all()
    assert ((truth == 1) | (truth == 0) | (unknown == 1)).all()
    assert pictures[0, 0, 0, 0].item() == pytest.approx(30 / 255, abs=1e-6)


@pytest.mark.parametrize(("ranks", "parts"), [(1, 1), (2, 1), (1, 2), (2, 2), (4, 1)])
def test_a_step_s_crops_are_the_same_however_they_are_divided(
    recipe: Recipe, discs: Discs, ranks: int, parts: int
) -> None:
    whole = replace(recipe, crops=(Crops(64, 4),))
    expected = Batches(discs, whole, 0, 0, 1).part(3, 0).tensors()[0]

    divided = [
        Batches(discs, replace(whole, accumulate=parts), 0, rank, ranks).part(3, part).tensors()[0]
        for part in range(parts)
        for rank in range(ranks)
    ]

    assert torch.equal(torch.cat(divided), expected)


def test_after_a_stop_the_rest_is_made_again(recipe: Recipe, discs: Discs) -> None:
    through = list(Batches(discs, recipe, 0, 0, 1))

    rest = list(Batches(discs, recipe, 4, 0, 1))

    assert len(through) == 6
    assert all(torch.equal(a.images, b.images) for a, b in zip(through[4:], rest, strict=True))


@pytest.mark.parametrize("parts", [1, 2])
def test_loader_workers_keep_the_order(recipe: Recipe, discs: Discs, parts: int) -> None:
    batches = Batches(discs, replace(recipe, accumulate=parts), 1, 0, 1)

    loader = DataLoader(batches, batch_size=None, num_workers=2, multiprocessing_context="fork")

    made = [batch.images for batch in loader]
    assert len(made) == 5 * parts
    assert all(torch.equal(a, b.images) for a, b in zip(made, batches, strict=True))


def test_drawn_mattes_change_with_the_steps(recipe: Recipe, discs: Discs) -> None:
    run = replace(recipe, crops=(Crops(64, 4),), crops_per_drawing=8, steps=100)

    Batches(discs, run, 0, 0, 1).part(50, 0)

    assert discs.window == 50 * 4 // 8


def test_repeated_crops_come_back_long_after_and_turned(recipe: Recipe, discs: Discs) -> None:
    run = replace(recipe, crops=(Crops(64, 2),), repeats=3, steps=3 * REPEATED_AFTER + 8)

    batches = list(Batches(discs, run, 0, 0, 1))

    again = [batches[5 + showing * REPEATED_AFTER] for showing in range(3)]
    assert torch.equal(again[1].alphas, again[0].alphas.rot90(1, (1, 2)))
    assert torch.equal(again[2].images, again[0].images.rot90(2, (1, 2)))
    assert torch.equal(again[2].trimaps, again[0].trimaps.rot90(2, (1, 2)))
    once = Batches(discs, replace(run, repeats=1), 0, 0, 1)
    assert torch.equal(again[0].images, once.part(5, 0).images)
    after = batches[3 * REPEATED_AFTER]  # the next block has crops of its own
    assert torch.equal(after.images, once.part(REPEATED_AFTER, 0).images)


def test_repeated_crops_are_the_same_whoever_makes_them(recipe: Recipe, discs: Discs) -> None:
    run = replace(recipe, crops=(Crops(64, 2),), repeats=2, steps=2 * REPEATED_AFTER)

    whole = list(Batches(discs, run, 0, 0, 1))

    resumed = list(Batches(discs, run, REPEATED_AFTER + 3, 0, 1))
    assert all(torch.equal(a.images, b.images) for a, b in zip(whole[-len(resumed) :], resumed, strict=True))
    workers = DataLoader(Batches(discs, run, 0, 0, 1), batch_size=None, num_workers=2)
    assert all(torch.equal(a.images, b.images) for a, b in zip(whole, workers, strict=True))


def test_a_batch_is_made_once_and_not_kept_after_its_last_showing(recipe: Recipe, discs: Discs) -> None:
    run = replace(recipe, crops=(Crops(64, 2),), repeats=2, steps=4 * REPEATED_AFTER)
    batches, made = Batches(discs, run, 0, 0, 1), []
    sample = discs.sample
    discs.sample = lambda rng, size_px: made.append(size_px) or sample(rng, size_px)  # type: ignore[method-assign, func-returns-value]

    assert len(list(batches)) == 4 * REPEATED_AFTER

    assert len(made) == 2 * 2 * REPEATED_AFTER
    assert not batches._kept


def test_a_batch_has_eight_positions(discs: Discs) -> None:
    batch = CropBatch.of([discs.sample(np.random.default_rng(0), 64)])
    batch = replace(batch, images=torch.arange(64 * 64 * 3, dtype=torch.int32).view(1, 64, 64, 3))

    seen = {tuple(batch.again(showing).images.flatten().tolist()) for showing in range(8)}

    assert len(seen) == 8
