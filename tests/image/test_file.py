"""Pictures by rows: what `read_picture` gives, bit for bit, in whatever order the rows are asked for."""

# ruff: noqa: E501 (a table: one file, one line)

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
from PIL import Image

from mematte.errors import ImageFileError, InputError
from mematte.image import Picture, open_picture, read_picture
from mematte.image import decode as decode_module
from mematte.image.file import KEPT_ROWS

HEIGHT, WIDTH = 700, 83  # more rows than are kept, and no multiple of any strip or tile


@pytest.fixture
def photo() -> np.ndarray:
    """(700, 83, 4) uint8: a ramp that compresses like a photograph; no two rows are alike."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    random = np.random.default_rng(5).integers(0, 9, (HEIGHT, WIDTH, 4))
    ramp = np.stack((y // 3, x * 2, (x + y) // 4, 40 + y // 4), axis=2)
    return (ramp + random).clip(0, 255).astype(np.uint8)


def tiled(path: Path, array: np.ndarray, kind: str, tile: int, **header: Any) -> Path:
    spec = oiio.ImageSpec(array.shape[1], array.shape[0], array.shape[2], kind)
    spec.tile_width = spec.tile_height = tile
    for key, value in header.items():
        spec.attribute(key, value)
    writer = oiio.ImageOutput.create(str(path))
    assert writer.open(str(path), spec), writer.geterror()
    assert writer.write_image(np.ascontiguousarray(array)), writer.geterror()
    assert writer.close()
    return path


FILES: dict[str, Any] = {
    # name -> (file from (store, folder, photo), whether it streams)
    "png 8": (lambda store, _, p: store("p.png", p[..., :3], "uint8"), True),
    "png 16": (lambda store, _, p: store("p.png", p[..., :3].astype(np.uint16) * 250, "uint16"), True),
    "png rgba": (lambda store, _, p: store("p.png", p, "uint8", oiio__UnassociatedAlpha=1), True),
    "png grey": (lambda store, _, p: store("p.png", p[..., 0], "uint8"), True),
    "png grey with alpha": (lambda _, f, p: saved(f, "p.png", Image.fromarray(p[..., [0, 3]], "LA")), True),
    "png palette": (lambda _, f, p: saved(f, "p.png", Image.fromarray(p[..., :3]).quantize(64)), True),
    "png one bit": (lambda _, f, p: saved(f, "p.png", Image.fromarray(p[..., 0]).convert("1")), True),
    "tiff strips": (lambda store, _, p: store("p.tif", p[..., :3], "uint8", compression="zip"), True),
    "tiff raw": (lambda store, _, p: store("p.tif", p[..., :3], "uint8", compression="none"), True),
    "tiff one strip": (lambda store, _, p: store("p.tif", p[..., :3], "uint8", compression="zip", tiff__RowsPerStrip=HEIGHT), True),
    "tiff strips of 100": (lambda store, _, p: store("p.tif", p[..., :3], "uint8", compression="lzw", tiff__RowsPerStrip=100), True),
    "tiff planar": (lambda store, _, p: store("p.tif", p[..., :3], "uint8", planarconfig="separate", compression="zip"), True),
    "tiff planar one strip": (lambda _, f, p: in_planes(f / "p.tif", p[..., :3]), True),
    "tiff 16": (lambda store, _, p: store("p.tif", p[..., :3].astype(np.uint16) * 250, "uint16"), True),
    "tiff float": (lambda store, _, p: store("p.tif", p[..., :3] / np.float32(99), "float"), True),
    "tiff premultiplied": (lambda store, _, p: store("p.tif", p, "uint8"), True),
    "tiff tiles": (lambda _, f, p: tiled(f / "p.tif", p[..., :3], "uint8", 32), True),
    "tiff tiles of 256": (lambda _, f, p: tiled(f / "p.tif", p[..., :3], "uint8", 256), True),
    "tiff tiles planar": (lambda _, f, p: tiled(f / "p.tif", p[..., :3], "uint8", 64, planarconfig="separate"), True),
    "bigtiff": (lambda store, _, p: store("p.tif", p[..., :3], "uint8", tiff__bigtiff=1), True),
    "tiff jpeg": (lambda _, f, p: saved(f, "p.tif", Image.fromarray(p[..., :3]), compression="jpeg"), True),
    "tiff jpeg grey": (lambda _, f, p: saved(f, "p.tif", Image.fromarray(p[..., 0]), compression="jpeg"), False),
    "tiff jpeg ycbcr": (lambda _, f, p: saved(f, "p.tif", Image.fromarray(p[..., :3]).convert("YCbCr"), compression="jpeg"), False),
    "exr half": (lambda store, _, p: store("p.exr", p[..., :3] / np.float32(99), "half", compression="zip"), True),
    "exr rgba": (lambda store, _, p: store("p.exr", p / np.float32(255), "half", compression="piz"), True),
    "exr dwab": (lambda store, _, p: store("p.exr", p[..., :3] / np.float32(99), "half", compression="dwab"), True),
    "exr tiles": (lambda _, f, p: tiled(f / "p.exr", p[..., :3] / np.float32(99), "half", 64), True),
    "jpeg": (lambda _, f, p: saved(f, "p.jpg", Image.fromarray(p[..., :3])), True),
    "jpeg grey": (lambda _, f, p: saved(f, "p.jpg", Image.fromarray(p[..., 0])), True),
    "jpeg cmyk": (lambda _, f, p: saved(f, "p.jpg", Image.fromarray(p, "CMYK")), True),
    "jpeg progressive": (lambda _, f, p: saved(f, "p.jpg", Image.fromarray(p[..., :3]), progressive=True), False),
    "png interlaced": (lambda _, f, p: interlaced(f / "p.png", p[..., :3]), False),
    "webp": (lambda _, f, p: saved(f, "p.webp", Image.fromarray(p), lossless=True), False),
    "webp of frames": (lambda _, f, p: saved(f, "p.webp", Image.fromarray(p[..., :3]), save_all=True, append_images=[Image.fromarray(p[..., 1:])]), False),
    "gif of frames": (lambda _, f, p: saved(f, "p.gif", Image.fromarray(p[..., :3]).quantize(9), save_all=True, append_images=[Image.fromarray(p[..., 0])]), False),
    "tiff of pages": (lambda _, f, p: saved(f, "p.tif", Image.fromarray(p[..., :3]), save_all=True, append_images=[Image.fromarray(p[..., 1:])]), True),
    "jpeg xl": (lambda store, _, p: store("p.jxl", p[..., :3], "uint8", compression="jpegxl:100"), False),
    "dpx": (lambda store, _, p: store("p.dpx", p[..., :3], "uint8"), True),
    "bmp": (lambda store, _, p: store("p.bmp", p[..., :3], "uint8"), True),
    "ppm": (lambda store, _, p: store("p.ppm", p[..., :3], "uint8"), False),
    "hdr": (lambda store, _, p: store("p.hdr", p[..., :3] / np.float32(99), "float"), True),
    "turned jpeg": (lambda _, f, p: turned(f / "p.jpg", p[..., :3]), False),
    "exr of another window": (lambda store, _, p: store("p.exr", p[..., :3] / np.float32(99), "half", x=9, y=-5, full_width=90, full_height=720), False),
}  # fmt: skip


def saved(folder: Path, name: str, image: Image.Image, **options: Any) -> Path:
    image.save(folder / name, **options)
    return folder / name


def interlaced(path: Path, pixels: np.ndarray) -> Path:
    """A PNG in Adam7's seven passes, by its own definition: neither Pillow nor OpenImageIO writes one."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    passes = [
        (0, 0, 8, 8),
        (0, 4, 8, 8),
        (4, 0, 8, 4),
        (0, 2, 4, 4),
        (2, 0, 4, 2),
        (0, 1, 2, 2),
        (1, 0, 2, 1),
    ]
    rows = b"".join(
        b"\0" + row.tobytes() for y, x, dy, dx in passes for row in pixels[y::dy, x::dx] if row.size
    )
    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, 2, 0, 0, 1)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )
    return path


def in_planes(path: Path, pixels: np.ndarray) -> Path:
    """A TIFF of one compressed strip per channel, by the format's definition: OpenImageIO writes rows."""
    height, width, channels = pixels.shape
    strips = [zlib.compress(np.ascontiguousarray(pixels[..., channel])) for channel in range(channels)]
    lengths = [len(strip) for strip in strips]
    starts = [8 + sum(lengths[:channel]) for channel in range(channels)]
    entries = [
        (256, [width]), (257, [height]), (258, [8] * channels), (259, [8]), (262, [2]), (273, starts),
        (277, [channels]), (278, [height]), (279, lengths), (284, [2]),
    ]  # fmt: skip
    at = 8 + sum(lengths)
    after, directory = at + 2 + 12 * len(entries) + 4, struct.pack("<H", len(entries))
    beyond = b""
    for tag, values in entries:
        data = struct.pack(f"<{len(values)}I", *values)
        directory += struct.pack("<HHI", tag, 4, len(values))
        directory += data if len(data) == 4 else struct.pack("<I", after + len(beyond))
        beyond += data if len(data) > 4 else b""
    path.write_bytes(struct.pack("<2sHI", b"II", 42, at) + b"".join(strips) + directory + bytes(4) + beyond)
    return path


def turned(path: Path, pixels: np.ndarray) -> Path:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(path, exif=exif)
    return path


@pytest.mark.parametrize("name", FILES)
def test_rows_are_those_of_the_whole_bit_for_bit_in_any_order(
    store: Any, tmp_path: Path, photo: np.ndarray, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    make, streams = FILES[name]
    path = make(store, tmp_path, photo)
    whole = read_picture(path)
    random = np.random.default_rng(0)
    height = whole.size[0]

    with open_picture(path) as picture:
        assert (picture.size, picture.linear, picture.bits) == (whole.size, whole.linear, whole.bits)
        assert picture.metadata == whole.metadata
        assert picture.streams == streams
        for _ in range(12):
            start = int(random.integers(0, height))
            rows = slice(start, start + int(random.integers(1, 300)))
            assert picture.stored(rows).dtype == whole.pixels.dtype
            np.testing.assert_array_equal(picture.stored(rows), whole.pixels[rows])
            np.testing.assert_array_equal(picture.values(rows), whole.values(rows))
            np.testing.assert_array_equal(picture.display(rows), whole.display(rows))
        np.testing.assert_array_equal(picture.stored(), whole.pixels)
        assert (picture.notes, picture.has_alpha) == (whole.notes, whole.has_alpha)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 1), (17, 17), (223, 223)])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".exr", ".jpg", ".webp"])
def test_pictures_of_every_size_are_read_by_rows(
    store: Any, photo: np.ndarray, size: tuple[int, int], suffix: str
) -> None:
    pixels = np.resize(photo[..., :3], (*size, 3))
    half = suffix == ".exr"
    path = store(f"p{suffix}", pixels / np.float32(255) if half else pixels, "half" if half else "uint8")
    with open_picture(path) as picture:
        found = np.concatenate([picture.stored(slice(y, y + 7)) for y in range(0, size[0], 7)])
        assert picture.stored(slice(3, 3)).shape == (0, size[1], 3)
    np.testing.assert_array_equal(found, read_picture(path).pixels)


@pytest.mark.parametrize("name", ["png 8", "tiff strips", "tiff tiles of 256", "jpeg", "exr dwab"])
def test_going_back_by_a_halo_decodes_nothing_again(
    store: Any, tmp_path: Path, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path = FILES[name][0](store, tmp_path, photo)
    decoded = []
    read = decode_module.Decoder.read
    monkeypatch.setattr(
        decode_module.Decoder, "read", lambda self, *rows: (decoded.append(rows), read(self, *rows))[1]
    )
    with open_picture(path) as picture:
        for top in range(0, HEIGHT, 16):
            picture.display(slice(max(0, top - KEPT_ROWS + 16), top + 16))
    assert len(decoded) == len(set(decoded))
    assert sum(stop - start for start, stop in decoded) == HEIGHT


@pytest.mark.parametrize("window", [{}, {"x": 9}])
def test_what_is_handed_out_cannot_spoil_what_is_kept(store: Any, photo: np.ndarray, window: Any) -> None:
    path = store("p.exr", photo[..., :3] / np.float32(255), "float", **window)
    with open_picture(path) as picture:
        first = picture.values(slice(0, 9))
        first *= 0
        np.testing.assert_array_equal(picture.values(slice(0, 9)), read_picture(path).values(slice(0, 9)))
        with pytest.raises(ValueError, match="read-only"):
            picture.stored(slice(0, 9))[:] = 0


@pytest.mark.parametrize("header", [{}, {"Orientation": 3}])
def test_a_closed_file_and_a_step_are_refused(store: Any, photo: np.ndarray, header: Any) -> None:
    picture = open_picture(store("p.tif", photo[..., :3], "uint8", **header))
    assert picture.streams == (not header)
    with picture, pytest.raises(InputError, match="not with a step of 2"):
        picture.stored(slice(0, 9, 2))
    with pytest.raises(InputError, match="is closed; no more rows"):
        picture.display(slice(0, 9))


@pytest.mark.parametrize(
    ("name", "when"),
    [("png 8", "open"), ("tiff strips", "rows"), ("tiff raw", "rows"), ("tiff tiles", "rows"), ("exr half", "rows"),
     ("exr tiles", "rows"), ("jpeg", "rows"), ("dpx", "rows"), ("bmp", "rows"), ("webp", "rows")],
)  # fmt: skip
@pytest.mark.parametrize("share", [0.97, 0.5])
def test_a_file_truncated_in_its_last_rows_is_refused(
    store: Any,
    tmp_path: Path,
    photo: np.ndarray,
    capfd: pytest.CaptureFixture[str],
    name: str,
    when: str,
    share: float,
) -> None:
    path = FILES[name][0](store, tmp_path, photo)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])

    def read_all() -> None:
        with open_picture(path) as picture:
            assert when == "rows"
            for top in range(0, HEIGHT, 50):
                picture.display(slice(top, top + 50))

    with pytest.raises(ImageFileError, match="truncated"):
        read_all()
    assert capfd.readouterr() == ("", "")


def test_a_header_that_promises_far_more_than_the_file_holds_is_refused_at_once(
    store: Any, photo: np.ndarray
) -> None:
    path = store("p.tif", photo[..., :3], "uint8", compression="none")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 5])
    with pytest.raises(ImageFileError, match=r"truncated: its header promises .* MB of pixels"):
        open_picture(path)


def test_values_that_are_no_numbers_are_refused_where_they_are_read(store: Any) -> None:
    light = np.ones((400, 20, 3), np.float32)
    light[300, 7] = np.nan
    with open_picture(store("p.exr", light, "float")) as picture:
        picture.display(slice(0, 200))
        with pytest.raises(
            ImageFileError, match="3 values that are NaN or infinite, the first at x=7, y=300"
        ):
            picture.display(slice(200, 400))


def test_a_picture_beyond_the_memory_is_read_by_rows_and_not_as_a_whole(
    store: Any, photo: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store("p.tif", photo[..., :3], "uint8")
    monkeypatch.setattr(decode_module, "WHOLE_BYTES_LIMIT", 100_000)
    with pytest.raises(ImageFileError, match="is 83x700 px and takes 0 MB as a whole; the memory is 0 MB"):
        read_picture(path)
    with open_picture(path) as picture:
        np.testing.assert_array_equal(picture.stored(slice(690, None)), photo[690:, :, :3])
    with pytest.raises(ImageFileError, match="as a whole"):
        open_picture(store("p.ppm", photo[..., :3], "uint8"))


@pytest.mark.parametrize(
    ("name", "opens"),
    [("tiff strips", True), ("bigtiff", True), ("png 16", True), ("exr half", True), ("jpeg", True), ("dpx", True),
     ("jpeg progressive", False), ("png interlaced", False), ("ppm", False), ("webp", False)],
)  # fmt: skip
def test_openimageio_s_own_limit_is_lifted_only_where_rows_need_no_memory(
    store: Any, tmp_path: Path, photo: np.ndarray, name: str, opens: bool
) -> None:
    path = FILES[name][0](store, tmp_path, photo.repeat(3, 0).repeat(3, 1))
    whole = read_picture(path)
    limit = oiio.get_int_attribute("limits:imagesize_MB")
    oiio.attribute("limits:imagesize_MB", 1)
    try:
        if opens:
            with open_picture(path) as picture:
                np.testing.assert_array_equal(picture.stored(), whole.pixels)
                np.testing.assert_array_equal(picture.stored(slice(0, 9)), whole.pixels[:9])
        else:
            with pytest.raises(ImageFileError, match="exceeds the 1 MB limit"):
                open_picture(path)
        assert oiio.get_int_attribute("limits:imagesize_MB") == 1
    finally:
        oiio.attribute("limits:imagesize_MB", limit)


@pytest.mark.parametrize(
    "name", ["png 8", "tiff strips", "tiff tiles of 256", "exr dwab", "webp", "turned jpeg"]
)
def test_the_memory_it_takes_is_told_before_rows_are_read(
    store: Any, tmp_path: Path, photo: np.ndarray, name: str
) -> None:
    make, streams = FILES[name]
    with open_picture(make(store, tmp_path, photo)) as picture:
        whole = HEIGHT * WIDTH * 3
        assert picture.memory_bytes > picture.decoder_bytes > 0
        assert streams or picture.memory_bytes > whole
        if name == "tiff tiles of 256":
            assert picture.decoder_bytes > 256 * WIDTH * 3


def test_a_picture_in_memory_gives_the_same_rows_as_a_file(store: Any, photo: np.ndarray) -> None:
    held = Picture(np.ascontiguousarray(photo[..., :3]))
    with open_picture(store("p.png", photo[..., :3], "uint8")) as picture:
        for rows in (slice(0, 5), slice(-7, None), slice(650, 9999)):
            np.testing.assert_array_equal(picture.stored(rows), held.stored(rows))


CHILD = """
import sys
import numpy as np
from mematte.image import alpha_writer, open_picture

def peak_mb():
    import resource
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

height, width, before = 10_000, 10_000, peak_mb()
with alpha_writer("photo.tif", (height, width)) as writer:
    band = np.broadcast_to(np.linspace(0, 1, width, dtype=np.float32), (100, width))
    for top in range(0, height, 100):
        writer.write(band)
with open_picture("photo.tif") as photo, alpha_writer("alpha.tif", photo.size, like=photo) as writer:
    for top in range(0, height, 160):
        rows = photo.display(slice(max(0, top - 48), top + 160))[top - max(0, top - 48):]
        writer.write(rows[..., 1])
    said = photo.memory_bytes / 1e6
print(peak_mb() - before, said)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs the peak memory that POSIX systems tell")
def test_a_hundred_megapixels_pass_through_a_hundred_megabytes(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-c", CHILD], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True
    )
    taken_mb, said_mb = map(float, child.stdout.split())
    assert taken_mb < 150, taken_mb
    assert said_mb < 100
