"""A picture's size as people write it."""

from __future__ import annotations

import re

import typer


def size_of(text: str) -> tuple[int, int]:
    """WIDTHxHEIGHT -> (height, width) px, both above 0.

    Raises:
        typer.BadParameter: it is written otherwise.
    """
    found = re.fullmatch(r"0*([1-9]\d*)[xX]0*([1-9]\d*)", text)
    if found is None:
        raise typer.BadParameter(f"{text} is no size; write 6000x4000.")
    return int(found[2]), int(found[1])
