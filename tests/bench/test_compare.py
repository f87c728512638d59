"""The benchmark's own arithmetic, and one small row measured for real. Nothing here judges a time."""

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
