"""Weights -> an ONNX file, compared with our own network before it appears."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

import onnx
import torch
from onnx import TensorProto, helper

from mematte import __version__
from mematte.engine.plan import DEFAULT_MAX_GLOBAL_TOKENS
from mematte.errors import ExportError, OutputError
from mematte.files import appearing, sha256
from mematte.model import MEMatte
from mematte.weights import Weights, build
from mematte.weights.checkpoint import check_finite

from .graph import Graph
from .network import NetworkWriter
from .verify import Verification, verify

LOWEST_OPSET = 17  # the first with LayerNormalization
MOST_BYTES = (1 << 31) - 1  # of one protocol buffer

Precision = Literal["auto", "float32", "float16"]

CONVENTIONS = {
    "image": "(1, 3, H, W) float32 of any size: RGB in [0, 1], sRGB, neither normalised nor padded",
    "trimap": "(1, 1, H, W) float32: up to 0.1 background, from 0.9 foreground, between them unknown",
    "max_global_tokens": "() int64: most tokens that attend in each routed block; "
    f"mematte takes {DEFAULT_MAX_GLOBAL_TOKENS:,}",
    "alpha": "(1, 1, H, W) float32 in [0, 1], straight; exactly 0 and 1 where the trimap is sure",
    "attend": "(R, h, w) bool: which tokens of 16x16 px attended in each of the R routed blocks",
}


@dataclass(frozen=True)
class Exported:
    """What was written. `verification` is None where ONNX Runtime is not installed."""

    path: Path
    size_bytes: int
    verification: Verification | None


def export_onnx(
    weights: Weights,
    path: str | Path,
    *,
    precision: Precision = "auto",
    opset: int = LOWEST_OPSET,
    overwrite: bool = False,
) -> Exported:
    """Write a network as one ONNX file for images of any size; docs/onnx.md describes it.

    The file is compared with our own network in ONNX Runtime before it appears, whole or not at all.

    Args:
        weights: of a network of any drawing.
        path: the file; its folder exists.
        precision: what weights with two axes or more are stored in: "float16" halves the file; "auto" is what
            they are stored in now. Computed is in float32 always.
        opset: version of the operators.
        overwrite: False = an existing file is an error.

    Raises:
        ExportError: the opset is out of range, the network is too large for a file, or ONNX Runtime refuses
            the file or computes something else than we do.
        WeightsError: the weights do not fit their network, or exceed float16.
        OutputError: the file cannot be written there.
    """
    path = Path(path)
    newest = onnx.defs.onnx_opset_version()
    if not LOWEST_OPSET <= opset <= newest:
        raise ExportError(
            f"The opset is from {LOWEST_OPSET} to {newest} with this version of onnx, not {opset}."
        )
    if path.exists() and not overwrite:
        raise OutputError(f"{path} exists already. Choose another name, or ask for it to be overwritten.")
    weights = stored_in(weights, precision)
    network = build(weights, copy=False)
    # Before it is made: what is larger cannot even be asked for its size.
    if (stored := _stored_bytes(weights)) > MOST_BYTES:
        raise ExportError(
            f"{weights.name} takes {stored / 1e9:.1f} GB, and an ONNX file holds 2.1 GB. float16 halves it."
        )
    model = onnx_model(network, weights, opset)
    verified = None
    try:
        with appearing(path) as partial:
            partial.write_bytes(model.SerializeToString())
            if _has_onnx_runtime():
                verified = verify(partial, network, weights.preprocessing)
    except OSError as error:
        raise OutputError(
            f"{path} cannot be written: {error.strerror or error}. Nothing was left behind."
        ) from error
    return Exported(path, model.ByteSize(), verified)


def _stored_bytes(weights: Weights) -> int:
    """What the parameters take in the file."""
    return sum(value.numel() * (2 if value.dtype == torch.float16 else 4) for value in weights.state.values())


def stored_in(weights: Weights, precision: Precision) -> Weights:
    """The weights with everything of two axes or more in float16, or all in float32, or as they are."""
    if precision == "auto":
        return weights
    dtype = torch.float16 if precision == "float16" else torch.float32
    state = {
        key: value.to(dtype if value.ndim > 1 else torch.float32) for key, value in weights.state.items()
    }
    check_finite(state, f"{weights.name} in {precision}")
    return replace(weights, state=state)


def onnx_model(network: MEMatte, weights: Weights, opset: int = LOWEST_OPSET) -> onnx.ModelProto:
    """The network as an ONNX model; what `weights` store in float16 is stored so.

    Args:
        network: `build(weights)`.
        weights: what it was built of.
        opset: version of the operators.
    """
    graph = Graph(opset)
    halves = {key for key, value in weights.state.items() if value.dtype == torch.float16}
    names = ("image", "trimap", "max_global_tokens")
    written = NetworkWriter(network, graph, halves).write(*names, weights.preprocessing)
    inputs = [
        _tensor("image", TensorProto.FLOAT, 1, 3, "H", "W"),
        _tensor("trimap", TensorProto.FLOAT, 1, 1, "H", "W"),
    ]
    outputs = [_tensor("alpha", TensorProto.FLOAT, 1, 1, "H", "W")]
    if routed := weights.spec.blocks.count("R"):
        inputs.append(_tensor("max_global_tokens", TensorProto.INT64))
        outputs.append(_tensor("attend", TensorProto.BOOL, routed, "h", "w"))
    for found, output in zip(written, outputs, strict=False):  # the routes are "" where there are none
        graph.rename(found, output.name)
    proto = helper.make_graph(graph.nodes, "MEMatte", inputs, outputs, graph.initializers)
    operators = helper.make_opsetid("", opset)
    model = helper.make_model(
        proto,
        opset_imports=[operators],
        ir_version=helper.find_min_ir_version_for([operators]),  # the oldest: old runtimes read it
        producer_name="mematte",
        producer_version=__version__,
        doc_string=f"{weights.name}: image matting with MEMatte. Licence: {weights.licence}.",
    )
    helper.set_model_props(model, description(weights, [one.name for one in (*inputs, *outputs)]))
    onnx.checker.check_model(model)
    return model


def _has_onnx_runtime() -> bool:
    try:
        import onnxruntime  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name != "onnxruntime":
            raise
        return False
    return True


def _tensor(name: str, kind: TensorProto.DataType, *shape: int | str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [*shape], doc_string=CONVENTIONS[name])


def description(weights: Weights, tensors: list[str]) -> dict[str, str]:
    """What the file says of itself: the entries of its metadata."""
    source = Path(weights.source)
    entries = {
        "name": weights.name,
        "licence": weights.licence,
        "mematte_version": __version__,
        "source": source.name if source.is_file() else weights.source,
        "spec": json.dumps(asdict(weights.spec)),
        "enlarge_below": str(weights.enlarge_below),  # pixels; docs/onnx.md says what for
        **{f"tensor.{name}": CONVENTIONS[name] for name in tensors},
    }
    if source.is_file():
        entries["source_sha256"] = sha256(source)
    return entries
