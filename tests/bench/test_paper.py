"""The paper's claims measured on made pictures: that the tables say what the runs gave."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from mematte import load
from mematte.bench import paper
from mematte.cli import app
from mematte.errors import InputError, WeightsError
from mematte.eval.datasets import open_data_set
from mematte.eval.metrics import eight_bit, score
from mematte.model import SPECS, MEMatte
from mematte.weights import load_weights, save_weights, weights_of


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Two discs of 64 px on noise, laid out as alphamatting.com's."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    for name, radius in (("one", 16), ("two", 24)):
        truth = np.clip((radius - np.hypot(rows - 32, columns - 32)) / 8 + 0.5, 0, 1)
        image = 255 * truth[..., None] * (0.2, 0.9, 0.4) + (1 - truth[..., None]) * rng.integers(
            0, 256, (64, 64, 3)
        )
        trimap = np.where((truth > 0) & (truth < 1), 128, truth * 255)
        for folder, pixels in (("image", image), ("alpha", truth * 255), ("trimap1", trimap)):
            (tmp_path / "set" / folder).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(
                str(tmp_path / "set" / folder / f"{name}.png"), np.rint(pixels).astype(np.uint8)
            )
    return tmp_path / "set"


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    """Random weights of TINY's teacher."""
    torch.manual_seed(0)
    path = tmp_path / "teacher.safetensors"
    save_weights(weights_of(MEMatte(SPECS["tiny-teacher"]), name="random", licence="none"), path)
    return path


def rows_of(markdown: str, title: str) -> list[list[str]]:
    """The cells of the table below a title, its head left out."""
    section = markdown.split(f"### {title}\n")[1].split("###")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_one_command_fills_all_tables(
    pictures: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["bench", "paper", str(pictures), "--teacher", str(teacher), "--cap", "3", "--cap", "0"]
    command += ["--size", "96x64", "--keep", str(tmp_path / "keep")]

    result = CliRunner().invoke(app, command)

    assert result.exit_code == 0, result.output
    quality = rows_of(result.stdout, "Quality")
    assert [row[0] for row in quality] == [
        "student",
        "student, every token attends",
        "teacher",
        "closed-form (PyMatting)",
        "KNN (PyMatting)",
    ]
    assert [bool(row[1]) for row in quality] == [True, True, False, False, False]
    assert quality[1][1] == "100.0%"
    caps = rows_of(result.stdout, "What a cap on attending tokens does")
    assert [row[0] for row in caps] == ["0", "3", "as the routers choose"]
    assert caps[0][1] == "0.0%"
    assert caps[2][2:] == quality[0][2:-1]
    assert [row[0] for row in rows_of(result.stdout, "Who attends")] == ["2", "5", "8", "11"]
    costs = rows_of(result.stdout, "What it takes")
    assert [row[0] for row in costs] == ["96x64", "96x64"]
    assert [row[1].split()[0] for row in costs] == ["tiny", "tiny-teacher"]  # in what suits the processor
    assert all(float(row[2]) > 0.1 and int(row[4].split()[0].replace(",", "")) > 100 for row in costs)
    assert "not measured here" in result.stdout

    # Again: everything is known.
    monkeypatch.setattr("mematte.bench.budget.last_line_of", None)
    monkeypatch.setattr("mematte.engine.Engine.__call__", None)
    again = CliRunner().invoke(app, command)

    assert again.exit_code == 0, again.output
    assert again.stdout == result.stdout


def test_the_students_scores_are_those_of_its_mattes(pictures: Path) -> None:
    proof = paper.prove(paper.Asked(open_data_set(pictures), caps=(), sizes=()))

    engine = load("tiny")
    for scored in proof.methods[0].results.scored:
        files = [pictures / folder / f"{scored.name}.png" for folder in ("image", "alpha", "trimap1")]
        truth, trimap = (cv2.imread(str(file), cv2.IMREAD_GRAYSCALE) for file in files[1:])
        assert scored.scores == score(eight_bit(engine(files[0], files[2]).alpha), truth, trimap)
    assert "### What a cap" not in paper.report(proof)
    assert "### What it takes" not in paper.report(proof)


@pytest.mark.parametrize(
    ("make", "says"),
    [(lambda teacher: teacher, r"no routed blocks"), (lambda _: Path("nowhere.safetensors"), r"nowhere")],
)
def test_weights_that_prove_nothing_are_an_error_before_anything_is_scored(
    pictures: Path, teacher: Path, make: Callable[[Path], Path], says: str
) -> None:
    result = CliRunner().invoke(app, ["bench", "paper", str(pictures), "--weights", str(make(teacher))])

    assert result.exit_code == 1
    assert re.search(says, str(result.exception))


def test_a_teacher_that_cannot_be_compared_is_told_before_anything_is_scored(
    pictures: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paper, "run", lambda *_, **__: pytest.fail("something was scored"))
    asked = paper.Asked(open_data_set(pictures), teacher="nobody", sizes=())
    with pytest.raises(WeightsError, match="'nobody' is neither"):
        paper.prove(asked)

    large = np.zeros((1, load_weights("tiny").enlarge_below, 3), np.uint8)
    assert cv2.imwrite(str(pictures / "image" / "two.png"), large)
    with pytest.raises(InputError, match="2 times larger, others 1 times"):
        paper.prove(replace(asked, teacher=str(teacher)))
