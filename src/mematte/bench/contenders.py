"""Contenders: what is measured. Each is made ready once, then called with an image, all unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mematte.engine import Engine, Plan
from mematte.errors import InputError
from mematte.model import SPECS, MEMatte
from mematte.model.router import Decide
from mematte.weights import load_weights
from mematte.weights.checkpoint import weights_of

Run = Callable[[NDArray[np.uint8]], None]
"""(H, W, 3) uint8 image -> a matte, which nobody looks at."""

ATTENDING_SHARE = 0.25  # the share that the published routers are trained to


class QuarterEngine(Engine):
    """An engine in whose routed blocks a fixed share attends: what random routers choose means nothing."""

    def decision(self, plan: Plan) -> Decide:
        """The best-scored quarter of the tokens that are computed attends, up to the cap."""

        def quarter(log_probs: Tensor) -> Tensor:
            margin = log_probs[..., 0] - log_probs[..., 1]
            count = min(plan.pieces.max_global_tokens, round(ATTENDING_SHARE * plan.job.computed_tokens))
            best = margin.topk(count, dim=1).indices
            return torch.zeros_like(margin, dtype=torch.bool).scatter_(1, best, True)

        return quarter


def contender(name: str) -> Run:
    """Make a contender ready, on the CPU.

    Args:
        name: "mematte:SPEC:PRECISION" (random weights, in routed blocks a quarter attends),
            "weights:NAME:PRECISION" (real weights, their own routing), or "vitmatte:small" / "vitmatte:base"
            (Hugging Face's, random weights, float32).

    Raises:
        InputError: no contender is called so.
    """
    check_name(name)
    kind, _, rest = name.partition(":")
    size, _, precision = rest.partition(":")
    if kind == "vitmatte":
        return _vitmatte(size)
    if kind == "weights":
        return _run_engine(Engine(load_weights(size), device="cpu", precision=precision or "auto"))
    torch.manual_seed(0)
    weights = weights_of(MEMatte(SPECS[size]), name=size, licence="none: random")
    return _run_engine(QuarterEngine(weights, device="cpu", precision=precision or "auto"))


def check_name(name: str) -> None:
    """Raise if no contender is called so.

    Raises:
        InputError: it says which there are.
    """
    kind, _, rest = name.partition(":")
    known = {"mematte": tuple(SPECS), "vitmatte": ("small", "base")}
    size = rest.partition(":")[0]
    if (kind == "weights" and size) or size in known.get(kind, ()):
        return
    raise InputError(
        f"There is no contender {name!r}; use mematte:SPEC[:PRECISION] with SPEC one of {', '.join(SPECS)}, "
        "weights:NAME[:PRECISION], vitmatte:small or vitmatte:base."
    )


def check_network(name: str) -> None:
    """Raise if no network is called so.

    Raises:
        InputError: it says which there are.
    """
    if name not in SPECS:
        raise InputError(f"There is no network {name!r}; use one of {', '.join(SPECS)}.")


def _run_engine(engine: Engine) -> Run:
    def run(image: NDArray[np.uint8]) -> None:
        engine(image, np.full(image.shape[:2], 128, np.uint8))

    return run


def vitmatte_network(size: str) -> Any:
    """Hugging Face's network of random weights in float32, in eval mode; "small" or "base".

    Raises:
        InputError: transformers is missing.
    """
    try:
        from transformers import VitDetConfig, VitMatteConfig, VitMatteForImageMatting
    except ImportError:
        raise InputError("Measuring ViTMatte needs transformers: pip install transformers.") from None

    channels, heads = (384, 6) if size == "small" else (768, 12)
    # The configuration of hustvl/vitmatte-small-composition-1k and its larger sister.
    figures: dict[str, Any] = {
        "hidden_size": channels,
        "num_attention_heads": heads,
        "num_channels": 4,
        "image_size": 512,
        "pretrain_image_size": 224,
        "window_size": 14,
        "window_block_indices": [0, 1, 3, 4, 6, 7, 9, 10],
        "residual_block_indices": [2, 5, 8, 11],
        "use_absolute_position_embeddings": True,
        "use_relative_position_embeddings": True,
        "out_features": ["stage12"],
    }
    backbone = VitDetConfig(**figures)
    torch.manual_seed(0)
    config = VitMatteConfig(
        backbone_config=backbone,
        hidden_size=channels,
        convstream_hidden_sizes=[48, 96, 192],
        fusion_hidden_sizes=[256, 128, 64, 32],
    )
    return VitMatteForImageMatting(config).eval()


def _vitmatte(size: str) -> Run:
    network = vitmatte_network(size)

    @torch.inference_mode()
    def run(image: NDArray[np.uint8]) -> None:
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].float() / 127.5 - 1
        network(torch.cat((pixels, torch.full_like(pixels[:, :1], 0.5)), dim=1))

    return run
