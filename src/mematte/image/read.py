"""Pictures in: a file, a numpy array or a PIL image becomes a `Picture`, or an error that says why not.

Whatever the file was (grey, palette, RGBA, premultiplied, turned by its EXIF orientation), a `Picture` is
upright RGB with straight colours in the file's own encoding and depth. The header is checked before pixels
are read.
"""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mematte.errors import ImageFileError, InputError
from mematte.image.bands import row_bands
from mematte.image.decode import Decoder
from mematte.image.metadata import Metadata, profile_note, rgb_profile
from mematte.image.picture import Picture, PixelArray

DEFAULT_MAX_PIXELS = 1_000_000_000
"""One gigapixel: larger than any camera's picture, smaller than what a damaged or hostile header claims."""

__all__ = ["DEFAULT_MAX_PIXELS", "Picture", "as_picture", "read_picture", "read_whole", "upright"]


GREY_NOTE = "grey picture"


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
    with Decoder(path, max_pixels=max_pixels) as decoder:
        return read_whole(decoder, role)


def read_whole(decoder: Decoder, role: str) -> Picture:
    """All rows of an open file as a `Picture`.

    Raises:
        ImageFileError: as `read_picture`.
    """
    size = decoder.stored_size
    dtype = np.dtype("float32" if decoder.dtype == "float" else decoder.dtype)
    decoder.check_fits((3 + decoder.has_alpha_channel) * dtype.itemsize)
    color = np.empty((*size, decoder.color_channels), dtype)
    alpha = np.empty(size, dtype) if decoder.has_alpha_channel else None
    for rows in row_bands(size, multiple=decoder.step_rows):
        color[rows], cover = decoder.read(rows.start, rows.stop)
        if alpha is not None:
            alpha[rows] = cover
    decoder.check_finite()
    if not decoder.fills_its_window:
        color = _to_display_window(color, decoder)
        alpha = None if alpha is None else _to_display_window(alpha, decoder)
    color = upright(color, decoder.orientation)
    alpha = None if alpha is None else upright(alpha[..., None], decoder.orientation)[..., 0]
    return _assemble(color, alpha, decoder.linear, decoder.metadata, header_notes(decoder, role), role)


def header_notes(decoder: Decoder, role: str) -> list[str]:
    """What there is to say of a file before its rows are read."""
    notes = list(decoder.notes)
    if not decoder.fills_its_window:
        notes.append("the data window was filled up with black, or cropped, to the display window")
    # Trimaps and masks are numbers, not light.
    if decoder.linear and decoder.kind == "tiff" and role in ("photo", "background"):
        notes.append("float TIFF, taken as scene-linear")
    return notes


def depth_note(highest: int, role: str) -> str | None:
    """What there is to say of 16 bits whose highest value fewer bits would hold: all is nearly black."""
    if role not in ("photo", "background") or not 0 < highest < 4096:
        return None
    bits = max(8, highest.bit_length())
    return (
        f"its 16 bits hold no value above {highest:,}, which is nearly black: if {2**bits - 1:,} is meant "
        f"to be white, save it with 8 bits, or multiply by {65535 / (2**bits - 1):.4g}"
    )


def alpha_note(role: str) -> str:
    """What there is to say of a picture whose own alpha is not opaque everywhere."""
    return f"the {role}'s own alpha channel is {'taken for the mask' if role == 'mask' else 'ignored'}"


def is_opaque(alpha: PixelArray) -> bool:
    """Whether an alpha of any dtype says nothing."""
    opaque = np.iinfo(alpha.dtype).max if alpha.dtype.kind == "u" else 1
    return bool((alpha >= opaque).all())


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
            notes.append(GREY_NOTE)
    if color.dtype == np.uint16 and (note := depth_note(int(color.max()), role)):
        notes.append(note)
    if alpha is not None:
        if is_opaque(alpha):
            alpha = None  # it says nothing
        else:
            notes.append(alpha_note(role))
            alpha = np.ascontiguousarray(alpha)
    return Picture(np.ascontiguousarray(color), linear, alpha, metadata, tuple(notes))


def _to_display_window(part: PixelArray, decoder: Decoder) -> PixelArray:
    """(H, W[, C]) of an EXR's data window -> the same of its display window."""
    spec, (height, width) = decoder.spec, decoder.shown_size
    shown = np.zeros((height, width, *part.shape[2:]), part.dtype)
    left, top = spec.x - spec.full_x, spec.y - spec.full_y
    y0, y1 = max(0, top), min(height, top + spec.height)
    x0, x1 = max(0, left), min(width, left + spec.width)
    if y0 < y1 and x0 < x1:
        shown[y0:y1, x0:x1] = part[y0 - top : y1 - top, x0 - left : x1 - left]
    return shown


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
    except (OSError, SyntaxError, ValueError) as error:  # the last one: it is closed
        raise ImageFileError(f"The {role}, a PIL image, cannot be loaded: {error}.") from error
    if image.width == 0 or image.height == 0:
        raise InputError(f"The {role} has no pixels: its size is {image.width}x{image.height}.")
    profile = image.info.get("icc_profile")
    if note := profile_note(profile):
        notes.append(note)
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
        picture.pixels,
        False,
        picture.alpha,
        Metadata(icc_profile=rgb_profile(profile)),
        (*notes, *picture.notes),
    )
