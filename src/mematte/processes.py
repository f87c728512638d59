"""Worker processes: started clean, deaf to Ctrl-C, gone when their parent is; the errors that they end with;
and libraries whose threads a fork leaves behind."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

import cv2

from mematte import errors
from mematte.errors import DeviceError, MatteError

CAN_FORK = "fork" in multiprocessing.get_all_start_methods()
"""Windows cannot: what processes share there has to be sent to them."""


def process_pool(processes: int, start: Callable[..., None], *arguments: Any) -> ProcessPoolExecutor:
    """A pool whose processes each call `start(*arguments)` before their first task.

    They are spawned, not forked: OpenImageIO, OpenCV and torch have threads, which do not fork. Ctrl-C is for
    the parent, which decides what is finished; one that is killed takes its processes with it.
    """
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, spawn, _start, (start, arguments))


def _start(start: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start(*arguments)


def _end_with_parent() -> None:
    """A parent that is killed tells nobody: without this its processes would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


_began: dict[str, int] = {}


def begin_threads(library: str) -> None:
    """Called before a library starts threads, or waits for them.

    Raises:
        DeviceError: it had begun in the process that this one was forked from. Its threads did not come
            along, and it would wait for them for ever, or end the process.
    """
    if _began.setdefault(library, os.getpid()) != os.getpid():
        raise DeviceError(
            f"This process was forked from one in which {library} had started threads; they do not come "
            "along, and nothing would ever be finished. Start processes with "
            'multiprocessing.get_context("spawn"), or leave mattes to the forked ones alone: load no engine '
            "before."
        )


def end_children() -> None:
    """End the processes that this one has started, politely at first, after ten seconds in earnest."""
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    for child in children:
        child.join(10)
        if child.is_alive():
            child.kill()


def users_error(error: Exception) -> MatteError | None:
    """The error that one of torch's processes ended with, if it is a user's: only its traceback came."""
    # The last one: before it stands what it came from.
    found = re.search(r".*^mematte\.errors\.(\w+): (.*)", str(error), re.MULTILINE | re.DOTALL)
    if found is None:
        return None
    kind: type[MatteError] = getattr(errors, found[1])
    message = found[2].strip()
    try:
        return kind(message)
    except TypeError:  # one that is made of other things than its message
        return MatteError(message)
