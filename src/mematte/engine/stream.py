"""Stream: execute a plan on files larger than memory. Bands in, bands out.

The photo is read twice, by the encoder and by the decoder, once before where there is a first look, and twice
more where foreground colours are wanted; alpha then waits in a temporary file beside the results.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from mematte.errors import BudgetError, OutputError
from mematte.image import (
    Backdrop,
    PictureFile,
    Rows,
    TrimapFile,
    TrimapRows,
    TrimapScan,
    alpha_writer,
    blend,
    cutout_writer,
    default_bits,
    encoder_bytes,
    foreground_bands,
    picture_writer,
)
from mematte.image.composite import Color
from mematte.image.write import Kind

from .device import threads_kept
from .execute import Progress
from .matte import BlockRouting, Report
from .narrow import FirstLook, first_look
from .plan import Job, Plan
from .run import Engine
from .scene import Scene

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Results:
    """The files to write; `behind` is what the composite lies over."""

    alpha: Path | None = None
    cutout: Path | None = None
    foreground: Path | None = None
    composite: Path | None = None
    behind: Color | Rows | None = None

    @property
    def coloured(self) -> list[Path]:
        """Those that need the foreground's colours."""
        return [path for path in (self.cutout, self.foreground, self.composite) if path is not None]

    @property
    def paths(self) -> list[Path]:
        """All of them."""
        return [*([] if self.alpha is None else [self.alpha]), *self.coloured]


def job_of_files(engine: Engine, photo: Rows, trimap: TrimapRows | None, results: Results) -> Job:
    """What there is to plan when files are read and written in bands: what the open ones take counts too.

    Args:
        engine: which will do it.
        photo: an open file, or a picture in memory.
        trimap: None where it is not known yet: then one that takes nothing while it is open.
        results: the files to write.
    """
    size = photo.size
    if engine.device.type != "cpu":
        return engine.job(size)
    beside_bytes = sum(
        part.memory_bytes for part in (photo, trimap) if isinstance(part, (PictureFile, TrimapFile))
    )
    return engine.job(
        size,
        beside_bytes=beside_bytes + sum(_encoders_bytes(photo, results)),
        row_bytes=band_row_bytes(size[1], photo.bits) if isinstance(photo, PictureFile) else 0,
        colours_bytes=_banded_colours_bytes(size) if results.coloured else 0,
    )


def _encoders_bytes(photo: Rows, results: Results) -> list[int]:
    """What writing each of the files takes, as deep as the photo."""

    def taken(path: Path, kind: Kind) -> int:
        return encoder_bytes(path, kind, photo.size, default_bits(path, photo))

    return [
        *([] if results.alpha is None else [taken(results.alpha, "alpha")]),
        *(taken(path, "cutout" if path == results.cutout else "picture") for path in results.coloured),
    ]


def job_in_memory(
    engine: Engine, size: tuple[int, int], bits: int, *, coloured: bool = False, written_bytes: int = 0
) -> Job:
    """What there is to plan when the photo and all that is made of it stay in memory.

    Args:
        engine: which will do it, at the size that it enlarges the photo to.
        size: (height, width) of the photo.
        bits: of the photo, per channel.
        coloured: whether the foreground's colours are wanted too.
        written_bytes: what writing a file takes at most.
    """
    factor, pixels = engine.enlargement(size), math.prod(size)
    shown = factor**2 * pixels
    # The photo, the trimap and alpha; where it is shown enlarged, that is there as well, in float32.
    beside = (3 * bits // 8 + 1 + 4) * pixels + (shown * (3 * 4 + 1 + 4) if factor > 1 else 0)
    is_cpu = engine.device.type == "cpu"
    return engine.job(
        (factor * size[0], factor * size[1]),
        factor,
        beside_bytes=beside if is_cpu else 0,
        colours_bytes=max(150_000_000 + 95 * pixels if coloured else 0, written_bytes) if is_cpu else 0,
    )


def _banded_colours_bytes(size: tuple[int, int]) -> int:
    """What `foreground_bands` takes: its compiler, the coarse levels, and a band with what follows it."""
    pixels = math.prod(size)
    return 160_000_000 + 100 * min(pixels, 1_000_000) + 90 * min(pixels, max(1_000_000, 40 * size[1]))


def band_row_bytes(width: int, bits: int) -> int:
    """What a row of a band takes: of the photo as stored and as it comes from the file, and of the trimap."""
    return width * (2 * 3 * bits // 8 + 2)


def plan_in_memory(engine: Engine, photo: Rows, trimap: TrimapRows | None, results: Results) -> Plan | None:
    """How the photo and all that is made of it stay in memory at once; None if that would cramp the network.

    Args: as for `job_of_files`.
    """
    at_once = job_in_memory(
        engine,
        photo.size,
        photo.bits,
        coloured=bool(results.coloured),
        written_bytes=max(_encoders_bytes(photo, results), default=0),
    )
    return plan_at_once(engine, at_once, job_of_files(engine, photo, trimap, results))


def plan_at_once(engine: Engine, at_once: Job, in_bands: Job) -> Plan | None:
    """The plan of what stays in memory, if its pieces are as large as those of going by bands; else None."""
    try:
        plan = engine.plan(at_once)
    except BudgetError:
        return None
    return plan if plan.pieces == engine.plan(in_bands).pieces else None


def matte_to_files(
    engine: Engine,
    photo: Rows,
    trimap: TrimapRows,
    results: Results,
    *,
    scan: TrimapScan | None = None,
    force: bool = False,
    progress: Progress | None = None,
) -> tuple[Report, tuple[BlockRouting, ...]]:
    """Estimate the alpha of a photo and write what is wanted of it, within the engine's memory.

    All files appear whole or not at all; nothing is left behind by an error or an interruption.

    Args:
        engine: pictures are not enlarged for it here; where it asks for that, the report says so.
        photo: an open file, or a picture in memory.
        trimap: as large.
        results: the files to write.
        scan: of the trimap, by cells of the network's patch; None: it is done here.
        force: replace existing files.
        progress: told how far the work is: "look", "encode", "decode", "colours".

    Raises:
        ImageFileError: a file is damaged or truncated.
        SizeMismatchError, TrimapError: as `TrimapRows.scan`.
        OutputError: a result cannot be written.
        BudgetError: the memory does not suffice; says the least that does.
        DeviceError, WeightsError: as `Engine`.
    """
    progress = progress or (lambda *_: None)
    scan = scan or trimap.scan(photo.size, patch_px=engine.spec.patch)
    seconds: dict[str, float] = {}
    job = job_of_files(engine, photo, trimap, results)

    def work(look: FirstLook, plan: Plan) -> tuple[BlockRouting, ...]:
        scene = Scene(photo, look.trimap, engine.preprocessing, engine.precision, engine.device)
        with ExitStack() as stack:
            takers: list[Callable[[Floats], None]] = []
            if results.alpha is not None:
                writer = stack.enter_context(alpha_writer(results.alpha, photo.size, like=photo, force=force))
                takers.append(writer.write)
            spool: Spool | None = None
            if results.coloured:
                spool = stack.enter_context(spooled(results.coloured[0].parent, photo.size[1]))
                takers.append(spool.append)

            def write(alpha: Floats) -> None:
                for take in takers:
                    take(alpha)

            routings = engine.execute(plan, scene, look.scan.cells, write, seconds, progress)
            if spool is not None:
                with engine.timed(seconds, "colours"), threads_kept():
                    _write_colours(photo, spool, results, force, progress)
        return routings

    with engine.turn():
        plan = engine.plan(job, scan.cells)
        look = first_look(engine, photo, trimap, scan, plan, seconds, progress)
        plan = engine.narrowed(plan, look)
        plan, routings, retries = engine.with_less_each_time(plan, partial(work, look))
    notes = (*photo.notes, *trimap.notes, *look.notes, *retries)
    report = engine.report(plan, scan, look, routings, seconds, notes)
    return replace(report, warnings=(*report.warnings, *_not_enlarged(engine, photo))), routings


def _not_enlarged(engine: Engine, photo: Rows) -> tuple[str, ...]:
    """What there is to say where a picture would have been shown larger if memory had sufficed."""
    factor = engine.enlargement(photo.size)
    if factor == 1:
        return ()
    (height, width), auto = photo.size, engine.enlarge == "auto"
    who = f"as {engine.weights_name} asks for pictures so small" if auto else "as asked for"
    return (
        f"The memory does not suffice to show the network this picture of {width}x{height} px at {factor} "
        f"times its size, {who}: its mattes are finer then. Raise --memory, or say --enlarge 1.",
    )


Take = Callable[[slice, Floats, Floats], None]
"""Rows, (n, W, 3) of the foreground's colours, (n, W) of alpha: the next ones from the top."""


def _write_colours(photo: Rows, alpha: Spool, results: Results, force: bool, progress: Progress) -> None:
    """The files that need the foreground's own colours."""
    with ExitStack() as stack:
        takers = _colour_takers(stack, photo, results, force)
        for rows, colours in foreground_bands(photo.size, photo.values, alpha.rows):
            cover = alpha.rows(rows)
            for take in takers:
                take(rows, colours, cover)
            progress("colours", rows.stop / photo.size[0])


def _colour_takers(stack: ExitStack, photo: Rows, results: Results, force: bool) -> list[Take]:
    """Open the files; what is returned writes the next rows of each."""
    takers: list[Take] = []
    if results.cutout is not None:
        cutout = stack.enter_context(cutout_writer(results.cutout, photo.size, like=photo, force=force))
        takers.append(lambda _, colours, cover: cutout.write(colours, cover))
    if results.foreground is not None:
        plain = stack.enter_context(picture_writer(results.foreground, photo.size, like=photo, force=force))
        takers.append(lambda _, colours, __: plain.write(colours))
    if results.composite is not None:
        assert results.behind is not None, "a composite lies over something"
        mixed = stack.enter_context(picture_writer(results.composite, photo.size, like=photo, force=force))
        backdrop = Backdrop(results.behind, photo.size)

        def mix(rows: slice, colours: Floats, cover: Floats) -> None:
            mixed.write(blend(colours, cover, backdrop.rows(rows), linear=photo.linear))

        takers.append(mix)
    return takers


class Spool:
    """Rows of alpha in a file, float32: appended once, read as often as need be."""

    def __init__(self, file: IO[bytes], width: int) -> None:
        self._file, self._width = file, width

    def append(self, alpha: Floats) -> None:
        """The next rows, (n, W)."""
        self._file.seek(0, 2)
        self._file.write(np.ascontiguousarray(alpha).data)

    def rows(self, rows: slice) -> Floats:
        """(n, W) float32 of rows that were appended."""
        self._file.seek(4 * rows.start * self._width)
        data = bytearray(4 * (rows.stop - rows.start) * self._width)
        count = self._file.readinto(data)  # type: ignore[attr-defined]
        return np.frombuffer(data[:count], np.float32).reshape(-1, self._width)


@contextmanager
def spooled(folder: Path, width: int) -> Iterator[Spool]:
    """A `Spool` beside the results, where there is room for such files; it vanishes with the block.

    Raises:
        OutputError: the folder cannot be written to, or the disk is full.
    """
    try:
        with tempfile.TemporaryFile(dir=folder, prefix=".alpha.partial-") as file:
            yield Spool(file, width)
    except OSError as error:
        if isinstance(error, OutputError) or not error.errno:
            raise
        raise OutputError(f"{folder}: alpha cannot wait there for the colours: {error.strerror}.") from error
