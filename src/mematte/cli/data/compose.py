"""`mematte data compose`: a benchmark from foregrounds and backgrounds."""

from __future__ import annotations

from dataclasses import asdict
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from ..messages import Messages
from ..options import MaxPixelsOption, QuietOption


class PresetName(str, Enum):
    """Whose counts a benchmark may take."""

    uhr_395_train = "uhr-395-train"
    uhr_395_test = "uhr-395-test"
    composition_1k = "composition-1k"


class CropName(str, Enum):
    """Which part of a background is seen."""

    centre = "centre"
    random = "random"


class MergedFormatName(str, Enum):
    """What composites are written as."""

    png = "png"
    jpeg = "jpeg"


class BitsName(str, Enum):
    """Depths of the composites and the alphas."""

    eight = "8"
    sixteen = "16"


def compose(
    foregrounds: Annotated[
        Path,
        typer.Argument(
            metavar="FOREGROUNDS",
            help="A data set, or a folder of cut-outs. Of photographs with an alpha the foreground's colours "
            "are estimated.",
        ),
    ],
    backgrounds: Annotated[
        Path, typer.Argument(metavar="BACKGROUNDS", help="A folder of pictures; folders in it count too.")
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="New, empty, or what an earlier run of the same command left: then it goes on.",
        ),
    ],
    preset: Annotated[
        PresetName | None,
        typer.Option(
            "--preset",
            help="How many foregrounds, the first by name, over how many backgrounds each: uhr-395-train "
            "355 x 100, uhr-395-test 40 x 25, composition-1k 50 x 20.",
        ),
    ] = None,
    per_foreground: Annotated[
        int | None,
        typer.Option(
            "--per-foreground",
            min=1,
            metavar="N",
            help="Instead of a preset: all foregrounds, over N backgrounds each.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Another one gives other backgrounds and trimaps.")] = 0,
    trimap_radius: Annotated[
        tuple[int, int],
        typer.Option(
            "--trimap-radius",
            metavar="MIN MAX",
            help="How far into the foreground and, drawn separately, into the background pixels are unknown, "
            "in pixels at one megapixel. It grows with the picture's side.",
        ),
    ] = (1, 22),
    crop: Annotated[
        CropName, typer.Option("--crop", help="Which part is seen of a background of other proportions.")
    ] = CropName.centre,
    merged_format: Annotated[
        MergedFormatName, typer.Option("--merged-format", help="Of the composites; all else is PNG.")
    ] = MergedFormatName.png,
    bits: Annotated[BitsName, typer.Option("--bits", help="Per channel, of composites and alphas.")] = (
        BitsName.eight
    ),
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="NAME",
            help="How FOREGROUNDS is laid out. By default it is recognised.",
            show_default=False,
        ),
    ] = None,
    jobs: Annotated[
        int,
        typer.Option(
            "--jobs",
            min=1,
            metavar="N",
            help="Processes. Each takes 1 to 1.7 GB if pictures have 30 megapixels.",
        ),
    ] = 1,
    max_pixels: MaxPixelsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Lay each of FOREGROUNDS, at its own size, over several of BACKGROUNDS: a matting benchmark.

    FOLDER gets merged/, trimaps/ and alpha_copy/ with the same names in each, and manifest.jsonl, which says
    what each composite is made from. The same command gives the same files. Stopped, it goes on where it was.

    A picture that cannot be used is named and left out; the exit status is then 1. FOLDER goes to stdout.

    Example: mematte data compose cutouts/ coco/ -o bench/ --per-foreground 25

    Example: mematte data compose UHR-395/train coco/train2014 -o bench/ --preset uhr-395-train --jobs 8
    """
    from mematte.data.benchmark import Settings, build
    from mematte.data.layouts import find_pairs
    from mematte.image import DEFAULT_MAX_PIXELS

    settings = Settings(
        **_counts(preset, per_foreground),
        seed=seed,
        radii_px=trimap_radius,
        crop=crop.value,
        merged_format=merged_format.value,
        bits=8 if bits is BitsName.eight else 16,
    )
    with Messages(quiet) as messages:
        found = find_pairs(foregrounds, layout)
        if found.unpaired:
            first = f"{found.unpaired[0]}{' first' if len(found.unpaired) > 1 else ''}"
            messages.warn([f"{len(found.unpaired)} files of {foregrounds} have no partner: {first}."])
        with messages.stage("compose", "Composing") as progress:
            built = build(
                output,
                found,
                backgrounds,
                settings,
                jobs=jobs,
                max_pixels=max_pixels or DEFAULT_MAX_PIXELS,
                progress=progress,
            )
        messages.say(
            f"Of {built.composites} composites {built.made} made in {messages.seconds['compose']:.1f} s, "
            f"{built.kept} were there already."
        )
    typer.echo(output)
    for reason, count in built.failures.items():
        typer.echo(f"Error: {reason} {count} composite{'s are' if count > 1 else ' is'} left out.", err=True)
    if built.failures:
        raise typer.Exit(1)


def _counts(preset: PresetName | None, per_foreground: int | None) -> dict[str, int]:
    """How many foregrounds, if not all, and how many backgrounds for each."""
    from mematte.data.benchmark import PRESETS

    if preset is not None and per_foreground is None:
        return asdict(PRESETS[preset.value])
    if per_foreground is not None and preset is None:
        return {"per_foreground": per_foreground}
    raise typer.BadParameter("give --preset or --per-foreground, one of them: how many backgrounds for each?")
