"""Compare contenders: every size and contender in turn, each row in a fresh process, as one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence

from mematte.errors import MatteError

from .child import last_line_of, threads_or_all
from .contenders import check_name
from .measure import Row

DEFAULT_CONTENDERS = ("vitmatte:small", "mematte:small:float32", "mematte:small:auto", "mematte:tiny:auto")
DEFAULT_SIDES_PX = (512, 1024, 1536)


def compare(
    contenders: Sequence[str],
    sides_px: Iterable[int],
    threads: int | None = None,
    repeats: int = 3,
    on_row: Callable[[Row], None] = lambda _: None,
    on_failure: Callable[[str, int, MatteError], None] | None = None,
) -> list[Row]:
    """Measure all contenders at all sizes; the first contender is the peer that ratios are taken against.

    Args:
        threads: per process; None = all cores.
        repeats: calls per row, of which the median counts.
        on_row: told every row when it is there.
        on_failure: told a contender, its size and why it failed, such as a peer that no longer fits into
            memory; the others are measured all the same.

    Raises:
        InputError: no contender is called so.
        MatteError: a row's process failed and there is no `on_failure`; its last words are in the message.
    """
    for name in contenders:
        check_name(name)  # before the first one's minutes
    rows = []
    for side_px in sides_px:
        for name in contenders:
            try:
                rows.append(_row(name, side_px, threads_or_all(threads), repeats))
            except MatteError as error:
                if on_failure is None:
                    raise
                on_failure(name, side_px, error)
                continue
            on_row(rows[-1])
    return rows


def _row(name: str, side_px: int, threads: int, repeats: int) -> Row:
    return Row(
        **json.loads(last_line_of("measure", [name, str(side_px), str(repeats), str(threads)], threads))
    )


def table(rows: Sequence[Row]) -> str:
    """Rows as a Markdown table; ratios are against the first contender measured at the same size."""
    if not rows:
        return "Nothing was measured."
    lines = [
        "| picture | network | seconds | times as fast | extra memory | of the peer's |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for row in rows:
        peer = next(other for other in rows if other.side_px == row.side_px)
        faster = peer.seconds / row.seconds
        share = row.extra_bytes / max(1, peer.extra_bytes)
        lines.append(
            f"| {row.side_px}x{row.side_px} | {row.contender} | {row.seconds:.2f} | {faster:.1f} "
            f"| {row.extra_bytes / 1e6:,.0f} MB | {share:.0%} |"
        )
    return "\n".join(lines)
