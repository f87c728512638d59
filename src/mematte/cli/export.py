"""`mematte export`: a network as one file for another runtime."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mematte.errors import ExportError
from mematte.files import check_spares_inputs

from .files import check_new_file
from .messages import Messages
from .options import ForceOption, QuietOption, WeightsOption

if TYPE_CHECKING:
    from mematte.export import Exported


class StoredPrecision(str, Enum):
    """What weights may be stored in."""

    auto = "auto"
    float32 = "float32"
    float16 = "float16"


def export(
    onnx: Annotated[
        Path, typer.Option("--onnx", metavar="OUT.onnx", help="The ONNX file to write.", show_default=False)
    ],
    weights: WeightsOption = "tiny",
    precision: Annotated[
        StoredPrecision,
        typer.Option(
            "--precision",
            help="What the weights are stored in: float16 halves the file, auto keeps what they are. "
            "The runtime computes in float32.",
        ),
    ] = StoredPrecision.auto,
    opset: Annotated[
        int, typer.Option("--opset", metavar="N", help="Version of the ONNX operators, 17 or higher.")
    ] = 17,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a network as one ONNX file, for pictures of any size.

    The file takes the photograph and the trimap as they are and gives the alpha. Before it appears, ONNX
    Runtime runs it and mematte compares. docs/onnx.md and examples/onnx_matte.py show how to use it.

    Example: mematte export --onnx tiny.onnx
    """
    check_spares_inputs(onnx, [Path(weights)])
    check_new_file(onnx, ".onnx", "an ONNX file", force)
    try:
        from mematte.export import export_onnx
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != "onnx":
            raise
        raise ExportError("Exporting needs more packages: pip install 'mematte[onnx]'") from None
    from mematte.weights import load_weights

    with Messages(quiet) as messages:
        with messages.stage("export", f"Exporting {weights}"):
            loaded = load_weights(weights)
            exported = export_onnx(loaded, onnx, precision=precision.value, opset=opset, overwrite=force)
        messages.say(
            f"Network: {loaded.name}, blocks {loaded.spec.blocks}, {exported.size_bytes / 1e6:.1f} MB"
        )
        messages.say(f"Licence: {loaded.licence}")
        messages.say(_comparison(exported))
    typer.echo(onnx)


def _comparison(exported: Exported) -> str:
    verified = exported.verification
    if verified is None:
        return (
            "Warning: the file was not compared with mematte: ONNX Runtime is not installed. "
            "pip install 'mematte[onnx]' brings it."
        )
    sizes = ", ".join(f"{width}x{height}" for height, width in verified.sizes)
    return f"ONNX Runtime and mematte agree within {verified.largest:.0e} on {sizes} px."
