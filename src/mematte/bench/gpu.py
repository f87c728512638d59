"""GPU: milliseconds and allocated memory beside Hugging Face's ViTMatte, each row a process of its own.

From a picture in the computer's memory to its alpha there, so that carrying both ways counts. Processes get
ready side by side, but one at a time measures.

python -m mematte.bench.gpu TASK.json: measures one row.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from mematte.engine.device import choose_device, choose_precision
from mematte.errors import MatteError
from mematte.image import UNKNOWN, Picture, Trimap
from mematte.model import SPECS, MEMatte
from mematte.model.mematte import SIZE_MULTIPLE_PX
from mematte.weights.checkpoint import weights_of

from .child import last_line_of
from .contenders import QuarterEngine, check_name, check_network, vitmatte_network

DEFAULT_NETWORKS = ("small", "base")
DEFAULT_PRECISIONS = ("bfloat16", "float32")
DEFAULT_SIZES = ((512, 512), (1024, 1024), (1100, 1500), (4872, 6017), (16384, 16384))
"""(height, width) px; the third is about Composition-1K's, the fourth UHR-395's."""
TIGHT_SIZE, TIGHT_MEMORY = (16384, 16384), 3 * 10**9
PEER_PIXELS = 30_000_000  # the peer needs more than any GPU has long before that

MOST_REPEATS, LEAST_REPEATS = 20, 3
_ROW_SECONDS = 2.0  # after so many no further repeat begins, once there are the least
_HUGE_PIXELS = 100_000_000  # one call is enough of such a picture
_READY_AT_ONCE, _THREADS = 4, 2
_ROW_TIMEOUT_S = 120


@dataclass(frozen=True)
class Task:
    """One row to measure. Sizes are (height, width) px, memory is bytes."""

    contender: str  # "mematte:SPEC:PRECISION" or "vitmatte:SPEC:PRECISION"
    size: tuple[int, int]
    memory: int | None = None  # None: what is free
    device: str = "cuda"
    lock: str = ""  # a file that only one process at a time may hold


@dataclass(frozen=True)
class GpuRow:
    """What a task took; zeros where it failed."""

    contender: str
    size: tuple[int, int]
    memory: int | None
    failed: str = ""  # why, such as that memory ran out
    device: str = ""
    milliseconds: float = 0  # the median of the repeats
    fastest: float = 0  # milliseconds
    repeats: int = 0
    encode: float = 0  # milliseconds of a call, of ours only
    decode: float = 0
    weights_bytes: int = 0  # allocated before the picture, the network loaded
    planned_bytes: int = 0  # of ours only
    peak_bytes: int = 0  # allocated at most

    @property
    def pixels(self) -> int:
        """Of the picture."""
        return self.size[0] * self.size[1]


def default_tasks(
    networks: Iterable[str] = DEFAULT_NETWORKS,
    precisions: Sequence[str] = DEFAULT_PRECISIONS,
    sizes: Sequence[tuple[int, int]] = DEFAULT_SIZES,
    device: str = "cuda",
) -> list[Task]:
    """Ours beside the peer at every size, and the largest within little memory; the most telling first.

    Raises:
        InputError: no network is called so.
    """
    tasks = []
    for network in networks:
        check_network(network)
        for precision in precisions:
            for size in sizes:
                tasks.append(Task(f"mematte:{network}:{precision}", size, device=device))
                if network in DEFAULT_NETWORKS and size[0] * size[1] <= PEER_PIXELS:
                    tasks.append(Task(f"vitmatte:{network}:{precision}", size, device=device))
            if TIGHT_SIZE in sizes:
                tasks.append(Task(f"mematte:{network}:{precision}", TIGHT_SIZE, TIGHT_MEMORY, device))
    return tasks


def measure_all(
    tasks: Sequence[Task],
    within_s: float | None = None,
    on_row: Callable[[GpuRow], None] = lambda _: None,
) -> list[GpuRow]:
    """Measure every task in a process of its own, one at a time; a failure is a row that says so.

    Args:
        within_s: a task that has not begun to get ready by then is left out, and its row says so.
        on_row: told every row when it is there.

    Raises:
        InputError: no contender is called so.
        DeviceError: there is no such device.
    """
    for task in tasks:
        check_name(task.contender)
        choose_device(task.device)
    start = time.monotonic()
    rows = []
    with (
        tempfile.TemporaryDirectory(prefix="mematte-bench-") as folder,
        ThreadPoolExecutor(_READY_AT_ONCE) as pool,
    ):
        lock = str(Path(folder) / "lock")

        def row(task: Task) -> GpuRow:
            if within_s is not None and time.monotonic() - start > within_s:
                return GpuRow(task.contender, task.size, task.memory, f"not begun within {within_s:.0f} s")
            try:
                described = json.dumps({**asdict(task), "lock": lock})
                return row_of(last_line_of("gpu", [described], _THREADS, _ROW_TIMEOUT_S))
            except MatteError as error:
                return GpuRow(task.contender, task.size, task.memory, str(error))

        for found in pool.map(row, tasks):
            rows.append(found)
            on_row(found)
    return rows


def row_of(line: str) -> GpuRow:
    """A row from what its process printed."""
    said = json.loads(line)
    return GpuRow(**{**said, "size": tuple(said["size"])})


@dataclass(frozen=True)
class _Done:
    """What one call says of itself."""

    encode: float = 0  # seconds
    decode: float = 0
    planned_bytes: int = 0
    peak_bytes: int = 0


Call = Callable[[NDArray[np.uint8]], _Done]
"""(H, W, 3) uint8 image, all unknown -> its alpha is back in the computer's memory."""


def measure(task: Task) -> GpuRow:
    """Time one contender on noise, in this process; running out of memory is a row that says so."""
    device = choose_device(task.device)
    call = _ready(task, device)
    height, width = task.size
    noise = np.random.default_rng(0).integers(0, 256, (1024, 1024, 3), dtype=np.uint8)
    image = np.tile(noise, (-(-height // 1024), -(-width // 1024), 1))[:height, :width].copy()
    with _alone(task.lock):
        weights_bytes = _allocated(device)
        try:
            call(image)  # sets kernels up, and asks for memory
            _forget_peak(device)
            times, done = _timed(call, image, device)
        except (RuntimeError, MatteError) as error:
            reason = "out of memory" if isinstance(error, torch.OutOfMemoryError) else _first_line(error)
            return GpuRow(task.contender, task.size, task.memory, reason, _name(device))
    return GpuRow(
        task.contender,
        task.size,
        task.memory,
        device=_name(device),
        milliseconds=float(np.median(times)),
        fastest=min(times),
        repeats=len(times),
        encode=1000 * done.encode,
        decode=1000 * done.decode,
        weights_bytes=weights_bytes,
        planned_bytes=done.planned_bytes,
        peak_bytes=max(_peak(device), done.peak_bytes if device.type == "cuda" else 0),
    )


def _timed(call: Call, image: NDArray[np.uint8], device: torch.device) -> tuple[list[float], _Done]:
    """Milliseconds of every repeat, and what the last said."""
    least = 1 if image.shape[0] * image.shape[1] > _HUGE_PIXELS else LEAST_REPEATS
    times: list[float] = []
    while len(times) < least or (len(times) < MOST_REPEATS and sum(times) < 1000 * _ROW_SECONDS):
        milliseconds, done = _milliseconds(lambda: call(image), device)
        times.append(milliseconds)
    return times, done


def _milliseconds(work: Callable[[], _Done], device: torch.device) -> tuple[float, _Done]:
    if device.type != "cuda":
        start = time.perf_counter()
        done = work()
        return 1000 * (time.perf_counter() - start), done
    begun, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    stream = torch.cuda.current_stream(device)  # of this device, which need not be the current one
    begun.record(stream)
    done = work()
    ended.record(stream)
    ended.synchronize()
    return float(begun.elapsed_time(ended)), done


def _ready(task: Task, device: torch.device) -> Call:
    """Network and weights of a contender, on the device."""
    check_name(task.contender)
    kind, size, precision = task.contender.split(":")
    if kind == "vitmatte":
        return _peer(size, choose_precision(precision, device), device)
    torch.manual_seed(0)
    weights = weights_of(MEMatte(SPECS[size]), name=size, licence="none: random")
    engine = QuarterEngine(weights, device=str(device), precision=precision, memory=task.memory, enlarge=1)

    def call(image: NDArray[np.uint8]) -> _Done:
        levels = np.full(image.shape[:2], UNKNOWN, np.uint8)
        report = engine(Picture(image), Trimap(levels)).report
        seconds = report.seconds
        return _Done(seconds["encode"], seconds["decode"], report.planned_bytes, report.peak_bytes)

    return call


def _peer(size: str, dtype: torch.dtype, device: torch.device) -> Call:
    network: Any = vitmatte_network(size).to(device=device, dtype=dtype)

    @torch.inference_mode()
    def call(image: NDArray[np.uint8]) -> _Done:
        height, width = image.shape[:2]
        pixels = torch.from_numpy(image).to(device).permute(2, 0, 1)[None].to(dtype) / 127.5 - 1
        inputs = torch.cat((pixels, torch.full_like(pixels[:, :1], 0.5)), dim=1)
        del pixels
        inputs = F.pad(inputs, (0, -width % SIZE_MULTIPLE_PX, 0, -height % SIZE_MULTIPLE_PX))
        network(inputs).alphas[..., :height, :width].float().cpu()
        return _Done()

    return call


@contextmanager
def _alone(lock: str) -> Iterator[None]:
    """Wait until no other process is within."""
    if not lock:
        yield
        return
    import fcntl  # not on Windows

    with Path(lock).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)


def _allocated(device: torch.device) -> int:
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else 0


def _forget_peak(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def _peak(device: torch.device) -> int:
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:160]


def table(rows: Sequence[GpuRow]) -> str:
    """Rows as a Markdown table; the ratios are the peer's figures over ours."""
    lines = [
        "| picture | network | budget | ms | encode | decode | repeats | planned | peak | weights "
        "| peer's time | peer's memory |",
        "|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        picture = f"{row.size[1]}x{row.size[0]}"
        budget = f"{row.memory / 1e9:.1f} GB" if row.memory else ""
        if row.failed:
            lines.append(f"| {picture} | {row.contender} | {budget} | {row.failed} | | | | | | | | |")
            continue
        ours = row.contender.startswith("mematte:")
        peer = _peer_row(row, rows) if ours else None
        cells = [
            picture,
            row.contender,
            budget,
            f"{row.milliseconds:,.1f}",
            f"{row.encode:,.1f}" if ours else "",
            f"{row.decode:,.1f}" if ours else "",
            str(row.repeats),
            f"{row.planned_bytes / 1e9:.2f} GB" if ours else "",
            f"{row.peak_bytes / 1e9:.2f} GB",
            f"{row.weights_bytes / 1e9:.2f} GB",
            f"x{peer.milliseconds / row.milliseconds:.1f}" if peer else "",
            f"x{peer.peak_bytes / row.peak_bytes:.1f}" if peer and row.peak_bytes else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    devices = sorted({row.device for row in rows if row.device})
    return "\n".join(
        [*lines, "", f"Measured on {', '.join(devices) or 'nothing'}; PyTorch {torch.__version__}."]
    )


def _peer_row(row: GpuRow, rows: Sequence[GpuRow]) -> GpuRow | None:
    """The peer's of the same picture, network and precision."""
    name = row.contender.replace("mematte:", "vitmatte:")
    return next(
        (other for other in rows if (other.contender, other.size) == (name, row.size) and not other.failed),
        None,
    )


def main(arguments: list[str]) -> None:
    """Print one GpuRow as JSON."""
    described = json.loads(arguments[0])
    torch.set_num_threads(_THREADS)
    row = measure(Task(**{**described, "size": tuple(described["size"])}))
    sys.stdout.write(json.dumps(asdict(row)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
