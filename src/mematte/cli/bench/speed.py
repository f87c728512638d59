"""`mematte bench speed`: seconds and peak memory beside the peers."""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import QuietOption


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
    sides: Annotated[
        list[int] | None,
        typer.Option(
            "--side",
            min=1,
            metavar="PX",
            help="Side of the square picture; may be repeated. Default: 512, 1024, 1536.",
            show_default=False,
        ),
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Calls per row; the median counts.")] = 3,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Per process. Default: all cores.", show_default=False)
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Time networks on noise whose every pixel is unknown, in turn, each row in a process of its own.

    The extra memory is the process's peak above what was resident before the picture, the network loaded.

    Example: mematte bench speed vitmatte:small mematte:small --side 1024
    """
    from mematte.bench.compare import DEFAULT_CONTENDERS, DEFAULT_SIDES_PX, compare, table
    from mematte.bench.measure import Row

    def say(row: Row) -> None:
        if not quiet:
            typer.echo(f"{row.contender} at {row.side_px} px: {row.seconds:.2f} s", err=True)

    rows = compare(contenders or DEFAULT_CONTENDERS, sides or DEFAULT_SIDES_PX, threads, repeats, say)
    typer.echo(table(rows))
