"""Plots: seconds and memory against megapixels, both axes logarithmic, so that a straight line is a power."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from mematte.errors import InputError
from mematte.files import appearing

from .budget import BudgetRow
from .measure import Row


@dataclass(frozen=True)
class Point:
    """One measurement of a network."""

    network: str
    megapixels: float
    seconds: float
    memory_bytes: int


def points_of_speed(rows: Iterable[Row]) -> list[Point]:
    """Of `mematte bench speed`: the memory is what the picture took above the start."""
    return [Point(row.contender, row.side_px**2 / 1e6, row.seconds, row.extra_bytes) for row in rows]


def points_of_memory(rows: Iterable[BudgetRow]) -> list[Point]:
    """Of `mematte bench memory`: the memory is the whole process's peak."""
    return [
        Point(
            f"{row.setting.network} {row.precision}",
            row.setting.size[0] * row.setting.size[1] / 1e6,
            row.seconds,
            row.peak_bytes,
        )
        for row in rows
    ]


def check_can_draw() -> None:
    """Raise before the minutes of measuring, not after them.

    Raises:
        InputError: matplotlib is missing.
    """
    try:
        import matplotlib  # noqa: F401, only whether it is there
    except ImportError:
        raise InputError("Plots need matplotlib: pip install 'mematte[bench]'.") from None


def draw(points: Sequence[Point], path: Path, memory_is: str) -> None:
    """Two panels beside each other, a line per network.

    Args:
        points: in any order.
        path: a PNG file, written whole or not at all; an existing one is replaced.
        memory_is: what the right panel's axis says.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    figure = Figure(figsize=(11, 4.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for network in dict.fromkeys(point.network for point in points):
        of_network = sorted(
            (point for point in points if point.network == network), key=lambda point: point.megapixels
        )
        megapixels = [point.megapixels for point in of_network]
        left.plot(megapixels, [point.seconds for point in of_network], "o-", label=network)
        right.plot(megapixels, [point.memory_bytes / 1e9 for point in of_network], "o-", label=network)
    for panel, label in ((left, "seconds"), (right, memory_is)):
        panel.set(xscale="log", yscale="log", xlabel="megapixels", ylabel=label)
        for axis in (panel.xaxis, panel.yaxis):
            low, high = axis.get_view_interval()
            axis.set_major_locator(LogLocator(subs=range(1, 10) if high < 5 * low else (1, 2, 5)))
            axis.set_major_formatter(FuncFormatter(lambda number, _: f"{number:g}"))
            axis.set_minor_formatter(NullFormatter())
        panel.grid(which="both", alpha=0.25)
    handles, labels = left.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    with appearing(path) as partial:
        figure.savefig(partial, dpi=120, format="png")
