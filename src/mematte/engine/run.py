"""Engine: a network made ready once, then called for each image: image and trimap in, `Matte` out."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mematte.errors import BudgetError, DeviceError, InputError, WeightsError
from mematte.image import (
    DEFAULT_MAX_PIXELS,
    Rows,
    TrimapRows,
    TrimapScan,
    as_picture,
    as_trimap,
)
from mematte.model import MEMatte, within_budget
from mematte.model.decoder import HALO_PX
from mematte.model.router import Decide

from .decode import decode, for_inference
from .device import allocating_at_most, begin, choose_device, choose_precision, exact
from .encode import Routed, encode
from .matte import BlockRouting, Matte, Report
from .memory import (
    cuda_bytes,
    default_budget,
    freed_blocks_kept,
    freed_blocks_returned,
    keep_freed_blocks,
    keep_little_code,
    parse_memory,
    peak_process_bytes,
    release_freed_blocks,
    show_memory,
    total_bytes,
    used_bytes,
)
from .narrow import NARROWED_BYTES, FirstLook, first_look, left_by_look, reduction
from .ordered import order
from .plan import DEFAULT_MAX_GLOBAL_TOKENS, Job, Plan, make_plan, rows_of_tiles
from .replay import Recorder, cuda_graphs
from .scene import Scene, enlarged_picture, enlarged_trimap, reduced
from .scope import NearUnknown, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mematte.weights import Weights, Windows

Result = TypeVar("Result")
MOST_RETRIES = 4  # with half of the memory each, after a device ran out of it in spite of the plan

_turns: dict[tuple[int, torch.device], threading.RLock] = {}  # by process: a forked one waits for nobody

Enlarge = Literal["auto", 1, 2, 3]
"""How many times larger than it is the network is shown a picture."""

WindowsChoice = Literal["auto", "all", "unknown"]
"""Which windows are computed: all, those near unknown pixels, or what the weights ask for."""

Narrow = Literal["auto", "always", "never"]
"""Whether pictures are looked at reduced first: what is clear then is not asked about again."""

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
        from mematte.weights import Weights, build

        if not isinstance(weights, Weights):
            raise InputError(
                f"An engine is made of loaded weights, not of {weights!r}. mematte.load() makes one of a "
                "name or path."
            )
        is_whole = isinstance(max_global_tokens, (int, np.integer)) and not isinstance(
            max_global_tokens, bool
        )
        if max_global_tokens is not None and not (is_whole and max_global_tokens >= 0):
            raise InputError(
                f"At most {max_global_tokens} attending tokens makes no sense; use a whole number, 0 or more."
            )
        if enlarge not in get_args(Enlarge) or isinstance(enlarge, (bool, float)):
            raise InputError(f'enlarge is "auto", 1, 2 or 3, not {enlarge!r}.')
        if windows not in get_args(WindowsChoice):
            raise InputError(f'windows is "auto", "all" or "unknown", not {windows!r}.')
        if narrow not in get_args(Narrow):
            raise InputError(f'narrow is "auto", "always" or "never", not {narrow!r}.')
        if windows == "unknown" and "G" in weights.spec.blocks:
            raise InputError(
                f"In {weights.name} all tokens attend to all others (blocks {weights.spec.blocks}): no "
                'window can be left out. Use windows="all", or weights with routing.'
            )
        self.device = choose_device(device)
        begin(self.device)
        self.precision = choose_precision(precision, self.device)
        self.memory = None if memory is None else _checked_budget(memory, self.device)
        if self.memory is not None and not self._is_gpu:
            keep_little_code()
        self.max_global_tokens = max_global_tokens
        self.weights_name = weights.name
        self.weights_source = weights.source
        self.preprocessing = weights.preprocessing
        self.enlarge, self._enlarge_below = enlarge, weights.enlarge_below
        self.windows, self._windows_asked_for = windows, weights.windows
        self.narrow, self._narrow_above = narrow, weights.narrow_above
        with freed_blocks_returned():  # what loading took is not what matting begins with
            network = build(weights, copy=False, backbone=self.precision)
            self.spec = network.spec
            network.decoder = for_inference(network.decoder, network.spec)
            self.network: MEMatte = network.to(
                device=self.device, dtype=self.precision, memory_format=torch.channels_last
            ).eval()  # type: ignore[call-overload]
            if self.device.type == "cpu":
                order(self.network.backbone, self.precision)
        release_freed_blocks()
        is_cuda = self.device.type == "cuda"
        self._recorder = Recorder(self.device, cuda_graphs if is_cuda else None)
        self._stream = torch.cuda.Stream(self.device) if is_cuda else None

    def __reduce__(self) -> NoReturn:
        """Neither copied nor sent to another process: what it holds is of this one, and of its device.

        Raises:
            InputError: always.
        """
        raise InputError(
            "An engine is neither copied nor pickled. Load one in each process; threads may share one."
        )

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

        begin(choose_device(options.get("device", "auto")))
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

    def estimate(
        self,
        plan: Plan,
        photo: Rows,
        trimap: TrimapRows,
        unknown: NDArray[np.bool_],
        alpha: NDArray[np.float32],
        seconds: dict[str, float],
        progress: Progress,
    ) -> tuple[Plan, tuple[BlockRouting, ...], tuple[str, ...]]:
        """Execute a plan in memory; with less of it where the device runs out.

        Args:
            plan: for the photo's size.
            photo, trimap: as they are shown to the network.
            unknown, alpha, seconds, progress: as for `execute`.

        Returns:
            The plan that it was done by, what attended, and a note for each retry.
        """

        def work(plan: Plan) -> tuple[BlockRouting, ...]:
            scene = Scene(photo, trimap, self.preprocessing, self.precision, self.device)
            return self.execute(plan, scene, unknown, lambda _: None, seconds, progress, alpha)

        return self.with_less_each_time(plan, work)

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
            precision=str(self.precision).removeprefix("torch."),
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
            warnings=(*scan.warnings, *look.warnings, *_capped(plan, routings)),
        )

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within, a picture is planned and done. Where memory is named, pictures on the device take turns: a
        plan counts on all that is left, and what another one takes for a moment would seem to be gone."""
        if self.memory is None:
            yield
            return
        with _turns.setdefault((os.getpid(), self.device), threading.RLock()):
            yield

    def with_less_each_time(
        self, plan: Plan, work: Callable[[Plan], Result]
    ) -> tuple[Plan, Result, tuple[str, ...]]:
        """Do the work as planned; if the device runs out of memory all the same, with half each time.

        Returns:
            The plan that it was done by, its result, and a note for each retry.
        """
        retries: list[str] = []
        while True:
            try:
                return plan, work(plan), tuple(retries)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                height, width = plan.job.size
                ran_out = f"{self.device} ran out of memory on {width}x{height} px"
                room = (plan.memory - plan.base_bytes) // 2
                try:
                    if len(retries) == MOST_RETRIES:
                        raise BudgetError(plan.job.size, plan.memory, plan.peak_bytes)
                    plan = make_plan(plan.job, plan.base_bytes + room, plan.base_bytes)
                except BudgetError:
                    tried = f", also in {len(retries)} attempts with less" if retries else ""
                    raise DeviceError(
                        f"{ran_out}{tried}; nothing was computed. Free memory there, use --device cpu, or "
                        "weights of a smaller network."
                    ) from error
            if self.device.type == "cuda":
                torch.cuda.empty_cache()
            elif self.device.type == "mps":
                torch.mps.empty_cache()
            retries.append(f"{ran_out}; tried again within {show_memory(plan.memory)}")

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

    def plan(self, job: Job, unknown: NDArray[np.bool_] | None = None) -> Plan:
        """How a job would be run now; `unknown` as for `make_plan`.

        Raises:
            BudgetError: the memory does not suffice; says the least that does.
        """
        memory = self.memory or default_budget(self.device)
        # What a recording keeps is a part of what is planned, or goes before it.
        taken = used_bytes(self.device) - self._recorder.kept_bytes
        return make_plan(job, memory, taken, unknown)

    def narrowed(self, plan: Plan, look: FirstLook) -> Plan:
        """The same for what a first look has left to ask; what it leaves behind was counted before it."""
        return plan if look.times == 1 else make_plan(plan.job, plan.memory, plan.base_bytes, look.scan.cells)

    @torch.inference_mode()
    def execute(
        self,
        plan: Plan,
        scene: Scene,
        unknown: NDArray[np.bool_],
        write: Callable[[NDArray[np.float32]], None],
        seconds: dict[str, float],
        progress: Progress,
        alpha: NDArray[np.float32] | None = None,
    ) -> tuple[BlockRouting, ...]:
        """Run the network as planned.

        Args:
            plan: for the scene's size.
            scene: the photo and its trimap.
            unknown: (h, w) token grid: whether any pixel under the token is unknown.
            write: called with (n, W) float32 of alpha, the next rows from the top.
            seconds: gets the time of each stage.
            progress: told how far the work is.
            alpha: (H, W) zeros, which get the result; None: it is only written.
        """
        begin(self.device)
        with self._recorder.sections(plan) as sections, self._on_its_stream():
            keep_freed_blocks()
            with self._as_planned(plan), self.timed(seconds, "encode"):
                progress("encode", 0)
                backbone, near = self.network.backbone, plan.job.near
                like = backbone.positions
                scope = Scope(plan.grid, like) if near is None else NearUnknown(near, like)
                read = sections.shown(scene.read, plan.padded)
                decide, done = self.decision(plan), partial(progress, "encode")
                features, routed = encode(backbone, read, plan, scope, decide, done, sections)
            if sections.everywhere:
                unknown = np.ones(plan.grid, np.bool_)
            with self._as_planned(plan), self.timed(seconds, "decode"), self._freed_blocks(plan):
                height, width = plan.job.size
                for rows, tiles in rows_of_tiles(unknown, plan):
                    if rows.start >= height:
                        break  # nothing but padding
                    rows = slice(rows.start, min(rows.stop, height))
                    shape = rows.stop - rows.start, width
                    part = np.zeros(shape, np.float32) if alpha is None else alpha[rows]
                    if tiles:
                        scene.hold(slice(max(0, rows.start - HALO_PX), rows.stop + HALO_PX))
                        decode(self.network.decoder, features, read, tiles, plan, part, sections)
                        self._check_finite(part)
                    scene.settle(part, rows)
                    write(part)
                    progress("decode", rows.stop / height)
            return self._block_routings(routed, scope)

    @contextmanager
    def _on_its_stream(self) -> Iterator[None]:
        """Within, a CUDA device does this engine's work in a queue of its own: the default one records
        nothing, and what CUDA's libraries take is taken for each."""
        if self._stream is None:
            yield
            return
        torch.cuda.reset_peak_memory_stats(self.device)
        callers = torch.cuda.current_stream(self.device)
        self._stream.wait_stream(callers)
        with torch.cuda.stream(self._stream):
            yield
        callers.wait_stream(self._stream)

    def _freed_blocks(self, plan: Plan) -> AbstractContextManager[None]:
        """What happens with the blocks that a decoder's tiles free in the computer's memory."""
        if self._is_gpu:
            return nullcontext()
        return freed_blocks_kept() if plan.pieces.keep_blocks else freed_blocks_returned()

    @contextmanager
    def _as_planned(self, plan: Plan) -> Iterator[None]:
        """What PyTorch may do on the device: exact arithmetic, within the plan's memory. The precision is the
        engine's, also within a caller's autocast."""
        more_bytes = plan.memory - used_bytes(self.device)
        without = torch.autocast(self.device.type, enabled=False)
        with exact(self.device), allocating_at_most(self.device, more_bytes), without:
            yield

    def decision(self, plan: Plan) -> Decide:
        """Who attends globally: the routers' choice, up to the plan's cap."""
        return partial(within_budget, budget=plan.pieces.max_global_tokens)

    def _block_routings(self, routed: list[Routed], scope: Scope) -> tuple[BlockRouting, ...]:
        left_out = scope.left_out
        blocks = [index for index, letter in enumerate(self.spec.blocks) if letter == "R"]
        routings = []
        for block, decided in zip(blocks, routed, strict=True):
            attend, asks = (flags.numpy(force=True) for flags in decided)
            capped = asks & ~attend
            asked, cut_off = int(np.count_nonzero(asks)), capped if capped.any() else None
            routings.append(BlockRouting(block, attend, asked, cut_off, left_out))
        return tuple(routings)

    @contextmanager
    def timed(self, seconds: dict[str, float], stage: str) -> Iterator[None]:
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

    @property
    def _is_gpu(self) -> bool:
        return self.device.type != "cpu"

    def _peak_bytes(self) -> int:
        """Peak allocated memory on a GPU; elsewhere the peak resident memory of the whole process so far."""
        if self.device.type == "cuda":
            return max(cuda_bytes(self.device, when="peak"), self._recorder.peak_bytes)
        return peak_process_bytes()


def _checked_budget(memory: str | int, device: torch.device) -> int:
    budget = parse_memory(memory)
    if budget > (there := total_bytes(device)):
        raise InputError(
            f"--memory {show_memory(budget)} is more than the {show_memory(there)} that "
            f"{'this computer' if device.type == 'cpu' else device} has."
        )
    return budget


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


_OUT_OF_MEMORY = (
    "DefaultCPUAllocator: can't allocate memory",
    "CUDA error: out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
    "CUDNN_STATUS_ALLOC_FAILED",
    "unable to find an engine to execute this computation",  # none of cuDNN's got the memory to work in
    "MPS backend out of memory",
)


def _is_out_of_memory(error: RuntimeError) -> bool:
    """PyTorch's allocator on a GPU has a class of error for it; the CPU's and CUDA's libraries have words."""
    return isinstance(error, torch.OutOfMemoryError) or any(words in str(error) for words in _OUT_OF_MEMORY)
