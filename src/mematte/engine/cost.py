"""Cost: how many operations a plan takes, and how long they take here.

Operations are floating-point multiplications and additions, counted from the network's shape. What a second
holds of them is measured once per network, device and precision on a small picture, and kept.
"""

from __future__ import annotations

import json
import math
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from mematte import __version__
from mematte.image import Picture, Trimap
from mematte.model import ModelSpec
from mematte.model.decoder import HALO_PX

from .fusion import levels
from .plan import Job, Plan
from .run import Engine

TARGET_SHARE = 0.25  # of the tokens that attend globally: what routers are trained to
SAMPLE_PX = 448  # two windows per axis
GPU_SAMPLE_PX = 4 * SAMPLE_PX  # a GPU would not be busy with less


@dataclass(frozen=True)
class Operations:
    """Of a whole picture."""

    encode: float
    decode: float


@dataclass(frozen=True)
class Rates:
    """Operations per second."""

    encode: float
    decode: float

    def seconds(self, operations: Operations) -> float:
        """How long so many take."""
        return operations.encode / self.encode + operations.decode / self.decode


def operations(plan: Plan, unknown_share: float, attending_share: float = TARGET_SHARE) -> Operations:
    """What a plan takes for a picture of which so much is unknown and so many tokens attend globally."""
    job, side = plan.job, plan.pieces.tile_px
    shares = [min(1.0, side / end) for end in job.padded]
    # A tile is decoded with what lies around it, the less the finer the level.
    per_pixel = sum(
        count * math.prod(1 + 2 * halo_px * (1 - share) / side for share in shares)
        for halo_px, count in _decoder_per_pixel(job.spec)
    )
    attending = min(plan.pieces.max_global_tokens, attending_share * job.computed_tokens)
    return Operations(
        encode=_encoder(job, attending, twice=not plan.pieces.second_map),
        decode=math.prod(job.padded) * min(1.0, unknown_share) * per_pixel,
    )


def _encoder(job: Job, attending: float, *, twice: bool) -> float:
    """`twice`: refined tokens are computed once for the gate and once more for themselves."""
    spec, tokens, channels = job.spec, job.computed_tokens, job.spec.channels
    linear = 8 * channels**2  # query, key, value, projection
    mlp = 4 * spec.mlp_ratio * channels**2
    residual = 6.5 * channels**2
    router = 3.25 * channels**2
    refine = (12 if twice else 8) * channels**2 + (200 if twice else 100) * channels
    per_block = {
        "W": tokens * (linear + mlp + 4 * spec.window**2 * channels),
        "R": tokens * (router + refine + mlp + residual) + attending * (linear + 4 * attending * channels),
        "G": tokens * (linear + mlp + residual + 4 * tokens * channels),
    }
    embed = tokens * 2 * 4 * spec.patch**2 * channels
    return embed + sum(per_block[letter] for letter in spec.blocks)


def _decoder_per_pixel(spec: ModelSpec) -> Iterator[tuple[int, float]]:
    """(px around a tile for which it is done too, operations per pixel) of each part."""
    details = (4, *spec.detail_channels)
    for scale, (below, above) in enumerate(pairwise(details), start=1):
        yield HALO_PX, 18 * below * above / 4**scale
    for level in levels(spec):
        yield level.around_px, level.operations / level.scale**2
    yield level.around_px, 18 * level.fused * spec.head_channels


def rates(engine: Engine, *, fresh: bool = False) -> Rates:
    """What this engine computes in a second: kept from an earlier call, or measured in about a second.

    Args:
        engine: whose network, device and precision count.
        fresh: measure in any case.
    """
    file = cache_folder() / "rates.json"
    kept = _kept(file)
    key = _key(engine)
    if not fresh and key in kept:
        return Rates(*kept[key])
    measured = _measured(engine)
    kept[key] = (measured.encode, measured.decode)
    _keep(file, kept)
    return measured


def _measured(engine: Engine) -> Rates:
    sample_px = SAMPLE_PX if engine.device.type == "cpu" else GPU_SAMPLE_PX
    picture = Picture(np.full((sample_px, sample_px, 3), 128, np.uint8))
    trimap = Trimap(np.full((sample_px, sample_px), 128, np.uint8))
    found = []
    for _ in range(3):  # the first call sets kernels up
        matte = engine(picture, trimap)
        side = matte.report.enlarged * sample_px
        shares = [routing.share for routing in matte.routings] or [1.0]
        counted = operations(engine.plan(engine.job((side, side))), 1.0, sum(shares) / len(shares))
        seconds = matte.report.seconds
        found.append(Rates(counted.encode / seconds["encode"], counted.decode / seconds["decode"]))
    return max(found, key=lambda rates: rates.encode)


def _key(engine: Engine) -> str:
    """What the rate depends on."""
    device = (
        torch.cuda.get_device_name(engine.device)
        if engine.device.type == "cuda"
        else f"{engine.device} {platform.machine()} {platform.processor()} {torch.get_num_threads()} threads"
    )
    versions = f"torch {torch.__version__}", f"mematte {__version__}"
    return " | ".join((str(engine.spec), device, str(engine.precision), *versions))


def cache_folder() -> Path:
    """Where small things are kept between runs: as the system's convention has it."""
    if os.name == "nt":
        parent = os.environ.get("LOCALAPPDATA") or str(Path.home() / "AppData" / "Local")
    else:
        parent = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(parent) / "mematte"


def _kept(file: Path) -> dict[str, tuple[float, float]]:
    try:
        return {key: (float(one), float(other)) for key, (one, other) in json.loads(file.read_text()).items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # not there, or not ours: it is measured again


def _keep(file: Path, kept: dict[str, tuple[float, float]]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.{os.getpid()}")
        partial.write_text(json.dumps(kept, indent=1))
        partial.replace(file)
    except OSError:
        return  # a cache that cannot be written is measured again next time
