"""Metrics: what scoring a large picture takes.

python -m mematte.bench.metrics HEIGHT WIDTH UNKNOWN_SHARE BITS: scores one drawn pair in this process.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.engine.memory import forget_peak, peak_process_bytes, process_bytes
from mematte.eval.metrics import Scores, score
from mematte.image.trimap import depth_px

from .child import last_line_of, threads_or_all

DEFAULT_SIZES = ((6017, 4872),)  # the mean of UHR-395, upright
DEFAULT_SHARES = (0.2, 1.0)
_STRANDS_PER_PX = 1.5  # of the picture's shorter side
_STRAND_POINTS = 48
_LOST_SHARE = 0.1  # of the strands, that the prediction lacks
_NOISE = 12  # of 255, at most
_FRACTION_BITS = 4  # in which OpenCV takes coordinates


@dataclass(frozen=True)
class MetricsRow:
    """What one call of `score` took. The size is (height, width) px, memory is bytes."""

    size: tuple[int, int]
    unknown_share: float
    bits: int  # of the prediction: 8, or 32 for float32
    seconds: float
    processor_seconds: float  # of all threads; on a busy machine the figure that stays
    start_bytes: int  # resident before the call: libraries, and the three pictures
    peak_bytes: int  # resident at most, during the call
    scores: Scores

    @property
    def extra_bytes(self) -> int:
        """What the call took, above the pictures that it was given."""
        return self.peak_bytes - self.start_bytes


def measure_all(
    sizes: Iterable[tuple[int, int]] = DEFAULT_SIZES,
    shares: Sequence[float] = DEFAULT_SHARES,
    bits: int = 8,
    threads: int | None = None,
    on_row: Callable[[MetricsRow], None] = lambda _: None,
) -> list[MetricsRow]:
    """Score drawn pairs one after the other, each in a process of its own.

    Args:
        sizes: (height, width) px.
        shares: of the pixels that are unknown, above 0 and at most 1; every size gets each.
        bits: 8 for mattes as files hold them, 32 for float32.
        threads: per process; None = all cores.
        on_row: told every row when it is there.

    Raises:
        MatteError: one failed; its last words are in the message.
    """
    rows, count = [], threads_or_all(threads)
    for height, width in sizes:
        for share in shares:
            arguments = [str(height), str(width), str(share), str(bits), str(count)]
            said = json.loads(last_line_of("metrics", arguments, count))
            size, scores = tuple(said.pop("size")), Scores(**said.pop("scores"))
            rows.append(MetricsRow(size=(size[0], size[1]), scores=scores, **said))
            on_row(rows[-1])
    return rows


def measure(size: tuple[int, int], unknown_share: float, bits: int) -> MetricsRow:
    """Score one drawn pair, once: a matte is scored once."""
    alpha, truth, trimap = draw_pair(size, unknown_share)
    judged = alpha if bits == 8 else (alpha / np.float32(255)).astype(np.float32)
    small = np.full((8, 8), 128, np.uint8)
    score(small, small, small)  # libraries set themselves up at the first call
    start_bytes = process_bytes()
    forget_peak()  # where the system cannot, the drawing's peak counts too: never too little
    start, processor_start = time.perf_counter(), time.process_time()
    scores = score(judged, truth, trimap)
    seconds, processor_seconds = time.perf_counter() - start, time.process_time() - processor_start
    return MetricsRow(
        size, unknown_share, bits, seconds, processor_seconds, start_bytes, peak_process_bytes(), scores
    )


def draw_pair(
    size: tuple[int, int], unknown_share: float
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint8]]:
    """A head with strands of hair: prediction, truth and trimap, (H, W) uint8, the same ones each time.

    The prediction lacks some strands, is a little soft and a little noisy. Unknown are the pixels nearest
    to the outline of the head, as many as asked for.
    """
    height, width = size
    rng = np.random.default_rng(0)
    truth = np.zeros(size, np.uint8)
    centre, radius = (width // 2, height // 2), max(1, min(size) // 4)
    cv2.circle(truth, centre, radius, 255, cv2.FILLED)
    head = truth.copy()
    alpha = truth.copy()
    along = np.linspace(0, 1, _STRAND_POINTS)
    for _ in range(int(min(size) * _STRANDS_PER_PX)):
        angle, bend, length = rng.uniform(0, 2 * np.pi), rng.normal(0, 0.8), rng.uniform(0.1, 1)
        turned = angle + bend * along**2
        away = radius * (0.9 + length * along)
        points = np.stack((centre[0] + away * np.cos(turned), centre[1] + away * np.sin(turned)), axis=-1)
        fixed = np.rint(points * 2**_FRACTION_BITS).astype(np.int32)
        opacity, thick = int(rng.integers(30, 256)), int(rng.integers(1, 4))
        lost = rng.random() < _LOST_SHARE
        for canvas in (truth,) if lost else (truth, alpha):
            cv2.polylines(canvas, [fixed], False, opacity, thick, cv2.LINE_AA, _FRACTION_BITS)
    alpha = np.asarray(cv2.GaussianBlur(alpha, (3, 3), 0), dtype=np.uint8)
    for row in alpha:  # row by row: a float copy of the picture would be its largest part
        noise = rng.integers(-_NOISE, _NOISE + 1, width)
        row[:] = np.clip(row + np.where((row > 0) & (row < 255), noise, 0), 0, 255)
    return alpha, truth, _trimap(head, unknown_share)


def _trimap(head: NDArray[np.uint8], unknown_share: float) -> NDArray[np.uint8]:
    """(H, W) the pixels nearest to the outline of the head unknown, the others as the head says."""
    trimap = head.copy()
    distance = np.maximum(depth_px(head), depth_px(255 - head))
    count = round(unknown_share * head.size)
    reach_px = np.partition(distance, count - 1, axis=None)[count - 1] if count else -1
    trimap[distance <= reach_px] = 128
    return trimap


def table(rows: Sequence[MetricsRow]) -> str:
    """Rows as a Markdown table."""
    lines = [
        "| picture | megapixels | unknown | prediction | seconds | of the processor "
        "| extra memory | of the process |",
        "|---|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        height, width = row.size
        kind = "8-bit" if row.bits == 8 else "float32"
        lines.append(
            f"| {width}x{height} | {width * height / 1e6:.1f} | {row.unknown_share:.0%} | {kind} "
            f"| {row.seconds:.1f} | {row.processor_seconds:.1f} "
            f"| {row.extra_bytes / 1e6:,.0f} MB | {row.peak_bytes / 1e6:,.0f} MB |"
        )
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    """Print one MetricsRow as JSON."""
    height, width, share, bits, threads = arguments
    cv2.setNumThreads(int(threads))
    row = measure((int(height), int(width)), float(share), int(bits))
    sys.stdout.write(json.dumps(asdict(row)) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
