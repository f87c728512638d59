"""`mematte bench gpu`: milliseconds and allocated memory beside the peer."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mematte.files import write_text

from ..files import check_new_file
from ..options import QuietOption
from .sizes import size_of


def gpu(
    sizes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WIDTHxHEIGHT]...",
            help="Pictures. Default: five, from 512x512 to 16384x16384, the last also within 3 GB.",
            show_default=False,
        ),
    ] = None,
    networks: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            metavar="SPEC",
            help="tiny, small, base, ...; may be repeated. Default: small and base.",
            show_default=False,
        ),
    ] = None,
    precisions: Annotated[
        list[str] | None,
        typer.Option(
            "--precision",
            metavar="NAME",
            help="float32, bfloat16 or float16; may be repeated. Default: bfloat16 and float32.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cuda, cuda:1 or cpu.")] = "cuda",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="ROWS.json",
            help="Write the rows there too, after each anew; replaces the file.",
            show_default=False,
        ),
    ] = None,
    within: Annotated[
        float | None,
        typer.Option(min=0, metavar="SECONDS", help="Begin no row after so long.", show_default=False),
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Time networks on a GPU beside Hugging Face's ViTMatte, on noise whose every pixel is unknown.

    From a picture in the computer's memory to its alpha there, by CUDA events, each row a process of its own:
    the median of up to 20 calls, and the most memory that was allocated. Weights are random, a quarter of the
    tokens attends. What does not fit into the GPU's memory says so in its row.

    Example: mematte bench gpu 1024x1024 --network small -o rows.json
    """
    from mematte.bench.gpu import (
        DEFAULT_NETWORKS,
        DEFAULT_PRECISIONS,
        DEFAULT_SIZES,
        GpuRow,
        default_tasks,
        measure_all,
        table,
    )

    if output is not None:
        check_new_file(output, ".json", "a list of rows", force=True)
    rows: list[GpuRow] = []

    def say(row: GpuRow) -> None:
        rows.append(row)
        if output is not None:
            write_text(output, json.dumps([asdict(one) for one in rows], indent=1) + "\n")
        if not quiet:
            took = row.failed or f"{row.milliseconds:,.1f} ms"
            typer.echo(f"{row.size[1]}x{row.size[0]} px, {row.contender}: {took}", err=True)

    tasks = default_tasks(
        networks or DEFAULT_NETWORKS,
        precisions or DEFAULT_PRECISIONS,
        [size_of(text) for text in sizes] if sizes else DEFAULT_SIZES,
        device,
    )
    typer.echo(table(measure_all(tasks, within, say)))
