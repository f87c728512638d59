"""Processes: what forked ones lack is said, not waited for."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from mematte import processes
from mematte.errors import DataError, DeviceError, ImageFileError, MatteError, SizeMismatchError

needs_fork = pytest.mark.skipif(
    "fork" not in multiprocessing.get_all_start_methods(), reason="processes cannot be forked here"
)

PROGRAM = """
import os, sys
import numpy as np, torch
import mematte

image, trimap = np.full((32, 48, 3), 99, np.uint8), np.full((32, 48), 128, np.uint8)
trimap[:, :8], trimap[:, -8:] = 0, 255
torch.set_num_threads(2)
PARENT
child = os.fork()
if child:
    sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
try:
    CHILD
except mematte.DeviceError as error:
    print(error)
os._exit(0)
"""

FORKED = "forked from one in which"


def said(parent: str, child: str, folder: Path) -> str:
    """What a program prints whose forked process does `child` after `parent`; none of them waits for ever."""
    program = PROGRAM.replace("PARENT", parent).replace("CHILD", child)
    result = subprocess.run(
        [sys.executable, "-u", "-c", program], cwd=folder, capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


LOAD = "engine = mematte.load('tiny', enlarge=1)"
CUT = "matte = engine(image, trimap)"
COLOURS = "print(matte.foreground.shape)"
SAVE = "matte.save('alpha.exr', force=True); print('saved')"


@needs_fork
@pytest.mark.parametrize(
    ("parent", "child", "library"),
    [
        (f"{LOAD}; {CUT}", CUT, "PyTorch"),
        (f"{LOAD}; {CUT}", LOAD, "PyTorch"),
        (f"{LOAD}; {CUT}", "mematte.Engine.from_pretrained('tiny')", "PyTorch"),
        (f"{LOAD}; {CUT}; matte.foreground; del matte.__dict__['foreground']", COLOURS, "numba"),
        (f"{LOAD}; {CUT}; {SAVE}", SAVE, "OpenEXR"),
    ],
)
def test_a_forked_process_without_the_threads_says_so(
    parent: str, child: str, library: str, tmp_path: Path
) -> None:
    assert f"{FORKED} {library}" in said(parent, child, tmp_path)


@needs_fork
def test_a_forked_process_with_one_thread_goes_on(tmp_path: Path) -> None:
    child = f"torch.set_num_threads(1); {CUT}; print(matte.alpha.shape)"

    assert said(f"{LOAD}; {CUT}", child, tmp_path) == "(32, 48)\n"


@needs_fork
def test_a_forked_process_that_works_alone_lacks_nothing(tmp_path: Path) -> None:
    printed = said("pass", f"{LOAD}; {CUT}; {COLOURS}; {SAVE}", tmp_path)

    assert printed == "(32, 48, 3)\nsaved\n"


def test_the_process_that_began_may_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_began", {})
    processes.begin_threads("a library")
    processes.begin_threads("a library")

    monkeypatch.setattr(processes, "_began", {"a library": os.getpid() + 1})
    with pytest.raises(DeviceError, match="a library had started threads"):
        processes.begin_threads("a library")


@pytest.mark.parametrize(
    ("error", "cause", "kind"),
    [
        (
            DataError("2 of 9 pictures cannot be used:\n  a.png"),
            ImageFileError("a.png is damaged."),
            DataError,
        ),
        (DataError("There are none."), None, DataError),
        (SizeMismatchError((2, 3), (4, 5)), None, MatteError),
        (KeyError("a"), None, None),
    ],
)
def test_what_a_process_ended_with_is_the_last_error_of_its_traceback(
    error: Exception, cause: Exception | None, kind: type | None
) -> None:
    error.__cause__ = cause
    text = "-- Process 0 terminated with the following error:\n" + "".join(traceback.format_exception(error))

    found = processes.users_error(RuntimeError(text))

    assert (type(found), str(found)) == (kind or type(None), str(error) if kind else "None")
