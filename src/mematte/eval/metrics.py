"""The five numbers that matting papers report: SAD, MSE, MAD, Grad, Conn.

Source: Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009, in the
form that Composition-1K made common. Lower is better; a perfect matte scores zero in all of them.

Shapes and ranges, everywhere in this file: an alpha matte is (H, W), floating point in [0, 1] or uint8 in
0..255; a trimap is (H, W) uint8 with the levels 0 (background), 128 (unknown) and 255 (foreground).
Arithmetic is float64 throughout. Before anything is measured, the prediction is set to 0 where the trimap
says background and to 1 where it says foreground: a method is told those pixels, so they are not its errors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeAlias, get_args

import cv2
import numpy as np
import numpy.typing as npt

from mematte.errors import InputError

Alpha: TypeAlias = npt.NDArray[np.floating[Any]] | npt.NDArray[np.uint8]
Trimap: TypeAlias = npt.NDArray[np.uint8]
Region: TypeAlias = Literal["unknown", "whole"]

_Float64 = npt.NDArray[np.float64]
_Bool = npt.NDArray[np.bool_]

_BACKGROUND, _UNKNOWN, _FOREGROUND = 0, 128, 255
_GRAD_SIGMA_PX = 1.4
_GRAD_CUT = 0.01  # the kernel ends where the Gaussian falls below this
_CONN_DEAD_ZONE = 0.15  # smaller differences from the connected level are not perceived
# i / 10 and not multiples of 0.1: 6 * 0.1 is above 0.6, and an 8-bit 153 is exactly 0.6.
_CONN_THRESHOLDS = tuple(i / 10 for i in range(11))


@dataclass(frozen=True)
class Scores:
    """The errors of one matte, or the means over several, in the units papers print.

    Attributes:
        sad: sum of absolute differences / 1000.
        mse: mean squared difference x 1000.
        mad: mean absolute difference x 1000.
        grad: sum of squared differences of gradient magnitude / 1000.
        conn: sum of differences in connectivity / 1000, the background not counted as a component.
    """

    sad: float
    mse: float
    mad: float
    grad: float
    conn: float


@dataclass(frozen=True)
class _Pair:
    """A prediction and its truth, checked, in float64; `region` is True where errors count."""

    prediction: _Float64
    truth: _Float64
    region: _Bool


def score(alpha: Alpha, truth: Alpha, trimap: Trimap, *, region: Region = "unknown") -> Scores:
    """Measure one matte against its truth with all five metrics.

    Args:
        alpha: (H, W) the matte to judge, float in [0, 1] or uint8. What papers score is 8-bit.
        truth: (H, W) the true matte, float in [0, 1] or uint8.
        trimap: (H, W) uint8 of 0, 128 and 255. For a method that got no trimap, pass all 128.
        region: where errors count: "unknown" pixels of the trimap (Composition-1K, AIM-500 ...) or the
            "whole" image (Distinctions-646, SIMD, P3M-500).

    Returns:
        `Scores`, in the units papers print.

    Raises:
        InputError: shapes differ, a type or a value is out of range, or no pixel is unknown.
    """
    pair = _checked(alpha, truth, trimap, region)
    return Scores(sad=_sad(pair), mse=_mse(pair), mad=_mad(pair), grad=_grad(pair), conn=_conn(pair))


def sad(alpha: Alpha, truth: Alpha, trimap: Trimap, *, region: Region = "unknown") -> float:
    """Sum of absolute differences / 1000. Arguments and errors as in `score`."""
    return _sad(_checked(alpha, truth, trimap, region))


def mse(alpha: Alpha, truth: Alpha, trimap: Trimap, *, region: Region = "unknown") -> float:
    """Mean squared difference x 1000. Arguments and errors as in `score`."""
    return _mse(_checked(alpha, truth, trimap, region))


def mad(alpha: Alpha, truth: Alpha, trimap: Trimap, *, region: Region = "unknown") -> float:
    """Mean absolute difference x 1000. Arguments and errors as in `score`."""
    return _mad(_checked(alpha, truth, trimap, region))


def grad(alpha: Alpha, truth: Alpha, trimap: Trimap, *, region: Region = "unknown") -> float:
    """Sum of squared differences of gradient magnitude / 1000. Arguments and errors as in `score`.

    Gradients are those of a Gaussian of sigma 1.4 px, its kernel normalised to unit L2 norm, with the
    nearest pixel repeated beyond the borders.

    Source: Rhemann et al. 2009, section 4.
    """
    return _grad(_checked(alpha, truth, trimap, region))


def conn(alpha: Alpha, truth: Alpha, trimap: Trimap, *, region: Region = "unknown") -> float:
    """Sum of differences in connectivity / 1000. Arguments and errors as in `score`.

    At each threshold 0, 0.1 ... 1 the largest 4-connected component of the pixels that reach it in both
    mattes is "the object"; a pixel is connected up to the last threshold before it first leaves the object.
    What an alpha exceeds that level by, where that is at least 0.15, is its disconnectedness.

    Source: Rhemann et al. 2009, section 4; components as MATLAB's bwconncomp and the authors of MEMatte
    count them, without the background.
    """
    return _conn(_checked(alpha, truth, trimap, region))


def conn_counting_background(
    alpha: Alpha, truth: Alpha, trimap: Trimap, *, region: Region = "unknown"
) -> float:
    """`conn` as a widely copied Python version computes it: the background counts as a component.

    Where the pixels below a threshold outnumber the object, that version takes them for the object. Only
    for comparing with figures that were made this way. Arguments and errors as in `score`.
    """
    return _conn(_checked(alpha, truth, trimap, region), count_background=True)


def eight_bit(alpha: Alpha) -> npt.NDArray[np.uint8]:
    """Round a matte to what an 8-bit file holds of it.

    Args:
        alpha: (H, W) float in [0, 1], or uint8, which is returned as it is.

    Returns:
        (H, W) uint8, the nearest of 0..255.

    Raises:
        InputError: a wrong shape, type or range; a plain cast would turn NaN and 1.5 into innocent values.
    """
    if isinstance(alpha, np.ndarray) and alpha.dtype == np.uint8:
        _check_plane(alpha, "alpha")
        return alpha.astype(np.uint8, copy=False)
    return np.rint(_as_float64(alpha, "alpha") * 255).astype(np.uint8)


def _sad(pair: _Pair) -> float:
    return float(np.abs(pair.prediction - pair.truth)[pair.region].sum() / 1000)


def _mse(pair: _Pair) -> float:
    return float(np.square(pair.prediction - pair.truth)[pair.region].mean() * 1000)


def _mad(pair: _Pair) -> float:
    return float(np.abs(pair.prediction - pair.truth)[pair.region].mean() * 1000)


def _grad(pair: _Pair) -> float:
    difference = _gradient_magnitude(pair.prediction) - _gradient_magnitude(pair.truth)
    return float(np.square(difference)[pair.region].sum() / 1000)


def _conn(pair: _Pair, *, count_background: bool = False) -> float:
    both = np.minimum(pair.prediction, pair.truth)  # reaches t exactly where both mattes do
    level = np.ones_like(both)
    inside = np.ones(both.shape, dtype=bool)
    # Nothing leaves at threshold 0, which every pixel reaches.
    for below, threshold in pairwise(_CONN_THRESHOLDS):
        leaves = inside & ~_largest_component(both >= threshold, count_background=count_background)
        level[leaves] = below
        inside &= ~leaves
    difference = _connectedness(pair.prediction, level) - _connectedness(pair.truth, level)
    return float(np.abs(difference)[pair.region].sum() / 1000)


def _connectedness(alpha: _Float64, level: _Float64) -> _Float64:
    """(H, W) in [0, 1]: one, less what `alpha` exceeds its connected `level` by."""
    above = alpha - level
    return 1.0 - above * (above >= _CONN_DEAD_ZONE)


def _largest_component(mask: _Bool, *, count_background: bool) -> _Bool:
    """(H, W) True on the largest 4-connected component; of equals, the first in reading order."""
    labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=4)[1]
    sizes = np.bincount(labels.ravel())
    if not count_background:
        sizes[0] = 0
        if sizes.max() == 0:  # no pixel reaches the threshold: there is no object
            return np.zeros_like(mask)
    return np.asarray(labels == sizes.argmax())


def _gradient_magnitude(alpha: _Float64) -> _Float64:
    """(H, W) length of the Gaussian gradient."""
    smooth, slope = _gradient_kernels()
    along_x = cv2.sepFilter2D(alpha, cv2.CV_64F, slope, smooth, borderType=cv2.BORDER_REPLICATE)
    along_y = cv2.sepFilter2D(alpha, cv2.CV_64F, smooth, slope, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.hypot(along_x, along_y), dtype=np.float64)


def _gradient_kernels() -> tuple[_Float64, _Float64]:
    """(K,) Gaussian and (K,) its derivative, each of unit L2 norm: so is the 2-D kernel, their product."""
    sigma = _GRAD_SIGMA_PX
    half = math.ceil(sigma * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * sigma * _GRAD_CUT)))
    x = np.arange(-half, half + 1, dtype=np.float64)
    smooth = np.exp(-np.square(x) / (2 * sigma**2))
    slope = -x * smooth
    return smooth / np.linalg.norm(smooth), slope / np.linalg.norm(slope)


def _checked(alpha: Alpha, truth: Alpha, trimap: Trimap, region: Region) -> _Pair:
    """Check every argument, bring mattes to float64, and write the known pixels into the prediction."""
    if region not in get_args(Region):
        raise InputError(f'region must be "unknown" or "whole", not {region!r}.')
    prediction, true_alpha = _as_float64(alpha, "alpha"), _as_float64(truth, "truth")
    _check_trimap(trimap)
    if not prediction.shape == true_alpha.shape == trimap.shape:
        raise InputError(
            "alpha, truth and trimap must be of one size; they are (height, width) "
            f"{prediction.shape}, {true_alpha.shape} and {trimap.shape}."
        )
    prediction[trimap == _BACKGROUND] = 0.0
    prediction[trimap == _FOREGROUND] = 1.0
    if region == "whole":
        return _Pair(prediction, true_alpha, np.ones(trimap.shape, dtype=bool))
    unknown = trimap == _UNKNOWN
    if not unknown.any():
        raise InputError(
            f"The trimap ({trimap.shape[1]}x{trimap.shape[0]} px) has no unknown pixel (128), so there is "
            'nothing to score. To score every pixel, pass region="whole".'
        )
    return _Pair(prediction, true_alpha, unknown)


def _as_float64(alpha: Alpha, name: str) -> _Float64:
    """(H, W) a new float64 array in [0, 1]; the caller's is never changed."""
    _check_plane(alpha, name)
    if alpha.dtype == np.uint8:
        return alpha.astype(np.float64) / 255
    if not np.issubdtype(alpha.dtype, np.floating):
        raise InputError(f"{name} must be floating point in [0, 1] or uint8, not {alpha.dtype}.")
    if not np.isfinite(alpha).all():
        count = int(alpha.size - np.isfinite(alpha).sum())
        raise InputError(f"{name} holds {count} values that are NaN or infinite.")
    lowest, highest = float(alpha.min()), float(alpha.max())
    if lowest < 0 or highest > 1:
        raise InputError(f"{name} must lie in [0, 1]; it reaches from {lowest:g} to {highest:g}.")
    return alpha.astype(np.float64)


def _check_trimap(trimap: Trimap) -> None:
    _check_plane(trimap, "trimap")
    if trimap.dtype != np.uint8:
        raise InputError(f"trimap must be uint8 with the levels 0, 128 and 255, not {trimap.dtype}.")
    others = sorted(set(np.unique(trimap).tolist()) - {_BACKGROUND, _UNKNOWN, _FOREGROUND})
    if others:
        shown = ", ".join(map(str, others[:5])) + (" ..." if len(others) > 5 else "")
        raise InputError(f"trimap must hold only 0, 128 and 255; it also holds {shown}.")


def _check_plane(array: object, name: str) -> None:
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name} must be a numpy array, not {type(array).__name__}.")
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{name} must be one plane (height, width) with pixels; its shape is {array.shape}.")
