"""`mematte matte`: the alpha of one image, and what can be made of it."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .messages import Messages
from .options import (
    AlphaOption,
    CompositeOption,
    CutoutOption,
    DeviceOption,
    ForceOption,
    ForegroundOption,
    MaskOption,
    MaxGlobalTokensOption,
    MaxPixelsOption,
    OverOption,
    Precision,
    PrecisionOption,
    QuietOption,
    RadiusOption,
    ReportOption,
    RoutesOption,
    WeightsOption,
)
from .outputs import check_outputs, outputs_asked_for, write_outputs

if TYPE_CHECKING:
    from mematte.engine import Engine, Matte
    from mematte.image import Picture, Trimap


def matte(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="The photograph.")],
    trimap: Annotated[
        Path | None,
        typer.Argument(
            metavar="TRIMAP",
            help="As large as IMAGE: black background, white foreground, grey unknown. Or give --mask.",
        ),
    ] = None,
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
    max_global_tokens: MaxGlobalTokensOption = None,
) -> None:
    """Estimate the alpha of IMAGE at its own resolution, guided by TRIMAP or by a mask.

    Nothing is written over an existing file without --force, and nothing at all if an input is bad.
    The paths written are printed on stdout, one a line; all else goes to stderr.

    Example: mematte matte cat.jpg cat_trimap.png -o cat_alpha.png

    Example: mematte matte cat.tif --mask cat_mask.png --cutout cat.exr --composite new.jpg --over beach.jpg
    """
    from mematte import load
    from mematte.image import DEFAULT_MAX_PIXELS

    guide = _guide(image, trimap, mask, radius)
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
    with Messages(quiet) as messages:
        with messages.stage("read", f"Reading {image.name}"):
            behind = _read_background(over, limit, messages) if over is not None else None
            picture, known = _read(image, guide, mask is not None, radius, limit, messages)
        check_outputs(outputs, files, force, picture.size)
        with messages.stage("load", f"Loading {weights}"):
            engine = load(
                weights, device=device, precision=precision.value, max_global_tokens=max_global_tokens
            )
        if routes is not None:
            _check_routed(engine)
        with messages.stage("matte", "Matting") as progress:
            result = engine(picture, known, progress=progress)
        messages.warn(result.report.warnings)
        write_outputs(outputs, result, behind, inputs, force, messages)
        messages.say(_summary(result, sum(messages.seconds.values())))


def _guide(image: Path, trimap: Path | None, mask: Path | None, radius: int | None) -> Path:
    """The file that says what is unknown: exactly one is given."""
    if trimap is not None and mask is not None:
        raise typer.BadParameter("a trimap and --mask are both given; one of them says what is unknown.")
    if radius is not None and mask is None:
        raise typer.BadParameter("--radius is for --mask; a trimap says by itself what is unknown.")
    guide = trimap or mask
    if guide is None:
        beside = sorted(
            path
            for path in image.parent.glob(f"{glob.escape(image.stem)}[._ -]*")
            if "trimap" in path.stem.lower()
        )
        hint = f" Did you mean {beside[0]}?" if beside else ""
        raise typer.BadParameter(f"give a TRIMAP, or a mask with --mask: what is unknown?{hint}")
    return guide


def _check_over(composite: Path | None, over: str | None) -> None:
    if composite is not None and over is None:
        raise typer.BadParameter("--composite needs --over: a colour or a picture to lie behind.")
    if over is not None and composite is None:
        raise typer.BadParameter("--over needs --composite: a file to write to.")


def _read(
    image: Path, guide: Path, is_mask: bool, radius: int | None, limit: int, messages: Messages
) -> tuple[Picture, Trimap]:
    """Image and trimap, checked against each other, with all that there is to say about them said."""
    from mematte.errors import TrimapError
    from mematte.image import Trimap, as_mask, check_trimap, read_picture, read_trimap, trimap_from_mask

    picture = read_picture(image, max_pixels=limit)
    messages.note(image, picture.notes)
    if not is_mask:
        known = read_trimap(guide, max_pixels=limit)
        messages.note(guide, known.notes)
    else:
        mask = read_picture(guide, max_pixels=limit, role="mask")
        messages.note(guide, mask.notes)
        values = as_mask(mask)
        if values.shape != picture.size:
            raise TrimapError(
                f"The mask must be as large as the image: the image is {picture.size[1]}x{picture.size[0]} "
                f"px, the mask {values.shape[1]}x{values.shape[0]} px."
            )
        known = Trimap(trimap_from_mask(values, radius))
    messages.warn(check_trimap(known.levels, picture.size))
    return picture, known


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


def _check_routed(engine: Engine) -> None:
    """Raise now what drawing the routes would raise after the work."""
    from mematte.errors import InputError

    if "R" not in engine.spec.blocks:
        raise InputError(
            f"--routes: the network {engine.weights_name} ({engine.spec.blocks}) has no routed blocks: every "
            "token attends globally, so there are no routes to draw."
        )


def _summary(result: Matte, seconds: float) -> str:
    report = result.report
    shares = [routing.share for routing in result.routings]
    attended = f", {sum(shares) / len(shares):.0%} of the tokens attended globally" if shares else ""
    return (
        f"{report.size[1]}x{report.size[0]} px, {report.unknown_share:.0%} unknown{attended}: "
        f"{seconds:.1f} s with {report.weights} on {report.device} in {report.precision}."
    )
