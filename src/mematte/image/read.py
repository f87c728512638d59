"""Pictures in: a file, a numpy array or a PIL image becomes a `Picture`, or an error that says why not.

Whatever the file was (grey, palette, RGBA, premultiplied, turned by its EXIF orientation), a `Picture` is
upright RGB with straight colours in the file's own encoding and depth. The header is checked before pixels
are read.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import OpenImageIO as oiio  # noqa: N813
from numpy.typing import NDArray

from mematte.errors import ImageFileError, InputError
from mematte.image.bands import row_bands
from mematte.image.color import FloatArray, as_float, linear_to_srgb
from mematte.image.metadata import Metadata, from_spec, rgb_profile
from mematte.image.png import check_png

DEFAULT_MAX_PIXELS = 1_000_000_000
"""One gigapixel: larger than any camera's picture, smaller than what a damaged or hostile header claims."""

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

PixelArray = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Picture:
    """An upright RGB picture as its file holds it. Nothing may change its arrays: they may be the caller's.

    Attributes:
        pixels: (H, W, 3) uint8, uint16 or float32, in the file's own encoding; straight, not premultiplied.
        linear: True for scene-linear values (EXR, HDR, float TIFF), which may exceed 1; False for
            display-referred ones (sRGB or alike).
        alpha: (H, W) of the same dtype, the photograph's own alpha; None where it has none or is opaque
            everywhere. The estimate never uses it.
        metadata: what results keep.
        notes: what a user should know, each a phrase: "grey picture", "first of 12 frames".
    """

    pixels: PixelArray
    linear: bool = False
    alpha: PixelArray | None = None
    metadata: Metadata = field(default_factory=Metadata)
    notes: tuple[str, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def bits(self) -> Literal[8, 16, 32]:
        """Bits per channel; 32 is float."""
        return {"uint8": 8, "uint16": 16}.get(self.pixels.dtype.name, 32)  # type: ignore[return-value]

    def values(self, rows: slice = slice(None)) -> FloatArray:
        """(h, W, 3) float32 of the rows asked for in the picture's own encoding; integers become [0, 1]."""
        return as_float(self.pixels[rows])

    def display(self, rows: slice = slice(None)) -> FloatArray:
        """(h, W, 3) float32 in [0, 1] of the rows asked for, display-referred sRGB: what the network sees.

        Scene-linear values go through the plain sRGB curve and are clipped at 1; no other tone mapping, so
        that a value means the same in every picture. The array is the caller's to change.
        """
        values = linear_to_srgb(self.values(rows)) if self.linear else self.values(rows)
        is_view = not self.linear and self.pixels.dtype.kind == "f"
        return np.clip(values, 0, 1, out=None if is_view else values)


def as_picture(source: object, *, max_pixels: int = DEFAULT_MAX_PIXELS, role: str = "photo") -> Picture:
    """A `Picture` from whatever a caller has.

    Args:
        source: a path; a PIL image of any mode (its EXIF orientation is applied); a `Picture` (returned as
            it is); a numpy array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4) of uint8, uint16 or
            display-referred float in [0, 1]; the fourth channel is straight alpha.
        max_pixels: as in `read_picture`.
        role: what messages call it: "photo", "trimap", "mask", "background".

    Raises:
        ImageFileError: the file cannot be read.
        InputError: the object is of another type, dtype, shape or range.
    """
    if isinstance(source, Picture):
        return source
    if isinstance(source, (str, os.PathLike)):
        return read_picture(source, max_pixels=max_pixels, role=role)
    if isinstance(source, np.ndarray):
        return _from_array(source, role)
    if _is_pil(source):
        return _from_pil(source, role)
    raise InputError(
        f"The {role} must be a path, a numpy array (height, width, channels) or a PIL image; this is "
        f"{type(source).__module__}.{type(source).__qualname__}."
    )


def read_picture(
    path: str | os.PathLike[str], *, max_pixels: int = DEFAULT_MAX_PIXELS, role: str = "photo"
) -> Picture:
    """Read a picture file: PNG, JPEG, TIFF, EXR, WebP, JPEG XL, DPX, PSD and what else OpenImageIO knows.

    Palettes become colours, grey becomes RGB, CMYK is converted by formula; the EXIF orientation is
    applied; an EXR whose data window is not its display window is filled up with black, or cropped, to the
    display window; of a file with several pictures (frames, pages, parts, layers) the first is read.
    `notes` says which of this was done.

    Args:
        max_pixels: refuse larger pictures, by their header, before memory is taken.
        role: what messages call it.

    Raises:
        ImageFileError: missing, empty, a folder, unreadable, no picture, damaged or truncated, larger than
            `max_pixels`, or holding NaN or infinite values.
    """
    path = Path(path)
    _check_file(path)
    frames_note = check_png(path)
    config = oiio.ImageSpec()
    config.attribute("oiio:UnassociatedAlpha", 1)  # straight files stay straight, not premultiplied and back
    reader = oiio.ImageInput.open(str(path), config)
    if reader is None:
        reason = _one_line(oiio.geterror())
        if "could not find a format reader" in reason:
            raise ImageFileError(f"{path} is not a picture, or of a kind that OpenImageIO cannot read here.")
        raise ImageFileError(
            f"{path} cannot be read as a picture; it may be damaged or truncated ({reason})."
        )
    try:
        spec = reader.spec()
        height, width = int(spec.height), int(spec.width)
        if height * width > max_pixels:
            raise ImageFileError(
                f"{path} is {width}x{height} px, {height * width / 1e6:,.1f} megapixels; the limit is "
                f"{max_pixels / 1e6:,.1f}. If you trust the file, --max-pixels (max_pixels=) lifts it."
            )
        channels, layer_note = _pick_channels(spec, path)
        dtype = {"uint8": "uint8", "half": "float", "float": "float", "double": "float"}.get(
            str(spec.format), "uint16"
        )
        first, last = min(channels), max(channels)  # an EXR may hold dozens of others
        raw = reader.read_image(0, 0, first, last + 1, dtype)
        problem = _one_line(reader.geterror())
        if raw is None or (problem and not any(text in problem for text in _HARMLESS)):
            raise ImageFileError(f"{path} is damaged or truncated ({problem or 'no pixels could be read'}).")
        kind = reader.format_name()
        frames_note = frames_note or _count_note(reader, kind)
    finally:
        reader.close()
        oiio.geterror()  # a closed reader's complaints belong to nobody

    raw = raw.reshape(height, width, -1)
    if channels != list(range(first, last + 1)):
        raw = raw[..., [channel - first for channel in channels]]
    notes = [note for note in (frames_note, layer_note) if note]
    if dtype == "float":
        _check_finite(raw, path)
    alpha = raw[..., -1] if len(channels) in (2, 4) else None
    color = raw if alpha is None else raw[..., :-1]
    if alpha is not None and not spec.get_int_attribute("oiio:UnassociatedAlpha") and _is_premultiplied(kind):
        color = _straight(color, alpha)
    if kind == "openexr":
        stored = color
        color = _to_display_window(color, spec)
        alpha = None if alpha is None else _to_display_window(alpha, spec)
        if color is not stored:
            notes.append("the data window was filled up with black, or cropped, to the display window")
    if "CMYK" in (spec.get_string_attribute(f"{name}:ColorSpace") for name in ("jpeg", "tiff", "psd")):
        notes.append("CMYK, converted to RGB by formula, without its profile")
    linear = _is_linear(spec, kind, dtype)
    if linear and kind == "tiff" and role in ("photo", "background"):  # the others are numbers, not light
        notes.append("float TIFF, taken as scene-linear")
    orientation = spec.get_int_attribute("Orientation", 1)
    color = upright(color, orientation)
    alpha = None if alpha is None else upright(alpha[..., None], orientation)[..., 0]
    return _assemble(color, alpha, linear, from_spec(spec), notes, role)


def upright(pixels: PixelArray, orientation: int) -> PixelArray:
    """(H, W, C) as stored -> (H, W, C) or (W, H, C) as seen. Source: EXIF 2.3, tag 0x0112, values 1 to 8."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return np.ascontiguousarray(pixels)


def _assemble(
    color: PixelArray, alpha: PixelArray | None, linear: bool, metadata: Metadata, notes: list[str], role: str
) -> Picture:
    """(H, W, 1 or 3) colours and perhaps (H, W) alpha -> Picture, with what there is to say about them."""
    if color.shape[2] == 1:
        color = np.repeat(color, 3, axis=2)
        if role == "photo":
            notes.append("grey picture")
    if alpha is not None:
        opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
        if (alpha >= opaque).all():
            alpha = None  # it says nothing
        else:
            what = "taken for the mask" if role == "mask" else "ignored"
            notes.append(f"the {role}'s own alpha channel is {what}")
            alpha = np.ascontiguousarray(alpha)
    return Picture(np.ascontiguousarray(color), linear, alpha, metadata, tuple(notes))


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


def _count_note(reader: oiio.ImageInput, kind: str) -> str | None:
    """A note if the file holds more pictures than the first. It moves the reader: read first."""
    count = 1
    while reader.seek_subimage(count, 0):
        count += 1
    if count == 1:
        return None
    if kind == "psd":
        return f"the merged picture of {count - 1} layer{'s' if count > 2 else ''}"
    word = {"gif": "frames", "webp": "frames", "jpegxl": "frames", "tiff": "pages", "openexr": "parts"}
    return f"first of {count} {word.get(kind, 'pictures')}"


def _check_finite(raw: PixelArray, path: Path) -> None:
    """Raise for NaN or infinite values in (H, W, C), with how many there are and where the first is."""
    count, first = 0, (0, 0)
    for rows in row_bands(raw.shape[:2]):
        bad = ~np.isfinite(raw[rows])
        if here := int(np.count_nonzero(bad)):
            if count == 0:
                y, x = np.argwhere(bad.any(axis=2))[0]
                first = int(x), rows.start + int(y)
            count += here
    if count:
        values = "1 value that is" if count == 1 else f"{count} values that are"
        raise ImageFileError(
            f"{path} holds {values} NaN or infinite, the first at x={first[0]}, y={first[1]}. Repair it."
        )


def _is_premultiplied(kind: str) -> bool:
    """Whether a format's alpha is premultiplied when the file does not say: by the rules of the format."""
    return kind not in ("jpegxl", "webp", "png", "gif", "psd", "bmp", "ico", "targa", "jpeg2000")


def _straight(color: PixelArray, alpha: PixelArray) -> PixelArray:
    """Premultiplied (H, W, C) and (H, W) -> straight colours; where alpha is 0 they stay as they are."""
    result = np.empty_like(color)
    top = np.iinfo(color.dtype).max if color.dtype.kind == "u" else None
    for rows in row_bands(alpha.shape):
        cover = as_float(alpha[rows])[..., None]
        divided = color[rows] / np.where(cover > 0, cover, np.float32(1))
        result[rows] = divided if top is None else np.rint(np.minimum(divided, top))
    return result


def _to_display_window(part: PixelArray, spec: oiio.ImageSpec) -> PixelArray:
    """(H, W[, C]) of an EXR's data window -> the same of its display window."""
    data_window = spec.x, spec.y, spec.width, spec.height
    if data_window == (spec.full_x, spec.full_y, spec.full_width, spec.full_height):
        return part
    shown = np.zeros((spec.full_height, spec.full_width, *part.shape[2:]), part.dtype)
    left, top = spec.x - spec.full_x, spec.y - spec.full_y
    y0, y1 = max(0, top), min(spec.full_height, top + spec.height)
    x0, x1 = max(0, left), min(spec.full_width, left + spec.width)
    if y0 < y1 and x0 < x1:
        shown[y0:y1, x0:x1] = part[y0 - top : y1 - top, x0 - left : x1 - left]
    return shown


def _is_linear(spec: oiio.ImageSpec, kind: str, dtype: str) -> bool:
    """Scene-linear or not: the file's word if it says, else float is linear and integers are not."""
    space = spec.get_string_attribute("oiio:ColorSpace").lower()
    if kind in ("openexr", "hdr"):
        return True
    if dtype == "float":
        return "srgb" not in space and "g22" not in space
    return space.startswith("lin")


def _from_array(array: NDArray[Any], role: str) -> Picture:
    if isinstance(array, np.ma.MaskedArray):
        raise InputError(
            f"The {role} is a masked array, and nothing says what lies behind its mask. Fill it."
        )
    array = np.asarray(array)  # subclasses such as numpy.matrix index otherwise
    shape = "x".join(map(str, array.shape))
    if array.ndim == 2:
        array = array[..., None]
    if array.ndim != 3 or array.shape[2] not in (1, 3, 4):
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = " It seems to have its channels first: array.transpose(1, 2, 0) puts them last."
        elif array.ndim == 4:
            hint = " Pass one picture at a time."
        raise InputError(
            f"A {role} is an array (height, width) or (height, width, 1, 3 or 4); this one is {shape}.{hint}"
        )
    if array.size == 0:
        raise InputError(f"The {role} has no pixels: its shape is {shape}.")
    if array.dtype.kind == "f":
        array = array.astype(np.float32, copy=False)
        if bad := int(np.count_nonzero(~np.isfinite(array))):
            raise InputError(f"The {role} holds {bad} NaN or infinite values.")
        low, high = float(array.min()), float(array.max())
        if low < 0 or high > 1:
            raise InputError(
                f"A float {role} must be display-referred in [0, 1]; this one runs from {low:g} to {high:g}. "
                "Divide by 255 if it came from 8 bits; save scene-linear pictures as EXR and pass the path."
            )
    elif array.dtype.name not in ("uint8", "uint16"):
        hint = {
            "b": "array.astype(numpy.uint8) * 255",
            "i": "array.astype(numpy.uint8) if its values are 0 to 255",
            "u": "array.astype(numpy.uint16) if its values are 0 to 65535",
        }.get(array.dtype.kind, "a numeric array")
        raise InputError(
            f"The {role} must be uint8, uint16 or float in [0, 1], not {array.dtype}. Use {hint}."
        )
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    alpha = array[..., 3] if array.shape[2] == 4 else None
    return _assemble(array[..., :3], alpha, False, Metadata(), [], role)


def _is_pil(source: object) -> bool:
    """Whether this is a PIL image, without importing PIL: whoever has one has imported it."""
    return any(kind.__module__ == "PIL.Image" and kind.__name__ == "Image" for kind in type(source).__mro__)


def _from_pil(source: Any, role: str) -> Picture:
    from PIL import ImageOps  # optional: only who passes a PIL image needs it

    notes = [f"first of {source.n_frames} frames"] if getattr(source, "n_frames", 1) > 1 else []
    try:
        image = ImageOps.exif_transpose(source)
    except (OSError, SyntaxError) as error:
        raise ImageFileError(f"The {role}, a PIL image, cannot be loaded: {error}.") from error
    if image.width == 0 or image.height == 0:
        raise InputError(f"The {role} has no pixels: its size is {image.width}x{image.height}.")
    profile = rgb_profile(image.info.get("icc_profile"))
    if image.mode.startswith("I;16"):
        array = np.asarray(image).astype(np.uint16)
    elif image.mode in ("I", "F"):
        array = np.asarray(image)
        if image.mode == "I" and (array.min() < 0 or array.max() > 65535):
            raise InputError(f"The {role} is a PIL image of mode I with values beyond 16 bits.")
        array = array.astype(np.uint16) if image.mode == "I" else array
    else:
        if image.mode == "CMYK":
            notes.append("CMYK, converted to RGB by formula, without its profile")
        if image.mode == "La":
            image = image.convert("LA")  # the only thing that PIL makes of it
        grey = image.mode in ("1", "L")
        transparent = image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info
        array = np.asarray(
            image.convert("L" if grey and not transparent else "RGBA" if transparent else "RGB")
        )
    picture = _from_array(array, role)
    return Picture(
        picture.pixels, False, picture.alpha, Metadata(icc_profile=profile), (*notes, *picture.notes)
    )


def _one_line(text: str) -> str:
    """The first line of what OpenImageIO says, without the full stop."""
    return text.strip().split("\n")[0].rstrip(".")
