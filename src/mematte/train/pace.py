"""Pace: which part of a step the time of a run goes to, without making the device wait."""

from __future__ import annotations

import time
from itertools import pairwise
from typing import Any

import torch

from mematte.engine.memory import peak_process_bytes

STAGES = ("forward", "backward", "update")
"""Of a step: up to the loss; gradients, exchanged between processes; clipping, optimiser and average."""


class Pace:
    """Moments of some steps. On CUDA they are events on its stream, which are read at the end."""

    def __init__(self) -> None:
        self._device = torch.device("cpu")
        self._steps: list[list[Any]] = []

    def begin(self, device: torch.device) -> None:
        """A step's batch is on the device."""
        self._device = device
        self._steps.append([])
        self.mark()

    def mark(self) -> None:
        """A stage has ended."""
        if self._device.type == "cuda":
            moment: Any = torch.cuda.Event(enable_timing=True)
            moment.record(torch.cuda.current_stream(self._device))
        else:
            moment = time.monotonic()
        self._steps[-1].append(moment)

    def figures(self, seconds: float) -> dict[str, float]:
        """Each stage's share of so many seconds, and the process's peak memory so far, in GB.

        On CUDA that is what was allocated there, else what was resident.
        """
        on_cuda = self._device.type == "cuda"
        if on_cuda:
            torch.cuda.synchronize(self._device)
        spent = [0.0] * len(STAGES)
        for moments in self._steps:
            for stage, (begun, ended) in enumerate(pairwise(moments)):
                spent[stage] += _between(begun, ended)
        shares = {stage: each / seconds for stage, each in zip(STAGES, spent, strict=True)}
        peak = torch.cuda.max_memory_allocated(self._device) if on_cuda else peak_process_bytes()
        return shares | {"memory_gb": peak / 1e9}


def _between(begun: Any, ended: Any) -> float:
    """Seconds."""
    if isinstance(begun, float):
        return float(ended - begun)
    return float(begun.elapsed_time(ended)) / 1000
