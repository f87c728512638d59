"""Plots of measurements: that what was measured is what is drawn."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from mematte.bench.budget import BudgetRow, Setting
from mematte.bench.measure import Row
from mematte.bench.plots import Point, check_can_draw, draw, points_of_memory, points_of_speed
from mematte.cli import app
from mematte.errors import InputError


def test_points_have_the_numbers_of_their_rows() -> None:
    speed = Row("vitmatte:small", 1000, seconds=2.0, start_bytes=300, peak_bytes=1000)
    memory = BudgetRow(Setting((2000, 3000), "tiny"), "float32", 9.0, 5000, 900, 800, 18500)

    assert points_of_speed([speed]) == [Point("vitmatte:small", 1.0, 2.0, 700)]
    assert points_of_memory([memory]) == [Point("tiny float32", 6.0, 9.0, 800)]


def test_every_network_has_its_line_from_small_to_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes

    lines: list[tuple[str, list[float], list[float]]] = []
    plot = Axes.plot

    def noted(self: Axes, x: list[float], y: list[float], *rest: object, **options: object) -> object:
        lines.append((str(options["label"]), x, y))
        return plot(self, x, y, *rest, **options)

    monkeypatch.setattr(Axes, "plot", noted)
    points = [Point("a", 4, 8, 10**9), Point("b", 1, 3, 10**8), Point("a", 1, 2, 5 * 10**8)]

    draw(points, tmp_path / "plot.png", "GB")

    assert lines == [
        ("a", [1, 4], [2, 8]),
        ("a", [1, 4], [0.5, 1]),
        ("b", [1], [3]),
        ("b", [1], [0.1]),
    ]
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture is not None
    assert picture.shape[1] > 1000
    assert [path.name for path in tmp_path.iterdir()] == ["plot.png"]


@pytest.mark.parametrize(("name", "says"), [("plot.jpg", "ends in .png"), ("no/plot.png", "does not exist")])
def test_a_plot_that_cannot_be_written_is_told_before_anything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, says: str
) -> None:
    monkeypatch.chdir(tmp_path)

    result = CliRunner().invoke(app, ["bench", "memory", "64x64", "--plot", name])

    assert result.exit_code == 1
    assert says in str(result.exception)


def test_without_matplotlib_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)

    with pytest.raises(InputError, match=r"mematte\[bench\]"):
        check_can_draw()
