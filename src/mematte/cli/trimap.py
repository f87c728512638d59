"""`mematte trimap`: a trimap from a mask."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mematte.files import check_spares_inputs

from .messages import Messages
from .options import ForceOption, MaxPixelsOption, QuietOption, RadiusOption


def trimap(
    mask: Annotated[
        Path, typer.Argument(metavar="MASK", help="White object on black, an alpha, or a cut-out.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="TRIMAP", help=".png, .tif, .exr, .webp or .jxl.")
    ],
    radius: RadiusOption = None,
    max_pixels: MaxPixelsOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Make a trimap from MASK: what lies within the radius of its edge is unknown.

    Paint over the trimap where hair or fur reaches further than the radius.

    Example: mematte trimap mask.png -o trimap.png --radius 25
    """
    from mematte.image import (
        DEFAULT_MAX_PIXELS,
        UNKNOWN,
        as_mask,
        check_output,
        default_radius_px,
        trimap_from_mask,
        write_trimap,
    )

    check_spares_inputs(output, [mask])
    check_output(output, "trimap", force)
    with Messages(quiet) as messages:
        with messages.stage("read", f"Reading {mask.name}"):
            values = as_mask(mask, max_pixels=max_pixels or DEFAULT_MAX_PIXELS)
        size = (values.shape[0], values.shape[1])
        radius_px = default_radius_px(size) if radius is None else radius
        levels = trimap_from_mask(values, radius_px)
        write_trimap(output, levels, force=force)
        unknown = float((levels == UNKNOWN).mean())
        messages.say(
            f"{size[1]}x{size[0]} px, radius {radius_px} px: {unknown:.1%} of the pixels are unknown."
        )
    typer.echo(output)
