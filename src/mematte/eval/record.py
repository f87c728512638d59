"""The record of an evaluation: one JSON line for each picture that is scored, so that a rerun goes on.

The first line says what decides the scores. Work goes on only where it is equal: scores of two settings are
never mixed. A picture counts as scored while its files have the sizes and times of change they had then.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mematte.errors import OutputError
from mematte.eval.metrics import Scores
from mematte.eval.results import Scored
from mematte.files import NO_UTF8, write_text

FORMAT = "mematte evaluation, 1"

Stamp = list[list[int]]
"""Of each file its size in bytes and its time of change in nanoseconds."""


def stamp_of(files: Iterable[Path]) -> Stamp:
    """Sizes and times of change; of a file that is missing, zeros."""
    stamps = []
    for file in files:
        try:
            status = file.stat()
        except OSError:
            stamps.append([0, 0])
        else:
            stamps.append([status.st_size, status.st_mtime_ns])
    return stamps


class Record:
    """What is scored so far, in memory and, if `path` is given, in a file that grows line by line."""

    def __init__(self, path: Path | None, settings: Mapping[str, Any], *, force: bool = False) -> None:
        """Begin a record, or go on with one.

        Args:
            path: a file, which may be there from an earlier run; None keeps nothing.
            settings: all that decides the scores, plain JSON.
            force: replace a record of other settings, or a file that is none.

        Raises:
            OutputError: there is something else, or it cannot be written.
        """
        self.path = path
        self._header = json.loads(json.dumps({"format": FORMAT, "settings": settings}))
        self._lines: dict[str, dict[str, Any]] = {}
        if path is None:
            return
        try:
            if path.is_file():
                self._lines = self._read(path, force)
            self._write(path)
        except OSError as error:
            if isinstance(error, OutputError):
                raise
            raise OutputError(f"{path} cannot be written: {error.strerror}.") from error

    def get(self, name: str, stamp: Stamp) -> Scored | None:
        """The scores of a picture, if its files are as they were."""
        line = self._lines.get(name)
        return None if line is None or line["stamp"] != stamp else _scored(line)

    def add(self, scored: Scored, stamp: Stamp) -> None:
        """From here on this picture is not scored again."""
        line = {**asdict(scored), "stamp": stamp}
        self._lines[scored.name] = json.loads(json.dumps(line))
        if self.path is not None:
            try:
                with self.path.open("a", encoding="utf-8", errors=NO_UTF8, newline="\n") as file:
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
            except OSError as error:
                raise OutputError(f"{self.path} cannot be written: {error.strerror}.") from error

    def _read(self, path: Path, force: bool) -> dict[str, dict[str, Any]]:
        try:
            return self._lines_of(path)
        except OutputError:
            if force:
                return {}
            raise

    def _lines_of(self, path: Path) -> dict[str, dict[str, Any]]:
        # As bytes: a killed process may have been within a letter, and names may hold other ends of lines.
        head, *texts = path.read_bytes().rstrip(b"\n").split(b"\n")
        try:
            header = json.loads(head)
            known = header["format"] == FORMAT and isinstance(header["settings"], dict)
        except (ValueError, LookupError, TypeError):
            known = False
        if not known:
            raise OutputError(f"{path} is no record of an evaluation. Name another file, or use --force.")
        if header != self._header:
            raise OutputError(
                f"{path} holds scores of other settings: "
                f"{_differences(header['settings'], self._header['settings'])}. Scores of both would mix. "
                "Name another one, or start this one anew with --force."
            )
        lines: dict[str, dict[str, Any]] = {}
        for number, text in enumerate(texts, 2):
            try:
                line = json.loads(text)
                lines[_scored(line).name] = line
            except (ValueError, LookupError, TypeError, AttributeError):
                if number == len(texts) + 1:  # what a killed process was at
                    break
                raise OutputError(f"{path} is damaged in line {number}. Use --force to start anew.") from None
        return lines

    def _write(self, path: Path) -> None:
        """The whole file anew: without what a killed process left half-written, each picture once."""
        lines = [self._header, *self._lines.values()]
        write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def _scored(line: Mapping[str, Any]) -> Scored:
    """A picture's line read back; a LookupError, TypeError, ValueError or AttributeError if it is none."""
    fields = {**line}
    del fields["stamp"]
    fields["scores"] = Scores(**line["scores"])
    fields["size"] = tuple(line["size"])
    fields["shares"] = {int(block): share for block, share in line["shares"].items()}
    fields["warnings"] = tuple(line["warnings"])
    return Scored(**fields)


def _differences(there: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """What differs, in words."""
    parts = [
        f"{key} is {there.get(key, 'not said')} there and {now.get(key, 'not said')} now"
        for key in dict.fromkeys([*there, *now])
        if there.get(key) != now.get(key)
    ]
    return "; ".join(parts)
