"""Shares: how many tokens each routed block let attend, how many the cap cut off, and where they lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mematte.image import Trimap, TrimapRows

from .matte import BlockRouting, Report


@dataclass(frozen=True)
class BlockShares:
    """The tokens of one routed block, counted. Shares are 0 to 1, and None where there is nothing to share.

    Every token that was computed either attended or was refined; `capped` are those of the refined that the
    router had sent to attention. What lies beyond the picture, in the padding, is not unknown.
    """

    block: int  # its place in the block string, from 0
    tokens: int
    attending: int
    capped: int
    unknown: int  # tokens with an unknown pixel under them
    attending_unknown: int  # those of them that attended
    left_out: int = 0  # in windows that were not computed

    @property
    def refined(self) -> int:
        """Tokens that were refined because the router wanted it so."""
        return self.tokens - self.attending - self.capped - self.left_out

    def share(self, count: int) -> float:
        """A count of tokens as a share of all."""
        return count / self.tokens

    @property
    def share_inside(self) -> float | None:
        """Share of the unknown region's tokens that attended."""
        return self.attending_unknown / self.unknown if self.unknown else None

    @property
    def share_outside(self) -> float | None:
        """Share of all other tokens that attended."""
        others = self.tokens - self.unknown
        return (self.attending - self.attending_unknown) / others if others else None


def block_shares(
    routings: Sequence[BlockRouting], unknown: NDArray[np.bool_] | None = None
) -> tuple[BlockShares, ...]:
    """Count each block's tokens.

    Args:
        routings: of a matte.
        unknown: (h, w) token grid, from `unknown_tokens`; None: nothing is said about where they lie.
    """
    shares = []
    for routing in routings:
        inside = np.zeros_like(routing.attend) if unknown is None else unknown
        shares.append(
            BlockShares(
                block=routing.block,
                tokens=routing.attend.size,
                attending=int(routing.attend.sum()),
                capped=0 if routing.capped is None else int(routing.capped.sum()),
                unknown=int(inside.sum()),
                attending_unknown=int((routing.attend & inside).sum()),
                left_out=0 if routing.left_out is None else int(routing.left_out.sum()),
            )
        )
    return tuple(shares)


def token_px(routing: BlockRouting, report: Report) -> float:
    """Pixels of the picture per token and axis; of one that is shown larger no whole number, perhaps."""
    return report.padded[0] / len(routing.attend) / report.enlarged


def unknown_tokens(trimap: TrimapRows, routing: BlockRouting, report: Report) -> NDArray[np.bool_]:
    """(h, w) token grid of the padded picture: whether any pixel under the token is unknown.

    Raises:
        SizeMismatchError: the trimap is not as large as the picture.
        TrimapError: no pixel is unknown.
    """
    times = report.enlarged
    if times > 1:  # such a picture is small
        levels = trimap.level_rows(slice(0, report.size[0]))
        trimap = Trimap(levels.repeat(times, axis=0).repeat(times, axis=1))
    patch_px = report.padded[0] // len(routing.attend)
    cells = trimap.scan((times * report.size[0], times * report.size[1]), patch_px=patch_px).cells
    unknown = np.zeros_like(routing.attend)
    unknown[: cells.shape[0], : cells.shape[1]] = cells
    return unknown


def times_attended(routings: Sequence[BlockRouting]) -> NDArray[np.uint8]:
    """(h, w) token grid: in how many of the blocks each token attended."""
    times: NDArray[np.uint8] = np.sum([routing.attend for routing in routings], axis=0, dtype=np.uint8)
    return times
