"""Options that several measurements take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..files import check_new_file

ThreadsOption = Annotated[
    int | None, typer.Option("--threads", min=1, help="Per process. Default: all cores.", show_default=False)
]
RepeatsOption = Annotated[int, typer.Option("--repeats", min=1, help="Calls per row; the median counts.")]
SidesOption = Annotated[
    list[int] | None,
    typer.Option(
        "--side",
        min=1,
        metavar="PX",
        help="Side of the square picture; may be repeated. Has a default.",
        show_default=False,
    ),
]
PlotOption = Annotated[
    Path | None,
    typer.Option(
        "--plot",
        metavar="PLOT.png",
        help="Draw seconds and memory against megapixels; replaces the file. Needs mematte[bench].",
        show_default=False,
    ),
]


def check_plot(plot: Path | None) -> None:
    """Raise before the minutes of measuring what drawing would raise after them.

    Raises:
        OutputError: there can be no such file.
        InputError: the library that draws is missing.
    """
    from mematte.bench.plots import check_can_draw

    if plot is not None:
        check_new_file(plot, ".png", "a plot", force=True)
        check_can_draw()
