"""The engine: any size, tiled equal to whole, known pixels exact, nothing else in silence."""

import copy
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mematte.engine import Engine, Matte
from mematte.engine.device import allocating_at_most, choose_precision
from mematte.engine.encode import encode
from mematte.engine.memory import total_bytes
from mematte.engine.plan import Plan, make_plan, rows_of_tiles
from mematte.errors import (
    BudgetError,
    DeviceError,
    ImageFileError,
    InputError,
    SizeMismatchError,
    TrimapError,
    WeightsError,
)
from mematte.image import write_alpha
from mematte.model import TINY, teacher, within_budget
from mematte.weights import Weights, build

from .conftest import random_weights


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def banded_trimap(height: int, width: int) -> np.ndarray:
    """Background on the left, foreground on the right, an unknown band between that reaches both edges."""
    levels = np.full((height, width), 128, np.uint8)
    levels[:, : width // 3] = 0
    levels[:, -(width // 3) or width :] = 255
    return levels


def in_one_piece(weights, image: np.ndarray, trimap: np.ndarray, budget: int = 10**9) -> np.ndarray:
    """The oracle: the plain network in float32 on the normalised image."""
    mean, std = (torch.tensor(v) for v in (weights.preprocessing.mean, weights.preprocessing.std))
    rgb = (torch.from_numpy(image).float() / 255 - mean) / std
    levels = torch.from_numpy(np.where(trimap == 128, 0.5, trimap / 255).astype(np.float32))
    inputs = torch.cat((rgb, levels[..., None]), dim=-1).permute(2, 0, 1)[None]
    with torch.inference_mode():
        matting = build(weights)(inputs, partial(within_budget, budget=budget))
    return matting.alpha[0, 0].numpy()


@pytest.mark.parametrize(
    "size",
    [(1, 1), (1, 40), (15, 15), (16, 16), (17, 31), (33, 100), (223, 225), (250, 130), (20, 1500), (1500, 9)],
)
def test_an_engine_gives_what_the_network_gives_in_one_piece(engine, weights, size) -> None:
    image, trimap = picture(*size), np.full(size, 128, np.uint8)

    matte = engine(image, trimap)

    assert matte.alpha.dtype == np.float32
    assert np.abs(matte.alpha - in_one_piece(weights, image, trimap)).max() < 1e-5


@pytest.mark.parametrize("tile_px", [16, 64, 112])
@pytest.mark.parametrize("strip_values", [1, 40_000])
def test_tiled_equals_whole(engine, weights, tile_px, strip_values, monkeypatch) -> None:
    image, trimap = picture(230, 310), banded_trimap(230, 310)
    cut_into(monkeypatch, tile_px=tile_px, strip_values=strip_values)

    alpha = engine(image, trimap).alpha

    unknown = trimap == 128
    assert np.abs(alpha - in_one_piece(weights, image, trimap))[unknown].max() < 1e-5


def cut_into(monkeypatch, **pieces: object) -> None:
    """From now on engines cut their work into these pieces."""

    def planned(*arguments: Any) -> Plan:
        plan = make_plan(*arguments)
        return replace(plan, pieces=replace(plan.pieces, **pieces))

    monkeypatch.setattr("mematte.engine.run.make_plan", planned)


def test_known_pixels_are_exactly_0_and_1(engine) -> None:
    trimap = banded_trimap(100, 120)

    alpha = engine(picture(100, 120), trimap).alpha

    assert (alpha[trimap == 0] == 0).all()
    assert (alpha[trimap == 255] == 1).all()
    assert 0 < alpha[trimap == 128].mean() < 1


def test_only_tiles_with_unknown_pixels_are_decoded(engine, monkeypatch) -> None:
    trimap = np.zeros((400, 400), np.uint8)
    trimap[350:380, 300:330] = 128
    trimap[360:370, 310:320] = 255
    decoded = []

    def watched(*arguments: Any) -> Any:
        for rows, tiles in rows_of_tiles(*arguments):
            decoded.extend(tiles)
            yield rows, tiles

    monkeypatch.setattr("mematte.engine.run.rows_of_tiles", watched)

    engine(picture(400, 400), trimap)

    assert [(tile.core[0].start, tile.core[0].stop) for tile in decoded] == [(336, 384)]


@pytest.mark.parametrize("budget", [0, 5, 17])
def test_at_most_so_many_tokens_attend_as_the_cap_says(weights, budget) -> None:
    image, trimap = picture(128, 160), np.full((128, 160), 128, np.uint8)

    matte = Engine(weights, device="cpu", precision="float32", max_global_tokens=budget)(image, trimap)

    assert len(matte.routings) == 4
    for routing in matte.routings:
        assert routing.attend.shape == (8, 10)
        assert routing.attend.sum() == min(budget, routing.asked)
    assert np.abs(matte.alpha - in_one_piece(weights, image, trimap, budget)).max() < 1e-5


def test_bfloat16_stays_near_float32_where_the_decisions_agree(weights) -> None:
    image, trimap = picture(128, 160), np.full((128, 160), 128, np.uint8)

    # A network of noise has many near ties; with nobody attending there is nothing to decide.
    half, single = (
        Engine(weights, device="cpu", precision=precision, max_global_tokens=0)(image, trimap)
        for precision in ("bfloat16", "float32")
    )

    assert half.report.precision == "bfloat16"
    assert 0 < np.abs(half.alpha - single.alpha).max() < 2e-2


def test_bfloat16_routes_nearly_as_float32_does(weights, engine) -> None:
    image, trimap = picture(128, 160), np.full((128, 160), 128, np.uint8)

    half = Engine(weights, device="cpu", precision="bfloat16")(image, trimap)

    single = engine(image, trimap)
    for ours, theirs in zip(half.routings, single.routings, strict=True):
        assert (ours.attend == theirs.attend).mean() > 0.9
    assert np.abs(half.alpha - single.alpha).mean() < 5e-3


def test_a_teacher_runs_in_the_same_engine() -> None:
    weights = random_weights(teacher(TINY))
    image, trimap = picture(100, 90), np.full((100, 90), 128, np.uint8)

    matte = Engine(weights, device="cpu", precision="float32")(image, trimap)

    assert matte.routings == ()
    assert np.abs(matte.alpha - in_one_piece(weights, image, trimap)).max() < 1e-5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_arrays_of_every_depth_give_the_same_matte_and_stay_as_they_were(engine, dtype) -> None:
    eight_bit, trimap = picture(48, 64), banded_trimap(48, 64)
    image = {"uint8": eight_bit, "uint16": eight_bit.astype(np.uint16) * 257}.get(
        dtype, (eight_bit / 255).astype(np.float32)
    )
    before = image.copy(), trimap.copy()

    alpha = engine(image, trimap).alpha

    assert np.abs(alpha - engine(eight_bit, trimap).alpha).max() < 1e-5
    assert (image == before[0]).all()
    assert (trimap == before[1]).all()


def test_the_report_says_what_was_done(engine) -> None:
    report = engine(picture(48, 70), banded_trimap(48, 70)).report

    assert (report.device, report.precision, report.network) == ("cpu", "float32", "WWRWWRWWRWWR")
    assert (report.size, report.padded, report.tokens) == ((48, 70), (64, 96), 24)
    assert set(report.seconds) == {"encode", "decode"}
    assert report.peak_bytes > 10_000_000
    assert report.unknown_share == pytest.approx((banded_trimap(48, 70) == 128).mean())


def test_progress_runs_from_encoding_to_the_last_tile(engine) -> None:
    heard = []

    engine(picture(48, 64), banded_trimap(48, 64), progress=lambda stage, share: heard.append((stage, share)))

    assert heard[0] == ("encode", 0)
    assert heard[-1] == ("decode", 1)


def test_missing_foreground_and_background_are_warnings(engine) -> None:
    warnings = engine(picture(40, 40), np.full((40, 40), 128, np.uint8)).report.warnings

    assert [warning.split(":")[0] for warning in warnings] == [
        "The trimap has no foreground",
        "The trimap has no background",
    ]


@pytest.mark.parametrize(
    ("image", "trimap", "error", "message"),
    [
        (
            picture(40, 50),
            np.full((40, 51), 128, np.uint8),
            SizeMismatchError,
            "50x40 px, the trimap 51x40 px",
        ),
        (picture(40, 50), np.zeros((40, 50), np.uint8), TrimapError, "no unknown pixel"),
        (picture(40, 50).astype(np.int64), np.full((40, 50), 128, np.uint8), InputError, "int64"),
        (np.full((40, 50, 3), np.nan, np.float32), np.full((40, 50), 128, np.uint8), InputError, "NaN"),
        (picture(40, 50)[..., :2], np.full((40, 50), 128, np.uint8), InputError, "40x50x2"),
        (12, np.full((40, 50), 128, np.uint8), InputError, "int"),
    ],
)
def test_bad_input_is_refused_by_name(engine, image, trimap, error, message) -> None:
    with pytest.raises(error, match=message):
        engine(image, trimap)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"device": "cuda:99"}, DeviceError, "cuda:99"),
        ({"device": "toaster"}, DeviceError, "toaster"),
        ({"device": "meta"}, DeviceError, "cpu, cuda and mps"),
        ({"precision": "float8"}, DeviceError, "float8"),
        ({"device": "cpu", "precision": "float16"}, DeviceError, "bfloat16 or float32"),
        ({"max_global_tokens": -1}, InputError, "-1"),
        ({"max_global_tokens": 1.5}, InputError, "a whole number"),
        ({"max_global_tokens": True}, InputError, "a whole number"),
    ],
)
def test_what_is_not_there_is_an_error_and_not_something_else(weights, options, error, message) -> None:
    with pytest.raises(error, match=message):
        Engine(weights, **options)


def test_asking_for_a_gpu_that_is_not_there_is_an_error(weights, monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(DeviceError, match="--device cpu"):
        Engine(weights, device="cuda")


@pytest.mark.parametrize("device", ["GPU", "CPU"])
def test_memory_that_runs_out_is_an_error_that_says_what_to_do(engine, monkeypatch, device) -> None:
    def exhausted(*_: object) -> None:
        if device == "GPU":
            raise torch.OutOfMemoryError("too much")
        torch.empty(1 << 62, dtype=torch.uint8)

    monkeypatch.setattr("mematte.engine.run.encode", exhausted)

    with pytest.raises(DeviceError, match="ran out of memory on 50x40 px, also in 4 attempts with less"):
        engine(picture(40, 50), banded_trimap(40, 50))


def test_after_running_out_of_memory_it_is_tried_with_less_and_said(engine, weights, monkeypatch) -> None:
    image, trimap = picture(40, 50), banded_trimap(40, 50)
    budgets = []

    def exhausted_twice(backbone: Any, read: Any, plan: Plan, *rest: Any) -> Any:
        budgets.append(plan.memory - plan.base_bytes)
        if len(budgets) < 3:
            raise torch.OutOfMemoryError("too much")
        return encode(backbone, read, plan, *rest)

    monkeypatch.setattr("mematte.engine.run.encode", exhausted_twice)

    matte = engine(image, trimap)

    assert budgets == [budgets[0], budgets[0] // 2, budgets[0] // 2 // 2]
    assert [note.partition(";")[2][:12] for note in matte.report.notes] == [" tried again"] * 2
    assert np.abs(matte.alpha - in_one_piece(weights, image, trimap))[trimap == 128].max() < 1e-5


def test_a_cap_that_memory_lowered_is_a_warning_with_numbers(engine, monkeypatch) -> None:
    image, trimap = picture(128, 160), banded_trimap(128, 160)
    free = engine(image, trimap)

    cut_into(monkeypatch, max_global_tokens=5)  # as a plan does where more do not fit
    tight = engine(image, trimap)

    asked = max(routing.asked for routing in tight.routings)
    assert tight.report.max_global_tokens == 5 < asked
    assert any(f"{asked - 5:,} fewer than the routers asked for" in said for said in tight.report.warnings)
    assert not any("fewer" in said for said in free.report.warnings)


def test_a_cap_that_the_user_asked_for_is_no_warning(weights) -> None:
    capped = Engine(weights, device="cpu", precision="float32", max_global_tokens=5)

    assert not any(
        "fewer" in said for said in capped(picture(128, 160), banded_trimap(128, 160)).report.warnings
    )


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        ("10", "Write a unit"),
        ("-1GB", "no amount of memory"),
        ("many", "no amount of memory"),
        (-5, "above zero"),
        (True, 'a string such as "4GB"'),
        ("900TB", "more than the"),
    ],
)
def test_budgets_that_are_none_are_refused(weights, memory, message) -> None:
    with pytest.raises(InputError, match=message):
        Engine(weights, device="cpu", memory=memory)


def test_a_budget_is_told_of_the_picture_s_own_size(weights) -> None:
    with pytest.raises(
        BudgetError, match=r"200x300 px, shown at 2 times their size, do not fit into 1 MB.* --enlarge 1"
    ):
        Engine(weights, device="cpu", memory="1MB", enlarge=2)(picture(300, 200), banded_trimap(300, 200))


MANY_SIZES = """
import numpy as np, torch
import mematte
from mematte.engine.memory import release_freed_blocks, used_bytes

rng = np.random.default_rng(0)
engine = mematte.load("tiny", device="cpu", precision="float32", enlarge=1, memory="2GB")
taken = []
for number in range(48):
    height, width = rng.integers(300, 900, 2)
    levels = np.full((height, width), 255, np.uint8)
    levels[: height // 4, : width // 4] = 128
    engine(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), levels)
    release_freed_blocks()
    taken.append(used_bytes(torch.device("cpu")))
print((taken[-1] - taken[15]) // 10**6)
"""


def test_pictures_of_many_sizes_leave_little_behind() -> None:
    """What libraries keep of shapes that do not come again would fill any budget."""
    unset = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    done = subprocess.run(
        [sys.executable, "-c", MANY_SIZES], capture_output=True, text=True, check=True, env=environment
    )

    assert int(done.stdout) < 40


def test_threads_take_turns_within_a_budget(weights) -> None:
    engine = Engine(weights, device="cpu", memory=total_bytes(torch.device("cpu")))
    working = []

    def matte(number: int) -> None:
        def note(*_: object) -> None:
            working.append(number)
            time.sleep(0.01)  # long enough for the others to come between

        engine(picture(300, 200), banded_trimap(300, 200), progress=note)

    with ThreadPoolExecutor(3) as threads:
        list(threads.map(matte, range(3)))

    changes = sum(before != after for before, after in pairwise(working))
    assert len(working) > 3
    assert changes == 2, "each is done before the next one is planned"


def test_a_picture_that_does_not_fit_is_not_enlarged_before_it_is_refused(weights, monkeypatch) -> None:
    def resize(*_: object, **__: object) -> None:
        raise AssertionError("enlarged")

    monkeypatch.setattr("mematte.engine.scene.cv2.resize", resize)
    engine = Engine(weights, device="cpu", memory="1MB", enlarge=3)

    with pytest.raises(BudgetError):
        engine(picture(100, 200), banded_trimap(100, 200))


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, pickle.dumps])
def test_an_engine_is_not_copied(weights, duplicate) -> None:
    with pytest.raises(InputError, match="Load one in each process; threads may share one"):
        duplicate(Engine(weights, device="cpu"))


def test_a_budget_below_the_least_says_the_least_and_that_suffices(weights) -> None:
    image, trimap = picture(300, 200), banded_trimap(300, 200)

    with pytest.raises(
        BudgetError, match=r"200x300 px do not fit into 1 MB. The least is [\d,]+ MB"
    ) as raised:
        Engine(weights, device="cpu", memory="1MB")(image, trimap)

    enough = -(-raised.value.least // 10**7) * 10**7 + 30_000_000  # other tests' rubbish may come and go
    assert Engine(weights, device="cpu", memory=enough)(image, trimap).report.memory_bytes == enough


def test_an_error_that_is_not_about_memory_is_not_taken_for_one(engine, monkeypatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("memory of something else")

    monkeypatch.setattr("mematte.engine.run.encode", broken)

    with pytest.raises(RuntimeError, match="something else"):
        engine(picture(40, 50), banded_trimap(40, 50))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    ("precision", "tolerance"), [("float32", 2e-4), ("bfloat16", 2e-2), ("float16", 2e-2)]
)
def test_a_gpu_gives_what_the_cpu_gives(weights, precision, tolerance) -> None:
    image, trimap = picture(223, 310), banded_trimap(223, 310)
    # A network of noise has many near ties; in half precision nobody attends, so that there are none.
    cap = None if precision == "float32" else 0

    there, here = (
        Engine(weights, device=device, precision=dtype, max_global_tokens=cap)(image, trimap).alpha
        for device, dtype in (("cuda", precision), ("cpu", "float32"))
    )

    assert np.abs(there - here).max() < tolerance


@pytest.mark.parametrize(
    ("precision", "error", "message"),
    [("float32", WeightsError, "random computes NaN"), ("bfloat16", DeviceError, "--precision float32")],
)
def test_an_alpha_that_is_no_number_is_an_error(precision, error, message) -> None:
    weights = random_weights()
    state = {
        name: value * 0 - 1 if name.endswith("running_var") else value
        for name, value in weights.state.items()
    }
    engine = Engine(replace(weights, state=state), device="cpu", precision=precision)

    with pytest.raises(error, match=message):
        engine(picture(40, 50), banded_trimap(40, 50))


def test_an_engine_is_made_of_weights_and_not_of_their_name() -> None:
    with pytest.raises(InputError, match=r"not of 'tiny'. mematte.load\(\)"):
        Engine("tiny")


@pytest.mark.parametrize(("major", "dtype"), [(8, torch.bfloat16), (7, torch.float16)])
def test_auto_takes_bfloat16_where_that_gpu_computes_and_does_not_emulate_it(
    monkeypatch, major, dtype
) -> None:
    cards = {"cuda:0": 15 - major, "cuda:1": major}  # the current one is of the other kind
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda device: SimpleNamespace(major=cards[str(device)])
    )

    assert choose_precision("auto", torch.device("cuda:1")) == dtype


@pytest.mark.parametrize(
    "words",
    ["GET was unable to find an engine to execute this computation", "MPS backend out of memory (MPS"],
)
def test_what_libraries_call_memory_that_ran_out_is_tried_with_less(weights, monkeypatch, words) -> None:
    calls = []

    def once(*arguments: object, **more: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise RuntimeError(words)
        return encode(*arguments, **more)

    monkeypatch.setattr("mematte.engine.run.encode", once)

    report = Engine(weights, device="cpu")(picture(40, 50), banded_trimap(40, 50)).report

    assert "tried again within" in report.notes[0]


def test_the_limit_of_pixels_can_be_lifted_and_lowered(engine, tmp_path) -> None:
    write_alpha(tmp_path / "photo.png", np.zeros((40, 50), np.float32))

    with pytest.raises(ImageFileError, match="50x40 px"):
        engine(tmp_path / "photo.png", banded_trimap(40, 50), max_pixels=1999)
    assert engine(tmp_path / "photo.png", banded_trimap(40, 50), max_pixels=2000).alpha.shape == (40, 50)


def test_small_pictures_are_shown_larger_where_the_weights_ask_for_it(weights) -> None:
    image, trimap = picture(60, 80), banded_trimap(60, 80)
    asking = replace(weights, enlarge_below=5000)

    twice = Engine(asking, device="cpu", precision="float32")
    once = Engine(asking, device="cpu", precision="float32", enlarge=1)

    matte = twice(image, trimap)
    assert (matte.report.enlarged, matte.report.size, matte.report.padded) == (2, (60, 80), (128, 160))
    assert matte.alpha.shape == (60, 80)
    assert (matte.alpha[trimap == 0] == 0).all()
    assert (matte.alpha[trimap == 255] == 1).all()
    assert np.abs(matte.alpha - once(image, trimap).alpha).max() > 1e-4
    assert twice(picture(60, 90), banded_trimap(60, 90)).report.enlarged == 1  # 5,400 pixels
    assert once(image, trimap).report.enlarged == 1


@pytest.mark.parametrize("factor", [2, 3])
def test_an_enlarged_matte_is_the_mean_of_what_the_network_sees(weights, factor) -> None:
    image, trimap = picture(40, 50), np.full((40, 50), 128, np.uint8)
    size = (factor * 50, factor * 40)
    large = cv2.resize(image / np.float32(255), size, interpolation=cv2.INTER_CUBIC).clip(0, 1)

    matte = Engine(weights, device="cpu", precision="float32", enlarge=factor)(image, trimap)

    seen = in_one_piece(weights, 255 * large, np.full((factor * 40, factor * 50), 128, np.uint8))
    parts = [seen[down::factor, right::factor] for down in range(factor) for right in range(factor)]
    means = sum(parts) / factor**2
    assert matte.report.unknown_share == 1
    assert np.abs(matte.alpha - means).max() < 1e-5


def test_windows_near_the_unknown_region_are_computed_where_the_weights_ask_for_it(weights) -> None:
    image, trimap = picture(100, 1400), np.full((100, 1400), 255, np.uint8)
    trimap[:, 500:600] = 128
    asking = replace(weights, windows="unknown", enlarge_below=140_001)

    def run(of: Weights, **options: Any) -> Matte:
        return Engine(of, device="cpu", precision="float32", **options)(image, trimap)

    whole, asked = run(weights), run(weights, windows="unknown")

    # Columns 31 to 37 of tokens are unknown: in the third window, and within 7 of the second and the fourth.
    assert asked.report.tokens == whole.report.tokens == whole.report.computed_tokens == 8 * 88
    assert asked.report.computed_tokens == 8 * 3 * 14
    assert whole.routings[0].left_out is None
    assert asked.routings[0].left_out is not None
    assert asked.routings[0].left_out.all(axis=0).nonzero()[0].tolist() == [*range(14), *range(56, 88)]
    assert not (asked.routings[0].left_out & asked.routings[0].attend).any()
    assert np.abs(asked.alpha - whole.alpha).max() > 0
    assert np.array_equal(run(asking, enlarge=1).alpha, asked.alpha)
    assert np.array_equal(run(asking, enlarge=1, windows="all").alpha, whole.alpha)
    enlarged = run(asking)
    assert enlarged.report.computed_tokens == enlarged.report.tokens == 14 * 176
    assert run(asking, windows="unknown").report.computed_tokens < enlarged.report.tokens


def test_near_the_unknown_region_nothing_depends_on_the_pieces(weights, monkeypatch) -> None:
    image, trimap = picture(500, 700), banded_trimap(500, 700)
    trimap[:400] = 0
    engine = Engine(weights, device="cpu", precision="float32", windows="unknown")
    expected = engine(image, trimap)

    cut_into(monkeypatch, tile_px=64, piece_tokens=49, second_map=False)

    assert expected.report.computed_tokens < expected.report.tokens
    assert np.abs(engine(image, trimap).alpha - expected.alpha).max() < 1e-5


def test_with_everything_unknown_every_window_is_computed(engine, weights) -> None:
    image, trimap = picture(250, 300), np.full((250, 300), 128, np.uint8)
    near = Engine(weights, device="cpu", precision="float32", windows="unknown")

    assert np.abs(near(image, trimap).alpha - engine(image, trimap).alpha).max() < 1e-5


def test_who_attends_to_every_token_leaves_no_window_out() -> None:
    every = random_weights(teacher(TINY))

    with pytest.raises(
        InputError, match=r"all tokens attend to all others \(blocks WWGWWG.*no window can be left"
    ):
        Engine(every, device="cpu", windows="unknown")
    assert Engine(replace(every, windows="unknown"), device="cpu").windows_of() == "all"


def test_only_all_and_unknown_are_windows(weights) -> None:
    with pytest.raises(InputError, match='"auto", "all" or "unknown", not \'some\''):
        Engine(weights, device="cpu", windows="some")


def test_only_1_2_and_3_are_enlargements(weights) -> None:
    with pytest.raises(InputError, match='"auto", 1, 2 or 3'):
        Engine(weights, device="cpu", enlarge=4)


@pytest.mark.parametrize(("name", "first", "kept"), [("cuda", 0.9, 0.9), ("cuda:1", 2.3e8, 1.0)])
def test_a_gpu_is_asked_for_no_more_than_planned_and_a_smaller_limit_stays(
    monkeypatch, name, first, kept
) -> None:
    limits = [first]

    def numbered(device: torch.device) -> None:  # as PyTorch is, where it is about a device's limit
        assert device.index == 1, f"Expected a torch.device with a specified index, but got {device}"

    def limit(device: torch.device) -> float:
        numbered(device)
        return limits[-1]

    def set_limit(fraction: float, device: torch.device) -> None:
        numbered(device)
        assert 0 <= fraction <= 1
        limits.append(fraction)

    for function, answer in {
        "current_device": lambda: 1,
        "get_per_process_memory_fraction": limit,
        "set_per_process_memory_fraction": set_limit,
        "get_device_properties": lambda _: SimpleNamespace(total_memory=1000),
        "memory_stats_as_nested_dict": lambda _: {"reserved_bytes": {"all": {"current": 100}}},
    }.items():
        monkeypatch.setattr(torch.cuda, function, answer, raising=False)

    with pytest.raises(KeyError), allocating_at_most(torch.device(name), 300):
        raise KeyError
    with allocating_at_most(torch.device(name), 5000):
        pass

    assert limits == [first, 0.4, kept, kept, kept]


def test_the_result_does_not_depend_on_how_many_look_at_once(weights, engine, monkeypatch) -> None:
    image, trimap = picture(300, 260), banded_trimap(300, 260)
    expected = engine(image, trimap).alpha
    monkeypatch.setattr("mematte.engine.plan._SCORES", (1 << 10,))

    there = Engine(weights, device="cpu", precision="float32")
    monkeypatch.setattr(
        there, "job", lambda *args, **more: replace(engine.job(*args, **more), makes_scores=True)
    )

    assert np.abs(there(image, trimap).alpha - expected).max() < 1e-5


def test_callers_settings_of_pytorch_change_nothing(weights, engine) -> None:
    image, trimap = picture(40, 50), banded_trimap(40, 50)
    expected = engine(image, trimap).alpha

    with torch.autocast("cpu", torch.bfloat16):
        assert np.array_equal(engine(image, trimap).alpha, expected)
    with torch.device("meta"):
        assert np.array_equal(engine(image, trimap).alpha, expected)
        assert np.array_equal(
            Engine(weights, device="cpu", precision="float32")(image, trimap).alpha, expected
        )
    torch.set_default_dtype(torch.float64)
    try:
        assert np.array_equal(engine(image, trimap).alpha, expected)
        assert np.array_equal(
            Engine(weights, device="cpu", precision="float32")(image, trimap).alpha, expected
        )
    finally:
        torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("enlarge", [2.0, True, "2"])
def test_an_enlargement_is_a_whole_number(weights, enlarge) -> None:
    with pytest.raises(InputError, match='"auto", 1, 2 or 3'):
        Engine(weights, device="cpu", enlarge=enlarge)


def test_colours_leave_pytorchs_threads_as_they_were(engine) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _ = engine(picture(40, 50), banded_trimap(40, 50)).foreground
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
