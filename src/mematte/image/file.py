"""Pictures larger than memory: a file that stays open and gives its rows when they are asked for."""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np

from mematte.errors import InputError
from mematte.image.bands import span_of
from mematte.image.closing import Closing
from mematte.image.color import FloatArray, as_float
from mematte.image.decode import Decoder
from mematte.image.metadata import Metadata
from mematte.image.picture import Depth, Picture, PixelArray, depth_of, displayed
from mematte.image.read import (
    DEFAULT_MAX_PIXELS,
    GREY_NOTE,
    alpha_note,
    depth_note,
    header_notes,
    is_opaque,
    read_whole,
)

KEPT_ROWS = 256
"""How far up a reader may go without decoding again: tiles and their halos overlap by less."""


def open_picture(
    path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS, role: str = "photo"
) -> PictureFile:
    """Open a picture file for reading by rows; what `read_picture` reads, with the same values.

    Only the header is read here. TIFF (strips and tiles), PNG, JPEG, EXR, DPX, Cineon, BMP, SGI and HDR
    stream. Progressive JPEG, interlaced PNG, TIFF in YCbCr or Lab, WebP, JPEG XL, JPEG 2000, PSD, GIF,
    Targa, PNM and all others are decoded whole by their libraries; pictures that their EXIF orientation
    turns, and EXRs whose data window is not their display window, are held whole here.
    `PictureFile.streams` tells.

    Args:
        path: the file; it must stay as it is while it is open.
        max_pixels: refuse larger pictures, by their header.
        role: what messages call it: "photo", "trimap", "background".

    Raises:
        ImageFileError: as `read_picture`, as far as the header tells (and, of a PNG, its checksums); the
            rest is raised where rows are read.
    """
    return PictureFile(Decoder(path, max_pixels=max_pixels), role)


class PictureFile(Closing):
    """An open picture file as `Rows`: the pixels of `read_picture`, a few rows at a time.

    Reading downwards costs one decoding, and so does going back by up to `KEPT_ROWS` rows; going back
    further decodes again, from the top where the format has no other way. A context manager; for one
    thread.

    `notes` and `has_alpha` know of an alpha channel, and of the highest value, what the rows read so far have
    shown, and are those of `read_picture` once all rows have been read.
    """

    def __init__(self, decoder: Decoder, role: str) -> None:
        self._decoder = decoder
        self._role = role
        self._chunks: dict[int, PixelArray] = {}  # number -> (step, W, 1 or 3), the last ones decoded
        self._kept_chunks = 1 + math.ceil(KEPT_ROWS / decoder.step_rows)
        self._whole: Picture | None = None
        self._has_alpha = False
        self._highest = 0
        self._closed = False

    def close(self) -> None:
        """Close the file and let go of the rows that were kept; a second time does nothing."""
        self._closed = True
        self._chunks.clear()
        self._whole = None
        self._decoder.close()

    @property
    def path(self) -> Path:
        """The file."""
        return self._decoder.path

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels, upright."""
        height, width = self._decoder.shown_size
        return (width, height) if self._decoder.orientation in (5, 6, 7, 8) else (height, width)

    @property
    def linear(self) -> bool:
        """True for scene-linear values, which may exceed 1; False for display-referred ones."""
        return self._decoder.linear

    @property
    def bits(self) -> Depth:
        """Bits per channel; 32 is float."""
        return depth_of(self._dtype)

    @property
    def metadata(self) -> Metadata:
        """What results keep."""
        return self._decoder.metadata

    @property
    def has_alpha(self) -> bool:
        """Whether the rows read so far have an alpha of their own that is not opaque everywhere."""
        return self._has_alpha

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should know, each a phrase."""
        notes = header_notes(self._decoder, self._role)
        if self._decoder.color_channels == 1 and self._role == "photo":
            notes.append(GREY_NOTE)
        if self._dtype == np.uint16 and (note := depth_note(self._highest, self._role)):
            notes.append(note)
        if self._has_alpha:
            notes.append(alpha_note(self._role))
        return tuple(notes)

    @property
    def streams(self) -> bool:
        """Whether memory does not grow with the height: neither format nor orientation needs it all."""
        return not self._decoder.decodes_whole and not self._is_held_whole

    @property
    def decoder_bytes(self) -> int:
        """What the format's library takes while the file is open: some strips, rows of tiles, or all."""
        return self._decoder.decoder_bytes

    @property
    def memory_bytes(self) -> int:
        """What the open file takes at most, but for the rows it hands out: decoder, kept rows, one step."""
        stored_pixel_bytes = self._decoder.color_channels * self._dtype.itemsize
        raw_pixel_bytes = stored_pixel_bytes + self._decoder.has_alpha_channel * (self._dtype.itemsize + 16)
        if self._is_held_whole:  # twice: as stored, and as shown
            pixels = math.prod(self._decoder.stored_size) + math.prod(self.size)
            return self.decoder_bytes + pixels * (3 + self._decoder.has_alpha_channel) * self._dtype.itemsize
        height, width = self.size
        kept_rows = min(height, self._kept_chunks * self._decoder.step_rows)
        step_rows = min(height, self._decoder.step_rows)
        held = kept_rows * stored_pixel_bytes + 2 * step_rows * raw_pixel_bytes
        return self.decoder_bytes + held * width

    def stored(self, rows: slice = slice(None)) -> PixelArray:
        """(h, W, 3) uint8, uint16 or float32, as the file holds them; read-only.

        Raises:
            ImageFileError: the file is damaged or truncated, or holds NaN or infinite values here.
            InputError: it is closed, or the rows have a step.
        """
        if self._closed:
            raise InputError(f"{self.path} is closed; no more rows can be read from it.")
        start, stop = span_of(rows, self.size[0])
        if self._is_held_whole:
            if self._whole is None:
                self._whole = read_whole(self._decoder, self._role)
                self._has_alpha = self._whole.has_alpha
                self._highest = int(self._whole.pixels.max())
            held = self._whole.stored(slice(start, stop))
            held.flags.writeable = False
            return held
        step, parts = self._decoder.step_rows, []
        for number in range(start // step, math.ceil(stop / step)):
            top = number * step
            parts.append(self._chunk(number)[max(0, start - top) : stop - top])
        if not parts:
            return np.empty((0, self.size[1], 3), self._dtype)
        joined = np.concatenate(parts) if len(parts) > 1 else parts[0]
        joined.flags.writeable = False
        return np.broadcast_to(joined, (*joined.shape[:2], 3))  # grey is kept once

    def values(self, rows: slice = slice(None)) -> FloatArray:
        """(h, W, 3) float32 in the file's own encoding; integers become [0, 1]. The array is the caller's.

        Raises:
            ImageFileError: as `stored`.
        """
        stored = self.stored(rows)
        return np.array(stored) if stored.dtype.kind == "f" else as_float(stored)

    def display(self, rows: slice = slice(None)) -> FloatArray:
        """(h, W, 3) float32 in [0, 1], display-referred sRGB, as `Picture.display`.

        Raises:
            ImageFileError: as `stored`.
        """
        return displayed(self.stored(rows), self.linear)

    @property
    def _is_held_whole(self) -> bool:
        return not self._decoder.fills_its_window or self._decoder.orientation in range(2, 9)

    @property
    def _dtype(self) -> np.dtype[np.generic]:
        return np.dtype("float32" if self._decoder.dtype == "float" else self._decoder.dtype)

    def _chunk(self, number: int) -> PixelArray:
        """The rows from `number * step_rows` on, decoded now or kept."""
        if (chunk := self._chunks.get(number)) is not None:
            return chunk
        while len(self._chunks) >= self._kept_chunks:  # before decoding: two of them may be large
            del self._chunks[next(iter(self._chunks))]  # the one decoded first
        top = number * self._decoder.step_rows
        color, alpha = self._decoder.read(top, min(top + self._decoder.step_rows, self.size[0]))
        self._decoder.check_finite()
        if alpha is not None and not self._has_alpha:
            self._has_alpha = not is_opaque(alpha)
        chunk = np.ascontiguousarray(color)
        if chunk.dtype == np.uint16:
            self._highest = max(self._highest, int(chunk.max()))
        chunk.flags.writeable = False
        self._chunks[number] = chunk
        return chunk
