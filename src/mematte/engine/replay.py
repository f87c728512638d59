"""Replay: what a small picture asks of a GPU is recorded once, and played again for others of its size.

Such a picture is nothing for the card, which waits for hundreds of kernels that are launched one by one.
All pictures of a size launch the same ones but for the attending tokens, whose number differs. So the
network's work is split into sections: those between two attentions become CUDA graphs, a launch each.
A graph reads and writes the same memory whenever it is played. What goes in is copied there first, and what
comes out holds only until the next picture.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from .memory import cuda_bytes, used_bytes
from .plan import RECORDED_TOKENS, Plan
from .scene import Read

Result = TypeVar("Result")


class Sections(Protocol):
    """Does a picture's work, a section at a time."""

    everywhere: bool
    """Whether alpha is computed of all pixels: not every picture has its unknown region in the same place."""

    def __call__(self, name: str, work: Callable[[], Result]) -> Result:
        """What the work gives. A section is known by its name, and does the same whenever it is asked for.

        Sections reach each other only by what they give and change, and decide nothing by what they compute.
        """

    def later(self, work: Callable[[], object]) -> None:
        """Work that belongs to the next section: only what it changes is of use."""

    def shown(self, read: Read, size: tuple[int, int]) -> Read:
        """How sections read the padded picture, (height, width) px."""


class Directly(Sections):
    """Nothing is recorded."""

    everywhere = False

    def __call__(self, name: str, work: Callable[[], Result]) -> Result:  # noqa: ARG002
        """As `Sections`."""
        return work()

    def later(self, work: Callable[[], object]) -> None:
        """As `Sections`."""
        work()

    def shown(self, read: Read, size: tuple[int, int]) -> Read:  # noqa: ARG002
        """As `Sections`."""
        return read


class Graph(Protocol):
    """What records and plays: `CudaGraph`, or a test's."""

    def record(self, work: Callable[[], Result]) -> Result:
        """Take down what the work does on the device, without doing it; gives where its results will be."""

    def play(self) -> None:
        """Do it."""


class CudaGraph(Graph):
    """A CUDA graph.

    Args:
        pool: of memory, that all graphs of a recording share: they are played one after another.
    """

    def __init__(self, pool: Any) -> None:
        self._graph, self._pool = torch.cuda.CUDAGraph(), pool

    def record(self, work: Callable[[], Result]) -> Result:
        """As `Graph`; on a stream that is not the default one."""
        # Other threads may use the device meanwhile. `torch.cuda.graph` would empty all caches first.
        self._graph.capture_begin(pool=self._pool, capture_error_mode="thread_local")
        try:
            result = work()
        except BaseException:
            with suppress(RuntimeError):  # it says that the recording broke off, and so it did
                self._graph.capture_end()
            raise
        self._graph.capture_end()
        return result

    def play(self) -> None:
        """As `Graph`."""
        self._graph.replay()


def cuda_graphs() -> Callable[[], Graph]:
    """What makes CUDA graphs with one pool of memory."""
    pool = torch.cuda.graph_pool_handle()
    return lambda: CudaGraph(pool)


class Recording(Sections):
    """The sections of one plan: recorded when they are first asked for, played ever after."""

    everywhere = True

    def __init__(self, new_graph: Callable[[], Graph]) -> None:
        self._new_graph = new_graph
        self._graphs: dict[str, tuple[Graph, Any]] = {}
        self._waiting: list[Callable[[], object]] = []
        self._seen: Tensor | None = None
        self.kept_bytes = 0
        """What stays allocated between pictures."""
        self.peak_bytes = 0
        """What was allocated at most while it was recorded: playing allocates nothing."""

    def __call__(self, name: str, work: Callable[[], Result]) -> Result:
        """As `Sections`."""
        first, self._waiting = self._waiting, []

        def everything() -> Result:
            for each in first:
                each()
            return work()

        if name not in self._graphs:
            graph = self._new_graph()
            self._graphs[name] = graph, graph.record(everything)
        graph, result = self._graphs[name]
        graph.play()
        found: Result = result
        return found

    def later(self, work: Callable[[], object]) -> None:
        """As `Sections`."""
        self._waiting.append(work)

    @contextmanager
    def counted(self, device: torch.device) -> Iterator[None]:
        """Within, a picture's work is done; what was recorded is counted."""
        known, before = len(self._graphs), used_bytes(device)
        yield
        if len(self._graphs) > known and device.type == "cuda":
            self.kept_bytes += used_bytes(device) - before
            self.peak_bytes = max(self.peak_bytes, cuda_bytes(device, when="peak"))

    def shown(self, read: Read, size: tuple[int, int]) -> Read:
        """As `Sections`: all of it lies where the graphs read it."""
        seen = read(slice(0, size[0]), slice(0, size[1]))
        if self._seen is None:
            self._seen = seen
        else:
            self._seen.copy_(seen)
        there = self._seen
        return lambda rows, columns: there[..., rows, columns]


class Recorder:
    """Keeps a recording of the last picture's plan, made when a second picture asks for the same.

    Args:
        device: where the network is.
        new_pool: gives what makes the graphs of one recording; None: the device has none.
    """

    def __init__(self, device: torch.device, new_pool: Callable[[], Callable[[], Graph]] | None) -> None:
        self._device, self._new_pool = device, new_pool
        self._busy = threading.Lock()
        self._last: Plan | None = None
        self._recording: Recording | None = None

    @property
    def kept_bytes(self) -> int:
        """What the recording keeps allocated."""
        return self._recording.kept_bytes if self._recording else 0

    @property
    def peak_bytes(self) -> int:
        """What was allocated at most while the recording was made."""
        return self._recording.peak_bytes if self._recording else 0

    @contextmanager
    def sections(self, plan: Plan) -> Iterator[Sections]:
        """Who is to do a plan's work."""
        if not self._busy.acquire(blocking=False):  # a recording is for one picture at a time
            yield Directly()
            return
        try:
            if self._last is None or not _alike(self._last, plan):
                self._last, self._recording = plan, None
                yield Directly()
            elif self._new_pool is None or not is_worth_it(plan):
                yield Directly()
            else:
                self._recording = self._recording or Recording(self._new_pool())
                with self._recording.counted(self._device):
                    yield self._recording
        except BaseException:
            self._last = self._recording = None  # it may be half done
            raise
        finally:
            self._busy.release()


def is_worth_it(plan: Plan) -> bool:
    """Whether a GPU is not busy with what is planned, and all pictures of its size take the same way."""
    return plan.job.tokens <= RECORDED_TOKENS and plan.job.near is None


def _alike(one: Plan, other: Plan) -> bool:
    """Whether two plans do the same; what memory there happens to be does not matter."""
    return (one.job, one.pieces) == (other.job, other.pieces)
