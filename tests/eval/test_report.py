"""The page: what it shows, that it needs nothing but its folder, and that names cannot break it."""

from __future__ import annotations

import re
import sys
import tracemalloc
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import cv2
import numpy as np
import pytest

from mematte.errors import OutputError
from mematte.eval import EvalPair, Rules
from mematte.eval.datasets import open_data_set
from mematte.eval.methods import PyMatting
from mematte.eval.report import EXACT, NOT_SCORED, TOO_OPAQUE, TOO_TRANSPARENT, error_map, write_page
from mematte.eval.results import Results
from mematte.eval.run import Task, run

from .conftest import SIZE, MakeDiscs, disc, trimap_of, write
from .test_run import Blurred

NAMES = ("<b>&'bold'", "plain", 'quote"d %2F')


class Links(HTMLParser):
    """All that a page points at, its identifiers, and the cards in their order."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.identifiers: list[str] = []
        self.cards: list[str] = []
        self.tags: set[str] = set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.add(tag)
        self.links += [value for key in ("src", "href") if (value := found.get(key))]
        self.identifiers += [value] if (value := found.get("id")) else []
        if tag == "article":
            self.cards.append(found["data-name"] or "")


@pytest.fixture
def task(make_discs: MakeDiscs, tmp_path: Path) -> Task:
    data = open_data_set(make_discs(*NAMES))
    return Task(data, Blurred(tmp_path / "log"), Rules(), page=tmp_path / "report")


def drawn(task: Task) -> tuple[Path, Results]:
    assert task.page is not None
    results = run(task)
    return write_page(task.page, results), results


def test_the_page_needs_nothing_but_its_folder(task: Task) -> None:
    page, _ = drawn(task)
    found = Links(page)
    files = [link for link in found.links if not link.startswith("#")]
    assert len(files) == len(NAMES) * 5 * 2  # picture, trimap, truth, alpha, errors; large and small
    for link in files:
        assert not re.match("[a-z]+:|//", link)
        assert cv2.imread(str(page.parent / unquote(link))) is not None, link
    for link in found.links:
        assert not link.startswith("#") or link[1:] in found.identifiers
    assert len(set(found.identifiers)) == len(found.identifiers)
    assert "http" not in page.read_text()


def test_names_are_text_not_markup(task: Task) -> None:
    page, _ = drawn(task)
    found = Links(page)
    assert sorted(found.cards) == sorted(NAMES)
    assert "b" not in found.tags


def test_the_worst_comes_first(task: Task) -> None:
    page, results = drawn(task)
    for metric in ("sad", "mse"):
        assert task.page is not None
        write_page(task.page, results, "sad" if metric == "sad" else "mse")
        order = sorted(results.scored, key=lambda one: -getattr(one.scores, metric))
        assert Links(page).cards == [one.name for one in order]


def test_what_is_not_scored_is_on_the_page(task: Task) -> None:
    task.data.pairs[0].image.write_bytes(b"")
    page, results = drawn(task)
    assert len(Links(page).cards) == 2
    assert "Not scored" in page.read_text()
    assert "Mean over 2 of 3 pictures" in page.read_text()
    assert results.failures


def test_panels_show_what_was_scored(task: Task) -> None:
    page, _ = drawn(task)
    place = page.parent / "pictures" / "plain"
    (pair,) = [pair for pair in task.data.pairs if pair.name == "plain"]
    read = task.data.read(pair)
    panels = {
        name: cv2.imread(str(place / f"{name}.png"), cv2.IMREAD_UNCHANGED) for name in ("truth", "alpha")
    }
    np.testing.assert_array_equal(panels["truth"], read.truth)
    known = read.trimap != 128
    np.testing.assert_array_equal(panels["alpha"][known], read.trimap[known])
    expected = np.rint(read.truth * 0.75)[~known]
    assert np.abs(panels["alpha"][~known] - expected).max() <= 1


def test_a_rerun_draws_what_is_missing_and_nothing_else(task: Task) -> None:
    page, first = drawn(task)
    assert isinstance(task.method, Blurred)
    task.method.asked()
    before = page.read_text()
    for file in (page.parent / "pictures" / "plain").iterdir():
        file.unlink()

    _, again = drawn(task)

    assert task.method.asked() == ["plain"]
    assert (page.parent / "pictures/plain/errors.png").is_file()
    assert again.kept == 2
    assert [one.scores for one in again.scored] == [one.scores for one in first.scored]
    assert len(before) == pytest.approx(len(page.read_text()), rel=0.01)


def test_panels_of_another_method_do_not_stay(task: Task) -> None:
    page, results = drawn(task)
    place = page.parent / "pictures" / "plain"
    for name in ("routes.jpg", "routes.small.jpg"):  # as a network's have them
        (place / name).write_bytes((place / "picture.jpg").read_bytes())
    assert "Routes" in write_page(page.parent, results).read_text()

    write_page(page.parent, run(replace(task, rules=Rules(region="whole")), force=True))

    assert not list(place.glob("routes*"))
    assert "Routes" not in page.read_text()


def test_the_page_says_which_set_it_is_about(task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(task.data.found.folder)
    page, _ = drawn(replace(task, data=open_data_set(Path())))
    assert "<title>blurred on set</title>" in page.read_text()


def test_a_picture_too_long_for_jpeg_is_on_the_page(task: Task) -> None:
    (pair,) = [pair for pair in task.data.pairs if pair.name == "plain"]
    levels = np.full((65_510, 3), 128, np.uint8)
    assert pair.trimap is not None
    for file, pixels in ((pair.image, np.dstack([levels] * 3)), (pair.truth, levels), (pair.trimap, levels)):
        write(file, pixels)
    page, results = drawn(task)
    assert not results.failures
    place = page.parent / "pictures" / "plain"
    shapes = {file: cv2.imread(str(place / file)).shape[0] for file in ("picture.jpg", "errors.png")}
    assert shapes == {"picture.jpg": 65_500, "errors.png": 65_510}


def test_a_folder_of_something_else_is_left_alone(task: Task) -> None:
    assert task.page is not None
    task.page.mkdir()
    (task.page / "thesis.tex").write_text("mine")
    for force in (False, True):
        with pytest.raises(OutputError, match=r"thesis\.tex: it is no report"):
            run(task, force=force)
    assert [path.name for path in task.page.iterdir()] == ["thesis.tex"]


def test_errors_have_a_sign_and_known_pixels_none() -> None:
    difference = np.array([[1.0, -1.0, 0.0, 1.0, 0.01]], np.float32)
    scored = np.array([[True, True, True, False, True]])
    colours = error_map(difference, scored)[0]
    np.testing.assert_array_equal(colours[0], TOO_OPAQUE)
    np.testing.assert_array_equal(colours[1], TOO_TRANSPARENT)
    np.testing.assert_array_equal(colours[2], [EXACT] * 3)
    np.testing.assert_array_equal(colours[3], [NOT_SCORED] * 3)
    assert colours[4, 0] > EXACT + 10  # small errors are seen


def test_the_map_of_a_large_picture_is_coloured_in_bands() -> None:
    difference = np.linspace(-1, 1, 16_000_000, dtype=np.float32).reshape(4000, 4000)
    scored = np.ones(difference.shape, bool)
    tracemalloc.start()
    try:
        colours = error_map(difference, scored)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 * colours.nbytes  # floats of the whole took twenty times it
    np.testing.assert_array_equal(colours[-1], error_map(difference[-1:], scored[-1:])[0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_a_peer_takes_pictures_of_any_depth(dtype: type) -> None:
    truth = disc(12)
    picture = np.dstack([truth * 0.8 + 0.1] * 3)
    scale = 1 if dtype == np.float32 else np.iinfo(dtype).max
    pair = EvalPair("a", (picture * scale).astype(dtype), trimap_of(truth), truth)
    alpha = PyMatting("closed-form").start(1)(pair).alpha
    assert alpha.shape == SIZE
    assert np.abs(alpha - truth).mean() < 0.05


def test_what_a_peer_prints_is_not_among_the_tables(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """PyMatting prints a warning where a picture's Cholesky factor does not come out at once."""
    truth = disc(12)

    def chatty(_image: object, trimap: np.ndarray) -> np.ndarray:
        sys.stdout.write("PERFORMANCE WARNING:\n")
        return trimap

    monkeypatch.setattr("pymatting.estimate_alpha_cf", chatty)
    PyMatting("closed-form").start(1)(EvalPair("a", np.dstack([truth] * 3), trimap_of(truth), truth))
    assert capsys.readouterr() == ("", "PERFORMANCE WARNING:\n")


def test_a_report_is_not_taken_for_that_of_other_settings(task: Task) -> None:
    drawn(task)
    with pytest.raises(OutputError, match="region is unknown pixels there and whole image now"):
        run(replace(task, rules=Rules(region="whole")))
