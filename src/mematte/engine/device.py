"""Device and precision: what was asked for, or an error; never something else in silence."""

from __future__ import annotations

import time
from functools import cache

import torch

from mematte.errors import DeviceError

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
            # Without this PyTorch also counts what it emulates, slower than float32.
            native = torch.cuda.is_bf16_supported(including_emulation=False)
            return torch.bfloat16 if native else torch.float16
        return torch.bfloat16 if device.type == "cpu" and _bfloat16_pays() else torch.float32
    if name not in PRECISIONS:
        raise DeviceError(f"There is no precision {name!r}; use auto, {', '.join(PRECISIONS)}.")
    if name == "float16" and device.type == "cpu":
        raise DeviceError(
            "A CPU does not run float16 at a useful speed; use --precision bfloat16 or float32."
        )
    return PRECISIONS[name]


@cache
def _bfloat16_pays() -> bool:
    """Whether this CPU multiplies bfloat16 matrices clearly faster than float32 ones."""
    seconds = {}
    for dtype in (torch.float32, torch.bfloat16):
        left, right = (torch.ones(256, 768, dtype=dtype), torch.ones(768, 768, dtype=dtype))
        times = []
        for _ in range(6):
            start = time.perf_counter()
            torch.nn.functional.linear(left, right)
            times.append(time.perf_counter() - start)
        seconds[dtype] = min(times[1:])  # the first call sets the kernel up
    return seconds[torch.bfloat16] < 0.8 * seconds[torch.float32]
