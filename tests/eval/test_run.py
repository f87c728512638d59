"""A method over a data set: resumed, in several processes, and in spite of pictures that are damaged."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mematte.errors import DataError, MatteError, OutputError
from mematte.eval import EvalPair, Rules, eight_bit, score
from mematte.eval.datasets import open_data_set
from mematte.eval.methods import Estimate, Estimator, Network, Peer, Predictions, PyMatting
from mematte.eval.results import Results
from mematte.eval.run import Task, run
from mematte.image import write_alpha
from mematte.weights import Preprocessing, load_weights
from mematte.weights.catalog import BUILT_IN

from .conftest import SIZE, MakeDiscs, disc, write


@dataclass(frozen=True)
class Blurred:
    """The true alpha, a little off; writes down what it was asked, and can take its process with it."""

    log: Path
    strength: float = 0.25
    deadly: str = ""

    @property
    def settings(self) -> Mapping[str, Any]:
        return {"method": "blurred", "strength": self.strength}

    def files(self, name: str) -> tuple[Path, ...]:  # noqa: ARG002
        return ()

    def start(self, processes: int) -> Estimator:  # noqa: ARG002
        def estimate(pair: EvalPair) -> Estimate:
            if pair.name == self.deadly:
                os._exit(9)
            with self.log.open("a") as file:
                file.write(f"{pair.name}\n")
            return Estimate((pair.truth / np.float32(255)) * np.float32(1 - self.strength))

        return estimate

    def asked(self) -> list[str]:
        """What it was asked since the last call."""
        names = self.log.read_text().split() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return names


@pytest.fixture
def task(make_discs: MakeDiscs, tmp_path: Path) -> Task:
    return Task(open_data_set(make_discs("a", "b", "c")), Blurred(tmp_path / "log"), Rules())


def asked(task: Task) -> list[str]:
    assert isinstance(task.method, Blurred)
    return task.method.asked()


def by_name(results: Results) -> dict[str, Any]:
    return {one.name: one.scores for one in results.scored}


def test_scores_are_those_of_the_metrics(task: Task) -> None:
    results = run(task)
    assert (list(by_name(results)), results.failures, results.pictures) == (["a", "b", "c"], (), "3")
    for pair in task.data.pairs:
        read = task.data.read(pair)
        stored = eight_bit(read.truth / np.float32(255) * np.float32(0.75))
        assert by_name(results)[pair.name] == score(stored, read.truth, read.trimap)
    assert results.mean.sad == pytest.approx(np.mean([one.scores.sad for one in results.scored]))


def test_a_rerun_computes_only_what_is_missing(task: Task, tmp_path: Path) -> None:
    record = tmp_path / "scores.jsonl"
    first = run(task, scores=record)
    assert asked(task) == ["a", "b", "c"]

    lines = record.read_text().splitlines(keepends=True)
    record.write_text("".join(lines[:3]) + lines[3][:40])  # killed while it wrote the last

    again = run(task, scores=record)
    assert asked(task) == ["c"]
    assert (again.kept, by_name(again)) == (2, by_name(first))
    assert len(record.read_text().splitlines()) == 4
    assert run(task, scores=record).kept == 3
    assert asked(task) == []


def test_a_picture_that_has_changed_is_scored_again(task: Task, tmp_path: Path) -> None:
    record = tmp_path / "scores.jsonl"
    before = run(task, scores=record)
    asked(task)
    write(task.data.pairs[1].truth, np.rint(disc(17) * 255).astype(np.uint8))

    after = run(task, scores=record)

    assert asked(task) == ["b"]
    assert by_name(after)["a"] == by_name(before)["a"]
    assert by_name(after)["b"] != by_name(before)["b"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rules": Rules(region="whole")}, "region is unknown pixels there and whole image now"),
        ({"rules": Rules(eight_bit=False)}, "alphas is rounded to 8 bits there and unquantised now"),
        ({"method": Blurred(Path("log"), 0.5)}, "strength is 0.25 there and 0.5 now"),
    ],
)
def test_scores_of_two_settings_are_never_mixed(
    task: Task, tmp_path: Path, change: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    record = tmp_path / "scores.jsonl"
    run(task, scores=record)
    before = record.read_bytes()
    with pytest.raises(OutputError, match=message):
        run(replace(task, **change), scores=record)
    assert record.read_bytes() == before

    assert run(replace(task, **change), scores=record, force=True).kept == 0


@pytest.mark.parametrize("killed_at", ["ä", "stamp"])
@pytest.mark.parametrize("name", ["ä", "line\u2028end"])
def test_a_record_holds_any_name(make_discs: MakeDiscs, tmp_path: Path, name: str, killed_at: str) -> None:
    task = Task(open_data_set(make_discs("a", name, "ää")), Blurred(tmp_path / "log"), Rules())
    record = tmp_path / "scores.jsonl"
    first = run(task, scores=record)
    assert len(first.scored) == 3
    written = record.read_bytes()
    record.write_bytes(written[: written.rindex(killed_at.encode()) + 1])  # within a letter of two bytes
    asked(task)

    again = run(task, scores=record)

    assert (asked(task), by_name(again)) == ([first.scored[-1].name], by_name(first))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json\n",
        '{"format": "another"}\n',
        "[]\n",
        '{"format": "mematte evaluation, 1"}\n',
        '{"format": "mematte evaluation, 1", "settings": []}\n',
    ],
)
def test_a_file_that_is_no_record_is_kept(task: Task, tmp_path: Path, text: str) -> None:
    other = tmp_path / "notes.jsonl"
    other.write_text(text)
    with pytest.raises(OutputError, match="is no record of an evaluation"):
        run(task, scores=other)
    assert other.read_text() == text


@pytest.mark.parametrize("damaged", ['{"name": "a", "sco', '{"name": "a"}', "[]", "\xff"])
def test_a_record_that_is_damaged_in_its_middle_is_told(task: Task, tmp_path: Path, damaged: str) -> None:
    record = tmp_path / "scores.jsonl"
    run(task, scores=record)
    lines = record.read_text().splitlines()
    record.write_text("\n".join([lines[0], damaged, *lines[2:]]), encoding="latin-1")
    with pytest.raises(OutputError, match="damaged in line 2"):
        run(task, scores=record)
    assert run(task, scores=record, force=True).kept == 0


def test_a_picture_that_cannot_be_scored_is_named_and_the_rest_goes_on(task: Task) -> None:
    image, truth = task.data.pairs[0].image, task.data.pairs[1].truth
    image.write_bytes(image.read_bytes()[:60])
    write(truth, np.zeros((3, 4), np.uint8))

    results = run(task)

    assert (list(by_name(results)), results.pictures) == (["c"], "1 of 3")
    assert results.mean == by_name(results)["c"]
    assert [failure.name for failure in results.failures] == ["a", "b"]
    assert str(image) in results.failures[0].reason
    assert "4x3 px" in results.failures[1].reason


@pytest.mark.parametrize("peer", ["closed-form", "knn"])
def test_a_picture_that_a_peer_cannot_matte_is_named_and_the_rest_goes_on(task: Task, peer: Peer) -> None:
    pair = task.data.pairs[0]
    levels = np.array([[0, 128, 255]], np.uint8)
    assert pair.trimap is not None
    for file, pixels in ((pair.image, np.dstack([levels] * 3)), (pair.truth, levels), (pair.trimap, levels)):
        write(file, pixels)

    results = run(replace(task, method=PyMatting(peer)))

    assert list(by_name(results)) == ["b", "c"]
    (failure,) = results.failures
    assert (failure.name, failure.reason[:12]) == ("a", "PyMatting's ")


def test_no_picture_at_all_is_an_error(task: Task) -> None:
    for pair in task.data.pairs:
        pair.image.write_bytes(b"")
    with pytest.raises(DataError, match=r"None of the 3 pictures could be scored\. a: "):
        run(task)


def test_processes_change_nothing_and_a_death_is_told(task: Task, tmp_path: Path) -> None:
    task.data.pairs[1].image.write_bytes(b"")
    alone, together = run(task), run(task, processes=2)
    assert by_name(together) == by_name(alone)
    assert together.failures == alone.failures

    record = tmp_path / "scores.jsonl"
    deadly = replace(task, method=Blurred(tmp_path / "log", deadly="c"))
    with pytest.raises(MatteError, match=r"A process was killed while 2 worked on .*\bc\b.*--processes"):
        run(deadly, scores=record, processes=2)
    rest = run(task, scores=record)
    assert by_name(rest) == by_name(alone)


@pytest.mark.parametrize("eight_bit", [True, False])
def test_saved_alphas_score_as_they_did(task: Task, tmp_path: Path, eight_bit: bool) -> None:
    task = replace(task, rules=Rules(eight_bit=eight_bit), alphas=tmp_path / "alphas")
    first = run(task)
    predictions = Predictions.of(tmp_path / "alphas", task.data.found)
    again = run(Task(task.data, predictions, task.rules))
    assert by_name(again) == by_name(first)


def test_alphas_that_are_there_are_not_replaced_unless_asked(task: Task, tmp_path: Path) -> None:
    alphas, record = tmp_path / "alphas", tmp_path / "scores.jsonl"
    task = replace(task, alphas=alphas)
    run(task, scores=record)
    asked(task)
    (alphas / "a.png").unlink()
    run(task, scores=record)  # those of the record are its own
    assert asked(task) == ["a"]

    own = write(alphas / "b.png", np.zeros(SIZE, np.uint8)).read_bytes()
    with pytest.raises(OutputError, match=r"b\.png exists.*--force"):
        run(task, scores=record)
    assert (alphas / "b.png").read_bytes() == own
    run(task, scores=record, force=True)
    assert asked(task) == ["b"]


def test_alphas_and_the_page_are_not_written_into_one_folder(task: Task, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="named for the alphas and for the page"):
        run(replace(task, alphas=tmp_path / "both", page=tmp_path / "set" / ".." / "both"))
    assert not (tmp_path / "both").exists()


@pytest.mark.parametrize("folder", ["image", "alpha", "trimap1"])
@pytest.mark.parametrize("role", ["alphas", "page"])
def test_nothing_is_written_among_the_pictures(task: Task, folder: str, role: str) -> None:
    place = task.data.found.folder / folder
    before = sorted(place.iterdir())
    changed: dict[str, Any] = {role: place}
    with pytest.raises(OutputError, match="holds pictures that are read"):
        run(replace(task, **changed), force=True)
    assert sorted(place.iterdir()) == before


def test_predictions_of_any_depth_are_scored(make_discs: MakeDiscs, tmp_path: Path) -> None:
    data = open_data_set(make_discs("a", "b", "c", "d", "e"))
    ready = tmp_path / "ready"
    write(ready / "a.png", np.full(SIZE, 51, np.uint8))
    write(ready / "b_alpha.png", np.full(SIZE, 257 * 51, np.uint16))
    write_alpha(ready / "c.exr", np.full(SIZE, 0.2, np.float32), bits="float")
    write(ready / "d.png", np.full((4, 4), 51, np.uint8))

    predictions = Predictions.of(ready, data.found)
    results = run(Task(data, predictions, Rules()))

    for pair in data.pairs[:3]:
        read = data.read(pair)
        assert by_name(results)[pair.name] == score(np.full(SIZE, 51, np.uint8), read.truth, read.trimap)
    assert {one.name: one.reason.split(":")[0] for one in results.failures} == {
        "d": "The prediction must be as large as the picture",
        "e": "There is no prediction",
    }


def test_predictions_may_lie_among_the_pictures(make_discs: MakeDiscs) -> None:
    data = open_data_set(make_discs("a", "b"))
    for pair in data.pairs:
        write(pair.image.with_suffix(".alpha.png"), np.full(SIZE, 51, np.uint8))

    predictions = Predictions.of(data.pairs[0].image.parent, data.found)

    assert predictions.others == ()
    for pair in data.pairs:
        read = data.read(pair)
        expected = score(np.full(SIZE, 51, np.uint8), read.truth, read.trimap)
        assert by_name(run(Task(data, predictions, Rules())))[pair.name] == expected


def test_a_folder_without_any_prediction_is_refused(make_discs: MakeDiscs, tmp_path: Path) -> None:
    data = open_data_set(make_discs("a"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no prediction for any of the 1 pictures"):
        Predictions.of(tmp_path / "empty", data.found)
    with pytest.raises(DataError, match="is not there"):
        Predictions.of(tmp_path / "nowhere", data.found)


def test_the_record_is_plain_json_lines(task: Task, tmp_path: Path) -> None:
    record = tmp_path / "scores.jsonl"
    results = run(task, scores=record)
    header, *lines = map(json.loads, record.read_text().splitlines())
    assert header["settings"] == results.settings
    assert [line["scores"]["sad"] for line in lines] == [one.scores.sad for one in results.scored]


def test_a_name_and_its_file_are_two_settings_where_they_ask_for_other_windows() -> None:
    file = BUILT_IN.file
    assert BUILT_IN.windows != load_weights(str(file)).windows
    assert Network("tiny").settings != Network(str(file)).settings
    alike = {"windows": "all", "narrow": "never"}
    assert Network("tiny", **alike).settings == Network(str(file), **alike).settings
    assert Network("tiny", windows="all").settings != Network(str(file), windows="all").settings


def test_another_preprocessing_beside_the_weights_is_another_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    weights = load_weights("tiny")
    before = Network("tiny").settings
    assert before["preprocessing"] == "mean 0.485 0.456 0.406, std 0.229 0.224 0.225, padded with edge"
    another = replace(weights, preprocessing=Preprocessing((0.5,) * 3, (0.5,) * 3))
    monkeypatch.setattr("mematte.weights.load_weights", lambda _: another)
    assert Network("tiny").settings["preprocessing"] == "mean 0.5 0.5 0.5, std 0.5 0.5 0.5, padded with zeros"


@pytest.mark.parametrize(("processes", "threads"), [(1, 4), (2, 2), (3, 1), (9, 1)])
def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch, processes: int, threads: int) -> None:
    asked = [4]
    monkeypatch.setattr(torch, "get_num_threads", lambda: asked[-1])
    monkeypatch.setattr(torch, "set_num_threads", asked.append)

    Network("tiny").start(processes)

    assert asked[-1] == threads
