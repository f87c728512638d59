"""What users get wrong, by message. Nothing may be written, printed, or silently accepted."""

# ruff: noqa: E501 (a table: one case, one line)

from __future__ import annotations

import io
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
from PIL import Image

from mematte.errors import ImageFileError, InputError, MatteError, OutputError, SizeMismatchError, TrimapError
from mematte.image import (
    as_mask,
    as_picture,
    as_trimap,
    check_output,
    check_trimap,
    composite,
    estimate_foreground,
    parse_color,
    read_picture,
    trimap_from_mask,
    write_alpha,
    write_cutout,
    write_picture,
    write_trimap,
)

NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
Case = tuple[type[MatteError], str, Callable[[Path], object]]


def saved(folder: Path, name: str, image: Image.Image | None = None, **options: Any) -> Path:
    (image or Image.fromarray(NOISE)).save(folder / name, **options)
    return folder / name


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    return path


def odd(path: Path) -> Path:
    """A JPEG with bytes of no meaning after its first segment, and a thumbnail's end in another."""
    data = path.read_bytes()
    after = 4 + int.from_bytes(data[4:6], "big")
    thumbnail = b"\xff\xe1\x00\x08\xff\xda\xff\xd9\x00\x00"
    return holding(path, data[:after] + b"\0\1\2" + thumbnail + data[after:])


def flipped(path: Path, share: float) -> Path:
    data = bytearray(path.read_bytes())
    data[int(len(data) * share)] ^= 0xFF
    path.write_bytes(data)
    return path


def holding(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def unreadable(path: Path) -> Path:
    path.symlink_to("/proc/self/mem")  # exists, and reading it fails even for root
    return path


def huge_png(path: Path) -> Path:
    """Whole and valid up to its end, and claiming 60000x60000 px in its header."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")

    side = (60000).to_bytes(4, "big")
    header = chunk(b"IHDR", side + side + b"\x08\x02\0\0\0")
    return holding(
        path, b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )


def deep_exr(path: Path) -> Path:
    """One sample in each of 8x8 pixels, as renderers write them."""
    spec = oiio.ImageSpec(8, 8, 5, "half")
    spec.channelnames, spec.deep = ("R", "G", "B", "A", "Z"), True
    samples = oiio.DeepData()
    samples.init(spec)
    for pixel in range(64):
        samples.set_samples(pixel, 1)
    writer = oiio.ImageOutput.create(str(path))
    assert writer.open(str(path), spec), writer.geterror()
    assert writer.write_deep_image(samples), writer.geterror()
    assert writer.close()
    return path


FILES: dict[str, Case] = {
    "missing": (ImageFileError, "no.png does not exist", lambda t: read_picture(t / "no.png")),
    "folder": (ImageFileError, "is a folder, not a picture", lambda t: read_picture(t)),
    "name too long": (ImageFileError, "cannot be opened: File name too long", lambda t: read_picture(t / ("x" * 300 + ".png"))),
    "pipe": (ImageFileError, "is a pipe or a device", lambda t: (os.mkfifo(t / "p.png"), read_picture(t / "p.png"))),
    "empty png": (ImageFileError, "is empty \\(0 bytes\\)", lambda t: read_picture(holding(t / "p.png", b""))),
    "empty jpeg": (ImageFileError, "is empty", lambda t: read_picture(holding(t / "p.jpg", b""))),
    "empty tiff": (ImageFileError, "is empty", lambda t: read_picture(holding(t / "p.tif", b""))),
    "text": (ImageFileError, "is not a picture", lambda t: read_picture(holding(t / "p.txt", b"hello " * 99))),
    "text as png": (ImageFileError, "Not a PNG|not a picture", lambda t: read_picture(holding(t / "p.png", b"hello " * 99))),
    "text as exr": (ImageFileError, "cannot be read as a picture", lambda t: read_picture(holding(t / "p.exr", b"hello " * 99))),
    "bytes as psd": (ImageFileError, "p.psd", lambda t: read_picture(holding(t / "p.psd", b"8BPS" + bytes(9)))),
    "no permission": (ImageFileError, "cannot be opened", lambda t: read_picture(unreadable(t / "p.png"))),
    "truncated png": (ImageFileError, "is truncated: the PNG ends", lambda t: read_picture(cut(saved(t, "p.png"), 0.6))),
    "png without end": (ImageFileError, "before its last chunk", lambda t: read_picture(holding(t / "p.png", saved(t, "q.png").read_bytes()[:-12]))),
    "damaged png": (ImageFileError, "checksum of a IDAT chunk is wrong", lambda t: read_picture(flipped(saved(t, "p.png"), 0.5))),
    "truncated jpeg": (ImageFileError, "damaged or truncated .*[Pp]remature end", lambda t: read_picture(cut(saved(t, "p.jpg"), 0.7))),
    "truncated jpeg with odd bytes": (ImageFileError, "damaged or truncated .its end is missing", lambda t: read_picture(cut(odd(saved(t, "p.jpg")), 0.7))),
    "jpeg header only": (ImageFileError, "truncated", lambda t: read_picture(cut(saved(t, "p.jpg"), 0.05))),
    "truncated tiff": (ImageFileError, "damaged or truncated", lambda t: read_picture(cut(saved(t, "p.tif"), 0.7))),
    "truncated webp": (ImageFileError, "damaged or truncated", lambda t: read_picture(cut(saved(t, "p.webp", lossless=True), 0.7))),
    "truncated gif": (ImageFileError, "damaged or truncated", lambda t: read_picture(cut(saved(t, "p.gif"), 0.6))),
    "heic": (ImageFileError, "HEIF/AVIF pictures cannot be read. Convert", lambda t: read_picture(holding(t / "p.HEIC", b"ftyp"))),
    "camera raw": (ImageFileError, "camera raw files cannot be read", lambda t: read_picture(saved(t, "p.tif").rename(t / "p.dng"))),
    "film": (ImageFileError, "films cannot be read", lambda t: read_picture(holding(t / "p.mov", b"moov"))),
    "deep exr": (ImageFileError, "p.exr is deep: .* Flatten it first", lambda t: read_picture(deep_exr(t / "p.exr"))),
    "too many pixels": (ImageFileError, "is 80x60 px, 0.0 megapixels.*--max-pixels", lambda t: read_picture(saved(t, "p.png"), max_pixels=4799)),
    "huge header": (ImageFileError, "claims a 10299 MB image from a", lambda t: read_picture(huge_png(t / "p.png"))),
}  # fmt: skip


def closed(image: Image.Image) -> Image.Image:
    image.close()
    return image


ARRAYS: dict[str, Case] = {
    "bool photo": (InputError, r"not bool. Use array.astype\(numpy.uint8\) \* 255", lambda _: as_picture(np.zeros((4, 4), bool))),
    "int64 photo": (InputError, r"not int64. Use array.astype\(numpy.uint8\)", lambda _: as_picture(np.zeros((4, 4, 3), np.int64))),
    "uint32 photo": (InputError, "not uint32. Use array.astype\\(numpy.uint16\\)", lambda _: as_picture(np.zeros((4, 4, 3), np.uint32))),
    "complex photo": (InputError, "not complex128. Use a numeric array", lambda _: as_picture(np.zeros((4, 4, 3), complex))),
    "float of 255": (InputError, r"in \[0, 1\]; this one runs from 0 to 255. Divide by 255", lambda _: as_picture(np.array([[0.0, 255.0]]))),
    "negative float": (InputError, "runs from -0.5 to 0", lambda _: as_picture(np.array([[0.0, -0.5]]))),
    "nan": (InputError, "holds 2 NaN or infinite values", lambda _: as_picture(np.array([[np.nan, np.inf, 0]]))),
    "channels first": (InputError, r"3x40x50.*channels first: array.transpose\(1, 2, 0\)", lambda _: as_picture(np.zeros((3, 40, 50), np.uint8))),
    "batch": (InputError, "one picture at a time", lambda _: as_picture(np.zeros((2, 4, 4, 3), np.uint8))),
    "masked": (InputError, "masked array, and nothing says what lies behind its mask", lambda _: as_picture(np.ma.masked_less(np.zeros((4, 4), np.uint8), 1))),
    "null byte": (ImageFileError, "does not exist", lambda _: as_picture("a\0b.png")),
    "not utf-8": (ImageFileError, r"caf.udce9.png' is not valid UTF-8. Rename", lambda _: as_picture("caf\udce9.png")),
    "two channels": (InputError, "this one is 4x4x2", lambda _: as_picture(np.zeros((4, 4, 2), np.uint8))),
    "one dimension": (InputError, "this one is 12", lambda _: as_picture(np.zeros(12, np.uint8))),
    "no pixels": (InputError, "has no pixels: its shape is 0x4x3", lambda _: as_picture(np.zeros((0, 4, 3), np.uint8))),
    "a list": (InputError, "this is builtins.list", lambda _: as_picture([[1, 2], [3, 4]])),
    "nothing": (InputError, "this is builtins.NoneType", lambda _: as_picture(None)),
    "truncated pil": (ImageFileError, "a PIL image, cannot be loaded", lambda t: as_picture(Image.open(io.BytesIO(cut(saved(t, "p.jpg"), 0.5).read_bytes())))),
    "closed pil": (ImageFileError, "a PIL image, cannot be loaded: Operation on closed image", lambda _: as_picture(closed(Image.fromarray(NOISE)))),
    "pil beyond 16 bits": (InputError, "mode I with values beyond 16 bits", lambda _: as_picture(Image.fromarray(np.full((4, 4), 70000, np.int32)))),
}  # fmt: skip

GREY = Image.fromarray(np.arange(0, 240, dtype=np.uint8).reshape(12, 20))
TRIMAPS: dict[str, Case] = {
    "coloured": (TrimapError, "is coloured: 100.0% of its pixels are not grey. A trimap is grey: 0 background", lambda _: as_trimap(np.full((4, 4, 3), (255, 0, 0), np.uint8))),
    "partly coloured": (TrimapError, "is coloured: 25.0%", lambda t: as_trimap(saved(t, "t.png", Image.fromarray(np.where(np.arange(4)[:, None, None] == 0, [0, 255, 0], 128).astype(np.uint8).repeat(4, 1))))),
    "labels 0 1 2": (TrimapError, "seems to hold labels: its values are 0 to 2", lambda _: as_trimap(np.array([[0, 1, 2]], np.uint8))),
    "labels 0 1": (TrimapError, "labels: its values are 0 to 1", lambda _: as_trimap(np.array([[0, 1]], np.uint16))),
    "8-bit levels in 16 bits": (TrimapError, "has 16 bits per pixel, but its values are 0 to 255.*multiply by 257", lambda _: as_trimap(np.array([[0, 128, 255]], np.uint16))),
    "8-bit mask in 16 bits": (TrimapError, "The mask has 16 bits per pixel", lambda _: as_mask(np.array([[0, 255]], np.uint16))),
    "levels in alpha": (TrimapError, "only its alpha channel varies. Save it as a grey picture", lambda t: as_trimap(saved(t, "t.png", Image.merge("LA", (Image.new("L", GREY.size), GREY))))),
    "int trimap": (InputError, "The trimap must be uint8, uint16 or float in .* not int32", lambda _: as_trimap(np.zeros((4, 4), np.int32))),
    "float trimap of 128": (InputError, "A float trimap .* runs from 0 to 255", lambda _: as_trimap(np.array([[0.0, 128.0, 255.0]]))),
    "missing trimap": (ImageFileError, "does not exist", lambda t: as_trimap(t / "t.png")),
    "no unknown": (TrimapError, "no unknown pixel.*Paint the edge of the object grey.*mematte trimap MASK", lambda _: check_trimap(np.array([[0, 255]], np.uint8))),
    "other size": (SizeMismatchError, "the image is 5x4 px, the trimap 3x2 px", lambda _: check_trimap(np.full((2, 3), 128, np.uint8), (4, 5))),
    "empty mask": (TrimapError, "The mask is empty: its highest value is 0.00", lambda _: trimap_from_mask(np.zeros((9, 9), np.uint8))),
    "faint mask": (TrimapError, "its highest value is 0.50", lambda _: trimap_from_mask(np.array([[0, 0.5]], np.float32))),
    "full mask": (TrimapError, "The mask is full: its lowest value is 1.00", lambda _: trimap_from_mask(np.ones((9, 9), bool))),
    "mask of 0 and 1": (TrimapError, r"The mask seems to hold labels.*mask.astype\(bool\)", lambda _: as_mask(np.eye(4, dtype=np.uint8))),
    "coloured mask": (TrimapError, "The mask is coloured.*A cut-out with an alpha channel is a mask too", lambda _: as_mask(NOISE)),
    "radius that is no number": (InputError, "radius must be 0 px or more, not nan", lambda _: trimap_from_mask(np.eye(4, dtype=bool), float("nan"))),
    "negative radius": (InputError, "radius must be 0 px or more, not -1", lambda _: trimap_from_mask(np.eye(4, dtype=bool), -1)),
}  # fmt: skip

FLOATS = np.zeros((4, 5, 3), np.float32)
OUTPUTS: dict[str, Case] = {
    "jpeg alpha": (OutputError, "suffix .jpg cannot hold an alpha. These can: .png, .tif, .tiff, .exr, .webp, .jxl", lambda t: check_output(t / "a.jpg", "alpha")),
    "jpeg cut-out": (OutputError, "suffix .JPEG cannot hold a cut-out", lambda t: write_cutout(t / "c.JPEG", FLOATS, FLOATS[..., 0])),
    "jpeg trimap": (OutputError, "cannot hold a trimap", lambda t: write_trimap(t / "c.jpg", np.zeros((4, 5), np.uint8))),
    "unknown suffix": (OutputError, "suffix .psd cannot hold a picture. These can: .png.*.jpg", lambda t: write_picture(t / "c.psd", FLOATS)),
    "no suffix": (OutputError, "a name without a suffix cannot hold an alpha", lambda t: check_output(t / "alpha", "alpha")),
    "half png": (OutputError, "PNG cannot hold half float per channel, only 8 bits or 16 bits. These can: .exr", lambda t: check_output(t / "a.png", "alpha", bits="half")),
    "16-bit webp": (OutputError, "WebP cannot hold 16 bits", lambda t: write_alpha(t / "a.webp", FLOATS[..., 0], bits=16)),
    "8-bit exr": (OutputError, "OpenEXR cannot hold 8 bits", lambda t: write_alpha(t / "a.exr", FLOATS[..., 0], bits=8)),
    "wide webp": (OutputError, "at most 16383 px per side; this is 20000x10 px", lambda t: check_output(t / "a.webp", "alpha", size=(10, 20000))),
    "exists": (OutputError, r"there.png exists. --force \(force=True\) replaces it", lambda t: write_alpha(saved(t, "there.png"), FLOATS[..., 0])),
    "is a folder": (OutputError, "is a folder; name a file in it", lambda t: ((t / "d.png").mkdir(), check_output(t / "d.png", "alpha", force=True))),
    "no such folder": (OutputError, "the folder .*nowhere does not exist. Make it first", lambda t: check_output(t / "nowhere" / "a.png", "alpha")),
    "folder is a file": (OutputError, "does not exist", lambda t: check_output(saved(t, "f.png") / "a.png", "alpha")),
    "not writable": (OutputError, "a.png cannot be written", lambda _: check_output(Path("/proc/a.png"), "alpha")),
    "output name not utf-8": (OutputError, "not valid UTF-8. Choose another", lambda t: check_output(t / "caf\udce9.png", "alpha")),
    "output through a circle of links": (OutputError, "cannot be written: Too many levels of symbolic links", lambda t: ((t / "a.png").symlink_to("b.png"), (t / "b.png").symlink_to("a.png"), check_output(t / "a.png", "alpha"))),
    "output name too long": (OutputError, "cannot be written: File name too long", lambda t: check_output(t / ("x" * 300 + ".png"), "alpha")),
    "alpha beyond 1": (InputError, r"must lie in \[0, 1\]; this one runs from 0 to 255", lambda t: write_alpha(t / "a.png", np.array([[0, 255]], np.float32))),
    "alpha of integers": (InputError, r"must be \(H, W\) float in \[0, 1\], not uint8", lambda t: write_alpha(t / "a.png", np.zeros((4, 4), np.uint8))),
    "alpha with nan": (InputError, "runs from nan to nan", lambda t: write_alpha(t / "a.png", np.full((4, 4), np.nan, np.float32))),
    "colours with nan": (InputError, "colours hold NaN or infinite values", lambda t: write_picture(t / "a.png", np.full((4, 4, 3), np.nan, np.float32))),
    "colours of another size": (InputError, "Colours and alpha differ in size", lambda t: write_cutout(t / "a.png", FLOATS, np.zeros((5, 4), np.float32))),
    "grey as colours": (InputError, r"Colours must be \(H, W, 3\) float", lambda t: write_picture(t / "a.png", FLOATS[..., 0])),
    "trimap of floats": (InputError, r"A trimap must be \(H, W\) uint8", lambda t: write_trimap(t / "a.png", FLOATS[..., 0])),
    "no colour": (InputError, '"sky" is not a colour. Write "#rrggbb"', lambda _: parse_color("sky")),
    "colour beyond range": (InputError, "is not a colour", lambda _: parse_color("0,0,256")),
    "foreground of another size": (InputError, "one size; these are 4x5x3 and 5x4", lambda _: estimate_foreground(FLOATS, np.zeros((5, 4), np.float32))),
    "tiny tile": (InputError, "at least 64, not 8", lambda _: estimate_foreground(FLOATS, FLOATS[..., 0], whole_px=8)),
    "composite of another size": (InputError, "one size; these are 4x5x3 and 5x4", lambda _: composite(FLOATS, np.zeros((5, 4), np.float32), (0, 0, 0))),
    "int64 background": (InputError, r"background must be uint8, uint16 or float in \[0, 1\], not int64", lambda _: composite(FLOATS, FLOATS[..., 0], np.zeros((4, 5, 3), np.int64))),
    "background of 255": (InputError, r"float background must be display-referred in \[0, 1\]", lambda _: composite(FLOATS, FLOATS[..., 0], np.full((4, 5, 3), 255.0))),
    "grey background": (InputError, "background must be .*, not 4x5", lambda _: composite(FLOATS, FLOATS[..., 0], np.zeros((4, 5), np.uint8))),
}  # fmt: skip

CASES = FILES | ARRAYS | TRIMAPS | OUTPUTS


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_a_clear_error_and_nothing_is_written(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], case: str
) -> None:
    error, message, attempt = CASES[case]
    with pytest.raises(error, match=message):
        attempt(tmp_path)
    assert not list(tmp_path.glob(".*partial*"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("value", "where"), [(np.nan, (3, 7, 1)), (np.inf, (0, 0, 0)), (-np.inf, (11, 16, 3))]
)
def test_an_exr_with_values_that_are_no_numbers_is_an_error_that_says_where(
    store: Any, value: float, where: tuple[int, int, int]
) -> None:
    light = np.ones((13, 17, 4), np.float32)
    light[where] = value
    path = store("p.exr", light, "float")
    with pytest.raises(
        ImageFileError, match=f"1 value that is NaN or infinite, the first at x={where[1]}, y={where[0]}"
    ):
        read_picture(path)
    light[12] = np.nan
    with pytest.raises(ImageFileError, match=f"{1 + 17 * 4} values that are NaN"):
        read_picture(store("p.exr", light, "half"))


@pytest.mark.parametrize(
    ("name", "kind"), [("p.exr", "half"), ("p.dpx", "uint16"), ("p.jxl", "uint8"), ("p.hdr", "float")]
)
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_truncated_file_of_any_format_is_an_error(
    store: Any, capfd: pytest.CaptureFixture[str], name: str, kind: str, share: float
) -> None:
    stored = NOISE / np.float32(255) if kind in ("half", "float") else NOISE.astype(kind)
    with pytest.raises(ImageFileError, match="damaged or truncated"):
        read_picture(cut(store(name, stored, kind), share))
    assert capfd.readouterr() == ("", "")


def test_an_exr_without_colours_is_an_error_that_names_its_channels(store: Any) -> None:
    depth = np.ones((4, 4, 2), np.float32)
    with pytest.raises(ImageFileError, match="its channels are Z, ID"):
        read_picture(store("p.exr", depth, "float", names=("Z", "ID")))


def test_checking_an_output_leaves_nothing_behind(tmp_path: Path) -> None:
    check_output(tmp_path / "a.png", "alpha", bits=16, size=(4, 5))
    assert os.listdir(tmp_path) == []  # noqa: PTH208
