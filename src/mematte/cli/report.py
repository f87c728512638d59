"""The report of one run as JSON, for programs that watch over many."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mematte import __version__
from mematte.files import write_text

from .files import Output, check_new_file

if TYPE_CHECKING:
    from mematte.engine import BlockRouting, Report


def report_of(
    report: Report,
    routings: Sequence[BlockRouting],
    inputs: Mapping[str, Path | str | None],
    outputs: Sequence[Output],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """What was done and what it took, as plain JSON: sizes with names, memory in bytes, times in seconds.

    Args:
        report: the engine's own.
        routings: of the routed blocks.
        inputs: what was read, by role.
        outputs: what was written.
        seconds: what the command's own stages took, by name.
    """
    # The engine's own stages stand in place of the whole that they are parts of.
    stages = {**seconds, **report.seconds}
    stages.pop("matte", None)
    return {
        "version": __version__,
        "inputs": {role: None if path is None else str(path) for role, path in inputs.items()},
        "outputs": {output.role: str(output.path) for output in outputs},
        "weights": report.weights,
        "weights_source": report.weights_source,
        "network": report.network,
        "device": report.device,
        "precision": report.precision,
        "size": _size(report.size),
        "enlarged": report.enlarged,
        "padded": _size(report.padded),
        "tokens": report.tokens,
        "computed_tokens": report.computed_tokens,
        "max_global_tokens": report.max_global_tokens,
        "unknown_share": report.unknown_share,
        "first_reduced": report.first_reduced,
        "asked_share": report.asked_share,
        "routing": [
            {
                "block": routing.block,
                "attending": int(routing.attend.sum()),
                "attending_share": routing.share,
                "asked": routing.asked,
                "asked_share": routing.asked / routing.attend.size,
            }
            for routing in routings
        ],
        "seconds": {stage: round(took, 4) for stage, took in stages.items()},
        "memory_bytes": report.memory_bytes,
        "planned_bytes": report.planned_bytes,
        "peak_bytes": report.peak_bytes,
        "notes": list(report.notes),
        "warnings": list(report.warnings),
    }


def write_report(path: Path, report: dict[str, Any], force: bool) -> None:
    """Write the report whole or not at all.

    Raises:
        OutputError: it cannot be written there; nothing is left behind.
    """
    check_new_file(path, ".json", "a report", force)
    write_text(path, json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def _size(size: tuple[int, int]) -> dict[str, int]:
    return {"width": size[1], "height": size[0]}
