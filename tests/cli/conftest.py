"""A folder with a small photograph, its trimap and mask; a network small enough to run in milliseconds."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from mematte.cli import main
from mematte.model import MEMatte, ModelSpec
from mematte.weights import save_weights, weights_of

HEIGHT, WIDTH = 48, 64

Snapshot = dict[str, bytes]


@dataclass(frozen=True)
class Result:
    """What a command left: its exit status and what it said."""

    status: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """Stderr as one line, without the frame that Typer draws around usage errors."""
        return " ".join(word for word in self.err.split() if word != "│")


Run = Callable[..., Result]


def save_network(path: Path, blocks: str) -> Path:
    """Random weights of a network drawn by `blocks`."""
    torch.manual_seed(3)
    spec = ModelSpec(
        "probe",
        channels=32,
        heads=2,
        blocks=blocks,
        detail_channels=(8, 8, 8),
        fusion_channels=(16, 8, 8, 8),
    )
    save_weights(weights_of(MEMatte(spec), name="probe", licence="MIT"), path)
    return path


@pytest.fixture(scope="session")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with two routed blocks."""
    return save_network(tmp_path_factory.mktemp("weights") / "probe.safetensors", "WRWR")


@pytest.fixture(scope="session")
def unrouted_network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network in which every token attends."""
    return save_network(tmp_path_factory.mktemp("weights") / "unrouted.safetensors", "WG")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the commands of a test run in."""
    rng = np.random.default_rng(0)
    photo = rng.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    distance = np.hypot(rows - HEIGHT / 2, columns - WIDTH / 2)
    trimap = np.full((HEIGHT, WIDTH), 128, np.uint8)
    trimap[distance < 10] = 255
    trimap[distance > 20] = 0
    for name, pixels in (
        ("photo.png", photo),
        ("deep.png", photo.astype(np.uint16) * 257),
        ("photo_trimap.png", trimap),
        ("mask.png", (distance < 15).astype(np.uint8) * 255),
    ):
        assert cv2.imwrite(str(tmp_path / name), pixels)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run the program in this process: run("matte", "photo.png", ...)."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["mematte", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main()
        said = capsys.readouterr()
        code = exit_.value.code
        return Result(code if isinstance(code, int) else 0, said.out, said.err)

    return call


@pytest.fixture
def matte(folder: Path, run: Run, network: Path) -> Run:  # noqa: ARG001, it runs there
    """Run `mematte matte` in the folder, with the small network on the CPU: matte("photo.png", ...)."""
    fixed = {"--weights": str(network), "--device": "cpu", "--precision": "float32"}

    def call(*arguments: object) -> Result:
        given = [str(argument) for argument in arguments]
        rest = [part for option in fixed.items() if option[0] not in given for part in option]
        return run("matte", *given, *rest)

    return call


def contents(folder: Path) -> Snapshot:
    """Every file below a folder, hidden ones too, and what it holds."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def check_refused(folder: Path, command: Callable[[], Result], status: int, says: str) -> None:
    """Run a command, hold that it fails with this status and says why, and that it changes nothing."""
    before = contents(folder)

    result = command()

    assert result.status == status
    assert says in result.message
    assert result.out == ""
    assert contents(folder) == before


@pytest.fixture
def refused(folder: Path, matte: Run) -> Callable[..., str]:
    """Run `mematte matte`, hold that it fails and changes nothing, and give its message."""

    def call(*arguments: object, status: int = 1) -> str:
        before = contents(folder)
        result = matte(*arguments)
        assert result.status == status, result.err
        assert contents(folder) == before
        assert result.out == ""
        if status == 1:
            assert result.err.startswith("Error: ")
            assert result.err.count("\n") == 1
        return result.message

    return call
