"""What a result keeps of the photograph it was cut from: profile, resolution, names. Never the orientation.

The orientation is applied to the pixels when a picture is read, so writing it again would turn the result
twice.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import OpenImageIO as oiio  # noqa: N813

# Names as OpenImageIO has them, whatever the format calls them.
KEPT = (
    "Artist",
    "Copyright",
    "DateTime",
    "Exif:DateTimeOriginal",
    "Exif:LensModel",
    "ImageDescription",
    "Make",
    "Model",
)


@dataclass(frozen=True)
class Metadata:
    """What travels from a photograph to the results made from it.

    Attributes:
        icc_profile: the bytes of an RGB profile; others (CMYK, grey) would be wrong for the RGB that is
            written.
        resolution: (x, y, unit), unit "in" or "none"; of the picture as it is shown, upright.
        pixel_aspect: width of a pixel relative to its height, of an EXR for an anamorphic lens.
        texts: (name, text) of those in `KEPT`.
        chromaticities: an EXR's eight numbers, where its primaries are not Rec. 709's.
    """

    icc_profile: bytes | None = None
    resolution: tuple[float, float, str] | None = None
    texts: tuple[tuple[str, str], ...] = ()
    chromaticities: tuple[float, ...] | None = None
    pixel_aspect: float = 1.0


def rgb_profile(profile: bytes | None) -> bytes | None:
    """The profile if it is an RGB one and keeps the rules of its format, else None; without bytes behind it.

    Libraries refuse to write a picture with one that breaks them, when all the work is done.
    Source: ICC.1:2022, 7.2 and 7.3.
    """
    if profile is None or not is_rgb(profile):
        return None
    whole = profile[: _number(profile, 0)]
    return whole if _is_sound(whole) else None


def is_rgb(profile: bytes) -> bool:
    """Whether a profile says that its colours are RGB."""
    return profile[16:20] == b"RGB "


def _is_sound(profile: bytes) -> bool:
    length, tags = _number(profile, 0), _number(profile, 128)
    if length != len(profile) or not 0 < tags <= (length - 132) // 12:
        return False
    beginnings = range(132, 132 + 12 * tags, 12)
    illuminant = [_number(profile, at) / 2**16 for at in (68, 72, 76)]
    return (
        profile[36:40] == b"acsp"
        and profile[8] <= 4
        and profile[20:24] in (b"XYZ ", b"Lab ")
        and _number(profile, 64) <= 3
        and all(abs(one - d50) < 0.01 for one, d50 in zip(illuminant, (0.9642, 1, 0.8249), strict=True))
        and all(_number(profile, at + 4) + _number(profile, at + 8) <= length for at in beginnings)
    )


def _number(profile: bytes, at: int) -> int:
    return int.from_bytes(profile[at : at + 4], "big")


def from_spec(spec: oiio.ImageSpec, kind: str) -> Metadata:
    """What is worth keeping of a file's header; `kind` is OpenImageIO's name of its format."""
    x, y = spec.get_float_attribute("XResolution"), spec.get_float_attribute("YResolution")
    if spec.get_int_attribute("Orientation", 1) in (5, 6, 7, 8):  # shown on its side
        x, y = y, x
    unit = spec.get_string_attribute("ResolutionUnit", "none")
    if unit == "inch":  # as OpenImageIO reads PNG, and does not write JPEG
        unit = "in"
    if unit == "cm":  # which it writes into no EXR
        x, y, unit = 2.54 * x, 2.54 * y, "in"
    chromaticities = spec.getattribute("chromaticities")
    return Metadata(
        icc_profile=rgb_profile(profile_in(spec)),
        resolution=(x, y, unit) if x > 0 and y > 0 else None,
        texts=tuple((name, text) for name in KEPT if (text := _text(spec.get_string_attribute(name)))),
        chromaticities=None if chromaticities is None else tuple(float(value) for value in chromaticities),
        pixel_aspect=spec.get_float_attribute("PixelAspectRatio", 1.0) if kind == "openexr" else 1.0,
    )


def profile_in(spec: oiio.ImageSpec) -> bytes | None:
    """A file's ICC profile, whatever it is worth."""
    profile = spec.getattribute("ICCProfile")
    return None if profile is None else np.asarray(profile, np.uint8).tobytes()


def profile_note(profile: bytes | None) -> str | None:
    """What there is to say of a picture's ICC profile."""
    if profile is None or not is_rgb(profile) or rgb_profile(profile) is not None:
        return None
    return "its ICC profile is damaged and left out"


def _text(stored: str) -> str:
    """A text without bytes that are no UTF-8, which Python marks and OpenImageIO does not take back.

    Those who write such bytes mean an alphabet of their own, most often that of Western Europe.
    """
    try:
        stored.encode()
    except UnicodeEncodeError:
        stored = stored.encode("utf-8", "surrogateescape").decode("cp1252", "replace")
    return stored.strip()


def into_spec(
    metadata: Metadata, spec: oiio.ImageSpec, kind: str, *, profile: bool, chromaticities: bool
) -> None:
    """Put the metadata into the header of a file to be written; formats drop what they have no place for."""
    if kind == "openexr":
        spec.attribute("PixelAspectRatio", metadata.pixel_aspect)
    for name, text in metadata.texts:
        spec.attribute(name, text)
    if metadata.resolution is not None:
        x, y, unit = metadata.resolution
        spec.attribute("XResolution", x)
        spec.attribute("YResolution", y)
        spec.attribute("ResolutionUnit", unit)
        if kind == "tiff":  # OpenImageIO makes the second of the first and this
            spec.attribute("PixelAspectRatio", y / x)
    if profile and metadata.icc_profile is not None:
        data = np.frombuffer(metadata.icc_profile, np.uint8)
        spec.attribute("ICCProfile", oiio.TypeDesc(f"uint8[{data.size}]"), data)
    if chromaticities and metadata.chromaticities is not None:
        spec.attribute("chromaticities", oiio.TypeDesc("float[8]"), metadata.chromaticities)
