"""`mematte bench crops`: do the cores make as many crops as a GPU takes?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..options import QuietOption
from ..train import read_recipe, training_packages


def crops(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE.py", help="A file that defines RECIPE.")],
    settings: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="Settings that differ from it, as for `mematte train`."
        ),
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(
            "--workers",
            min=1,
            metavar="N",
            help="Processes; may be repeated. Default: 1, and one per core.",
            show_default=False,
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, metavar="S", help="Of each row.")] = 20.0,
    quiet: QuietOption = False,
) -> None:
    """Make a recipe's training crops without training, and count them.

    With augmentation=on_device the processes only cut tiles; what a GPU makes of them is left out.

    Example: mematte bench crops recipes/paper_small.py foregrounds=cutouts backgrounds=photos
    """
    with training_packages():
        from mematte.train import changed
        from mematte.train.sources import crop_source
        from mematte.train.start import starting_point
        from mematte.train.supply import SupplyRow, measure_all, table

    def say(row: SupplyRow) -> None:
        if not quiet:
            typer.echo(f"{row.workers} processes: {row.crops_per_second:.1f} crops a second", err=True)

    wanted = changed(read_recipe(recipe), settings or [])
    source = crop_source(wanted, starting_point(wanted).enlarge_below)
    typer.echo(table(measure_all(wanted, source, workers or (), seconds=seconds, on_row=say)))
