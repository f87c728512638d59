"""A method over a data set: resumed where an earlier run stopped, in as many processes as asked for."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from mematte.errors import DataError, InputError, MatteError, MatteWarning, OutputError
from mematte.eval import report
from mematte.eval.datasets import DataSet, PairFiles, flat_name
from mematte.eval.evaluate import Rules
from mematte.eval.methods import Estimator, Method
from mematte.eval.metrics import Alpha
from mematte.eval.record import Record, Stamp, stamp_of
from mematte.eval.results import Failure, Results, Scored
from mematte.files import sha256
from mematte.image import DEFAULT_MAX_PIXELS, UNKNOWN, write_alpha
from mematte.processes import process_pool


@dataclass(frozen=True)
class Task:
    """What is done with each picture.

    Attributes:
        data: the pictures.
        method: what gives the alphas.
        rules: how they are judged.
        alphas: a folder to write them to, as they are scored: 8-bit PNG, or float TIFF if not rounded.
        page: a folder to draw each picture's panels in, for a page to look at.
        max_pixels: refuse larger pictures.
    """

    data: DataSet
    method: Method
    rules: Rules
    alphas: Path | None = None
    page: Path | None = None
    max_pixels: int = DEFAULT_MAX_PIXELS

    @property
    def settings(self) -> dict[str, Any]:
        """All that decides the scores, as plain JSON, in the words that people read.

        Raises:
            MatteError: the method cannot be what it should be.
        """
        folder, layout = self.data.found.folder, self.data.found.layout
        return {
            "mematte": version("mematte"),
            **self.method.settings,
            "data set": str(folder),
            "layout": f"{layout.name}: {layout}",
            "trimaps": str(self.data.trimaps),
            "region": "unknown pixels" if self.rules.region == "unknown" else "whole image",
            "alphas": "rounded to 8 bits" if self.rules.eight_bit else "unquantised",
            "Conn": "background counted as a component" if self.rules.count_background else "as published",
        }

    def files(self, pair: PairFiles) -> tuple[Path, ...]:
        """All that is read for a picture."""
        return (*pair.files, *self.method.files(pair.name))

    def alpha_file(self, name: str) -> Path | None:
        """Where a picture's alpha is written."""
        if self.alphas is None:
            return None
        return self.alphas / f"{flat_name(name)}{'.png' if self.rules.eight_bit else '.tif'}"


def run(
    task: Task,
    *,
    scores: Path | None = None,
    processes: int = 1,
    force: bool = False,
    progress: Callable[[str, float], None] = lambda *_: None,
) -> Results:
    """Score a method on a data set. A picture that cannot be scored is reported, and the rest goes on.

    Args:
        task: what is done.
        scores: a record to keep the scores in, or to go on with. By default that of the page, if any.
        processes: each has the method, and its part of the processor and of the memory that is free. The
            scores do not depend on it.
        force: replace alphas that exist, and a record of other settings.
        progress: called with what is being done and the share that is done.

    Raises:
        DataError: no picture could be scored.
        OutputError: something else is where results should go, or scores of other settings.
        MatteError: the method cannot be made ready, or a process was killed.
    """
    if processes < 1:
        raise InputError(f"At least 1 process must do the work, not {processes}.")
    settings = task.settings
    _check_folders(task)
    if task.page is not None:
        report.check_folder(task.page, force)
        scores = scores or task.page / report.RECORD
    record = Record(scores, settings, force=force)
    done, missing = _done_already(task, record, force)
    kept = len(done)
    failures = {name: Failure(name, "It has no trimap; others have one.") for name in task.data.lacking}
    total = len(task.data.pairs)
    with closing(_work(task, [pair for pair, _ in missing], min(processes, len(missing)))) as work:
        stamps = {pair.name: stamp for pair, stamp in missing}
        for finished, (name, result) in enumerate(work, start=kept + 1):
            if isinstance(result, Scored):
                done[name] = result
                record.add(result, stamps[name])
            else:
                failures[name] = result
            progress(f"{finished} of {total}", finished / total)
    order = [pair.name for pair in task.data.pairs]
    results = Results(
        settings,
        tuple(done[name] for name in order if name in done),
        tuple(failures[name] for name in sorted(failures)),
        kept,
    )
    if not results.scored:
        reasons = [f"{failure.name}: {failure.reason}" for failure in results.failures]
        more = f" And {len(reasons) - 5} more." if len(reasons) > 5 else ""
        raise DataError(f"None of the {len(reasons)} pictures could be scored. {' '.join(reasons[:5])}{more}")
    return results


def _done_already(
    task: Task, record: Record, force: bool
) -> tuple[dict[str, Scored], list[tuple[PairFiles, Stamp]]]:
    """What an earlier run scored, and the pairs that are left, with the states of their files."""
    done: dict[str, Scored] = {}
    missing: list[tuple[PairFiles, Stamp]] = []
    for pair in task.data.pairs:
        stamp = stamp_of(task.files(pair))
        scored = record.get(pair.name, stamp)
        has_alpha = _has_alpha(task.alpha_file(pair.name), scored, force)
        if scored and has_alpha and (task.page is None or report.is_drawn(task.page, pair.name)):
            done[pair.name] = scored
        else:
            missing.append((pair, stamp))
    return done, missing


def _has_alpha(file: Path | None, scored: Scored | None, force: bool) -> bool:
    """Whether a picture's alpha need not be written any more."""
    if file is None:
        return True
    if not file.exists():
        return False
    if scored and scored.alpha_sha256 and scored.alpha_sha256 == sha256(file):
        return True
    if not force:
        raise OutputError(f"{file} exists and is not of these scores. --force replaces it.")
    return False


def _check_folders(task: Task) -> None:
    """Make the folders that are written to; raise where they would hold what is read, or two of one name."""
    folders = [folder for folder in (task.alphas, task.page) if folder is not None]
    if not folders:
        return
    called: dict[str, str] = {}
    for pair in task.data.pairs:
        other = called.setdefault(flat_name(pair.name).casefold(), pair.name)
        if other != pair.name:
            raise DataError(f"{other} and {pair.name} would be one file on some systems. Rename one of them.")
    read = {Path(os.path.realpath(file)).parent for pair in task.data.pairs for file in task.files(pair)}
    if len({os.path.realpath(folder) for folder in folders}) < len(folders):
        raise OutputError(f"{folders[0]} is named for the alphas and for the page. Name a folder for each.")
    for folder in folders:
        if Path(os.path.realpath(folder)) in read:
            raise OutputError(f"{folder} holds pictures that are read. Write to a folder of its own.")
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise OutputError(f"{folder} cannot be made: {error.strerror}.") from error


Work = Generator[tuple[str, "Scored | Failure"], None, None]


def _work(task: Task, pairs: Sequence[PairFiles], processes: int) -> Work:
    """Every picture with its scores or what is wrong with it, as they are done."""
    if not pairs:
        return
    if processes == 1:
        judge = _Judge(task, 1)
        for pair in pairs:
            yield pair.name, judge(pair)
        return
    waiting = iter(pairs)
    pool = process_pool(processes, _start_process, task, processes)
    working: dict[Future[Scored | Failure], str] = {}
    try:
        for pair in waiting:
            working[pool.submit(_judge_in_process, pair)] = pair.name
            # No more than are being worked on: what a process that died was at can be told then.
            if len(working) < processes:
                continue
            yield from _finished(working)
        while working:
            yield from _finished(working)
    except BrokenProcessPool as error:
        raise MatteError(
            f"A process was killed while {processes} worked on {', '.join(sorted(working.values()))}, most "
            "likely because memory ran out. Run the same with fewer --processes or with --memory; what is in "
            "the record (--scores, --html) is not done again."
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _finished(working: dict[Future[Scored | Failure], str]) -> Work:
    """Wait for at least one result; all that are there."""
    for future in wait(working, return_when=FIRST_COMPLETED).done:
        result = future.result()  # raises while the name is still among those worked on
        yield working.pop(future), result


_process_judge: Callable[[PairFiles], Scored | Failure] | MatteError | None = None


def _start_process(task: Task, processes: int) -> None:
    global _process_judge
    warnings.simplefilter("ignore", MatteWarning)  # the parent has said what there is to say
    try:
        _process_judge = _Judge(task, processes)
    except MatteError as error:  # raised here it would end the process without a word
        _process_judge = error


def _judge_in_process(pair: PairFiles) -> Scored | Failure:
    if isinstance(_process_judge, MatteError):
        raise _process_judge
    assert _process_judge is not None
    return _process_judge(pair)


class _Judge:
    """Reads a pair, estimates its alpha, scores and writes it; holds the method, ready."""

    def __init__(self, task: Task, processes: int) -> None:
        self._task = task
        self._estimate: Estimator = task.method.start(processes)

    def __call__(self, pair: PairFiles) -> Scored | Failure:
        try:
            return self._scored(pair)
        except OutputError:
            raise  # a full disk is not the picture's fault
        except MatteError as error:
            return Failure(pair.name, str(error))
        except MemoryError:
            return Failure(pair.name, "The computer's memory does not suffice for this picture.")

    def _scored(self, files: PairFiles) -> Scored:
        task = self._task
        pair = task.data.read(files, task.max_pixels)
        start = time.perf_counter()
        estimate = self._estimate(pair)
        seconds = time.perf_counter() - start
        alpha = task.rules.judged(estimate.alpha)
        scores = task.rules.scores(alpha, pair)
        matte = estimate.matte
        digest = self._write_alpha(files.name, alpha)
        if task.page is not None:
            report.draw(task.page, pair, alpha, task.rules.region, matte)
        return Scored(
            name=files.name,
            scores=scores,
            size=(pair.trimap.shape[0], pair.trimap.shape[1]),
            unknown_share=float(np.mean(pair.trimap == UNKNOWN)),
            seconds=round(seconds, 4),
            shares={routing.block: routing.share for routing in matte.routings} if matte else {},
            warnings=matte.report.warnings if matte else (),
            alpha_sha256=digest,
        )

    def _write_alpha(self, name: str, alpha: Alpha) -> str:
        """Its SHA-256, or "" if it is not written."""
        path = self._task.alpha_file(name)
        if path is None:
            return ""
        scale = np.float32(255 if alpha.dtype == np.uint8 else 1)
        bits: Any = 8 if self._task.rules.eight_bit else "float"
        write_alpha(path, alpha.astype(np.float32) / scale, bits=bits, force=True)
        return sha256(path)
