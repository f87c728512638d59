"""What is held against the plan: settings, the table, and one small row measured for real."""

from dataclasses import replace

import numpy as np
import pytest

from mematte.bench.budget import BudgetRow, Setting, growth, make_files, measure_all, random_settings, table
from mematte.bench.contenders import QuarterEngine
from mematte.errors import InputError
from mematte.image import UNKNOWN, read_picture, read_trimap
from mematte.model import TINY

from ..engine.conftest import picture, random_weights

ROW = BudgetRow(
    Setting((4872, 6017), memory=900_000_000),
    precision="float32",
    seconds=70.04,
    memory=900_000_000,
    planned_bytes=850_000_000,
    peak_bytes=800_000_000,
    max_global_tokens=18_500,
)


def test_a_row_says_what_was_promised_and_what_it_took() -> None:
    over = replace(ROW, peak_bytes=950_000_000)

    lines = table([ROW, over]).splitlines()

    assert lines[2] == (
        "| 6017x4872 | 29.3 | small float32 | 20% | all | 900 MB | 850 MB | 800 MB | 1.06 | 70.0 |"
    )
    assert lines[-1] == "1 of 2 stayed within their memory; predicted / measured from 0.89 to 1.06."


def test_random_settings_are_those_of_their_seed() -> None:
    assert random_settings(20, 1) == random_settings(20, 1)
    assert random_settings(20, 1) != random_settings(20, 2)
    for setting in random_settings(50):
        assert 100_000 < setting.size[0] * setting.size[1] < 13_000_000
        assert setting.tightness is not None
        assert setting.tightness >= 1
    assert {setting.precision for setting in random_settings(20)} == {"float32", "auto"}


def test_files_are_as_large_and_as_unknown_as_asked_for(tmp_path) -> None:
    make_files(Setting((300, 700), unknown_share=0.3), tmp_path)

    assert read_picture(tmp_path / "photo.tif").size == (300, 700)
    assert abs(float((read_trimap(tmp_path / "trimap.tif").levels == UNKNOWN).mean()) - 0.3) < 0.05


def test_a_setting_is_measured_in_a_process_of_its_own_and_keeps_its_budget() -> None:
    (row,) = measure_all([Setting((300, 260), "tiny", "float32", tightness=1.5)], threads=1)

    assert row.setting.size == (300, 260)
    assert row.keeps_budget
    assert row.planned_bytes <= row.memory
    assert 0.9 < row.prediction < 1.4
    assert row.seconds > 0


def test_a_setting_that_fails_is_reported_and_the_others_are_measured() -> None:
    failed = []
    impossible = Setting((64, 64), "tiny", "float32", memory=1_000_000)
    possible = Setting((64, 64), "tiny", "float32", tightness=2.0)

    rows = measure_all(
        [impossible, possible],
        threads=1,
        on_failure=lambda setting, error: failed.append((setting, str(error))),
    )

    assert [row.setting.size for row in rows] == [(64, 64)]
    assert failed[0][0] == impossible
    assert "do not fit into 1 MB" in failed[0][1]


def test_growth_is_the_power_that_the_seconds_follow() -> None:
    def row(side: int, seconds: float, share: float = 0.2) -> BudgetRow:
        setting = Setting((side, side), "tiny", unknown_share=share)
        return BudgetRow(setting, "float32", seconds, 10, 10, 10, 18500)

    square = [row(side, 3e-6 * side**3) for side in (2048, 4096, 8192)]  # pixels to the power of 1.5

    assert growth(square) == pytest.approx(1.5)
    assert growth([*square, row(512, 1e9)]) == pytest.approx(1.5)  # small pictures tell nothing of it
    assert growth(square[:1]) is None
    assert growth([*square, row(4096, 1.0, share=0.5)]) is None
    tight = row(4096, 1.0)
    assert growth([*square, replace(tight, setting=replace(tight.setting, memory=10**9))]) is None
    assert "tiny: seconds grow with the pixels to the power of 1.50" in table(square)


def test_a_mistyped_network_is_told_before_anything_is_measured() -> None:
    for name in ("huge", "tiny:float32"):
        with pytest.raises(InputError, match=f"There is no network '{name}'; use one of tiny, small, base"):
            measure_all([Setting((100_000, 100_000)), Setting((64, 64), name)])


def test_of_what_is_computed_a_quarter_attends() -> None:
    weights = random_weights(TINY)
    image, trimap = picture(300, 900), np.full((300, 900), 255, np.uint8)
    trimap[:, :200] = 128

    for windows in ("all", "unknown"):
        matte = QuarterEngine(weights, device="cpu", windows=windows)(image, trimap)
        for routing in matte.routings:
            assert routing.attend.sum() == round(matte.report.computed_tokens / 4)
    assert matte.report.computed_tokens < matte.report.tokens
