"""The five metrics as TorchMetrics, for a training that keeps its figures so.

They are the functions of `mematte.eval.metrics`, picture by picture on the CPU in float64, and the mean over
pictures: over batches and over processes alike. TorchMetrics comes with `pip install 'mematte[train]'`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mematte.errors import InputError
from mematte.eval import metrics
from mematte.eval.metrics import Region

try:
    from torchmetrics import Metric
except ModuleNotFoundError as missing:
    if (missing.name or "").split(".")[0] != "torchmetrics":
        raise
    raise ModuleNotFoundError(
        "mematte.metrics.SAD, MSE, MAD, Grad, Conn and MattingMetrics are TorchMetrics, which is not "
        "installed: pip install 'mematte[train]'. The functions (sad, mse, score ...) need nothing more.",
        name="torchmetrics",
    ) from None

_Plane = npt.NDArray[Any]


class _MeanOverPictures(Metric):
    """Sums of figures over pictures and the number of pictures; processes add theirs up."""

    is_differentiable: bool | None = False
    higher_is_better: bool | None = False
    full_state_update: bool | None = False
    plot_lower_bound: float | None = 0.0

    figures: ClassVar[tuple[str, ...]]  # of one picture
    pictures: Tensor

    def __init__(
        self, region: Region, eight_bit: bool, count_background: bool, options: dict[str, Any]
    ) -> None:
        super().__init__(**options)
        metrics.check_region(region)
        self.region: Region = region
        self.eight_bit = eight_bit
        self.count_background = count_background
        # A MetricCollection takes metrics with states of equal names and values for one metric and goes on
        # with one of them. Two settings often agree on the first batch, so their names differ.
        setting = f"{region}_{'8_bit' if eight_bit else 'float'}" + "_background" * count_background
        self._states = {figure: f"{figure}_{setting}" for figure in self.figures}
        for state in self._states.values():
            self.add_state(state, torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("pictures", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, alpha: Tensor, truth: Tensor, trimap: Tensor) -> None:
        """Score a batch of mattes and add its pictures. What is given is not changed.

        Args:
            alpha: (B, 1, H, W) or (B, H, W) the mattes to judge, floating point in [0, 1] or uint8.
            truth: the true mattes, likewise.
            trimap: likewise; uint8 of 0, 128 and 255, or floating point of 0, 0.5 (or 128/255) and 1.

        Raises:
            InputError: shapes differ, a type or a value is out of range, or a picture has no unknown pixel.
                The picture is named by its place in the batch, and nothing of the batch is counted.
        """
        alphas, truths = _planes(alpha, "alpha"), _planes(truth, "truth")
        trimaps = _planes(_three_levels(trimap), "trimap")
        if not len(alphas) == len(truths) == len(trimaps):
            raise InputError(
                "alpha, truth and trimap must be of as many pictures each; they are "
                f"{len(alphas)}, {len(truths)} and {len(trimaps)}."
            )
        totals = np.zeros(len(self.figures))
        for index, (judged, true_alpha, levels) in enumerate(zip(alphas, truths, trimaps, strict=True)):
            try:
                rounded = metrics.eight_bit(judged) if self.eight_bit else judged
                totals += self._figures_of(rounded, true_alpha, levels)
            except InputError as error:
                raise InputError(f"Picture {index} of the batch: {error}") from error
        for state, total in zip(self._states.values(), totals.tolist(), strict=True):
            setattr(self, state, getattr(self, state) + total)
        self.pictures = self.pictures + len(alphas)

    def compute(self) -> Any:
        """The mean over all pictures so far, a scalar tensor; NaN before the first picture."""
        (mean,) = self._means().values()
        return mean

    def _means(self) -> dict[str, Tensor]:
        return {figure: getattr(self, state) / self.pictures for figure, state in self._states.items()}

    @abstractmethod
    def _figures_of(self, alpha: _Plane, truth: _Plane, trimap: _Plane) -> list[float]:
        """What one picture adds to the sums, in the order of `figures`."""

    def _apply(self, fn: Callable[..., Any], exclude_state: Any = "") -> Any:
        """As every module does when it is moved; a device without float64 (MPS) gets float32 sums."""
        try:
            fn(torch.zeros((), dtype=torch.float64))
        except TypeError:
            self.set_dtype(torch.float32)
        return super()._apply(fn, exclude_state)


class _WithoutConn(_MeanOverPictures):
    def __init__(self, *, region: Region = "unknown", eight_bit: bool = True, **options: Any) -> None:
        """Begin with no pictures.

        Args:
            region: where errors count, "unknown" or "whole"; see `mematte.metrics.score`.
            eight_bit: round the prediction to 8 bits first, as the files that papers score are.
            options: TorchMetrics' own, such as `dist_sync_on_step`.

        Raises:
            InputError: there is no such region.
        """
        super().__init__(region, eight_bit, False, options)


class _WithConn(_MeanOverPictures):
    def __init__(
        self,
        *,
        region: Region = "unknown",
        eight_bit: bool = True,
        count_background: bool = False,
        **options: Any,
    ) -> None:
        """Begin with no pictures.

        Args:
            region: where errors count, "unknown" or "whole"; see `mematte.metrics.score`.
            eight_bit: round the prediction to 8 bits first, as the files that papers score are.
            count_background: Conn as `mematte.metrics.conn_counting_background` computes it.
            options: TorchMetrics' own, such as `dist_sync_on_step`.

        Raises:
            InputError: there is no such region.
        """
        super().__init__(region, eight_bit, count_background, options)


class SAD(_WithoutConn):
    """Mean over pictures of the sum of absolute differences / 1000: `mematte.metrics.sad`."""

    figures = ("sad",)

    def _figures_of(self, alpha: _Plane, truth: _Plane, trimap: _Plane) -> list[float]:
        return [metrics.sad(alpha, truth, trimap, region=self.region)]


class MSE(_WithoutConn):
    """Mean over pictures of the mean squared difference x 1000: `mematte.metrics.mse`."""

    figures = ("mse",)

    def _figures_of(self, alpha: _Plane, truth: _Plane, trimap: _Plane) -> list[float]:
        return [metrics.mse(alpha, truth, trimap, region=self.region)]


class MAD(_WithoutConn):
    """Mean over pictures of the mean absolute difference x 1000: `mematte.metrics.mad`."""

    figures = ("mad",)

    def _figures_of(self, alpha: _Plane, truth: _Plane, trimap: _Plane) -> list[float]:
        return [metrics.mad(alpha, truth, trimap, region=self.region)]


class Grad(_WithoutConn):
    """Mean over pictures of the gradient error / 1000: `mematte.metrics.grad`."""

    figures = ("grad",)

    def _figures_of(self, alpha: _Plane, truth: _Plane, trimap: _Plane) -> list[float]:
        return [metrics.grad(alpha, truth, trimap, region=self.region)]


class Conn(_WithConn):
    """Mean over pictures of the connectivity error / 1000: `mematte.metrics.conn`, or the other variant."""

    figures = ("conn",)

    def _figures_of(self, alpha: _Plane, truth: _Plane, trimap: _Plane) -> list[float]:
        metric = metrics.conn_counting_background if self.count_background else metrics.conn
        return [metric(alpha, truth, trimap, region=self.region)]


class MattingMetrics(_WithConn):
    """All five in one pass; `compute` gives their means by name: {"sad": ..., "mse": ... and so on}."""

    figures = ("sad", "mse", "mad", "grad", "conn")

    def compute(self) -> dict[str, Tensor]:
        """The mean of each metric over all pictures so far, scalar tensors; NaN before the first picture."""
        return self._means()

    def _figures_of(self, alpha: _Plane, truth: _Plane, trimap: _Plane) -> list[float]:
        scores = metrics.score(
            alpha, truth, trimap, region=self.region, count_background=self.count_background
        )
        return [getattr(scores, figure) for figure in self.figures]


def _planes(batch: Tensor, name: str) -> list[_Plane]:
    """A batch on any device -> one (H, W) array per picture, of a type that numpy has."""
    _check_tensor(batch, name)
    if batch.ndim == 4 and batch.shape[1] == 1:
        batch = batch[:, 0]
    if batch.ndim != 3:
        raise InputError(
            f"{name} must be (pictures, 1, height, width) or (pictures, height, width); "
            f"its shape is {tuple(batch.shape)}."
        )
    if batch.dtype == torch.bfloat16:
        batch = batch.float()
    return list(batch.detach().cpu().numpy())


def _three_levels(trimap: Tensor) -> Tensor:
    """uint8 as it is; floating point in [0, 1] -> uint8 of 0, 128 and 255, and nothing else."""
    _check_tensor(trimap, "trimap")
    if not trimap.is_floating_point():
        return trimap
    # 0.5 is between two levels of 8 bits and rounds to the even one, which is 128.
    levels = (trimap.float() * 255).round()
    known = (levels == 0) | (levels == 128) | (levels == 255)
    if not known.all():
        odd = trimap[~known][0].item()
        raise InputError(f"A floating point trimap must hold only 0, 0.5 and 1; it also holds {odd:g}.")
    return levels.to(torch.uint8)


def _check_tensor(batch: object, name: str) -> None:
    if not isinstance(batch, Tensor):
        raise InputError(f"{name} must be a tensor, not {type(batch).__name__}.")
