"""A benchmark as Composition-1K and UHR-395 are: each foreground, at its own size, over several backgrounds.

    FOLDER/merged/NAME.png   trimaps/NAME.png   alpha_copy/NAME.png   manifest.jsonl

Everything random is a hash of the seed and a name, never of the order of the work: a build that was killed
and goes on gives what an undisturbed one gives, byte for byte, with any number of processes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import Future, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Literal, cast

from mematte.data import manifest
from mematte.data.layouts import Found, Pair, Role
from mematte.data.manifest import MANIFEST, Record
from mematte.data.overlay import (
    Depth,
    Foreground,
    Size,
    cover,
    levels_of,
    merge,
    read_foreground,
    window_of,
)
from mematte.data.pictures import picture_files
from mematte.errors import DataError, InputError, MatteError, MatteWarning, OutputError
from mematte.image import DEFAULT_MAX_PIXELS, read_picture, write_alpha, write_picture, write_trimap
from mematte.image.color import as_float
from mematte.processes import process_pool

Crop = Literal["centre", "random"]
MergedFormat = Literal["png", "jpeg"]

RADII_PX = (1, 22)
"""At one megapixel. The published training erodes by ellipses of up to 29 px on 640x640 px: a radius of 14
px there is one of 22 px at a megapixel."""


@dataclass(frozen=True)
class Preset:
    """The counts of a published benchmark."""

    foregrounds: int
    per_foreground: int


PRESETS = {
    "uhr-395-train": Preset(355, 100),
    "uhr-395-test": Preset(40, 25),
    "composition-1k": Preset(50, 20),
}


@dataclass(frozen=True)
class Settings:
    """What decides the pixels of a benchmark, beside the pictures it is made from.

    Attributes:
        per_foreground: how many backgrounds each foreground lies over.
        foregrounds: how many foregrounds, the first by name; None takes all.
        seed: another one gives other backgrounds, crops and radii.
        radii_px: from and to, at one megapixel; they grow with the picture's side.
        crop: which part of a background is seen, where it is wider or higher than the foreground.
        merged_format: of the composites; trimaps and alphas are PNG.
        bits: per channel, of composites and alphas; JPEG has 8.

    Raises:
        InputError: one of them is out of its range.
    """

    per_foreground: int
    foregrounds: int | None = None
    seed: int = 0
    radii_px: tuple[int, int] = RADII_PX
    crop: Crop = "centre"
    merged_format: MergedFormat = "png"
    bits: Depth = 8

    def __post_init__(self) -> None:
        if self.per_foreground < 1 or (self.foregrounds is not None and self.foregrounds < 1):
            raise InputError("A benchmark needs at least 1 foreground and 1 background for each.")
        if not 1 <= self.radii_px[0] <= self.radii_px[1]:
            raise InputError(
                "The radii of the trimaps go from 1 px or more to no less than that, not from "
                f"{self.radii_px[0]} to {self.radii_px[1]}."
            )
        if self.crop not in ("centre", "random"):
            raise InputError(f'The crop is "centre" or "random", not "{self.crop}".')
        if self.merged_format not in ("png", "jpeg"):
            raise InputError(f'Composites are "png" or "jpeg", not "{self.merged_format}".')
        if self.bits not in (8, 16):
            raise InputError(f"A benchmark has 8 or 16 bits per channel, not {self.bits}.")
        if self.merged_format == "jpeg" and self.bits != 8:
            raise InputError("JPEG holds 8 bits per channel. Composites of 16 are PNG.")


@dataclass(frozen=True)
class Composite:
    """One picture of a benchmark: what it is made from, and the seed of its radii and its crop."""

    name: str
    foreground: Mapping[Role, Path]
    background: Path
    seed: int


@dataclass(frozen=True)
class Built:
    """What `build` did.

    Attributes:
        composites: how many belong to the benchmark.
        made: how many were made now.
        kept: how many were there already.
        failures: what is wrong with a picture -> how many composites are not there because of it.
    """

    composites: int
    made: int
    kept: int
    failures: Mapping[str, int]


def background_files(folder: Path) -> tuple[Path, ...]:
    """All picture files in a folder and below it, in an order that is the same everywhere.

    Raises:
        DataError: as `picture_files`.
    """
    files = (path for path in picture_files(folder) if path.is_file())
    return tuple(sorted(files, key=lambda path: path.relative_to(folder).as_posix()))


def plan(pairs: Sequence[Pair], backgrounds: Sequence[Path], settings: Settings) -> list[Composite]:
    """Which foreground lies over which backgrounds. Reads nothing.

    Backgrounds are dealt as for Composition-1K, in consecutive slices of one permutation, which starts again
    when all are dealt. So none comes twice over one foreground while there are `per_foreground` of them.

    Raises:
        DataError: there are fewer foregrounds than asked for, none, no backgrounds, or two of one name.
    """
    if settings.foregrounds is not None and len(pairs) < settings.foregrounds:
        raise DataError(
            f"{settings.foregrounds} foregrounds are asked for, each over {settings.per_foreground} "
            f"backgrounds, and there {'is' if len(pairs) == 1 else 'are'} only {len(pairs)}. Add "
            "foregrounds, or give the number of backgrounds for each (--per-foreground) in place of a preset."
        )
    if not pairs or not backgrounds:
        raise DataError(
            f"There are {len(pairs)} foregrounds and {len(backgrounds)} backgrounds: there is nothing to lay "
            "over one another."
        )
    chosen = sorted(pairs, key=lambda pair: pair.name)[: settings.foregrounds]
    stems = [pair.name.replace("\\", "/").replace("/", "__") for pair in chosen]
    # Names that differ in nothing but case are one file on some systems.
    if twice := [stem for stem, count in Counter(map(str.casefold, stems)).items() if count > 1]:
        raise DataError(f'Several foregrounds have the name "{twice[0]}". Rename all but one.')
    permutation = sorted(
        range(len(backgrounds)), key=lambda index: _digest(settings.seed, "background", index)
    )
    deal = itertools.cycle(permutation)
    digits = len(str(settings.per_foreground - 1))
    composites = []
    for pair, stem in zip(chosen, stems, strict=True):
        for index in range(settings.per_foreground):
            name = f"{stem}_{index:0{digits}}"
            seed = int.from_bytes(_digest(settings.seed, "composite", name)[:4], "big")
            composites.append(Composite(name, dict(pair.files), backgrounds[next(deal)], seed))
    return composites


def build(
    output: Path,
    foregrounds: Found,
    backgrounds: Path,
    settings: Settings,
    *,
    jobs: int = 1,
    max_pixels: int = DEFAULT_MAX_PIXELS,
    progress: Callable[[str, float], None] = lambda *_: None,
) -> Built:
    """Build a benchmark, or go on with one: what its manifest lists and is there is not made again.

    A picture that cannot be used is left out and reported; all others are still made.

    Args:
        output: new, empty, or what an earlier call with the same settings and pictures left.
        foregrounds: from `find_pairs`. The colours of a cutout or a foreground are taken as they are, those
            of an image are estimated.
        backgrounds: a folder of pictures; each is scaled to cover the foreground.
        settings: all that decides the pixels.
        jobs: processes. At 30 megapixels each takes 1 GB, 1.3 GB with 16 bits, and 1.7 GB where foreground
            colours are estimated (measured).
        max_pixels: refuse larger pictures.
        progress: called with what is being done and the share that is done.

    Raises:
        DataError: the foregrounds or the backgrounds do not make a benchmark.
        OutputError: `output` holds something else, or cannot be written to.
    """
    if jobs < 1:
        raise InputError(f"At least 1 process must do the work, not {jobs}.")
    folders = foregrounds.folder, backgrounds
    _check_apart(output, *folders)
    stock = background_files(backgrounds)
    _check_links(stock, output, foregrounds.folder)
    composites = plan(foregrounds.pairs, stock, settings)
    _warn_of_repetition(len(composites), len(stock), settings.per_foreground)
    header = _header(settings, composites, len(stock), folders)
    files = {composite.name: outputs_of(composite.name, settings.merged_format) for composite in composites}
    records = manifest.start(output, header, files)
    kept = len(records)
    missing = [composite for composite in composites if composite.name not in records]
    failures: Counter[str] = Counter()
    work = _work(_Maker(output, settings, folders, max_pixels), missing, jobs)
    with (output / MANIFEST).open("a", encoding="utf-8", newline="\n") as lines, closing(work):
        for done, (composite, result) in enumerate(work, start=kept + 1):
            if isinstance(result, str):
                failures[result] += 1
            else:
                records[composite.name] = result
                lines.write(manifest.line_of(result))
                lines.flush()  # from here on it is not made again
            progress(f"{done} of {len(composites)}", done / len(composites))
    # In the order of the plan: which process was faster must not show.
    manifest.write(output, header, (records[name] for name in files if name in records))
    return Built(len(composites), len(records) - kept, kept, failures)


def outputs_of(name: str, merged_format: MergedFormat = "png") -> dict[str, str]:
    """Folder -> the path of a composite's file in it, relative to the benchmark."""
    return {
        "merged": f"merged/{name}.{merged_format}",
        "trimaps": f"trimaps/{name}.png",
        "alpha_copy": f"alpha_copy/{name}.png",
    }


def radii_of(seed: int, size: Size, radii_px: tuple[int, int]) -> tuple[int, int]:
    """(inner, outer) radius of a composite's trimap, drawn separately, each at least 1 px.

    Args:
        seed: the composite's.
        size: (height, width): the radii are for one megapixel and grow with the side.
        radii_px: from and to, both included.
    """
    growth = math.sqrt(size[0] * size[1] / 1e6)
    low, high = (max(1, round(radius * growth)) for radius in radii_px)
    inner, outer = (low + int(_share(seed, side) * (high - low + 1)) for side in ("inner", "outer"))
    return inner, outer


class _Maker:
    """Makes composites one by one; holds the foreground that several in a row share."""

    def __init__(self, output: Path, settings: Settings, folders: tuple[Path, Path], max_pixels: int) -> None:
        self._output = output
        self._settings = settings
        self._folders = folders
        self._max_pixels = max_pixels
        self._files: Mapping[Role, Path] = {}
        self._held: Foreground | MatteError | None = None

    def __call__(self, composite: Composite) -> Record | str:
        """Write the three files; their record, or what is wrong with a picture."""
        settings = self._settings
        try:
            foreground = self._foreground(composite.foreground)
            picture = read_picture(composite.background, max_pixels=self._max_pixels, role="background")
        except MatteError as error:
            return str(error)
        place = (0.5, 0.5)
        if settings.crop == "random":
            place = _share(composite.seed, "down"), _share(composite.seed, "right")
        window = window_of(picture.size, foreground.size, place)
        background = cover(levels_of(picture, settings.bits), window, foreground.size)
        inner_px, outer_px = radii_of(composite.seed, foreground.size, settings.radii_px)

        files = outputs_of(composite.name, settings.merged_format)
        paths = {folder: self._output / file for folder, file in files.items()}
        write_alpha(paths["alpha_copy"], as_float(foreground.alpha), bits=settings.bits, force=True)
        write_trimap(paths["trimaps"], foreground.trimap(inner_px, outer_px), force=True)
        merged = merge(foreground.colors, foreground.alpha, background)
        write_picture(paths["merged"], as_float(merged), bits=settings.bits, force=True)
        return {
            **_origin(composite, self._folders),
            "size": {"width": foreground.size[1], "height": foreground.size[0]},
            "trimap_radii_px": {"inner": inner_px, "outer": outer_px},
            "background_window": asdict(window),
            "outputs": manifest.fingerprints(self._output, files),
        }

    def _foreground(self, files: Mapping[Role, Path]) -> Foreground:
        if self._held is None or files != self._files:
            self._files, self._held = files, None  # the last one goes before the next one comes
            try:
                self._held = read_foreground(files, self._settings.bits, max_pixels=self._max_pixels)
            except MatteError as error:
                self._held = error
        if isinstance(self._held, MatteError):
            raise self._held
        return self._held


Results = Generator[tuple[Composite, Record | str], None, None]


def _work(maker: _Maker, composites: Sequence[Composite], jobs: int) -> Results:
    """Every composite with what its maker says, as they are done."""
    if jobs == 1:
        for composite in composites:
            yield composite, maker(composite)
        return
    # One pool for each process: all composites of a foreground go to the one that has read it.
    pools = [process_pool(1, _start_process, maker) for _ in range(jobs)]
    tasks: dict[Future[Record | str], Composite] = {}
    try:
        groups = itertools.groupby(composites, key=lambda composite: composite.foreground)
        for (_, group), pool in zip(groups, itertools.cycle(pools), strict=False):
            tasks.update((pool.submit(_make, composite), composite) for composite in group)
        for task in as_completed(tasks):
            yield tasks[task], task.result()
    except BrokenProcessPool as error:
        raise MatteError(
            f"One of {jobs} processes was killed, most likely because memory ran out. Run the same again "
            "with fewer --jobs: what is finished is kept."
        ) from error
    finally:
        for task in tasks:
            task.cancel()  # all stop before any is waited for
        for pool in pools:
            pool.shutdown(cancel_futures=True)


_process_maker: _Maker | None = None


def _start_process(maker: _Maker) -> None:
    global _process_maker
    _process_maker = maker


def _make(composite: Composite) -> Record | str:
    assert _process_maker is not None
    return _process_maker(composite)


def _digest(seed: int, *words: object) -> bytes:
    return hashlib.sha256(" ".join(map(str, (seed, *words))).encode()).digest()


def _share(seed: int, what: str) -> float:
    """A number in [0, 1) that is the same in every version of Python and numpy."""
    return int.from_bytes(_digest(seed, what)[:6], "big") / 2**48


def _check_apart(output: Path, foregrounds: Path, backgrounds: Path) -> None:
    """Raise where the next call would read what this one writes, or foregrounds as backgrounds."""
    out, front, back = (Path(os.path.realpath(path)) for path in (output, foregrounds, backgrounds))
    for given, inputs in ((foregrounds, front), (backgrounds, back)):
        if out == inputs or out in inputs.parents or inputs in out.parents:
            raise OutputError(
                f"{output} and {given} are one folder, or one lies in the other. Write to a folder apart."
            )
    if front == back or back in front.parents:
        raise DataError(
            f"The foregrounds, {foregrounds}, lie among the backgrounds, {backgrounds}, and would be both. "
            "Name a folder that holds backgrounds only."
        )


def _check_links(backgrounds: Sequence[Path], output: Path, foregrounds: Path) -> None:
    """Raise where a link leads from the backgrounds to the foregrounds, or to what is written."""
    others = [Path(os.path.realpath(path)) for path in (output, foregrounds)]
    for file in backgrounds:
        real = Path(os.path.realpath(file))
        if any(other in real.parents for other in others):
            raise DataError(
                f"{file} leads to {real}, which is no background. Name a folder that holds backgrounds only."
            )


def _warn_of_repetition(composites: int, stock: int, per_foreground: int) -> None:
    if stock < composites:
        where = "even behind one foreground" if stock < per_foreground else "never behind one foreground"
        warnings.warn(
            f"{composites} composites have {stock} backgrounds: some come again, {where}.",
            MatteWarning,
            stacklevel=3,
        )


def _origin(composite: Composite, folders: tuple[Path, Path]) -> Record:
    """What a composite is made from, by paths that do not say where the folders lie."""
    foregrounds, backgrounds = folders
    return {
        "name": composite.name,
        "foreground": {
            role: _relative(path, foregrounds) for role, path in sorted(composite.foreground.items())
        },
        "background": _relative(composite.background, backgrounds),
        "seed": composite.seed,
    }


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix()


def _header(
    settings: Settings, composites: Sequence[Composite], backgrounds: int, folders: tuple[Path, Path]
) -> Record:
    """The first line of the manifest: equal if and only if a build may go on."""
    origins = "".join(manifest.line_of(_origin(composite, folders)) for composite in composites)
    header = {
        "mematte": version("mematte"),
        "settings": asdict(settings),
        "foregrounds": len(composites) // settings.per_foreground,
        "backgrounds": backgrounds,
        "composites": len(composites),
        "plan_sha256": hashlib.sha256(origins.encode()).hexdigest(),
    }
    return cast(Record, json.loads(manifest.line_of(header)))  # as it will be read: no tuples
