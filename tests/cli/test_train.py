"""`mematte train`: one command trains, resumes and fine-tunes, and says what is wrong in one line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from mematte.cli import app
from mematte.errors import MatteError
from mematte.weights import load_weights

RECIPE = """
from mematte.model import ModelSpec
from mematte.train import Crops, Recipe

RECIPE = Recipe(
    spec=ModelSpec("test", channels=32, heads=2, blocks="WR", detail_channels=(4, 6, 8),
                   fusion_channels=(16, 8, 8, 8), head_channels=8, window=4),
    steps=2, crops=(Crops(96, 2),), save_every=1, log_every=1, precision="32-true", procedural_share=0.0,
)
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "small.py"
    path.write_text(RECIPE)
    return path


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Twenty pictures with alpha, as a user would have them."""
    folder = tmp_path / "mine"
    for kind in ("image", "alpha"):
        (folder / kind).mkdir(parents=True)
    rng = np.random.default_rng(0)
    ys, xs = np.mgrid[:120, :160]
    for index in range(20):
        row, column = rng.uniform(40, 80), rng.uniform(50, 110)
        alpha = np.clip((30 - np.hypot(ys - row, xs - column)) / 8, 0, 1)
        image = rng.integers(0, 120, 3) + alpha[..., None] * 130
        cv2.imwrite(str(folder / "image" / f"{index}.jpg"), image.astype(np.uint8))
        cv2.imwrite(str(folder / "alpha" / f"{index}.png"), (alpha * 255).astype(np.uint8))
    return folder


def invoke(*words: object) -> tuple[int, str]:
    """Exit status, and the answer or the error."""
    result = CliRunner().invoke(app, ["train", *map(str, words)])
    if isinstance(result.exception, MatteError):
        return 1, str(result.exception)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.stdout


def test_a_folder_of_twenty_pictures_is_enough(recipe: Path, photographs: Path, tmp_path: Path) -> None:
    status, answer = invoke(recipe, f"photographs={photographs}", "--run", tmp_path / "run", "--devices", 1)

    assert (status, answer.strip()) == (0, str(tmp_path / "run" / "weights.safetensors"))
    assert load_weights(tmp_path / "run" / "weights.safetensors").training["steps"] == 2


def test_a_run_goes_on_with_more_steps(recipe: Path, photographs: Path, tmp_path: Path) -> None:
    invoke(recipe, f"photographs={photographs}", "--run", tmp_path / "run", "--devices", 1)

    status, _ = invoke("--resume", tmp_path / "run", "steps=3", "--devices", 1)

    assert status == 0
    assert load_weights(tmp_path / "run" / "weights.safetensors").training["steps"] == 3


def test_a_run_is_not_begun_over_another(recipe: Path, photographs: Path, tmp_path: Path) -> None:
    words = (recipe, f"photographs={photographs}", "--run", tmp_path / "run", "--devices", 1)
    invoke(*words)
    before = (tmp_path / "run" / "checkpoint.ckpt").read_bytes()

    status, error = invoke(*words)

    assert status == 1
    assert "holds a run already" in error
    assert "--resume" in error
    assert (tmp_path / "run" / "checkpoint.ckpt").read_bytes() == before


def test_all_settings_are_printed(recipe: Path) -> None:
    status, answer = invoke(recipe, "steps=7", "--keys")

    assert status == 0
    assert {"steps=7", "spec=test", "weights.laplacian=1.0"} <= set(answer.splitlines())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "Say what to train"),
        (("steps=3",), "Say what to train"),
        (("nowhere.py",), "There is no recipe nowhere.py"),
        (("{recipe}", "step=3"), "The nearest is 'steps'"),
        (("{recipe}", "steps=0"), "at least one step"),
        (("{recipe}",), "names no pictures"),
        (("{recipe}", "photographs={tmp}/none"), "none"),
        (("{recipe}", "photographs={tmp}"), "{tmp}"),
        (("{recipe}", "start=nothing.safetensors", "photographs={tmp}"), "nothing.safetensors"),
        (("--resume", "{tmp}"), "holds no run"),
        (("{recipe}", "--resume", "{tmp}", "--run", "{tmp}"), "leave out --run"),
    ],
)
def test_what_is_wrong_is_said(recipe: Path, tmp_path: Path, words: tuple[str, ...], told: str) -> None:
    (tmp_path / "empty").mkdir()
    places = {"recipe": recipe, "tmp": tmp_path / "empty"}

    status, error = invoke(*(word.format(**places) for word in words), *(
        [] if "--run" in words or "--resume" in words else ["--run", str(tmp_path / "run")]
    ))  # fmt: skip

    assert status == 1
    assert told.format(**places) in error


@pytest.mark.parametrize(
    ("text", "told"),
    [("RECIPE = 5", "defines no RECIPE"), ("import nonsense_", "cannot be run: ModuleNotFoundError")],
)
def test_a_file_that_is_no_recipe_is_refused(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "bad.py").write_text(text)

    status, error = invoke(tmp_path / "bad.py")

    assert status == 1
    assert told in error


def test_crops_are_counted_without_training(recipe: Path, photographs: Path) -> None:
    words = ["bench", "crops", recipe, f"photographs={photographs}", "steps=100000"]
    result = CliRunner().invoke(app, [*map(str, words), "--workers", "1", "--seconds", "0.2"])

    assert result.exit_code == 0, result.output
    cells = [cell.strip() for cell in result.stdout.splitlines()[2].strip("|").split("|")]
    crops, seconds, rate = int(cells[1].replace(",", "")), float(cells[2]), float(cells[3])
    assert cells[0] == "1"
    assert crops % 2 == 0
    assert seconds >= 0.2
    assert rate == pytest.approx(crops / seconds, rel=0.3)
    assert result.stdout.endswith("finished crops.\n")
    assert not Path("runs").exists()


def test_without_lightning_the_extra_is_named(recipe: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("mematte.train")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lightning.pytorch", None)

    status, error = invoke(recipe)

    assert (status, error) == (1, "Training needs more packages: pip install 'mematte[train]'")


def test_two_processes_do_not_wait_for_threads_that_only_their_parent_had(
    recipe: Path, photographs: Path, tmp_path: Path
) -> None:
    text = "from dataclasses import replace\nfrom mematte.model import TINY\n" + RECIPE
    recipe.write_text(text + "RECIPE = replace(RECIPE, spec=TINY)\n")  # a small network begins no threads
    words = [
        "train",
        recipe,
        f"photographs={photographs}",
        "--run",
        tmp_path / "run",
        "--devices",
        2,
        "--quiet",
    ]
    subprocess.run(
        [sys.executable, "-m", "mematte", *map(str, words)],
        env=os.environ | {"OMP_NUM_THREADS": "2"},  # as clusters set it
        timeout=240,  # it would wait for ever
        check=True,
    )

    assert (tmp_path / "run" / "weights.safetensors").is_file()
