"""The pixels: files and numpy arrays in, files out. Knows nothing of networks, and never imports torch.

Contract: sizes are (height, width); alpha is straight, float32, [0, 1]; a trimap has exactly three levels
after reading; a picture is upright; inputs are never modified.
"""

from mematte.image.color import linear_to_srgb, srgb_to_linear
from mematte.image.composite import composite, parse_color
from mematte.image.foreground import estimate_foreground
from mematte.image.metadata import Metadata
from mematte.image.read import DEFAULT_MAX_PIXELS, Picture, as_picture, read_picture
from mematte.image.trimap import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    Trimap,
    as_mask,
    as_trimap,
    check_trimap,
    default_radius_px,
    read_trimap,
    trimap_from_mask,
)
from mematte.image.write import (
    check_output,
    default_bits,
    write_alpha,
    write_cutout,
    write_picture,
    write_trimap,
)

__all__ = [
    "BACKGROUND",
    "DEFAULT_MAX_PIXELS",
    "FOREGROUND",
    "UNKNOWN",
    "Metadata",
    "Picture",
    "Trimap",
    "as_mask",
    "as_picture",
    "as_trimap",
    "check_output",
    "check_trimap",
    "composite",
    "default_bits",
    "default_radius_px",
    "estimate_foreground",
    "linear_to_srgb",
    "parse_color",
    "read_picture",
    "read_trimap",
    "srgb_to_linear",
    "trimap_from_mask",
    "write_alpha",
    "write_cutout",
    "write_picture",
    "write_trimap",
]
