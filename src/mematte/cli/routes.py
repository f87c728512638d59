"""`mematte routes`: which tokens of one picture attend globally, as a picture and as numbers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .files import Output
from .inputs import guide_of, known_of, read_whole
from .messages import Messages
from .options import (
    OUTPUTS,
    DeviceOption,
    Enlarge,
    EnlargeOption,
    ForceOption,
    ImageArgument,
    MaskOption,
    MaxGlobalTokensOption,
    MaxPixelsOption,
    MemoryOption,
    Narrow,
    NarrowOption,
    Precision,
    PrecisionOption,
    QuietOption,
    RadiusOption,
    TrimapArgument,
    WeightsOption,
    Windows,
    WindowsOption,
)
from .outputs import beside, check_outputs, check_routed, write_sheet
from .report import report_of

if TYPE_CHECKING:
    from mematte.engine import BlockRouting, Report
    from mematte.engine.shares import BlockShares


def routes(
    image: ImageArgument,
    trimap: TrimapArgument = None,
    mask: MaskOption = None,
    radius: RadiusOption = None,
    max_pixels: MaxPixelsOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The picture; also .jpg. Default: photo.routes.png beside photo.jpg.",
            rich_help_panel=OUTPUTS,
            show_default=False,
        ),
    ] = None,
    opacity: Annotated[
        float,
        typer.Option(
            "--opacity", min=0, max=1, help="Of the tints: at 1 they hide the photo.", rich_help_panel=OUTPUTS
        ),
    ] = 0.55,
    as_json: Annotated[
        bool, typer.Option("--json", help="The numbers for programs.", rich_help_panel=OUTPUTS)
    ] = False,
    weights: WeightsOption = "tiny",
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.auto,
    memory: MemoryOption = None,
    enlarge: EnlargeOption = Enlarge.auto,
    windows: WindowsOption = Windows.auto,
    narrow: NarrowOption = Narrow.auto,
    max_global_tokens: MaxGlobalTokensOption = None,
) -> None:
    """Explain the routing of IMAGE: which tokens attend globally in each routed block, and which are refined.

    The picture has a map for each block, a map of how often each token attends, and bars of the shares.
    The same numbers go to stdout, and after them the path written.

    Example: mematte routes cat.jpg cat_trimap.png -o routes.png

    Example: mematte routes scan.tif --mask mask.png --memory 2GB --json
    """
    from mematte import load
    from mematte.engine import Results, matte_to_files, plan_in_memory
    from mematte.engine.routes import explain_routes
    from mematte.engine.shares import block_shares, unknown_tokens
    from mematte.image import DEFAULT_MAX_PIXELS, open_picture

    guide = guide_of(image, trimap, mask, radius)
    written = Output("routes", output or beside(image, "routes"))
    check_outputs([written], [image, guide, Path(weights)], force)
    limit = max_pixels or DEFAULT_MAX_PIXELS
    with Messages(quiet) as messages, ExitStack() as stack:
        with messages.stage("read", f"Reading {image.name}"):
            photo = stack.enter_context(open_picture(image, max_pixels=limit))
            known, scan = known_of(stack, photo, guide, mask is not None, radius, limit, messages)
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
        check_routed(engine, "mematte routes")
        # The routes that `mematte matte` would take: the same call, of whose results nothing is written.
        if plan_in_memory(engine, photo, known, Results()):
            with messages.stage("read", f"Reading {image.name}"):
                picture, levels = read_whole(photo, known, messages)
            with messages.stage("matte", "Matting") as progress:
                matte = engine(picture, levels, progress=progress)
            report, routings = matte.report, matte.routings
        else:
            with messages.stage("matte", "Matting in bands") as progress:
                report, routings = matte_to_files(
                    engine, photo, known, Results(), scan=scan, progress=progress
                )
            messages.note(image, photo.notes)
        messages.warn(report.warnings)
        with messages.stage("write_routes", f"Writing {written.path.name}"):
            shares = block_shares(routings, unknown_tokens(known, routings[0], report))
            drawn = explain_routes(photo, routings, report, shares, trimap=known, opacity=opacity)
            write_sheet(written.path, drawn, force)
        if as_json:
            inputs = {"image": image, "trimap": trimap, "mask": mask}
            said = report_of(report, routings, inputs, [written], messages.seconds)
            typer.echo(json.dumps(said | _numbers(routings, report, shares), indent=2, ensure_ascii=False))
        else:
            typer.echo(_table(image, routings, report, shares))
            typer.echo(written.path)


def _numbers(
    routings: Sequence[BlockRouting], report: Report, shares: Sequence[BlockShares]
) -> dict[str, Any]:
    """What goes beyond the report of `mematte matte --report`, and its "routing" with more to each block."""
    from mematte.engine.shares import times_attended, token_px

    rows, columns = routings[0].attend.shape
    return {
        "grid": {"width": columns, "height": rows},
        "token_px": token_px(routings[0], report),
        "unknown_tokens": shares[0].unknown,
        "routing": [
            {
                "block": one.block,
                "attending": one.attending,
                "attending_share": one.share(one.attending),
                "capped": one.capped,
                "capped_share": one.share(one.capped),
                "refined": one.refined,
                "refined_share": one.share(one.refined),
                "left_out": one.left_out,
                "left_out_share": one.share(one.left_out),
                "asked": routing.asked,
                "asked_share": one.share(routing.asked),
                "attending_share_of_unknown": one.share_inside,
                "attending_share_elsewhere": one.share_outside,
            }
            for one, routing in zip(shares, routings, strict=True)
        ],
        # Entry k: tokens that attended in k of the blocks.
        "tokens_by_times_attended": [
            int((times_attended(routings) == times).sum()) for times in range(len(routings) + 1)
        ],
    }


def _table(
    image: Path, routings: Sequence[BlockRouting], report: Report, shares: Sequence[BlockShares]
) -> str:
    """The numbers for people."""
    from mematte.engine.routes import description
    from mematte.engine.shares import times_attended

    def counted(one: BlockShares, count: int) -> str:
        return f"{count:>11,} {one.share(count):>6.1%}"

    def percent(share: float | None) -> str:
        return "none" if share is None else f"{share:.1%}"

    first = shares[0]
    times = times_attended(routings)
    return "\n".join(
        (
            f"{image.name}: {description(routings[0], report)}",
            f"{first.unknown:,} tokens ({first.share(first.unknown):.1%}) have unknown pixels.",
            "",
            f"block  {'attending':>18}{'capped':>18}{'refined':>18}   of the unknown   elsewhere",
            *(
                f"{one.block:>5}  "
                + "".join(counted(one, count) for count in (one.attending, one.capped, one.refined))
                + f"   {percent(one.share_inside):>14}   {percent(one.share_outside):>9}"
                for one in shares
            ),
            "",
            "attend in blocks  tokens",
            *(
                f"{number:>16}  {counted(first, int((times == number).sum())).strip()}"
                for number in range(len(routings) + 1)
            ),
            "",
        )
    )
