"""What must never happen to files: that a result is written over what it was made from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .errors import OutputError


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
