"""Matte: what an engine gives back, and what can be made of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.image import (
    Picture,
    as_picture,
    composite,
    estimate_foreground,
    parse_color,
    write_alpha,
    write_cutout,
    write_picture,
)

from .device import threads_kept

SHOWN_PX = 1000  # of the longer side in a notebook


@dataclass(frozen=True, eq=False, repr=False)
class BlockRouting:
    """Which tokens attended globally in one routed block."""

    block: int  # its place in the block string, from 0
    attend: NDArray[np.bool_]  # (h, w) token grid of the padded picture
    asked: int  # tokens that the router sent to attention; more than attend if the cap cut some off
    capped: NDArray[np.bool_] | None = None  # (h, w) those that the cap cut off; None if it cut none
    left_out: NDArray[np.bool_] | None = (
        None  # (h, w) those in windows that were not computed; None if all were
    )

    @property
    def share(self) -> float:
        """Attending tokens as a share of all, 0 to 1."""
        return float(self.attend.mean())

    def __repr__(self) -> str:
        """In a line."""
        return f"BlockRouting(block {self.block}: {self.share:.1%} of {self.attend.size:,} tokens attend)"


@dataclass(frozen=True)
class Report:
    """What was done and what it took. Sizes are (height, width) in px, memory is bytes, times are seconds."""

    weights: str
    weights_source: str  # the file, or the repository, that they were read from
    network: str
    device: str
    precision: str
    size: tuple[int, int]
    enlarged: int  # times that the network was shown the picture larger than it is
    padded: tuple[int, int]
    tokens: int
    computed_tokens: int  # less where windows far from the unknown region are left out
    max_global_tokens: int
    unknown_share: float  # of the trimap's pixels
    first_reduced: int  # times that the network was shown the picture smaller than it is first; 1: it was not
    asked_share: float  # of the pixels, that it was asked about at its own size: less after such a first look
    seconds: dict[str, float]
    memory_bytes: int  # the budget
    planned_bytes: int  # the predicted peak, in the measure of the next
    peak_bytes: int  # of the whole process so far on a CPU, of allocated memory on a GPU
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Matte:
    """An alpha matte and the picture it belongs to.

    Attributes:
        alpha: (H, W) float32 in [0, 1], straight; exactly 0 and 1 where the trimap is sure.
        picture: the image as it was read.
        trimap: (H, W) uint8 of 0, 128, 255.
        routings: one per routed block; empty for a network without routing.
        report: what was done and what it took.
    """

    alpha: NDArray[np.float32]
    picture: Picture
    trimap: NDArray[np.uint8]
    routings: tuple[BlockRouting, ...]
    report: Report

    def __repr__(self) -> str:
        """In a line."""
        height, width = self.alpha.shape
        done, seconds = self.report, sum(self.report.seconds.values())
        how = f"by {done.weights} on {done.device} in {seconds:.1f} s"
        return f"Matte({width}x{height} px, {done.unknown_share:.0%} unknown, {how})"

    def _repr_png_(self) -> bytes:
        """The alpha as notebooks show it, reduced where it is large."""
        scale = min(1.0, SHOWN_PX / max(self.alpha.shape))
        height, width = (max(1, round(scale * side)) for side in self.alpha.shape)
        shown = cv2.resize(self.alpha, (width, height), interpolation=cv2.INTER_AREA)
        return cv2.imencode(".png", np.rint(255 * shown).astype(np.uint8))[1].tobytes()

    @cached_property
    def foreground(self) -> NDArray[np.float32]:
        """(H, W, 3) float32 foreground colours in the picture's encoding, without the background's light."""
        with threads_kept():
            return estimate_foreground(self.picture.values(), self.alpha)

    def composite(self, background: object) -> NDArray[np.float32]:
        """The foreground over a colour or a picture, added in linear light.

        Args:
            background: a colour as "#rrggbb", a name or "r,g,b"; (r, g, b) in [0, 1]; or whatever an
                image can be.

        Returns:
            (H, W, 3) float32 in the picture's encoding.

        Raises:
            InputError: neither a colour nor an image.
        """
        behind: Any = background
        if isinstance(background, str) and not os.path.exists(background):  # noqa: PTH110, "#fff" is no path
            behind = parse_color(background)
        elif not isinstance(background, tuple):
            behind = as_picture(background, role="background")
        return composite(self.foreground, self.alpha, behind, linear=self.picture.linear)

    def save(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the alpha; the suffix decides the format, the picture the depth.

        Raises:
            OutputError: it cannot be written there; nothing was left behind.
        """
        write_alpha(path, self.alpha, like=self.picture, force=force)

    def save_cutout(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write foreground colours and alpha as RGBA: EXR premultiplied and linear, the others straight."""
        write_cutout(path, self.foreground, self.alpha, like=self.picture, force=force)

    def save_foreground(self, path: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write the foreground colours, opaque."""
        write_picture(path, self.foreground, like=self.picture, force=force)

    def save_composite(
        self, path: str | os.PathLike[str], background: object, *, force: bool = False
    ) -> None:
        """Write the foreground over a colour or a picture."""
        write_picture(path, self.composite(background), like=self.picture, force=force)
