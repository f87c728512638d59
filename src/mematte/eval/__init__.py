"""Measuring mattes: the five published metrics, and a whole data set at once."""

from __future__ import annotations

from mematte.eval.evaluate import EvalPair, Evaluation, alphamatting_pairs, evaluate
from mematte.eval.metrics import (
    Region,
    Scores,
    conn,
    conn_counting_background,
    eight_bit,
    grad,
    mad,
    mse,
    sad,
    score,
)

__all__ = [
    "EvalPair",
    "Evaluation",
    "Region",
    "Scores",
    "alphamatting_pairs",
    "conn",
    "conn_counting_background",
    "eight_bit",
    "evaluate",
    "grad",
    "mad",
    "mse",
    "sad",
    "score",
]
