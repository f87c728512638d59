"""`mematte data`: the commands for folders of training and test pictures."""

from __future__ import annotations

import typer

from .check import check
from .compose import compose

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _data() -> None:
    """Check and make data sets: folders of pictures with their alphas.

    Example: mematte data check AIM-500 --sheet aim.png
    """


for command in (check, compose):
    app.command()(command)
