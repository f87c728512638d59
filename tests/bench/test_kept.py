"""Measurements that were made already: the same rows again, never those of something else."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mematte.bench import kept
from mematte.bench.budget import BudgetRow, Setting
from mematte.bench.kept import KeptRows
from mematte.errors import OutputError

ROW = BudgetRow(Setting((4872, 6017), "tiny"), "float32", 43.2, 10**9, 700_000_000, 650_000_000, 18_500)


def test_rows_are_there_again_and_equal(tmp_path: Path) -> None:
    other = replace(ROW, setting=replace(ROW.setting, network="tiny-teacher", tightness=1.5), seconds=900.0)
    rows = KeptRows(tmp_path / "costs.json")
    rows.add(ROW)
    rows.add(other)

    again = KeptRows(tmp_path / "costs.json")

    assert [again.get(row.setting) for row in (ROW, other)] == [ROW, other]
    assert again.get(replace(ROW.setting, memory=10**9)) is None
    assert [path.name for path in tmp_path.iterdir()] == ["costs.json"]


def test_without_a_file_rows_are_kept_in_memory() -> None:
    rows = KeptRows(None)
    rows.add(ROW)
    assert rows.get(ROW.setting) == ROW


def test_rows_of_another_machine_are_not_mixed_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "costs.json"
    KeptRows(path).add(ROW)
    before = path.read_bytes()
    monkeypatch.setattr(kept, "measured_on", lambda: json.loads(before)["measured on"] | {"cores": "1024"})

    with pytest.raises(OutputError, match=r"costs.json was measured on .* cores was \d+ and is 1024"):
        KeptRows(path)
    assert path.read_bytes() == before


def test_rows_of_another_version_are_told_whatever_they_hold(tmp_path: Path) -> None:
    path = tmp_path / "costs.json"
    path.write_text('{"format": "mematte measurements, 1", "measured on": {"mematte": "0.0"}, "rows": [{}]}')
    with pytest.raises(OutputError, match=r"measured on something else: mematte was 0\.0 and is "):
        KeptRows(path)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        '{"format": "other"}',
        '{"format": "mematte measurements, 1", "rows": 3}',
        '{"format": "mematte measurements, 1", "measured on": null, "rows": []}',
    ],
)
def test_a_file_of_something_else_stays(tmp_path: Path, text: str) -> None:
    path = tmp_path / "costs.json"
    path.write_text(text)

    with pytest.raises(OutputError, match=r"costs\.json holds no measurements"):
        KeptRows(path)
    assert path.read_text() == text


def test_a_folder_in_the_files_place_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot be read"):
        KeptRows(tmp_path)
