"""`mematte plan`: numbers for people and for programs, and clear words for what cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.engine import Job
from mematte.model import TINY

from .conftest import Run


@pytest.fixture
def plan(folder: Path, run: Run, network: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run `mematte plan` with the small network; no rate is kept from another run, nor left for one."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("LOCALAPPDATA", str(folder / "cache"))

    def call(*arguments: object) -> object:
        return run("plan", *arguments, "--weights", network, "--device", "cpu", "--precision", "float32")

    return call


def test_a_budget_gives_one_plan(plan: Run) -> None:
    result = plan("6000x4000", "--memory", "3GB")  # of which the tests before have taken some

    assert result.status == 0, result.err
    lines = dict(line.split("  ", 1) for line in result.out.splitlines() if "  " in line)
    assert result.out.startswith("6000x4000 px (24.0 megapixels), 20% unknown, with probe on cpu in float32")
    assert lines["budget"].strip() == "3.00 GB"
    assert {"embed", "windows", "attend", "refine", "decode"} <= set(lines)


def test_for_programs_it_is_json(plan: Run) -> None:
    said = json.loads(plan("3000x2000", "--memory", "3GB", "--unknown", "0.5", "--json").out)

    assert said["size"] == {"width": 3000, "height": 2000}
    assert said["padded"] == {"width": 3008, "height": 2016}
    assert said["tokens"] == 188 * 126
    assert said["base_bytes"] < said["peak_bytes"] == max(said["stages"].values()) <= said["memory_bytes"]
    assert said["unknown_share"] == 0.5
    assert said["seconds"] > 0


def test_without_a_budget_it_is_a_curve(plan: Run) -> None:
    curve = json.loads(plan("6000x4000", "--json").out)

    assert len(curve) > 2
    budgets, peaks, caps = (
        [said[key] for said in curve] for key in ("memory_bytes", "peak_bytes", "max_global_tokens")
    )
    assert budgets == sorted(budgets)
    assert peaks == sorted(peaks)
    assert caps == sorted(caps)
    assert curve[-1]["operations"]["decode"] < curve[0]["operations"]["decode"]
    assert "budget" in plan("6000x4000").out


def test_more_unknown_pixels_take_longer(plan: Run) -> None:
    little, much = (
        json.loads(plan("2000x2000", "--memory", "3GB", "--unknown", share, "--json").out)["seconds"]
        for share in ("0.1", "0.9")
    )

    assert little < much


def test_a_file_is_as_good_as_a_size(plan: Run) -> None:
    assert json.loads(plan("photo.png", "--memory", "3GB", "--json").out)["size"] == {
        "width": 64,
        "height": 48,
    }


def test_the_rate_is_measured_once(plan: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert plan("2000x2000", "--memory", "3GB").status == 0

    def measured_again(*_: object) -> None:
        raise AssertionError("measured twice")

    monkeypatch.setattr("mematte.engine.cost._measured", measured_again)
    assert plan("2000x2000", "--memory", "3GB").status == 0
    with pytest.raises(AssertionError, match="measured twice"):
        plan("2000x2000", "--memory", "3GB", "--measure")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nothing.png"], "neither a picture nor a size such as 6000x4000"),
        (["0x100"], "no size of a picture"),
        (["6000x4000", "--memory", "100MB"], "6000x4000 px do not fit into 100 MB. The least is"),
        (["6000x4000", "--memory", "10"], "Write a unit"),
    ],
)
def test_what_cannot_be_planned_is_one_line(plan: Run, arguments: list[str], words: str) -> None:
    result = plan(*arguments)

    assert result.status == 1
    assert words in result.message
    assert "Traceback" not in result.err


def test_a_picture_that_is_shown_enlarged_is_planned_so(plan: Run) -> None:
    once, twice = (
        json.loads(plan("300x200", "--memory", "3GB", "--enlarge", factor, "--json").out)
        for factor in ("1", "2")
    )

    assert (once["enlarged"], twice["enlarged"]) == (1, 2)
    assert once["size"] == twice["size"] == {"width": 300, "height": 200}
    assert twice["padded"]["width"] == 608
    assert (
        "shown to the network at 2 times its size" in plan("300x200", "--memory", "3GB", "--enlarge", "2").out
    )


def test_a_plan_for_windows_near_the_unknown_region_says_so(plan: Run) -> None:
    everything = plan("300x200", "--memory", "3GB", "--windows", "all")
    near = plan("300x200", "--memory", "3GB", "--windows", "unknown")
    said = json.loads(plan("300x200", "--memory", "3GB", "--windows", "unknown", "--json").out)

    assert "predicted time    at most " in near.out
    assert "those near the unknown region are computed" in near.out
    assert "at most " not in everything.out.partition("predicted time")[2].splitlines()[0]
    assert said["windows"] == "unknown"


def test_a_plan_counts_the_first_look_that_goes_before(plan: Run) -> None:
    size = ("3000x2000", "--memory", "3GB")
    table = plan(*size, "--narrow", "always").out
    said = json.loads(plan(*size, "--json", "--narrow", "always").out)
    never = json.loads(plan(*size, "--json").out)

    look = said["first_look"]
    assert (look["size"], look["reduced"]) == ({"width": 1500, "height": 1000}, 2)
    assert "first look        at 1500x1000 px, 2 times smaller" in table
    assert "predicted time    at most " in table
    assert said["seconds"] == pytest.approx(never["seconds"] + look["seconds"], rel=0.3)
    assert said["peak_bytes"] == max(said["stages"].values()) >= look["peak_bytes"]
    assert never["first_look"] is None


@pytest.mark.usefixtures("folder")
def test_a_trimap_says_where_and_how_much_is_unknown(plan: Run) -> None:
    levels = np.full((500, 3000), 255, np.uint8)
    levels[:, :300] = 128
    cv2.imwrite("wide.png", np.zeros((500, 3000, 3), np.uint8))
    cv2.imwrite("wide_trimap.png", levels)
    near = ("--memory", "3GB", "--windows", "unknown")

    blind = json.loads(plan("wide.png", *near, "--json").out)
    said = json.loads(plan("wide.png", "wide_trimap.png", *near, "--json").out)
    twice = json.loads(plan("wide.png", "wide_trimap.png", *near, "--enlarge", "2", "--json").out)
    curve = json.loads(plan("wide.png", "wide_trimap.png", "--windows", "unknown", "--json").out)

    assert (blind["unknown_share"], blind["computed_tokens"]) == (0.2, blind["tokens"])
    assert said["unknown_share"] == twice["unknown_share"] == pytest.approx(0.1)
    assert said["computed_tokens"] == 2 * 14 * 32 < said["tokens"] == 188 * 32
    # 600 px of unknown now: 38 tokens, and the fourth window begins within seven of them.
    assert (twice["enlarged"], twice["computed_tokens"]) == (2, 4 * 14 * 64)
    assert said["operations"]["encode"] < 0.2 * blind["operations"]["encode"]
    takes = [each["peak_bytes"] - each["base_bytes"] for each in (said, blind)]
    assert takes[0] < takes[1]
    assert {each["computed_tokens"] for each in curve} == {2 * 14 * 32}
    text = plan("wide.png", "wide_trimap.png", *near).out
    assert "of which 896 are computed: near the unknown region" in text
    assert "at most 0" not in text


@pytest.mark.usefixtures("folder")
def test_a_trimap_of_another_picture_or_of_none_is_refused(plan: Run) -> None:
    cv2.imwrite("other.png", np.full((40, 50), 128, np.uint8))

    of_another, of_none = plan("photo.png", "other.png"), plan("300x200", "other.png")
    twice = plan("photo.png", "photo_trimap.png", "--unknown", 0.5)
    assert (twice.status, "leave out --unknown" in twice.message) == (2, True)

    assert (of_another.status, of_none.status) == (1, 2)
    assert "50x40" in of_another.message
    assert "A trimap is of a picture; of a size say --unknown." in " ".join(of_none.err.split())


def test_where_memory_does_not_suffice_to_enlarge_the_plan_says_so(
    plan: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mematte.engine.job_in_memory", lambda *_: Job((10**6, 10**6), TINY))

    result = plan("300x200", "--memory", "3GB", "--enlarge", "2")

    assert "not shown at 2 times its size, for which the memory does not suffice" in result.out
