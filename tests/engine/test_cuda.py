"""The engine on a CUDA device: what the published code computes and what the CPU gives, within its budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mematte import load
from mematte.engine import Engine, Plan
from mematte.engine.scene import Scene
from mematte.errors import BudgetError
from mematte.image import UNKNOWN, Picture, Trimap
from mematte.model import SMALL, TINY, teacher
from mematte.model.router import Decide
from mematte.weights import Weights
from mematte.weights.convert import convert

from .conftest import banded_trimap, cut_into, picture, random_weights
from .test_narrow import disc

DEVICE = "cuda"
TOLERANCES = {"float32": 2e-4, "bfloat16": 2e-2, "float16": 2e-2}
FORCED_BIAS = {"s_none_global": (-50.0, 50.0), "s_all_global": (50.0, -50.0)}
CASES = [
    "s_plain",
    "s_odd_size",
    "s_capped",
    "s_none_global",
    "s_all_global",
    "s_whole",
    "b_plain",
    "vitmatte_s",
]

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    torch.cuda.empty_cache()


# ---------------------------------------------------------------- the published network


class AsPublished(Scene):
    """Shows the unknown level as the published code does, and leaves known pixels to the network."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        for table in (self._as_input, self._there[2]):
            table[UNKNOWN] = 128 / 255

    def settle(self, alpha: np.ndarray, rows: slice) -> None:
        pass


class RoutedAsPublished(Engine):
    """Lets those tokens attend that attend in the published code: half precision may tip near ties over."""

    published: list[Tensor]  # per routed block, (h, w)

    def decision(self, _plan: Plan) -> Decide:
        remaining = iter(self.published)
        return lambda log_probs: next(remaining).bool().flatten()[None].to(log_probs.device)


@pytest.fixture(scope="module")
def published(published_state: Callable[[str], dict[str, Tensor]]) -> Callable[[str], Weights]:
    """A case -> the weights that it was computed with."""

    @cache
    def converted(variant: str) -> Weights:
        found = convert(published_state(variant), variant)
        return Weights(found.spec, found.state, source=variant)

    return lambda case: with_bias(
        converted(case if case == "vitmatte_s" else f"mematte_{case[0]}"), FORCED_BIAS.get(case)
    )


def with_bias(weights: Weights, bias: tuple[float, float] | None) -> Weights:
    """The last bias of all routers is this one."""
    if bias is not None:
        last = [name for name in weights.state if name.endswith("router.score.4.bias")]
        assert len(last) == 4
        weights = replace(weights, state=weights.state | dict.fromkeys(last, torch.tensor(bias)))
    return weights


def as_published(
    engine: Engine, expected: dict[str, Tensor], case: str
) -> tuple[np.ndarray, list[np.ndarray]]:
    """(H, W) alpha of every pixel, and who attended."""
    shown = "s_tiled" if case == "s_whole" else case
    photo = Picture(expected[f"{shown}.image"].permute(1, 2, 0).contiguous().numpy())
    trimap = Trimap(expected[f"{shown}.trimap"][0].numpy())
    plan = engine.plan(engine.job(photo.size))
    scene = AsPublished(photo, trimap, engine.preprocessing, engine.precision, engine.device)
    rows: list[np.ndarray] = []
    everything = np.ones(plan.grid, np.bool_)
    routings = engine.execute(plan, scene, everything, rows.append, {}, lambda *_: None)
    return np.concatenate(rows), [routing.attend for routing in routings]


@pytest.mark.parametrize("case", CASES)
def test_float32_agrees_with_the_published_code(
    published, parity_cases, parity_expected, monkeypatch, case
) -> None:
    cap = parity_cases[case].get("max_global_tokens")
    weights = published(case)
    engine = Engine(weights, device=DEVICE, precision="float32", max_global_tokens=cap)

    for tile_px, strip_values in ((2048, 1 << 30), (128, 40_000)):  # in one piece, and tiled
        cut_into(monkeypatch, tile_px=tile_px, strip_values=strip_values)
        alpha, attending = as_published(engine, parity_expected, case)

        theirs = parity_expected[f"{case}.alpha"][0].numpy()
        assert np.abs(alpha - theirs).max() < TOLERANCES["float32"], f"tiles of {tile_px} px"
        for index, ours in enumerate(attending):
            decided = parity_expected[f"{case}.router{index}.global"].bool().numpy()
            assert np.count_nonzero(ours != decided) <= 2, f"router {index} decides otherwise"  # a near tie


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("case", CASES)
def test_half_precision_stays_near_the_published_code(published, parity_expected, case, precision) -> None:
    engine = RoutedAsPublished(published(case), device=DEVICE, precision=precision)
    routers = engine.spec.blocks.count("R")
    engine.published = [parity_expected[f"{case}.router{index}.global"] for index in range(routers)]

    alpha, _ = as_published(engine, parity_expected, case)

    assert not np.isnan(alpha).any()
    assert np.abs(alpha - parity_expected[f"{case}.alpha"][0].numpy()).max() < TOLERANCES[precision]


# ---------------------------------------------------------------- the CPU


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 40), (15, 15), (17, 31), (33, 100), (223, 225), (250, 130), (20, 1500), (700, 900)]
)
def test_any_size_gives_what_the_cpu_gives(weights, engine, size) -> None:
    image, trimap = picture(*size), np.full(size, 128, np.uint8)

    alpha = Engine(weights, device=DEVICE, precision="float32")(image, trimap).alpha

    assert np.abs(alpha - engine(image, trimap).alpha).max() < TOLERANCES["float32"]


@pytest.mark.parametrize("dtype", ["uint16", "float32"])
def test_deep_pictures_give_what_the_cpu_gives(weights, engine, dtype) -> None:
    values, trimap = picture(90, 120) / np.float32(255), banded_trimap(90, 120)
    image = values if dtype == "float32" else np.rint(values * 65535).astype(np.uint16)

    alpha = Engine(weights, device=DEVICE, precision="float32")(image, trimap).alpha

    assert np.abs(alpha - engine(image, trimap).alpha).max() < TOLERANCES["float32"]


def test_near_the_unknown_region_it_gives_what_the_cpu_gives(weights) -> None:
    image, trimap = picture(500, 700), banded_trimap(500, 700)
    trimap[:400] = 0
    ours, cpu = (
        Engine(weights, device=device, precision="float32", windows="unknown")(image, trimap)
        for device in (DEVICE, "cpu")
    )

    assert ours.report.computed_tokens == cpu.report.computed_tokens < ours.report.tokens
    assert np.abs(ours.alpha - cpu.alpha).max() < TOLERANCES["float32"]


def test_a_teacher_gives_what_the_cpu_gives() -> None:
    weights = random_weights(teacher(TINY))
    image, trimap = picture(223, 310), banded_trimap(223, 310)

    there, here = (
        Engine(weights, device=device, precision="float32")(image, trimap).alpha for device in (DEVICE, "cpu")
    )

    assert np.abs(there - here).max() < TOLERANCES["float32"]


# ---------------------------------------------------------------- the plan


@pytest.mark.parametrize("spec", [TINY, teacher(TINY)], ids=lambda spec: spec.name)
@pytest.mark.parametrize("cap", [0, None])
def test_the_result_does_not_depend_on_the_plan(spec, cap, monkeypatch) -> None:
    image, trimap = picture(500, 620), banded_trimap(500, 620)
    engine = Engine(random_weights(spec), device=DEVICE, precision="float32", max_global_tokens=cap)
    whole = engine(image, trimap).alpha

    for pieces in (
        {"window_tokens": 196, "piece_tokens": 300, "scores": 1 << 18},
        {"tile_px": 64, "strip_values": 40_000},
        {"second_map": False},
    ):
        cut_into(monkeypatch, **pieces)
        assert np.abs(engine(image, trimap).alpha - whole).max() < TOLERANCES["float32"], pieces


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("spec", [TINY, SMALL, teacher(TINY)], ids=lambda spec: spec.name)
def test_the_peak_stays_within_the_budget(spec, precision) -> None:
    image, trimap = picture(1500, 1100), np.full((1500, 1100), 128, np.uint8)
    engine = Engine(random_weights(spec), device=DEVICE, precision=precision)
    engine(picture(64, 64), trimap[:64, :64])  # the first call allocates what the libraries keep
    engine.memory = 1
    with pytest.raises(BudgetError) as raised:
        engine(image, trimap)

    found = []
    for tightness in (1.0, 1.1, 1.5, 3.0, 20.0):
        engine.memory = int(tightness * raised.value.least) + 1_000_000  # what comes to stay may be rounded
        report = engine(image, trimap).report
        found.append((tightness, report.memory_bytes, report.planned_bytes, report.peak_bytes, report.notes))

    print(f"\n{spec.name} {precision}: tightness, budget, planned, peak, notes", *found, sep="\n  ")  # noqa: T201
    for _, budget, planned, peak, notes in found:
        assert peak <= budget
        assert planned <= budget
        assert not notes
        if precision != "float32":  # for exact float32 cuDNN works in as much memory as it gets
            assert peak <= planned


def test_what_a_call_took_is_free_afterwards(weights) -> None:
    engine = Engine(weights, device=DEVICE, precision="float32")

    def kept_after(height: int, width: int) -> int:
        engine(picture(height, width), banded_trimap(height, width))
        return torch.cuda.memory_allocated()

    before = kept_after(400, 500)  # what the libraries keep
    assert kept_after(410, 500) == before  # the grid is the same, the size is not
    recorded = kept_after(410, 500)
    assert before < recorded < before + 30_000_000
    assert kept_after(410, 500) == recorded
    assert kept_after(400, 500) == before


# ---------------------------------------------------------------- what is recorded


@pytest.mark.parametrize("spec", [TINY, teacher(TINY)], ids=lambda spec: spec.name)
@pytest.mark.parametrize("cap", [None, 20])
def test_what_is_played_again_gives_what_the_cpu_gives(spec, cap) -> None:
    weights = random_weights(spec)
    ours, cpu = (
        Engine(weights, device=device, precision="float32", max_global_tokens=cap)
        for device in (DEVICE, "cpu")
    )
    trimaps = [banded_trimap(300, 410), np.full((300, 410), 128, np.uint8)]
    for number in range(4):
        image, trimap = picture(300, 410, number), trimaps[number % 2]

        found, expected = ours(image, trimap), cpu(image, trimap)

        assert np.abs(found.alpha - expected.alpha).max() < TOLERANCES["float32"], number
        for mine, theirs in zip(found.routings, expected.routings, strict=True):
            assert np.count_nonzero(mine.attend != theirs.attend) <= 2, number  # a near tie
    assert ours._recorder._recording is not None


def test_a_recording_stays_within_the_budget_and_says_what_it_took(weights) -> None:
    image, trimap = picture(1000, 900), np.full((1000, 900), 128, np.uint8)
    engine = Engine(weights, device=DEVICE, precision="bfloat16")
    engine(picture(64, 64), trimap[:64, :64])  # the first call allocates what the libraries keep
    engine.memory = 1
    with pytest.raises(BudgetError) as raised:
        engine(image, trimap)
    engine.memory = int(1.3 * raised.value.least)

    reports = [engine(image, trimap).report for _ in range(4)]

    assert len({report.planned_bytes for report in reports}) == 1
    assert not any(report.notes for report in reports)
    assert reports[1].peak_bytes == reports[2].peak_bytes == reports[3].peak_bytes
    assert all(report.peak_bytes <= report.planned_bytes for report in reports)


def test_memory_that_runs_out_is_tried_with_less(weights) -> None:
    """For real: PyTorch is allowed less of the device than the plan believes."""
    image, trimap = picture(1500, 1500), np.full((1500, 1500), 128, np.uint8)
    there = Engine(weights, device=DEVICE, precision="float32")
    ample = there(image, trimap).report
    torch.cuda.empty_cache()
    takes = ample.peak_bytes - torch.cuda.memory_allocated()
    allowed = torch.cuda.memory_reserved() + int(0.6 * takes)
    there.memory = ample.planned_bytes
    torch.cuda.set_per_process_memory_fraction(allowed / torch.cuda.get_device_properties(0).total_memory)
    try:
        matte = there(image, trimap)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)

    assert matte.report.notes
    assert "tried again within" in matte.report.notes[0]
    assert np.isfinite(matte.alpha).all()


# ---------------------------------------------------------------- the user's settings


def test_settings_of_pytorch_are_as_they_were(weights) -> None:
    def settings() -> list[object]:
        return [
            torch.backends.cudnn.allow_tf32,
            torch.backends.cuda.matmul.allow_tf32,
            torch.backends.cuda.cudnn_sdp_enabled(),
        ]

    before = settings()

    Engine(weights, device=DEVICE, precision="float32")(picture(64, 64), banded_trimap(64, 64))

    assert settings() == before


def test_a_first_look_settles_what_it_does_on_the_cpu() -> None:
    image, levels = disc()

    ours, theirs = (
        load("tiny", device=device, precision="float32", enlarge=1, narrow="always")(image, levels)
        for device in (DEVICE, "cpu")
    )

    assert ours.report.first_reduced == theirs.report.first_reduced == 2
    assert ours.report.asked_share == pytest.approx(theirs.report.asked_share, abs=0.01)
    assert np.abs(ours.alpha - theirs.alpha).mean() < 1e-3
