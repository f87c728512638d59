"""Tensors on their way to the device that trains."""

from __future__ import annotations

import torch
from torch import Tensor


def carried(tensor: Tensor, device: torch.device | str) -> Tensor:
    """The tensor on a device; for CUDA the computer does not wait until all before it is done.

    Of other devices it is not certain that they copy before the tensor's memory is used again.
    """
    return tensor.to(device, non_blocking=torch.device(device).type == "cuda")
