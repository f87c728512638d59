"""Plan: what a picture's size means for how the network is run. Arithmetic only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mematte.model import ModelSpec
from mematte.model.decoder import HALO_PX
from mematte.model.mematte import SIZE_MULTIPLE_PX

DEFAULT_MAX_GLOBAL_TOKENS = 18_500  # the published cap at inference
DECODER_BYTES = 192_000_000  # of the decoder's largest moment, for one tile


@dataclass(frozen=True)
class Tile:
    """A piece of the padded picture for the decoder; all edges lie on the grid of tokens."""

    core: tuple[slice, slice]  # the rows and columns whose alpha is kept
    window: tuple[slice, slice]  # core and halo: what is decoded

    @property
    def kept(self) -> tuple[slice, slice]:
        """Where the core lies within the window."""
        rows, columns = (
            slice(core.start - window.start, core.stop - window.start)
            for core, window in zip(self.core, self.window, strict=True)
        )
        return rows, columns


@dataclass(frozen=True)
class Plan:
    """How one picture is executed. Sizes are (height, width)."""

    size: tuple[int, int]  # of the picture, px
    padded: tuple[int, int]  # what the network sees, px
    tokens: int  # per block
    max_global_tokens: int  # per routed block
    tile_px: int  # side of a decoder tile without its halo


def make_plan(
    size: tuple[int, int], spec: ModelSpec, max_global_tokens: int | None, bytes_per_value: int
) -> Plan:
    """Plan a picture of (height, width) px.

    Args:
        max_global_tokens: tokens that may attend globally per routed block; None = the published cap.
        bytes_per_value: 4 for float32, 2 for bfloat16 and float16.
    """
    height, width = (-(-side // SIZE_MULTIPLE_PX) * SIZE_MULTIPLE_PX for side in size)
    # The decoder's largest moment: the last fusion's input beside what is being joined into it.
    channels = spec.fusion_channels[-2] * 2 + 4
    side = int((DECODER_BYTES / (channels * bytes_per_value)) ** 0.5)
    return Plan(
        size=size,
        padded=(height, width),
        tokens=height * width // spec.patch**2,
        max_global_tokens=DEFAULT_MAX_GLOBAL_TOKENS if max_global_tokens is None else max_global_tokens,
        tile_px=max(spec.patch, (side - 2 * HALO_PX) // spec.patch * spec.patch),
    )


def tiles(unknown: NDArray[np.bool_], padded: tuple[int, int], tile_px: int, grid_px: int = 16) -> list[Tile]:
    """The tiles that together cover every unknown pixel, each no larger than its unknown pixels need.

    Args:
        unknown: (H, W), of the picture.
        padded: (height, width) that the network sees.
        tile_px: side of a tile without halo, a multiple of `grid_px`.
    """
    height, width = unknown.shape
    found = []
    for top in range(0, height, tile_px):
        for left in range(0, width, tile_px):
            part = unknown[top : top + tile_px, left : left + tile_px]
            spans = [_span(np.any(part, axis=1 - axis), grid_px) for axis in (0, 1)]
            if spans[0] is None or spans[1] is None:
                continue
            core = tuple(
                slice(start + span.start, min(start + span.stop, end))
                for start, span, end in zip((top, left), spans, padded, strict=True)
                if span is not None
            )
            window = tuple(
                slice(max(0, part.start - HALO_PX), min(end, part.stop + HALO_PX))
                for part, end in zip(core, padded, strict=True)
            )
            found.append(Tile((core[0], core[1]), (window[0], window[1])))
    return found


def _span(occupied: NDArray[np.bool_], grid_px: int) -> slice | None:
    """From the first to the last True, widened to the grid; None where there is none."""
    where = np.flatnonzero(occupied)
    if not len(where):
        return None
    return slice(int(where[0]) // grid_px * grid_px, (int(where[-1]) // grid_px + 1) * grid_px)
