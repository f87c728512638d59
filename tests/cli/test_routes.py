"""`mematte routes`: one picture explained."""

import json
from pathlib import Path

import numpy as np
import pytest

from mematte import engine
from mematte.engine.routes import OPACITY
from mematte.image import read_picture

from .conftest import Run, check_refused, contents

GOOD = ("photo.png", "photo_trimap.png")


@pytest.fixture
def explain(folder: Path, run: Run, network: Path) -> Run:  # noqa: ARG001, it runs there
    """Run `mematte routes` in the folder, with the small network on the CPU."""

    def call(*arguments: object) -> object:
        fixed = ("--device", "cpu", "--precision", "float32")
        weights = () if "--weights" in arguments else ("--weights", network)
        return run("routes", *arguments, *weights, *fixed)

    return call


def test_the_picture_lies_beside_the_photo_and_the_numbers_are_on_stdout(folder: Path, explain: Run) -> None:
    before = set(contents(folder))

    result = explain(*GOOD)

    assert result.status == 0, result.err
    assert set(contents(folder)) - before == {"photo.routes.png"}
    lines = result.out.splitlines()
    assert lines[0].startswith("photo.png: 64x48 px: 4x4 = 16 tokens of 16x16 px each.")
    assert lines[-1] == "photo.routes.png"
    assert read_picture("photo.routes.png").pixels.dtype == np.uint8


def test_the_numbers_are_those_of_the_matte(folder: Path, explain: Run, matte: Run) -> None:
    assert matte(*GOOD, "--report", "report.json", "--max-global-tokens", "3").status == 0

    result = explain(*GOOD, "--json", "--max-global-tokens", "3")

    said, report = json.loads(result.out), json.loads((folder / "report.json").read_text())
    assert said["outputs"] == {"routes": "photo.routes.png"}
    assert said["grid"] == {"width": 4, "height": 4}
    assert said["token_px"] == 16
    for one, matted in zip(said["routing"], report["routing"], strict=True):
        assert {key: one[key] for key in matted} == matted
        assert one["attending"] == min(3, one["asked"])
        assert one["attending"] + one["capped"] == one["asked"]
        assert one["refined"] == 16 - one["asked"]
    by_times = said["tokens_by_times_attended"]
    assert sum(by_times) == 16
    assert sum(times * count for times, count in enumerate(by_times)) == sum(
        one["attending"] for one in said["routing"]
    )


def test_the_table_has_the_numbers_that_programs_get(explain: Run) -> None:
    said = json.loads(explain(*GOOD, "--json").out)

    lines = explain(*GOOD, "--force").out.splitlines()

    start = next(number for number, line in enumerate(lines) if line.startswith("block")) + 1
    for line, one in zip(lines[start : start + 2], said["routing"], strict=True):
        words = [
            str(one["block"]),
            *(f"{one[kind]} {one[f'{kind}_share']:.1%}" for kind in ("attending", "capped", "refined")),
            *(f"{one[f'attending_share{where}']:.1%}" for where in ("_of_unknown", "_elsewhere")),
        ]
        assert line.split() == " ".join(words).split()
    counts = [int(line.split()[1]) for line in lines[start + 4 : start + 7]]
    assert counts == said["tokens_by_times_attended"]


def test_a_photo_in_bands_takes_the_same_routes(folder: Path, explain: Run, monkeypatch) -> None:
    whole = json.loads(explain(*GOOD, "--json", "-o", "whole.png").out)
    monkeypatch.setattr(engine, "plan_in_memory", lambda *_: None)

    bands = json.loads(explain(*GOOD, "--json", "-o", "bands.png").out)

    assert bands["routing"] == whole["routing"]
    assert (folder / "bands.png").read_bytes() == (folder / "whole.png").read_bytes()


def test_a_photo_that_is_enlarged_has_tokens_of_fewer_pixels(explain: Run) -> None:
    said = json.loads(explain(*GOOD, "--json", "--enlarge", "2").out)

    assert (said["token_px"], said["enlarged"]) == (8, 2)
    assert said["grid"] == {"width": 8, "height": 6}


def test_a_mask_will_do(explain: Run) -> None:
    assert explain("photo.png", "--mask", "mask.png", "--radius", "4").status == 0


@pytest.mark.parametrize(("arguments", "opacity"), [((), OPACITY), (("--opacity", "0.1"), 0.1)])
def test_the_maps_have_the_opacity_asked_for(explain: Run, monkeypatch, arguments, opacity) -> None:
    asked = []

    def drawn(*_: object, opacity: float, **__: object) -> np.ndarray:
        asked.append(opacity)
        return np.zeros((4, 4, 3), np.uint8)

    monkeypatch.setattr("mematte.engine.routes.explain_routes", drawn)

    assert explain(*GOOD, *arguments).status == 0

    assert asked == [opacity]


def test_nothing_is_overwritten_without_force(folder: Path, explain: Run) -> None:
    (folder / "photo.routes.png").write_bytes(b"precious")

    refused = explain(*GOOD)

    assert refused.status == 1
    assert "photo.routes.png exists" in refused.err
    assert (folder / "photo.routes.png").read_bytes() == b"precious"
    assert explain(*GOOD, "--force").status == 0
    assert (folder / "photo.routes.png").read_bytes() != b"precious"


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        ((*GOOD, "-o", "photo_trimap.png", "--force"), 1, "is one of the inputs"),
        ((*GOOD, "-o", "routes.txt"), 1, "routes.txt"),
        ((*GOOD, "-o", "nowhere/routes.png"), 1, "does not exist"),
        ((*GOOD, "--opacity", "1.5"), 2, "--opacity"),
        ((*GOOD, "--opacity", "nan"), 2, "--opacity"),
        (("photo.png",), 2, "Did you mean photo_trimap.png?"),
        ((*GOOD, "--mask", "mask.png"), 2, "both given"),
        (("photo.png", "missing.png"), 1, "missing.png"),
        ((".", "photo_trimap.png"), 1, "is a folder, not a picture"),
        (("photo.png", "photo.png"), 1, "The trimap is coloured"),
        ((*GOOD, "--memory", "1MB"), 1, "The least is"),
    ],
)
def test_what_cannot_be_done_is_refused_and_changes_nothing(
    folder: Path, explain: Run, arguments: tuple[str, ...], status: int, words: str
) -> None:
    check_refused(folder, lambda: explain(*arguments), status, words)


def test_a_network_without_routed_blocks(folder: Path, explain: Run, unrouted_network: Path) -> None:
    before = contents(folder)

    result = explain(*GOOD, "--weights", unrouted_network)

    assert result.status == 1
    assert result.err == (
        "Error: mematte routes: the network probe (WG) has no routed blocks: every token attends globally, "
        "so there are no routes to draw.\n"
    )
    assert contents(folder) == before


def test_a_failure_while_drawing_leaves_nothing(folder: Path, explain: Run, monkeypatch) -> None:
    before = contents(folder)

    def fails(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mematte.image.write._Sink.write", fails)

    result = explain(*GOOD)

    assert result.status == 1
    assert "No space left on device" in result.err
    assert contents(folder) == before
