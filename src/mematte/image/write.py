"""Results out: alphas, cut-outs, pictures and trimaps, whole or not at all.

The suffix decides the format. EXR and float TIFF are scene-linear, all others display-referred; EXR is
premultiplied, all others straight. A file is written under a temporary name beside its place, checked, and
then renamed; whatever goes wrong on the way (a full disk, Ctrl-C), the temporary is removed and what was
there before stays as it was. A file is written by rows, from the top, so that the whole picture need never
be in memory; only the libraries of WebP and JPEG XL want all of it (`encoder_bytes`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import OpenImageIO as oiio  # noqa: N813
from numpy.typing import NDArray

from mematte.errors import ImageFileError, InputError, MatteError, OutputError
from mematte.files import appearing, partial_of, target_of
from mematte.image.bands import row_bands
from mematte.image.color import FloatArray, linear_to_srgb, srgb_to_linear
from mematte.image.decode import Reader, complaint_of
from mematte.image.metadata import Metadata, into_spec
from mematte.image.picture import Rows
from mematte.image.png import check_png, is_png
from mematte.image.trimap import Levels
from mematte.processes import begin_threads

Bits = Literal[8, 16, "half", "float"]
Kind = Literal["alpha", "trimap", "cutout", "picture"]

_KIND_WORDS = {"alpha": "an alpha", "trimap": "a trimap", "cutout": "a cut-out", "picture": "a picture"}
_CHANNELS: dict[Kind, int] = {"alpha": 1, "trimap": 1, "cutout": 4, "picture": 3}
_BIGTIFF_FROM_BYTES = 3_900_000_000  # offsets of 32 bits end at 4.29e9, and what does not compress grows
_PNG_BUFFER_BYTES = 8192
_LEAST_JPEG_XL_BYTES = 128
_HALF_MAX = np.float32(65504)
_TYPES: dict[Bits, str] = {8: "uint8", 16: "uint16", "half": "half", "float": "float"}


@dataclass(frozen=True)
class Format:
    """What a file format can hold, and how it is asked to compress."""

    name: str
    bits: tuple[Bits, ...]
    compression: str | None
    exact: bool = True  # lossless, with an alpha channel: JPEG is neither
    grey: bool = True
    most_px: int | None = None  # per side
    reserve: bool = False  # OpenImageIO's JPEG writer ends the process on a full disk, its WebP writer hangs
    encoder_share: float = 0  # what the encoder takes, in units of the pixels as stored; 0: some rows


_PNG = Format("PNG", (8, 16), None)
_TIFF = Format("TIFF", (8, 16, "float"), "zip")
_JPEG = Format("JPEG", (8,), "jpeg:95", exact=False, most_px=65_500, reserve=True)
FORMATS = {
    ".png": _PNG,
    ".tif": _TIFF,
    ".tiff": _TIFF,
    ".exr": Format("OpenEXR", ("half", "float"), "zip"),
    ".webp": Format("WebP", (8,), "lossless", grey=False, most_px=16_383, reserve=True, encoder_share=12),
    ".jxl": Format("JPEG XL", (8, 16), "jpegxl:100", encoder_share=6),
    ".jpg": _JPEG,
    ".jpeg": _JPEG,
}


def check_output(
    path: str | os.PathLike[str],
    kind: Kind,
    force: bool = False,
    *,
    bits: Bits | None = None,
    size: tuple[int, int] | None = None,
) -> None:
    """Raise now what writing would raise after hours of work. Leaves nothing behind.

    Args:
        path: where the result will go.
        kind: what it will be: "alpha" and "trimap" (grey), "cutout" (colours and alpha) or "picture"
            (opaque colours).
        force: whether an existing file may be replaced.
        bits: the depth that will be asked for, if any.
        size: (height, width), if known: some formats have a largest.

    Raises:
        OutputError: the suffix cannot hold this, the file exists, or its folder is missing or not writable.
    """
    path = Path(path)
    form = _format_for(path, kind)
    if bits is not None and bits not in form.bits:
        able = [suffix for suffix, other in _able(kind).items() if bits in other.bits]
        raise OutputError(
            f"{path}: {form.name} cannot hold {_bits_word(bits)} per channel, only "
            f"{' or '.join(map(_bits_word, form.bits))}. These can: {', '.join(able)}."
        )
    if size is not None and form.most_px is not None and max(size) > form.most_px:
        raise OutputError(
            f"{path}: {form.name} holds at most {form.most_px} px per side; this is {size[1]}x{size[0]} px. "
            "Use .png, .tif or .exr."
        )
    folder = target_of(path).parent
    try:
        is_folder, exists, has_folder = path.is_dir(), path.exists(), folder.is_dir()
        if has_folder and not is_folder:
            temporary = partial_of(path)
            temporary.touch(exist_ok=False)
            temporary.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    if is_folder:
        raise OutputError(f"{path} is a folder; name a file in it.")
    if not has_folder:
        raise OutputError(f"{path}: the folder {folder} does not exist. Make it first.")
    if exists and not force:
        raise OutputError(f"{path} exists. --force (force=True) replaces it.")


def default_bits(path: str | os.PathLike[str], like: Rows | None = None) -> Bits:
    """The depth a result gets when none is asked for: the photograph's, as far as the suffix can hold it.

    8-bit photographs give 8 bits, 16-bit ones 16, float ones a float TIFF or else 16 bits; EXR is half.
    """
    bits = _format_for(Path(path), "picture").bits
    by_depth: dict[int, tuple[Bits, ...]] = {8: (8,), 16: (16,), 32: ("half", "float", 16)}
    wanted = by_depth[8 if like is None else like.bits]
    return next((choice for choice in wanted if choice in bits), bits[0])


def encoder_bytes(
    path: str | os.PathLike[str], kind: Kind, size: tuple[int, int], bits: Bits | None = None
) -> int:
    """What writing a picture of (height, width) takes besides the rows handed over: arithmetic only.

    Some rows, or, for WebP and JPEG XL, several times the whole picture.

    Raises:
        OutputError: the suffix cannot hold this.
    """
    form, channels = _format_for(Path(path), kind), _CHANNELS[kind]
    if channels == 1 and not form.grey:
        channels = 3
    row_bytes = size[1] * channels * {8: 1, 16: 2, "half": 2, "float": 4}[bits or default_bits(path)]
    return round(max(64, form.encoder_share * size[0]) * row_bytes)


class AlphaWriter:
    """An alpha that is being written, from the top; see `alpha_writer`."""

    def __init__(self, sink: _Sink) -> None:
        self._sink = sink

    def write(self, alpha: FloatArray) -> None:
        """The next rows, (n, W) float in [0, 1].

        Raises:
            OutputError: the disk is full.
            InputError: another shape or range, or more rows than were announced.
        """
        _check_unit(alpha, "alpha")
        self._sink.check_next(alpha.shape)
        for rows in row_bands((alpha.shape[0], alpha.shape[1])):
            self._sink.write(alpha[rows][..., None])


class PictureWriter:
    """Opaque colours that are being written, from the top; see `picture_writer`."""

    def __init__(self, sink: _Sink, encoding: _Encoding) -> None:
        self._sink = sink
        self._encoding = encoding

    def write(self, rgb: FloatArray) -> None:
        """The next rows, (n, W, 3) float.

        Raises:
            OutputError, InputError: as `AlphaWriter.write`.
        """
        _check_color(rgb)
        self._sink.check_next(rgb.shape)
        for rows in row_bands((rgb.shape[0], rgb.shape[1])):
            self._sink.write(self._encoding(rgb[rows]))


class CutoutWriter:
    """Colours with alpha that are being written, from the top; see `cutout_writer`."""

    def __init__(self, sink: _Sink, encoding: _Encoding) -> None:
        self._sink = sink
        self._encoding = encoding

    def write(self, foreground: FloatArray, alpha: FloatArray) -> None:
        """The next rows: (n, W, 3) float, straight, and (n, W) float in [0, 1].

        Raises:
            OutputError, InputError: as `AlphaWriter.write`.
        """
        _check_unit(alpha, "alpha")
        _check_color(foreground, alpha.shape)
        self._sink.check_next(alpha.shape)
        for rows in row_bands((alpha.shape[0], alpha.shape[1])):
            colors, cover = self._encoding(foreground[rows]), alpha[rows][..., None]
            if self._encoding.premultiply:
                colors = colors * cover
            self._sink.write(np.concatenate((colors, cover), axis=2))


@contextlib.contextmanager
def alpha_writer(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    *,
    bits: Bits | None = None,
    like: Rows | None = None,
    metadata: Metadata | None = None,
    force: bool = False,
) -> Iterator[AlphaWriter]:
    """Write an alpha of (height, width) by rows: values as they are, no profile, no transfer curve.

        with alpha_writer("a.tif", (height, width)) as writer:
            for rows in bands:
                writer.write(alpha_of(rows))

    The file appears when the block ends. If the block raises, nothing is left behind.

    Args:
        size: (height, width) of the whole; that many rows must be written.
        bits: None follows `like`, the photograph: see `default_bits`.
        metadata: None takes that of `like`.

    Raises:
        OutputError: as `check_output`, or the disk is full; nothing is left behind.
        InputError: the alpha is of another shape or range, or rows are missing.
    """
    # A profile describes colours, and an alpha is none: with one, viewers would show it changed.
    metadata = metadata or (like.metadata if like is not None else Metadata())
    with _sink(
        Path(path), "alpha", size, bits or default_bits(path, like), metadata, force, profile=False
    ) as sink:
        yield AlphaWriter(sink)


@contextlib.contextmanager
def cutout_writer(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    *,
    like: Rows | None = None,
    linear: bool | None = None,
    bits: Bits | None = None,
    force: bool = False,
) -> Iterator[CutoutWriter]:
    """Write foreground colours and alpha of (height, width) as RGBA, by rows; see `alpha_writer`.

    Args:
        like: the photograph: its depth, metadata and encoding are the result's.
        linear: whether the colours are scene-linear rather than display-referred; None: as `like`.
        bits: None: see `default_bits`.

    Raises:
        OutputError, InputError: as `alpha_writer`.
    """
    with _color_sink(Path(path), "cutout", size, like, linear, bits, force) as (sink, encoding):
        yield CutoutWriter(sink, encoding)


@contextlib.contextmanager
def picture_writer(
    path: str | os.PathLike[str],
    size: tuple[int, int],
    *,
    like: Rows | None = None,
    linear: bool | None = None,
    bits: Bits | None = None,
    force: bool = False,
) -> Iterator[PictureWriter]:
    """Write opaque colours of (height, width) by rows. As `cutout_writer`, and JPEG is allowed."""
    with _color_sink(Path(path), "picture", size, like, linear, bits, force) as (sink, encoding):
        yield PictureWriter(sink, encoding)


def write_alpha(
    path: str | os.PathLike[str],
    alpha: FloatArray,
    *,
    bits: Bits | None = None,
    like: Rows | None = None,
    metadata: Metadata | None = None,
    force: bool = False,
) -> None:
    """Write an alpha, (H, W) in [0, 1], as a grey picture: `alpha_writer` in one go.

    Raises:
        OutputError, InputError: as `alpha_writer`.
    """
    _check_unit(alpha, "alpha")
    size = (alpha.shape[0], alpha.shape[1])
    with alpha_writer(path, size, bits=bits, like=like, metadata=metadata, force=force) as writer:
        writer.write(alpha)


def write_trimap(path: str | os.PathLike[str], levels: Levels, *, force: bool = False) -> None:
    """Write a trimap, (H, W) uint8 of three levels, as an 8-bit grey picture (EXR: half).

    Raises:
        OutputError: as `alpha_writer`.
        InputError: it is no (H, W) uint8.
    """
    if levels.ndim != 2 or levels.dtype != np.uint8:
        raise InputError(f"A trimap must be (H, W) uint8, not {levels.dtype} of shape {levels.shape}.")
    size = (levels.shape[0], levels.shape[1])
    with _sink(Path(path), "trimap", size, default_bits(path), Metadata(), force, profile=False) as sink:
        for rows in row_bands(size):
            sink.write(levels[rows][..., None] * np.float32(1 / 255))


def write_cutout(
    path: str | os.PathLike[str],
    foreground: FloatArray,
    alpha: FloatArray,
    *,
    like: Rows | None = None,
    linear: bool | None = None,
    bits: Bits | None = None,
    force: bool = False,
) -> None:
    """Write foreground colours and alpha as RGBA: `cutout_writer` in one go.

    Args:
        foreground: (H, W, 3) float32, straight; display-referred in [0, 1], or scene-linear if `linear`.
        alpha: (H, W) float32 in [0, 1].

    Raises:
        OutputError, InputError: as `alpha_writer`.
    """
    _check_unit(alpha, "alpha")
    size = (alpha.shape[0], alpha.shape[1])
    with cutout_writer(path, size, like=like, linear=linear, bits=bits, force=force) as writer:
        writer.write(foreground, alpha)


def write_picture(
    path: str | os.PathLike[str],
    rgb: FloatArray,
    *,
    like: Rows | None = None,
    linear: bool | None = None,
    bits: Bits | None = None,
    force: bool = False,
) -> None:
    """Write opaque colours, (H, W, 3), a foreground or a composite: `picture_writer` in one go."""
    _check_color(rgb)
    size = (rgb.shape[0], rgb.shape[1])
    with picture_writer(path, size, like=like, linear=linear, bits=bits, force=force) as writer:
        writer.write(rgb)


@dataclass(frozen=True)
class _Encoding:
    """From colours as they are given to colours as the file holds them; both linear or display-referred."""

    from_linear: bool
    to_linear: bool
    premultiply: bool

    def __call__(self, colors: FloatArray) -> FloatArray:
        if self.from_linear and not self.to_linear:
            return linear_to_srgb(colors)
        if self.to_linear and not self.from_linear:
            return srgb_to_linear(colors)
        return colors


@contextlib.contextmanager
def _color_sink(
    path: Path,
    kind: Kind,
    size: tuple[int, int],
    like: Rows | None,
    linear: bool | None,
    bits: Bits | None,
    force: bool,
) -> Iterator[tuple[_Sink, _Encoding]]:
    bits = bits or default_bits(path, like)
    encoding = _Encoding(
        from_linear=linear if linear is not None else like is not None and like.linear,
        to_linear=_is_linear(bits),
        premultiply=_format_for(path, kind).name == "OpenEXR",
    )
    metadata = like.metadata if like is not None else Metadata()
    # A profile says what display-referred numbers look like; it says nothing true about linear ones, and a
    # linear source's profile nothing about display-referred ones.
    profile = not encoding.to_linear and not encoding.from_linear
    with _sink(path, kind, size, bits, metadata, force, profile=profile) as sink:
        yield sink, encoding


class _Sink:
    """A file that takes rows, from the top."""

    def __init__(self, writer: oiio.ImageOutput, path: Path, size: tuple[int, int], bits: Bits) -> None:
        self._writer = writer
        self._path = path
        self._size = size
        self._bits: Bits = bits
        self._done = 0  # rows

    def check_next(self, shape: tuple[int, ...]) -> None:
        """Raise if rows of this shape (n, W, ...) do not come next."""
        height, width = self._size
        if shape[1] != width or self._done + shape[0] > height:
            raise InputError(
                f"{self._path} is to be {width}x{height} px and has {self._done} rows; {shape[0]} rows of "
                f"{shape[1]} px do not fit."
            )

    def check_complete(self) -> None:
        """Raise if rows are missing."""
        if self._done != self._size[0]:
            raise InputError(
                f"{self._path} was not written: only {self._done} of its {self._size[0]} rows were given."
            )

    def abandon(self) -> None:
        """Make ready to close a file that nobody wants: libpng prints if no pixel has reached the disk."""
        spec = self._writer.spec()
        if self._writer.format_name() != "png":
            return
        noise = np.random.default_rng(0).integers(
            0, 256, 3 * _PNG_BUFFER_BYTES, np.uint8
        )  # does not compress
        row_bytes = int(spec.width) * int(spec.nchannels)
        for row in range(self._done, min(spec.height, self._done + -(-noise.size // row_bytes))):
            values = np.resize(np.roll(noise, -row * row_bytes), (1, spec.width, spec.nchannels))
            self._writer.write_scanlines(row, row + 1, 0, values)

    def write(self, band: FloatArray) -> None:
        """Write the next rows, (n, W, C) in the file's encoding."""
        values = _quantised(band, self._bits)
        channels = int(self._writer.spec().nchannels)
        if values.shape[2] != channels:
            values = np.repeat(values, channels, axis=2)
        stop = self._done + len(values)
        if not self._writer.write_scanlines(self._done, stop, 0, np.ascontiguousarray(values)):
            raise OutputError(_failed(self._path, complaint_of(self._writer)))
        self._done = stop


@contextlib.contextmanager
def _sink(
    path: Path,
    kind: Kind,
    size: tuple[int, int],
    bits: Bits,
    metadata: Metadata,
    force: bool,
    *,
    profile: bool,
) -> Iterator[_Sink]:
    """A file that appears as `path` when the block ends, if it does not raise and all rows were written."""
    check_output(path, kind, force, bits=bits, size=size)
    spec = _header(path, kind, size, bits, metadata, profile=profile)
    if FORMATS[path.suffix.lower()].name == "OpenEXR":
        begin_threads("OpenEXR")
    with _in_place(path, force) as temporary:
        if FORMATS[path.suffix.lower()].reserve:
            _reserve(temporary, bytes_needed=spec.image_bytes() * 3 // 2 + 1_000_000)
        writer = oiio.ImageOutput.create(str(temporary))
        if writer is None or not writer.open(str(temporary), spec):
            raise OutputError(_failed(path, complaint_of(oiio if writer is None else writer)))
        sink = _Sink(writer, path, size, bits)
        try:
            yield sink
            sink.check_complete()
        except BaseException as error:
            if not isinstance(error, OutputError):
                sink.abandon()
            raise
        finally:
            closed = writer.close()
        if not closed:
            raise OutputError(_failed(path, complaint_of(writer)))
        if FORMATS[path.suffix.lower()].name == "JPEG XL":
            _lengthen(temporary)
        _check_written(temporary, path, size)


def _header(
    path: Path, kind: Kind, size: tuple[int, int], bits: Bits, metadata: Metadata, *, profile: bool
) -> oiio.ImageSpec:
    """What OpenImageIO is told about a file before its pixels."""
    form, channels = FORMATS[path.suffix.lower()], _CHANNELS[kind]
    if channels == 1 and not form.grey:
        channels = 3
    spec = oiio.ImageSpec(size[1], size[0], channels, _TYPES[bits])
    if form.compression is not None:
        spec.attribute("compression", form.compression)
    if form is _TIFF and spec.image_bytes() >= _BIGTIFF_FROM_BYTES:
        spec.attribute("tiff:bigtiff", 1)
    if form.name == "OpenEXR":
        spec.attribute("oiio:ColorSpace", "lin_rec709_scene")
    elif channels == 4:
        spec.attribute("oiio:UnassociatedAlpha", 1)  # ours is straight already: do not divide it again
    if form is _JPEG:
        spec.attribute("jpeg:subsampling", "4:4:4")  # half-size colour would bring the halo back
    coloured_exr = form.name == "OpenEXR" and kind != "alpha"
    into_spec(metadata, spec, form.name.lower(), profile=profile, chromaticities=coloured_exr)
    return spec


@contextlib.contextmanager
def _in_place(path: Path, force: bool) -> Iterator[Path]:
    """A temporary file beside `path`: takes its place if the block succeeds, vanishes if it does not."""
    try:
        with appearing(path) as temporary:
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())  # some file systems say only now that the disk is full
            if path.exists() and not force:
                raise OutputError(
                    f"{path} was made by someone else meanwhile. --force (force=True) replaces it."
                )
    except OSError as error:
        if isinstance(error, MatteError):  # ours says more; or it is about a file that was being read
            raise
        raise OutputError(_failed(path, error.strerror or str(error))) from error


def _reserve(temporary: Path, bytes_needed: int) -> None:
    """Make sure that the disk has room for more than the file can become, then leave the room to it."""
    with temporary.open("wb") as file:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, bytes_needed)
        elif shutil.disk_usage(temporary.parent).free < bytes_needed:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        file.truncate(0)


def _lengthen(temporary: Path) -> None:
    """OpenImageIO, for one, reads no JPEG XL of fewer bytes: a box follows that readers pass over."""
    with temporary.open("rb+") as file:
        if file.read(12)[4:8] == b"JXL " and temporary.stat().st_size < _LEAST_JPEG_XL_BYTES:
            file.seek(0, os.SEEK_END)
            file.write(struct.pack(">I4s", _LEAST_JPEG_XL_BYTES, b"free") + bytes(_LEAST_JPEG_XL_BYTES - 8))


def _check_written(temporary: Path, path: Path, size: tuple[int, int]) -> None:
    """Read the end of what was written: not every writer in OpenImageIO says when the disk was full."""
    try:
        check_png(temporary)
    except ImageFileError as error:
        raise OutputError(_failed(path, "the file ends too soon; the disk may be full")) from error
    if path.suffix.lower() == ".png":
        if not is_png(temporary):  # not even its beginning found room
            raise OutputError(_failed(path, "nothing could be written; the disk may be full"))
        return  # the checksums of all chunks are right: decoding it would tell no more
    reader = Reader(temporary)
    if reader.input is None:
        raise OutputError(_failed(path, reader.problem or "what was written cannot be read"))
    try:
        spec = reader.input.spec()
        last = spec.y + spec.height - 1
        tail = reader.input.read_scanlines(last, last + 1, 0, 0, spec.nchannels, "float")
        problem = complaint_of(reader.input)
    finally:
        reader.close()
    if (spec.height, spec.width) != size or tail is None or problem:
        raise OutputError(_failed(path, problem or "the file ends too soon; the disk may be full"))


def _quantised(values: FloatArray, bits: Bits) -> NDArray[Any]:
    """[0, 1] -> the nearest level of 8 or 16 bits; floats stay floats."""
    if bits == "float":
        return values.astype(np.float32, copy=False)  # OpenImageIO knows one order of bytes
    if bits == "half":
        return np.clip(values, -_HALF_MAX, _HALF_MAX)  # beyond, half has only infinity
    dtype = np.uint8 if bits == 8 else np.uint16
    levels = np.clip(values, 0, 1) * np.float32(np.iinfo(dtype).max)
    rounded: NDArray[Any] = np.rint(levels, out=levels).astype(dtype)
    return rounded


def _is_linear(bits: Bits) -> bool:
    """Float files are scene-linear, integer ones display-referred; `read_picture` takes them so too."""
    return bits in ("half", "float")


def _able(kind: Kind) -> dict[str, Format]:
    return {suffix: form for suffix, form in FORMATS.items() if form.exact or kind == "picture"}


def _format_for(path: Path, kind: Kind) -> Format:
    able = _able(kind)
    if (form := able.get(path.suffix.lower())) is None:
        if path.is_dir():
            raise OutputError(f"{path} is a folder; name a file in it.")
        suffix = f"the suffix {path.suffix}" if path.suffix else "a name without a suffix"
        raise OutputError(f"{path}: {suffix} cannot hold {_KIND_WORDS[kind]}. These can: {', '.join(able)}.")
    return form


def _bits_word(bits: Bits) -> str:
    return f"{bits} bits" if isinstance(bits, int) else {"half": "half float", "float": "32-bit float"}[bits]


def _failed(path: Path, reason: str) -> str:
    reason = reason.strip().split("\n")[0].rstrip(".") or "the disk may be full"
    return f"{path} was not written, nothing is left behind: {reason}."


def _check_unit(alpha: FloatArray, name: str) -> None:
    if alpha.ndim != 2 or alpha.dtype.kind != "f" or alpha.size == 0:
        raise InputError(
            f"The {name} must be (H, W) float in [0, 1], not {alpha.dtype} of shape {alpha.shape}."
        )
    low, high = float(alpha.min()), float(alpha.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):
        raise InputError(f"The {name} must lie in [0, 1]; this one runs from {low:g} to {high:g}.")


def _check_color(rgb: FloatArray, shape: tuple[int, ...] | None = None) -> None:
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype.kind != "f" or rgb.size == 0:
        raise InputError(f"Colours must be (H, W, 3) float, not {rgb.dtype} of shape {rgb.shape}.")
    if not all(np.isfinite(rgb[rows]).all() for rows in row_bands((rgb.shape[0], rgb.shape[1]))):
        raise InputError("The colours hold NaN or infinite values.")
    if shape is not None and rgb.shape[:2] != shape:
        raise InputError(f"Colours and alpha differ in size: {rgb.shape[:2]} and {shape} (height, width).")
