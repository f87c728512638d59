"""`mematte bench paper`: do the paper's claims hold at our scale?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import QuietOption, WeightsOption
from .sizes import size_of


def paper(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A data set: pictures, true alphas, trimaps.")
    ],
    weights: WeightsOption = "tiny",
    teacher: Annotated[
        str,
        typer.Option(help="Weights of the network that the student was distilled from.", show_default=False),
    ] = "",
    caps: Annotated[
        list[int] | None,
        typer.Option(
            "--cap",
            min=0,
            metavar="N",
            help="Attending tokens per block at most; may be repeated. Default: 0, 64, 256 and 1024.",
            show_default=False,
        ),
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option(
            "--size",
            metavar="WIDTHxHEIGHT",
            help="Of the pictures that memory and seconds are measured on; may be repeated. Default: "
            "1024x1024 and 6017x4872, the mean of UHR-395, which takes the teacher minutes.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            "--keep",
            metavar="FOLDER",
            help="Keep scores and measurements there: the same command, run again, does what is missing.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[int, typer.Option(min=1, metavar="N", help="Pictures at a time while scoring.")] = 1,
    quiet: QuietOption = False,
) -> None:
    """Score a student, its teacher and PyMatting's methods, measure what they take, and print it as Markdown.

    Beside stand the shares of the tokens that attend, what a cap on them costs in quality, and what the paper
    reports.

    Example: mematte bench paper alphamatting --teacher weights/tiny-teacher.safetensors --keep scores
    """
    from mematte.bench.paper import DEFAULT_CAPS, DEFAULT_SIZES, Asked, prove, report
    from mematte.errors import OutputError
    from mematte.eval.datasets import open_data_set

    if keep is not None:
        try:
            keep.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{keep} cannot be made: {error.strerror}.") from error

    def say(what: str) -> None:
        if not quiet:
            typer.echo(what, err=True)

    asked = Asked(
        data=open_data_set(folder),
        student=str(weights),
        teacher=teacher,
        caps=caps or DEFAULT_CAPS,
        sizes=[size_of(text) for text in sizes] if sizes else DEFAULT_SIZES,
        keep=keep,
        processes=processes,
    )
    typer.echo(report(prove(asked, say)), nl=False)
