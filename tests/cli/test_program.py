"""The program as a whole: help, version, exit statuses, interruption, and the small commands' own files."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import pytest

import mematte
from mematte.cli import main
from mematte.cli.messages import Messages

from .conftest import Run, contents

GOOD = ("photo.png", "photo_trimap.png")


def test_version(run: Run) -> None:
    result = run("--version")
    assert (result.status, result.out) == (0, f"mematte {mematte.__version__}\n")


@pytest.mark.parametrize("command", ["matte", "trimap", "convert", "weights"])
def test_every_command_shows_an_example(run: Run, command: str) -> None:
    result = run(command, "--help")
    assert result.status == 0
    assert "Example: mematte " in result.out


def test_without_arguments_the_commands_are_listed(run: Run) -> None:
    said = run()
    assert all(command in said.out + said.err for command in ("matte", "trimap", "convert", "weights"))


def test_an_unknown_command_is_a_usage_error(run: Run) -> None:
    assert run("mate").status == 2


@pytest.mark.parametrize("arguments", [["--help"], ["matte", "--help"], ["--version"]])
def test_help_is_instant(arguments: list[str]) -> None:
    """It loads nothing that takes time: neither torch nor what reads pixels."""
    program = """
        import sys
        from mematte.cli import main
        try:
            main()
        except SystemExit as exit_:
            assert exit_.code == 0
        slow = {"torch", "numpy", "scipy", "cv2", "OpenImageIO", "pymatting", "lightning", "matplotlib"}
        loaded = (slow | {"huggingface_hub", "mematte.engine"}) & set(sys.modules)
        assert not loaded, loaded
    """
    subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *arguments], check=True, capture_output=True
    )


@pytest.mark.usefixtures("folder")
def test_an_error_of_the_operating_system_is_one_line(run: Run) -> None:
    result = run("trimap", "mask.png", "-o", f"{'x' * 300}.png")

    assert result.status == 1
    assert result.err.startswith("Error: ")
    assert "Traceback" not in result.err


def test_too_little_memory_is_one_line(folder: Path, matte: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from mematte.engine import Engine

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Engine, "__call__", fail)
    before = contents(folder)

    result = matte(*GOOD)

    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "memory does not suffice" in result.err
    assert contents(folder) == before


def test_ctrl_c_while_writing_leaves_nothing(
    folder: Path, matte: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mematte.image import write

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt  # the temporary file is complete at this moment, but not in its place

    monkeypatch.setattr(write, "_check_written", interrupted)
    before = contents(folder)

    result = matte(*GOOD)

    assert result.status == 130
    assert "Traceback" not in result.err
    assert contents(folder) == before


def started(program: str, folder: Path, network: Path) -> subprocess.Popen[str]:
    """A program that ends in `mematte.cli.main`, at work on the good picture."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), "matte", *GOOD, "--weights", str(network)],
        cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send SIGINT to one process")
def test_ctrl_c_while_the_network_runs_leaves_nothing(folder: Path, network: Path) -> None:
    program = """
        import sys, time
        from mematte.cli import main
        from mematte.engine import Engine

        def run(*_, **__):
            print("running", flush=True)
            time.sleep(60)

        Engine.__call__ = run
        main()
    """
    before = contents(folder)
    process = started(program, folder, network)
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"

    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert contents(folder) == before


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", ["SIGTERM", "SIGHUP"])
def test_a_program_that_is_ended_while_writing_leaves_nothing(
    folder: Path, network: Path, number: str
) -> None:
    program = """
        import signal, time
        from mematte.cli import main
        from mematte.image import write

        def check(*_):  # the temporary file is complete at this moment, but not in its place
            print("written", flush=True)
            time.sleep(60)

        write._check_written = check
        for ended in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(ended, signal.SIG_DFL)  # whatever this is run under, nohup for example
        main()
    """
    before = contents(folder)
    process = started(program, folder, network)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        assert contents(folder) != before

        process.send_signal(getattr(signal, number))
        _, err = process.communicate(timeout=20)
    finally:
        process.kill()

    assert process.returncode == 128 + getattr(signal, number)
    assert "Traceback" not in err
    assert contents(folder) == before


def test_a_stage_that_comes_twice_takes_the_time_of_both(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 10.0, 12.5])
    monkeypatch.setattr("mematte.cli.messages.time.perf_counter", lambda: next(moments))

    messages = Messages(quiet=True)
    for _ in range(2):
        with messages.stage("read", "Reading"):
            pass

    assert messages.seconds["read"] == 3.5


def test_a_keyboard_interrupt_outside_typer_exits_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mematte.cli.app", interrupted)
    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 130


def test_a_warning_of_the_library_is_one_line_on_stderr(matte: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from mematte import api

    load_weights = api.load_weights

    def warn(name: str) -> object:
        warnings.warn("these weights are odd.", mematte.MatteWarning, stacklevel=2)
        return load_weights(name)

    monkeypatch.setattr(api, "load_weights", warn)

    assert "Warning: these weights are odd.\n" in matte(*GOOD).err
    assert matte(*GOOD, "-q", "--force").err == ""
