"""What an evaluation gives: the scores of each picture, or what was wrong with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mematte.eval.evaluate import mean_of
from mematte.eval.metrics import Scores


@dataclass(frozen=True)
class Scored:
    """One picture with its scores.

    Attributes:
        name: of the picture.
        scores: in the units papers print.
        size: (height, width) in px.
        unknown_share: of its pixels, 0 to 1.
        seconds: that the method took.
        shares: routed block -> share of the tokens that attend globally, 0 to 1.
        warnings: each a sentence.
        alpha_sha256: of the alpha's file, if it was written.
    """

    name: str
    scores: Scores
    size: tuple[int, int]
    unknown_share: float
    seconds: float
    shares: Mapping[int, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    alpha_sha256: str = ""


@dataclass(frozen=True)
class Failure:
    """A picture that could not be scored, and why, in sentences."""

    name: str
    reason: str


@dataclass(frozen=True)
class Results:
    """The scores of a data set.

    Attributes:
        settings: as `Task.settings`.
        scored: in the order of their names.
        failures: the others.
        kept: how many were scored by an earlier run.
    """

    settings: Mapping[str, Any]
    scored: tuple[Scored, ...]
    failures: tuple[Failure, ...]
    kept: int

    @property
    def mean(self) -> Scores:
        """The mean over all pictures that could be scored."""
        return mean_of([one.scores for one in self.scored])

    @property
    def pictures(self) -> str:
        """How many are scored, in words."""
        everything = len(self.scored) + len(self.failures)
        return f"{len(self.scored)} of {everything}" if self.failures else str(everything)
