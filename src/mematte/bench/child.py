"""A process of its own for every measurement: none pays for, or profits from, what another left in memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

from mematte.errors import MatteError


def last_line_of(module: str, arguments: Sequence[str], threads: int, timeout_s: float | None = None) -> str:
    """Run `python -m mematte.bench.MODULE` and return the last line that it prints, "" if none.

    Raises:
        MatteError: it failed; its last words are in the message. Or it took longer than `timeout_s`.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-m", f"mematte.bench.{module}", *arguments],
            capture_output=True,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)},
            check=False,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired:
        raise MatteError(f"A measurement took longer than {timeout_s} s ({module}).") from None
    if child.returncode:
        last = child.stderr.strip().splitlines()[-1] if child.stderr.strip() else f"status {child.returncode}"
        raise MatteError(f"A measurement failed ({module} {' '.join(arguments)}): {last}")
    return child.stdout.splitlines()[-1] if child.stdout else ""


def threads_or_all(threads: int | None) -> int:
    """`threads`, or as many as there are cores."""
    return threads or os.cpu_count() or 1
