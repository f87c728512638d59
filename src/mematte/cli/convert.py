"""`mematte convert`: other people's weights as one file of ours."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mematte.files import check_spares_inputs

from .files import check_new_file
from .messages import Messages
from .options import ForceOption, QuietOption

if TYPE_CHECKING:
    from mematte.weights import Weights


def convert(
    source: Annotated[
        str,
        typer.Argument(
            metavar="IN",
            help="A published MEMatte or ViTMatte .pth, a Hugging Face ViTMatte folder or id (org/name).",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="OUT.safetensors", help="The file to write.")
    ],
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Convert weights IN to one .safetensors file that is enough by itself.

    The file holds the network's drawing, the normalisation, the licence and where the weights come from.
    A .pth is read as tensors alone: code in it is never run.

    Example: mematte convert MEMatte_ViTS_DIM.pth -o mematte-small.safetensors
    """
    read = Path(source)
    check_spares_inputs(output, [read, *(read.iterdir() if read.is_dir() else ())])
    check_new_file(output, ".safetensors", "a file of weights", force)
    from mematte.weights import convert_file

    with Messages(quiet) as messages:
        with messages.stage("convert", f"Converting {source}"):
            written = convert_file(source, output, overwrite=force)
        for line in _description(written):
            messages.say(line)
    typer.echo(output)


def _description(weights: Weights) -> list[str]:
    spec = weights.spec
    parameters = sum(value.numel() for value in weights.state.values())
    notes = weights.training.get("notes", [])
    return [
        f"Network: {spec.name}, blocks {spec.blocks}, {spec.channels} channels, {spec.heads} heads",
        f"Parameters: {parameters:,}",
        f"Licence: {weights.licence}",
        *(f"Note: {note}." for note in notes),
    ]
