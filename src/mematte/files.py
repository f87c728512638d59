"""Files that results must never be written over, and texts that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .errors import OutputError

NO_UTF8 = "backslashreplace"
"""How texts hold what is no UTF-8, as names of files can be; JSON reads it back."""


def check_spares_inputs(path: Path, inputs: Sequence[Path]) -> None:
    """Raise if writing `path` would destroy what is read.

    Raises:
        OutputError: it is one of the inputs, by whatever name.
    """
    if any(is_same_file(path, source) for source in inputs):
        raise OutputError(f"{path} is one of the inputs and would be lost. Write to another file.")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two names lead to one file, be it there already or not."""
    same_name = os.path.realpath(one) == os.path.realpath(other)  # Path.resolve() fails on circles of links
    return same_name or (one.exists() and other.exists() and one.samefile(other))


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, in place of what is there.

    Raises:
        OutputError: it cannot be written there; nothing is left behind.
    """
    from .image.write import partial_of, target_of  # here, so that --help does not wait for them

    partial = partial_of(path)
    try:
        with partial.open("w", encoding="utf-8", errors=NO_UTF8, newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(target_of(path))
    except OSError as error:
        raise OutputError(f"{path} was not written, nothing is left behind: {error.strerror}.") from error
    finally:
        partial.unlink(missing_ok=True)
