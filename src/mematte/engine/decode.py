"""Decode: the decoder, tile by tile, only where the trimap is unknown.

Only the picture's true edges count as edges: each tile sees all that its pixels see in one piece, so tiled
equals whole. The finer a level, the less around the core it has to compute. Inside a tile the finer levels go
by strips of rows: their maps would be the largest of all.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from mematte.model import ModelSpec
from mematte.model.decoder import Decoder
from mematte.model.doubling import Ends

from .fusion import FUSION_HALO_ROWS, HALO_ROWS, Fusion, levels
from .plan import Plan, Tile
from .replay import Directly, Sections
from .scene import Read
from .scope import spans


def decode(
    decoder: Decoder,
    features: Tensor,
    read: Read,
    tiles: Iterable[Tile],
    plan: Plan,
    alpha: NDArray[np.float32],
    sections: Sections | None = None,
) -> None:
    """Write the decoder's alpha into some rows of the picture, wherever a tile's core lies.

    Args:
        decoder: in eval mode.
        features: (h, w, C) from the backbone.
        read: what the network sees, a window at a time.
        tiles: of one row of tiles, from `plan.rows_of_tiles`.
        plan: size of the strips.
        alpha: (n, W) float32, the rows of the picture that the row of tiles covers; changed in place.
        sections: who computes the tiles; None: they are computed as they come.
    """
    do = sections or Directly()

    def computed(tile: Tile) -> Tensor:
        rows, columns = (_tokens(part, plan.patch) for part in tile.window)
        return _decoded(decoder, features[None, rows, columns], read(*tile.window), tile, plan)

    def fetch(tile: Tile, decoded: Fetched) -> None:
        target = torch.from_numpy(alpha[tile.core_in_row])
        # The padding beyond the picture is cut off here.
        target.copy_(decoded.tensor()[0, 0, : target.shape[0], : target.shape[1]])

    at_once = 2 if features.is_cuda else 1  # one is fetched while a GPU computes the other
    under_way: deque[tuple[Tile, Fetched]] = deque()
    for tile in tiles:
        under_way.append((tile, Fetched(do(f"tile {tile.core}", partial(computed, tile)))))
        if len(under_way) == at_once:
            fetch(*under_way.popleft())
    for some in under_way:
        fetch(*some)


class Fetched:
    """A tensor on its way from the device; from a CUDA device others may be asked for before it is there."""

    def __init__(self, tensor: Tensor) -> None:
        self._tensor = tensor.to("cpu", non_blocking=tensor.is_cuda)
        self._there: torch.cuda.Event | None = None
        if tensor.is_cuda:
            self._there = torch.cuda.current_stream(tensor.device).record_event()

    def tensor(self) -> Tensor:
        """Wait for it."""
        if self._there is not None:
            self._there.synchronize()
        return self._tensor


def _tokens(pixels: slice, patch: int) -> slice:
    return slice(pixels.start // patch, pixels.stop // patch)


def _decoded(decoder: Decoder, features: Tensor, inputs: Tensor, tile: Tile, plan: Plan) -> Tensor:
    """What `Decoder.forward` computes of a tile's core, of features and inputs of its window.

    (B, 1, H, W) float32.
    """
    details = [inputs]
    for convolve in decoder.details:
        details.append(convolve(details[-1]))

    def finish(fused: Tensor) -> Tensor:
        alpha: Tensor = decoder.head(fused).float().sigmoid()
        return alpha

    coarse = features.permute(0, 3, 1, 2)
    start = [0, 0]  # where the coarse map begins in the window, in its own pixels
    for level, fuse in enumerate(decoder.fusions):
        detail, scale = details.pop(), plan.patch >> level
        ends = []  # whether the picture ends where the maps do
        for axis, (window, part) in enumerate(zip(tile.window, tile.kept, strict=True)):
            # Everything at this level that the kept pixels see, as far as the window goes.
            first = max(start[axis], part.start // scale - HALO_ROWS)
            last = min(start[axis] + coarse.shape[2 + axis], part.stop // scale + HALO_ROWS)
            coarse = coarse.narrow(2 + axis, first - start[axis], last - first)
            detail = detail.narrow(2 + axis, 2 * first, 2 * (last - first))
            start[axis] = 2 * first
            ends.append(
                (
                    window.start + scale * first == 0,
                    window.start + scale * last == plan.padded[axis],
                )
            )
        is_last = level == len(decoder.fusions) - 1
        most_values = plan.pieces.strip_values
        coarse = _in_strips(fuse, detail, coarse, Ends(*ends), most_values, finish if is_last else None)
    rows, columns = (
        slice(part.start - begin, part.stop - begin) for part, begin in zip(tile.kept, start, strict=True)
    )
    return coarse[..., rows, columns]


def _in_strips(
    fuse: nn.Module,
    detail: Tensor,
    coarse: Tensor,
    ends: Ends,
    most_values: int,
    finish: Callable[[Tensor], Tensor] | None,
) -> Tensor:
    """`finish` of a fusion of a detail map and a coarse map half as large, some coarse rows at a time.

    At most `most_values` numbers, but those of at least one coarse row, are made at once.
    """
    assert isinstance(fuse, Fusion), "prepared by `for_inference`"
    height, width = coarse.shape[-2:]
    values_per_row = 4 * width * fuse.strip_channels
    halo = HALO_ROWS if finish else FUSION_HALO_ROWS
    result: Tensor | None = None
    for rows in spans(height, max(1, most_values // values_per_row - 2 * halo)):
        top, bottom = max(0, rows.start - halo), min(height, rows.stop + halo)
        strip_ends = Ends((ends.rows[0] and top == 0, ends.rows[1] and bottom == height), ends.columns)
        fused = fuse(detail[..., 2 * top : 2 * bottom, :], coarse[..., top:bottom, :], strip_ends)
        finished = finish(fused) if finish else fused
        strip = finished[..., 2 * (rows.start - top) : 2 * (rows.stop - top), :]
        if result is None:
            if rows.stop == height:
                return strip
            shape = (strip.shape[0], strip.shape[1], 2 * height, 2 * width)
            result = torch.empty(
                shape, dtype=strip.dtype, device=strip.device, memory_format=torch.channels_last
            )
        result[..., 2 * rows.start : 2 * rows.stop, :] = strip
    assert result is not None, "a map has rows"
    return result


def for_inference(decoder: Decoder, spec: ModelSpec) -> Decoder:
    """A copy in eval mode: batch norms folded into the convolutions before them, fusions as in `fusion`."""
    folded = copy.deepcopy(decoder).eval()
    for sequence in [module for module in folded.modules() if isinstance(module, nn.Sequential)]:
        for index, module in enumerate(sequence):
            before = sequence[index - 1]
            if isinstance(module, nn.BatchNorm2d) and isinstance(before, nn.Conv2d):
                sequence[index - 1] = fuse_conv_bn_eval(before, module)
                sequence[index] = nn.Identity()
    fusions: list[nn.Module] = []
    for fusion, level in zip(folded.fusions, levels(spec), strict=True):
        convolution = fusion.get_submodule("0")
        assert isinstance(convolution, nn.Conv2d), "a fusion begins with it"
        fusions.append(Fusion(convolution, level.detail))
    folded.fusions = nn.ModuleList(fusions)
    return folded
