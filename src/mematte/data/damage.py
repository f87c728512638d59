"""Damaged files: one in a large data set is left out and named, many are an error."""

from __future__ import annotations

import logging
from pathlib import Path

from mematte.errors import DataError, MatteError

log = logging.getLogger("mematte.data")

LIMIT = 0.01
"""Share of the files that may be damaged: more is no accident, and training would not be on what it names."""

_LISTED = 10


class Damage:
    """What of a set of files turned out to be damaged, in this process: counted, and each named once."""

    def __init__(self, what: str, files: int) -> None:
        """`what`: the name of the set in messages. `files`: how many there are in all."""
        self.what, self.files = what, files
        self.reasons: dict[Path, str] = {}

    def add(self, file: Path, error: MatteError) -> None:
        """Note that a file cannot be used; the first time, say so."""
        if file not in self.reasons:
            reason = str(error)
            self.reasons[file] = reason if str(file) in reason else f"{file}: {reason}"
            log.warning("Left out, as it cannot be used: %s", self.reasons[file])

    def check(self) -> None:
        """Raise a DataError, which lists the first of them, if more than the limit are damaged."""
        count = len(self.reasons)
        if count <= LIMIT * self.files:
            return
        listed = "\n".join(f"  {reason}" for reason in list(self.reasons.values())[:_LISTED])
        more = f"\n  and {count - _LISTED} more" if count > _LISTED else ""
        raise DataError(
            f"{count} of the {self.files} {self.what} cannot be used; up to {LIMIT:.0%} would be left "
            f"out. Repair these files or move them elsewhere:\n{listed}{more}"
        )
