from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from mematte.image import Picture, as_picture, linear_to_srgb, open_picture, read_picture, write_picture


def psd(path: Path, planes: np.ndarray) -> Path:
    """The smallest Photoshop file: header, three empty sections, raw planes. Source: Adobe's format text."""
    channels, height, width = planes.shape
    depth = planes.dtype.itemsize * 8
    head = struct.pack(">4sH6xHIIHH", b"8BPS", 1, channels, height, width, depth, 3)
    path.write_bytes(head + bytes(12) + b"\0\0" + planes.astype(planes.dtype.newbyteorder(">")).tobytes())
    return path


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("p.png", "uint8"), ("p.png", "uint16"), ("p.tif", "uint8"), ("p.tif", "uint16"), ("p.dpx", "uint8"),
        ("p.dpx", "uint16"), ("p.jxl", "uint8"), ("p.jxl", "uint16"), ("p.bmp", "uint8"), ("p.ppm", "uint16"),
    ],
)  # fmt: skip
def test_lossless_integer_formats_give_the_stored_values(
    store: Any, rgb: np.ndarray, name: str, kind: str
) -> None:
    stored = rgb if kind == "uint8" else rgb.astype(np.uint16) * 257 - rgb
    path = store(name, stored, kind, **({"compression": "jpegxl:100"} if name.endswith("jxl") else {}))

    picture = read_picture(path)

    assert picture.pixels.dtype == kind
    assert picture.bits == np.dtype(kind).itemsize * 8
    np.testing.assert_array_equal(picture.pixels, stored)
    assert (picture.linear, picture.alpha, picture.size) == (False, None, (13, 17))


@pytest.mark.parametrize("name", ["p.webp", "p.gif", "p.png", "p.tif"])
def test_what_pillow_writes_without_loss_is_read_without_loss(
    tmp_path: Path, rgb: np.ndarray, name: str
) -> None:
    image = Image.fromarray(rgb) if name != "p.gif" else Image.fromarray(rgb).quantize(256)
    image.save(tmp_path / name, **({"lossless": True} if name == "p.webp" else {}))
    np.testing.assert_array_equal(read_picture(tmp_path / name).pixels, np.asarray(image.convert("RGB")))


def test_a_jpeg_is_read_as_pillow_reads_it(tmp_path: Path) -> None:
    y, x = np.mgrid[:40, :56]
    smooth = np.stack((x * 4, y * 6, (x + y) * 2), axis=2).astype(np.uint8)
    Image.fromarray(smooth).save(tmp_path / "p.jpg", quality=92)
    expected = np.asarray(Image.open(tmp_path / "p.jpg")).astype(int)
    assert np.abs(read_picture(tmp_path / "p.jpg").pixels.astype(int) - expected).max() <= 2


@pytest.mark.parametrize(
    ("name", "kind"), [("p.exr", "half"), ("p.exr", "float"), ("p.tif", "float"), ("p.hdr", "float")]
)
def test_float_formats_are_scene_linear_and_may_exceed_one(
    store: Any, rgb: np.ndarray, name: str, kind: str
) -> None:
    light = rgb.astype(np.float32) / 64

    picture = read_picture(store(name, light, kind))

    assert picture.linear
    assert (picture.pixels.dtype, picture.bits) == (np.float32, 32)
    np.testing.assert_allclose(
        picture.pixels, light, rtol=0.01 if name == "p.hdr" else 1e-3, atol=0.03 if name == "p.hdr" else 0
    )
    expected = np.clip(linear_to_srgb(np.clip(picture.pixels, 0, None)), 0, 1)
    np.testing.assert_allclose(picture.display(), expected, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_photoshop_files_are_read(tmp_path: Path, rgb: np.ndarray, dtype: type) -> None:
    stored = rgb.astype(dtype) * (1 if dtype is np.uint8 else 257)
    picture = read_picture(psd(tmp_path / "p.psd", stored.transpose(2, 0, 1)))
    np.testing.assert_array_equal(picture.pixels, stored)


@pytest.mark.parametrize("name", ["p.png", "p.tif", "p.webp", "p.dds"])
def test_straight_alpha_leaves_the_colours_alone_and_is_set_aside_with_a_note(
    tmp_path: Path, rgba: np.ndarray, name: str
) -> None:
    rgba[0, 0, 3] = 0
    Image.fromarray(rgba).save(
        tmp_path / name, **({"lossless": True, "exact": True} if name == "p.webp" else {})
    )

    picture = read_picture(tmp_path / name)

    np.testing.assert_array_equal(picture.pixels, rgba[..., :3])
    np.testing.assert_array_equal(picture.alpha, rgba[..., 3])
    assert "the photo's own alpha channel is ignored" in picture.notes


def test_straight_alpha_in_jpeg_xl_leaves_the_colours_alone(store: Any, rgba: np.ndarray) -> None:
    picture = read_picture(store("p.jxl", rgba, "uint8", compression="jpegxl:100"))
    np.testing.assert_array_equal(picture.pixels, rgba[..., :3])
    np.testing.assert_array_equal(picture.alpha, rgba[..., 3])


@pytest.mark.parametrize(
    ("name", "kind", "tolerance"),
    [("p.exr", "float", 1e-6), ("p.exr", "half", 2e-3), ("p.tif", "uint16", 4), ("p.tif", "uint8", 4)],
)
def test_premultiplied_colours_become_straight(
    store: Any, rgba: np.ndarray, name: str, kind: str, tolerance: float
) -> None:
    top = {"uint8": 255, "uint16": 65535}.get(kind, 1)
    straight = rgba.astype(np.float64) / 255
    held = straight.copy()
    held[..., :3] *= held[..., 3:]
    stored = np.rint(held * top).astype(kind) if top > 1 else held.astype(np.float32)

    picture = read_picture(store(name, stored, kind))

    np.testing.assert_allclose(picture.pixels, straight[..., :3] * top, atol=tolerance)


def test_where_premultiplied_alpha_is_zero_the_colour_stays_what_it_was(store: Any) -> None:
    glow = np.full((4, 4, 4), 0.5, np.float32)
    glow[..., 3] = 0  # fire: light without cover
    np.testing.assert_array_equal(read_picture(store("fire.exr", glow, "float")).pixels, 0.5)


def test_a_cover_so_small_that_nothing_can_be_divided_by_it_makes_no_infinite_colours(store: Any) -> None:
    dust = np.full((4, 4, 4), 3, np.float32)
    dust[..., 3] = 1e-40
    np.testing.assert_array_equal(read_picture(store("dust.exr", dust, "float")).pixels, 3)


def test_an_opaque_alpha_channel_says_nothing(tmp_path: Path, rgb: np.ndarray) -> None:
    Image.fromarray(rgb).convert("RGBA").save(tmp_path / "p.png")
    picture = read_picture(tmp_path / "p.png")
    assert (picture.alpha, picture.notes) == (None, ())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "I;16"])
def test_grey_and_palette_pictures_become_rgb(tmp_path: Path, rgb: np.ndarray, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(rgb[..., 0].astype(np.uint16) * 200)
    elif mode == "P":
        image = Image.fromarray(rgb).quantize(32)
    else:
        image = Image.fromarray(rgb[..., 0]).convert(mode)
    image.save(tmp_path / "p.png")

    picture = read_picture(tmp_path / "p.png")

    expected = (
        np.asarray(image.convert("RGB")) if mode != "I;16" else np.asarray(image)[..., None].repeat(3, 2)
    )
    np.testing.assert_array_equal(picture.pixels, expected)
    assert ("grey picture" in picture.notes) == (mode != "P")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_orientation_is_applied_once(tmp_path: Path, orientation: int, suffix: str) -> None:
    """The oracle is Pillow's exif_transpose."""
    from PIL import ImageOps

    pixels = np.zeros((16, 24, 3), np.uint8)
    pixels[:8, :8], pixels[:8, 16:], pixels[8:, :8] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"p{suffix}"
    Image.fromarray(pixels).save(
        path, exif=exif, **({"lossless": True} if suffix == ".webp" else {"quality": 100})
    )
    with Image.open(path) as image:
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB")).astype(int)

    by_path, by_pil = read_picture(path), as_picture(Image.open(path))

    for picture in (by_path, by_pil):
        assert picture.pixels.shape == expected.shape
        assert np.abs(picture.pixels.astype(int) - expected).max() < 60  # JPEG
        assert picture.pixels.flags.c_contiguous


@pytest.mark.parametrize("mode", ["L", "YCbCr", "RGBA"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_tiffs_that_libtiff_converts_are_turned_once_and_straight(
    tmp_path: Path, orientation: int, mode: str
) -> None:
    """libtiff flips them where it makes 8-bit RGBA of them, and premultiplies."""
    from PIL import ImageOps, TiffImagePlugin

    pixels = np.zeros((16, 24, 4), np.uint8)
    pixels[:8, :8], pixels[:8, 16:], pixels[8:, :8] = (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0)
    pixels[..., 3] = 130
    header = TiffImagePlugin.ImageFileDirectory_v2()
    header[0x0112] = orientation
    source = Image.fromarray(pixels)
    source = source if mode == "RGBA" else source.convert("RGB").convert(mode)
    source.save(tmp_path / "p.tif", tiffinfo=header, compression="jpeg", quality=100)
    source.getexif()[0x0112] = orientation
    expected = np.asarray(ImageOps.exif_transpose(source).convert("RGB")).astype(int)

    picture = read_picture(tmp_path / "p.tif")

    assert picture.pixels.shape == expected.shape
    assert np.abs(picture.pixels.astype(int) - expected).max() < 60  # JPEG
    assert picture.has_alpha == (mode == "RGBA")


def test_in_a_tiff_of_16_bits_white_may_be_zero(tmp_path: Path, rgb: np.ndarray) -> None:
    grey = rgb[..., 0].astype(np.uint16) * 250
    Image.fromarray(grey).save(tmp_path / "p.tif")
    data = (tmp_path / "p.tif").read_bytes()
    black_is_zero, white_is_zero = (struct.pack("<HHIHH", 262, 3, 1, value, 0) for value in (1, 0))
    assert data.count(black_is_zero) == 1
    (tmp_path / "p.tif").write_bytes(data.replace(black_is_zero, white_is_zero))

    picture = read_picture(tmp_path / "p.tif")

    np.testing.assert_array_equal(picture.pixels, (65535 - grey)[..., None].repeat(3, 2))


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_the_icc_profile_is_kept(tmp_path: Path, rgb: np.ndarray, profile: bytes, suffix: str) -> None:
    Image.fromarray(rgb).save(tmp_path / f"p{suffix}", icc_profile=profile)
    assert read_picture(tmp_path / f"p{suffix}").metadata.icc_profile == profile
    assert as_picture(Image.open(tmp_path / f"p{suffix}")).metadata.icc_profile == profile


@pytest.mark.parametrize(
    ("at", "bytes_there"),
    [(0, b"\0\0\xff\xff"), (8, b"\x09"), (20, b"Luv "), (36, b"none"), (64, b"\0\0\0\x07"), (68, bytes(12)),
     (128, b"\xff\xff\xff\xff"), (136, b"\xff\xff\xff\0"), (300, None), (20, None)],
)  # fmt: skip
def test_a_damaged_icc_profile_is_left_out_and_said(
    tmp_path: Path, rgb: np.ndarray, profile: bytes, at: int, bytes_there: bytes | None
) -> None:
    """Or else the libraries of PNG and JPEG XL would refuse it, and the result with it."""
    whole = profile[:at] + (b"" if bytes_there is None else bytes_there + profile[at + len(bytes_there) :])
    Image.fromarray(rgb).save(tmp_path / "p.tif", icc_profile=whole)

    picture = read_picture(tmp_path / "p.tif")
    by_pil = as_picture(Image.open(tmp_path / "p.tif"))

    assert picture.metadata.icc_profile is by_pil.metadata.icc_profile is None
    assert picture.notes == by_pil.notes == ("its ICC profile is damaged and left out",)
    for suffix in (".png", ".jxl"):
        write_picture(tmp_path / f"c{suffix}", picture.values(), like=picture)


def test_what_lies_behind_an_icc_profile_is_no_part_of_it(
    tmp_path: Path, rgb: np.ndarray, profile: bytes
) -> None:
    Image.fromarray(rgb).save(tmp_path / "p.tif", icc_profile=profile + bytes(5))
    assert read_picture(tmp_path / "p.tif").metadata.icc_profile == profile


def test_a_cmyk_jpeg_is_converted_and_its_profile_is_not_kept(tmp_path: Path, profile: bytes) -> None:
    cmyk_profile = profile[:16] + b"CMYK" + profile[20:]
    cmyk = Image.new("CMYK", (32, 32), (0, 255, 255, 0))
    cmyk.save(tmp_path / "p.jpg", quality=100, icc_profile=cmyk_profile)

    picture = read_picture(tmp_path / "p.jpg")

    assert np.abs(picture.pixels.reshape(-1, 3).mean(0) - (255, 0, 0)).max() < 8
    assert any("CMYK" in note for note in picture.notes)
    assert picture.metadata.icc_profile is None


@pytest.mark.parametrize(
    ("name", "word"), [("a.gif", "frames"), ("a.webp", "frames"), ("a.png", "frames"), ("a.tif", "pages")]
)
def test_of_several_pictures_the_first_is_read_and_said(tmp_path: Path, name: str, word: str) -> None:
    frames = [Image.new("RGB", (8, 6), (level, 10, 10)) for level in (10, 120, 250)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])

    picture = read_picture(tmp_path / name)

    assert f"first of 3 {word}" in picture.notes
    assert np.abs(picture.pixels.astype(int) - 10).max() <= 4


def test_an_exr_of_many_channels_gives_its_colours_and_says_so(store: Any, rgb: np.ndarray) -> None:
    light = rgb.astype(np.float32) / 255
    many = np.concatenate((light[..., ::-1], light[..., :1] * 9), axis=2)
    picture = read_picture(store("p.exr", many, "float", names=("B", "G", "R", "Z")))
    np.testing.assert_array_equal(picture.pixels, light)
    assert "of 4 channels only R, G, B are used" in picture.notes


@pytest.mark.parametrize(("highest", "white"), [(200, 255), (255, 255), (900, 1023), (4095, 4095)])
def test_what_fewer_bits_would_hold_is_nearly_black_in_16_and_it_is_said(
    tmp_path: Path, highest: int, white: int
) -> None:
    dark = np.zeros((20, 30, 3), np.uint16)
    dark[7, 8] = highest
    cv2.imwrite(str(tmp_path / "dark.png"), dark)

    picture = read_picture(tmp_path / "dark.png")
    with open_picture(tmp_path / "dark.png") as file:
        assert np.array_equal(file.stored(), dark)
        assert file.notes == picture.notes == as_picture(dark).notes
    [note] = picture.notes
    assert f"16 bits hold no value above {highest:,}" in note
    assert f"if {white:,} is meant to be white" in note
    assert read_picture(tmp_path / "dark.png", role="mask").notes == ()


@pytest.mark.parametrize("highest", [0, 4096])
def test_a_dark_picture_in_16_bits_is_one(highest: int) -> None:
    assert as_picture(np.full((2, 2, 3), highest, np.uint16)).notes == ()


def test_an_exr_of_layers_only_gives_its_first_layer(store: Any, rgb: np.ndarray) -> None:
    light = rgb.astype(np.float32) / 255
    path = store("p.exr", light, "float", names=("beauty.R", "beauty.G", "beauty.B"))
    np.testing.assert_array_equal(read_picture(path).pixels, light)


def test_an_exr_data_window_is_put_into_its_display_window(store: Any) -> None:
    light = np.ones((4, 5, 3), np.float32)
    picture = read_picture(store("p.exr", light, "float", x=2, y=-1, full_width=6, full_height=8))
    assert picture.size == (8, 6)
    expected = np.zeros((8, 6, 3))
    expected[:3, 2:] = 1
    np.testing.assert_array_equal(picture.pixels, expected)
    assert any("display window" in note for note in picture.notes)


def test_resolution_and_names_are_kept_and_the_orientation_is_not(tmp_path: Path, rgb: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x8298], exif[0x010F] = 3, "Ann Example", "Camera Works"
    Image.fromarray(rgb).save(tmp_path / "p.jpg", exif=exif, dpi=(300, 300))
    metadata = read_picture(tmp_path / "p.jpg").metadata
    assert metadata.resolution == (300, 300, "in")
    assert dict(metadata.texts) == {"Copyright": "Ann Example", "Make": "Camera Works"}


@pytest.mark.parametrize("rows", [slice(None), slice(3, 7), slice(12, 13)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_display_gives_fresh_floats_of_the_rows_asked_for(rgb: np.ndarray, dtype: type, rows: slice) -> None:
    pixels = (
        (rgb / 255).astype(np.float32)
        if dtype is np.float32
        else rgb.astype(dtype) * (1 if dtype is np.uint8 else 257)
    )
    picture = Picture(pixels)
    before = pixels.copy()

    shown = picture.display(rows)
    shown *= 0.5

    np.testing.assert_allclose(shown, rgb[rows] / 510, atol=1e-6)
    np.testing.assert_array_equal(pixels, before)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 1), (5, 6, 3), (5, 6, 4)])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", ">u2", "float16", "float32", "float64"])
def test_arrays_of_every_accepted_shape_and_type_become_rgb(shape: tuple[int, ...], dtype: str) -> None:
    kind = np.dtype(dtype)
    top = np.iinfo(kind).max if kind.kind == "u" else 1
    array = (np.random.default_rng(0).random(shape) * top).astype(kind)
    before = array.copy()

    picture = as_picture(array)

    assert picture.pixels.shape == (5, 6, 3)
    assert picture.pixels.dtype == {"u1": np.uint8, "u2": np.uint16}.get(kind.str[1:], np.float32)
    np.testing.assert_allclose(picture.pixels[..., 0], array[..., 0] if array.ndim == 3 else array, atol=1e-7)
    assert (picture.alpha is not None) == (shape[-1] == 4)
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "I;16", "I", "F"]
)
def test_pil_images_of_every_mode_are_accepted(rgb: np.ndarray, mode: str) -> None:
    if mode == "I;16":
        image = Image.fromarray(rgb[..., 0].astype(np.uint16))
    elif mode == "F":
        image = Image.fromarray(rgb[..., 0].astype(np.float32) / 255)
    else:
        image = Image.fromarray(rgb).convert(mode)
    picture = as_picture(image)
    assert picture.size == (13, 17)
    assert picture.bits == {"I;16": 16, "I": 16, "F": 32}.get(mode, 8)


def test_a_picture_is_passed_through(rgb: np.ndarray) -> None:
    picture = Picture(rgb)
    assert as_picture(picture) is picture


def test_a_jpeg_that_is_odd_but_whole_is_read(tmp_path: Path, rgb: np.ndarray) -> None:
    Image.fromarray(rgb).save(tmp_path / "p.jpg")
    data = (tmp_path / "p.jpg").read_bytes()
    after = 4 + int.from_bytes(data[4:6], "big")
    for name, whole in (
        ("late", data[:-2] + b"\x00\x01\x02" + data[-2:] + b"trailing bytes"),
        ("early", data[:after] + b"\x00\x01\xff\x00\x02" + data[after:]),
    ):
        (tmp_path / f"{name}.jpg").write_bytes(whole)
        np.testing.assert_array_equal(
            read_picture(tmp_path / f"{name}.jpg").pixels, read_picture(tmp_path / "p.jpg").pixels
        )


def test_arrays_of_other_kinds_are_read_as_plain_ones() -> None:
    plain = np.arange(12, dtype=np.uint8).reshape(3, 4)
    same = [plain.view(np.recarray), np.asfortranarray(plain), plain[::-1].copy()[::-1]]

    for array in same:
        np.testing.assert_array_equal(as_picture(array).pixels[..., 1], plain)
        assert type(as_picture(array).pixels) is np.ndarray


def test_a_pil_image_of_premultiplied_grey_is_read() -> None:
    grey = Image.merge("LA", (Image.new("L", (5, 4), 200), Image.new("L", (5, 4), 128)))

    assert as_picture(grey.convert("La")).size == (4, 5)
