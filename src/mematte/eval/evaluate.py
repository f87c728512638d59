"""Score a matting method on pictures with known mattes.

The method is any function from a picture and its trimap to a matte: a network of ours, or a peer. What
`mematte evaluate` adds (data sets on disk, resuming, many processes) is in `run`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import astuple, dataclass, fields, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from mematte.errors import InputError
from mematte.eval import metrics
from mematte.eval.metrics import Alpha, Region, Scores

TITLES = ("SAD", "MSE x1e3", "MAD x1e3", "Grad", "Conn")
"""Of the columns, in the order of `Scores`."""

Predict: TypeAlias = Callable[[NDArray[Any], NDArray[np.uint8]], NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class EvalPair:
    """One picture with its trimap and its true matte.

    Attributes:
        name: what the table calls it.
        image: (H, W, 3) RGB, display-referred: uint8, uint16, or float32 in [0, 1].
        trimap: (H, W) uint8 of 0, 128 and 255.
        truth: (H, W) the true matte, float in [0, 1] or uint8.
    """

    name: str
    image: NDArray[Any]
    trimap: NDArray[np.uint8]
    truth: Alpha


@dataclass(frozen=True)
class Rules:
    """How alphas are judged.

    Attributes:
        eight_bit: round an alpha to 8 bits first, as the files that papers score are. Unrounded mattes score
            slightly better; say which when you quote a figure.
        region: where errors count, "unknown" or "whole"; see `mematte.eval.metrics.score`.
        count_background: Conn as `mematte.eval.metrics.conn_counting_background` computes it.
    """

    eight_bit: bool = True
    region: Region = "unknown"
    count_background: bool = False

    def judged(self, alpha: Alpha) -> Alpha:
        """(H, W) what of an alpha is scored.

        Raises:
            InputError: a wrong shape, type or range.
        """
        return metrics.eight_bit(alpha) if self.eight_bit else alpha

    def scores(self, alpha: Alpha, pair: EvalPair) -> Scores:
        """The scores of what `judged` gives.

        Raises:
            InputError: as `mematte.eval.metrics.score`.
        """
        scores = metrics.score(alpha, pair.truth, pair.trimap, region=self.region)
        if not self.count_background:
            return scores
        conn = metrics.conn_counting_background(alpha, pair.truth, pair.trimap, region=self.region)
        return replace(scores, conn=conn)


@dataclass(frozen=True)
class Evaluation:
    """The scores of every picture, in the order they came, and their mean.

    Attributes:
        names: one per picture.
        scores: one per picture, in the units papers print.
        mean: the mean over pictures (not over pixels) of each metric, as papers take it.
    """

    names: tuple[str, ...]
    scores: tuple[Scores, ...]
    mean: Scores

    def table(self) -> str:
        """One line per picture and one for the mean, as plain text columns."""
        return columns([*zip(self.names, self.scores, strict=True), ("mean", self.mean)])


def evaluate(
    predict: Predict,
    pairs: Iterable[EvalPair],
    eight_bit: bool = True,
    *,
    region: Region = "unknown",
    count_background: bool = False,
) -> Evaluation:
    """Run a method over pictures and score what it returns.

    Args:
        predict: image (H, W, 3) and trimap (H, W), as in `EvalPair` -> alpha (H, W), float in [0, 1].
        pairs: the pictures; taken one at a time, so a generator never holds more than one.
        eight_bit, region, count_background: see `Rules`.

    Returns:
        `Evaluation`: each picture's scores and their mean.

    Raises:
        InputError: no pictures, or a prediction of the wrong shape, type or range (the picture is named).
    """
    rules = Rules(eight_bit, region, count_background)
    names: list[str] = []
    scores: list[Scores] = []
    for pair in pairs:
        alpha = predict(pair.image, pair.trimap)
        try:
            scores.append(rules.scores(rules.judged(alpha), pair))
        except InputError as error:
            raise InputError(f"{pair.name}: {error}") from error
        names.append(pair.name)
    if not scores:
        raise InputError("There are no pictures to evaluate: `pairs` is empty.")
    return Evaluation(tuple(names), tuple(scores), mean_of(scores))


def mean_of(scores: Sequence[Scores]) -> Scores:
    """The mean over pictures of each metric."""
    names = [field.name for field in fields(Scores)]
    return Scores(**{name: float(np.mean([getattr(one, name) for one in scores])) for name in names})


def columns(rows: Sequence[tuple[str, Scores]]) -> str:
    """Plain text columns, a line for each row of scores, below a line of titles."""
    width = max(len(name) for name, _ in rows)
    lines = [" " * width + "".join(f"{title:>10}" for title in TITLES)]
    for name, scores in rows:
        lines.append(f"{name:<{width}}" + "".join(f"{value:>10.2f}" for value in astuple(scores)))
    return "\n".join(lines)
