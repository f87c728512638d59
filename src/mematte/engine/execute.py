"""Executor: a network on a device, which carries out plans: a scene in, rows of alpha out.

It stays within the memory that was named, whatever comes: pictures take turns, and where a device runs out of
memory in spite of the plan, there is another with less.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, NoReturn, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from mematte.errors import BudgetError, DeviceError, InputError, WeightsError
from mematte.image import Rows, TrimapRows
from mematte.model import MEMatte, within_budget
from mematte.model.decoder import HALO_PX
from mematte.model.router import Decide

from .decode import decode, for_inference
from .device import allocating_at_most, begin, choose_device, choose_precision, exact
from .encode import Routed, encode
from .matte import BlockRouting
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
from .ordered import order
from .plan import Job, Plan, make_plan, rows_of_tiles
from .replay import Recorder, cuda_graphs
from .scene import Scene
from .scope import NearUnknown, Scope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mematte.weights import Weights

Result = TypeVar("Result")
MOST_RETRIES = 4  # with half of the memory each, after a device ran out of it in spite of the plan

_turns: dict[tuple[int, torch.device], threading.RLock] = {}  # by process: a forked one waits for nobody

Progress = Callable[[str, float], None]
"""Called with a stage's name ("encode", "decode") and the share of it that is done, 0 to 1."""


class Executor:
    """Carries out plans with one network."""

    def __init__(
        self,
        weights: Weights,
        *,
        device: str = "auto",
        precision: str = "auto",
        memory: str | int | None = None,
        max_global_tokens: int | None = None,
    ) -> None:
        """Make a network ready. The arguments and errors are those of `Engine`."""
        from mematte.weights import build

        is_whole = isinstance(max_global_tokens, (int, np.integer)) and not isinstance(
            max_global_tokens, bool
        )
        if max_global_tokens is not None and not (is_whole and max_global_tokens >= 0):
            raise InputError(
                f"At most {max_global_tokens} attending tokens makes no sense; use a whole number, 0 or more."
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

    @property
    def precision_name(self) -> str:
        """As people write it: "bfloat16"."""
        return str(self.precision).removeprefix("torch.")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Within, a picture is planned and done. Where memory is named, pictures on the device take turns: a
        plan counts on all that is left, and what another one takes for a moment would seem to be gone."""
        if self.memory is None:
            yield
            return
        with _turns.setdefault((os.getpid(), self.device), threading.RLock()):
            yield

    def plan(self, job: Job, unknown: NDArray[np.bool_] | None = None) -> Plan:
        """How a job would be run now; `unknown` as for `make_plan`.

        Raises:
            BudgetError: the memory does not suffice; says the least that does.
        """
        memory = self.memory or default_budget(self.device)
        # What a recording keeps is a part of what is planned, or goes before it.
        taken = used_bytes(self.device) - self._recorder.kept_bytes
        return make_plan(job, memory, taken, unknown)

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
                f"The network's numbers leave the range of {self.precision_name}; use --precision float32."
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
