"""The commands' options as types: one that several share means and reads the same everywhere."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, cast

import typer

OUTPUTS, NETWORK = "What is written", "How it is computed"


class Precision(str, Enum):
    """What the network may be asked to compute in."""

    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Windows(str, Enum):
    """Which windows are computed."""

    auto = "auto"
    all = "all"
    unknown = "unknown"


class Narrow(str, Enum):
    """Whether a first look at the picture, reduced, narrows the unknown region."""

    auto = "auto"
    always = "always"
    never = "never"


class Enlarge(str, Enum):
    """How much larger the network may be shown a picture."""

    auto = "auto"
    once = "1"
    twice = "2"
    thrice = "3"

    @property
    def factor(self) -> Literal["auto", 1, 2, 3]:
        """As `mematte.load` takes it."""
        return "auto" if self is Enlarge.auto else cast(Literal[1, 2, 3], int(self.value))


ForceOption = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]

QuietOption = Annotated[
    bool,
    typer.Option("--quiet", "-q", help="Nothing on stderr but errors: no progress, notes or warnings."),
]

ImageArgument = Annotated[Path, typer.Argument(metavar="IMAGE", help="The photograph.")]

TrimapArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="TRIMAP",
        help="As large as IMAGE: black background, white foreground, grey unknown. Or give --mask.",
    ),
]

RadiusOption = Annotated[
    int | None,
    typer.Option(
        "--radius",
        min=0,
        metavar="PX",
        help="How far on both sides of the mask's edge pixels are unknown. By default it grows with the "
        "picture: 10 px at one megapixel, 20 px at four.",
        show_default=False,
    ),
]

MaxPixelsOption = Annotated[
    int | None,
    typer.Option(
        "--max-pixels",
        min=1,
        metavar="N",
        help="Refuse larger pictures before reading them. Default: 1,000,000,000.",
        show_default=False,
    ),
]

MaskOption = Annotated[
    Path | None,
    typer.Option(
        "--mask",
        metavar="MASK",
        help="Instead of TRIMAP: white object on black, an alpha or a cut-out, as large as IMAGE. "
        "What lies near its edge is unknown.",
    ),
]

AlphaOption = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="ALPHA",
        help="The alpha, grey: .png, .tif, .exr, .webp or .jxl, as deep as the photograph. Default: "
        "photo.alpha.png beside photo.jpg, unless --cutout, --foreground or --composite is given.",
        rich_help_panel=OUTPUTS,
        show_default=False,
    ),
]

CutoutOption = Annotated[
    Path | None,
    typer.Option(
        "--cutout",
        metavar="FILE",
        help="Foreground colours and alpha: .png, .tif, .exr, .webp or .jxl.",
        rich_help_panel=OUTPUTS,
    ),
]

ForegroundOption = Annotated[
    Path | None,
    typer.Option(
        "--foreground",
        metavar="FILE",
        help="Foreground colours alone, opaque; also .jpg.",
        rich_help_panel=OUTPUTS,
    ),
]

CompositeOption = Annotated[
    Path | None,
    typer.Option(
        "--composite",
        metavar="FILE",
        help="The foreground over what --over names; also .jpg.",
        rich_help_panel=OUTPUTS,
    ),
]

OverOption = Annotated[
    str | None,
    typer.Option(
        "--over",
        metavar="COLOR_OR_IMAGE",
        help='For --composite: "#20585c", "white", "32,88,92", or a picture, which is scaled to cover.',
        rich_help_panel=OUTPUTS,
    ),
]

RoutesOption = Annotated[
    Path | None,
    typer.Option(
        "--routes",
        metavar="FILE",
        help="A picture of which tokens attended globally, block by block; also .jpg.",
        rich_help_panel=OUTPUTS,
    ),
]

ReportOption = Annotated[
    Path | None,
    typer.Option(
        "--report",
        metavar="FILE.json",
        help="What was done and what it took: sizes, shares of attending tokens, seconds, peak memory.",
        rich_help_panel=OUTPUTS,
    ),
]

WeightsOption = Annotated[
    str,
    typer.Option(
        "--weights",
        metavar="NAME_OR_PATH",
        help="A name that `mematte weights` lists, a Hugging Face id (org/name), a file or a folder.",
        rich_help_panel=NETWORK,
    ),
]

DeviceOption = Annotated[
    str,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda|mps",
        help="Also cuda:1 and so on. A GPU that is asked for and not there is an error.",
        rich_help_panel=NETWORK,
    ),
]

PrecisionOption = Annotated[
    Precision,
    typer.Option("--precision", help="auto takes what is fast on the device.", rich_help_panel=NETWORK),
]

MemoryOption = Annotated[
    str | None,
    typer.Option(
        "--memory",
        metavar="SIZE",
        help="Stay within 900MB, 4GB ...: on a CPU the memory of the whole process, on a GPU what is "
        "allocated there. Default: what is free.",
        rich_help_panel=NETWORK,
        show_default=False,
    ),
]

EnlargeOption = Annotated[
    Enlarge,
    typer.Option(
        "--enlarge",
        help="2 or 3 shows the network the picture at so many times its size: finer mattes of small pictures "
        "in four or nine times the time. auto is 2 where the weights gain by it.",
        rich_help_panel=NETWORK,
    ),
]

WindowsOption = Annotated[
    Windows,
    typer.Option(
        "--windows",
        help="unknown computes only windows of 224 px near unknown pixels: faster the less of a picture is "
        "unknown. all is the network as published. auto is unknown where the weights are made for it and the "
        "picture is not enlarged.",
        rich_help_panel=NETWORK,
    ),
]

NarrowOption = Annotated[
    Narrow,
    typer.Option(
        "--narrow",
        help="always shows the network the picture reduced first, and does not ask again about unknown "
        "pixels that are clear then: cleaner mattes, sooner, where wide regions of a large picture are "
        "unknown. never asks about all, as published. auto is always above the size that the weights name "
        "(tiny and small: 4 megapixels).",
        rich_help_panel=NETWORK,
    ),
]

MaxGlobalTokensOption = Annotated[
    int | None,
    typer.Option(
        "--max-global-tokens",
        min=0,
        metavar="N",
        help="At most N tokens attend globally in each routed block: fewer take less memory. "
        "Default: 18,500.",
        rich_help_panel=NETWORK,
        show_default=False,
    ),
]
