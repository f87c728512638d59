"""The errors that matting papers report, for anyone's mattes: SAD, MSE, MAD, Grad, Conn.

from mematte.metrics import eight_bit, score

score(eight_bit(alpha), truth, trimap).sad

Functions take numpy arrays and need no network; `mematte.metrics` does not import torch. The classes are
the same metrics for a training of your own: TorchMetrics that take batches on any device and work with
several processes. They load torch when they are first asked for, and need `pip install 'mematte[train]'`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from mematte.eval.torch_metrics import MAD, MSE, SAD, Conn, Grad, MattingMetrics

__all__ = [
    "MAD",
    "MSE",
    "SAD",
    "Conn",
    "Grad",
    "MattingMetrics",
    "Region",
    "Scores",
    "conn",
    "conn_counting_background",
    "eight_bit",
    "grad",
    "mad",
    "mse",
    "sad",
    "score",
]

_WITH_TORCH = ("MAD", "MSE", "SAD", "Conn", "Grad", "MattingMetrics")


def __getattr__(name: str) -> object:
    """Load a class when it is first asked for: torch takes seconds to import, TorchMetrics is optional."""
    if name in _WITH_TORCH:
        from importlib import import_module

        value: object = getattr(import_module("mematte.eval.torch_metrics"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
