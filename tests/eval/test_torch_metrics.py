"""The TorchMetrics against `score`, picture by picture, in one process and in two."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from dataclasses import asdict
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchmetrics import MetricCollection

import mematte.metrics
from mematte.errors import InputError
from mematte.eval.metrics import Scores, conn_counting_background, eight_bit, score
from mematte.metrics import MAD, MSE, SAD, Conn, Grad, MattingMetrics

EXACT = 1e-9
SINGLE = {"sad": SAD, "mse": MSE, "mad": MAD, "grad": Grad, "conn": Conn}


def batch(seed: int, pictures: int = 3, height: int = 20, width: int = 24) -> tuple[Tensor, Tensor, Tensor]:
    """(B, 1, H, W) float32 mattes and truths, uint8 trimaps with all three levels."""
    rng = np.random.default_rng(seed)
    truth = np.kron(rng.random((pictures, 1, height // 4, width // 4)), np.ones((1, 1, 4, 4)))
    alpha = np.clip(truth + rng.normal(0, 0.2, truth.shape), 0, 1)
    trimap = rng.choice(np.array([0, 128, 128, 255], dtype=np.uint8), truth.shape)
    return (
        torch.tensor(alpha, dtype=torch.float32),
        torch.tensor(truth, dtype=torch.float32),
        torch.tensor(trimap),
    )


def scores_of(*batches: tuple[Tensor, Tensor, Tensor], bits: bool = True, **options: Any) -> list[Scores]:
    """The oracle: `score` of every picture by itself."""
    return [
        score(eight_bit(alpha.numpy()) if bits else alpha.numpy(), truth.numpy(), trimap.numpy(), **options)
        for one in batches
        for alpha, truth, trimap in zip(*(tensor[:, 0] for tensor in one), strict=True)
    ]


def mean(scores: list[Scores], name: str) -> float:
    return sum(getattr(one, name) for one in scores) / len(scores)


@pytest.mark.parametrize(
    ("region", "bits", "background"), list(product(["unknown", "whole"], [True, False], [True, False]))
)
def test_all_five_are_the_means_of_score_over_pictures(region: Any, bits: bool, background: bool) -> None:
    # Batches of unequal size: a mean over batches would be another.
    batches = [batch(0, 3), batch(1, 1)]
    metric = MattingMetrics(region=region, eight_bit=bits, count_background=background)
    for one in batches:
        metric.update(*one)

    expected = scores_of(*batches, bits=bits, region=region, count_background=background)

    found = metric.compute()
    assert set(found) == set(asdict(expected[0]))
    for name, value in found.items():
        assert value.item() == pytest.approx(mean(expected, name), abs=EXACT)


@pytest.mark.parametrize("name", SINGLE)
def test_each_metric_by_itself_is_its_part_of_all_five(name: str) -> None:
    metric = SINGLE[name](eight_bit=False, region="whole")

    first = metric(*batch(0, 2))
    metric.update(*batch(1, 3))

    assert first.item() == pytest.approx(
        mean(scores_of(batch(0, 2), bits=False, region="whole"), name), abs=EXACT
    )
    both = scores_of(batch(0, 2), batch(1, 3), bits=False, region="whole")
    assert metric.compute().item() == pytest.approx(mean(both, name), abs=EXACT)
    metric.reset()
    metric.update(*batch(2))
    alone = scores_of(batch(2), bits=False, region="whole")
    assert metric.compute().item() == pytest.approx(mean(alone, name), abs=EXACT)


def test_conn_counts_the_background_where_asked_to() -> None:
    truth = torch.zeros(1, 20, 20)
    truth[:, 8:12, 8:12] = 0.22
    alpha = (truth > 0) * 0.1
    trimap = torch.full((1, 20, 20), 128, dtype=torch.uint8)
    planes = [tensor[0].numpy() for tensor in (alpha, truth, trimap)]

    metric = Conn(count_background=True, eight_bit=False)
    metric.update(alpha, truth, trimap)

    assert metric.compute().item() == pytest.approx(conn_counting_background(*planes), abs=EXACT)
    assert metric.compute().item() > 0
    without = Conn(eight_bit=False)
    without.update(alpha, truth, trimap)
    assert without.compute().item() == 0


@pytest.mark.parametrize(
    "change",
    [
        lambda alpha, truth, trimap: (alpha[:, 0], truth[:, 0], trimap[:, 0]),
        lambda alpha, truth, trimap: ((alpha * 255).round().to(torch.uint8), truth, trimap),
        lambda alpha, truth, trimap: (alpha.clone().requires_grad_(), truth.double(), trimap),
        # A trimap as networks take it, 0 / 0.5 / 1, and as the published code has it at inference.
        lambda alpha, truth, trimap: (alpha, truth, (trimap.float() / 127.5).round() / 2),
        lambda alpha, truth, trimap: (alpha, truth, trimap.float() / 255),
        lambda alpha, truth, trimap: (alpha, truth, (trimap.float() / 255).bfloat16()),
    ],
    ids=["no channel", "8-bit", "gradient and float64", "halves", "128/255", "bfloat16"],
)
def test_a_batch_may_be_written_in_several_ways(change: Any) -> None:
    given = batch(4)
    copies = [tensor.clone() for tensor in given]
    metric = SAD()

    metric.update(*change(*given))

    assert metric.compute().item() == pytest.approx(mean(scores_of(given), "sad"), abs=EXACT)
    for tensor, copy in zip(given, copies, strict=True):
        assert torch.equal(tensor, copy)


def test_bfloat16_mattes_score_as_the_values_they_hold() -> None:
    alpha, truth, trimap = batch(5)
    rounded = alpha.bfloat16()
    metric = MattingMetrics(eight_bit=False)

    metric.update(rounded, truth, trimap)

    expected = scores_of((rounded.float(), truth, trimap), bits=False)
    assert metric.compute()["grad"].item() == pytest.approx(mean(expected, "grad"), abs=EXACT)


def test_a_collection_keeps_settings_apart_that_agree_on_the_first_batch() -> None:
    def make() -> dict[str, Any]:
        return {
            "unknown": SAD(),
            "whole": SAD(region="whole"),
            "unrounded": SAD(eight_bit=False),
            "mse": MSE(),
            "mad": MAD(),
            "conn": Conn(),
            "background": Conn(count_background=True),
        }

    truth, trimap = torch.ones(1, 1, 8, 8), torch.full((1, 1, 8, 8), 128, dtype=torch.uint8)
    collection, alone = MetricCollection(make()), make()
    for given in ((truth, truth, trimap), batch(6)):  # every error of the first is zero
        collection.update(*given)
        for metric in alone.values():
            metric.update(*given)

    assert collection.compute() == {name: metric.compute() for name, metric in alone.items()}
    assert len({value.item() for value in collection.compute().values()}) == len(alone)


def test_sums_are_in_float64_until_a_device_has_none() -> None:
    metric = MattingMetrics()
    metric.update(*batch(7))
    expected = {name: value.item() for name, value in metric.compute().items()}
    assert all(value.dtype == torch.float64 for value in metric.compute().values())
    metric.half()  # Lightning's precision is not the metrics'
    assert all(value.dtype == torch.float64 for value in metric.compute().values())

    def to_mps(tensor: Tensor) -> Tensor:
        if tensor.dtype == torch.float64:
            raise TypeError("Cannot convert a MPS Tensor to float64 dtype")
        return tensor

    metric._apply(to_mps)

    metric.update(*batch(7))
    for name, value in metric.compute().items():
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(expected[name], rel=1e-6)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_batch_on_a_gpu_scores_as_on_the_cpu() -> None:
    on_cpu, on_gpu = MattingMetrics(), MattingMetrics().to("cuda")

    on_cpu.update(*batch(9))
    on_gpu.update(*(tensor.to("cuda") for tensor in batch(9)))

    for name, value in on_gpu.compute().items():
        assert value.is_cuda
        assert value.item() == on_cpu.compute()[name].item()


# ---------------------------------------------------------------- several processes


def score_a_share(rank: int, store: str) -> dict[str, float]:
    """Rank 0 has three pictures in two batches, rank 1 has one; both get the means of all."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    metric = MattingMetrics(region="whole")
    for one in ([batch(0, 2), batch(1, 1)], [batch(2, 1)])[rank]:
        metric.update(*one)
    found = {name: value.item() for name, value in metric.compute().items()}
    torch.distributed.destroy_process_group()
    return found


def save_a_share(rank: int, store: str, file: Path) -> None:
    torch.save(score_a_share(rank, store), file)


def test_two_processes_give_the_mean_over_the_pictures_of_both(tmp_path: Path) -> None:
    store, file = str(tmp_path / "store"), tmp_path / "found.pt"
    other = multiprocessing.get_context("spawn").Process(target=save_a_share, args=(1, store, file))
    other.start()
    own = score_a_share(0, store)
    other.join(120)

    expected = scores_of(batch(0, 2), batch(1, 1), batch(2, 1), region="whole")
    for found in (own, torch.load(file)):
        assert found == {name: pytest.approx(mean(expected, name), abs=EXACT) for name in asdict(expected[0])}


# ---------------------------------------------------------------- errors

ALPHA, TRUTH, TRIMAP = batch(8, 2)
EMPTY = TRIMAP.clone()
EMPTY[1] = 255


@pytest.mark.parametrize(
    ("alpha", "truth", "trimap", "message"),
    [
        (ALPHA.numpy(), TRUTH, TRIMAP, "alpha must be a tensor, not ndarray"),
        (ALPHA[0, 0], TRUTH, TRIMAP, r"alpha must be \(pictures, 1, .* \(20, 24\)"),
        (ALPHA, TRUTH.repeat(1, 3, 1, 1), TRIMAP, r"truth must be .* \(2, 3, 20, 24\)"),
        (ALPHA, TRUTH[:1], TRIMAP, "2, 1 and 2"),
        (ALPHA, TRUTH[..., 1:], TRIMAP, r"Picture 0 of the batch: .*\(20, 24\), \(20, 23\)"),
        (ALPHA, TRUTH, EMPTY, "Picture 1 of the batch: The trimap .* no unknown pixel"),
        (ALPHA * 2, TRUTH, TRIMAP, r"Picture 0 of the batch: alpha must lie in \[0, 1\]"),
        (ALPHA, TRUTH, TRIMAP.long(), "trimap must be uint8 .* not int64"),
        (ALPHA, TRUTH, TRIMAP / 510, r"0, 0.5 and 1; it also holds 0\.\d+"),
        (ALPHA, TRUTH, TRIMAP * torch.nan, "0, 0.5 and 1; it also holds nan"),
    ],
)
def test_bad_batches_are_refused_and_leave_the_sums_alone(
    alpha: Any, truth: Any, trimap: Any, message: str
) -> None:
    metric = SAD()
    metric.update(*batch(0))
    before = metric.compute()

    with pytest.raises(InputError, match=message):
        metric.update(alpha, truth, trimap)

    metric._computed = None
    assert metric.compute() == before


def test_a_region_that_does_not_exist_is_refused_at_once() -> None:
    with pytest.raises(InputError, match="not 'all'"):
        SAD(region="all")  # type: ignore[arg-type]


# ---------------------------------------------------------------- what an import brings


def test_the_functions_need_no_torch_and_no_engine() -> None:
    code = """
import sys, mematte.metrics, numpy as np
grey = np.full((4, 4), 128, np.uint8)
mematte.metrics.score(grey, grey, grey)
unwanted = ("torch", "torchmetrics", "lightning", "mematte.engine")
print([name for name in unwanted if name in sys.modules])
"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_without_torchmetrics_the_classes_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchmetrics", None)
    monkeypatch.delitem(sys.modules, "mematte.eval.torch_metrics")
    monkeypatch.delattr(mematte.metrics, "SAD")

    with pytest.raises(ModuleNotFoundError, match=r"pip install 'mematte\[train\]'"):
        _ = mematte.metrics.SAD


def test_every_public_name_is_there() -> None:
    for name in mematte.metrics.__all__:
        assert getattr(mematte.metrics, name) is not None
    with pytest.raises(AttributeError, match="psnr"):
        _ = mematte.metrics.psnr
