"""Device and precision: what was asked for, or an error; never something else in silence."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch

from mematte.errors import DeviceError
from mematte.processes import begin_threads

from .memory import cuda_bytes

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(name: str = "auto") -> torch.device:
    """The device of that name; "auto" is the first CUDA GPU, else Apple's, else the CPU.

    Raises:
        DeviceError: there is no such device, or PyTorch here cannot use it.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(
            f"There is no device called {name!r}; use auto, cpu, cuda, cuda:1 or mps."
        ) from None
    if device.type == "cuda" and not torch.cuda.is_available():
        built = "this PyTorch is built without CUDA" if torch.version.cuda is None else "it finds no CUDA GPU"
        raise DeviceError(
            f"Asked for {name}, but {built}. Use --device cpu, or install PyTorch for your GPU."
        )
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise DeviceError(
            f"Asked for {name}, but there are {torch.cuda.device_count()} GPUs, counted from 0."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError("Asked for mps, but PyTorch finds no Apple GPU here. Use --device cpu.")
    if device.type not in ("cpu", "cuda", "mps"):
        raise DeviceError(f"The network runs on cpu, cuda and mps, not on {name}.")
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The floating-point type the network runs in.

    "auto" is half precision where that is faster: float16 on CUDA GPUs before Ampere, bfloat16 on later ones,
    on a CPU what a measurement of some milliseconds says, and float32 elsewhere.

    Raises:
        DeviceError: there is no such precision, or the device cannot run it.
    """
    if name == "auto":
        if device.type == "cuda":
            # `is_bf16_supported` would ask the current device, which may be another card.
            native = torch.version.hip is not None or torch.cuda.get_device_properties(device).major >= 8
            return torch.bfloat16 if native else torch.float16
        return torch.bfloat16 if device.type == "cpu" and _bfloat16_pays() else torch.float32
    if name not in PRECISIONS:
        raise DeviceError(f"There is no precision {name!r}; use auto, {', '.join(PRECISIONS)}.")
    if name == "float16" and device.type == "cpu":
        raise DeviceError(
            "A CPU does not run float16 at a useful speed; use --precision bfloat16 or float32."
        )
    return PRECISIONS[name]


@contextmanager
def exact(device: torch.device) -> Iterator[None]:
    """Within, float32 is float32 on CUDA too, not TF32's ten bits of mantissa; settings return afterwards.

    Attention leaves cuDNN out: that prepares itself for each new number of tokens, and every picture has
    others that attend. Nor are convolutions tried out for each new size of a tile, as training does.
    """
    if device.type != "cuda":
        yield
        return
    attribute, exactly = ("fp32_precision", "ieee") if _has_precisions() else ("allow_tf32", False)
    switches: tuple[Any, ...] = (torch.backends.cuda.matmul, _convolutions())
    before = [getattr(switch, attribute) for switch in switches]
    cudnn_attends, tries_out = torch.backends.cuda.cudnn_sdp_enabled(), torch.backends.cudnn.benchmark
    try:
        for switch in switches:
            setattr(switch, attribute, exactly)
        torch.backends.cuda.enable_cudnn_sdp(False)
        torch.backends.cudnn.benchmark = False
        yield
    finally:
        torch.backends.cudnn.benchmark = tries_out
        torch.backends.cuda.enable_cudnn_sdp(cudnn_attends)
        for switch, setting in zip(switches, before, strict=True):
            setattr(switch, attribute, setting)


@contextmanager
def allocating_at_most(device: torch.device, more_bytes: int) -> Iterator[None]:
    """Within, PyTorch allocates at most so many bytes more on CUDA. A smaller limit of the user's stays,
    where PyTorch is new enough to tell it.

    cuDNN may ask for gigabytes to work in: 6 were seen, for exact float32 on an H200, where 0.2 were planned.
    When it does not get them PyTorch takes the next of its algorithms.
    """
    if device.type != "cuda":
        yield
        return
    # PyTorch's functions about limits ask for a device's number.
    device = torch.device("cuda", torch.cuda.current_device() if device.index is None else device.index)
    # Asynchronous allocation tells a limit beyond all memory where there is none.
    before = min(1.0, torch.cuda.get_per_process_memory_fraction(device)) if _knows_its_limit() else 1.0
    total = torch.cuda.get_device_properties(device).total_memory
    # What is reserved, allocated or not, counts against the limit.
    limit = (cuda_bytes(device, "reserved") + max(0, more_bytes)) / total
    torch.cuda.set_per_process_memory_fraction(min(before, limit), device)
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(before, device)


def begin(device: torch.device) -> None:
    """Called before work on a device.

    Raises:
        DeviceError: the work had begun in the process that this one was forked from. With one thread, as in
            the processes of a `DataLoader`, a CPU goes on all the same.
    """
    if device.type != "cpu" or torch.get_num_threads() > 1:
        begin_threads("PyTorch")


@contextmanager
def threads_kept() -> Iterator[None]:
    """Within, PyMatting's compiled loops use as many threads as PyTorch, and PyTorch does so afterwards too.

    Both may take theirs from the same library, which has one number for all.
    """
    import numba  # compiling takes a second, which most mattes do not need

    begin_threads("numba")
    threads, theirs = torch.get_num_threads(), numba.get_num_threads()
    numba.set_num_threads(min(threads, theirs))
    try:
        yield
    finally:
        numba.set_num_threads(theirs)
        torch.set_num_threads(threads)


def _knows_its_limit() -> bool:
    return hasattr(torch.cuda, "get_per_process_memory_fraction")  # newer than the oldest PyTorch we take


def _has_precisions() -> bool:
    """Whether PyTorch names precisions per kind of operation: since 2.9, where the older switches warn."""
    return hasattr(torch.backends.cudnn, "conv")


def _convolutions() -> Any:
    cudnn: Any = torch.backends.cudnn
    return cudnn.conv if _has_precisions() else cudnn


@cache
def _bfloat16_pays() -> bool:
    """Whether this CPU multiplies bfloat16 matrices clearly faster than float32 ones."""
    pairs = {
        dtype: (torch.ones(256, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype))
        for dtype in (torch.float32, torch.bfloat16)
    }
    fastest = dict.fromkeys(pairs, float("inf"))
    for _ in range(8):  # in turn: what else the machine does slows both
        for dtype, (left, right) in pairs.items():
            start = time.perf_counter()
            torch.nn.functional.linear(left, right)
            fastest[dtype] = min(fastest[dtype], time.perf_counter() - start)
    return fastest[torch.bfloat16] < 0.8 * fastest[torch.float32]
