"""What a command says on stderr while it works, and how long its stages take."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TextIO

import typer

from mematte.errors import MatteWarning

ShowProgress = Callable[[str, float], None]
"""Called with what is being done and the share of it that is done, 0 to 1; 0 moves the bar without an end."""


class Messages:
    """Notes, warnings and progress on stderr; `quiet` keeps all of them back.

    Use it in a `with` statement: inside, a `MatteWarning` from the library becomes a line like our own.
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.seconds: dict[str, float] = {}  # stage -> how long it took
        self._said: set[str] = set()
        self._waiting: list[str] | None = None  # lines said while a bar is drawn, which they would run into
        self._warnings = ExitStack()

    def __enter__(self) -> Messages:
        self._warnings.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore", Warning) if self.quiet else warnings.simplefilter(
            "always", MatteWarning
        )
        warnings.showwarning = self._show_warning(warnings.showwarning)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._warnings.close()

    def say(self, line: str) -> None:
        """One line, once; said during a stage, it appears when the stage is over."""
        if self.quiet or line in self._said:
            return
        self._said.add(line)
        if self._waiting is None:
            typer.echo(line, err=True)
        else:
            self._waiting.append(line)

    def note(self, path: Path, phrases: Iterable[str]) -> None:
        """What there is to know about a file that was read."""
        for phrase in phrases:
            self.say(f"Note: {path}: {phrase}.")

    def warn(self, sentences: Iterable[str]) -> None:
        """What a user should look at, though the work goes on."""
        for sentence in sentences:
            self.say(f"Warning: {sentence}")

    @contextmanager
    def stage(self, name: str, words: str) -> Iterator[ShowProgress]:
        """Time a stage and, on a terminal, show it as a bar that vanishes with it."""
        start = time.perf_counter()
        self._waiting = []
        try:
            with self._bar(words) as progress:
                yield progress
        finally:
            lines, self._waiting = self._waiting, None
            for line in lines:
                typer.echo(line, err=True)
        # A stage may come twice: what is read first may say what is to be read then.
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start

    @contextmanager
    def _bar(self, words: str) -> Iterator[ShowProgress]:
        if self.quiet or not sys.stderr.isatty():
            yield lambda *_: None
            return
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        # Stdout is left alone: redirected, an answer meant for a pipe would end on the terminal.
        with Progress(
            *columns, console=Console(stderr=True), transient=True, redirect_stdout=False
        ) as progress:
            task = progress.add_task(words, total=None)
            current = ""

            def show(part: str, share: float) -> None:
                nonlocal current
                if part != current:  # the time left is that of the part: another one has another pace
                    progress.reset(task, total=None)
                    current = part
                progress.update(
                    task, description=f"{words}: {part}", total=1 if share else None, completed=share
                )

            yield show

    def _show_warning(self, otherwise: Callable[..., None]) -> Callable[..., None]:
        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if issubclass(category, MatteWarning):
                self.warn([str(message)])
            else:
                otherwise(message, category, filename, lineno, file, line)

        return show
