"""`mematte bench memory`: is what was promised kept?"""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from ..options import QuietOption, Windows
from .options import PlotOption, ThreadsOption, check_plot
from .sizes import size_of


def memory(
    sizes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[WIDTHxHEIGHT]...",
            help="Pictures. Default: four, from 1 to 29 megapixels.",
            show_default=False,
        ),
    ] = None,
    networks: Annotated[
        list[str] | None,
        typer.Option(
            "--network",
            metavar="SPEC",
            help="tiny, small, base, small-teacher ...; may be repeated. Default: small.",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        str | None, typer.Option("--memory", metavar="SIZE", help="Default: ample.", show_default=False)
    ] = None,
    precision: Annotated[str, typer.Option(help="auto, float32 or bfloat16.")] = "auto",
    unknown: Annotated[float, typer.Option(min=0, max=1, help="Share of the pixels.")] = 0.2,
    windows: Annotated[
        Windows,
        typer.Option(
            "--windows", help="Which are computed: all, as auto is too, or those near unknown pixels."
        ),
    ] = Windows.all,
    random: Annotated[
        int,
        typer.Option(min=0, metavar="N", help="Instead: N random sizes, budgets, shares and precisions."),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Of --random.")] = 0,
    threads: ThreadsOption = None,
    plot: PlotOption = None,
    quiet: QuietOption = False,
) -> None:
    """Matte pictures of noise from file to file, each in its own process, and hold its peak against the plan.

    Weights are random, a quarter of the tokens attends.

    Example: mematte bench memory 6017x4872 --network small --memory 900MB

    Example: mematte bench memory --random 40
    """
    from mematte.bench.budget import DEFAULT_SIZES, BudgetRow, Setting, measure_all, random_settings, table
    from mematte.bench.plots import draw, points_of_memory
    from mematte.engine.memory import parse_memory
    from mematte.errors import MatteError

    def say(row: BudgetRow) -> None:
        if not quiet:
            height, width = row.setting.size
            typer.echo(f"{width}x{height} px, {row.setting.network}: {row.seconds:.1f} s", err=True)

    near: Literal["all", "unknown"] = "unknown" if windows is Windows.unknown else "all"
    failed: list[Setting] = []

    def note(setting: Setting, error: MatteError) -> None:
        failed.append(setting)
        typer.echo(f"Error: {setting}: {error}", err=True)

    settings = random_settings(random, seed) or [
        Setting(size, network, precision, parse_memory(budget) if budget else None, None, unknown, near)
        for network in networks or ["small"]
        for size in ([size_of(text) for text in sizes] if sizes else DEFAULT_SIZES)
    ]
    check_plot(plot)
    rows = measure_all(settings, threads, say, note)
    typer.echo(table(rows))
    if plot is not None and rows:
        draw(points_of_memory(rows), plot, "peak memory of the process, GB")
    if failed:
        typer.echo(f"Error: {len(failed)} of {len(settings)} settings failed.", err=True)
        raise typer.Exit(1)
