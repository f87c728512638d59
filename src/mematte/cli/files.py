"""The files that a command writes, and where it may: over what exists only by --force."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mematte.errors import OutputError
from mematte.files import partial_of, target_of

Role = Literal["alpha", "cutout", "foreground", "composite", "routes", "report"]


@dataclass(frozen=True)
class Output:
    """One file to write, and what it will hold."""

    role: Role
    path: Path


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
