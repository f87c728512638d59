"""The manifest of a folder that is filled file by file: what belongs there, and what of it is finished.

`manifest.jsonl` holds one JSON object a line: first the header, which says what is being made, then one
record for each finished item, with its files, their lengths and their SHA-256. A line is added when its
files are whole, so a killed process loses no more than what it was at; what it left half-written is removed
when the work goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from mematte.errors import OutputError
from mematte.files import sha256, write_text

MANIFEST = "manifest.jsonl"

Record = dict[str, Any]  # one line
Files = Mapping[str, str]  # folder -> path of an item's file in it, relative to where the manifest lies


def start(output: Path, header: Record, items: Mapping[str, Files]) -> dict[str, Record]:
    """Make the folder, or check one that is there. Hidden files are nobody's business, but our own.

    Args:
        output: the folder; the one that it lies in must exist.
        header: what is being made, plain JSON, "settings" an object; equal if and only if work may go on.
        items: name -> the files of everything that will be in the folder.

    Returns:
        The records of what is finished, by name.

    Raises:
        OutputError: it holds something else, or cannot be written to. Then nothing has changed.
    """
    records: dict[str, Record] = {}
    try:
        if output.is_dir():
            if (output / MANIFEST).is_file():
                records = _finished(output, header, items)
            elif seen := [entry.name for entry in output.iterdir() if not entry.name.startswith(".")]:
                raise OutputError(
                    f"{output} is not empty and has no {MANIFEST}, so it is not ours to write to: it holds "
                    f"{min(seen)}. Name a new or an empty folder."
                )
            _remove_partials(output, items)
        elif output.exists():
            raise OutputError(f"{output} is a file. Name a folder.")
        else:
            output.mkdir()
        # Before any other file, so that the folder is known as ours.
        write(output, header, (records[name] for name in items if name in records))
        for folder in _folders(items):
            (output / folder).mkdir(exist_ok=True)
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(f"{output} cannot be written: {error.strerror}.") from error
    return records


def write(output: Path, header: Record, records: Iterable[Record]) -> None:
    """The whole manifest, in place of what is there.

    Raises:
        OutputError: it cannot be written there; what was there stays.
    """
    write_text(output / MANIFEST, "".join(map(line_of, (header, *records))))


def line_of(record: Record) -> str:
    """A record as a line of the file."""
    return json.dumps(record, ensure_ascii=False) + "\n"


def fingerprints(output: Path, files: Files) -> dict[str, Record]:
    """Folder -> path, length and SHA-256 of an item's file in it: the "outputs" of its record."""
    return {
        folder: {
            "file": file,
            "bytes": (output / file).stat().st_size,
            "sha256": sha256(output / file),
        }
        for folder, file in files.items()
    }


def _folders(items: Mapping[str, Files]) -> list[str]:
    return list(dict.fromkeys(folder for files in items.values() for folder in files))


def _finished(output: Path, header: Record, items: Mapping[str, Files]) -> dict[str, Record]:
    """The records whose files are all there; an error where the folder holds anything else."""
    path = output / MANIFEST
    first, *lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    there = _parsed(first)
    if there is None:
        raise OutputError(f"{path} is damaged: its first line is no JSON object. Name another folder.")
    if differences := _differences(there, header):
        raise OutputError(
            f"{output} was made otherwise: {'; '.join(differences)}. Name another folder, or ask "
            "for the same."
        )
    expected = {file for files in items.values() for file in files.values()}
    for folder in _folders(items):
        for entry in sorted((output / folder).glob("[!.]*")):
            if f"{folder}/{entry.name}" not in expected:
                raise OutputError(
                    f"{entry} does not belong there: the plan has no such file. Remove it, or name another "
                    "folder."
                )
    records = filter(None, map(_parsed, lines))
    return {
        record["name"]: record
        for record in records
        if record.get("name") in items and _is_whole(output, record, items[record["name"]])
    }


def _parsed(line: str) -> Record | None:
    try:
        value = json.loads(line)
    except ValueError:  # a kill cut it short
        return None
    return value if isinstance(value, dict) else None


def _differences(there: Record, now: Record) -> list[str]:
    """Why work may not go on, a phrase each."""
    old, new = (
        {**header["settings"], **header} if "settings" in header else header for header in (there, now)
    )
    differences = [
        f"{key} {json.dumps(old.get(key))} there, {json.dumps(value)} now"
        for key, value in new.items()
        if key not in ("settings", "plan_sha256") and old.get(key) != value
    ]
    if not differences and there != now:
        return ["it was made from files of other names"]
    return differences


def _is_whole(output: Path, record: Record, files: Files) -> bool:
    """Whether the files are there at the length they had: to read all of them would take hours."""
    try:
        told = {folder: entry["file"] for folder, entry in record["outputs"].items()}
        return told == files and all(
            (output / entry["file"]).stat().st_size == entry["bytes"] for entry in record["outputs"].values()
        )
    except (OSError, KeyError, TypeError, AttributeError):
        return False


def _remove_partials(output: Path, items: Mapping[str, Files]) -> None:
    for folder in (".", *_folders(items)):
        for path in (output / folder).glob(".*.partial-*"):
            path.unlink(missing_ok=True)
