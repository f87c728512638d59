"""The paper's claims at our scale: what routing costs in quality, and what it saves.

Source of the claims: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

import numpy as np

from mematte.engine import Engine, Job
from mematte.engine.cost import TARGET_SHARE, operations
from mematte.engine.plan import make_plan
from mematte.engine.run import Enlarge
from mematte.errors import ImageFileError, InputError
from mematte.eval.datasets import DataSet
from mematte.eval.evaluate import Rules
from mematte.eval.methods import Method, Network, PyMatting
from mematte.eval.results import Results
from mematte.eval.run import Task, run
from mematte.eval.tables import attending
from mematte.image import open_picture
from mematte.model import SPECS
from mematte.weights import load_weights

from .budget import BudgetRow, Setting, measure_all
from .kept import KeptRows

DEFAULT_SIZES = ((1024, 1024), (4872, 6017))
"""(height, width) px: what the paper's memory is quoted for, and the mean of UHR-395."""
DEFAULT_CAPS = (0, 64, 256, 1024)
UNKNOWN_SHARE = 0.2

# As reported there, not measured here.
THEIRS = """\
| Composition-1K, theirs | SAD | MSE x1e3 | Grad | Conn |
|---|---:|---:|---:|---:|
| MEMatte small / base | 21.90 / 21.06 | 3.37 / 3.11 | 7.43 / 6.70 | 16.77 / 15.71 |
| their teachers, ViTMatte small / base | 21.46 / 20.33 | 3.3 / 3.0 | 7.24 / 6.74 | 16.21 / 14.78 |

They report about 88 % less memory and 50 % less time than ViTMatte on Composition-1K."""


@dataclass(frozen=True)
class Line:
    """A method and its scores."""

    title: str
    results: Results

    @property
    def share(self) -> float | None:
        """Of the tokens that attend globally, the mean over blocks and pictures; None without routers."""
        shares = [mean for mean, _, _ in attending(self.results.scored).values()]
        return float(np.mean(shares)) if shares else None


@dataclass(frozen=True)
class Proof:
    """All that was measured.

    Attributes:
        methods: student, student with every token attending, teacher if there is one, PyMatting's.
        capped: at most so many attending tokens per block -> the student under it.
        costs: student and teacher at each size.
    """

    methods: tuple[Line, ...]
    capped: tuple[tuple[int, Line], ...]
    costs: tuple[BudgetRow, ...]


@dataclass(frozen=True)
class Asked:
    """What is to be measured. Sizes are (height, width) px.

    Attributes:
        data: pictures with known mattes.
        student: weights with routed blocks.
        teacher: what it was distilled from, "" for none.
        caps: of attending tokens per block.
        sizes: of the pictures that memory and seconds are measured on.
        keep: a folder for scores and measurements, so that a stopped run goes on; None keeps nothing.
        processes: pictures at a time while scoring.
    """

    data: DataSet
    student: str = "tiny"
    teacher: str = ""
    caps: Sequence[int] = DEFAULT_CAPS
    sizes: Sequence[tuple[int, int]] = DEFAULT_SIZES
    keep: Path | None = None
    processes: int = 1


def prove(asked: Asked, progress: Callable[[str], None] = lambda _: None) -> Proof:
    """Measure all of it: first the scores, then what student and teacher take, each in a process of its own.

    Args:
        asked: what is to be measured.
        progress: told what is being done.

    Raises:
        InputError: the student has no routers, or is of no network that has a name.
        OutputError: what is kept is of other settings, or of another machine.
        MatteError: weights or pictures cannot be read; a measurement failed.
    """
    costs = KeptRows(asked.keep / "costs.json" if asked.keep else None)
    spec = load_weights(asked.student).spec
    if "R" not in spec.blocks:
        raise InputError(
            f"{asked.student} ({spec.blocks}) has no routed blocks: there is nothing to show. Name a student."
        )
    if spec.name not in SPECS and asked.sizes:
        raise InputError(f"{asked.student} is of no network that has a name, one of {', '.join(SPECS)}.")

    # What is wrong with the teacher is told before the hours of scoring. All see pictures at the size that
    # the student's weights ask for, and once, as the paper's do: a teacher's may ask for nothing.
    shown: Enlarge = _enlargement(asked.student, asked.data) if asked.teacher else "auto"
    teacher = Network(asked.teacher, enlarge=shown, narrow="never")
    student = partial(Network, asked.student, narrow="never")
    if asked.teacher:
        _ = teacher.settings

    def scored(title: str, name: str, method: Method) -> Line:
        progress(title)
        record = asked.keep / f"{name}.jsonl" if asked.keep else None
        return Line(
            title,
            run(
                Task(asked.data, method, Rules(region=asked.data.region)),
                scores=record,
                processes=asked.processes,
            ),
        )

    methods = [
        scored("student", "student", student()),
        scored("student, every token attends", "everyone", student(everyone=True)),
    ]
    if asked.teacher:
        methods.append(scored("teacher", "teacher", teacher))
    methods += [
        scored("closed-form (PyMatting)", "closed-form", PyMatting("closed-form")),
        scored("KNN (PyMatting)", "knn", PyMatting("knn")),
    ]
    capped = [
        (cap, scored(f"at most {cap} tokens", f"cap-{cap}", student(max_global_tokens=cap)))
        for cap in asked.caps
    ]
    settings = [
        Setting(size, network, unknown_share=UNKNOWN_SHARE)
        for size in asked.sizes
        for network in (spec.name, f"{spec.name}-teacher")
    ]

    def measured(row: BudgetRow) -> None:
        costs.add(row)
        progress(f"{row.setting.network}: {row.seconds:.1f} s, {row.peak_bytes / 1e6:,.0f} MB")

    measure_all([setting for setting in settings if not costs.get(setting)], on_row=measured)
    rows = [row for setting in settings if (row := costs.get(setting))]
    return Proof(tuple(methods), tuple(capped), tuple(rows))


def _enlargement(weights: str, data: DataSet) -> Enlarge:
    """How many times larger the engine shows these weights the pictures, all of them, by their headers.

    Raises:
        InputError: not all alike: one number would be compared with another that means something else.
    """
    engine = Engine(load_weights(weights))
    factors = set()
    for pair in data.pairs:
        with suppress(ImageFileError), open_picture(pair.image) as picture:  # a damaged one is not scored
            factors.add(engine.enlargement(picture.size))
    if len(factors) > 1:
        raise InputError(
            f"Some pictures are shown to {weights} {max(factors)} times larger, others {min(factors)} times. "
            "Compare with a teacher on pictures of about one size."
        )
    return factors.pop() if factors else "auto"


def report(proof: Proof) -> str:
    """Everything as Markdown: quality, routing, cap, costs, and what the paper reports."""
    parts = [
        _quality(proof),
        _routing(proof.methods[0].results),
        _caps(proof) if proof.capped else "",
        _costs(proof.costs) if proof.costs else "",
        f"### What the paper reports, not measured here\n\n{THEIRS}",
    ]
    return "\n\n".join(filter(None, parts)) + "\n"


def _quality(proof: Proof) -> str:
    facts = proof.methods[0].results
    lines = [
        "### Quality",
        "",
        f"{facts.pictures} pictures, {facts.settings['region']}, alphas {facts.settings['alphas']}.",
        "",
        "| method | attending | SAD | MSE x1e3 | MAD x1e3 | Grad | Conn | seconds a picture |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for line in proof.methods:
        seconds = np.mean([picture.seconds for picture in line.results.scored])
        lines.append(f"| {line.title} | {_share(line)} | {_scores(line)} | {seconds:.2f} |")
    return "\n".join(lines)


def _routing(results: Results) -> str:
    pictures = {one.name: float(np.mean(list(one.shares.values()))) for one in results.scored}
    least, most = min(pictures, key=pictures.__getitem__), max(pictures, key=pictures.__getitem__)
    lines = ["### Who attends", "", "| block | mean share | smallest | largest |", "|---|---:|---:|---:|"]
    lines += [
        f"| {block} | {mean:.1%} | {smallest:.1%} | {largest:.1%} |"
        for block, (mean, smallest, largest) in attending(results.scored).items()
    ]
    lines += [
        "",
        "By picture, mean of its blocks: "
        f"from {pictures[least]:.1%} ({least}) to {pictures[most]:.1%} ({most}).",
    ]
    return "\n".join(lines)


def _caps(proof: Proof) -> str:
    free = proof.methods[0]
    lines = [
        "### What a cap on attending tokens does",
        "",
        "| at most, per block | attending | SAD | MSE x1e3 | MAD x1e3 | Grad | Conn |",
        "|---:|---:|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {cap:,} | {_share(line)} | {_scores(line)} |"
        for cap, line in sorted(proof.capped, key=lambda pair: pair[0])
    ]
    return "\n".join([*lines, f"| as the routers choose | {_share(free)} | {_scores(free)} |"])


def _costs(rows: Sequence[BudgetRow]) -> str:
    lines = [
        "### What it takes",
        "",
        f"File to file, {UNKNOWN_SHARE:.0%} of the pixels unknown, random weights, a quarter of the tokens "
        "attends; the peak is the whole process's.",
        "",
        "| picture | network | GFLOP | seconds | peak memory |",
        "|---|---|---:|---:|---:|",
    ]
    for row in rows:
        height, width = row.setting.size
        counted = _operations(row.setting)
        lines.append(
            f"| {width}x{height} | {row.setting.network} {row.precision} | {counted / 1e9:,.1f} "
            f"| {row.seconds:.1f} | {row.peak_bytes / 1e6:,.0f} MB |"
        )
    return "\n".join(lines)


def _operations(setting: Setting) -> float:
    plan = make_plan(Job(setting.size, SPECS[setting.network]), memory=1 << 62, base_bytes=0)
    counted = operations(plan, setting.unknown_share, TARGET_SHARE)
    return counted.encode + counted.decode


def _share(line: Line) -> str:
    return "" if line.share is None else f"{line.share:.1%}"


def _scores(line: Line) -> str:
    return " | ".join(f"{value:.2f}" for value in astuple(line.results.mean))
