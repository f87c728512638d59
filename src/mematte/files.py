"""Files: what must never be written over, and what appears whole or not at all."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


def target_of(path: Path) -> Path:
    """Where a file written as `path` goes: a link goes on pointing where it did.

    Raises:
        OutputError: links that lead in a circle, or a name that OpenImageIO cannot take.
    """
    try:
        path.stat()
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error
    target = path.resolve()
    for name in (path, target):  # a link, or a folder above it, may lead to another kind of name
        try:
            str(name).encode()
        except UnicodeError:
            raise OutputError(f"The name {str(name)!a} is not valid UTF-8. Choose another.") from None
    return target


def partial_of(path: Path) -> Path:
    """A name, new at each call, under which a file is written until it is whole: beside its place.

    New, because neither another thread nor what a killed process left may be in the way; short, because
    40 characters are at most 160 of the 255 bytes that a name may have.
    """
    target = target_of(path)
    return target.with_name(f".{target.stem[:40]}.partial-{secrets.token_hex(6)}{target.suffix}")


@contextmanager
def appearing(path: Path) -> Iterator[Path]:
    """Within, a file is written under the name that is given; then it takes its place, or vanishes.

    Raises:
        OSError: it cannot take its place.
        OutputError: as `target_of`.
    """
    target, partial = target_of(path), partial_of(path)
    try:
        yield partial
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all, in place of what is there.

    Raises:
        OutputError: it cannot be written there; nothing is left behind.
    """
    try:
        with (
            appearing(path) as partial,
            partial.open("w", encoding="utf-8", errors=NO_UTF8, newline="\n") as file,
        ):
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{path} was not written, nothing is left behind: {error.strerror}.") from error
