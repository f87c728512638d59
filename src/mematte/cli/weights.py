"""`mematte weights`: the names that --weights knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from mematte.weights import Entry


def weights() -> None:
    """List the weights that have names: where they are, how large, and under which licence.

    Each name works as --weights; so does any other Hugging Face id, file or folder.

    Example: mematte matte photo.jpg trimap.png --weights vitmatte-small-composition-1k
    """
    from mematte.weights import CATALOG

    rows = [("NAME", "SIZE", "WHERE", "LICENCE"), *(_row(entry) for entry in CATALOG.values())]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for *cells, last in rows:
        typer.echo("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]))


def _row(entry: Entry) -> tuple[str, str, str, str]:
    size = "-"  # of what is elsewhere only its holder knows
    if entry.file is not None:
        is_there = entry.file.is_file()
        size = f"{entry.file.stat().st_size / 1e6:.1f} MB" if is_there else "-" if entry.how else "missing"
        where = "in the project's repository" if entry.how else "in the package"
    elif entry.repository is not None:
        where = f"https://huggingface.co/{entry.repository}"
    else:
        where = "fetched by hand; using the name says how"
    return entry.name, size, where, entry.licence
