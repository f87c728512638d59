"""Floors: how close the engine comes to what this machine can do at all.

No run is faster than its operations at the rate of one large matrix product, nor than the bytes it must
move at the rate of a plain copy.

python -m mematte.bench.floors SPEC PRECISION SIDE_PX REPEATS THREADS: measures all three in this process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch

from mematte.engine import Job, Plan
from mematte.engine.cost import Operations, operations
from mematte.model import SPECS, MEMatte, ModelSpec
from mematte.weights.checkpoint import weights_of

from .child import last_line_of, threads_or_all
from .contenders import ATTENDING_SHARE, QuarterEngine, check_network

MATRIX_SIDE = 2048
GPU_MATRIX_SIDE = 4 * MATRIX_SIDE  # a GPU has done the smaller one before the next is asked for
COPIED_BYTES = 1 << 28
# How often a block reads and writes the map of tokens at the least: once for each part that needs the one
# before it to be finished everywhere. Attention and MLP; the router's two passes, refinement, MLP, residual.
_PASSES = {"W": 4, "R": 2 + 3 * 2, "G": 3 * 2}


@dataclass(frozen=True)
class StageRow:
    """A stage beside its two floors."""

    stage: str
    operations: float
    seconds: float  # the median of the repeats
    operations_floor: float  # seconds at the matrix rate
    bytes_floor: float  # seconds at the bandwidth

    @property
    def closeness(self) -> float:
        """The higher floor relative to the time taken: 1 cannot be beaten."""
        return max(self.operations_floor, self.bytes_floor) / self.seconds


@dataclass(frozen=True)
class Floors:
    """What was measured."""

    network: str
    precision: str
    side_px: int
    matrix_rate: float  # operations per second of a large matrix product in the network's precision
    bandwidth: float  # bytes per second, read and written, of a copy beyond all caches
    stages: tuple[StageRow, ...]


def measure_all(
    networks: Iterable[str],
    sides_px: Sequence[int],
    precision: str = "auto",
    threads: int | None = None,
    repeats: int = 3,
) -> list[Floors]:
    """Measure every network at every size, each in a process of its own.

    Raises:
        InputError: no network is called so.
        MatteError: one failed; its last words are in the message.
    """
    networks, count = list(networks), threads_or_all(threads)
    for network in networks:
        check_network(network)  # before the first one's minutes
    found = []
    for network in networks:
        for side_px in sides_px:
            arguments = [network, precision, str(side_px), str(repeats), str(count)]
            said = json.loads(last_line_of("floors", arguments, count))
            stages = tuple(StageRow(**row) for row in said.pop("stages"))
            found.append(Floors(**said, stages=stages))
    return found


def measure_floors(spec_name: str, precision: str, side_px: int, repeats: int) -> Floors:
    """Time a square of noise, all unknown, random weights, a quarter of the tokens attending."""
    torch.manual_seed(0)
    weights = weights_of(MEMatte(SPECS[spec_name]), name=spec_name, licence="none: random")
    engine = QuarterEngine(weights, precision=precision, enlarge=1)
    image = np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    trimap = np.full((side_px, side_px), 128, np.uint8)
    taken: dict[str, list[float]] = {"encode": [], "decode": []}
    for repeat in range(repeats + 1):  # the first sets kernels up
        seconds = engine(image, trimap).report.seconds
        if repeat:
            for stage, times in taken.items():
                times.append(seconds[stage])
    plan = engine.plan(engine.job((side_px, side_px)))
    counted = operations(plan, 1.0, ATTENDING_SHARE)
    matrix_rate = _matrix_rate(engine.device, engine.precision, repeats)
    bandwidth = _bandwidth(engine.device, repeats)
    return Floors(
        spec_name,
        engine.precision_name,
        side_px,
        matrix_rate,
        bandwidth,
        tuple(_rows(plan, counted, taken, matrix_rate, bandwidth)),
    )


def _rows(
    plan: Plan, counted: Operations, taken: dict[str, list[float]], matrix_rate: float, bandwidth: float
) -> list[StageRow]:
    moved = {"encode": encoder_bytes(plan.job), "decode": decoder_bytes(plan.job)}
    return [
        StageRow(
            stage,
            getattr(counted, stage),
            float(np.median(times)),
            getattr(counted, stage) / matrix_rate,
            moved[stage] / bandwidth,
        )
        for stage, times in taken.items()
    ]


def encoder_bytes(job: Job) -> float:
    """What the encoder reads and writes at the least: the picture, its weights, and the map of tokens."""
    passes = 1 + sum(_PASSES[letter] for letter in job.spec.blocks)
    picture = 4 * job.padded[0] * job.padded[1] * job.value_bytes
    return picture + _weight_bytes(job) + passes * job.map_bytes


def _weight_bytes(job: Job) -> float:
    spec: ModelSpec = job.spec
    per_block: float = (4 + 2 * spec.mlp_ratio) * spec.channels**2
    return len(spec.blocks) * per_block * job.value_bytes


def decoder_bytes(job: Job) -> float:
    """What the decoder reads and writes at the least: the picture, every level once each way, the alpha."""
    spec, pixels = job.spec, job.padded[0] * job.padded[1]
    per_pixel = 4 + 1.0
    per_pixel += sum(2 * channels / 4**level for level, channels in enumerate(spec.detail_channels, start=1))
    fused = zip(spec.fusion_channels, (8, 4, 2, 1), strict=True)
    per_pixel += sum(2 * channels / scale**2 for channels, scale in fused)
    moved: float = job.map_bytes + pixels * per_pixel * job.value_bytes
    return moved


def _matrix_rate(device: torch.device, precision: torch.dtype, repeats: int) -> float:
    side = MATRIX_SIDE if device.type == "cpu" else GPU_MATRIX_SIDE
    left = torch.rand(side, side, device=device).to(precision)
    return 2 * side**3 / _best(lambda: left @ left, device, repeats)


def _bandwidth(device: torch.device, repeats: int) -> float:
    source = torch.ones(COPIED_BYTES // 4, device=device)
    target = torch.ones_like(source)  # touched: fresh pages would be measured otherwise
    return 2 * COPIED_BYTES / _best(lambda: target.copy_(source), device, repeats)


def _best(work: Callable[[], object], device: torch.device, repeats: int) -> float:
    """Seconds of the fastest call: a floor is what the machine can do undisturbed."""
    times = []
    for _ in range(repeats + 2):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        elif device.type == "mps":
            torch.mps.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def table(several: Sequence[Floors]) -> str:
    """Floors as a Markdown table, and below it the rates of the machine."""
    lines = [
        "| picture | network | stage | GFLOP | floor: operations | floor: bytes | seconds | of the floor |",
        "|---|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {one.side_px}x{one.side_px} | {one.network} {one.precision} | {row.stage} "
        f"| {row.operations / 1e9:,.0f} | {row.operations_floor:.3f} s | {row.bytes_floor:.3f} s "
        f"| {row.seconds:.3f} | {row.closeness:.0%} |"
        for one in several
        for row in one.stages
    ]
    lines.append("")
    lines += [
        f"{one.network} {one.precision} at {one.side_px} px: a matrix product runs at "
        f"{one.matrix_rate / 1e9:,.0f} GFLOP/s, a copy at {one.bandwidth / 1e9:.1f} GB/s."
        for one in several
    ]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print one Floors as JSON."""
    spec_name, precision, side_px, repeats, threads = arguments
    torch.set_num_threads(int(threads))
    measured = measure_floors(spec_name, precision, int(side_px), int(repeats))
    sys.stdout.write(json.dumps(asdict(measured)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
