"""`mematte data check`: what a data set holds, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..messages import Messages
from ..options import ForceOption, QuietOption

if TYPE_CHECKING:
    from mematte.data.check import Problem, Report


def check(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a data set.")],
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="NAME",
            help="How its folders are named: composition-1k, aim-500, adobe, cutouts ...; a wrong name lists "
            "all. By default it is recognised.",
            show_default=False,
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE.png",
            help="Draw up to 60 of its pairs: each image, its alpha, and its cut-out over a checkerboard.",
        ),
    ] = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
) -> None:
    """Check the data set in DIR: what pairs, what is damaged, which alphas are none.

    An image and its alpha have the same name but for the suffix, in folders named as those of a
    known data set; or they lie in one folder as photo.jpg and photo_alpha.png; or they are
    cut-outs, pictures with an alpha channel. Where there is a training part, only that is checked.

    Every problem is one line on stdout. Exit status 1 if one is an error: a damaged file, pictures
    of one pair that differ in size, an alpha of only 0 or only 1, a trimap without unknown pixels.

    Example: mematte data check AIM-500 --sheet aim.png

    Example: mematte data check Adobe/Train --layout adobe
    """
    from mematte.data.check import check as check_folder
    from mematte.data.check import contact_sheet
    from mematte.image import check_output

    if sheet is not None:
        check_output(sheet, "picture", force)
    with Messages(quiet) as messages:
        with messages.stage("check", f"Checking {folder}") as progress:
            report = check_folder(folder, layout, progress)
        if sheet is not None:
            with messages.stage("sheet", f"Drawing {sheet.name}") as progress:
                contact_sheet(report.found, sheet, force=force, progress=progress)
    typer.echo(_text(report, sheet))
    if report.of("error"):
        raise typer.Exit(1)


def _text(report: Report, sheet: Path | None) -> str:
    found, first = report.found, report.found.pairs[0]
    roles = dict.fromkeys(role for pair in found.pairs for role in pair.files)
    files = (file.relative_to(found.folder).as_posix() for file in first.files.values())
    rows = [
        ("FOLDER", str(found.folder)),
        ("LAYOUT", found.layout.name),
        ("PAIRS", f"{len(found.pairs)} ({', '.join(roles)})"),
        ("FIRST", ", ".join(files)),
    ]
    if report.sizes:
        sizes = (f"{width}x{height}" for height, width in report.sizes)
        named = zip(("smallest", "median", "largest"), sizes, strict=True)
        rows.append(("SIZES", ", ".join(f"{name} {size} px" for name, size in named)))
    if found.left_out:
        rows.append(("LEFT OUT", ", ".join(map(str, found.left_out))))
    if sheet is not None:
        rows.append(("SHEET", str(sheet)))
    rows += [(problem.level.upper(), _line(problem, found.folder)) for problem in report.problems]
    width = max(len(name) for name, _ in rows)
    lines = [f"{name.ljust(width)}  {text}" for name, text in rows]
    counts = [_count(len(report.of("error")), "error"), _count(len(report.of("warning")), "warning")]
    return "\n".join([*lines, ", ".join(counts)])


def _line(problem: Problem, folder: Path) -> str:
    return f"{problem.file.relative_to(folder)} {problem.what}. {problem.advice}"


def _count(number: int, word: str) -> str:
    return f"{number or 'no'} {word}{'' if number == 1 else 's'}"
