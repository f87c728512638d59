"""Memory: what the process takes, what the device has left, and how people write an amount of it.

A process's figure is its resident memory, what `top` calls RES; a GPU's is what PyTorch has allocated there.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import psutil
import torch

from mematte.errors import InputError

MARGIN = 0.1  # of the free memory that a default budget leaves alone: others want some too
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
BINARY_UNITS = {"KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}

# glibc fetches large blocks from the system, page by page and zeroed, and returns them at once. Where the
# work is many small pieces that takes a third to three quarters of the time; keeping them leaves gaps.
# 32 MB is the largest block that glibc can be told to keep.
_LARGEST_KEPT_BYTES, _SMALLEST_RETURNED_BYTES, _KEPT_HEAP_BYTES = 32 << 20, 1 << 20, 256 << 20
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3

_CODE_KEPT = "128"  # shapes


def parse_memory(amount: str | int | float) -> int:
    """Bytes from "4GB", "900 MB", "1.5G", "2GiB", or a number of bytes.

    Raises:
        InputError: it is none of these, or not above zero.
    """
    if isinstance(amount, str):
        found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([KMGT]I?)?B?\s*", amount.upper())
        if found is None:
            raise InputError(f'"{amount}" is no amount of memory. Write 900MB, 4GB or 1.5GiB.')
        number, unit = found.groups()
        size = float(number) * (UNITS | BINARY_UNITS)[unit or ""]
        if unit is None and size < 10**6:
            raise InputError(f'"{amount}" is {size:.0f} bytes. Write a unit: {number}GB or {number}MB?')
    elif isinstance(amount, bool) or not isinstance(amount, (int, float, np.integer, np.floating)):
        raise InputError(f'An amount of memory is bytes or a string such as "4GB", not {amount!r}.')
    else:
        size = float(amount)
    if not 1 <= size < 2**63:
        raise InputError(f"An amount of memory must be above zero and countable, not {amount!r}.")
    return int(size)


def show_memory(size_bytes: int) -> str:
    """Bytes as people write them: 940 MB, 4.2 GB."""
    if size_bytes < 10**9:
        return f"{size_bytes / 1e6:,.0f} MB"
    return f"{size_bytes / 1e9:,.2f} GB" if size_bytes < 10**10 else f"{size_bytes / 1e9:,.1f} GB"


def process_bytes() -> int:
    """What this process has resident now."""
    return int(psutil.Process().memory_info().rss)


def peak_process_bytes() -> int:
    """The most that this process had resident, since the start or the last `forget_peak`."""
    if (peak := _status_bytes("VmHWM")) is not None:
        return peak
    information = psutil.Process().memory_info()
    if hasattr(information, "peak_wset"):  # Windows
        return int(information.peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> bool:
    """Let `peak_process_bytes` begin anew; False where the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


def used_bytes(device: torch.device) -> int:
    """What is taken already of the memory that a budget counts."""
    if device.type == "cuda":
        return cuda_bytes(device)
    if device.type == "mps":
        return torch.mps.current_allocated_memory()
    return process_bytes()


def cuda_bytes(
    device: torch.device,
    what: Literal["allocated", "reserved"] = "allocated",
    when: Literal["current", "peak"] = "current",
) -> int:
    """What PyTorch's allocator says of a CUDA device.

    `torch.cuda.memory_allocated` and its like sort all that it says first: a third of a millisecond each.
    """
    told: Any = torch.cuda.memory_stats_as_nested_dict(device)  # empty before CUDA is used
    return int(told[f"{what}_bytes"]["all"][when]) if told else 0


def free_bytes(device: torch.device) -> int:
    """What the device can still give, without swapping and within the container's limit."""
    if device.type == "cuda":
        kept = cuda_bytes(device, "reserved") - cuda_bytes(device)
        return torch.cuda.mem_get_info(device)[0] + kept
    return min([int(psutil.virtual_memory().available), *_left_in_container()])


def total_bytes(device: torch.device) -> int:
    """All that the device has."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory
    return min([int(psutil.virtual_memory().total), *_container_limits()])


def default_budget(device: torch.device) -> int:
    """What to stay within where nobody says: what is taken and what is free, less a margin."""
    return used_bytes(device) + int((1 - MARGIN) * free_bytes(device))


def zeros_on_demand(shape: tuple[int, ...], like: torch.Tensor) -> torch.Tensor:
    """Zeros with a tensor's device and precision; on a CPU they take memory only where they are written to.

    By whole pages, and on systems that know private mappings; elsewhere they take it at once.
    """
    if like.device.type != "cpu" or not gives_zeros_on_demand():
        return like.new_zeros(shape)
    count = math.prod(shape)
    pages = mmap.mmap(-1, count * like.dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_NOHUGEPAGE"):
        with suppress(OSError):  # a system without huge pages
            pages.madvise(mmap.MADV_NOHUGEPAGE)
    return torch.frombuffer(pages, dtype=like.dtype, count=count).view(shape)


def gives_zeros_on_demand() -> bool:
    """Whether this system has private mappings: Windows has none."""
    return hasattr(mmap, "MAP_PRIVATE")


def keep_little_code() -> None:
    """From now on oneDNN, and PyTorch above it, keep the code for few shapes of maps, not for 1,024.

    They read how many when they first compute something in this process; later it changes nothing. What the
    environment says already stays.
    """
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"):
        os.environ.setdefault(name, _CODE_KEPT)


def keep_freed_blocks() -> None:
    """From now on C's allocator keeps freed blocks for the next of their kind: fast (glibc)."""
    _set_allocator(_LARGEST_KEPT_BYTES, _KEPT_HEAP_BYTES)


def release_freed_blocks() -> None:
    """Give the system back what C's allocator keeps (glibc)."""
    if (libc := _glibc()) is not None:
        libc.malloc_trim(0)


@contextmanager
def freed_blocks_kept() -> Iterator[None]:
    """Within, freed blocks wait for the next of their kind; what waits before and after is given back."""
    release_freed_blocks()
    try:
        yield
    finally:
        release_freed_blocks()


@contextmanager
def freed_blocks_returned() -> Iterator[None]:
    """Within, what is kept is given back and large blocks return at once: small (glibc)."""
    _set_allocator(_SMALLEST_RETURNED_BYTES, _SMALLEST_RETURNED_BYTES)
    release_freed_blocks()
    try:
        yield
    finally:
        keep_freed_blocks()


def _set_allocator(largest_kept: int, kept_heap: int) -> None:
    if (libc := _glibc()) is not None:
        libc.mallopt(_M_MMAP_THRESHOLD, largest_kept)
        libc.mallopt(_M_TRIM_THRESHOLD, kept_heap)


@cache
def _glibc() -> ctypes.CDLL | None:
    if sys.platform != "linux":
        return None
    try:
        libc = ctypes.CDLL("libc.so.6")
    except OSError:
        return None  # another C library, such as musl
    return libc if hasattr(libc, "mallopt") and hasattr(libc, "malloc_trim") else None


def _status_bytes(field: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)


# Control groups, version 2 and 1: the folder, and its files for the limit and for what is taken.
_CONTAINERS = (
    (Path("/sys/fs/cgroup"), "memory.max", "memory.current"),
    (Path("/sys/fs/cgroup/memory"), "memory.limit_in_bytes", "memory.usage_in_bytes"),
)


def _container_limits() -> list[int]:
    """Most bytes for this container, where there is a limit."""
    limits = [_number_in(folder / limit) for folder, limit, _ in _CONTAINERS]
    return [limit for limit in limits if limit is not None and limit < 2**60]


def _left_in_container() -> list[int]:
    left = []
    for folder, limit, usage in _CONTAINERS:
        most, taken = _number_in(folder / limit), _number_in(folder / usage)
        if most is not None and taken is not None and most < 2**60:
            left.append(max(0, most - taken + _cached_files_bytes(folder / "memory.stat")))
    return left


def _cached_files_bytes(file: Path) -> int:
    """What a container keeps of files that were read and written: it counts as taken, and goes first."""
    try:
        found = dict(line.split() for line in file.read_text().splitlines())
        # Version 1 says for the group alone what version 2 says with all that belongs to it.
        return sum(
            int(found.get(f"total_{name}", found.get(name, 0))) for name in ("active_file", "inactive_file")
        )
    except (OSError, ValueError):
        return 0


def _number_in(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None  # "max", or no such group
