"""`mematte bench floors`: how close to what the machine can do?"""

from __future__ import annotations

from typing import Annotated

import typer

from .options import RepeatsOption, SidesOption, ThreadsOption


def floors(
    networks: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            metavar="SPEC",
            help="tiny, small, base, small-teacher ...; may be repeated. Default: tiny and small.",
            show_default=False,
        ),
    ] = None,
    sides: SidesOption = None,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    repeats: RepeatsOption = 3,
    threads: ThreadsOption = None,
) -> None:
    """Hold encoder and decoder against the least that their operations and their bytes can take here.

    The operations run at best at the rate of a large matrix product, the bytes move at best as fast as a
    plain copy; both are measured in the same process. Every pixel is unknown, weights are random, and a
    quarter of the tokens attends. The side is 1024 px unless given.

    Example: mematte bench floors --network small --side 1024
    """
    from mematte.bench.floors import measure_all, table

    typer.echo(
        table(measure_all(networks or ("tiny", "small"), sides or (1024,), precision, threads, repeats))
    )
