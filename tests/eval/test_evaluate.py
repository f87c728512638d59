"""Evaluating a method over pictures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from mematte.errors import InputError
from mematte.eval import EvalPair, Scores, conn_counting_background, evaluate, score

Array = npt.NDArray[Any]


def pair(name: str, truth: float) -> EvalPair:
    return EvalPair(
        name=name,
        image=np.zeros((10, 100, 3), dtype=np.uint8),
        trimap=np.full((10, 100), 128, dtype=np.uint8),
        truth=np.full((10, 100), truth),
    )


def half(_image: Array, trimap: Array) -> Array:
    return np.full(trimap.shape, 0.5, dtype=np.float32)


def test_the_mean_is_over_pictures() -> None:
    result = evaluate(half, [pair("a", 0.5), pair("b", 0.25)], eight_bit=False)
    assert result.names == ("a", "b")
    assert [scores.sad for scores in result.scores] == pytest.approx([0, 0.25])
    assert result.mean.sad == pytest.approx(0.125)
    assert result.mean.mse == pytest.approx(31.25)


def test_eight_bit_scores_what_a_file_would_hold() -> None:
    one = pair("a", 0.5)
    stored = np.full((10, 100), 128, dtype=np.uint8)  # 127.5 rounds to even
    assert evaluate(half, [one]).scores == (score(stored, one.truth, one.trimap),)
    assert evaluate(half, [one], eight_bit=False).scores == (Scores(0, 0, 0, 0, 0),)


def test_pictures_are_taken_one_at_a_time() -> None:
    alive: list[str] = []

    def pairs() -> Iterator[EvalPair]:
        for name in "abc":
            alive.append(name)
            yield pair(name, 0.5)

    def predict(image: Array, trimap: Array) -> Array:
        seen.append(len(alive))
        return half(image, trimap)

    seen: list[int] = []
    evaluate(predict, pairs())
    assert seen == [1, 2, 3]


def test_the_table_has_a_line_per_picture_and_the_mean() -> None:
    lines = (
        evaluate(half, [pair("GT01", 0.5), pair("a long name", 0.25)], eight_bit=False).table().splitlines()
    )
    assert lines[0].split() == ["SAD", "MSE", "x1e3", "MAD", "x1e3", "Grad", "Conn"]
    assert lines[1].split() == ["GT01", "0.00", "0.00", "0.00", "0.00", "0.00"]
    assert lines[2].startswith("a long name      0.25     62.50    250.00")
    assert lines[3].split()[:2] == ["mean", "0.12"]
    assert len({len(line) for line in lines}) == 1


def test_conn_can_be_that_which_counts_the_background() -> None:
    truth = np.zeros((10, 100), np.uint8)
    truth[:, 70:] = 200  # smaller than the background
    one = EvalPair("a", np.zeros((10, 100, 3), np.uint8), np.full((10, 100), 128, np.uint8), truth)
    expected = conn_counting_background(np.full((10, 100), 128, np.uint8), truth, one.trimap)

    counted = evaluate(half, [one], count_background=True).mean
    plain = evaluate(half, [one]).mean

    assert counted.conn == expected != plain.conn
    assert (counted.sad, counted.mse, counted.mad, counted.grad) == (
        plain.sad, plain.mse, plain.mad, plain.grad
    )  # fmt: skip


def test_no_pictures_is_an_error() -> None:
    with pytest.raises(InputError, match="no pictures"):
        evaluate(half, [])


@pytest.mark.parametrize("eight_bit", [True, False])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda image, trimap: half(image, trimap) * np.nan, "b: alpha holds 1000 values"),
        (lambda image, trimap: half(image, trimap) * 3, r"b: alpha must lie in \[0, 1\]"),
        (lambda image, trimap: half(image, trimap)[:5], r"b: .*\(5, 100\)"),
        (lambda *_: None, "b: alpha must be a numpy array, not NoneType"),
    ],
)
def test_a_bad_prediction_names_the_picture(bad: Any, message: str, eight_bit: bool) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(bad, [pair("b", 0.5)], eight_bit=eight_bit)
