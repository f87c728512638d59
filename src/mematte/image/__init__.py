"""The pixels: files and numpy arrays in, files out. Knows nothing of networks, and never imports torch.

Contract: sizes are (height, width); alpha is straight, float32, [0, 1]; a trimap has exactly three levels
after reading; a picture is upright; inputs are never modified.
"""

from mematte.image.color import linear_to_srgb, srgb_to_linear
from mematte.image.composite import Backdrop, blend, composite, parse_color
from mematte.image.file import PictureFile, open_picture
from mematte.image.foreground import estimate_foreground
from mematte.image.metadata import Metadata
from mematte.image.multilevel import foreground_bands
from mematte.image.picture import Picture, Rows
from mematte.image.read import DEFAULT_MAX_PIXELS, as_picture, read_picture
from mematte.image.trimap import (
    BACKGROUND,
    FOREGROUND,
    UNKNOWN,
    Trimap,
    TrimapFile,
    TrimapRows,
    TrimapScan,
    as_mask,
    as_trimap,
    check_trimap,
    default_radius_px,
    open_trimap,
    read_trimap,
    trimap_from_mask,
)
from mematte.image.write import (
    AlphaWriter,
    CutoutWriter,
    PictureWriter,
    alpha_writer,
    check_output,
    cutout_writer,
    default_bits,
    encoder_bytes,
    picture_writer,
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
    "AlphaWriter",
    "Backdrop",
    "CutoutWriter",
    "Metadata",
    "Picture",
    "PictureFile",
    "PictureWriter",
    "Rows",
    "Trimap",
    "TrimapFile",
    "TrimapRows",
    "TrimapScan",
    "alpha_writer",
    "as_mask",
    "as_picture",
    "as_trimap",
    "blend",
    "check_output",
    "check_trimap",
    "composite",
    "cutout_writer",
    "default_bits",
    "default_radius_px",
    "encoder_bytes",
    "estimate_foreground",
    "foreground_bands",
    "linear_to_srgb",
    "open_picture",
    "open_trimap",
    "parse_color",
    "picture_writer",
    "read_picture",
    "read_trimap",
    "srgb_to_linear",
    "trimap_from_mask",
    "write_alpha",
    "write_cutout",
    "write_picture",
    "write_trimap",
]
