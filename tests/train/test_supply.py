"""How many crops are made: counted right, made by other processes, and errors that people can read."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from mematte.data.crops import Crop
from mematte.errors import DataError, InputError
from mematte.train import Crops, Recipe
from mematte.train.on_device import RawSample
from mematte.train.supply import SupplyRow, measure_all, table

from .conftest import Discs


class Damaged(Discs):
    """A folder of which too much is damaged."""

    def sample(self, rng: np.random.Generator, size_px: int) -> Crop:  # noqa: ARG002
        raise DataError("a.png: damaged.\n\nAnd 3 more.")


class Tiles:
    """Of crops that a GPU has yet to compose."""

    def sample(self, rng: np.random.Generator, size_px: int) -> RawSample:
        tile = np.zeros((size_px, size_px, 4), np.uint8)
        return RawSample((tile,), tile[..., :3], seed=int(rng.integers(2**31)))


def test_crops_are_counted_by_the_clock(recipe: Recipe, discs: Discs) -> None:
    told: list[SupplyRow] = []

    (row,) = measure_all(replace(recipe, steps=1_000_000), discs, [2], seconds=0.3, on_row=told.append)

    assert told == [row]
    assert (row.workers, row.composed) == (2, True)
    assert row.seconds >= 0.3
    assert row.crops > 0
    assert row.crops % 2 == 0  # whole batches
    assert row.pixels == row.crops * 96 * 96
    assert row.crops_per_second == row.crops / row.seconds


@pytest.mark.filterwarnings("ignore:This DataLoader will create 3")  # on a machine with fewer cores
def test_all_cores_and_one_are_measured_unless_said(
    recipe: Recipe, discs: Discs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 3)

    rows = measure_all(replace(recipe, steps=100_000), discs, seconds=0.05)

    assert [(row.workers, row.cores) for row in rows] == [(1, 3), (3, 3)]
    assert discs.drawn_in == 3


def test_crops_of_several_sizes_count_with_their_own_pixels(recipe: Recipe, discs: Discs) -> None:
    mixed = replace(recipe, steps=100_000, crops=(Crops(64, 4), Crops(128, 1)))

    (row,) = measure_all(mixed, discs, [1], seconds=0.3)

    large = (row.pixels - row.crops * 64**2) / (128**2 - 64**2)  # of the crops; the others are small
    assert large == int(large)
    assert 0 < large < row.crops
    assert (row.crops - large) % 4 == 0


def test_tiles_are_no_finished_crops(recipe: Recipe) -> None:
    (row,) = measure_all(replace(recipe, steps=100_000), Tiles(), [1], seconds=0.05)

    assert not row.composed
    assert table([row]).endswith("tiles that the GPU composes.")
    assert row.pixels == row.crops * 96 * 96


def test_a_recipe_that_is_over_too_soon_is_refused(recipe: Recipe, discs: Discs) -> None:
    with pytest.raises(InputError, match=r"6 steps were made before 5 s were over.*more steps"):
        measure_all(recipe, discs, [1], seconds=5)


def test_what_another_process_met_is_said_without_its_traceback(recipe: Recipe) -> None:
    with pytest.raises(DataError) as caught:
        measure_all(recipe, Damaged(), [1], seconds=5)
    assert str(caught.value) == "a.png: damaged.\n\nAnd 3 more."


def test_the_table_says_what_was_made() -> None:
    row = SupplyRow(workers=2, cores=4, crops=1200, pixels=314_572_800, seconds=20.0, composed=True)

    assert table([row]).splitlines() == [
        "| processes | crops | seconds | crops a second | of each process | megapixels a second |",
        "|---:|---:|---:|---:|---:|---:|",
        "| 2 | 1,200 | 20.0 | 60.0 | 30.0 | 15.7 |",
        "",
        "4 cores; finished crops.",
    ]
