"""Random numbers of a kind that many modules draw."""

from __future__ import annotations

import numpy as np


def ratio(rng: np.random.Generator, low: float, high: float) -> float:
    """A number in [low, high), its logarithm uniform: lengths and factors are as likely doubled as halved."""
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))
