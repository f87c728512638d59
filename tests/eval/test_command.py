"""python -m mematte.eval: the table that the documents quote."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.eval.__main__ import main


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """One picture: a soft disc, laid out as alphamatting.com's."""
    y, x = np.mgrid[:96, :128]
    truth = np.clip((30 - np.hypot(y - 48, x - 64)) / 8 + 0.5, 0, 1)
    trimap = np.where(np.abs(truth - 0.5) < 0.5, 128, truth * 255).astype(np.uint8)
    for name, pixels in (
        ("image", np.dstack([truth * 200 + 20] * 3)),
        ("trimap1", trimap),
        ("alpha", truth * 255),
    ):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "disc.png"), pixels.astype(np.uint8))
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["mematte.eval", *map(str, arguments)])
    return main()


def test_a_network_gets_scores_and_shares_by_block(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, folder, "--precision", "float32") == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["disc", "mean"]
    assert [line.split(":")[0] for line in lines[3:]] == ["block 2", "block 5", "block 8", "block 11"]
    assert all("of the tokens attend globally" in line for line in lines[3:])


def test_everyone_can_be_made_to_attend(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, folder, "--precision", "float32", "--everyone", "--enlarge", "1") == 0

    assert capsys.readouterr().out.count("100.0% of the tokens attend globally (100.0% to 100.0%)") == 4


def test_a_peer_is_scored_by_the_same_command(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, folder, "--method", "knn") == 0

    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["disc", "mean"]


def test_an_empty_folder_is_one_line_on_stderr(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, tmp_path) == 1

    assert capsys.readouterr().err.startswith("Error: No PNG pictures in")
