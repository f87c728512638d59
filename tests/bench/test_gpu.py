"""`mematte bench gpu`: its arithmetic, and rows measured on the CPU. Nothing here judges a time."""

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from mematte.bench.gpu import (
    TIGHT_MEMORY,
    TIGHT_SIZE,
    GpuRow,
    Task,
    _milliseconds,
    default_tasks,
    measure,
    measure_all,
    table,
)
from mematte.cli import app
from mematte.errors import DeviceError, InputError, OutputError

SIZE = (1024, 1536)
OURS = GpuRow("mematte:small:bfloat16", SIZE, None, "", "H", 10, 9, 20, 4, 6, 10**8, 4 * 10**8, 2 * 10**8)
PEER = GpuRow("vitmatte:small:bfloat16", SIZE, None, "", "H", 50, 49, 20, peak_bytes=4 * 10**9)


def test_the_peer_is_that_of_the_same_picture_network_and_precision() -> None:
    other = GpuRow("vitmatte:small:float32", SIZE, None, "", "H", 70, 69, 20, peak_bytes=8 * 10**9)
    failed = GpuRow("vitmatte:small:bfloat16", (4872, 6017), None, "out of memory", "H")

    lines = table([other, PEER, OURS, failed]).splitlines()

    assert lines[4] == (
        "| 1536x1024 | mematte:small:bfloat16 |  | 10.0 | 4.0 | 6.0 | 20 | 0.40 GB | 0.20 GB | 0.10 GB "
        "| x5.0 | x20.0 |"
    )
    assert "out of memory" in lines[5]
    assert {line.count("|") for line in lines[:6]} == {13}
    assert "Measured on H;" in lines[-1]


def test_the_peer_is_not_tried_where_no_gpu_suffices_and_the_largest_is_tried_with_little() -> None:
    tasks = default_tasks(["small", "tiny"], ["bfloat16"], [(512, 512), TIGHT_SIZE])

    assert [(task.contender.split(":")[0], task.size[0], task.memory) for task in tasks] == [
        ("mematte", 512, None),
        ("vitmatte", 512, None),
        ("mematte", 16384, None),
        ("mematte", 16384, TIGHT_MEMORY),
        ("mematte", 512, None),  # tiny has no peer
        ("mematte", 16384, None),
        ("mematte", 16384, TIGHT_MEMORY),
    ]


def test_rows_are_measured_in_processes_and_what_fails_is_a_row_too() -> None:
    tasks = [
        Task("mematte:tiny:float32", (40, 64), device="cpu"),
        Task("mematte:tiny:float32", (40, 64), memory=1, device="cpu"),
    ]

    measured, failed = measure_all(tasks)

    assert (measured.contender, measured.size, measured.failed) == ("mematte:tiny:float32", (40, 64), "")
    assert 3 <= measured.repeats <= 20
    assert 0 < measured.fastest <= measured.milliseconds
    assert measured.encode > 0
    assert "do not fit into" in failed.failed


def test_what_has_not_begun_in_time_is_left_out() -> None:
    (row,) = measure_all([Task("mematte:tiny:float32", (40, 64), device="cpu")], within_s=-1)

    assert "not begun" in row.failed


def test_memory_that_runs_out_is_a_row(monkeypatch) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("too much")

    monkeypatch.setattr("mematte.bench.gpu._ready", lambda *_: exhausted)

    assert measure(Task("vitmatte:small:float32", (40, 64), device="cpu")).failed == "out of memory"


def test_the_command_prints_a_table_and_writes_the_rows(tmp_path: Path) -> None:
    arguments = ["64x40", "--network", "tiny", "--precision", "float32", "--device", "cpu"]

    result = CliRunner().invoke(app, ["bench", "gpu", *arguments, "-o", str(tmp_path / "rows.json")])

    assert result.exit_code == 0
    assert "| 64x40 | mematte:tiny:float32 |" in result.stdout
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert row["size"] == [40, 64]


def test_rows_that_cannot_be_written_are_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mematte.bench.gpu.measure_all", lambda *_: pytest.fail("it was measured"))

    result = CliRunner().invoke(
        app, ["bench", "gpu", "--device", "cpu", "-o", str(tmp_path / "no" / "rows.json")]
    )

    assert isinstance(result.exception, OutputError)
    assert "no does not exist. Make it first." in str(result.exception)


def test_a_mistyped_name_or_device_is_told_before_anything_is_measured() -> None:
    with pytest.raises(InputError, match="There is no network 'tiny:float32'"):
        default_tasks(["tiny:float32"])
    with pytest.raises(InputError, match="no contender 'sam:small:float32'"):
        measure_all([Task("sam:small:float32", (40, 64), device="cpu")])
    with pytest.raises(DeviceError, match="toaster"):
        measure_all([Task("mematte:tiny:float32", (40, 64), device="toaster")])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("contender", ["mematte:tiny:bfloat16", "vitmatte:small:bfloat16"])
def test_a_row_on_a_gpu_has_its_memory(contender) -> None:
    if contender.startswith("vitmatte"):
        pytest.importorskip("transformers")

    row = measure(Task(contender, (256, 320)))

    assert row.failed == ""
    assert row.milliseconds > 0
    assert row.peak_bytes > row.weights_bytes > 0
    assert _milliseconds(lambda: torch.ones(1 << 20, device="cuda").sum(), torch.device("cuda"))[0] > 0
