"""Measure one contender at one size, in this process.

python -m mematte.bench.measure NAME SIDE_PX REPEATS THREADS
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

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
    start_bytes = _resident_bytes()
    _reset_peak()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run(image)
        times.append(time.perf_counter() - start)
    return Row(name, side_px, float(np.median(times)), start_bytes, _peak_bytes())


def _resident_bytes() -> int:
    return _status("VmRSS") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _peak_bytes() -> int:
    return _status("VmHWM") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _reset_peak() -> None:
    """Forget the peak of the start-up, where the system lets us (Linux)."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return  # then the start-up's peak counts too: never too little


def _status(field: str) -> int:
    """A figure of this process in bytes; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), 0)


def main(arguments: list[str]) -> None:
    """Print one Row as JSON."""
    name, side_px, repeats, threads = arguments
    torch.set_num_threads(int(threads))
    sys.stdout.write(json.dumps(asdict(measure(name, int(side_px), int(repeats)))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
