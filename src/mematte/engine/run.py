"""Engine: a network made ready once, then called for each image: image and trimap in, `Matte` out."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from mematte.errors import BudgetError, InputError
from mematte.image import DEFAULT_MAX_PIXELS, TrimapScan, as_picture, as_trimap

from .device import begin, choose_device
from .execute import Executor, Progress
from .matte import BlockRouting, Matte, Report
from .memory import show_memory
from .narrow import NARROWED_BYTES, FirstLook, first_look, left_by_look, reduction
from .plan import DEFAULT_MAX_GLOBAL_TOKENS, Job, Plan, make_plan
from .scene import enlarged_picture, enlarged_trimap, reduced

if TYPE_CHECKING:
    from mematte.weights import Weights, Windows

Enlarge = Literal["auto", 1, 2, 3]
"""How many times larger than it is the network is shown a picture."""

WindowsChoice = Literal["auto", "all", "unknown"]
"""Which windows are computed: all, those near unknown pixels, or what the weights ask for."""

Narrow = Literal["auto", "always", "never"]
"""Whether pictures are looked at reduced first: what is clear then is not asked about again."""


class Engine(Executor):
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
        memory: str | int | None = None,
        max_global_tokens: int | None = None,
        enlarge: Enlarge = "auto",
        windows: WindowsChoice = "auto",
        narrow: Narrow = "auto",
    ) -> None:
        """Make a network ready.

        Args:
            weights: from `mematte.weights.load_weights`.
            device: "auto", "cpu", "cuda", "cuda:1" or "mps".
            precision: "auto", "float32", "bfloat16" or "float16".
            memory: what to stay within, bytes or a string such as "4GB": on a CPU the resident memory of the
                whole process, on a GPU what is allocated there; threads then take turns. None = what is free
                at each call, less a margin.
            max_global_tokens: at most so many tokens attend globally in each routed block; None = 18,500.
            enlarge: 2 or 3 = the network is shown pictures at two or three times their size: finer mattes of
                small pictures in four or nine times the time; the matte has the picture's own size all the
                same. "auto" = 2 where the weights ask for it.
            windows: "unknown" = only windows near unknown pixels are computed, which is faster the less of a
                picture is unknown; what lies further away is then not seen. "all" = the network as it was
                published. "auto" = as the weights ask, of pictures that are not enlarged; else "all".
            narrow: "always" = the network is shown a picture reduced first, and unknown pixels that are clear
                then, far from all that is not, are not asked about at its own size: cleaner mattes, sooner,
                where wide regions of large pictures are unknown. "never" = all are, as published. "auto" =
                pictures as large as the weights ask for.

        Raises:
            DeviceError: the device or the precision is not there, or the process was forked from one that has
                worked on it.
            InputError: `memory` is no amount, or more than there is; `max_global_tokens` is no whole number,
                or negative; `enlarge`, `windows` or `narrow` is something else, or asks for what the network
                cannot do; or the weights are only a name.
            WeightsError: the weights do not fill their network.
        """
        from mematte.weights import Weights

        if not isinstance(weights, Weights):
            raise InputError(
                f"An engine is made of loaded weights, not of {weights!r}. mematte.load() makes one of a "
                "name or path."
            )
        _check_choices(enlarge, windows, narrow)
        if windows == "unknown" and "G" in weights.spec.blocks:
            raise InputError(
                f"In {weights.name} all tokens attend to all others (blocks {weights.spec.blocks}): no "
                'window can be left out. Use windows="all", or weights with routing.'
            )
        super().__init__(
            weights, device=device, precision=precision, memory=memory, max_global_tokens=max_global_tokens
        )
        self.enlarge, self._enlarge_below = enlarge, weights.enlarge_below
        self.windows, self._windows_asked_for = windows, weights.windows
        self.narrow, self._narrow_above = narrow, weights.narrow_above

    def __repr__(self) -> str:
        """In a line."""
        within = "" if self.memory is None else f" within {show_memory(self.memory)}"
        return f"Engine({self.weights_name} on {self.device} in {self.precision_name}{within})"

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
            InputError: as `Engine`; or it is neither a string nor a path, or what has no revision.
        """
        from mematte.weights import load_weights

        begin(choose_device(options.get("device", "auto")))
        weights = load_weights(name_or_path, revision=revision, local_files_only=local_files_only)
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
            BudgetError: the memory does not suffice; says the least that does.
            DeviceError: the device runs out of memory in spite of the plan, the precision's range does not
                suffice, or the engine was made in another process, from which this one was forked.
            WeightsError: the network computes NaN even in float32.
        """
        picture = as_picture(image, max_pixels=max_pixels)
        known = as_trimap(trimap, max_pixels=max_pixels)
        factor = self.enlargement(picture.size)
        scan = known.scan(picture.size, patch_px=self.spec.patch)  # its errors name the caller's sizes
        shown_trimap = enlarged_trimap(known, factor)
        size = shown_trimap.size
        if factor > 1:
            scan = shown_trimap.scan(size, patch_px=self.spec.patch)
        # Alpha, and the photo where it is enlarged, which is planned before it is there.
        beside_bytes = math.prod(size) * (4 if factor == 1 else 4 + 3 * 4)
        job = self.job(size, factor, beside_bytes=0 if self._is_gpu else beside_bytes)
        seconds: dict[str, float] = {}
        told = progress or (lambda *_: None)
        with self.turn():
            try:
                plan = self.plan(job, scan.cells)
                shown, alpha = enlarged_picture(picture, factor), np.zeros(size, np.float32)
                look = first_look(self, shown, shown_trimap, scan, plan, seconds, told)
                plan = self.narrowed(plan, look)
                plan, routings, retries = self.estimate(
                    plan, shown, look.trimap, look.scan.cells, alpha, seconds, told
                )
            except BudgetError as error:
                raise BudgetError(picture.size, error.memory, error.least, factor) from None
        alpha = reduced(alpha, known.levels, factor)
        notes = (*picture.notes, *known.notes, *look.notes, *retries)
        report = self.report(plan, scan, look, routings, seconds, notes, factor)
        return Matte(alpha, picture, known.levels, routings, report)

    def enlargement(self, size: tuple[int, int]) -> Literal[1, 2, 3]:
        """How many times larger the network is shown a picture of (height, width) px: 1, 2 or 3."""
        if self.enlarge != "auto":
            return self.enlarge
        return 2 if math.prod(size) < self._enlarge_below else 1

    def reduction(self, size: tuple[int, int], enlarged: int = 1) -> int:
        """How many times smaller the network is shown a picture first; 1: it is not.

        Args:
            size: (height, width) px as it is shown to the network afterwards.
            enlarged: so many times.
        """
        asked_for = self.narrow == "auto" and enlarged == 1 and 0 < self._narrow_above < math.prod(size)
        return reduction(size) if asked_for or self.narrow == "always" else 1

    def windows_of(self, enlarged: int = 1) -> Windows:
        """Which windows are computed of pictures that are shown enlarged so many times."""
        if self.windows != "auto":
            return self.windows
        return self._windows_asked_for if enlarged == 1 and "G" not in self.spec.blocks else "all"

    def job(
        self,
        size: tuple[int, int],
        enlarged: int = 1,
        *,
        beside_bytes: int = 0,
        row_bytes: int = 0,
        colours_bytes: int = 0,
    ) -> Job:
        """What there is to do for a picture.

        Args:
            size: (height, width) px as it is shown to the network.
            enlarged: so many times.
            beside_bytes, row_bytes, colours_bytes: as in `Job`.
        """
        times = self.reduction(size, enlarged)
        narrows = self.device.type == "cpu" and times > 1
        return Job(
            size=size,
            spec=self.spec,
            value_bytes=self.precision.itemsize,
            on_gpu=self._is_gpu,
            makes_scores=self.device.type == "mps",
            max_global_tokens=self.max_global_tokens,
            beside_bytes=beside_bytes + (left_by_look(size) if narrows else 0),
            row_bytes=row_bytes + (NARROWED_BYTES * size[1] if narrows else 0),
            colours_bytes=colours_bytes,
            windows=self.windows_of(enlarged),
            first_reduced=times,
        )

    def narrowed(self, plan: Plan, look: FirstLook) -> Plan:
        """The same for what a first look has left to ask; what it leaves behind was counted before it."""
        return plan if look.times == 1 else make_plan(plan.job, plan.memory, plan.base_bytes, look.scan.cells)

    def report(
        self,
        plan: Plan,
        scan: TrimapScan,
        look: FirstLook,
        routings: tuple[BlockRouting, ...],
        seconds: dict[str, float],
        notes: tuple[str, ...],
        enlarged: int = 1,
    ) -> Report:
        """What was done and what it took; `scan` is of the trimap as it came."""
        height, width = (side // enlarged for side in plan.job.size)
        return Report(
            weights=self.weights_name,
            weights_source=self.weights_source,
            network=self.spec.blocks,
            device=str(self.device),
            precision=self.precision_name,
            size=(height, width),
            enlarged=enlarged,
            padded=plan.padded,
            tokens=plan.job.tokens,
            computed_tokens=plan.job.computed_tokens,
            max_global_tokens=plan.pieces.max_global_tokens,
            unknown_share=scan.unknown / math.prod(plan.job.size),
            first_reduced=look.times,
            asked_share=look.scan.unknown / math.prod(plan.job.size),
            seconds=seconds,
            memory_bytes=plan.memory,
            planned_bytes=max(plan.peak_bytes, look.planned_bytes),
            peak_bytes=self._peak_bytes(),
            notes=notes,
            warnings=(*scan.warnings, *self._not_looked_at(look, (height, width)), *_capped(plan, routings)),
        )

    def _not_looked_at(self, look: FirstLook, size: tuple[int, int]) -> tuple[str, ...]:
        """A warning if memory did not suffice for a first look."""
        if not look.is_left_out:
            return ()
        (height, width), auto = size, self.narrow == "auto"
        who = f"as {self.weights_name} asks for pictures so large" if auto else "as asked for"
        return (
            f"The memory does not suffice to show the network this picture of {width}x{height} px reduced "
            f"first, {who}: where wide regions are unknown, mattes are cleaner then. Raise --memory, or say "
            "--narrow never.",
        )


def _check_choices(enlarge: object, windows: object, narrow: object) -> None:
    if enlarge not in get_args(Enlarge) or isinstance(enlarge, (bool, float)):
        raise InputError(f'enlarge is "auto", 1, 2 or 3, not {enlarge!r}.')
    if windows not in get_args(WindowsChoice):
        raise InputError(f'windows is "auto", "all" or "unknown", not {windows!r}.')
    if narrow not in get_args(Narrow):
        raise InputError(f'narrow is "auto", "always" or "never", not {narrow!r}.')


def _capped(plan: Plan, routings: tuple[BlockRouting, ...]) -> tuple[str, ...]:
    """A warning if memory let fewer tokens attend than the routers asked for and the cap allows."""
    wanted = plan.job.max_global_tokens
    wanted = DEFAULT_MAX_GLOBAL_TOKENS if wanted is None else wanted
    cap = plan.pieces.max_global_tokens
    asked = max((min(routing.asked, wanted) for routing in routings), default=0)
    if cap >= asked:
        return ()
    return (
        f"Within {show_memory(plan.memory)} at most {cap:,} tokens attend globally per block, "
        f"{asked - cap:,} fewer than the routers asked for. More memory gives the full result.",
    )
