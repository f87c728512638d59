"""An open picture file that gives its rows: header first, then decoded rows, straight, as they are stored.

What is refused by the header is refused here, and so is damage that shows while rows are decoded. What the
rows become (one `Picture`, or bands of a `PictureFile`) is decided elsewhere.
"""

from __future__ import annotations

import math
import os
import stat
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813

from mematte.errors import ImageFileError
from mematte.image.bands import row_bands
from mematte.image.closing import Closing
from mematte.image.color import as_float
from mematte.image.jpeg import has_end, is_progressive_jpeg
from mematte.image.metadata import from_spec, profile_in, profile_note
from mematte.image.picture import PixelArray
from mematte.image.png import check_png, is_interlaced_png

# Camera raw files are TIFF inside: read as TIFF they would give their thumbnail. The others are not in the
# OpenImageIO that is installed from PyPI; the suffix tells the user sooner than "not a picture" would.
_UNREADABLE = {
    **dict.fromkeys((".heic", ".heif", ".hif", ".avif"), "HEIF/AVIF pictures"),
    **dict.fromkeys(
        (".cr2", ".cr3", ".nef", ".arw", ".dng", ".raf", ".orf", ".rw2", ".pef"), "camera raw files"
    ),
    **dict.fromkeys((".mp4", ".mov", ".mkv", ".avi", ".webm"), "films"),
    **dict.fromkeys((".svg", ".pdf", ".eps", ".ai"), "drawings"),
}
# What the JPEG library says about files that are odd but whole.
_HARMLESS = ("extraneous bytes", "Invalid SOS parameters", "unknown Adobe color transform")

WHOLE_BYTES_LIMIT = oiio.get_int_attribute("limits:imagesize_MB") << 20
"""What a picture held whole may take: this machine's memory, at most 32 GB (OpenImageIO's default)."""

# How files begin whose libraries decode row by row. PNG and JPEG do so unless they come in several passes.
_BY_ROWS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\x76\x2f\x31\x01", b"SDPX", b"XPDS")

_STEP_ROWS = 64  # enough that neither Python's share nor a strip read twice is felt, and little memory

# What libraries that decode a whole picture take while they do, in units of its pixels as stored; measured
# at 16 to 30 megapixels with OpenImageIO 3.2. Those that decode by rows are in `_decoder_bytes`.
_WHOLE_DECODERS = {"webp": 2.5, "gif": 2.0, "jpegxl": 1.6, "jpeg2000": 4.8}
_OTHER_WHOLE_DECODERS = 1.5  # Photoshop, Targa, PNM and what else there is

# As OpenImageIO has them, these hold one picture. Some are decoded when they are opened: not twice.
_SINGLE = frozenset(
    ["png", "jpeg", "jpegxl", "jpeg2000", "bmp", "dpx", "cineon", "sgi", "hdr", "pnm", "targa"]
)

# TIFF's photometric interpretations that OpenImageIO has libtiff turn into RGB: YCbCr, three kinds of Lab,
# and two of logarithms.
_CONVERTED_TIFFS = (6, 8, 9, 10, 32844, 32845)
# Orientation -> what is left of it where libtiff has done its flips. It leaves the turning out.
_LEFT_TO_TURN = {2: 1, 3: 1, 4: 1, 6: 7, 7: 5, 8: 7}

_EXR_CHUNK_ROWS = {"none": 1, "rle": 1, "zips": 1, "zip": 16, "pxr24": 16, "dwaa": 32, "dwab": 256}


class Decoder(Closing):
    """A picture file from its header on; its rows are decoded as they are asked for.

    For one thread. Rows that lie further up than those last decoded may make the library start again at
    the top (PNG, JPEG, compressed strips of a TIFF).

    Attributes:
        path: the file.
        stored_size: (height, width) as stored, before the orientation and an EXR's display window.
        fills_its_window: False for an EXR whose data window is not its display window.
        shown_size: (height, width) of the display window: `stored_size` if it fills its window.
        dtype: "uint8", "uint16" or "float" (then float32): what rows are given in.
        color_channels: 1 or 3.
        has_alpha_channel: whether rows come with alpha.
        linear: whether the values are scene-linear.
        kind: OpenImageIO's name of the format.
        orientation: EXIF's, 1 to 8; see `upright` in `read.py`.
        spec: OpenImageIO's header.
        metadata: what results keep.
        notes: what a user should know of the file as a whole.
        step_rows: `read` starts at multiples of this and takes as many at a time, or more: a row of tiles,
            a strip.
        decodes_whole: whether the format's library decodes the whole picture, whatever it is asked for.
        decoder_bytes: what the library takes while the file is open.

    Raises:
        ImageFileError: see `read_picture`.
    """

    def __init__(self, path: str | os.PathLike[str], *, max_pixels: int) -> None:
        self.path = Path(path)
        _check_file(self.path)
        frames_note = check_png(self.path)
        self._reader = self._open()
        try:
            self._read_header(max_pixels, frames_note)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        self._reader.close()

    def read(self, start: int, stop: int) -> tuple[PixelArray, PixelArray | None]:
        """Decode the stored rows from `start` up to `stop`.

        Args:
            start: a multiple of `step_rows`.
            stop: another, or the picture's height.

        Returns:
            Straight colours (n, W, 1 or 3), and their alpha (n, W) or None. NaN and infinite values are in
            them still: `check_finite` tells.

        Raises:
            ImageFileError: the file is damaged or truncated.
        """
        assert start % self.step_rows == 0
        assert stop % self.step_rows == 0 or stop == self.stored_size[0]
        spec, reader = self.spec, self._reader.input
        first, last = min(self._channels), max(self._channels)  # an EXR may hold others
        if spec.tile_width:
            columns, rows = (spec.x, spec.x + spec.width), (spec.y + start, spec.y + stop)
            raw = reader.read_tiles(*columns, *rows, spec.z, spec.z + 1, first, last + 1, self.dtype)
        else:
            raw = reader.read_scanlines(spec.y + start, spec.y + stop, 0, first, last + 1, self.dtype)
        problem = complaint_of(reader)
        is_harmless = any(text in problem for text in _HARMLESS)
        if is_harmless and self.kind == "jpeg" and not has_end(self.path):
            is_harmless, problem = False, "its end is missing"
        if raw is None or (problem and not is_harmless):
            raise ImageFileError(
                f"{self.path} is damaged or truncated ({problem or 'no pixels could be read'})."
            )
        raw = raw.reshape(stop - start, self.stored_size[1], -1)
        if self._is_negative:
            raw[..., self._channels[0] - first] ^= 0xFFFF
        if self._channels != list(range(first, last + 1)):
            raw = raw[..., [channel - first for channel in self._channels]]
        is_finite = self.dtype != "float" or self._count_bad(raw, start) == 0
        if not self.has_alpha_channel:
            return raw, None
        color, alpha = raw[..., :-1], raw[..., -1]
        if self._premultiplied and is_finite:
            color = _straight(color, alpha)
        return color, alpha

    def check_finite(self) -> None:
        """Raise if a value decoded so far is NaN or infinite, with how many there are and where the first is.

        Raises:
            ImageFileError: there is one.
        """
        if self._bad_count:
            values = "1 value that is" if self._bad_count == 1 else f"{self._bad_count} values that are"
            raise ImageFileError(
                f"{self.path} holds {values} NaN or infinite, the first at x={self._bad_first[0]}, "
                f"y={self._bad_first[1]}. Repair it."
            )

    def check_fits(self, pixel_bytes: int) -> None:
        """Raise if the picture, held whole at so many bytes per pixel, exceeds `WHOLE_BYTES_LIMIT`.

        Raises:
            ImageFileError: it does.
        """
        height, width = self.stored_size
        if 0 < WHOLE_BYTES_LIMIT < (needed := height * width * pixel_bytes):
            raise ImageFileError(
                f"{self.path} is {width}x{height} px and takes {needed / 1e6:,.0f} MB as a whole; the memory "
                f"is {WHOLE_BYTES_LIMIT / 1e6:,.0f} MB. Uncropped TIFF, PNG, JPEG and EXR files can be read "
                "by rows."
            )

    def _open(self) -> Reader:
        config = oiio.ImageSpec()
        # Straight files stay straight, not premultiplied and back.
        config.attribute("oiio:UnassociatedAlpha", 1)
        reader = Reader(self.path, config)
        if reader.input is not None:
            return reader
        reason = reader.problem
        if "could not find a format reader" in reason:
            raise ImageFileError(
                f"{self.path} is not a picture, or of a kind that OpenImageIO cannot read here."
            )
        raise ImageFileError(
            f"{self.path} cannot be read as a picture; it may be damaged or truncated ({reason})."
        )

    def _read_header(self, max_pixels: int, frames_note: str | None) -> None:
        self.spec = spec = self._reader.input.spec()
        self.kind = kind = str(self._reader.input.format_name())
        self.stored_size = height, width = int(spec.height), int(spec.width)
        data_window = spec.x, spec.y, width, height
        display_window = spec.full_x, spec.full_y, spec.full_width, spec.full_height
        self.fills_its_window = kind != "openexr" or data_window == display_window
        self.shown_size = (
            self.stored_size if self.fills_its_window else (display_window[3], display_window[2])
        )
        most = max(self.stored_size, self.shown_size, key=math.prod)
        if math.prod(most) > max_pixels:
            raise ImageFileError(
                f"{self.path} is {most[1]}x{most[0]} px, {math.prod(most) / 1e6:,.1f} megapixels; the limit "
                f"is {max_pixels / 1e6:,.1f}. If you trust the file, --max-pixels (max_pixels=) lifts it."
            )
        if spec.deep:  # OpenImageIO would give whatever lies in memory
            raise ImageFileError(
                f"{self.path} is deep: its pixels hold any number of samples. Flatten it first."
            )
        self._channels, layer_note = _pick_channels(spec, self.path)
        self.dtype = {"uint8": "uint8", "half": "float", "float": "float", "double": "float"}.get(
            str(spec.format), "uint16"
        )
        self.has_alpha_channel = len(self._channels) in (2, 4)
        self.color_channels = len(self._channels) - self.has_alpha_channel
        is_converted = _is_converted(spec, kind)
        self._premultiplied = (
            self.has_alpha_channel
            and (is_converted or not spec.get_int_attribute("oiio:UnassociatedAlpha"))
            and _is_premultiplied(kind)
        )
        self._is_negative = _is_negative(spec, kind)
        self.linear = _is_linear(spec, kind, self.dtype)
        self.orientation = int(spec.get_int_attribute("Orientation", 1))
        if is_converted:
            self.orientation = _LEFT_TO_TURN.get(self.orientation, self.orientation)
        self.metadata = from_spec(spec, kind)
        self._bad_count, self._bad_first = 0, (0, 0)
        self.decodes_whole, self.decoder_bytes = _decoder_bytes(spec, kind, self.path)
        self.step_rows = _step_rows(spec, kind)
        _check_promise(spec, kind, self.path)
        if self.decodes_whole:
            self.check_fits(int(spec.pixel_bytes(True)))
        notes = [frames_note or self._count_note(), layer_note, profile_note(profile_in(spec))]
        if "CMYK" in (spec.get_string_attribute(f"{name}:ColorSpace") for name in ("jpeg", "tiff", "psd")):
            notes.append("CMYK, converted to RGB by formula, without its profile")
        self.notes = tuple(note for note in notes if note)

    def _count_note(self) -> str | None:
        """A note if the file holds more pictures than the first."""
        if self.kind in _SINGLE:
            return None
        count = 1
        while self._reader.input.seek_subimage(count, 0):
            count += 1
        self.close()
        self._reader = self._open()  # one that looked for a next picture may not find back
        if count == 1:
            return None
        if self.kind == "psd":
            return f"the merged picture of {count - 1} layer{'s' if count > 2 else ''}"
        word = {"gif": "frames", "webp": "frames", "tiff": "pages", "openexr": "parts"}
        return f"first of {count} {word.get(self.kind, 'pictures')}"

    def _count_bad(self, raw: PixelArray, top: int) -> int:
        """Count NaN and infinite values in the rows (n, W, C) from `top` on, and note where the first is."""
        found = 0
        for rows in row_bands((raw.shape[0], raw.shape[1])):
            bad = ~np.isfinite(raw[rows])
            if here := int(np.count_nonzero(bad)):
                if self._bad_count == 0:
                    y, x = np.argwhere(bad.any(axis=2))[0]
                    self._bad_first = int(x), top + rows.start + int(y)
                self._bad_count += here
                found += here
        return found


class Reader:
    """OpenImageIO's reader of a file, of any size where rows are decoded one after the other.

    OpenImageIO opens nothing whose pixels exceed the machine's memory, and asks again when it goes back.
    Such a file lifts the limit, which is one for the whole process, while it is open. Elsewhere it stays,
    because some libraries decode the whole picture on opening.

    Attributes:
        input: OpenImageIO's reader; None if the file cannot be opened.
        problem: then what OpenImageIO says.
    """

    _lock, _lifted, _limit = Lock(), 0, 0

    def __init__(self, path: Path, config: oiio.ImageSpec | None = None) -> None:
        self._has_lifted = False
        self._open(path, config or oiio.ImageSpec())
        if self.input is None and "MB limit" in self.problem and _decodes_by_rows(path):
            self._lift()
            self._open(path, config or oiio.ImageSpec())
            if self.input is None:
                self.close()

    def close(self) -> None:
        """Close the file; a second time does nothing."""
        if self.input is not None:
            self.input.close()
            complaint_of(oiio)  # a closed reader's belong to nobody
        if self._has_lifted:
            self._has_lifted = False
            with Reader._lock:
                Reader._lifted -= 1
                if Reader._lifted == 0:
                    oiio.attribute("limits:imagesize_MB", Reader._limit)

    def _open(self, path: Path, config: oiio.ImageSpec) -> None:
        self.input: Any = oiio.ImageInput.open(str(path), config)
        self.problem = complaint_of(oiio) if self.input is None else ""

    def _lift(self) -> None:
        with Reader._lock:
            if Reader._lifted == 0:
                Reader._limit = oiio.get_int_attribute("limits:imagesize_MB")
                oiio.attribute("limits:imagesize_MB", 0)
            Reader._lifted += 1
            self._has_lifted = True


def _decodes_by_rows(path: Path) -> bool:
    with path.open("rb") as file:
        magic = file.read(4)
    if magic == b"\x89PNG":
        return not is_interlaced_png(path)
    if magic[:2] == b"\xff\xd8":
        return not is_progressive_jpeg(path)
    return magic in _BY_ROWS


def _step_rows(spec: oiio.ImageSpec, kind: str) -> int:
    """How many rows to decode at a time: whole rows of tiles or strips, about `_STEP_ROWS`."""
    unit = int(spec.tile_height) or _strip_rows(spec, kind)
    # A strip is decoded row by row, and need not be held; where each channel has its own, OpenImageIO goes
    # from one to the other and does not find back.
    is_in_planes = spec.get_string_attribute("planarconfig") == "separate"
    if spec.tile_height == 0 and unit > 4 * _STEP_ROWS and not is_in_planes:
        return _STEP_ROWS
    return unit * max(1, _STEP_ROWS // unit)


def _strip_rows(spec: oiio.ImageSpec, kind: str) -> int:
    """The rows that are compressed together."""
    if kind == "tiff":
        rows = int(spec.get_int_attribute("tiff:RowsPerStrip", 1))
        return (
            min(rows, int(spec.height)) if rows > 0 else int(spec.height)
        )  # 2^32 - 1 reads as -1: one strip
    if kind == "openexr":
        return _EXR_CHUNK_ROWS.get(spec.get_string_attribute("compression").partition(":")[0], 32)
    return 1


def _decoder_bytes(spec: oiio.ImageSpec, kind: str, path: Path) -> tuple[bool, int]:
    """(whether the format's library decodes the whole picture, what it takes while the file is open)."""
    row_bytes = int(spec.width) * int(spec.pixel_bytes(True))
    whole_bytes = int(spec.height) * row_bytes
    if kind == "jpeg" and is_progressive_jpeg(path):
        return True, 2 * int(spec.width) * int(spec.height) * int(spec.nchannels)  # coefficients of 16 bits
    if kind == "png" and is_interlaced_png(path):
        return True, whole_bytes
    if _is_converted(spec, kind):
        return True, 4 * int(spec.width) * int(spec.height)
    if kind in ("png", "jpeg", "bmp", "dpx", "cineon", "sgi", "hdr"):
        return False, 64 * row_bytes
    if kind in ("tiff", "openexr"):
        # Several strips or rows of tiles are decoded at once, by as many threads.
        at_once = int(spec.tile_height) * 2 or min(int(spec.height), _strip_rows(spec, kind) * 6)
        return False, (at_once + 64) * row_bytes
    return True, int(_WHOLE_DECODERS.get(kind, _OTHER_WHOLE_DECODERS) * whole_bytes)


def _check_promise(spec: oiio.ImageSpec, kind: str, path: Path) -> None:
    """Raise if a file without compression is far smaller than its header says."""
    if kind not in ("tiff", "openexr") or spec.get_string_attribute("compression") != "none":
        return
    bits = int(spec.get_int_attribute("oiio:BitsPerSample")) or 8 * int(spec.format.basesize())
    promised = int(spec.width) * int(spec.height) * int(spec.nchannels) * bits // 8
    held = path.stat().st_size
    if held < promised / 4:  # a quarter, because palettes and subsampled colour take less than is given
        raise ImageFileError(
            f"{path} is truncated: its header promises {promised / 1e6:,.1f} MB of pixels, and the file has "
            f"{held / 1e6:,.1f} MB."
        )


def _check_file(path: Path) -> None:
    """Raise for what can be said without looking into the file."""
    try:
        str(path).encode()  # OpenImageIO takes nothing else
        mode = path.stat().st_mode
    except UnicodeError:
        raise ImageFileError(f"The name {str(path)!a} is not valid UTF-8. Rename the file.") from None
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: a name with a null byte
        raise ImageFileError(f"{path} does not exist.") from None
    except OSError as error:
        raise ImageFileError(f"{path} cannot be opened: {error.strerror}.") from error
    if stat.S_ISDIR(mode):
        raise ImageFileError(f"{path} is a folder, not a picture.")
    if not stat.S_ISREG(mode):
        raise ImageFileError(f"{path} is a pipe or a device; save the picture as a file first.")
    if (kind := _UNREADABLE.get(path.suffix.lower())) is not None:
        raise ImageFileError(f"{path}: {kind} cannot be read. Convert it to TIFF, PNG or EXR first.")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise ImageFileError(f"{path} cannot be opened: {error.strerror}.") from error
    if empty:
        raise ImageFileError(f"{path} is empty (0 bytes).")


def _pick_channels(spec: oiio.ImageSpec, path: Path) -> tuple[list[int], str | None]:
    """Indices of [Y], [Y, A], [R, G, B] or [R, G, B, A], and a note if others were left out."""
    names = list(spec.channelnames)
    # An EXR of layers only ("beauty.R"): the first layer that has colours is the picture.
    for prefix in dict.fromkeys(["", *(name.rpartition(".")[0] + "." for name in names if "." in name)]):
        for wanted in (("R", "G", "B"), ("r", "g", "b"), ("red", "green", "blue"), ("Y",), ("y",)):
            picked = [prefix + name for name in wanted]
            if not all(name in names for name in picked):
                continue
            if wanted == ("Y",) and prefix + "RY" in names:
                raise ImageFileError(
                    f"{path} holds luminance and chroma (Y, RY, BY). Convert it to RGB first."
                )
            picked += [name for name in (prefix + "A", prefix + "a") if name in names][:1]
            others = [name for name in names if name not in picked]
            note = f"of {len(names)} channels only {', '.join(picked)} are used" if others else None
            return [names.index(name) for name in picked], note
    if len(names) == 1:
        return [0], None
    if str(spec.format) in ("uint8", "uint16") and len(names) in (3, 4):
        return list(range(len(names))), None
    raise ImageFileError(
        f"{path} has no red, green and blue, and no grey: its channels are {', '.join(names[:8])}"
        f"{' ...' if len(names) > 8 else ''}."
    )


def _is_premultiplied(kind: str) -> bool:
    """Whether a format's alpha is premultiplied when the file does not say: by the rules of the format."""
    return kind not in ("jpegxl", "webp", "png", "gif", "psd", "bmp", "ico", "targa", "jpeg2000", "dds")


def _is_converted(spec: oiio.ImageSpec, kind: str) -> bool:
    """Whether OpenImageIO has libtiff make 8-bit RGBA of a whole TIFF: premultiplied, and already flipped."""
    is_jpeg = spec.get_string_attribute("compression") in ("jpeg", "ojpeg")
    return kind == "tiff" and (
        spec.get_int_attribute("tiff:PhotometricInterpretation") in _CONVERTED_TIFFS
        or (is_jpeg and spec.nchannels != 3)
    )


def _is_negative(spec: oiio.ImageSpec, kind: str) -> bool:
    """Whether 0 is white in a TIFF's integers of more than 8 bits: OpenImageIO turns only 8 bits around."""
    is_white_zero = kind == "tiff" and spec.get_int_attribute("tiff:PhotometricInterpretation", 1) == 0
    return is_white_zero and str(spec.format) in ("uint16", "uint", "uint32")


def _straight(color: PixelArray, alpha: PixelArray) -> PixelArray:
    """Premultiplied (H, W, C) and (H, W) -> straight colours; where alpha is 0, or so small that they
    would leave the range of float, they stay as they are."""
    result = np.empty_like(color)
    top = np.iinfo(color.dtype).max if color.dtype.kind == "u" else None
    for rows in row_bands(alpha.shape):
        cover = as_float(alpha[rows])[..., None]
        with np.errstate(over="ignore"):
            divided = color[rows] / np.where(cover > 0, cover, np.float32(1))
        if top is None:
            result[rows] = np.where(np.isfinite(divided), divided, color[rows])
        else:
            result[rows] = np.rint(np.minimum(divided, top))
    return result


def _is_linear(spec: oiio.ImageSpec, kind: str, dtype: str) -> bool:
    """Scene-linear or not: the file's word if it says, else float is linear and integers are not."""
    space = spec.get_string_attribute("oiio:ColorSpace").lower()
    if kind in ("openexr", "hdr"):
        return True
    if dtype == "float":
        return "srgb" not in space and "g22" not in space
    return space.startswith("lin")


def complaint_of(library: Any) -> str:
    """What OpenImageIO, or a reader or writer of it, complains of, in one line; it is forgotten then."""
    try:
        said = library.geterror()
    except UnicodeDecodeError as error:  # it quotes a damaged file
        said = error.object.decode("utf-8", "replace")
    return one_line("".join(letter if letter.isprintable() or letter == "\n" else "?" for letter in said))


def one_line(text: str) -> str:
    """The first line of what OpenImageIO says, without the full stop."""
    return text.strip().split("\n")[0].rstrip(".")
