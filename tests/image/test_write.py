from __future__ import annotations

import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import OpenImageIO as oiio  # noqa: N813
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mematte.errors import ImageFileError, InputError, OutputError
from mematte.image import (
    Metadata,
    Picture,
    alpha_writer,
    check_output,
    cutout_writer,
    default_bits,
    encoder_bytes,
    linear_to_srgb,
    open_picture,
    picture_writer,
    read_picture,
    srgb_to_linear,
    write_alpha,
    write_cutout,
    write_picture,
)
from mematte.image import write as write_module
from mematte.image.decode import complaint_of

EVERY = [
    (".png", 8), (".png", 16), (".tif", 8), (".tif", 16), (".tif", "float"), (".tiff", 8), (".exr", "half"),
    (".exr", "float"), (".webp", 8), (".jxl", 8), (".jxl", 16),
]  # fmt: skip
TOLERANCE = {8: 0.5 / 255, 16: 0.5 / 65535, "half": 2.5e-4, "float": 1e-7}


def raw(path: Path) -> np.ndarray:
    """What is stored, as float32, neither divided by alpha nor multiplied."""
    hint = oiio.ImageSpec()
    hint.attribute("oiio:UnassociatedAlpha", 1)
    reader = oiio.ImageInput.open(str(path), hint)
    pixels = reader.read_image("float")
    reader.close()
    return np.asarray(pixels)


@pytest.fixture
def alpha() -> np.ndarray:
    values = np.random.default_rng(3).random((13, 17), dtype=np.float32)
    values[0, :5], values[1, :5] = 0, 1
    return values


@pytest.fixture
def colors() -> np.ndarray:
    return np.random.default_rng(4).random((13, 17, 3), dtype=np.float32)


@pytest.mark.parametrize(("suffix", "bits"), EVERY)
def test_an_alpha_is_what_was_written(tmp_path: Path, alpha: np.ndarray, suffix: str, bits: Any) -> None:
    path = tmp_path / f"a{suffix}"
    before = alpha.copy()

    write_alpha(path, alpha, bits=bits)

    stored = raw(path).reshape(13, 17, -1)
    assert stored.shape[2] == (3 if suffix == ".webp" else 1)
    np.testing.assert_allclose(stored[..., 0], alpha, atol=TOLERANCE[bits] * 1.01)
    assert (stored[0, :5] == 0).all()
    assert (stored[1, :5] == 1).all()
    np.testing.assert_array_equal(alpha, before)
    assert os.listdir(tmp_path) == [f"a{suffix}"]  # noqa: PTH208


@pytest.mark.parametrize(("suffix", "bits"), EVERY)
@pytest.mark.parametrize("dtype", [">f4", ">f8", "f8"])
def test_floats_of_every_kind_and_order_of_bytes_are_written(
    tmp_path: Path, alpha: np.ndarray, suffix: str, bits: Any, dtype: str
) -> None:
    write_alpha(tmp_path / f"a{suffix}", alpha.astype(dtype)[::-1], bits=bits)

    np.testing.assert_allclose(raw(tmp_path / f"a{suffix}")[..., 0], alpha[::-1], atol=TOLERANCE[bits])


@pytest.mark.parametrize(("suffix", "bits"), EVERY)
def test_a_cut_out_is_what_was_written(
    tmp_path: Path, colors: np.ndarray, alpha: np.ndarray, suffix: str, bits: Any
) -> None:
    path = tmp_path / f"c{suffix}"

    write_cutout(path, colors, alpha, bits=bits)

    stored = raw(path)
    expected = srgb_to_linear(colors) if bits in ("half", "float") else colors
    if suffix == ".exr":
        expected = expected * alpha[..., None]
    # WebP drops the colours of what is invisible.
    visible = alpha > 0.5 / 255 if suffix == ".webp" else np.ones_like(alpha, bool)
    np.testing.assert_allclose(stored[..., :3][visible], expected[visible], atol=TOLERANCE[bits] * 1.01)
    np.testing.assert_allclose(stored[..., 3], alpha, atol=TOLERANCE[bits] * 1.01)


@pytest.mark.parametrize(("suffix", "bits"), EVERY)
def test_a_cut_out_read_again_is_straight(
    tmp_path: Path, colors: np.ndarray, alpha: np.ndarray, suffix: str, bits: Any
) -> None:
    write_cutout(tmp_path / f"c{suffix}", colors, alpha, bits=bits)
    picture = read_picture(tmp_path / f"c{suffix}")
    solid = alpha > 0.3
    np.testing.assert_allclose(picture.display()[solid], colors[solid], atol=0.005)
    assert picture.linear == (bits in ("half", "float"))


@pytest.mark.parametrize(("suffix", "bits"), EVERY)
def test_other_programs_read_what_we_write(
    tmp_path: Path, colors: np.ndarray, alpha: np.ndarray, suffix: str, bits: Any
) -> None:
    """Pillow, where it knows the format and depth."""
    if bits != 8 or suffix == ".jxl":
        pytest.skip("Pillow does not read this")
    write_cutout(tmp_path / f"c{suffix}", colors, alpha, bits=bits)
    with Image.open(tmp_path / f"c{suffix}") as image:
        assert image.mode == "RGBA"
        visible = alpha > 0.01
        np.testing.assert_array_equal(np.asarray(image)[visible][:, :3], np.rint(colors[visible] * 255))


def test_a_scene_linear_source_stays_linear_in_exr_and_becomes_srgb_in_png(
    tmp_path: Path, colors: np.ndarray, alpha: np.ndarray
) -> None:
    light = colors * 3
    source = Picture(light, linear=True)

    for suffix in (".exr", ".png", ".tif"):
        write_cutout(tmp_path / f"c{suffix}", light, alpha, like=source)

    np.testing.assert_allclose(raw(tmp_path / "c.exr")[..., :3], light * alpha[..., None], atol=2e-3)
    np.testing.assert_allclose(raw(tmp_path / "c.tif")[..., :3], light, atol=1e-6)
    shown = np.clip(linear_to_srgb(light), 0, 1)
    np.testing.assert_allclose(raw(tmp_path / "c.png")[..., :3], shown, atol=1e-5)


def test_a_composite_may_be_a_jpeg(tmp_path: Path) -> None:
    smooth = np.full((32, 32, 3), (0.8, 0.3, 0.1), np.float32)
    write_picture(tmp_path / "c.jpg", smooth)
    np.testing.assert_allclose(raw(tmp_path / "c.jpg"), smooth, atol=0.01)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".webp", ".jxl", ".jpg"])
def test_the_profile_of_the_photograph_is_written_back(
    tmp_path: Path, colors: np.ndarray, profile: bytes, suffix: str
) -> None:
    like = Picture(np.zeros((13, 17, 3), np.uint8), metadata=Metadata(icc_profile=profile))
    write_picture(tmp_path / f"c{suffix}", colors, like=like)
    found = read_picture(tmp_path / f"c{suffix}").metadata.icc_profile
    assert (
        found == profile if suffix != ".jxl" else found is not None
    )  # libjxl writes an equal one of its own


def test_an_alpha_and_an_exr_carry_no_profile(
    tmp_path: Path, colors: np.ndarray, alpha: np.ndarray, profile: bytes
) -> None:
    like = Picture(np.zeros((13, 17, 3), np.uint8), metadata=Metadata(icc_profile=profile))
    write_alpha(tmp_path / "a.png", alpha, like=like)
    write_cutout(tmp_path / "c.exr", colors, alpha, like=like)
    for name in ("a.png", "c.exr"):
        assert read_picture(tmp_path / name).metadata.icc_profile is None


@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".exr", ".webp"])
def test_names_and_resolution_go_with_the_result_and_the_orientation_does_not(
    tmp_path: Path, colors: np.ndarray, suffix: str
) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x8298] = 6, "Ann Example"
    Image.fromarray(np.zeros((17, 13, 3), np.uint8)).save(tmp_path / "p.jpg", exif=exif, dpi=(240, 240))
    photo = read_picture(tmp_path / "p.jpg")
    assert photo.size == (13, 17)

    write_picture(tmp_path / f"c{suffix}", colors, like=photo)

    result = read_picture(tmp_path / f"c{suffix}")
    assert result.size == (13, 17)
    if suffix != ".webp":  # OpenImageIO writes no text into WebP
        assert dict(result.metadata.texts)["Copyright"] == "Ann Example"
        assert result.metadata.resolution is not None
        assert result.metadata.resolution[0] == pytest.approx(240, rel=0.01)


def test_the_primaries_of_an_exr_are_written_back(colors: np.ndarray, tmp_path: Path) -> None:
    aces = (0.7347, 0.2653, 0.0, 1.0, 0.0001, -0.077, 0.32168, 0.33767)
    like = Picture(colors, linear=True, metadata=Metadata(chromaticities=aces))
    write_picture(tmp_path / "c.exr", colors, like=like)
    assert read_picture(tmp_path / "c.exr").metadata.chromaticities == pytest.approx(aces)


@pytest.mark.parametrize(
    ("dtype", "suffix", "bits"),
    [
        ("uint8", ".png", 8), ("uint8", ".tif", 8), ("uint8", ".exr", "half"), ("uint16", ".png", 16),
        ("uint16", ".tif", 16), ("uint16", ".webp", 8), ("uint16", ".jxl", 16), ("uint16", ".exr", "half"),
        ("float32", ".exr", "half"), ("float32", ".tif", "float"), ("float32", ".png", 16),
        ("float32", ".jpg", 8),
    ],
)  # fmt: skip
def test_the_depth_follows_the_photograph(dtype: str, suffix: str, bits: Any) -> None:
    assert default_bits(f"a{suffix}", Picture(np.zeros((2, 2, 3), dtype))) == bits


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_texts_in_another_alphabet_go_along(tmp_path: Path, suffix: str) -> None:
    exif = Image.Exif()
    exif[0x8298] = b"\xa9 M\xfcller"  # Latin-1, as many a camera writes it; EXIF says nothing of alphabets
    Image.new("RGB", (9, 9)).save(tmp_path / f"photo.{suffix}", exif=exif)
    photo = read_picture(tmp_path / f"photo.{suffix}")

    write_picture(tmp_path / "copy.tif", photo.values(), like=photo)

    copied = oiio.ImageInput.open(str(tmp_path / "copy.tif")).spec()
    assert copied.get_string_attribute("Copyright") == "© Müller"


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="its names are always Unicode")
def test_a_folder_whose_name_is_no_unicode_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/d\xff"))
    folder.mkdir()
    monkeypatch.chdir(folder)

    with pytest.raises(OutputError, match="is not valid UTF-8"):
        check_output("alpha.png", "alpha")


def test_what_openimageio_quotes_of_a_damaged_file_may_be_no_text() -> None:
    class Complaining:
        def geterror(self) -> str:
            return b"no attribute \xff\x00\x01.\nsecond".decode()

    assert complaint_of(Complaining()) == "no attribute \ufffd??"


@given(st.floats(0, 1, width=32), st.sampled_from([8, 16]))
def test_quantising_takes_the_nearest_level(value: float, bits: Any) -> None:
    top = 2**bits - 1
    level = int(write_module._quantised(np.array([value], np.float32), bits)[0])
    assert abs(level - float(np.float32(value)) * top) <= 0.5 + 0.005  # float32 at 16 bits
    assert (level == 0) == (value * top <= 0.5) or abs(value * top - 0.5) < 0.005


def test_every_16_bit_level_survives_a_round_trip(tmp_path: Path) -> None:
    levels = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    write_alpha(tmp_path / "a.png", levels / np.float32(65535), bits=16)
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png").pixels[..., 0], levels)


def test_an_existing_file_is_replaced_only_by_force(tmp_path: Path, alpha: np.ndarray) -> None:
    path = tmp_path / "a.png"
    write_alpha(path, alpha)
    write_alpha(path, 1 - alpha, force=True)
    np.testing.assert_allclose(raw(path)[..., 0], 1 - alpha, atol=0.002)


def test_a_link_goes_on_pointing_where_it_did(tmp_path: Path, alpha: np.ndarray) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "a.png").symlink_to(tmp_path / "store" / "real.png")
    write_alpha(tmp_path / "a.png", alpha, force=True)
    assert (tmp_path / "a.png").is_symlink()
    assert (tmp_path / "store" / "real.png").stat().st_size > 0


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, MemoryError, OSError])
def test_an_interruption_leaves_the_old_file_and_no_other(
    tmp_path: Path, alpha: np.ndarray, monkeypatch: pytest.MonkeyPatch, interruption: Any
) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(b"what was here before")

    def interrupted(*_: object) -> None:
        raise interruption

    monkeypatch.setattr(write_module, "_quantised", interrupted)
    with pytest.raises((KeyboardInterrupt, MemoryError, OSError)):
        write_alpha(path, alpha, force=True)
    assert path.read_bytes() == b"what was here before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.png"]


def test_large_pictures_are_written_in_bands_that_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alpha: np.ndarray, colors: np.ndarray
) -> None:
    monkeypatch.setattr(write_module, "row_bands", lambda size: (slice(y, y + 1) for y in range(size[0])))
    for suffix in (".png", ".tif", ".exr", ".webp", ".jxl"):
        write_cutout(tmp_path / f"c{suffix}", colors, alpha)
        np.testing.assert_allclose(raw(tmp_path / f"c{suffix}")[..., 3], alpha, atol=0.002)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".exr", ".webp", ".jxl"])
@pytest.mark.parametrize("size", [(1, 1), (5, 6), (200, 300)])
def test_a_flat_picture_is_written_however_few_bytes_it_takes(
    tmp_path: Path, suffix: str, size: tuple[int, int]
) -> None:
    write_alpha(tmp_path / f"a{suffix}", np.ones(size, np.float32))
    np.testing.assert_array_equal(read_picture(tmp_path / f"a{suffix}").values(), np.ones((*size, 3)))


def test_light_beyond_the_range_of_half_does_not_become_infinite(tmp_path: Path) -> None:
    write_picture(tmp_path / "sun.exr", np.full((4, 4, 3), 1e6, np.float32), linear=True)
    np.testing.assert_array_equal(read_picture(tmp_path / "sun.exr").pixels, 65504)


def test_the_longest_name_of_a_file_can_be_written(tmp_path: Path) -> None:
    name = "\u732b" * 83 + ".png"  # 253 of the 255 bytes that a name may have

    write_alpha(tmp_path / name, np.zeros((4, 5), np.float32))

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_threads_that_write_one_file_are_not_in_each_others_way(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        for job in [
            threads.submit(write_alpha, tmp_path / "a.png", np.full((64, 64), level, np.float32), force=True)
            for level in np.linspace(0, 1, 24)
        ]:
            job.result()

    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    assert np.ptp(read_picture(tmp_path / "a.png").pixels) == 0


@pytest.mark.parametrize(("suffix", "bits"), EVERY)
@pytest.mark.parametrize("step", [1, 5, 13])
def test_what_is_written_by_rows_is_what_is_written_at_once(
    tmp_path: Path, colors: np.ndarray, alpha: np.ndarray, suffix: str, bits: Any, step: int
) -> None:
    bands = [slice(top, top + step) for top in range(0, 13, step)]
    with alpha_writer(tmp_path / f"a{suffix}", (13, 17), bits=bits) as alphas:
        for rows in bands:
            alphas.write(alpha[rows])
    with cutout_writer(tmp_path / f"c{suffix}", (13, 17), bits=bits) as cutouts:
        for rows in bands:
            cutouts.write(colors[rows], alpha[rows])
    with picture_writer(tmp_path / f"p{suffix}", (13, 17), bits=bits) as pictures:
        for rows in bands:
            pictures.write(colors[rows])

    write_alpha(tmp_path / f"a_{suffix}", alpha, bits=bits)
    write_cutout(tmp_path / f"c_{suffix}", colors, alpha, bits=bits)
    write_picture(tmp_path / f"p_{suffix}", colors, bits=bits)
    for name in "acp":
        by_rows, at_once = raw(tmp_path / f"{name}{suffix}"), raw(tmp_path / f"{name}_{suffix}")
        np.testing.assert_array_equal(by_rows, at_once)


def test_a_result_by_rows_is_like_its_photograph_by_rows(
    tmp_path: Path, store: Any, colors: np.ndarray, alpha: np.ndarray
) -> None:
    photo = open_picture(store("p.exr", colors * 3, "half"))
    with photo, cutout_writer(tmp_path / "c.tif", photo.size, like=photo) as writer:
        writer.write(photo.values(), alpha)
    result = read_picture(tmp_path / "c.tif")
    assert (result.linear, result.bits) == (True, 32)
    np.testing.assert_allclose(result.pixels, colors * 3, atol=2e-3)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".exr", ".webp", ".jxl"])
@pytest.mark.parametrize("written", [0, 1, 12])
@pytest.mark.parametrize("problem", [KeyboardInterrupt, MemoryError, ImageFileError, None])
def test_a_block_that_does_not_end_well_leaves_nothing(
    tmp_path: Path,
    alpha: np.ndarray,
    capfd: pytest.CaptureFixture[str],
    suffix: str,
    written: int,
    problem: Any,
) -> None:
    def write() -> None:
        with alpha_writer(tmp_path / f"a{suffix}", (13, 17)) as writer:
            if written:
                writer.write(alpha[:written])
            if problem is not None:
                raise problem

    with pytest.raises(
        problem or InputError, match=f"only {written} of its 13 rows" if not problem else None
    ):
        write()
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")


def test_rows_that_do_not_fit_are_refused(tmp_path: Path, alpha: np.ndarray, colors: np.ndarray) -> None:
    def write(*bands: np.ndarray) -> None:
        with alpha_writer(tmp_path / "a.png", (13, 17)) as writer:
            for band in bands:
                writer.write(band)

    for bands, message in (
        ((alpha, alpha[:1]), "17x13 px and has 13 rows; 1 rows of 17 px do not fit"),
        ((alpha[:, :5],), "13 rows of 5 px do not fit"),
        ((alpha[:5], alpha[5:] * 9), "must lie in"),
        ((colors,), r"must be \(H, W\) float"),
    ):
        with pytest.raises(InputError, match=message):
            write(*bands)
    assert list(tmp_path.iterdir()) == []


def test_a_result_that_exists_is_refused_before_the_first_row(tmp_path: Path, alpha: np.ndarray) -> None:
    write_alpha(tmp_path / "a.png", alpha)
    with pytest.raises(OutputError, match="exists"), alpha_writer(tmp_path / "a.png", (13, 17)):
        pytest.fail("the block must not begin")


@pytest.mark.parametrize(("side", "magic"), [(60_000, b"II*\0"), (62_600, b"II+\0"), (66_000, b"II+\0")])
def test_a_tiff_that_may_exceed_four_gigabytes_is_a_bigtiff(tmp_path: Path, side: int, magic: bytes) -> None:
    """Seen from its first bytes while it is written: the whole would take a minute."""

    def begin() -> None:
        with alpha_writer(tmp_path / "a.tif", (side, side)) as writer:
            writer.write(np.zeros((32, side), np.float32))
            (partial,) = tmp_path.iterdir()
            with partial.open("rb") as file:
                seen.append(file.read(4))
            raise KeyboardInterrupt

    seen: list[bytes] = []
    with pytest.raises(KeyboardInterrupt):
        begin()
    assert seen == [magic]


def test_only_webp_and_jpeg_xl_take_memory_for_the_whole() -> None:
    size = (10_000, 10_000)
    for suffix in (".png", ".tif", ".exr"):
        assert encoder_bytes(f"c{suffix}", "cutout", size) < 10e6
    assert encoder_bytes("c.jpg", "picture", size) < 10e6
    assert encoder_bytes("c.webp", "cutout", size) > 4e9
    assert encoder_bytes("c.jxl", "alpha", size, 16) > 1e9
    with pytest.raises(OutputError, match="cannot hold an alpha"):
        encoder_bytes("a.jpg", "alpha", size)


def saved(path: Path, x: float, y: float, **attributes: object) -> Picture:
    spec = oiio.ImageSpec(30, 20, 3, "half" if path.suffix == ".exr" else "uint8")
    for name, value in {"XResolution": x, "YResolution": y, "ResolutionUnit": "in", **attributes}.items():
        spec.attribute(name, value)
    output = oiio.ImageOutput.create(str(path))
    output.open(str(path), spec)
    output.write_image(np.zeros((20, 30, 3), np.uint8))
    output.close()
    return read_picture(path)


@pytest.mark.parametrize("source", [".png", ".tif", ".jpg"])
@pytest.mark.parametrize("suffix", [".png", ".tif", ".jpg", ".exr"])
def test_resolution_is_the_same_in_every_format(
    tmp_path: Path, colors: np.ndarray, source: str, suffix: str
) -> None:
    photo = saved(tmp_path / f"p{source}", 300.0, 300.0)

    write_picture(tmp_path / f"c{suffix}", colors, like=photo)

    resolution = read_picture(tmp_path / f"c{suffix}").metadata.resolution
    assert resolution is not None
    assert resolution[:2] == pytest.approx((300, 300), rel=0.01)
    assert resolution[2] == "in"


def test_resolution_in_centimetres_and_of_a_picture_on_its_side(tmp_path: Path, colors: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((17, 13, 3), np.uint8)).save(tmp_path / "p.jpg", exif=exif, dpi=(300, 150))
    photo = read_picture(tmp_path / "p.jpg")
    assert photo.metadata.resolution == (150, 300, "in")

    write_picture(tmp_path / "c.tif", colors, like=photo)
    assert read_picture(tmp_path / "c.tif").metadata.resolution == (150, 300, "in")
    metric = saved(tmp_path / "p.tif", 100.0, 100.0, ResolutionUnit="cm")
    assert metric.metadata.resolution is not None
    assert metric.metadata.resolution[:2] == pytest.approx((254, 254))


def test_the_shape_of_an_exrs_pixels_is_kept_and_no_resolution_makes_one(
    tmp_path: Path, colors: np.ndarray
) -> None:
    anamorphic = saved(tmp_path / "p.exr", 72.0, 144.0, PixelAspectRatio=2.0)
    wide = saved(tmp_path / "p.jpg", 300.0, 150.0)

    for name, photo in (("a.exr", anamorphic), ("b.exr", wide)):
        write_picture(tmp_path / name, colors, like=photo)

    assert read_picture(tmp_path / "a.exr").metadata.pixel_aspect == 2.0
    assert read_picture(tmp_path / "b.exr").metadata.pixel_aspect == 1.0
