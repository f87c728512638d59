"""`mematte bench`: seconds and memory, beside the peers and against what was promised."""

from __future__ import annotations

import typer

from .crops import crops
from .floors import floors
from .gpu import gpu
from .memory import memory
from .metrics import metrics
from .paper import paper
from .speed import speed

app = typer.Typer(no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Measure seconds and memory on this machine.

    Example: mematte bench speed
    """


for command in (speed, memory, gpu, floors, metrics, crops, paper):
    app.command()(command)
