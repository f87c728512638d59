"""`mematte bench speed`: seconds and peak memory beside the peers."""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import QuietOption
from .options import PlotOption, RepeatsOption, SidesOption, ThreadsOption, check_plot


def speed(
    contenders: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CONTENDER]...",
            help="mematte:SPEC[:PRECISION] (random weights, a quarter of the tokens attends), "
            "weights:NAME[:PRECISION] (real weights and their own routing), vitmatte:small or vitmatte:base "
            "(Hugging Face's). The first is the peer that the others are compared with.",
            show_default=False,
        ),
    ] = None,
    sides: SidesOption = None,
    repeats: RepeatsOption = 3,
    threads: ThreadsOption = None,
    plot: PlotOption = None,
    quiet: QuietOption = False,
) -> None:
    """Time networks on noise whose every pixel is unknown, in turn, each row in a process of its own.

    The extra memory is the process's peak above what was resident before the picture, the network loaded.
    What fails, such as a peer that no longer fits into memory, is named, and the others go on.

    The sides are 512, 1024 and 1536 px unless given.

    Example: mematte bench speed vitmatte:small mematte:small --side 1024
    """
    from mematte.bench.compare import DEFAULT_CONTENDERS, DEFAULT_SIDES_PX, compare, table
    from mematte.bench.measure import Row
    from mematte.bench.plots import draw, points_of_speed
    from mematte.errors import MatteError

    check_plot(plot)
    failed: list[str] = []

    def say(row: Row) -> None:
        if not quiet:
            typer.echo(f"{row.contender} at {row.side_px} px: {row.seconds:.2f} s", err=True)

    def note(contender: str, side_px: int, error: MatteError) -> None:
        failed.append(f"{contender} at {side_px} px")
        typer.echo(f"Error: {failed[-1]}: {error}", err=True)

    rows = compare(contenders or DEFAULT_CONTENDERS, sides or DEFAULT_SIDES_PX, threads, repeats, say, note)
    typer.echo(table(rows))
    if plot is not None and rows:
        draw(points_of_speed(rows), plot, "extra memory, GB")
    if failed:
        typer.echo(f"Error: {len(failed)} failed: {', '.join(failed)}.", err=True)
        raise typer.Exit(1)
