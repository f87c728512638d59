"""`mematte matte`: the alpha of one image, and what can be made of it."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .inputs import guide_of, known_of, read_whole
from .messages import Messages
from .options import (
    AlphaOption,
    CompositeOption,
    CutoutOption,
    DeviceOption,
    Enlarge,
    EnlargeOption,
    ForceOption,
    ForegroundOption,
    ImageArgument,
    MaskOption,
    MaxGlobalTokensOption,
    MaxPixelsOption,
    MemoryOption,
    Narrow,
    NarrowOption,
    OverOption,
    Precision,
    PrecisionOption,
    QuietOption,
    RadiusOption,
    ReportOption,
    RoutesOption,
    TrimapArgument,
    WeightsOption,
    Windows,
    WindowsOption,
)
from .outputs import (
    check_outputs,
    check_routed,
    outputs_asked_for,
    results_of,
    stream_outputs,
    write_outputs,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mematte.engine import BlockRouting, Report
    from mematte.image import Picture


def matte(
    image: ImageArgument,
    trimap: TrimapArgument = None,
    mask: MaskOption = None,
    radius: RadiusOption = None,
    max_pixels: MaxPixelsOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    output: AlphaOption = None,
    cutout: CutoutOption = None,
    foreground: ForegroundOption = None,
    composite: CompositeOption = None,
    over: OverOption = None,
    routes: RoutesOption = None,
    report: ReportOption = None,
    weights: WeightsOption = "tiny",
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.auto,
    memory: MemoryOption = None,
    enlarge: EnlargeOption = Enlarge.auto,
    windows: WindowsOption = Windows.auto,
    narrow: NarrowOption = Narrow.auto,
    max_global_tokens: MaxGlobalTokensOption = None,
) -> None:
    """Estimate the alpha of IMAGE at its own resolution, guided by TRIMAP or by a mask.

    Nothing is written over an existing file without --force, and nothing at all if an input is bad.
    The paths written are printed on stdout, one a line; all else goes to stderr.

    Example: mematte matte cat.jpg cat_trimap.png -o cat_alpha.png

    Example: mematte matte cat.tif --mask cat_mask.png --cutout cat.exr --composite new.jpg --over beach.jpg
    """
    from mematte import load
    from mematte.engine import plan_in_memory
    from mematte.image import DEFAULT_MAX_PIXELS, open_picture

    guide = guide_of(image, trimap, mask, radius)
    _check_over(composite, over)
    outputs = outputs_asked_for(
        image,
        alpha=output,
        cutout=cutout,
        foreground=foreground,
        composite=composite,
        routes=routes,
        report=report,
    )
    inputs = {"image": image, "trimap": trimap, "mask": mask, "over": over}
    files = [image, guide, Path(weights), *([] if over is None else [Path(over)])]
    check_outputs(outputs, files, force)
    limit = max_pixels or DEFAULT_MAX_PIXELS
    with Messages(quiet) as messages, ExitStack() as stack:
        with messages.stage("read", f"Reading {image.name}"):
            behind = _read_background(over, limit, messages) if over is not None else None
            photo = stack.enter_context(open_picture(image, max_pixels=limit))
            known, scan = known_of(stack, photo, guide, mask is not None, radius, limit, messages)
        check_outputs(outputs, files, force, photo.size)
        with messages.stage("load", f"Loading {weights}"):
            engine = load(
                weights,
                device=device,
                precision=precision.value,
                memory=memory,
                max_global_tokens=max_global_tokens,
                enlarge=enlarge.factor,
                windows=windows.value,
                narrow=narrow.value,
            )
        if routes is not None:
            check_routed(engine, "--routes")
        if at_once := plan_in_memory(engine, photo, known, results_of(outputs, behind)):
            with messages.stage("read", f"Reading {image.name}"):
                whole = read_whole(photo, known, messages)
            with messages.stage("matte", "Matting") as progress:
                result = engine(*whole, progress=progress)
            messages.warn(result.report.warnings)
            planned = replace(
                result.report, planned_bytes=max(result.report.planned_bytes, at_once.peak_bytes)
            )
            result, routings = replace(result, report=planned), result.routings
            done = write_outputs(outputs, result, behind, inputs, force, messages)
        else:
            done, routings = stream_outputs(
                outputs, engine, photo, known, scan, behind, inputs, force, messages
            )
            messages.note(image, photo.notes)
            messages.warn(done.warnings)
        messages.say(_summary(done, routings, sum(messages.seconds.values())))


def _check_over(composite: Path | None, over: str | None) -> None:
    if composite is not None and over is None:
        raise typer.BadParameter("--composite needs --over: a colour or a picture to lie behind.")
    if over is not None and composite is None:
        raise typer.BadParameter("--over needs --composite: a file to write to.")


def _read_background(over: str, limit: int, messages: Messages) -> Picture | tuple[float, float, float]:
    """A picture if there is a file of that name, else a colour."""
    from mematte.errors import InputError
    from mematte.image import parse_color, read_picture

    if Path(over).is_file():
        background = read_picture(over, max_pixels=limit, role="background")
        messages.note(Path(over), background.notes)
        return background
    try:
        return parse_color(over)
    except InputError as error:
        raise InputError(f'--over: there is no file "{over}", and {error}') from error


def _summary(report: Report, routings: Sequence[BlockRouting], seconds: float) -> str:
    shares = [routing.share for routing in routings]
    share = report.computed_tokens / report.tokens
    computed = f", {share:.0%} of the tokens computed" if share < 1 else ""
    attended = (
        f", {sum(shares) / len(shares):.0%} of {'all' if computed else 'the'} tokens attended globally"
        if shares
        else ""
    )
    looked = f", {report.asked_share:.0%} after a first look" if report.first_reduced > 1 else ""
    return (
        f"{report.size[1]}x{report.size[0]} px, {report.unknown_share:.0%} unknown{looked}{computed}"
        f"{attended}: "
        f"{seconds:.1f} s with {report.weights} on {report.device} in {report.precision}, "
        f"{report.peak_bytes / 1e6:,.0f} MB at most."
    )
