"""`mematte evaluate`: the tables that the documents quote."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor

from .conftest import Run


@pytest.fixture
def discs(folder: Path) -> Path:
    """Two soft discs, laid out as alphamatting.com's, in the folder that commands run in."""
    y, x = np.mgrid[:96, :128]
    for name, radius in (("small", 20), ("large", 30)):
        truth = np.clip((radius - np.hypot(y - 48, x - 64)) / 8 + 0.5, 0, 1)
        trimap = np.where(np.abs(truth - 0.5) < 0.5, 128, truth * 255)
        for role, pixels in (
            ("image", np.dstack([truth * 200 + 20] * 3)),
            ("trimap1", trimap),
            ("alpha", truth * 255),
        ):
            (folder / "set" / role).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / "set" / role / f"{name}.png"), pixels.astype(np.uint8))
    return folder / "set"


@pytest.fixture
def evaluate(discs: Path, run: Run, network: Path) -> Run:
    """Run `mematte evaluate` on the discs, with the small network on the CPU."""

    def call(*arguments: object) -> object:
        fixed = ("--weights", network, "--device", "cpu", "--precision", "float32", "--enlarge", "1")
        return run("evaluate", discs, *fixed, *arguments)

    return call


def fact(out: str, name: str) -> str:
    (line,) = [line for line in out.splitlines() if line.startswith(f"{name}  ")]
    return line.removeprefix(name).strip()


def first_words(out: str) -> list[str]:
    return [line.split()[0] for line in out.splitlines() if line]


def test_a_network_gets_scores_and_shares_by_block(evaluate: Run) -> None:
    result = evaluate()
    assert result.status == 0
    assert first_words(result.out)[-6:] == ["SAD", "large", "small", "mean", "block", "block"]
    assert "laid out as alphamatting" in result.err
    assert fact(result.out, "alphas") == "rounded to 8 bits"
    assert fact(result.out, "region") == "unknown pixels"
    assert fact(result.out, "enlarge") == "1"
    assert len(fact(result.out, "weights sha256")) == 64
    assert fact(result.out, "pictures") == "2"


def test_everyone_can_be_made_to_attend(evaluate: Run) -> None:
    result = evaluate("--everyone", "--quiet")
    assert result.err == ""
    assert result.out.count("100.0% of the tokens attend globally (100.0% to 100.0%)") == 2


@pytest.mark.usefixtures("discs")
def test_a_peer_is_scored_by_the_same_command(run: Run) -> None:
    result = run("evaluate", "set", "--method", "closed-form")
    assert first_words(result.out)[-3:] == ["large", "small", "mean"]
    assert fact(result.out, "method") == "closed-form"


@pytest.mark.parametrize(("variant", "case"), [("mematte_s", "s_odd_size"), ("vitmatte_s", "vitmatte_s")])
def test_published_checkpoints_are_scored_as_they_are(
    run: Run,
    folder: Path,
    published_state: Callable[[str], dict[str, Tensor]],
    parity_expected: dict[str, Tensor],
    variant: str,
    case: str,
) -> None:
    """Where the truth is what the published code computes, nothing but rounding is left of the errors."""
    torch.save({"model": published_state(variant)}, folder / "published.pth")
    image, trimap, alpha = (
        parity_expected[f"{case}.{role}"].numpy() for role in ("image", "trimap", "alpha")
    )
    truth = np.where(trimap == 128, alpha, trimap / 255)[0]
    for role, pixels in (
        ("image", image.transpose(1, 2, 0)[..., ::-1]),
        ("trimap1", trimap[0]),
        ("alpha", np.round(truth * 65535).astype(np.uint16)),
    ):
        (folder / "set" / role).mkdir(parents=True)
        assert cv2.imwrite(str(folder / "set" / role / "noise.png"), np.ascontiguousarray(pixels))

    result = run(
        "evaluate", "set", "--weights", "published.pth", "--unquantised", "--format", "json",
        "--precision", "float32", "--device", "cpu", "--quiet",
    )  # fmt: skip

    assert result.status == 0, result.err
    (scored,) = json.loads(result.out)["pictures"]
    spread = truth[trimap[0] == 128].std()
    assert spread > 0.02
    assert scored["scores"]["mad"] / 1000 < spread / 500


def test_the_header_says_what_was_asked_for(evaluate: Run) -> None:
    out = evaluate(
        "--unquantised", "--region", "whole", "--conn-counting-background", "--trimap-from-alpha", 4,
        "--max-global-tokens", 9, "--memory", "3GB",
    ).out  # fmt: skip
    assert fact(out, "alphas") == "unquantised"
    assert fact(out, "region") == "whole image"
    assert fact(out, "Conn") == "background counted as a component"
    assert fact(out, "trimaps") == "made of the true alphas, radius 4 px"
    assert fact(out, "max global tokens") == "9"
    assert fact(out, "memory") == "3.00 GB"


def test_tables_are_written_and_printed(evaluate: Run, folder: Path) -> None:
    printed = evaluate("--format", "json", "--table", "t.md", "--table", "t.csv", "--table", "t.json")
    assert printed.status == 0
    read = json.loads(printed.out)
    assert [one["name"] for one in read["pictures"]] == ["large", "small"]
    assert json.loads((folder / "t.json").read_text()) == read
    assert "| **mean** |" in (folder / "t.md").read_text()
    assert '\n"mean",' in (folder / "t.csv").read_text()

    again = evaluate("--table", "t.csv")
    assert (again.status, again.out) == (1, "")
    assert "t.csv exists. --force replaces it." in again.err


def test_a_page_shows_the_routes_and_is_gone_on_with(evaluate: Run, folder: Path) -> None:
    first = evaluate("--html", "report", "--format", "csv")
    assert first.status == 0
    for name in ("large", "small"):
        routes = cv2.imread(str(folder / f"report/pictures/{name}/routes.jpg"))
        assert routes is not None
        assert routes.shape[0] > 96
    assert 'data-panel="routes"' in (folder / "report/index.html").read_text()

    second = evaluate("--html", "report", "--format", "csv")
    assert second.out == first.out
    assert "0 pictures" in second.err
    assert "2 were scored already" in second.err


def test_alphas_are_saved_and_can_be_scored_as_predictions(evaluate: Run, run: Run) -> None:
    first = evaluate("--save-alphas", "alphas", "--format", "json")
    second = run("evaluate", "set", "--predictions", "alphas", "--format", "json")
    scores = [[one["scores"] for one in json.loads(result.out)["pictures"]] for result in (first, second)]
    assert scores[0] == scores[1]


def test_a_damaged_picture_makes_the_status_1_and_is_named(evaluate: Run, discs: Path) -> None:
    (discs / "image/large.png").write_bytes(b"no picture")
    result = evaluate("--quiet")
    assert result.status == 1
    assert fact(result.out, "pictures") == "1 of 2"
    assert result.err.startswith("Error: large: ")
    assert first_words(result.out)[-5:] == ["small", "mean", "block", "block", "not"]


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("--method", "knn", "--predictions", "set/alpha"), 2, "which one is to be scored?"),
        (("--trimap", "trimap2", "--trimap-from-alpha", 3), 2, "which trimaps are meant?"),
        (("--trimap", "none"), 2, "every method here needs a trimap"),
        (("--html", "page", "--scores", "s.jsonl"), 2, "leave out --scores"),
        (("--trimap", "trimap2"), 1, 'There are no trimaps "trimap2"'),
        (("--predictions", "nowhere"), 1, "nowhere is not there"),
        (("--predictions", "set/image", "--layout", "aim-500"), 1, "is not laid out as aim-500"),
        (("--table", "t.xls"), 1, "t.xls: a table needs a name that ends in"),
        (("--weights", "tinny"), 1, "Did you mean 'tiny'?"),
        (("--html", "set/image"), 1, "holds pictures that are read"),
        (("--scores", "set/image/small.png", "--force"), 1, "is one of the inputs and would be lost"),
        (("--scores", "u.json", "--table", "u.json"), 1, "u.json is named for two outputs"),
        (("--method", "knn", "--weights", "small"), 2, "--weights is for the network; with --method knn"),
        (("--predictions", "set/alpha", "--memory", "1GB"), 2, "with --predictions there is none"),
        (("--processes", 2, "--memory", "9999TB"), 1, "--memory 9,999,000.0 GB is more than"),
    ],
)
@pytest.mark.usefixtures("discs")
def test_what_makes_no_sense_is_one_line(
    run: Run, folder: Path, arguments: tuple[object, ...], status: int, message: str
) -> None:
    before = sorted(folder.rglob("*"))
    result = run("evaluate", "set", "--quiet", *arguments)
    assert (result.status, result.out) == (status, "")
    assert message in result.message
    assert "Traceback" not in result.err
    assert sorted(folder.rglob("*")) == before


def test_weights_are_not_written_over(evaluate: Run, network: Path) -> None:
    before = network.read_bytes()

    result = evaluate("--scores", network, "--force")

    assert "is one of the inputs and would be lost" in result.message
    assert network.read_bytes() == before


def test_an_empty_folder_is_one_line_on_stderr(run: Run, folder: Path) -> None:
    (folder / "empty").mkdir()
    result = run("evaluate", "empty")
    assert (result.status, result.out, result.err) == (1, "", "Error: empty is empty.\n")


@pytest.mark.skipif(sys.platform != "linux", reason="macOS and Windows take only Unicode names")
def test_a_name_that_is_no_utf_8_can_be_written_into_every_table(evaluate: Run, discs: Path) -> None:
    for role in ("image", "trimap1", "alpha"):
        (discs / role / "small.png").rename(discs / role / os.fsdecode(b"caf\xe9.png"))
    assert isinstance(sys.stderr, io.TextIOWrapper)
    sys.stderr.reconfigure(errors="backslashreplace")  # as it is where nobody captures it
    tables = [f"scores{suffix}" for suffix in (".txt", ".csv", ".json", ".md")]
    result = evaluate("--html", "report", *(part for name in tables for part in ("--table", name)))
    assert result.status == 1
    assert "not valid UTF-8" in result.err
    assert r"not scored: caf\udce9: " in result.out
    for file in (*tables, "report/index.html"):
        assert r"caf\udce9" in (discs.parent / file).read_text(encoding="utf-8")
    read = json.loads((discs.parent / "scores.json").read_text())
    assert [one["name"] for one in read["not_scored"]] == ["caf\udce9"]
