"""Scores as people and programs read them: text, CSV, JSON, Markdown. All say how they were measured."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple
from typing import Literal

import numpy as np

from mematte.eval.evaluate import TITLES, columns
from mematte.eval.metrics import Scores
from mematte.eval.results import Results, Scored

Format = Literal["text", "csv", "json", "markdown"]

SUFFIXES: Mapping[str, Format] = {".txt": "text", ".csv": "csv", ".json": "json", ".md": "markdown"}


def table(results: Results, form: Format) -> str:
    """The scores of every picture, their mean, and how they were measured, ending in a newline."""
    return _WRITERS[form](results)


def about(results: Results) -> dict[str, str]:
    """How the scores were measured, in words: what stands in the header of every form."""
    said = {key: str(value) for key, value in results.settings.items() if value is not None}
    return {**said, "pictures": results.pictures}


def attending(scored: Sequence[Scored]) -> dict[int, tuple[float, float, float]]:
    """Routed block -> mean, smallest and largest share of the tokens that attend globally, over pictures."""
    blocks = scored[0].shares if scored else {}
    by_block = {block: [picture.shares[block] for picture in scored] for block in blocks}
    return {block: (float(np.mean(of)), min(of), max(of)) for block, of in by_block.items()}


def share_lines(scored: Sequence[Scored]) -> list[str]:
    """`attending` in words, a line for each block."""
    return [
        f"block {block}: {mean:.1%} of the tokens attend globally ({least:.1%} to {most:.1%})"
        for block, (mean, least, most) in attending(scored).items()
    ]


def _rows(results: Results) -> list[tuple[str, Scores]]:
    return [*((one.name, one.scores) for one in results.scored), ("mean", results.mean)]


def _text(results: Results) -> str:
    facts = about(results)
    width = max(map(len, facts))
    parts = [
        "\n".join(f"{key:<{width}}  {value}" for key, value in facts.items()),
        columns(_rows(results)),
        "\n".join(share_lines(results.scored)),
        "\n".join(f"not scored: {failure.name}: {failure.reason}" for failure in results.failures),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _csv(results: Results) -> str:
    """Comma-separated, below lines that begin with "# ": pandas.read_csv(FILE, comment="#")."""
    text = io.StringIO()
    text.writelines(f"# {key}: {value}\n" for key, value in about(results).items())
    text.writelines(f"# not scored: {one.name}: {' '.join(one.reason.split())}\n" for one in results.failures)
    blocks = list(attending(results.scored))
    # Names in quotes: an unquoted # is a comment from there on.
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    writer.writerow(
        ["picture", "sad", "mse_x1e3", "mad_x1e3", "grad", "conn", "width", "height", "unknown_share"]
        + [f"attending_block_{block}" for block in blocks]
    )
    for one in results.scored:
        shares = [one.shares[block] for block in blocks]
        writer.writerow([one.name, *astuple(one.scores), *one.size[::-1], one.unknown_share, *shares])
    mean_shares = [mean for mean, _, _ in attending(results.scored).values()]
    unknown = float(np.mean([one.unknown_share for one in results.scored]))
    writer.writerow(["mean", *astuple(results.mean), "", "", unknown, *mean_shares])
    return text.getvalue()


def _json(results: Results) -> str:
    pictures = [
        {
            "name": one.name,
            "scores": asdict(one.scores),
            "size": {"width": one.size[1], "height": one.size[0]},
            "unknown_share": one.unknown_share,
            "seconds": one.seconds,
            "attending": {str(block): share for block, share in one.shares.items()},
            "warnings": list(one.warnings),
        }
        for one in results.scored
    ]
    everything = {
        "settings": results.settings,
        "units": {"sad": "/ 1000", "mse": "x 1000", "mad": "x 1000", "grad": "/ 1000", "conn": "/ 1000"},
        "pictures": pictures,
        "mean": asdict(results.mean),
        "scored": len(results.scored),
        "not_scored": [{"name": one.name, "reason": one.reason} for one in results.failures],
    }
    return json.dumps(everything, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _markdown(results: Results) -> str:
    facts = [f"- {key}: {_escaped(value)}" for key, value in about(results).items()]
    rows = [f"| | {' | '.join(TITLES)} |", f"|---|{'---:|' * len(TITLES)}"]
    for name, scores in _rows(results):
        shown = f"**{name}**" if name == "mean" else _escaped(name)
        rows.append(f"| {shown} | {' | '.join(f'{value:.2f}' for value in astuple(scores))} |")
    parts = [
        "\n".join(facts),
        "\n".join(rows),
        "\n".join(f"- {line}" for line in share_lines(results.scored)),
        "\n".join(f"- not scored: {_escaped(f'{one.name}: {one.reason}')}" for one in results.failures),
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _escaped(text: str) -> str:
    """What Markdown would take for a table's line or for emphasis."""
    return "".join(f"\\{letter}" if letter in "|*_`<\\" else letter for letter in text)


_WRITERS: Mapping[Format, Callable[[Results], str]] = {
    "text": _text,
    "csv": _csv,
    "json": _json,
    "markdown": _markdown,
}
