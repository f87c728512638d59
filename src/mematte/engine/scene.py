"""Scene: a photo and its trimap as the network sees them, a window at a time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mematte.image import FOREGROUND, UNKNOWN, Picture, Rows, Trimap, TrimapRows
from mematte.image.picture import displayed
from mematte.weights import Preprocessing

Read = Callable[[slice, slice], Tensor]
"""Rows and columns of the padded picture, px -> (1, 4, h, w), what the network sees there."""


class Scene:
    """Gives windows of the padded picture as tensors.

    Args:
        picture: the photo, in memory or a file.
        trimap: as large.
        preprocessing: what colours are normalised with, and what lies beyond the picture.
        dtype: the network's precision.
        device: where the network is.
    """

    def __init__(
        self,
        picture: Rows,
        trimap: TrimapRows,
        preprocessing: Preprocessing,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        self.picture, self.trimap = picture, trimap
        self._mean, self._std = (
            np.asarray(values, np.float32) for values in (preprocessing.mean, preprocessing.std)
        )
        self._padding = preprocessing.padding
        self._dtype, self._device = dtype, device
        self._as_input = np.zeros(256, np.float32)
        self._as_input[[UNKNOWN, FOREGROUND]] = 0.5, 1.0
        # What is stored as bytes is a quarter as much to carry to a GPU, which also does the rest sooner.
        self._carries_bytes = device.type != "cpu" and not picture.linear
        there = (1 / (255 * self._std), self._mean / self._std, self._as_input)
        self._there = [torch.from_numpy(values).to(device) for values in there]
        # One box for all that is sent: fixing pages in place takes longer than filling them.
        self._outbox = torch.empty(0, dtype=torch.uint8)
        self._left: torch.cuda.Event | None = None  # when it may be filled again
        self._held = slice(0, 0)
        self._stored: NDArray[Any] = np.empty((0, 0, 3))
        self._levels = np.empty((0, 0), np.uint8)

    def hold(self, rows: slice) -> None:
        """Keep these rows until others are asked for: those of one file are not read for each window."""
        if self._held.start <= rows.start < min(rows.stop, self.picture.size[0]) <= self._held.stop:
            return
        self._held = slice(rows.start, min(rows.stop, self.picture.size[0]))
        self._stored, self._levels = self.picture.stored(self._held), self.trimap.level_rows(self._held)

    def read(self, rows: slice, columns: slice) -> Tensor:
        """Rows and columns of the padded picture -> (1, 4, h, w): normalised RGB, trimap 0 / 0.5 / 1."""
        # Where a window lies beyond the picture, its edge is read: that may have to go on there.
        seen_rows, seen_columns = (
            slice(min(part.start, side - 1), min(part.stop, side))
            for part, side in zip((rows, columns), self.picture.size, strict=True)
        )
        if not self._held.start <= seen_rows.start < seen_rows.stop <= self._held.stop:
            self.hold(seen_rows)
        first = self._held.start
        inside = (slice(seen_rows.start - first, seen_rows.stop - first), seen_columns)
        stored, levels = self._stored[inside], self._levels[inside]
        shape = (rows.stop - rows.start, columns.stop - columns.start, 4)
        if self._carries_bytes and stored.dtype == np.uint8:
            inputs = self._carried(stored, levels, shape)
            self._continue(inputs, rows, columns)
            return inputs[None].permute(0, 3, 1, 2)
        part = displayed(stored, self.picture.linear)
        part -= self._mean
        part /= self._std
        inputs = torch.empty(shape, dtype=self._dtype, device="cpu")
        target = inputs[: part.shape[0], : part.shape[1]]
        target[..., :3] = torch.from_numpy(part)
        target[..., 3] = torch.from_numpy(self._as_input[levels])
        self._continue(inputs, rows, columns)
        return inputs[None].to(self._device).permute(0, 3, 1, 2)

    def _carried(
        self, stored: NDArray[np.uint8], levels: NDArray[np.uint8], shape: tuple[int, ...]
    ) -> Tensor:
        """(h, w, 4) of what `read` gives, of bytes that are carried to the device first."""
        scale, shift, as_input = self._there
        inputs = torch.empty(shape, dtype=self._dtype, device=self._device)
        target = inputs[: stored.shape[0], : stored.shape[1]]
        colours, there = self._sent(stored, levels)
        target[..., :3] = (colours * scale).sub_(shift)
        target[..., 3] = as_input[there.int()]
        return inputs

    def _sent(self, *arrays: NDArray[np.uint8]) -> list[Tensor]:
        """On the device, sooner or later: from pages that stay in place, so that nobody waits for it."""
        sizes = [array.size for array in arrays]
        is_cuda = self._device.type == "cuda"
        if self._left is not None:
            self._left.synchronize()
        if len(self._outbox) < sum(sizes):
            self._outbox = torch.empty(sum(sizes), dtype=torch.uint8, pin_memory=is_cuda)
        box = self._outbox[: sum(sizes)]
        for part, array in zip(box.split(sizes), arrays, strict=True):
            part.view(array.shape).numpy()[...] = array
        sent = box.to(self._device, non_blocking=is_cuda)
        if is_cuda:
            self._left = torch.cuda.current_stream(self._device).record_event()
        return [part.view(array.shape) for part, array in zip(sent.split(sizes), arrays, strict=True)]

    def _continue(self, inputs: Tensor, rows: slice, columns: slice) -> None:
        """Fill what lies beyond the picture in (h, w, 4) inputs of these rows and columns."""
        below, right = (
            min(part.stop, max(part.start, side)) - part.start
            for part, side in zip((rows, columns), self.picture.size, strict=True)
        )
        if self._padding == "zeros":
            inputs[below:] = 0
            inputs[:, right:] = 0
            return
        # A window that lies wholly beyond begins with the edge itself.
        below, right = max(1, below), max(1, right)
        inputs[below:, :right] = inputs[below - 1, :right]
        inputs[:, right:] = inputs[:, right - 1, None]

    def settle(self, alpha: NDArray[np.float32], rows: slice) -> None:
        """Set the pixels of these rows of alpha that the trimap is sure of: not the network's to say."""
        levels = self.trimap.level_rows(rows)
        known = levels != UNKNOWN
        alpha[known] = levels[known] == FOREGROUND


def enlarged_picture(picture: Picture, factor: int) -> Picture:
    """A photo at `factor` times its size, so that a hair covers more than one pixel."""
    if factor == 1:
        return picture
    size = (factor * picture.size[1], factor * picture.size[0])
    # As the network is shown them, whatever they are stored as: in light, or rounded to bytes, what lies
    # between two pixels would be something else.
    pixels = cv2.resize(displayed(picture.pixels, picture.linear), size, interpolation=cv2.INTER_CUBIC)
    return Picture(np.clip(pixels, 0, 1, out=pixels), linear=False)


def enlarged_trimap(trimap: Trimap, factor: int) -> Trimap:
    """The trimap of what `enlarged_picture` gives."""
    return trimap if factor == 1 else Trimap(trimap.levels.repeat(factor, axis=0).repeat(factor, axis=1))


def reduced(alpha: NDArray[np.float32], levels: NDArray[np.uint8], factor: int) -> NDArray[np.float32]:
    """The alpha of what `enlarged_picture` gave -> (H, W): means over squares, the known pixels exact."""
    if factor == 1:
        return alpha
    height, width = levels.shape
    squares = alpha.reshape(height, factor, width, factor)
    small: NDArray[np.float32] = squares.mean(axis=(1, 3), dtype=np.float32)
    known = levels != UNKNOWN
    small[known] = levels[known] == FOREGROUND
    return small
