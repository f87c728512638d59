"""`mematte evaluate`: the scores of a method over a data set, as a table and as a page to look at."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mematte.errors import OutputError
from mematte.files import check_spares_inputs, is_same_file, write_text

from .files import check_new_file
from .messages import Messages
from .options import (
    NETWORK,
    OUTPUTS,
    DeviceOption,
    Enlarge,
    EnlargeOption,
    ForceOption,
    MaxGlobalTokensOption,
    MaxPixelsOption,
    MemoryOption,
    Narrow,
    NarrowOption,
    Precision,
    PrecisionOption,
    QuietOption,
    WeightsOption,
    Windows,
    WindowsOption,
)

if TYPE_CHECKING:
    from mematte.eval.datasets import DataSet
    from mematte.eval.methods import Method
    from mematte.eval.results import Results

RULES = "How it is judged"


class MethodName(str, Enum):
    """What gives the alphas."""

    network = "network"
    closed_form = "closed-form"
    knn = "knn"
    lbdm = "lbdm"


class RegionName(str, Enum):
    """Where errors may count."""

    unknown = "unknown"
    whole = "whole"


class FormatName(str, Enum):
    """What a table may be printed as."""

    text = "text"
    csv = "csv"
    json = "json"
    markdown = "markdown"


class MetricName(str, Enum):
    """What the page may be sorted by."""

    sad = "sad"
    mse = "mse"
    mad = "mad"
    grad = "grad"
    conn = "conn"


def evaluate(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="A data set: pictures, true alphas, trimaps.")
    ],
    method: Annotated[
        MethodName,
        typer.Option("--method", help="The network of --weights, or one of PyMatting's methods."),
    ] = MethodName.network,
    predictions: Annotated[
        Path | None,
        typer.Option(
            "--predictions",
            metavar="FOLDER",
            help="Score these alphas instead: 8-bit, 16-bit or float, named as the pictures of DIR but for "
            "the suffix.",
        ),
    ] = None,
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            metavar="NAME",
            help="How the folders of DIR are named: composition-1k, aim-500, p3m-500-p ...; a wrong name "
            "lists all. By default it is recognised.",
            show_default=False,
        ),
    ] = None,
    trimap: Annotated[
        str | None,
        typer.Option(
            "--trimap",
            metavar="FOLDER",
            help="Trimaps of this folder: another one of DIR (trimap2), or any other. none: without, for "
            "predictions that were made so.",
            show_default=False,
        ),
    ] = None,
    trimap_from_alpha: Annotated[
        int | None,
        typer.Option(
            "--trimap-from-alpha",
            min=0,
            metavar="PX",
            help="Make trimaps of the true alphas, as `mematte trimap --radius PX` does. The scores then say "
            "so: they compare with none that are published.",
            show_default=False,
        ),
    ] = None,
    processes: Annotated[
        int,
        typer.Option(
            "--processes",
            min=1,
            metavar="N",
            help="Pictures at a time, in a process each; --memory is for each. The scores do not change.",
        ),
    ] = 1,
    max_pixels: MaxPixelsOption = None,
    force: ForceOption = False,
    quiet: QuietOption = False,
    form: Annotated[
        FormatName, typer.Option("--format", help="What is printed on stdout.", rich_help_panel=OUTPUTS)
    ] = FormatName.text,
    tables: Annotated[
        list[Path] | None,
        typer.Option(
            "--table",
            metavar="FILE",
            help="Write the table too: .txt, .csv, .json or .md. May be given several times.",
            rich_help_panel=OUTPUTS,
            show_default=False,
        ),
    ] = None,
    html: Annotated[
        Path | None,
        typer.Option(
            "--html",
            metavar="FOLDER",
            help="Draw a page to look at, index.html in this folder: of each picture trimap, truth, alpha, "
            "errors and routes. It opens from disk, and keeps its scores as --scores does.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    sort_by: Annotated[
        MetricName, typer.Option("--sort-by", help="What the page begins with.", rich_help_panel=OUTPUTS)
    ] = MetricName.sad,
    save_alphas: Annotated[
        Path | None,
        typer.Option(
            "--save-alphas",
            metavar="FOLDER",
            help="Write the alphas as they are scored: 8-bit PNG, or float TIFF with --unquantised.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    scores: Annotated[
        Path | None,
        typer.Option(
            "--scores",
            metavar="FILE.jsonl",
            help="Keep the scores picture by picture: the same command, run again, computes what is missing.",
            rich_help_panel=OUTPUTS,
        ),
    ] = None,
    region: Annotated[
        RegionName | None,
        typer.Option(
            "--region",
            help="Where errors count. By default as the set's papers do: everywhere for P3M and "
            "--layout distinctions-646, else where the trimap is unknown.",
            rich_help_panel=RULES,
            show_default=False,
        ),
    ] = None,
    unquantised: Annotated[
        bool,
        typer.Option(
            "--unquantised",
            help="Do not round alphas to 8 bits, as papers do. Scores get slightly better.",
            rich_help_panel=RULES,
        ),
    ] = False,
    conn_counting_background: Annotated[
        bool,
        typer.Option(
            "--conn-counting-background",
            help="Conn as a widely copied Python version computes it, which takes the background for an "
            "object where it is larger. To compare with figures made so.",
            rich_help_panel=RULES,
        ),
    ] = False,
    weights: WeightsOption = "tiny",
    device: DeviceOption = "auto",
    precision: PrecisionOption = Precision.auto,
    memory: MemoryOption = None,
    enlarge: EnlargeOption = Enlarge.auto,
    windows: WindowsOption = Windows.auto,
    narrow: NarrowOption = Narrow.auto,
    max_global_tokens: MaxGlobalTokensOption = None,
    everyone: Annotated[
        bool,
        typer.Option(
            "--everyone",
            help="All tokens attend, whatever the routers say: what routing costs in quality.",
            rich_help_panel=NETWORK,
        ),
    ] = False,
) -> None:
    """Score a method on the data set in DIR: SAD, MSE, MAD, Grad and Conn of every picture, and their mean.

    DIR may be laid out as any set that `mematte data check` knows. Of one that is split the test part is
    taken. A picture that cannot be scored is named, the mean is over the others, and the exit status is 1.

    Example: mematte evaluate alphamatting --html report

    Example: mematte evaluate AIM-500 --weights hustvl/vitmatte-small-composition-1k --table vitmatte.csv

    Example: mematte evaluate AIM-500 --predictions my_alphas --format markdown
    """
    from mematte.eval.datasets import open_data_set
    from mematte.eval.evaluate import Rules
    from mematte.eval.report import write_page
    from mematte.eval.run import Task, run
    from mematte.eval.tables import SUFFIXES, table
    from mematte.image import DEFAULT_MAX_PIXELS

    _check_together(method, predictions, trimap, trimap_from_alpha, html, scores)
    of_the_network = {
        "--weights": weights != "tiny",
        "--device": device != "auto",
        "--precision": precision is not Precision.auto,
        "--memory": memory is not None,
        "--enlarge": enlarge is not Enlarge.auto,
        "--windows": windows is not Windows.auto,
        "--narrow": narrow is not Narrow.auto,
        "--max-global-tokens": max_global_tokens is not None,
        "--everyone": everyone,
    }
    _check_network([name for name, is_said in of_the_network.items() if is_said], method, predictions)
    for path in tables or ():
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            raise OutputError(f"{path}: a table needs a name that ends in one of {', '.join(SUFFIXES)}.")
        check_new_file(path, suffix, "a table", force)
    with Messages(quiet) as messages:
        data = open_data_set(folder, layout, trimaps=trimap, trimap_radius_px=trimap_from_alpha)
        _tell(data, messages)
        chosen = _method(
            data,
            method,
            predictions,
            max_pixels or DEFAULT_MAX_PIXELS,
            messages,
            weights=weights,
            device=device,
            precision=precision.value,
            memory=memory,
            max_global_tokens=max_global_tokens,
            enlarge=enlarge.factor,
            windows=windows.value,
            narrow=narrow.value,
            everyone=everyone,
        )
        read = [file for pair in data.pairs for file in pair.files]
        read += [file for pair in data.pairs for file in chosen.files(pair.name)]
        read += [path for path in (Path(weights),) if path.is_file()]
        _check_outputs([path for path in (scores, *(tables or ())) if path is not None], read)
        rules = Rules(
            not unquantised, data.region if region is None else region.value, conn_counting_background
        )
        task = Task(data, chosen, rules, save_alphas, html, max_pixels or DEFAULT_MAX_PIXELS)
        with messages.stage("evaluate", "Evaluating") as progress:
            results = run(task, scores=scores, processes=processes, force=force, progress=progress)
        messages.warn(f"{one.name}: {warning}" for one in results.scored for warning in one.warnings)
        messages.say(_summary(results, messages.seconds["evaluate"]))
        typer.echo(table(results, form.value), nl=False)
        for path in tables or ():
            write_text(path, table(results, SUFFIXES[path.suffix.lower()]))
        if html is not None:
            messages.say(f"The page: {write_page(html, results, sort_by.value)}")
    for failure in results.failures:
        typer.echo(f"Error: {failure.name}: {failure.reason}", err=True)
    if results.failures:
        raise typer.Exit(1)


def _check_together(
    method: MethodName,
    predictions: Path | None,
    trimap: str | None,
    trimap_from_alpha: int | None,
    html: Path | None,
    scores: Path | None,
) -> None:
    if predictions is not None and method is not MethodName.network:
        raise typer.BadParameter("--predictions and --method are both given; which one is to be scored?")
    if trimap is not None and trimap_from_alpha is not None:
        raise typer.BadParameter("--trimap and --trimap-from-alpha are both given; which trimaps are meant?")
    if trimap == "none" and predictions is None:
        raise typer.BadParameter("--trimap none is for --predictions: every method here needs a trimap.")
    if html is not None and scores is not None:
        raise typer.BadParameter(f"--html keeps its own scores, {html / 'scores.jsonl'}: leave out --scores.")


def _check_network(said: Sequence[str], method: MethodName, predictions: Path | None) -> None:
    if said and (predictions is not None or method is not MethodName.network):
        other = "--predictions" if predictions is not None else f"--method {method.value}"
        raise typer.BadParameter(f"{', '.join(said)} is for the network; with {other} there is none.")


def _check_outputs(outputs: Sequence[Path], read: Sequence[Path]) -> None:
    for number, output in enumerate(outputs):
        check_spares_inputs(output, read)
        if any(is_same_file(output, other) for other in outputs[:number]):
            raise OutputError(f"{output} is named for two outputs. Name a file for each.")


def _tell(data: DataSet, messages: Messages) -> None:
    """Which data set this was taken for, and what of it is not scored."""
    found = data.found
    messages.say(
        f"{found.folder}: {len(data.pairs)} pictures, laid out as {found.layout.name} ({found.layout}); "
        f"trimaps: {data.trimaps}."
    )
    if found.unpaired:
        first = f"{found.unpaired[0]}{' first' if len(found.unpaired) > 1 else ''}"
        messages.warn([f"{len(found.unpaired)} files of {found.folder} have no partner: {first}."])
    if found.left_out:
        messages.say(f"Left out, another part of it: {', '.join(map(str, found.left_out))}.")


def _method(
    data: DataSet,
    method: MethodName,
    predictions: Path | None,
    max_pixels: int,
    messages: Messages,
    **network: Any,
) -> Method:
    from mematte.eval.methods import Network, Predictions, PyMatting

    if predictions is not None:
        ready = Predictions.of(predictions, data.found, max_pixels)
        if ready.others:
            first = f"{ready.others[0]}{' first' if len(ready.others) > 1 else ''}"
            messages.warn([f"{len(ready.others)} files of {predictions} are nobody's predictions: {first}."])
        return ready
    if method is not MethodName.network:
        return PyMatting(method.value)
    with messages.stage("load", f"Loading {network['weights']}"):
        chosen = Network(**network)
        _ = chosen.settings  # raises now what is wrong with the weights
    return chosen


def _summary(results: Results, seconds: float) -> str:
    done = len(results.scored) + len(results.failures) - results.kept
    kept = f"; {results.kept} were scored already" if results.kept else ""
    pace = f", {done / seconds:.2f} a second" if done and seconds else ""
    return f"{done} pictures in {seconds:.1f} s{pace}{kept}."
