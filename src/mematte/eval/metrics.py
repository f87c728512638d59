"""The five numbers that matting papers report: SAD, MSE, MAD, Grad, Conn.

Source: Rhemann et al., "A Perceptually Motivated Online Benchmark for Image Matting", CVPR 2009, in the
form that Composition-1K made common. Lower is better; a perfect matte scores zero in all of them.

Shapes and ranges, everywhere in this file: an alpha matte is (H, W), floating point in [0, 1] or uint8 in
0..255; a trimap is (H, W) uint8 with the levels 0 (background), 128 (unknown) and 255 (foreground).
Arithmetic is float64 throughout. Before anything is measured, the prediction is set to 0 where the trimap
says background and to 1 where it says foreground: a method is told those pixels, so they are not its errors.

A picture may be larger than a few float64 copies of it: those exist of a few rows at a time, and what Conn
has to know of the whole picture is kept in bytes. docs/metrics.md has the figures.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args

import cv2
import numpy as np
import numpy.typing as npt

from mematte.errors import InputError
from mematte.image.bands import row_bands

Alpha: TypeAlias = npt.NDArray[np.floating[Any]] | npt.NDArray[np.uint8]
Trimap: TypeAlias = npt.NDArray[np.uint8]
Region: TypeAlias = Literal["unknown", "whole"]

_Float64 = npt.NDArray[np.float64]
_Bool = npt.NDArray[np.bool_]
_Byte = npt.NDArray[np.uint8]

_BAND_PIXELS = 1 << 19  # 4 MB in float64: the few such arrays of a band stay near the processor

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
        conn: sum of differences in connectivity / 1000, the background not counted as a component unless
            that was asked for.
    """

    sad: float
    mse: float
    mad: float
    grad: float
    conn: float


@dataclass(frozen=True)
class _Pair:
    """A prediction, its truth and the trimap, checked but as they came."""

    prediction: Alpha
    truth: Alpha
    trimap: Trimap
    region: Region

    def bands(self) -> Iterator[slice]:
        """The rows of the picture, some at a time, without those where no error counts."""
        for rows in row_bands(self.trimap.shape, _BAND_PIXELS):
            if self.counts(rows).any():
                yield rows

    def counts(self, rows: slice) -> _Bool:
        """(h, W) True where errors count."""
        trimap = self.trimap[rows]
        return np.ones(trimap.shape, dtype=bool) if self.region == "whole" else trimap == _UNKNOWN

    def float64(self, rows: slice) -> tuple[_Float64, _Float64]:
        """Prediction, its known pixels set, and truth, both (h, W) and new."""
        prediction, trimap = _as_float64(self.prediction[rows]), self.trimap[rows]
        prediction[trimap == _BACKGROUND] = 0.0
        prediction[trimap == _FOREGROUND] = 1.0
        return prediction, _as_float64(self.truth[rows])


@dataclass(frozen=True)
class _Differences:
    """Sums over the pixels that count, and how many these are."""

    absolute: float
    squared: float
    pixels: int

    @property
    def sad(self) -> float:
        return self.absolute / 1000

    @property
    def mse(self) -> float:
        return self.squared / self.pixels * 1000

    @property
    def mad(self) -> float:
        return self.absolute / self.pixels * 1000


def score(
    alpha: Alpha,
    truth: Alpha,
    trimap: Trimap,
    *,
    region: Region = "unknown",
    count_background: bool = False,
) -> Scores:
    """Measure one matte against its truth with all five metrics.

    Args:
        alpha: (H, W) the matte to judge, float in [0, 1] or uint8. What papers score is 8-bit.
        truth: (H, W) the true matte, float in [0, 1] or uint8.
        trimap: (H, W) uint8 of 0, 128 and 255. For a method that got no trimap, pass all 128.
        region: where errors count: "unknown" pixels of the trimap (Composition-1K, AIM-500 ...) or the
            "whole" image (Distinctions-646, SIMD, P3M-500).
        count_background: Conn as `conn_counting_background` computes it.

    Returns:
        `Scores`, in the units papers print.

    Raises:
        InputError: shapes differ, a type or a value is out of range, or no pixel is unknown.
    """
    pair = _checked(alpha, truth, trimap, region)
    found = _differences(pair)
    return Scores(
        sad=found.sad,
        mse=found.mse,
        mad=found.mad,
        grad=_grad(pair),
        conn=_conn(pair, count_background=count_background),
    )


def sad(alpha: Alpha, truth: Alpha, trimap: Trimap, *, region: Region = "unknown") -> float:
    """Sum of absolute differences / 1000. Arguments and errors as in `score`."""
    return _differences(_checked(alpha, truth, trimap, region)).sad


def mse(alpha: Alpha, truth: Alpha, trimap: Trimap, *, region: Region = "unknown") -> float:
    """Mean squared difference x 1000. Arguments and errors as in `score`."""
    return _differences(_checked(alpha, truth, trimap, region)).mse


def mad(alpha: Alpha, truth: Alpha, trimap: Trimap, *, region: Region = "unknown") -> float:
    """Mean absolute difference x 1000. Arguments and errors as in `score`."""
    return _differences(_checked(alpha, truth, trimap, region)).mad


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
    _check_alpha(alpha, "alpha")
    if alpha.dtype == np.uint8:
        return alpha.astype(np.uint8, copy=False)
    rounded: _Byte = np.empty(alpha.shape, dtype=np.uint8)
    for rows in row_bands(rounded.shape, _BAND_PIXELS):
        rounded[rows] = np.rint(_as_float64(alpha[rows]) * 255)
    return rounded


def check_region(region: str) -> None:
    """Raise InputError unless `region` names where errors may count."""
    if region not in get_args(Region):
        raise InputError(f'region must be "unknown" or "whole", not {region!r}.')


def _differences(pair: _Pair) -> _Differences:
    absolute, squared, pixels = [], [], 0
    for rows in pair.bands():
        prediction, truth = pair.float64(rows)
        difference = (prediction - truth)[pair.counts(rows)]
        absolute.append(float(np.abs(difference).sum()))
        squared.append(float(np.square(difference).sum()))
        pixels += difference.size
    return _Differences(math.fsum(absolute), math.fsum(squared), pixels)


def _grad(pair: _Pair) -> float:
    height, reach_px = pair.trimap.shape[0], len(_gradient_kernels()[0]) // 2
    sums = []
    for rows in pair.bands():
        # What the kernel sees beyond the band comes along, so that only the picture's edges are edges.
        seen = slice(max(0, rows.start - reach_px), min(height, rows.stop + reach_px))
        band = slice(rows.start - seen.start, rows.stop - seen.start)
        prediction, truth = pair.float64(seen)
        difference = _gradient_magnitude(prediction)[band] - _gradient_magnitude(truth)[band]
        sums.append(float(np.square(difference[pair.counts(rows)]).sum()))
    return math.fsum(sums) / 1000


def _conn(pair: _Pair, *, count_background: bool = False) -> float:
    levels = _connected_levels(_reached_thresholds(pair), count_background=count_background)
    sums = []
    for rows in pair.bands():
        prediction, truth = pair.float64(rows)
        level = np.array(_CONN_THRESHOLDS)[levels[rows]]
        difference = _connectedness(prediction, level) - _connectedness(truth, level)
        sums.append(float(np.abs(difference)[pair.counts(rows)].sum()))
    return math.fsum(sums) / 1000


def _reached_thresholds(pair: _Pair) -> _Byte:
    """(H, W) the index of the last threshold that both mattes reach."""
    reached: _Byte = np.zeros(pair.trimap.shape, dtype=np.uint8)
    for rows in row_bands(reached.shape, _BAND_PIXELS):
        both = np.minimum(*pair.float64(rows))  # reaches t exactly where both mattes do
        for threshold in _CONN_THRESHOLDS[1:]:
            reached[rows] += both >= threshold
    return reached


def _connected_levels(reached: _Byte, *, count_background: bool) -> _Byte:
    """(H, W) the index of the last threshold before the pixel first leaves the object."""
    levels = np.zeros_like(reached)  # every pixel is in the object at threshold 0, which all reach
    inside = np.ones(reached.shape, dtype=bool)
    for index in range(1, len(_CONN_THRESHOLDS)):
        inside &= _largest_component(reached >= index, count_background=count_background)
        levels += inside
    return levels


def _connectedness(alpha: _Float64, level: _Float64) -> _Float64:
    """(h, W) in [0, 1]: one, less what `alpha` exceeds its connected `level` by."""
    above = alpha - level
    return 1.0 - above * (above >= _CONN_DEAD_ZONE)


def _largest_component(mask: _Bool, *, count_background: bool) -> _Bool:
    """(H, W) True on the largest 4-connected component; of equals, the first in reading order."""
    count, labels = cv2.connectedComponents(mask.view(np.uint8), connectivity=4)
    sizes = np.zeros(count, dtype=np.int64)
    for rows in row_bands(mask.shape):  # bincount makes an int64 copy of what it counts
        sizes += np.bincount(labels[rows].ravel(), minlength=count)
    if not count_background:
        sizes[0] = 0
        if sizes.max() == 0:  # no pixel reaches the threshold: there is no object
            return np.zeros_like(mask)
    return np.asarray(labels == sizes.argmax())


def _gradient_magnitude(alpha: _Float64) -> _Float64:
    """(h, W) length of the Gaussian gradient."""
    smooth, slope = _gradient_kernels()
    along_x = cv2.sepFilter2D(alpha, cv2.CV_64F, slope, smooth, borderType=cv2.BORDER_REPLICATE)
    along_y = cv2.sepFilter2D(alpha, cv2.CV_64F, smooth, slope, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(cv2.magnitude(along_x, along_y), dtype=np.float64)


def _gradient_kernels() -> tuple[_Float64, _Float64]:
    """(K,) Gaussian and (K,) its derivative, each of unit L2 norm: so is the 2-D kernel, their product."""
    sigma = _GRAD_SIGMA_PX
    half = math.ceil(sigma * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * sigma * _GRAD_CUT)))
    x = np.arange(-half, half + 1, dtype=np.float64)
    smooth = np.exp(-np.square(x) / (2 * sigma**2))
    slope = -x * smooth
    return smooth / np.linalg.norm(smooth), slope / np.linalg.norm(slope)


def _checked(alpha: Alpha, truth: Alpha, trimap: Trimap, region: Region) -> _Pair:
    check_region(region)
    _check_alpha(alpha, "alpha")
    _check_alpha(truth, "truth")
    _check_trimap(trimap)
    if not alpha.shape == truth.shape == trimap.shape:
        raise InputError(
            "alpha, truth and trimap must be of one size; they are (height, width) "
            f"{alpha.shape}, {truth.shape} and {trimap.shape}."
        )
    if region == "unknown" and not (trimap == _UNKNOWN).any():
        raise InputError(
            f"The trimap ({trimap.shape[1]}x{trimap.shape[0]} px) has no unknown pixel (128), so there is "
            'nothing to score. To score every pixel, pass region="whole".'
        )
    return _Pair(alpha, truth, trimap, region)


def _as_float64(alpha: Alpha) -> _Float64:
    """A new float64 array in [0, 1]; the caller's is never changed."""
    values = alpha.astype(np.float64)
    if alpha.dtype == np.uint8:
        values /= 255
    return values


def _check_alpha(alpha: Alpha, name: str) -> None:
    _check_plane(alpha, name)
    if alpha.dtype == np.uint8:
        return
    if not np.issubdtype(alpha.dtype, np.floating):
        raise InputError(f"{name} must be floating point in [0, 1] or uint8, not {alpha.dtype}.")
    lowest, highest = float(alpha.min()), float(alpha.max())
    if not (math.isfinite(lowest) and math.isfinite(highest)):  # NaN is its own minimum
        count = int(alpha.size - np.isfinite(alpha).sum())
        raise InputError(f"{name} holds {count} values that are NaN or infinite.")
    if lowest < 0 or highest > 1:
        raise InputError(f"{name} must lie in [0, 1]; it reaches from {lowest} to {highest}.")


def _check_trimap(trimap: Trimap) -> None:
    _check_plane(trimap, "trimap")
    if trimap.dtype != np.uint8:
        raise InputError(f"trimap must be uint8 with the levels 0, 128 and 255, not {trimap.dtype}.")
    levels = (_BACKGROUND, _UNKNOWN, _FOREGROUND)
    if sum(np.count_nonzero(trimap == level) for level in levels) == trimap.size:
        return
    others = sorted(set(np.unique(trimap).tolist()) - set(levels))
    shown = ", ".join(map(str, others[:5])) + (" ..." if len(others) > 5 else "")
    raise InputError(f"trimap must hold only 0, 128 and 255; it also holds {shown}.")


def _check_plane(array: object, name: str) -> None:
    if not isinstance(array, np.ndarray):
        raise InputError(f"{name} must be a numpy array, not {type(array).__name__}.")
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{name} must be one plane (height, width) with pixels; its shape is {array.shape}.")
