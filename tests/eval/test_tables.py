"""The four forms of a table: each can be read back, and each says how it was measured."""

from __future__ import annotations

import csv
import json
from dataclasses import astuple, replace

import pytest

from mematte.eval import Scores
from mematte.eval.results import Failure, Results, Scored
from mematte.eval.tables import SUFFIXES, Format, table

SCORED = (
    Scored("a, b|c", Scores(1.25, 2, 3, 4, 5), (30, 40), 0.5, 1.5, {2: 0.1, 5: 0.3}),
    Scored("d", Scores(3.25, 4, 5, 6, 8), (30, 40), 0.25, 0.5, {2: 0.3, 5: 0.5}),
)
RESULTS = Results(
    {"method": "network", "weights": "tiny", "region": "unknown pixels", "max global tokens": None},
    SCORED,
    (Failure("e", "It is damaged."),),
    0,
)
MEAN = (2.25, 3, 4, 5, 6.5)


@pytest.mark.parametrize("form", SUFFIXES.values())
def test_every_form_says_how_it_was_measured_and_what_is_missing(form: Format) -> None:
    text = table(RESULTS, form)
    for said in ("tiny", "unknown pixels", "It is damaged.", "2 of 3" if form != "json" else '"scored": 2'):
        assert said in text
    assert "None" not in text
    assert text.endswith("\n")
    assert not text.endswith("\n\n")


def test_csv_can_be_read_back() -> None:
    lines = [line for line in table(RESULTS, "csv").splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    assert [row["picture"] for row in rows] == ["a, b|c", "d", "mean"]
    metrics = ("sad", "mse_x1e3", "mad_x1e3", "grad", "conn")
    values = [tuple(float(row[metric]) for metric in metrics) for row in rows]
    assert values == [*(astuple(one.scores) for one in SCORED), MEAN]
    assert [float(row["attending_block_5"]) for row in rows] == [0.3, 0.5, 0.4]
    assert (rows[0]["width"], rows[0]["height"]) == ("40", "30")


def test_csv_has_no_comment_but_whole_lines() -> None:
    """`pandas.read_csv(comment="#")` takes a # outside quotes for the beginning of one."""
    odd = replace(RESULTS, scored=(replace(SCORED[0], name="rose #1"),))
    (row,) = [line for line in table(odd, "csv").splitlines() if "rose" in line]
    assert row.startswith('"rose #1",1.25,')


def test_json_can_be_read_back() -> None:
    read = json.loads(table(RESULTS, "json"))
    assert [tuple(one["scores"].values()) for one in read["pictures"]] == [
        astuple(one.scores) for one in SCORED
    ]
    assert tuple(read["mean"].values()) == MEAN
    assert read["not_scored"] == [{"name": "e", "reason": "It is damaged."}]
    assert read["settings"]["weights"] == "tiny"


def test_markdown_is_a_table_whose_names_break_nothing() -> None:
    rows = [line for line in table(RESULTS, "markdown").splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
    assert rows[2].startswith(r"| a, b\|c | 1.25 | 2.00 |")
    assert rows[-1] == "| **mean** | 2.25 | 3.00 | 4.00 | 5.00 | 6.50 |"


def test_text_has_columns_and_the_shares_below() -> None:
    lines = table(RESULTS, "text").splitlines()
    start = next(number for number, line in enumerate(lines) if line.split()[:1] == ["SAD"])
    assert len({len(line) for line in lines[start : start + 4]}) == 1
    assert "block 5: 40.0% of the tokens attend globally (30.0% to 50.0%)" in lines
