"""Cost: operations counted from the shape are those that the network does."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mematte.engine import Engine
from mematte.engine.cost import Rates, _keep, _kept, operations, rates
from mematte.engine.decode import decode, for_inference
from mematte.engine.plan import Job, Plan, make_plan, rows_of_tiles
from mematte.model import SMALL, TINY, MEMatte, ModelSpec, teacher
from mematte.model.router import everyone


@pytest.mark.parametrize("spec", [TINY, SMALL, teacher(TINY)])
def test_operations_are_those_that_pytorch_counts(spec) -> None:
    side = 448  # whole windows and one tile: nothing is padded, nothing decoded twice
    network = MEMatte(spec).eval()
    # PyTorch does not count its fused attention on CPUs.
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as encoder:
        network.backbone(torch.zeros(1, 4, side, side), everyone)
    plan = make_plan(Job((side, side), spec), 10**12, 0)
    counted = operations(plan, 1.0, 1.0)

    # When all attend nobody is refined, but the engine does not know that beforehand. Relative positions are
    # not counted: that they are added as further channels of a product is how, not what.
    tokens = (side // 16) ** 2
    refinement = spec.blocks.count("R") * tokens * (8 * spec.channels**2 + 100 * spec.channels)
    sides = [{"W": spec.window, "G": side // 16, "R": 0}[letter] for letter in spec.blocks]
    positions = sum(4 * spec.heads * tokens * side**3 for side in sides)
    assert counted.encode - refinement == pytest.approx(encoder.get_total_flops() - positions, rel=0.05)
    # The ends of a map, which are corrected, are not counted: the larger the picture, the less they are.
    assert counted.decode == pytest.approx(decoding(spec, plan), rel=0.1)


def test_operations_of_tiles_are_those_that_pytorch_counts() -> None:
    plan = make_plan(Job((768, 640), TINY), 10**12, 0)
    tiled = replace(plan, pieces=replace(plan.pieces, tile_px=256))

    counted = operations(tiled, 1.0).decode

    # The ends of tiles, which are corrected, are not counted.
    assert counted == pytest.approx(decoding(TINY, tiled), rel=0.04)
    assert counted > 1.1 * operations(plan, 1.0).decode


def decoding(spec: ModelSpec, plan: Plan) -> int:
    """What PyTorch counts while everything is decoded."""
    decoder = for_inference(MEMatte(spec).decoder, spec)
    features, alpha = torch.zeros(*plan.grid, spec.channels), np.zeros(plan.job.size, np.float32)

    def read(rows: slice, columns: slice) -> Tensor:
        return torch.zeros(1, 4, rows.stop - rows.start, columns.stop - columns.start)

    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        for rows, tiles in rows_of_tiles(np.ones(plan.grid, np.bool_), plan):
            decode(decoder, features, read, tiles, plan, alpha[rows])
    return counter.get_total_flops()


def test_small_tiles_and_refining_twice_cost_more() -> None:
    job = Job((4000, 4000), SMALL)
    ample, tight = make_plan(job, 10**12, 0), make_plan(job, 220_000_000, 0)

    assert operations(tight, 0.2).decode > operations(ample, 0.2).decode
    assert operations(ample, 0.4).decode == pytest.approx(2 * operations(ample, 0.2).decode)


def test_a_rate_is_kept_and_a_damaged_cache_is_measured_again(weights, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setattr("mematte.engine.cost._measured", lambda _: Rates(2.0, 3.0))
    engine = Engine(weights, device="cpu", precision="float32")

    assert rates(engine) == Rates(2.0, 3.0)
    monkeypatch.setattr("mematte.engine.cost._measured", lambda _: Rates(5.0, 7.0))
    assert rates(engine) == Rates(2.0, 3.0)
    assert rates(engine, fresh=True) == rates(engine) == Rates(5.0, 7.0)
    (tmp_path / "mematte" / "rates.json").write_text("[1, 2")
    monkeypatch.setattr("mematte.engine.cost._measured", lambda _: Rates(11.0, 13.0))
    assert rates(engine) == Rates(11.0, 13.0)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path) -> None:
    (tmp_path / "file").write_text("")

    _keep(tmp_path / "file" / "rates.json", {"one": (1.0, 2.0)})

    assert _kept(tmp_path / "file" / "rates.json") == {}


def test_seconds_are_operations_over_rates() -> None:
    plan = make_plan(Job((1000, 1000), TINY), 10**12, 0)
    counted = operations(plan, 1.0)

    assert Rates(counted.encode / 2, counted.decode / 3).seconds(counted) == pytest.approx(5.0)
