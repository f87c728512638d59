"""Measure one contender at one size, in this process.

python -m mematte.bench.measure NAME SIDE_PX REPEATS THREADS
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np
import torch

from mematte.engine.memory import forget_peak, peak_process_bytes, process_bytes

WARM_UP_PX = 256


@dataclass(frozen=True)
class Row:
    """One measurement."""

    contender: str
    side_px: int  # of a square picture
    seconds: float  # the median of the repeats
    start_bytes: int  # resident before the picture, the network loaded and warm
    peak_bytes: int  # resident at most, during the calls

    @property
    def extra_bytes(self) -> int:
        """What the picture took, above the start."""
        return self.peak_bytes - self.start_bytes


def measure(name: str, side_px: int, repeats: int) -> Row:
    """Run a contender on square noise, all unknown, after a warm-up on a small piece of it."""
    from .contenders import contender

    run = contender(name)
    image = np.random.default_rng(0).integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
    run(np.ascontiguousarray(image[:WARM_UP_PX, :WARM_UP_PX]))
    start_bytes = process_bytes()
    forget_peak()  # where the system cannot, the start-up's peak counts too: never too little
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - start)
    return Row(name, side_px, float(np.median(times)), start_bytes, peak_process_bytes())


def main(arguments: list[str]) -> None:
    """Print one Row as JSON."""
    name, side_px, repeats, threads = arguments
    torch.set_num_threads(int(threads))
    sys.stdout.write(json.dumps(asdict(measure(name, int(side_px), int(repeats)))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
