"""The executor: tiled equal to whole, within its memory and with less where it runs out, on any device."""

import copy
import os
import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mematte.engine import Engine
from mematte.engine.device import allocating_at_most, choose_precision
from mematte.engine.encode import encode
from mematte.engine.memory import total_bytes
from mematte.engine.plan import Plan, rows_of_tiles
from mematte.errors import (
    BudgetError,
    DeviceError,
    InputError,
    WeightsError,
)

from .conftest import banded_trimap, cut_into, in_one_piece, picture, random_weights


@pytest.mark.parametrize("tile_px", [16, 64, 112])
@pytest.mark.parametrize("strip_values", [1, 40_000])
def test_tiled_equals_whole(engine, weights, tile_px, strip_values, monkeypatch) -> None:
    image, trimap = picture(230, 310), banded_trimap(230, 310)
    cut_into(monkeypatch, tile_px=tile_px, strip_values=strip_values)

    alpha = engine(image, trimap).alpha

    unknown = trimap == 128
    assert np.abs(alpha - in_one_piece(weights, image, trimap))[unknown].max() < 1e-5


def test_only_tiles_with_unknown_pixels_are_decoded(engine, monkeypatch) -> None:
    trimap = np.zeros((400, 400), np.uint8)
    trimap[350:380, 300:330] = 128
    trimap[360:370, 310:320] = 255
    decoded = []

    def watched(*arguments: Any) -> Any:
        for rows, tiles in rows_of_tiles(*arguments):
            decoded.extend(tiles)
            yield rows, tiles

    monkeypatch.setattr("mematte.engine.execute.rows_of_tiles", watched)

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

    monkeypatch.setattr("mematte.engine.execute.encode", exhausted)

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

    monkeypatch.setattr("mematte.engine.execute.encode", exhausted_twice)

    matte = engine(image, trimap)

    assert budgets == [budgets[0], budgets[0] // 2, budgets[0] // 2 // 2]
    assert [note.partition(";")[2][:12] for note in matte.report.notes] == [" tried again"] * 2
    assert np.abs(matte.alpha - in_one_piece(weights, image, trimap))[trimap == 128].max() < 1e-5


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

    monkeypatch.setattr("mematte.engine.execute.encode", broken)

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

    monkeypatch.setattr("mematte.engine.execute.encode", once)

    report = Engine(weights, device="cpu")(picture(40, 50), banded_trimap(40, 50)).report

    assert "tried again within" in report.notes[0]


def test_near_the_unknown_region_nothing_depends_on_the_pieces(weights, monkeypatch) -> None:
    image, trimap = picture(500, 700), banded_trimap(500, 700)
    trimap[:400] = 0
    engine = Engine(weights, device="cpu", precision="float32", windows="unknown")
    expected = engine(image, trimap)

    cut_into(monkeypatch, tile_px=64, piece_tokens=49, second_map=False)

    assert expected.report.computed_tokens < expected.report.tokens
    assert np.abs(engine(image, trimap).alpha - expected.alpha).max() < 1e-5


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
