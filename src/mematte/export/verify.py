"""Verify: an exported file in ONNX Runtime against our own network."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mematte.errors import ExportError
from mematte.image.trimap import BACKGROUND_UP_TO, FOREGROUND_FROM
from mematte.model import MEMatte, within_budget
from mematte.model.mematte import pad
from mematte.weights import Preprocessing

ALPHA_TOLERANCE = 1e-4

# Two programs that add in different orders may part over a token whose margin is zero to so much.
MARGIN_TOLERANCE = 1e-3

# (height, width, most attending tokens): smaller than a token, one more than a window, one less, any.
CASES = ((1, 15, 18_500), (225, 223, 18_500), (223, 225, 20), (97, 40, 0), (330, 161, 18_500))


OTHERWISE = "Nothing was written. Another version of onnxruntime may compute rightly."


@dataclass(frozen=True)
class Verification:
    """How far two results are apart: alphas at most, and how many decisions differ."""

    sizes: tuple[tuple[int, int], ...]  # (height, width)
    largest: float
    decisions: int  # each about a margin of zero


def verify(path: Path, network: MEMatte, preprocessing: Preprocessing) -> Verification:
    """Compare a file with the network it was made from, on noise of several sizes.

    Raises:
        ExportError: ONNX Runtime refuses the file, or the alphas differ by more than 1e-4, or the routes by
            more than rounding can.
    """
    session = open_session(path)
    generator = torch.Generator().manual_seed(0)
    largest, decisions = 0.0, 0
    for height, width, cap in CASES:
        image = torch.rand(1, 3, height, width, generator=generator)
        # Coarse squares, so that regions have an inside.
        squares = torch.rand(1, 1, height // 20 + 1, width // 20 + 1, generator=generator)
        trimap = squares.repeat_interleave(20, 2).repeat_interleave(20, 3)[..., :height, :width]
        distance, differing = compare(session, network, preprocessing, image, trimap, cap)
        if not distance <= ALPHA_TOLERANCE:  # NaN is too much, too
            raise ExportError(
                f"On {width}x{height} px ONNX Runtime differs from mematte by {distance:.2g}, and "
                f"{ALPHA_TOLERANCE:g} is the most. {OTHERWISE}"
            )
        largest, decisions = max(largest, distance), decisions + differing
    return Verification(tuple(case[:2] for case in CASES), largest, decisions)


def open_session(path: Path) -> Any:
    """An `onnxruntime.InferenceSession` on the CPU, with as many threads as torch takes.

    Raises:
        ExportError: ONNX Runtime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors are of a dozen classes that share no other root
        reason = str(error).splitlines()[0]
        raise ExportError(
            f"ONNX Runtime {onnxruntime.__version__} refuses the file: {reason}. A lower opset may help."
        ) from error


def run(
    session: Any, image: Tensor, trimap: Tensor, cap: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """(1, 1, H, W) alpha, and (R, h, w) who attends, from ONNX Runtime."""
    feeds = {"image": image.numpy(), "trimap": trimap.numpy()}
    if any(one.name == "max_global_tokens" for one in session.get_inputs()):
        feeds["max_global_tokens"] = np.asarray(cap, np.int64)
    alpha, *attend = session.run(None, feeds)
    return alpha, attend[0] if attend else np.zeros((0, 1, 1), np.bool_)


def compare(
    session: Any, network: MEMatte, preprocessing: Preprocessing, image: Tensor, trimap: Tensor, cap: int
) -> tuple[float, int]:
    """The largest difference of two alphas, and how many tokens are routed differently.

    Ours is computed with the other's routes, once these are seen to be ours but for margins of about zero: a
    token that goes another way changes its surroundings by more than rounding does.

    Args:
        session: from `open_session`.
        network: ours, in float32.
        preprocessing: how the network is shown pictures.
        image: (1, 3, H, W) in [0, 1].
        trimap: (1, 1, H, W) in [0, 1].
        cap: most tokens that attend.

    Raises:
        ExportError: a route differs by more than rounding can.
    """
    theirs, attend = run(session, image, trimap, cap)
    routes = iter(torch.from_numpy(attend).flatten(1))
    differing = 0

    def decide(log_probs: Tensor) -> Tensor:
        nonlocal differing
        decided: Tensor = next(routes)[None]
        differing += _check_route(log_probs, decided, cap)
        return decided

    background, foreground = trimap <= BACKGROUND_UP_TO, trimap >= FOREGROUND_FROM
    levels = torch.where(background, 0.0, torch.where(foreground, 1.0, 0.5))
    mean, std = (
        torch.tensor(values)[None, :, None, None] for values in (preprocessing.mean, preprocessing.std)
    )
    inputs = pad(torch.cat(((image - mean) / std, levels), dim=1), preprocessing.padding)
    with torch.inference_mode():
        alpha = network(inputs, decide).alpha[..., : image.shape[2], : image.shape[3]]
    alpha = torch.where(background, 0.0, torch.where(foreground, 1.0, alpha))
    return float((alpha - torch.from_numpy(theirs)).abs().max()), differing


def _check_route(log_probs: Tensor, route: Tensor, cap: int) -> int:
    """How many tokens a route sends elsewhere than `within_budget`; an `ExportError` if rounding cannot."""
    ours = within_budget(log_probs, cap)
    apart = ours != route
    margin = log_probs[..., 0] - log_probs[..., 1]
    # A token is taken from this margin on: zero, or that of the last for whom there is room.
    least = margin[ours].min().item() if ours.any() and int(ours.sum()) == cap else 0.0
    if int(route.sum()) > cap or bool(((margin - least).abs() > MARGIN_TOLERANCE)[apart].any()):
        raise ExportError(
            f"ONNX Runtime sends {int(route.sum())} tokens to attention and mematte {int(ours.sum())}, of at "
            f"most {cap}. {OTHERWISE}"
        )
    return int(apart.sum())
