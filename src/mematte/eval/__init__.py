"""Measuring mattes: the five published metrics, a method over pictures, and whole data sets on disk."""

from __future__ import annotations

from mematte.eval.evaluate import EvalPair, Evaluation, Rules, evaluate
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
    "Rules",
    "Scores",
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
