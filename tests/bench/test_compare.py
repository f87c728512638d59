"""The benchmark's own arithmetic, and one small row measured for real. Nothing here judges a time."""

from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from mematte.bench.compare import compare, table
from mematte.bench.contenders import contender
from mematte.bench.measure import Row
from mematte.cli import app
from mematte.errors import InputError, MatteError

PEER = Row("vitmatte:small", 1024, seconds=9.0, start_bytes=500_000_000, peak_bytes=1_900_000_000)
OURS = Row("mematte:small", 1024, seconds=1.5, start_bytes=450_000_000, peak_bytes=800_000_000)


def test_ratios_are_against_the_first_contender_of_the_same_size() -> None:
    small = [Row("vitmatte:small", 512, 2.0, 0, 100_000_000), Row("mematte:small", 512, 4.0, 0, 50_000_000)]

    lines = table([*small, PEER, OURS]).splitlines()

    assert lines[2:] == [
        "| 512x512 | vitmatte:small | 2.00 | 1.0 | 100 MB | 100% |",
        "| 512x512 | mematte:small | 4.00 | 0.5 | 50 MB | 50% |",
        "| 1024x1024 | vitmatte:small | 9.00 | 1.0 | 1,400 MB | 100% |",
        "| 1024x1024 | mematte:small | 1.50 | 6.0 | 350 MB | 25% |",
    ]


def test_a_row_is_measured_in_a_process_of_its_own() -> None:
    (row,) = compare(["mematte:tiny:float32"], [64], threads=1, repeats=1)

    assert (row.contender, row.side_px) == ("mematte:tiny:float32", 64)
    assert row.seconds > 0
    assert row.peak_bytes >= row.start_bytes > 50_000_000


def test_the_peer_can_be_measured() -> None:
    pytest.importorskip("transformers")

    (row,) = compare(["vitmatte:small"], [64], threads=1, repeats=1)

    assert row.seconds > 0


@pytest.mark.parametrize("name", ["", "vitmatte:huge", "mematte:large", "sam:small"])
def test_an_unknown_contender_is_an_error_that_lists_the_known(name: str) -> None:
    with pytest.raises(InputError, match=r"mematte:SPEC.*tiny, small, base.*vitmatte:small"):
        contender(name)


def test_a_mistyped_name_is_told_before_anything_is_measured() -> None:
    with pytest.raises(InputError, match="no contender 'sam:small'"):
        compare(["mematte:tiny:float32", "sam:small"], [100_000])


def test_a_row_that_fails_says_why() -> None:
    with pytest.raises(
        MatteError, match=r"failed \(measure weights:nowhere.safetensors 64 1 1\): .*no such file"
    ):
        compare(["weights:nowhere.safetensors"], [64], threads=1, repeats=1)


def test_the_command_prints_the_table_on_stdout() -> None:
    result = CliRunner().invoke(
        app, ["bench", "speed", "mematte:tiny:float32", "--side", "32", "--repeats", "1", "--threads", "1"]
    )

    assert result.exit_code == 0
    assert result.stdout.startswith("| picture | network | seconds |")
    assert "mematte:tiny:float32 at 32 px" in result.stderr


def test_a_peer_that_fails_does_not_stop_the_others() -> None:
    failures: list[tuple[str, int, str]] = []

    rows = compare(
        ["weights:nowhere.safetensors", "mematte:tiny:float32"],
        [64],
        threads=1,
        repeats=1,
        on_failure=lambda name, side_px, error: failures.append((name, side_px, str(error))),
    )

    assert [row.contender for row in rows] == ["mematte:tiny:float32"]
    ((name, side_px, words),) = failures
    assert (name, side_px) == ("weights:nowhere.safetensors", 64)
    assert "no such file" in words
    assert "| mematte:tiny:float32 |" in table(rows)  # against itself, the first that was measured
    assert table([]) == "Nothing was measured."


def test_the_command_names_what_failed_draws_the_rest_and_ends_with_status_1(tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    arguments = ["mematte:tiny:float32", "weights:nowhere.safetensors", "--side", "64"]

    result = CliRunner().invoke(
        app, ["bench", "speed", *arguments, "--threads", "1", "--repeats", "1", "--plot", str(plot)]
    )

    assert result.exit_code == 1
    assert "1 failed: weights:nowhere.safetensors at 64 px" in result.stderr
    assert "| mematte:tiny:float32 |" in result.stdout
    assert cv2.imread(str(plot)) is not None


def test_teachers_can_be_measured_too() -> None:
    (row,) = compare(["mematte:tiny-teacher:float32"], [64], threads=1, repeats=1)

    assert row.contender == "mematte:tiny-teacher:float32"
