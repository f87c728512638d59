"""`mematte export`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from .conftest import Run, check_refused, contents

pytest.importorskip("onnx", reason="the extra `onnx` brings it")


def test_export_names_the_file_and_says_how_well_it_agrees(folder: Path, run: Run, network: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `onnx` brings it")

    result = run("export", "--onnx", "out.onnx", "--weights", network)

    assert (result.status, result.out) == (0, "out.onnx\n")
    assert "Network: probe, blocks WRWR" in result.err
    assert "Licence: MIT" in result.err
    assert "ONNX Runtime and mematte agree within" in result.err
    session = onnxruntime.InferenceSession(str(folder / "out.onnx"), providers=["CPUExecutionProvider"])
    image, trimap = np.zeros((1, 3, 20, 30), np.float32), np.full((1, 1, 20, 30), 0.5, np.float32)
    cap = np.asarray(5, np.int64)
    (alpha,) = session.run(["alpha"], {"image": image, "trimap": trimap, "max_global_tokens": cap})
    assert alpha.shape == trimap.shape


def test_a_network_without_routing_has_neither_cap_nor_routes(
    folder: Path, run: Run, unrouted_network: Path
) -> None:
    import onnx

    assert run("export", "--onnx", "out.onnx", "--weights", unrouted_network, "--opset", 18).status == 0

    graph = onnx.load(folder / "out.onnx").graph
    assert [one.name for one in graph.input] == ["image", "trimap"]
    assert [one.name for one in graph.output] == ["alpha"]


@pytest.mark.usefixtures("folder")
def test_a_quiet_export_says_only_its_path(run: Run, network: Path) -> None:
    result = run("export", "--onnx", "out.onnx", "--weights", network, "-q", "--precision", "float16")
    assert (result.out, result.err) == ("out.onnx\n", "")


@pytest.mark.usefixtures("folder")
def test_without_onnx_runtime_the_file_is_written_and_the_lack_said(
    run: Run, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)

    result = run("export", "--onnx", "out.onnx", "--weights", network)

    assert (result.status, result.out) == (0, "out.onnx\n")
    assert "Warning: the file was not compared with mematte: ONNX Runtime is not installed" in result.err


def test_without_onnx_the_extra_is_named(
    folder: Path, run: Run, network: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in [name for name in sys.modules if name.startswith("mematte.export")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "onnx", None)
    before = contents(folder)

    result = run("export", "--onnx", "out.onnx", "--weights", network)

    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "pip install 'mematte[onnx]'" in result.err
    assert contents(folder) == before


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["--onnx", "out.pb"], 1, "ends in .onnx"),
        (["--onnx", "old.onnx"], 1, "old.onnx exists. --force"),
        (["--onnx", "no/where.onnx"], 1, "does not exist. Make it first"),
        (["--onnx", "out.onnx", "--opset", "16"], 1, "The opset is from 17 to"),
        (["--onnx", "out.onnx", "--weights", "tinny"], 1, "Did you mean 'tiny'?"),
        (["--onnx", "old.onnx", "--weights", "old.onnx", "--force"], 1, "is one of the inputs"),
        (["--onnx", "out.onnx", "--precision", "int8"], 2, "int8"),
        ([], 2, "--onnx"),
    ],
)
def test_a_bad_export_command_writes_nothing(
    folder: Path, run: Run, network: Path, arguments: list[str], status: int, says: str
) -> None:
    (folder / "old.onnx").write_text("old")
    rest = [] if "--weights" in arguments else ["--weights", network]
    check_refused(folder, lambda: run("export", *arguments, *rest), status, says)
