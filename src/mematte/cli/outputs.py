"""The files that `mematte matte` was asked for: checked together before the work, written after it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mematte.errors import ImageFileError, MatteError, OutputError
from mematte.files import check_spares_inputs, is_same_file

from .files import Output, Role, check_new_file
from .report import report_of, write_report

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mematte.engine import BlockRouting, Engine, Matte, Report, Results
    from mematte.image import Picture, Rows, TrimapRows, TrimapScan

    from .messages import Messages

NEED_FOREGROUND: tuple[Role, ...] = ("cutout", "foreground", "composite")


def outputs_asked_for(
    image: Path,
    *,
    alpha: Path | None,
    cutout: Path | None,
    foreground: Path | None,
    composite: Path | None,
    routes: Path | None,
    report: Path | None,
) -> list[Output]:
    """The outputs in the order of writing; the alpha beside the image if no matte or picture is asked for.

    Raises:
        ImageFileError: the image is a folder without a name of its own ("." or "/"): nothing lies beside it.
    """
    if alpha is None and cutout is None and foreground is None and composite is None:
        alpha = beside(image, "alpha")
    paths: dict[Role, Path | None] = {
        "alpha": alpha,
        "cutout": cutout,
        "foreground": foreground,
        "composite": composite,
        "routes": routes,
        "report": report,  # last: it says what was written
    }
    return [Output(role, path) for role, path in paths.items() if path is not None]


def beside(image: Path, role: Role) -> Path:
    """Where a result goes whose place nobody named: photo.ROLE.png beside photo.jpg.

    Raises:
        ImageFileError: the image is a folder without a name of its own ("." or "/"): nothing lies beside it.
    """
    if not image.name:
        raise ImageFileError(f"{image} is a folder, not a picture.")
    return image.with_name(f"{image.stem}.{role}.png")


def check_outputs(
    outputs: Sequence[Output], inputs: Sequence[Path], force: bool, size: tuple[int, int] | None = None
) -> None:
    """Raise for whatever would keep one of the outputs from being written. Leaves nothing behind.

    Args:
        outputs: what was asked for.
        inputs: files that are read: no output may take the place of one, whatever `force` says.
        force: whether existing files may be replaced.
        size: (height, width), once it is known: some formats have a largest.

    Raises:
        OutputError: which one, why, and what to do.
    """
    from mematte.image import check_output

    for index, output in enumerate(outputs):
        for earlier in outputs[:index]:
            if is_same_file(output.path, earlier.path):
                raise OutputError(
                    f"{output.path} is asked for twice, as the {earlier.role} and as the {output.role}. "
                    "Name two files."
                )
        check_spares_inputs(output.path, inputs)
        if output.role == "report":
            check_new_file(output.path, ".json", "a report", force)
        elif output.role in ("alpha", "cutout"):
            check_output(output.path, output.role, force, size=size)
        else:
            check_output(output.path, "picture", force, size=None if output.role == "routes" else size)


def write_outputs(
    outputs: Sequence[Output],
    matte: Matte,
    behind: Picture | tuple[float, float, float] | None,
    inputs: Mapping[str, Path | str | None],
    force: bool,
    messages: Messages,
) -> Report:
    """Write all outputs, and name each on stdout once it is whole.

    Args:
        outputs: what was asked for.
        matte: what the engine found.
        behind: what the composite lies over.
        inputs: what was read, by role, for the report.
        force: whether existing files may be replaced.
        messages: told how far the work is.

    Returns:
        The matte's report with the peak of all this.

    Raises:
        OutputError: one cannot be written; it says which were, and those are whole.
    """
    if any(output.role in NEED_FOREGROUND for output in outputs):
        with messages.stage("foreground", "Estimating the foreground's colours"):
            _ = matte.foreground  # kept by the matte, for all that need it
    written: list[Output] = []
    try:
        for output in outputs:
            with messages.stage(f"write_{output.role}", f"Writing {output.path.name}"):
                _write(output, matte, behind, inputs, written, force, messages)
            written.append(output)
            typer.echo(output.path)
    except MatteError as error:
        if not written:
            raise
        whole = ", ".join(str(output.path) for output in written)
        raise OutputError(f"{error} Written before it, and whole: {whole}.") from error
    return _with_peak(matte.report)


def _with_peak(report: Report) -> Report:
    """The report with the memory that colours and files took too."""
    from mematte.engine.memory import peak_process_bytes

    if report.device != "cpu":  # what is allocated there, and nothing of this is
        return report
    return replace(report, peak_bytes=max(report.peak_bytes, peak_process_bytes()))


def _write(
    output: Output,
    matte: Matte,
    behind: Picture | tuple[float, float, float] | None,
    inputs: Mapping[str, Path | str | None],
    written: Sequence[Output],
    force: bool,
    messages: Messages,
) -> None:
    from mematte.image import Trimap

    match output.role:
        case "alpha":
            matte.save(output.path, force=force)
        case "cutout":
            matte.save_cutout(output.path, force=force)
        case "foreground":
            matte.save_foreground(output.path, force=force)
        case "composite":
            matte.save_composite(output.path, behind, force=force)
        case "routes":
            trimap = Trimap(matte.trimap)
            write_routes(output.path, matte.picture, trimap, matte.routings, matte.report, force)
        case "report":
            report = report_of(_with_peak(matte.report), matte.routings, inputs, written, messages.seconds)
            write_report(output.path, report, force)


def check_routed(engine: Engine, asked_by: str) -> None:
    """Raise now what drawing the routes would raise after the work.

    Raises:
        InputError: the network has no routed blocks; it begins with what asked for them.
    """
    from mematte.errors import InputError

    if "R" not in engine.spec.blocks:
        raise InputError(
            f"{asked_by}: the network {engine.weights_name} ({engine.spec.blocks}) has no routed blocks: "
            "every token attends globally, so there are no routes to draw."
        )


def write_routes(
    path: Path,
    picture: Rows,
    trimap: TrimapRows,
    routings: tuple[BlockRouting, ...],
    report: Report,
    force: bool,
) -> None:
    """The picture of who attended, the trimap's unknown region outlined.

    Raises:
        OutputError: it cannot be written there; nothing is left behind.
    """
    from mematte.engine.routes import draw_routes

    write_sheet(path, draw_routes(picture, routings, report, trimap=trimap), force)


def write_sheet(path: Path, pixels: NDArray[np.uint8], force: bool) -> None:
    """Write (h, w, 3) as a picture, whole or not at all.

    By bands: as floats it would be four times as large.

    Raises:
        OutputError: it cannot be written there; nothing is left behind.
    """
    import numpy as np

    from mematte.image import picture_writer
    from mematte.image.bands import row_bands

    size = (pixels.shape[0], pixels.shape[1])
    with picture_writer(path, size, force=force) as writer:
        for rows in row_bands(size, 200_000):
            writer.write(pixels[rows].astype(np.float32) / np.float32(255))


def results_of(outputs: Sequence[Output], behind: Picture | tuple[float, float, float] | None) -> Results:
    """Those of the outputs that are made of alpha."""
    from mematte.engine import Results

    paths = {output.role: output.path for output in outputs}
    return Results(
        paths.get("alpha"), paths.get("cutout"), paths.get("foreground"), paths.get("composite"), behind
    )


def stream_outputs(
    outputs: Sequence[Output],
    engine: Engine,
    photo: Rows,
    trimap: TrimapRows,
    scan: TrimapScan,
    behind: Picture | tuple[float, float, float] | None,
    inputs: Mapping[str, Path | str | None],
    force: bool,
    messages: Messages,
) -> tuple[Report, tuple[BlockRouting, ...]]:
    """Matte a photo that memory does not hold, and write all outputs; as `write_outputs` does.

    Raises:
        MatteError: as `matte_to_files`, or an output cannot be written.
    """
    from mematte.engine import matte_to_files

    results = results_of(outputs, behind)
    with messages.stage("matte", "Matting in bands") as progress:
        report, routings = matte_to_files(
            engine, photo, trimap, results, scan=scan, force=force, progress=progress
        )
    written = [output for output in outputs if output.path in results.paths]
    for output in written:
        typer.echo(output.path)
    for output in outputs:
        if output.role == "routes":
            write_routes(output.path, photo, trimap, routings, report, force)
        elif output.role == "report":
            said = report_of(report, routings, inputs, written, messages.seconds)
            write_report(output.path, said, force)
        else:
            continue
        written.append(output)
        typer.echo(output.path)
    return report, routings
