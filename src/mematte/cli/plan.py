"""`mematte plan`: what a picture takes, before it is begun."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    DeviceOption,
    Enlarge,
    EnlargeOption,
    MaxGlobalTokensOption,
    MemoryOption,
    Narrow,
    NarrowOption,
    Precision,
    PrecisionOption,
    WeightsOption,
    Windows,
    WindowsOption,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from mematte.engine import Engine, Job, Plan
    from mematte.engine.cost import Rates
    from mematte.image import TrimapScan

# Times the least room beyond what the process has already.
CURVE = (1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 6.0)


def plan(
    image: Annotated[
        str, typer.Argument(metavar="IMAGE|WIDTHxHEIGHT", help="A picture, or a size such as 6000x4000.")
    ],
    trimap: Annotated[
        Path | None,
        typer.Argument(
            metavar="TRIMAP", help="Its trimap: says where it is unknown, and how much.", show_default=False
        ),
    ] = None,
    memory: MemoryOption = None,
    unknown: Annotated[
        float | None,
        typer.Option(
            "--unknown",
            min=0,
            max=1,
            help="Share of the pixels that is unknown, without TRIMAP. Default: 0.2.",
            show_default=False,
        ),
    ] = None,
    attending: Annotated[
        float, typer.Option("--attending", min=0, max=1, help="Share of the tokens that attend globally.")
    ] = 0.25,
    as_json: Annotated[
        bool, typer.Option("--json", help="For programs: bytes, seconds, operations.")
    ] = False,
    weights: WeightsOption = "tiny",
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.auto,
    max_global_tokens: MaxGlobalTokensOption = None,
    enlarge: EnlargeOption = Enlarge.auto,
    windows: WindowsOption = Windows.auto,
    narrow: NarrowOption = Narrow.auto,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure the rate anew: the kept one is of a busier time.")
    ] = False,
) -> None:
    """Say what a picture will take: memory by stage, operations, seconds. Nothing is matted.

    Photo and trimap are taken as read and written in bands, or, where the network is shown them enlarged, as
    kept in memory. Without --memory, a curve of memory against time.
    The seconds come from a rate that is measured on first use, in about a second, and kept. Where only
    windows near unknown pixels are computed, memory and seconds are those of all windows unless TRIMAP says
    where these pixels lie.

    Example: mematte plan 6000x4000 --memory 1GB

    Example: mematte plan scan.tif scan_trimap.tif --json
    """
    from mematte import load
    from mematte.engine.cost import rates

    size = _size_written(image)
    if size is not None and trimap is not None:
        raise typer.BadParameter("A trimap is of a picture; of a size say --unknown.")
    if unknown is not None and trimap is not None:
        raise typer.BadParameter("The trimap says how much is unknown: leave out --unknown.")
    share = 0.2 if unknown is None else unknown
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
    jobs = _jobs_of_file(engine, image) if size is None else _jobs_of_size(engine, size)
    job = _chosen(engine, jobs) if memory is not None else jobs[0]
    cells = None
    if trimap is not None:
        scan = _scan(engine, trimap, jobs[-1].size, job)
        cells, share = scan.cells, scan.unknown / math.prod(job.size)
    plans = [engine.plan(job, cells)] if memory is not None else _curve(engine, job, cells)
    rate = rates(engine, fresh=measure)
    enlarged = job.size[0] // jobs[-1].size[0]
    described = [_described(each, rate, share, attending, enlarged) for each in plans]
    if as_json:
        typer.echo(json.dumps(described[0] if memory is not None else described, indent=2))
    elif memory is not None:
        typer.echo(_table(engine, described[0]))
    else:
        typer.echo(_curve_table(engine, described))


def _size_written(image: str) -> tuple[int, int] | None:
    """(height, width) px as written; None if it names a file."""
    from mematte.errors import InputError
    from mematte.image import DEFAULT_MAX_PIXELS

    written = re.fullmatch(r"\s*(\d+)\s*[xX×]\s*(\d+)\s*", image)
    if Path(image).exists():
        return None
    if written is None:
        raise InputError(f"{image} is neither a picture nor a size such as 6000x4000.")
    width, height = int(written[1]), int(written[2])
    if not 0 < width * height <= 1000 * DEFAULT_MAX_PIXELS:
        raise InputError(f"{image} is no size of a picture.")
    return height, width


def _jobs_of_file(engine: Engine, image: str) -> list[Job]:
    """The better first: enlarged in memory, where the weights ask for that, or by bands."""
    from mematte.engine import Results, job_in_memory, job_of_files
    from mematte.image import open_picture

    with open_picture(image, max_pixels=10**12) as photo:
        in_bands = job_of_files(engine, photo, None, Results(alpha=Path("alpha.tif")))
        if engine.enlargement(photo.size) == 1:
            return [in_bands]
        return [job_in_memory(engine, photo.size, photo.bits), in_bands]


def _jobs_of_size(engine: Engine, size: tuple[int, int]) -> list[Job]:
    """The better first, as of a photo of 8 bits, whose decoder takes nothing that counts."""
    from mematte.engine import band_row_bytes, job_in_memory

    row_bytes = band_row_bytes(size[1], 8) if engine.device.type == "cpu" else 0
    in_bands = engine.job(size, row_bytes=row_bytes)
    return [in_bands] if engine.enlargement(size) == 1 else [job_in_memory(engine, size, 8), in_bands]


def _scan(engine: Engine, trimap: Path, size: tuple[int, int], job: Job) -> TrimapScan:
    """Where the trimap of a picture of (height, width) px is unknown, as large as the job shows it."""
    from mematte.image import Trimap, open_trimap

    with open_trimap(trimap, max_pixels=10**12) as known:
        if job.size == size:
            return known.scan(size, patch_px=engine.spec.patch)
        known.scan(size)  # its errors name the sizes that the caller knows
        times = job.size[0] // size[0]
        levels = known.level_rows(slice(0, size[0])).repeat(times, axis=0).repeat(times, axis=1)
        return Trimap(levels).scan(job.size, patch_px=engine.spec.patch)


def _chosen(engine: Engine, jobs: Sequence[Job]) -> Job:
    """The job that `mematte matte` would do: enlarged, where that does not cramp the network."""
    from mematte.engine import plan_at_once

    return jobs[0] if len(jobs) == 1 or plan_at_once(engine, *jobs) else jobs[1]


def _curve(engine: Engine, job: Job, unknown: NDArray[np.bool_] | None) -> list[Plan]:
    """Plans for budgets from the least to more than there is use for."""
    from mematte.engine import make_plan
    from mematte.engine.memory import used_bytes
    from mematte.errors import BudgetError

    base_bytes = used_bytes(engine.device)
    try:
        make_plan(job, 0, base_bytes, unknown)
        raise AssertionError("no picture fits into nothing")
    except BudgetError as error:
        least = error.least
    plans: list[Plan] = []
    for times in CURVE:
        found = make_plan(job, base_bytes + round(times * (least - base_bytes)), base_bytes, unknown)
        if not plans or found.pieces != plans[-1].pieces:
            plans.append(found)
    return plans


def _described(plan: Plan, rate: Rates, unknown: float, attending: float, enlarged: int) -> dict[str, Any]:
    from mematte.engine.cost import operations

    counted = operations(plan, unknown, attending)
    look = _first_look(plan, rate, unknown, attending)
    return {
        "size": {"width": plan.job.size[1] // enlarged, "height": plan.job.size[0] // enlarged},
        "enlarged": enlarged,
        "padded": {"width": plan.padded[1], "height": plan.padded[0]},
        "tokens": plan.job.tokens,
        "computed_tokens": plan.job.computed_tokens,
        "windows": plan.job.windows,
        "first_look": look,
        "memory_bytes": plan.memory,
        "base_bytes": plan.base_bytes,
        "peak_bytes": max(plan.peak_bytes, look["peak_bytes"] if look else 0),
        "stages": plan.stages,
        "max_global_tokens": plan.pieces.max_global_tokens,
        "pieces": vars(plan.pieces),
        "unknown_share": unknown,
        "attending_share": attending,
        "operations": {"encode": counted.encode, "decode": counted.decode},
        "seconds": round(rate.seconds(counted) + (look["seconds"] if look else 0), 3),
    }


def _first_look(plan: Plan, rate: Rates, unknown: float, attending: float) -> dict[str, Any] | None:
    """What the look at the reduced picture takes that goes before; None if there is none."""
    from mematte.engine import look_job, make_plan
    from mematte.engine.cost import operations
    from mematte.errors import BudgetError

    looking = look_job(plan.job)
    if looking is None:
        return None
    try:
        looked = make_plan(looking, plan.memory, plan.base_bytes)
    except BudgetError:
        return None
    counted = operations(looked, unknown, attending)
    return {
        "size": {"width": looking.size[1], "height": looking.size[0]},
        "reduced": plan.job.first_reduced,
        "peak_bytes": looked.peak_bytes,
        "operations": {"encode": counted.encode, "decode": counted.decode},
        "seconds": round(rate.seconds(counted), 3),
    }


def _table(engine: Engine, said: dict[str, Any]) -> str:
    """One plan for people."""
    from mematte.engine.memory import show_memory

    pieces, total = said["pieces"], sum(said["operations"].values())
    computed, at_most = "", ""
    if said["computed_tokens"] < said["tokens"]:
        computed = f", of which {said['computed_tokens']:,} are computed: near the unknown region"
    elif said["windows"] == "unknown":
        computed, at_most = ", of which those near the unknown region are computed", "at most "
    if (look := said["first_look"]) is not None:
        total += sum(look["operations"].values())
        at_most = "at most "  # what is clear at first is not asked about again
    again = "wait in a second map" if pieces["second_map"] else "are computed twice"
    lines = [
        *_head(engine, said),
        f"budget            {show_memory(said['memory_bytes'])}",
        f"taken already     {show_memory(said['base_bytes'])}",
        f"predicted peak    {show_memory(said['peak_bytes'])}",
        *([] if look is None else [f"first look        {_show_look(look)}"]),
        f"tokens            {said['tokens']:,}{computed}",
        f"attend globally   {said['max_global_tokens']:,} per block at most",
        f"pieces            {pieces['window_tokens']:,} tokens in windows, "
        f"{pieces['piece_tokens']:,} elsewhere",
        f"refined tokens    {again}",
        f"decoder tiles     {pieces['tile_px']} px{', what they free kept' if pieces['keep_blocks'] else ''}",
        f"operations        {total / 1e12:,.2f} T",
        f"predicted time    {at_most}{_show_seconds(said['seconds'])}",
        "",
        "stage             at most",
        *(f"{stage:17} {show_memory(peak)}" for stage, peak in said["stages"].items()),
    ]
    return "\n".join(lines)


def _show_look(look: dict[str, Any]) -> str:
    width, height = look["size"].values()
    seconds = _show_seconds(look["seconds"])
    return (
        f"at {width}x{height} px, {look['reduced']} times smaller, {seconds}: what is clear then is settled"
    )


def _curve_table(engine: Engine, plans: Sequence[dict[str, Any]]) -> str:
    """Memory against time for people."""
    from mematte.engine.memory import show_memory

    lines = [
        *_head(engine, plans[0]),
        "",
        "budget      predicted peak   predicted time   tokens attending at most   decoder tiles",
    ]
    for said in plans:
        lines.append(
            f"{show_memory(said['memory_bytes']):11} {show_memory(said['peak_bytes']):16} "
            f"{_show_seconds(said['seconds']):16} {said['max_global_tokens']:<26,} "
            f"{said['pieces']['tile_px']} px"
        )
    return "\n".join(lines)


def _head(engine: Engine, said: dict[str, Any]) -> list[str]:
    width, height = said["size"].values()
    wanted = engine.enlargement((height, width))
    if wanted == 1:
        how = ""
    elif said["enlarged"] > 1:
        how = f", shown to the network at {wanted} times its size"
    else:
        how = f", not shown at {wanted} times its size, for which the memory does not suffice"
    return [
        f"{width}x{height} px ({width * height / 1e6:,.1f} megapixels){how}, "
        f"{said['unknown_share']:.0%} unknown, with {engine.weights_name} on {engine.device} "
        f"in {engine.precision_name}"
    ]


def _show_seconds(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
