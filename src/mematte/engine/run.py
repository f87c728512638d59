"""Engine: a network made ready once, then called for each image: image and trimap in, `Matte` out."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mematte.errors import DeviceError, InputError, WeightsError
from mematte.image import (
    DEFAULT_MAX_PIXELS,
    FOREGROUND,
    UNKNOWN,
    Picture,
    as_picture,
    as_trimap,
    check_trimap,
)
from mematte.image.bands import row_bands
from mematte.model import MEMatte, within_budget
from mematte.model.blocks import Routing
from mematte.model.router import Decide

from .decode import decode, without_batch_norm
from .device import choose_device, choose_precision
from .matte import BlockRouting, Matte, Report
from .plan import Plan, make_plan, tiles

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mematte.weights import Weights

Progress = Callable[[str, float], None]
"""Called with a stage's name ("encode", "decode") and the share of it that is done, 0 to 1."""


class Engine:
    """Runs one network on images of any size.

    Example:
        engine = mematte.load("tiny")
        matte = engine("photo.jpg", "trimap.png")
        matte.save("alpha.png")
    """

    def __init__(
        self,
        weights: Weights,
        *,
        device: str = "auto",
        precision: str = "auto",
        max_global_tokens: int | None = None,
    ) -> None:
        """Make a network ready.

        Args:
            weights: from `mematte.weights.load_weights`.
            device: "auto", "cpu", "cuda", "cuda:1" or "mps".
            precision: "auto", "float32", "bfloat16" or "float16".
            max_global_tokens: at most so many tokens attend globally in each routed block; None = 18,500.

        Raises:
            DeviceError: the device or the precision is not there.
            InputError: `max_global_tokens` is no whole number or negative, or the weights are only a name.
            WeightsError: the weights do not fill their network.
        """
        from mematte.weights import Weights, build

        if not isinstance(weights, Weights):
            raise InputError(
                f"An engine is made of loaded weights, not of {weights!r}. mematte.load() makes one of a "
                "name or path."
            )
        if max_global_tokens is not None and not (
            isinstance(max_global_tokens, (int, np.integer)) and max_global_tokens >= 0
        ):
            raise InputError(
                f"At most {max_global_tokens} attending tokens makes no sense; use a whole number, 0 or more."
            )
        self.device = choose_device(device)
        self.precision = choose_precision(precision, self.device)
        self.max_global_tokens = max_global_tokens
        self.weights_name = weights.name
        self.weights_source = weights.source
        self.preprocessing = weights.preprocessing
        network = build(weights)
        self.spec = network.spec
        network.decoder = without_batch_norm(network.decoder)
        self.network: MEMatte = network.to(
            device=self.device, dtype=self.precision, memory_format=torch.channels_last
        ).eval()  # type: ignore[call-overload]

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        local_files_only: bool = False,
        **options: Any,
    ) -> Engine:
        """An engine from a name, a file, a folder or a Hugging Face id.

        Args:
            name_or_path: a string may be any of these; a `Path` is a path, whatever names there are.
            revision: of a Hugging Face repository: branch, tag or commit.
            local_files_only: do not ask the hub; take what its cache holds.
            options: as in `Engine`.

        Raises:
            WeightsError: nothing is there, or what is there is damaged or of another network.
        """
        from mematte.weights import load_weights

        name = name_or_path if isinstance(name_or_path, str) else Path(name_or_path)
        weights = load_weights(name, revision=revision, local_files_only=local_files_only)
        return cls(weights, **options)

    def __call__(
        self,
        image: object,
        trimap: object,
        *,
        max_pixels: int = DEFAULT_MAX_PIXELS,
        progress: Progress | None = None,
    ) -> Matte:
        """Estimate the alpha of an image at its own resolution.

        Args:
            image: path, PIL image, `Picture`, or array (H, W[, 1, 3, 4]) of uint8, uint16 or float in [0, 1].
            trimap: path, PIL image, `Trimap`, or array (H, W) of uint8, uint16 or float in [0, 1].
            max_pixels: refuse files of larger pictures, by their header.
            progress: told how far the work is.

        Returns:
            A `Matte`: alpha float32 (H, W) in [0, 1], exactly 0 and 1 where the trimap is sure.

        Raises:
            ImageFileError: a file cannot be read.
            InputError: an array is of the wrong type, shape or range.
            SizeMismatchError: image and trimap differ in size.
            TrimapError: no pixel is unknown.
            DeviceError: the device's memory does not suffice, or the precision's range does not.
            WeightsError: the network computes NaN even in float32.
        """
        picture = as_picture(image, max_pixels=max_pixels)
        levels = as_trimap(trimap, max_pixels=max_pixels)
        warnings = check_trimap(levels.levels, picture.size)
        plan = make_plan(picture.size, self.spec, self.max_global_tokens, self.precision.itemsize)
        seconds: dict[str, float] = {}
        try:
            alpha, routings = self.execute(
                plan, picture, levels.levels, seconds, progress or (lambda *_: None)
            )
        except RuntimeError as error:
            if not _is_out_of_memory(error):
                raise
            raise DeviceError(
                f"{self.device} ran out of memory on {picture.size[1]}x{picture.size[0]} px; nothing was "
                "computed. Use --max-global-tokens to let fewer tokens attend, or --device cpu."
            ) from error
        self._check_finite(alpha)
        report = Report(
            weights=self.weights_name,
            weights_source=self.weights_source,
            network=self.spec.blocks,
            device=str(self.device),
            precision=str(self.precision).removeprefix("torch."),
            size=plan.size,
            padded=plan.padded,
            tokens=plan.tokens,
            max_global_tokens=plan.max_global_tokens,
            unknown_share=float((levels.levels == UNKNOWN).mean()),
            seconds=seconds,
            peak_bytes=self._peak_bytes(),
            notes=(*picture.notes, *levels.notes),
            warnings=warnings,
        )
        return Matte(alpha, picture, levels.levels, routings, report)

    @torch.inference_mode()
    def execute(
        self,
        plan: Plan,
        picture: Picture,
        levels: NDArray[np.uint8],
        seconds: dict[str, float],
        progress: Progress,
    ) -> tuple[NDArray[np.float32], tuple[BlockRouting, ...]]:
        """Run the network as planned; `seconds` gets the time of each stage."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        unknown = levels == UNKNOWN
        with self._timed(seconds, "prepare"):
            inputs = self._inputs(plan, picture, levels)
        with self._timed(seconds, "encode"):
            progress("encode", 0)
            features, routings = self.network.backbone(inputs, self.decision(plan))
            progress("encode", 1)
        with self._timed(seconds, "decode"):
            alpha = (levels == FOREGROUND).astype(np.float32)
            jobs = tiles(unknown, plan.padded, plan.tile_px, self.spec.patch)
            finished = 0

            def done(_: object) -> None:
                nonlocal finished
                finished += 1
                progress("decode", finished / len(jobs))

            decode(self.network.decoder, features, inputs, jobs, alpha, done)
            # What the trimap is sure of is not the network's to say.
            for rows in row_bands(plan.size):
                known = ~unknown[rows]
                alpha[rows][known] = levels[rows][known] == FOREGROUND
        grid = (plan.padded[0] // self.spec.patch, plan.padded[1] // self.spec.patch)
        return alpha, self._block_routings(routings, grid)

    def decision(self, plan: Plan) -> Decide:
        """Who attends globally: the routers' choice, up to the plan's cap."""
        return partial(within_budget, budget=plan.max_global_tokens)

    def _inputs(self, plan: Plan, picture: Picture, levels: NDArray[np.uint8]) -> Tensor:
        """(1, 4, H, W): normalised RGB, trimap 0 / 0.5 / 1, zeros beyond the picture."""
        height, width = plan.padded
        inputs = torch.zeros((1, height, width, 4), dtype=self.precision, device=self.device)
        mean, std = (
            torch.tensor(values, dtype=torch.float32)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        as_level = torch.zeros(256)
        as_level[[UNKNOWN, FOREGROUND]] = torch.tensor([0.5, 1.0])
        for rows in row_bands(picture.size):
            target = inputs[0, rows, : picture.size[1]]
            target[..., :3] = (torch.from_numpy(picture.display(rows)) - mean) / std
            target[..., 3] = as_level[torch.from_numpy(levels[rows]).long()]
        return inputs.permute(0, 3, 1, 2)

    def _block_routings(self, routings: list[Routing], grid: tuple[int, int]) -> tuple[BlockRouting, ...]:
        routed = [index for index, letter in enumerate(self.spec.blocks) if letter == "R"]
        return tuple(
            BlockRouting(
                block=block,
                attend=routing.attend[0].view(grid).cpu().numpy(),
                asked=int((routing.log_probs[0, :, 0] > routing.log_probs[0, :, 1]).sum()),
            )
            for block, routing in zip(routed, routings, strict=True)
        )

    @contextmanager
    def _timed(self, seconds: dict[str, float], stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()
        seconds[stage] = time.perf_counter() - start

    def _check_finite(self, alpha: NDArray[np.float32]) -> None:
        """Raise rather than give back an alpha that holds NaN."""
        if not np.isnan(alpha.min()):  # the minimum is NaN if anything is, and needs no second array
            return
        if self.precision != torch.float32:
            raise DeviceError(
                f"The network's numbers leave the range of {str(self.precision).removeprefix('torch.')}; "
                "use --precision float32."
            )
        raise WeightsError(
            f"The network {self.weights_name} computes NaN: its weights are damaged, or its training went "
            "wrong."
        )

    def _peak_bytes(self) -> int:
        """Peak allocated memory on a GPU; elsewhere the peak resident memory of the whole process so far.

        0 where the system does not tell: on Windows.
        """
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        try:
            import resource
        except ImportError:
            return 0
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _is_out_of_memory(error: RuntimeError) -> bool:
    """GPUs have a class of error for it; the CPU's allocator has only words."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate memory" in str(
        error
    )
