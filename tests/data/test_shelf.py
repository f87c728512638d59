"""Things on a shelf: the same whatever is in memory; damaged ones replaced, counted, too many refused."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from mematte.data.shelf import Entry, Lottery, Shelf
from mematte.errors import DataError, ImageFileError

from .conftest import lottery_of


@dataclass
class Brick:
    """A thing of 100 bytes."""

    number: int
    memory_bytes: int = 100


def make(number: int, damaged: Sequence[int]) -> Brick:
    if number in damaged:
        raise ImageFileError(f"brick{number}.png is damaged or truncated.")
    return Brick(number)


def shelf_of(count: int, damaged: Sequence[int] = (), cache_bytes: int = 500) -> Shelf[Brick]:
    entries = [Entry(Path(f"brick{number}.png"), partial(make, number, damaged)) for number in range(count)]
    return Shelf(entries, "bricks", cache_bytes)


def drawn(lottery: Lottery[Brick], count: int, seed: int = 0) -> list[int]:
    rng = np.random.default_rng(seed)
    return [lottery.draw(rng).number for _ in range(count)]


@pytest.mark.parametrize("memory_bytes", [0, 99, 100, 7_050, 30_000])
@pytest.mark.parametrize("damaged", [(), (3, 250)])
def test_what_is_in_memory_does_not_change_what_is_drawn(memory_bytes: int, damaged: Sequence[int]) -> None:
    never_loaded, shelf = shelf_of(300, damaged), shelf_of(300, damaged)
    shelf.load(memory_bytes)

    assert shelf.memory_bytes <= memory_bytes
    assert drawn(Lottery(shelf), 900) == drawn(Lottery(never_loaded), 900)


@pytest.mark.parametrize("memory_bytes", [1_000, 10_000])
def test_memory_is_used_as_far_as_it_goes(memory_bytes: int) -> None:
    shelf = shelf_of(100)
    shelf.load(memory_bytes)
    assert shelf.memory_bytes == memory_bytes


def test_those_drawn_most_are_kept() -> None:
    weights = [2.0 if number == 70 else 1.0 for number in range(100)]
    entries = [
        Entry(Path(str(number)), partial(make, number, ()), weight) for number, weight in enumerate(weights)
    ]
    shelf = Shelf(entries, "bricks")
    shelf.load(100)
    assert shelf.get(70) is shelf.get(70)
    assert shelf.memory_bytes == 100


def test_the_cache_holds_those_drawn_last_and_no_more_than_its_size() -> None:
    shelf = shelf_of(100, cache_bytes=500)
    first = shelf.get(0)
    for number in (1, 2, 0, 3, 4, 5):
        shelf.get(number)
    assert shelf.get(0) is first
    one = shelf.get(1)  # was the oldest
    for number in range(2, 40):
        shelf.get(number)
    assert shelf.get(1) is not one
    assert shelf._cached_bytes <= 500


def test_a_damaged_file_changes_nothing_but_its_own_draws() -> None:
    whole, spoilt = drawn(Lottery(shelf_of(200)), 2000), drawn(Lottery(shelf_of(200, [7])), 2000)
    changed = [(one, other) for one, other in zip(whole, spoilt, strict=True) if one != other]
    assert changed
    assert {one for one, _ in changed} == {7}
    assert 7 not in spoilt
    assert len({other for _, other in changed}) > 1


@pytest.mark.parametrize("memory_bytes", [0, 100_000])
def test_a_damaged_file_is_named_once(memory_bytes: int, caplog: pytest.LogCaptureFixture) -> None:
    shelf = shelf_of(200, [7])
    with caplog.at_level(logging.WARNING, "mematte.data"):
        shelf.load(memory_bytes)
        drawn(Lottery(shelf), 1000)
    assert [record.getMessage() for record in caplog.records] == [
        "Left out, as it cannot be used: brick7.png is damaged or truncated."
    ]
    assert list(shelf.damage.reasons) == [Path("brick7.png")]


def test_up_to_one_percent_may_be_damaged() -> None:
    shelf = shelf_of(200, [0, 199])
    shelf.load(10**6)
    assert len(shelf.damage.reasons) == 2
    assert not {0, 199} & set(drawn(Lottery(shelf), 1000))


@pytest.mark.parametrize("memory_bytes", [0, 100_000])
def test_more_damaged_files_are_an_error_that_lists_the_first_ten(memory_bytes: int) -> None:
    shelf = shelf_of(1000, range(0, 60, 2))

    def load_and_draw() -> None:
        shelf.load(memory_bytes)
        drawn(Lottery(shelf), 1000)

    with pytest.raises(DataError) as caught:
        load_and_draw()
    message = str(caught.value)
    assert "of the 1000 bricks cannot be used; up to 1% would be left out" in message
    assert message.count("is damaged or truncated") == 10
    if memory_bytes:  # then all were read before the error
        assert message.startswith("30 of")
        assert message.endswith("and 20 more")


def test_a_single_damaged_thing_is_an_error() -> None:
    with pytest.raises(DataError, match=r"1 of the 1 bricks"):
        Lottery(shelf_of(1, [0])).draw(np.random.default_rng(0))


def test_a_lottery_whose_only_winner_is_damaged_ends() -> None:
    lottery = Lottery(shelf_of(200, [7]), [float(number == 7) for number in range(200)])
    with pytest.raises(DataError, match="None of the bricks that may be drawn"):
        lottery.draw(np.random.default_rng(0))


def test_weights_are_kept_and_zero_means_never() -> None:
    lottery = lottery_of([Brick(number) for number in range(3)], [3, 0, 1])
    numbers = drawn(lottery, 2000)
    assert numbers.count(0) / 2000 == pytest.approx(0.75, abs=0.04)
    assert 1 not in numbers


def test_nothing_can_be_drawn_from_an_empty_shelf() -> None:
    empty = shelf_of(0)
    empty.load(1000)
    assert not Lottery(empty)
    assert Lottery(shelf_of(1))


def test_other_errors_are_not_taken_for_damage() -> None:
    def fail() -> Brick:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        Shelf([Entry(Path("a"), fail)], "bricks").load(1000)
