"""`mematte data check`."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.data.layouts import LAYOUTS

from .conftest import Run, check_refused, contents

ALPHA = np.tile(np.linspace(0, 255, 32).astype(np.uint8), (24, 1))


@pytest.fixture
def data(folder: Path) -> Path:
    """A data set of two good pairs in the folder that the commands run in."""
    (folder / "set" / "fg").mkdir(parents=True)
    (folder / "set" / "alpha").mkdir()
    for name in ("a", "b"):
        assert cv2.imwrite(str(folder / f"set/fg/{name}.jpg"), np.full((24, 32, 3), 90, np.uint8))
        assert cv2.imwrite(str(folder / f"set/alpha/{name}.png"), ALPHA)
    return folder / "set"


def row(out: str, name: str) -> str:
    (line,) = [line for line in out.splitlines() if line.startswith(name)]
    return line.removeprefix(name).strip()


@pytest.mark.usefixtures("data")
def test_a_good_data_set_is_told_in_a_table(run: Run) -> None:
    result = run("data", "check", "set")

    assert (result.status, result.err) == (0, "")
    assert row(result.out, "FOLDER") == "set"
    assert row(result.out, "LAYOUT") == "adobe"
    assert row(result.out, "PAIRS") == "2 (foreground, alpha)"
    assert row(result.out, "FIRST") == "fg/a.jpg, alpha/a.png"
    assert row(result.out, "SIZES") == "smallest 32x24 px, median 32x24 px, largest 32x24 px"
    assert result.out.splitlines()[-1] == "no errors, no warnings"


def test_warnings_leave_the_exit_status_0(data: Path, run: Run) -> None:
    assert cv2.imwrite(str(data / "alpha/b.png"), np.where(ALPHA > 99, 255, 0).astype(np.uint8))
    result = run("data", "check", "set")
    assert result.status == 0
    assert row(result.out, "WARNING").startswith("alpha/b.png is a hard mask: no pixel is partly covered. ")
    assert result.out.splitlines()[-1] == "no errors, 1 warning"


def test_errors_make_it_1(data: Path, run: Run) -> None:
    assert cv2.imwrite(str(data / "alpha/a.png"), np.zeros_like(ALPHA))
    (data / "fg/b.jpg").write_bytes(b"")
    result = run("data", "check", "set", "-q")
    assert (result.status, result.err) == (1, "")
    lines = [line.split()[:2] for line in result.out.splitlines() if line.startswith("ERROR")]
    assert lines == [["ERROR", "alpha/a.png"], ["ERROR", "fg/b.jpg"]]
    assert result.out.splitlines()[-1] == "2 errors, no warnings"


def test_what_is_left_out_is_told(data: Path, run: Run) -> None:
    data.rename(data.parent / "valid")
    (data.parent / "whole").mkdir()
    (data.parent / "valid").rename(data.parent / "whole/valid")
    for role, file in (("fg", "t.jpg"), ("alpha", "t.png")):
        (data.parent / "whole/train" / role).mkdir(parents=True)
        assert cv2.imwrite(str(data.parent / "whole/train" / role / file), ALPHA)

    result = run("data", "check", "whole")

    assert row(result.out, "PAIRS").startswith("1 ")
    assert row(result.out, "LEFT OUT") == "whole/valid"


def test_a_sheet_is_written_and_told(data: Path, run: Run) -> None:
    before = contents(data)
    result = run("data", "check", "set", "--sheet", "sheet.png")
    assert (result.status, row(result.out, "SHEET")) == (0, "sheet.png")
    assert cv2.imread(str(data.parent / "sheet.png")) is not None
    assert contents(data) == before


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["nothere"], 1, "nothere does not exist"),
        (["photo.png"], 1, "photo.png is a file"),
        (["set", "--layout", "adob"], 1, "Did you mean 'adobe'?"),
        (["set", "--layout", "aim-500"], 1, "is not laid out as aim-500, original/ mask/ [trimap/]"),
        (["set", "--sheet", "photo.png"], 1, "photo.png exists. --force"),
        (["set", "--sheet", "set/alpha/a.png", "--force"], 1, "is one of the inputs"),
        (["set", "--sheet", "sheet.gif"], 1, "cannot hold a picture"),
        (["set", "--sheet", "no/where.png"], 1, "does not exist. Make it first"),
        ([], 2, "Missing argument 'DIR'"),
    ],
)
def test_a_bad_check_writes_nothing(
    data: Path, run: Run, arguments: list[str], status: int, says: str
) -> None:
    check_refused(data.parent, lambda: run("data", "check", *arguments), status, says)


@pytest.mark.usefixtures("data")
def test_a_wrong_layout_lists_all(run: Run) -> None:
    message = run("data", "check", "set", "--layout", "?").message
    assert all(layout.name in message for layout in LAYOUTS)


def test_data_alone_prints_its_help(run: Run) -> None:
    result = run("data")
    assert "check" in result.out + result.err
    assert "Example: mematte data " in result.out + result.err


def test_check_shows_an_example(run: Run) -> None:
    result = run("data", "check", "--help")
    assert result.status == 0
    assert "Example: mematte data check " in result.out


def test_checking_does_not_load_torch(data: Path) -> None:
    program = (
        "import sys; from mematte.cli import app\n"
        "app(['data', 'check', 'set'], standalone_mode=False)\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=data.parent, check=True, capture_output=True)
