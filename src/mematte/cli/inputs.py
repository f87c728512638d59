"""What commands that matte read: a photo, and the trimap or the mask that says what is unknown of it."""

from __future__ import annotations

import glob
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .messages import Messages

if TYPE_CHECKING:
    from mematte.image import Picture, PictureFile, Trimap, TrimapRows, TrimapScan


def guide_of(image: Path, trimap: Path | None, mask: Path | None, radius: int | None) -> Path:
    """The file that says what is unknown: exactly one is given.

    Raises:
        BadParameter: none is, or both are; or a radius without a mask.
    """
    if trimap is not None and mask is not None:
        raise typer.BadParameter("a trimap and --mask are both given; one of them says what is unknown.")
    if radius is not None and mask is None:
        raise typer.BadParameter("--radius is for --mask; a trimap says by itself what is unknown.")
    guide = trimap or mask
    if guide is None:
        beside = sorted(
            path
            for path in image.parent.glob(f"{glob.escape(image.stem)}[._ -]*")
            if "trimap" in path.stem.lower()
        )
        hint = f" Did you mean {beside[0]}?" if beside else ""
        raise typer.BadParameter(f"give a TRIMAP, or a mask with --mask: what is unknown?{hint}")
    return guide


def known_of(
    stack: ExitStack,
    photo: PictureFile,
    guide: Path,
    is_mask: bool,
    radius: int | None,
    limit: int,
    messages: Messages,
) -> tuple[TrimapRows, TrimapScan]:
    """The trimap, open or made of the mask, and what a look through it against the photo gave.

    Raises:
        ImageFileError, SizeMismatchError, TrimapError: which file, and what is wrong with it.
    """
    from mematte.errors import TrimapError
    from mematte.image import Trimap, as_mask, open_trimap, read_picture, trimap_from_mask

    known: TrimapRows
    if is_mask:
        mask = read_picture(guide, max_pixels=limit, role="mask")
        messages.note(guide, mask.notes)
        values = as_mask(mask)
        if values.shape != photo.size:
            raise TrimapError(
                f"The mask must be as large as the image: the image is {photo.size[1]}x{photo.size[0]} "
                f"px, the mask {values.shape[1]}x{values.shape[0]} px."
            )
        known = Trimap(trimap_from_mask(values, radius))
    else:
        known = stack.enter_context(open_trimap(guide, max_pixels=limit))
    # Before the weights are loaded: whoever forgot to paint should not wait.
    scan = known.scan(photo.size)
    messages.warn(scan.warnings)
    messages.note(guide, known.notes)
    return known, scan


def read_whole(photo: PictureFile, known: TrimapRows, messages: Messages) -> tuple[Picture, Trimap]:
    """Photo and trimap as a whole."""
    from mematte.image import Trimap, read_picture

    picture = read_picture(photo.path, max_pixels=sys.maxsize)  # its size was accepted when it was opened
    messages.note(photo.path, picture.notes)
    levels = known if isinstance(known, Trimap) else Trimap(known.level_rows(slice(0, photo.size[0])))
    return picture, levels
