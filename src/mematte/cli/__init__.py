"""The command line: one file per command, types at its edge and one call in its middle. Nothing imports it.

Answers (the paths written, a table) go to stdout, all else to stderr. Exit status: 0 done, 1 an error that
the message names, 2 used wrongly, 130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP. Torch is imported
only by commands that run, so that `--help` is instant.
"""

from __future__ import annotations

import io
import signal
import sys
from types import FrameType
from typing import Annotated, NoReturn

import typer

from mematte import __version__
from mematte.errors import MatteError
from mematte.files import NO_UTF8

from . import bench, data
from .convert import convert
from .evaluate import evaluate
from .export import export
from .matte import matte
from .plan import plan
from .routes import routes
from .train import train
from .trimap import trimap
from .weights import weights

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mematte {__version__}")
        raise typer.Exit


@app.callback()
def _program(
    version: Annotated[  # its callback has answered already
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Image matting at the image's own resolution: which share of each pixel is foreground.

    Example: mematte matte photo.jpg trimap.png --cutout cutout.png
    """


for command in (matte, routes, plan, trimap, evaluate, convert, export, weights, train):
    app.command()(command)
app.add_typer(data.app, name="data")
app.add_typer(bench.app, name="bench")


def main() -> None:
    """Run the command line and exit: an error of the user's is one line on stderr, not a traceback."""
    # Names of files may hold what the encoding of a terminal or pipe does not; stderr is so from the start.
    if isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.errors == "strict":
        sys.stdout.reconfigure(errors=NO_UTF8)
    # Ended in earnest, by another program or a terminal that closes: what is half-written goes all the same.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name) and signal.getsignal(getattr(signal, name)) == signal.SIG_DFL:
            signal.signal(getattr(signal, name), _end)
    try:
        app(prog_name="mematte")
    except MatteError as error:
        _fail(str(error))
    except MemoryError:
        _fail("The computer's memory does not suffice for this. Try a smaller picture.")
    except (
        OSError
    ) as error:  # what no library call has put into words: a folder that may not be searched, say
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}.")
    except KeyboardInterrupt:  # before Typer listens, or after
        sys.exit(130)


def _end(number: int, _: FrameType | None) -> NoReturn:
    sys.exit(128 + number)


def _fail(message: str) -> None:
    typer.echo(f"Error: {message}", err=True)
    sys.exit(1)
