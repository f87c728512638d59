"""Errors: what holds for all of them."""

import pickle

import pytest

from mematte.errors import BudgetError, OutputError, SizeMismatchError


@pytest.mark.parametrize(
    "error", [SizeMismatchError((1, 2), (3, 4)), BudgetError((1, 2), 3, 4, 2), OutputError("no room")]
)
def test_errors_travel_between_processes(error: Exception) -> None:
    arrived = pickle.loads(pickle.dumps(error))

    assert type(arrived) is type(error)
    assert str(arrived) == str(error)


def test_a_trimap_that_lies_on_its_side_is_told_so() -> None:
    assert "lies on its side" in str(SizeMismatchError((40, 30), (30, 40)))
    assert "`mematte trimap`" in str(SizeMismatchError((40, 30), (30, 41)))
