"""Benchmarks: the plan, the files and their manifest, stopping and going on, folders that are not ours."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mematte.data import benchmark
from mematte.data.benchmark import (
    PRESETS,
    Built,
    Settings,
    background_files,
    build,
    outputs_of,
    plan,
    radii_of,
)
from mematte.data.layouts import Pair, find_pairs
from mematte.data.overlay import Window, cover
from mematte.errors import DataError, InputError, MatteWarning, OutputError

FOLDERS = ("merged", "trimaps", "alpha_copy")
NAMES = ("ant", "bee", "cat")


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    """Three cutouts of different sizes and twelve backgrounds, some in a folder of their own."""
    rng = np.random.default_rng(1)
    foregrounds, backgrounds = tmp_path / "in" / "cutouts", tmp_path / "in" / "pictures"
    foregrounds.mkdir(parents=True)
    (backgrounds / "more").mkdir(parents=True)
    for index, name in enumerate(NAMES):
        height, width = 40 + index, 50 - index
        ys, xs = np.mgrid[:height, :width]
        alpha = np.clip((14 - np.hypot(ys - 20, xs - 24)) / 5, 0, 1) * 255
        picture = np.dstack([rng.integers(0, 256, (height, width, 3)), np.rint(alpha)])
        assert cv2.imwrite(str(foregrounds / f"{name}.png"), picture.astype(np.uint8))
    for index in range(12):
        size = (int(rng.integers(20, 90)), int(rng.integers(20, 90)), 3)
        path = backgrounds / ("more" if index % 3 else "") / f"{index}.{'jpg' if index % 2 else 'png'}"
        assert cv2.imwrite(str(path), rng.integers(0, 256, size, dtype=np.uint8))
    return foregrounds, backgrounds


Build = Callable[..., Built]


@pytest.fixture
def make(inputs: tuple[Path, Path]) -> Build:
    """Build from the inputs: make(output, seed=1, jobs=2)."""
    foregrounds, backgrounds = inputs

    def call(output: Path, jobs: int = 1, **settings: Any) -> Built:
        settings = {"per_foreground": 4, **settings}
        return build(output, find_pairs(foregrounds), backgrounds, Settings(**settings), jobs=jobs)

    return call


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def manifest_of(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    header, *records = map(json.loads, (folder / "manifest.jsonl").read_text().splitlines())
    return header, records


def pairs(count: int) -> list[Pair]:
    return [Pair(f"p{index:03}", {"cutout": Path(f"{index}.png")}) for index in range(count)]


def pictures(count: int) -> list[Path]:
    return [Path(f"{index:05}.jpg") for index in range(count)]


@pytest.mark.parametrize(
    ("preset", "foregrounds", "each", "composites"),
    [("uhr-395-train", 355, 100, 35_500), ("uhr-395-test", 40, 25, 1_000), ("composition-1k", 50, 20, 1_000)],
)
def test_a_preset_has_the_published_counts(preset: str, foregrounds: int, each: int, composites: int) -> None:
    settings = Settings(PRESETS[preset].per_foreground, PRESETS[preset].foregrounds)

    planned = plan(pairs(foregrounds + 3), pictures(composites), settings)

    assert len(planned) == composites
    assert len({composite.name for composite in planned}) == composites
    assert len({composite.background for composite in planned}) == composites  # none comes twice
    by_foreground = Counter(composite.foreground["cutout"] for composite in planned)
    assert len(by_foreground) == foregrounds
    assert set(by_foreground.values()) == {each}


def test_too_few_foregrounds_for_a_preset_are_counted() -> None:
    with pytest.raises(DataError, match=r"355 foregrounds .* 100 backgrounds, .* only 12\."):
        plan(pairs(12), pictures(10), Settings(100, 355))


@pytest.mark.parametrize(("foregrounds", "backgrounds"), [(0, 3), (3, 0), (0, 0)])
def test_nothing_cannot_be_planned(foregrounds: int, backgrounds: int) -> None:
    with pytest.raises(DataError, match=f"{foregrounds} foregrounds and {backgrounds} backgrounds"):
        plan(pairs(foregrounds), pictures(backgrounds), Settings(1))


@pytest.mark.parametrize(("stock", "each"), [(7, 5), (5, 5), (6, 4), (100, 9)])
def test_no_background_comes_twice_over_one_foreground(stock: int, each: int) -> None:
    planned = plan(pairs(10), pictures(stock), Settings(each))
    for start in range(0, len(planned), each):
        assert len({composite.background for composite in planned[start : start + each]}) == each
    uses = Counter(composite.background for composite in planned)
    assert max(uses.values()) - min(uses.get(path, 0) for path in pictures(stock)) <= 1


def test_a_plan_follows_its_seed_and_nothing_else() -> None:
    first = plan(pairs(5), pictures(50), Settings(4, seed=3))
    assert plan(pairs(5)[::-1], pictures(50), Settings(4, seed=3)) == first
    assert plan(pairs(9), pictures(50), Settings(4, 5, seed=3)) == first  # the first five by name
    other = plan(pairs(5), pictures(50), Settings(4, seed=4))
    assert [each.background for each in other] != [each.background for each in first]
    assert not {each.seed for each in other} & {each.seed for each in first}


def test_names_with_folders_are_file_names() -> None:
    files: Any = {"cutout": Path("a.png")}
    planned = plan([Pair("set/a", files), Pair("a", files)], pictures(40), Settings(20))
    assert [planned[0].name, planned[19].name, planned[20].name] == ["a_00", "a_19", "set__a_00"]


@pytest.mark.parametrize("names", [("a/b", "a__b"), ("Cat", "cat")])
def test_two_foregrounds_of_one_name_are_an_error(names: tuple[str, str]) -> None:
    with pytest.raises(DataError, match="Several foregrounds have the name"):
        plan([Pair(name, {"cutout": Path("a.png")}) for name in names], pictures(4), Settings(2))


@pytest.mark.parametrize(
    ("size", "low", "high"), [((1000, 1000), 2, 20), ((6000, 5000), 11, 110), ((9, 9), 1, 1)]
)
def test_radii_grow_with_the_picture_and_use_their_range(size: tuple[int, int], low: int, high: int) -> None:
    drawn = [radii_of(seed, size, (2, 20)) for seed in range(3000)]
    for side in zip(*drawn, strict=True):
        assert (min(side), max(side)) == (low, high)
    if high > 1:
        assert abs(np.corrcoef(np.array(drawn).T)[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"per_foreground": 0}, "at least 1 foreground and 1 background"),
        ({"foregrounds": 0}, "at least 1 foreground and 1 background"),
        ({"radii_px": (0, 5)}, "not from 0 to 5"),
        ({"radii_px": (9, 5)}, "not from 9 to 5"),
        ({"crop": "left"}, '"centre" or "random", not "left"'),
        ({"merged_format": "gif"}, '"png" or "jpeg", not "gif"'),
        ({"bits": 12}, "8 or 16 bits per channel, not 12"),
        ({"merged_format": "jpeg", "bits": 16}, "JPEG holds 8 bits"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        Settings(**{"per_foreground": 2, **settings})


def test_backgrounds_are_found_in_every_folder_but_hidden_ones(tmp_path: Path) -> None:
    folder = tmp_path / "backgrounds"
    for name in ("b.JPG", "a/c/d.png", "a/e.tif", "notes.txt", ".thumbs/f.png", ".g.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = [path.relative_to(folder).as_posix() for path in background_files(folder)]
    assert found == ["a/c/d.png", "a/e.tif", "b.JPG"]


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_backgrounds_behind_links_are_found(tmp_path: Path) -> None:
    elsewhere, folder = tmp_path / "elsewhere", tmp_path / "backgrounds"
    for path in (elsewhere / "h.png", folder / "a.png"):
        path.parent.mkdir()
        path.touch()
    (folder / "z").symlink_to(elsewhere)
    (folder / "gone.png").symlink_to(tmp_path / "nothing.png")
    assert background_files(folder) == (folder / "a.png", folder / "z" / "h.png")


def test_a_folder_without_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="There are no pictures in"):
        background_files(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        background_files(tmp_path / "nothere")


def test_the_same_settings_give_the_same_bytes(tmp_path: Path, make: Build) -> None:
    assert make(tmp_path / "one") == Built(12, 12, 0, {})
    make(tmp_path / "two")

    first = tree(tmp_path / "one")
    assert tree(tmp_path / "two") == first
    assert len(first) == 3 * 12 + 1
    make(tmp_path / "three", seed=1)
    assert tree(tmp_path / "three")["merged/ant_0.png"] != first["merged/ant_0.png"]


def test_processes_give_the_same_bytes(tmp_path: Path, make: Build) -> None:
    make(tmp_path / "one")
    make(tmp_path / "two", jobs=2)
    assert tree(tmp_path / "two") == tree(tmp_path / "one")


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("crop", ["centre", "random"])
def test_composites_are_what_the_manifest_says(
    tmp_path: Path, inputs: tuple[Path, Path], make: Build, bits: int, crop: str
) -> None:
    output = tmp_path / "out"
    make(output, bits=bits, crop=crop)

    header, records = manifest_of(output)
    assert header["settings"]["bits"] == bits
    assert (header["foregrounds"], header["backgrounds"], header["composites"]) == (3, 12, 12)
    assert [record["name"] for record in records] == [
        f"{name}_{index}" for name in NAMES for index in range(4)
    ]
    top = 2**bits - 1
    for record in records:
        told = record["outputs"]
        merged, trimap, alpha = (
            cv2.imread(str(output / told[folder]["file"]), cv2.IMREAD_UNCHANGED) for folder in FOLDERS
        )
        for entry in told.values():
            data = (output / entry["file"]).read_bytes()
            assert entry["bytes"] == len(data)
            assert entry["sha256"] == hashlib.sha256(data).hexdigest()
        assert merged.dtype == alpha.dtype == (np.uint8 if bits == 8 else np.uint16)
        assert alpha.shape == trimap.shape == merged.shape[:2]
        assert alpha.shape == (record["size"]["height"], record["size"]["width"])

        cutout = cv2.imread(str(inputs[0] / record["foreground"]["cutout"]), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(alpha, cutout[..., 3] * (top / 255))
        background = cv2.imread(str(inputs[1] / record["background"]))
        scaled: Any = background.astype(merged.dtype) * merged.dtype.type(top // 255)
        behind = cover(scaled, Window(**record["background_window"]), alpha.shape)
        share = alpha[..., None] / top
        exact = share * cutout[..., :3] * (top / 255) + (1 - share) * behind
        assert np.abs(merged - exact).max() <= 0.5 + 1e-6

        radii = record["trimap_radii_px"]
        assert (radii["inner"], radii["outer"]) == radii_of(record["seed"], alpha.shape, (1, 22))
        assert set(np.unique(trimap)) <= {0, 128, 255}
        assert (alpha[trimap == 0] == 0).all()
        assert (alpha[trimap == 255] == top).all()


def test_jpeg_composites_have_lossless_alphas(tmp_path: Path, make: Build) -> None:
    make(tmp_path / "out", merged_format="jpeg")
    make(tmp_path / "png")

    jpeg = cv2.imread(str(tmp_path / "out/merged/ant_0.jpeg"))
    png = cv2.imread(str(tmp_path / "png/merged/ant_0.png"))
    assert np.abs(jpeg.astype(int) - png).mean() < 12
    for folder in ("trimaps", "alpha_copy"):
        assert tree(tmp_path / "out" / folder) == tree(tmp_path / "png" / folder)


def test_a_benchmark_is_a_data_set_that_pairs(tmp_path: Path, make: Build) -> None:
    make(tmp_path / "out", merged_format="jpeg")

    found = find_pairs(tmp_path / "out", "uhr-395")

    assert len(found.pairs) == 12
    assert set(found.pairs[0].files) == {"image", "alpha", "trimap"}
    assert not found.unpaired


def test_a_finished_benchmark_is_left_alone(tmp_path: Path, make: Build) -> None:
    output = tmp_path / "out"
    make(output)
    before = {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in output.glob("*/*")}

    assert make(output) == Built(12, 0, 12, {})
    assert {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in output.glob("*/*")} == before


@pytest.mark.parametrize("file", ["merged/bee_1.png", "trimaps/ant_0.png", "alpha_copy/cat_3.png"])
def test_a_missing_or_cut_file_is_made_again(tmp_path: Path, make: Build, file: str) -> None:
    output = tmp_path / "out"
    make(output)
    whole = tree(output)

    (output / file).unlink()
    assert make(output).made == 1
    assert tree(output) == whole
    (output / file).write_bytes(whole[file][:-1])
    assert make(output).made == 1
    assert tree(output) == whole


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from mematte.data.benchmark import Settings, build
    from mematte.data.layouts import find_pairs
    from mematte.image import write

    check, calls = write._check_written, []

    def killed(*arguments):
        check(*arguments)
        calls.append(arguments)
        if len(calls) == {count}:  # a file is complete beside its place
            os.kill(os.getpid(), signal.SIGKILL)

    write._check_written = killed
    foregrounds, backgrounds, output = map(Path, sys.argv[1:])
    build(output, find_pairs(foregrounds), backgrounds, Settings(4))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
@pytest.mark.parametrize("count", [1, 8, 18])
def test_killed_while_writing_it_goes_on_to_the_same_tree(
    tmp_path: Path, inputs: tuple[Path, Path], make: Build, count: int
) -> None:
    make(tmp_path / "undisturbed")
    output = tmp_path / "killed"
    program = textwrap.dedent(KILLED.format(count=count))
    process = subprocess.run([sys.executable, "-c", program, *map(str, (*inputs, output))], check=False)
    assert process.returncode == -signal.SIGKILL
    assert any(".partial-" in name for name in tree(output))
    assert len(manifest_of(output)[1]) == (count - 1) // 3  # three files each
    for folder in FOLDERS:  # what has its name is whole
        for path in (output / folder).glob("[!.]*"):
            assert path.read_bytes() == (tmp_path / "undisturbed" / folder / path.name).read_bytes()

    built = make(output)

    assert built == Built(12, 12 - (count - 1) // 3, (count - 1) // 3, {})
    assert tree(output) == tree(tmp_path / "undisturbed")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_parent_takes_its_processes_along(
    tmp_path: Path, inputs: tuple[Path, Path], make: Build
) -> None:
    output = tmp_path / "out"
    program = """
        import sys
        from pathlib import Path
        from mematte.data.benchmark import Settings, build
        from mematte.data.layouts import find_pairs

        def stop(part, share):
            import multiprocessing, os, signal
            print(*[child.pid for child in multiprocessing.active_children()], flush=True)
            os.kill(os.getpid(), signal.SIGKILL)

        if __name__ == "__main__":
            foregrounds, backgrounds, output = map(Path, sys.argv[1:])
            build(output, find_pairs(foregrounds), backgrounds, Settings(4), jobs=2, progress=stop)
    """
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(program))
    process = subprocess.run(
        [sys.executable, script, *inputs, output], stdout=subprocess.PIPE, text=True, check=False, timeout=60
    )
    assert process.returncode == -signal.SIGKILL
    children = [int(word) for word in process.stdout.split()]
    assert len(children) == 2
    deadline = time.monotonic() + 20
    while any(is_running(child) for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)

    assert make(output).kept >= 1
    make(tmp_path / "undisturbed")
    assert tree(output) == tree(tmp_path / "undisturbed")


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"  # nobody may be there to collect what is left of it


def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path, make: Build) -> None:
    output = tmp_path / "out"
    make(output)
    whole = tree(output)
    lines = whole["manifest.jsonl"].splitlines(keepends=True)
    (output / "manifest.jsonl").write_bytes(b"".join(lines[:4]) + lines[4][:60])

    assert make(output) == Built(12, 9, 3, {})
    assert tree(output) == whole


def test_bad_pictures_are_left_out_and_all_others_made(
    tmp_path: Path, inputs: tuple[Path, Path], make: Build
) -> None:
    make(tmp_path / "whole")
    bee, picture = inputs[0] / "bee.png", sorted(inputs[1].glob("more/*.png"))[0]
    good = bee.read_bytes(), picture.read_bytes()
    bee.write_bytes(good[0][:200])
    picture.write_bytes(b"no picture")
    lacking = {
        record["name"]
        for record in manifest_of(tmp_path / "whole")[1]
        if record["name"].startswith("bee") or record["background"] == f"more/{picture.name}"
    }

    for jobs in (1, 2):
        output = tmp_path / f"out{jobs}"
        built = make(output, jobs=jobs)

        assert sum(built.failures.values()) == len(lacking)
        assert built.made == 12 - len(lacking)
        assert (
            built.failures[next(reason for reason in built.failures if "bee.png is truncated" in reason)] == 4
        )
        assert {record["name"] for record in manifest_of(output)[1]}.isdisjoint(lacking)
    assert tree(tmp_path / "out1") == tree(tmp_path / "out2")

    bee.write_bytes(good[0])
    picture.write_bytes(good[1])
    assert make(output) == Built(12, len(lacking), 12 - len(lacking), {})
    assert tree(output) == tree(tmp_path / "whole")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"seed": 7}, "seed 0 there, 7 now"),
        ({"bits": 16}, "bits 8 there, 16 now"),
        ({"merged_format": "jpeg"}, 'merged_format "png" there, "jpeg" now'),
        ({"radii_px": (1, 9), "crop": "random"}, r"radii_px \[1, 22\] there, \[1, 9\] now; crop"),
        (
            {"per_foreground": 3},
            "out was made otherwise: per_foreground 4 there, 3 now; composites 12 there, 9 now",
        ),
    ],
)
def test_other_settings_do_not_go_on(
    tmp_path: Path, make: Build, settings: dict[str, Any], says: str
) -> None:
    make(tmp_path / "out")
    before = tree(tmp_path / "out")
    with pytest.raises(OutputError, match=says):
        make(tmp_path / "out", **settings)
    assert tree(tmp_path / "out") == before


def test_other_pictures_do_not_go_on(tmp_path: Path, inputs: tuple[Path, Path], make: Build) -> None:
    make(tmp_path / "out")
    (inputs[0] / "ant.png").rename(inputs[0] / "asp.png")
    with pytest.raises(OutputError, match="it was made from files of other names"):
        make(tmp_path / "out")
    (inputs[0] / "asp.png").rename(inputs[0] / "ant.png")
    (inputs[1] / "new.png").write_bytes((inputs[1] / "0.png").read_bytes())
    with pytest.raises(OutputError, match="backgrounds 12 there, 13 now"):
        make(tmp_path / "out")


def test_the_inputs_may_move(tmp_path: Path, inputs: tuple[Path, Path], make: Build) -> None:
    make(tmp_path / "out")
    moved = tmp_path / "moved"
    inputs[0].parent.rename(moved)
    built = build(
        tmp_path / "out", find_pairs(moved / "cutouts"), moved / "pictures", Settings(per_foreground=4)
    )
    assert built.kept == 12


@pytest.mark.parametrize("name", ["notes.txt", "merged/old.png"])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, make: Build, name: str) -> None:
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.touch()
    with pytest.raises(OutputError, match=rf"has no manifest\.jsonl.*{name.partition('/')[0]}"):
        make(tmp_path / "out")
    assert list(tree(tmp_path / "out")) == [name]


def test_a_stranger_among_the_pictures_is_refused(tmp_path: Path, make: Build) -> None:
    make(tmp_path / "out")
    (tmp_path / "out/trimaps/other.png").touch()
    with pytest.raises(OutputError, match=r"trimaps/other\.png does not belong there"):
        make(tmp_path / "out")


def test_an_empty_folder_is_used_and_hidden_files_are_not_minded(tmp_path: Path, make: Build) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/.DS_Store").touch()
    assert make(tmp_path / "out").made == 12
    (tmp_path / "out/merged/.DS_Store").touch()
    assert make(tmp_path / "out").kept == 12


def test_a_damaged_manifest_is_refused(tmp_path: Path, make: Build) -> None:
    make(tmp_path / "out")
    (tmp_path / "out/manifest.jsonl").write_text("{")
    with pytest.raises(OutputError, match=r"manifest\.jsonl is damaged"):
        make(tmp_path / "out")


def test_a_file_or_a_missing_place_is_refused(tmp_path: Path, make: Build) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="is a file"):
        make(tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written: No such file"):
        make(tmp_path / "no" / "where")


def test_inputs_and_output_lie_apart(inputs: tuple[Path, Path], make: Build) -> None:
    before = tree(inputs[0].parent)
    for output in (inputs[0], inputs[1], inputs[0] / "out", inputs[1] / "more" / "out", inputs[0].parent):
        with pytest.raises(OutputError, match="are one folder, or one lies in the other"):
            make(output)
    assert tree(inputs[0].parent) == before


def test_foregrounds_are_not_their_own_backgrounds(tmp_path: Path, inputs: tuple[Path, Path]) -> None:
    found = find_pairs(inputs[0])
    for backgrounds in (inputs[0], inputs[0].parent):
        with pytest.raises(DataError, match="lie among the backgrounds"):
            build(tmp_path / "out", found, backgrounds, Settings(2))


@pytest.mark.skipif(sys.platform == "win32", reason="links need rights there")
def test_links_do_not_make_backgrounds_of_foregrounds_or_of_what_is_written(
    tmp_path: Path, inputs: tuple[Path, Path]
) -> None:
    output = tmp_path / "out"
    for leads_to in (inputs[0], output):
        leads_to.mkdir(exist_ok=True)
        (leads_to / "b.png").touch()
        link = inputs[1] / "link"
        link.symlink_to(leads_to)
        with pytest.raises(DataError, match="which is no background"):
            build(output, find_pairs(inputs[0]), inputs[1], Settings(2))
        link.unlink()


@pytest.mark.parametrize(("each", "says"), [(5, "never behind one foreground"), (13, "even behind one")])
@pytest.mark.usefixtures("inputs")
def test_backgrounds_that_come_again_are_said(
    tmp_path: Path, make: Build, monkeypatch: pytest.MonkeyPatch, each: int, says: str
) -> None:
    monkeypatch.setattr(benchmark._Maker, "__call__", lambda *_: "not made")
    with pytest.warns(MatteWarning, match=f"{3 * each} composites have 12 backgrounds: .*{says}"):
        make(tmp_path / "out", per_foreground=each)


def test_progress_counts_what_was_there(tmp_path: Path, inputs: tuple[Path, Path], make: Build) -> None:
    output = tmp_path / "out"
    make(output)
    (output / "merged/cat_3.png").unlink()
    (output / "merged/cat_2.png").unlink()
    said: list[tuple[str, float]] = []

    build(output, find_pairs(inputs[0]), inputs[1], Settings(4), progress=lambda *part: said.append(part))

    assert said == [("11 of 12", 11 / 12), ("12 of 12", 1.0)]


def test_a_full_disk_stops_it_and_leaves_whole_files(
    tmp_path: Path, make: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "whole")
    write_picture, calls = benchmark.write_picture, []

    def full(*arguments: Any, **settings: Any) -> None:
        calls.append(arguments)
        if len(calls) == 3:
            raise OutputError("the disk is full")
        write_picture(*arguments, **settings)

    monkeypatch.setattr(benchmark, "write_picture", full)
    with pytest.raises(OutputError, match="the disk is full"):
        make(tmp_path / "out")
    monkeypatch.undo()
    assert len(manifest_of(tmp_path / "out")[1]) == 2

    assert make(tmp_path / "out").made == 10
    assert tree(tmp_path / "out") == tree(tmp_path / "whole")


def test_the_files_of_a_composite_have_one_name() -> None:
    assert outputs_of("cat_07", "jpeg") == {
        "merged": "merged/cat_07.jpeg",
        "trimaps": "trimaps/cat_07.png",
        "alpha_copy": "alpha_copy/cat_07.png",
    }


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getrusage to ask for peak memory")
def test_memory_grows_by_few_bytes_per_pixel(tmp_path: Path) -> None:
    """30 megapixels take 0.95 GB so, 1.25 GB with 16 bits (measured); a float64 composite alone is 0.7 GB."""
    (tmp_path / "in").mkdir()
    (tmp_path / "pictures").mkdir()
    program = """
        import resource, sys
        from pathlib import Path
        from mematte.data.benchmark import Settings, build
        from mematte.data.layouts import find_pairs

        found, backgrounds = find_pairs(Path(sys.argv[1])), Path(sys.argv[2])
        build(Path(sys.argv[3]), found, backgrounds, Settings(1))
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    """
    unit = 1 if sys.platform == "darwin" else 1024
    assert cv2.imwrite(str(tmp_path / "pictures/b.png"), np.zeros((64, 64, 3), np.uint8))
    peaks = []
    for side in (256, 2560):
        picture = np.zeros((side, side, 4), np.uint8)
        picture[side // 4 : side // 2, side // 4 : side // 2] = 255
        assert cv2.imwrite(str(tmp_path / "in/a.png"), picture)
        arguments = [tmp_path / "in", tmp_path / "pictures", tmp_path / str(side)]
        said = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)],
            stdout=subprocess.PIPE, text=True, check=True,
        ).stdout  # fmt: skip
        peaks.append(int(said) * unit)
    assert (peaks[1] - peaks[0]) / (2560**2 - 256**2) < 40
