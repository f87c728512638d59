"""What was measured already: rows in a file, so that a series that was stopped goes on where it was.

Seconds of two machines or versions are never mixed: the file says what they were measured on.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from mematte.errors import OutputError
from mematte.files import write_text

from .budget import BudgetRow, Setting, row_of

FORMAT = "mematte measurements, 1"


class KeptRows:
    """Rows measured so far, in memory and, if `path` is given, in a file that is whole at any time."""

    def __init__(self, path: Path | None) -> None:
        """Begin a file, or go on with one.

        Raises:
            OutputError: it holds something else or what another machine or version took, or cannot be read.
        """
        self.path = path
        self._rows: dict[Setting, BudgetRow] = {}
        if path is not None and path.exists():
            self._rows = {row.setting: row for row in _read(path)}

    def get(self, setting: Setting) -> BudgetRow | None:
        """What a setting took, if it is known."""
        return self._rows.get(setting)

    def add(self, row: BudgetRow) -> None:
        """Keep one more row.

        Raises:
            OutputError: the file cannot be written; the one before stays whole.
        """
        self._rows[row.setting] = row
        if self.path is not None:
            rows = [asdict(row) for row in self._rows.values()]
            write_text(
                self.path,
                json.dumps({"format": FORMAT, "measured on": measured_on(), "rows": rows}, indent=1) + "\n",
            )


def measured_on() -> dict[str, str]:
    """What seconds and memory depend on beside the setting."""
    import torch

    from mematte import __version__

    return {
        "mematte": __version__,
        "torch": torch.__version__,
        "processor": f"{platform.machine()} {platform.processor()}".strip(),
        "cores": str(os.cpu_count()),
    }


def _read(path: Path) -> list[BudgetRow]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        known = said["format"] == FORMAT
        there = dict(said["measured on"])
        # Another version's may hold other figures.
        rows = [row_of(row) for row in said["rows"]] if there == measured_on() else []
    except OSError as error:
        raise OutputError(f"{path} cannot be read: {error.strerror}.") from error
    except (ValueError, LookupError, TypeError, AttributeError):
        known, there, rows = False, {}, []
    if not known:
        raise OutputError(f"{path} holds no measurements. Name another folder, or remove it.")
    if there != (now := measured_on()):
        raise OutputError(
            f"{path} was measured on something else: {_differences(there, now)}. Seconds of both would mix. "
            "Name another folder, or remove it."
        )
    return rows


def _differences(there: Mapping[str, str], now: Mapping[str, str]) -> str:
    return "; ".join(
        f"{key} was {there.get(key, 'not said')} and is {now.get(key, 'not said')}"
        for key in dict.fromkeys([*there, *now])
        if there.get(key) != now.get(key)
    )
