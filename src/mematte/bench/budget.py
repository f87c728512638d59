"""Budget: does a picture of any size stay within its memory, and is the prediction right?

python -m mematte.bench.budget make|matte SETTING.json FOLDER: writes a picture and its trimap, or mattes
them from file to file and holds the process's peak against its plan.
"""

from __future__ import annotations

import json
import math
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mematte.errors import BudgetError, MatteError
from mematte.image import alpha_writer, open_picture, open_trimap, picture_writer
from mematte.weights import Windows

from .child import last_line_of, threads_or_all
from .contenders import QuarterEngine, check_network

DEFAULT_SIZES = ((1024, 1024), (2048, 2048), (3464, 3464), (4872, 6017))
SEARCH_PIXELS = (200_000, 12_000_000)  # of a random setting's picture
# The least is known before the first try; what that leaves behind in the process is not.
SEARCH_TIGHTNESS = (1.03, 2.5)
_LARGE_PIXELS = 4_000_000
_BAND_ROWS = 256
WAVES = 1.7  # of the trimap's unknown band, from top to bottom


@dataclass(frozen=True)
class Setting:
    """One picture and what it may take. Sizes are (height, width) px, memory is bytes."""

    size: tuple[int, int]
    network: str = "small"  # a name of `mematte.model.SPECS`
    precision: str = "auto"
    memory: int | None = None  # None: ample
    tightness: float | None = None  # instead: so many times the least that suffices
    unknown_share: float = 0.2
    windows: Windows = "all"  # that are computed


@dataclass(frozen=True)
class BudgetRow:
    """What a setting took."""

    setting: Setting
    precision: str
    seconds: float
    memory: int
    planned_bytes: int
    peak_bytes: int
    max_global_tokens: int

    @property
    def keeps_budget(self) -> bool:
        """Whether the process stayed within the memory it was given."""
        return self.peak_bytes <= self.memory

    @property
    def prediction(self) -> float:
        """The predicted peak relative to the measured one: 1 or a little more is right."""
        return self.planned_bytes / self.peak_bytes


def random_settings(count: int, seed: int = 0) -> list[Setting]:
    """Random sizes (panoramas too), budgets, networks, shares, windows and precisions; the same for a seed.

    Of the precisions "auto" is bfloat16 where the processor has it.
    """
    rng = np.random.default_rng(seed)
    low, high = np.log(SEARCH_PIXELS)
    settings = []
    for _ in range(count):
        pixels, aspect = np.exp(rng.uniform(low, high)), np.exp(rng.normal(0, 0.5))
        settings.append(
            Setting(
                size=(max(1, int((pixels / aspect) ** 0.5)), max(1, int((pixels * aspect) ** 0.5))),
                network=str(rng.choice(["tiny", "small"])),
                tightness=float(np.exp(rng.uniform(*np.log(SEARCH_TIGHTNESS)))),
                unknown_share=float(rng.choice([0.02, 0.1, 0.3, 1.0])),
                windows="unknown" if rng.random() < 0.5 else "all",
                precision="float32" if rng.random() < 0.5 else "auto",
            )
        )
    return settings


def measure_all(
    settings: Iterable[Setting],
    threads: int | None = None,
    on_row: Callable[[BudgetRow], None] = lambda _: None,
    on_failure: Callable[[Setting, MatteError], None] | None = None,
) -> list[BudgetRow]:
    """Measure settings one after the other, each in a process of its own.

    Args:
        threads: per process; None = all cores.
        on_row: told every row when it is there.
        on_failure: told what failed; the others are measured all the same.

    Raises:
        InputError: no network is called so.
        MatteError: one failed and there is no `on_failure`; its last words are in the message.
    """
    rows, count = [], threads_or_all(threads)
    settings = list(settings)
    for setting in settings:
        check_network(setting.network)  # before the first one's minutes
    for setting in settings:
        with tempfile.TemporaryDirectory(prefix="mematte-bench-") as folder:
            file = Path(folder) / "setting.json"
            file.write_text(json.dumps(asdict(setting)))
            # The files are made by another process: what writing them takes is not the engine's.
            try:
                last_line_of("budget", ["make", str(file), folder], count)
                rows.append(row_of(json.loads(last_line_of("budget", ["matte", str(file), folder], count))))
            except MatteError as error:
                if on_failure is None:
                    raise
                on_failure(setting, error)
                continue
        on_row(rows[-1])
    return rows


def row_of(said: dict[str, Any]) -> BudgetRow:
    """A row from the JSON of its `asdict`."""
    return BudgetRow(**{**said, "setting": _setting_of(said["setting"])})


def _setting_of(said: dict[str, Any]) -> Setting:
    height, width = said["size"]
    return Setting(**{**said, "size": (height, width)})


def make_files(setting: Setting, folder: Path) -> None:
    """A photo of noise and its trimap, of which a share is unknown: a wavy band from top to bottom.

    A large picture has the waves of a small one, larger: a photograph with more pixels shows no more hair.
    """
    height, width = setting.size
    rng = np.random.default_rng(0)
    tile = rng.random((_BAND_ROWS, 512, 3), dtype=np.float32)
    across = np.arange(width)
    with (
        picture_writer(folder / "photo.tif", setting.size) as photo,
        alpha_writer(folder / "trimap.tif", setting.size) as trimap,
    ):
        for top in range(0, height, _BAND_ROWS):
            rows = np.arange(top, min(top + _BAND_ROWS, height))
            repeated = np.tile(tile[: len(rows)], (1, -(-width // 512), 1))[:, :width]
            photo.write(np.ascontiguousarray(repeated))
            middle = width / 2 * (1 + 0.3 * np.sin(WAVES * 2 * np.pi * rows / height))[:, None]
            levels = np.full((len(rows), width), 0.5, np.float32)
            half = setting.unknown_share * width / 2
            if setting.unknown_share < 1:
                levels[across[None] < middle - half] = 0
                levels[across[None] > middle + half] = 1
            trimap.write(levels)


def make_weights(setting: Setting, folder: Path) -> None:
    """A file of random weights, in float16 as ours are: loading it is part of what a process takes."""
    import torch

    from mematte.model import SPECS, MEMatte
    from mematte.weights import save_weights, weights_of

    torch.manual_seed(0)
    network = MEMatte(SPECS[setting.network])
    weights = weights_of(network, name="random", licence="none")
    save_weights(weights, folder / "weights.safetensors", torch.float16)


def matte_files(setting: Setting, folder: Path) -> dict[str, object]:
    """Matte the files within the setting's memory, and say what it took."""
    from mematte.engine import Results, matte_to_files
    from mematte.engine.memory import peak_process_bytes, total_bytes
    from mematte.weights import load_weights

    engine = QuarterEngine(
        load_weights(folder / "weights.safetensors"),
        device="cpu",
        precision=setting.precision,
        windows=setting.windows,
    )
    loading_bytes = peak_process_bytes()  # it comes before the plan, and is known by then
    results = Results(alpha=folder / "alpha.tif")
    pixels = math.prod(setting.size)  # our own files are to be trusted, however large
    with (
        open_picture(folder / "photo.tif", max_pixels=pixels) as photo,
        open_trimap(folder / "trimap.tif", max_pixels=pixels) as trimap,
    ):
        engine.memory = setting.memory or total_bytes(engine.device)
        if setting.tightness is not None:
            engine.memory = 1
            try:
                matte_to_files(engine, photo, trimap, results)
            except BudgetError as error:
                engine.memory = int(setting.tightness * error.least)
        start = time.perf_counter()
        report, _ = matte_to_files(engine, photo, trimap, results)
        seconds = time.perf_counter() - start
    return {
        "setting": asdict(setting),
        "precision": report.precision,
        "seconds": seconds,
        "memory": report.memory_bytes,
        "planned_bytes": max(report.planned_bytes, loading_bytes),
        "peak_bytes": peak_process_bytes(),
        "max_global_tokens": report.max_global_tokens,
    }


def table(rows: Sequence[BudgetRow]) -> str:
    """Rows as a Markdown table, and below it whether all promises were kept."""
    lines = [
        "| picture | megapixels | network | unknown | windows | budget | predicted | measured | ratio "
        "| seconds |",
        "|---|---:|---|---:|---|---:|---:|---:|---:|---:|",
    ]
    for row in rows:
        height, width = row.setting.size
        budget = f"{row.memory / 1e6:,.0f} MB" if row.setting.memory or row.setting.tightness else "ample"
        lines.append(
            f"| {width}x{height} | {width * height / 1e6:.1f} | {row.setting.network} {row.precision} "
            f"| {row.setting.unknown_share:.0%} | {row.setting.windows} | {budget} "
            f"| {row.planned_bytes / 1e6:,.0f} MB | {row.peak_bytes / 1e6:,.0f} MB | {row.prediction:.2f} "
            f"| {row.seconds:.1f} |"
        )
    if not rows:
        return "Nothing was measured."
    kept = sum(row.keeps_budget for row in rows)
    predictions = [row.prediction for row in rows]
    lines += [
        "",
        f"{kept} of {len(rows)} stayed within their memory; predicted / measured from "
        f"{min(predictions):.2f} to {max(predictions):.2f}.",
    ]
    for network in dict.fromkeys(row.setting.network for row in rows):
        power = growth([row for row in rows if row.setting.network == network])
        if power is not None:
            lines.append(
                f"{network}: seconds grow with the pixels to the power of {power:.2f} from 4 megapixels on."
            )
    return "\n".join(lines)


def growth(rows: Sequence[BudgetRow]) -> float | None:
    """Slope of log seconds over log pixels, by least squares, of pictures so large that the cap may bind.

    None where there are fewer than two such sizes, or where they differ in more than their size.
    """
    large = [row for row in rows if row.setting.size[0] * row.setting.size[1] >= _LARGE_PIXELS]
    kinds = {
        (
            row.setting.unknown_share,
            row.setting.windows,
            row.precision,
            row.setting.memory,
            row.setting.tightness,
        )
        for row in large
    }
    pixels = np.log([row.setting.size[0] * row.setting.size[1] for row in large])
    if len(kinds) != 1 or len(set(pixels.tolist())) < 2:
        return None
    return float(np.polyfit(pixels, np.log([row.seconds for row in large]), 1)[0])


def main(arguments: list[str]) -> None:
    """Make a setting's files, or matte them and print a row as JSON."""
    what, file, folder = arguments
    setting = _setting_of(json.loads(Path(file).read_text()))
    if what == "make":
        make_files(setting, Path(folder))
        make_weights(setting, Path(folder))
    else:
        sys.stdout.write(json.dumps(matte_files(setting, Path(folder))) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
