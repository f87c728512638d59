"""`mematte bench metrics`: what does scoring a large picture take?"""

from __future__ import annotations

from typing import Annotated

import typer

from ..options import QuietOption
from .options import ThreadsOption
from .sizes import size_of


def metrics(
    sizes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WIDTHxHEIGHT]...",
            help="Pictures. Default: 4872x6017, 29 megapixels.",
            show_default=False,
        ),
    ] = None,
    unknown: Annotated[
        list[float] | None,
        typer.Option(
            min=0.001,
            max=1,
            metavar="SHARE",
            help="Of the pixels; may be repeated. Default: 0.2 and 1.",
            show_default=False,
        ),
    ] = None,
    unquantised: Annotated[
        bool, typer.Option("--unquantised", help="Score float32 mattes, not 8-bit ones.")
    ] = False,
    threads: ThreadsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Time all five metrics on a drawn head of hair, each row a process of its own, and measure its peak.

    The extra memory is the peak above what was resident before the call, the pictures loaded; the processor's
    seconds are those of all threads, without the time for which other processes had it.

    Example: mematte bench metrics 4872x6017 --unknown 0.2
    """
    from mematte.bench.metrics import DEFAULT_SHARES, DEFAULT_SIZES, MetricsRow, measure_all, table

    def say(row: MetricsRow) -> None:
        if not quiet:
            height, width = row.size
            typer.echo(f"{width}x{height} px, {row.unknown_share:.0%} unknown: {row.seconds:.1f} s", err=True)

    wanted = [size_of(text) for text in sizes] if sizes else DEFAULT_SIZES
    bits = 32 if unquantised else 8
    typer.echo(table(measure_all(wanted, unknown or DEFAULT_SHARES, bits, threads, say)))
