"""Where a command may write: never over what it reads, and over what exists only by --force."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from mematte.errors import OutputError


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


def check_new_file(path: Path, suffix: str, what: str, force: bool) -> None:
    """Raise now what writing a file that is no picture would raise after the work. Leaves nothing behind.

    Args:
        path: where it will go.
        suffix: what its name must end in.
        what: what messages call it.
        force: whether an existing file may be replaced.

    Raises:
        OutputError: the suffix is another, the file exists, or its folder is missing or not writable.
    """
    from mematte.image.write import partial_of, target_of

    if path.suffix.lower() != suffix:
        raise OutputError(f"{path}: {what} needs a name that ends in {suffix}.")
    if path.is_dir():
        raise OutputError(f"{path} is a folder; name a file in it.")
    if path.exists() and not force:
        raise OutputError(f"{path} exists. --force replaces it.")
    folder = target_of(path).parent
    if not folder.is_dir():
        raise OutputError(f"{path}: the folder {folder} does not exist. Make it first.")
    trial = partial_of(path)
    try:
        trial.touch(exist_ok=False)
        trial.unlink()
    except OSError as error:
        raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
