"""What scoring takes: the drawn pair, the table, and one small row measured for real."""

import numpy as np
import pytest
from typer.testing import CliRunner

from mematte.bench.metrics import MetricsRow, draw_pair, measure_all, table
from mematte.cli import app
from mematte.eval.metrics import Scores, score

SIZE = (300, 200)


@pytest.mark.parametrize("share", [0.05, 0.2, 1.0])
def test_as_many_pixels_are_unknown_as_asked_for(share: float) -> None:
    alpha, truth, trimap = draw_pair(SIZE, share)

    for picture in (alpha, truth, trimap):
        assert picture.shape == SIZE
        assert picture.dtype == np.uint8
    # Pixels equally far from the outline become unknown together.
    assert float((trimap == 128).mean()) == pytest.approx(share, abs=0.02)
    assert set(np.unique(trimap)) <= {0, 128, 255}


def test_the_drawn_pair_has_fractions_islands_and_errors_and_is_always_the_same() -> None:
    first, again = draw_pair(SIZE, 1.0), draw_pair(SIZE, 1.0)

    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, other)
    truth = first[1]
    assert ((truth > 0) & (truth < 255)).mean() > 0.1
    scores = score(*first)
    assert min(scores.sad, scores.mse, scores.mad, scores.grad, scores.conn) > 0


def test_a_row_is_measured_in_a_process_of_its_own_and_scores_what_is_scored_here() -> None:
    (row,) = measure_all([SIZE], [0.2], bits=8, threads=1)

    assert row.scores == score(*draw_pair(SIZE, 0.2))
    assert row.size == SIZE
    assert row.seconds > 0
    assert row.peak_bytes >= row.start_bytes > 10**7


def test_the_table_says_seconds_and_memory() -> None:
    row = MetricsRow(
        (6017, 4872),
        0.2,
        32,
        9.21,
        7.62,
        411_000_000,
        675_000_000,
        Scores(sad=1, mse=2, mad=3, grad=4, conn=5),
    )

    assert (
        table([row]).splitlines()[2] == "| 4872x6017 | 29.3 | 20% | float32 | 9.2 | 7.6 | 264 MB | 675 MB |"
    )


@pytest.mark.parametrize("command", ["metrics", "memory"])
@pytest.mark.parametrize("size", ["12", "0x5", "axb", "3x4x5"])
def test_what_is_no_size_is_refused(command: str, size: str) -> None:
    result = CliRunner().invoke(app, ["bench", command, size])

    assert result.exit_code != 0
    assert f"{size} is no size; write 6000x4000." in result.output
