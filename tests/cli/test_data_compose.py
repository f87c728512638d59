"""`mematte data compose`."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.cli.data.compose import BitsName, CropName, MergedFormatName, PresetName
from mematte.data.benchmark import PRESETS, RADII_PX, Settings

from .conftest import Result, Run, check_refused, contents

INPUTS = ("cutouts", "pictures")


@pytest.fixture
def inputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command runs in, with two cutouts and six pictures."""
    rng = np.random.default_rng(2)
    (tmp_path / "cutouts").mkdir()
    (tmp_path / "pictures").mkdir()
    ys, xs = np.mgrid[:40, :50]
    alpha = np.rint(np.clip((14 - np.hypot(ys - 20, xs - 25)) / 5, 0, 1) * 255)
    for name in ("ant", "bee"):
        picture = np.dstack([rng.integers(0, 256, (40, 50, 3)), alpha]).astype(np.uint8)
        assert cv2.imwrite(str(tmp_path / "cutouts" / f"{name}.png"), picture)
    for index in range(6):
        picture = rng.integers(0, 256, (30, 60, 3), dtype=np.uint8)
        assert cv2.imwrite(str(tmp_path / "pictures" / f"{index}.jpg"), picture)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def compose(inputs: Path, run: Run) -> Run:  # noqa: ARG001, it runs there
    """Run `mematte data compose` with the inputs: compose("-o", "out", ...)."""

    def call(*arguments: object) -> Result:
        return run("data", "compose", *INPUTS, *arguments)

    return call


def test_the_folder_is_the_answer(inputs: Path, compose: Run) -> None:
    result = compose("-o", "out", "--per-foreground", 3)

    assert (result.status, result.out) == (0, "out\n")
    assert "Of 6 composites 6 made" in result.err
    names = {f"{name}_{index}.png" for name in ("ant", "bee") for index in range(3)}
    for folder in ("merged", "trimaps", "alpha_copy"):
        assert {path.name for path in (inputs / "out" / folder).iterdir()} == names


@pytest.mark.usefixtures("inputs")
def test_a_second_run_has_nothing_to_do(compose: Run) -> None:
    compose("-o", "out", "--per-foreground", 2)
    result = compose("-o", "out", "--per-foreground", 2)
    assert result.status == 0
    assert "Of 4 composites 0 made" in result.err
    assert "4 were there already" in result.err


def test_quiet_says_only_the_folder(compose: Run) -> None:
    result = compose("-o", "out", "--per-foreground", 2, "-q", "--jobs", 2)
    assert (result.status, result.out, result.err) == (0, "out\n", "")


def test_every_option_reaches_the_manifest(inputs: Path, compose: Run) -> None:
    result = compose(
        "-o", "out", "--per-foreground", 2, "--seed", 5, "--trimap-radius", 3, 9, "--crop", "random",
        "--merged-format", "png", "--bits", 16, "--layout", "cutouts",
    )  # fmt: skip

    assert result.status == 0
    header = json.loads((inputs / "out" / "manifest.jsonl").read_text().splitlines()[0])
    assert header["settings"] == {
        "per_foreground": 2,
        "foregrounds": None,
        "seed": 5,
        "radii_px": [3, 9],
        "crop": "random",
        "merged_format": "png",
        "bits": 16,
    }


def test_the_defaults_are_the_librarys(inputs: Path, compose: Run) -> None:
    compose("-o", "out", "--per-foreground", 2)
    header = json.loads((inputs / "out" / "manifest.jsonl").read_text().splitlines()[0])
    wanted = Settings(per_foreground=2)
    assert header["settings"] == {**vars(wanted), "radii_px": list(RADII_PX)}


def test_the_choices_are_the_librarys() -> None:
    assert [name.value for name in PresetName] == list(PRESETS)
    for crop in CropName:
        Settings(2, crop=crop.value)  # type: ignore[arg-type]
    for form in MergedFormatName:
        Settings(2, merged_format=form.value)  # type: ignore[arg-type]
    for bits in BitsName:
        Settings(2, bits=int(bits.value))  # type: ignore[arg-type]


def test_a_preset_takes_its_counts(inputs: Path, compose: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from mematte.data.benchmark import Preset

    monkeypatch.setitem(PRESETS, "uhr-395-test", Preset(1, 3))
    assert compose("-o", "out", "--preset", "uhr-395-test").status == 0
    merged = sorted(path.name for path in (inputs / "out" / "merged").iterdir())
    assert merged == ["ant_0.png", "ant_1.png", "ant_2.png"]


def test_bad_foregrounds_are_named_at_the_end(inputs: Path, compose: Run) -> None:
    (inputs / "cutouts/ant.png").write_bytes((inputs / "cutouts/ant.png").read_bytes()[:100])

    result = compose("-o", "out", "--per-foreground", 3, "-q", "--layout", "cutouts")

    assert (result.status, result.out) == (1, "out\n")
    assert result.err.startswith("Error: cutouts/ant.png is truncated")
    assert result.err.endswith("3 composites are left out.\n")
    assert result.err.count("\n") == 1
    assert len(list((inputs / "out/merged").iterdir())) == 3


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["-o", "out"], 2, "give --preset or --per-foreground"),
        (["-o", "out", "--preset", "uhr-395-test", "--per-foreground", "3"], 2, "one of them"),
        (["-o", "out", "--preset", "uhr-395-train"], 1, "355 foregrounds are asked for, each over 100"),
        (["-o", "out", "--preset", "uhr-395-train"], 1, "there are only 2"),
        (["-o", "out", "--preset", "other"], 2, "--preset"),
        (["-o", "out", "--per-foreground", "0"], 2, "--per-foreground"),
        (["-o", "out", "--per-foreground", "2", "--bits", "12"], 2, "--bits"),
        (
            ["-o", "out", "--per-foreground", "2", "--bits", "16", "--merged-format", "jpeg"],
            1,
            "JPEG holds 8",
        ),
        (["-o", "out", "--per-foreground", "2", "--trimap-radius", "9", "3"], 1, "not from 9 to 3"),
        (["-o", "out", "--per-foreground", "2", "--layout", "nothing"], 1, "nothing"),
        (["-o", "cutouts", "--per-foreground", "2"], 1, "cutouts and cutouts are one folder"),
        (["-o", "pictures/out", "--per-foreground", "2"], 1, "one lies in the other"),
        (["-o", "other", "--per-foreground", "2"], 1, "is not empty and has no manifest.jsonl"),
        (["-o", "other/file.txt", "--per-foreground", "2"], 1, "is a file"),
        (["-o", "no/where", "--per-foreground", "2"], 1, "cannot be written"),
        (["--per-foreground", "2"], 2, "--output"),
    ],
)
def test_a_bad_command_writes_nothing(
    inputs: Path, compose: Run, arguments: list[str], status: int, says: str
) -> None:
    (inputs / "other").mkdir()
    (inputs / "other/file.txt").touch()
    check_refused(inputs, lambda: compose(*arguments), status, says)


@pytest.mark.parametrize("folders", [("nothere", "pictures"), ("cutouts", "nothere"), ("cutouts", "empty")])
def test_bad_folders_are_errors(inputs: Path, run: Run, folders: tuple[str, str]) -> None:
    (inputs / "empty").mkdir()
    result = run("data", "compose", *folders, "-o", "out", "--per-foreground", 2)
    assert result.status == 1
    assert result.err.startswith("Error: ")
    assert result.err.count("\n") == 1
    assert not (inputs / "out").exists()


def test_pictures_above_the_limit_are_named(inputs: Path, compose: Run) -> None:
    result = compose("-o", "out", "--per-foreground", 2, "--max-pixels", 100)
    assert result.status == 1
    assert "the limit is" in result.err
    assert not list((inputs / "out/merged").iterdir())


def test_repeated_backgrounds_are_said(compose: Run) -> None:
    assert "8 composites have 6 backgrounds" in compose("-o", "out", "--per-foreground", 4).message


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to one process")
@pytest.mark.parametrize("jobs", [1, 2])
def test_ctrl_c_leaves_whole_files_and_goes_on(inputs: Path, compose: Run, jobs: int) -> None:
    program = """
        import sys, time
        from mematte.cli import main
        from mematte.data import benchmark

        work = benchmark._work

        def slow(*arguments):
            for number, result in enumerate(work(*arguments)):
                yield result
                if number == 1:
                    print("working", flush=True)
                    time.sleep(60)

        benchmark._work = slow
        if __name__ == "__main__":
            main()
    """
    script = inputs / "program.py"
    script.write_text(textwrap.dedent(program))
    arguments = ("-o", "out", "--per-foreground", "3", "--jobs", str(jobs))
    process = subprocess.Popen(
        [sys.executable, script, "data", "compose", *INPUTS, *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "working\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert not [name for name in contents(inputs / "out") if ".partial-" in name]
    assert compose(*arguments).status == 0
    compose("-o", "undisturbed", "--per-foreground", "3")
    assert contents(inputs / "out") == contents(inputs / "undisturbed")
