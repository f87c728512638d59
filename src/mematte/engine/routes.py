"""Routes: a picture of which tokens attended globally in each routed block."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.errors import InputError
from mematte.image import Backdrop, Rows, linear_to_srgb

from .matte import BlockRouting, Report

PANEL_PX = 1024  # longer side of one block's panel, at most
CAPTION_PX = 28
ATTENDS = np.array([1.0, 0.55, 0.0], np.float32)  # orange: readable on photographs, and to the colour-blind
DIMMED = 0.35  # brightness of the picture where tokens are refined instead


def draw_routes(picture: Rows, routings: tuple[BlockRouting, ...], report: Report) -> NDArray[np.uint8]:
    """(h, w, 3) uint8 RGB: one panel per routed block, attending tokens tinted, the others dimmed.

    Args:
        picture: the photo, in memory or an open file.
        routings: of its matte.
        report: of its matte.

    Raises:
        InputError: the network has no routed blocks.
    """
    if not routings:
        raise InputError(
            f"The network {report.weights} ({report.network}) has no routed blocks: every token attends "
            "globally, so there are no routes to draw."
        )
    height, width = picture.size
    scale = min(1.0, PANEL_PX / max(height, width))
    size = (max(1, round(height * scale)), max(1, round(width * scale)))
    small = np.clip(linear_to_srgb(Backdrop(picture, size).rows(slice(0, size[0]))), 0, 1)
    columns = math.ceil(math.sqrt(len(routings)))
    panels = []
    for routing in routings:
        # Pixel centres of the panel -> the token that each lies in.
        row, column = (
            ((np.arange(panel) + 0.5) * side * report.enlarged / panel).astype(int) * grid // padded
            for panel, side, grid, padded in zip(
                size, (height, width), routing.attend.shape, report.padded, strict=True
            )
        )
        attends = routing.attend[np.ix_(row, column)][..., None]
        tinted = np.where(attends, 0.55 * small + 0.45 * ATTENDS, DIMMED * small)
        caption = f"block {routing.block}: {routing.share:.0%} of the tokens attend"
        if routing.asked > routing.attend.sum():
            caption += f" (capped: {routing.asked / routing.attend.size:.0%} asked)"
        panels.append(np.vstack((_caption(caption, size[1]), np.rint(tinted * 255).astype(np.uint8))))
    panels += [np.zeros_like(panels[0])] * (-len(panels) % columns)
    rows = [np.hstack(panels[first : first + columns]) for first in range(0, len(panels), columns)]
    return np.vstack(rows)


def _caption(text: str, width: int) -> NDArray[np.uint8]:
    strip = np.full((CAPTION_PX, width, 3), 24, np.uint8)
    font, line = cv2.FONT_HERSHEY_SIMPLEX, cv2.LINE_AA
    size = min(0.5, 0.5 * (width - 12) / max(1, cv2.getTextSize(text, font, 0.5, 1)[0][0]))
    return np.asarray(cv2.putText(strip, text, (6, 19), font, size, (235, 235, 235), 1, line), np.uint8)
