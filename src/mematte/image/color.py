"""The sRGB transfer curve, exact and piecewise. Source: IEC 61966-2-1.

Display-referred values are what a screen takes, linear values are proportional to light. Light adds up
and is covered up in linear values only, so compositing converts, adds, and converts back.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]

_SLOPE, _OFFSET, _GAMMA = 12.92, 0.055, 2.4
_KNEE_SRGB, _KNEE_LINEAR = 0.04045, 0.0031308


def as_float(values: NDArray[Any]) -> FloatArray:
    """Any uint8, uint16 or float array -> float32; the full integer range becomes [0, 1]."""
    if values.dtype.kind == "u":
        return np.asarray(np.multiply(values, np.float32(1 / np.iinfo(values.dtype).max), dtype=np.float32))
    return values.astype(np.float32, copy=False)


def srgb_to_linear(values: NDArray[Any]) -> FloatArray:
    """Display-referred sRGB -> linear light, float32, any shape.

    Args:
        values: uint8 or uint16 (the full range is [0, 1]; read from a table), or float in [0, 1]. Floats
            above 1 follow the same curve, floats below 0 its straight part.
    """
    if values.dtype.kind == "u":
        return np.asarray(_linear_table(values.dtype.str)[values])
    values = values.astype(np.float32, copy=False)
    curved: FloatArray = np.maximum(values, 0)
    curved += np.float32(_OFFSET)
    curved *= np.float32(1 / (1 + _OFFSET))
    np.power(curved, np.float32(_GAMMA), out=curved)
    np.copyto(curved, values / np.float32(_SLOPE), where=values <= _KNEE_SRGB)
    return curved


def linear_to_srgb(values: NDArray[np.floating]) -> FloatArray:
    """Linear light -> display-referred sRGB, float32, any shape, unclipped: undoes `srgb_to_linear`."""
    values = values.astype(np.float32, copy=False)
    curved: FloatArray = np.maximum(values, 0)
    np.power(curved, np.float32(1 / _GAMMA), out=curved)
    curved *= np.float32(1 + _OFFSET)
    curved -= np.float32(_OFFSET)
    np.copyto(curved, values * np.float32(_SLOPE), where=values <= _KNEE_LINEAR)
    return curved


@cache
def _linear_table(dtype: str) -> FloatArray:
    codes = np.arange(np.iinfo(dtype).max + 1, dtype=np.float64) / np.iinfo(dtype).max
    curve = np.where(codes <= _KNEE_SRGB, codes / _SLOPE, ((codes + _OFFSET) / (1 + _OFFSET)) ** _GAMMA)
    return curve.astype(np.float32)
