"""A training run: it learns, stops on time, survives being killed, and ranks add up to one batch."""

import errno
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from mematte.data.crops import Crop
from mematte.model import ModelSpec
from mematte.train.batches import make_batch
from mematte.train.ranks import average_gradients, launch, mean_over_ranks, rank, ranks
from mematte.train.recipe import Phase, Recipe
from mematte.train.run import Run

SPEC = ModelSpec(
    "test", channels=32, heads=2, blocks="WR", detail_channels=(4, 6, 8), fusion_channels=(16, 8, 8, 8),
    head_channels=8, window=4,
)  # fmt: skip
RECIPE = Recipe(
    SPEC,
    hours=2 / 3600,
    phases=(Phase(0, ((64, 2, 1.0),)), Phase(0.5, ((96, 1, 1.0),))),
    learning_rate=3e-3,
    matrix_learning_rate=3e-3,
    warmup_steps=1,
)


class Discs:
    """A source of crops that needs no files: soft bright discs on darkness."""

    def sample(self, rng: np.random.Generator, size_px: int) -> Crop:
        y, x = np.mgrid[:size_px, :size_px] - rng.uniform(size_px / 3, size_px * 2 / 3, (2, 1, 1))
        alpha = np.clip((size_px / 4 - np.hypot(y, x)) / 6 + 0.5, 0, 1).astype(np.float32)
        image = np.repeat(np.rint(alpha * 200 + 30).astype(np.uint8)[..., None], 3, axis=2)
        near = np.abs(size_px / 4 - np.hypot(y, x)) < 8
        trimap = np.where(near, 128, np.where(alpha > 0.5, 255, 0)).astype(np.uint8)
        return Crop(image, alpha, trimap)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def batch(seed: int = 0):
    return make_batch(Discs(), np.random.default_rng(seed), 64, 2)


def test_a_batch_holds_what_the_network_and_the_losses_take() -> None:
    inputs, truth, unknown = batch()

    assert (inputs.shape, truth.shape, unknown.shape) == ((2, 4, 64, 64), (2, 1, 64, 64), (2, 1, 64, 64))
    assert set(inputs[:, 3].unique().tolist()) == {0.0, 0.5, 1.0}
    assert ((inputs[:, 3:] == 0.5) == (unknown == 1)).all()
    assert ((truth == 1) | (truth == 0) | (unknown == 1)).all()
    grey = inputs[0, 0, 0, 0] * 0.229 + 0.485  # the normalisation undone
    assert grey.item() == pytest.approx(30 / 255, abs=1e-6)


def test_a_run_learns_what_it_is_shown(tmp_path) -> None:
    run = Run(replace(RECIPE, hours=1), tmp_path)
    run.network.train()

    history = [run.advance(*batch(step % 4)) for step in range(60)]

    first, last = (np.mean([h["unknown_l1"] for h in part]) for part in (history[:8], history[-8:]))
    assert last < 0.5 * first
    assert run.crops == 120


def test_the_share_of_attending_tokens_is_drawn_to_the_target(tmp_path) -> None:
    weights = (
        *((name, 0.0) for name in ("unknown_l1", "known_l1", "laplacian", "gradient")),
        ("routing", 1.0),
    )
    run = Run(replace(RECIPE, hours=1, loss_weights=weights, target_share=0.8), tmp_path)
    run.network.train()

    shares = [run.advance(*batch(step % 4))["share"] for step in range(60)]

    assert abs(np.mean(shares[-10:]) - 0.8) < 0.1 < abs(np.mean(shares[:5]) - 0.8)


def test_a_run_stops_when_its_time_is_over_and_leaves_a_checkpoint_and_a_log(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("mematte.train.run.LOG_STEPS", 2)
    run = Run(RECIPE, tmp_path)

    run.train(Discs())

    assert 1 <= run.progress < 3
    assert [path.name for path in tmp_path.glob("*.pt")] == ["checkpoint.pt"]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] <= run.step
    assert {"unknown_l1", "share", "seconds", "crops"} <= set(lines[0])


def test_a_run_that_goes_on_is_the_run_that_was_stopped(tmp_path) -> None:
    def steps(run: Run, first: int, last: int) -> list[float]:
        losses = []
        run.network.train()
        for step in range(first, last):
            torch.manual_seed(step)  # of the Gumbel noise
            losses.append(run.advance(*batch(step))["unknown_l1"])
        return losses

    through = steps(Run(RECIPE, tmp_path / "through"), 0, 6)
    stopped = Run(RECIPE, tmp_path / "stopped")
    before = steps(stopped, 0, 3)
    stopped.save()
    resumed = Run(RECIPE, tmp_path / "stopped")

    assert (resumed.step, resumed.crops) == (3, 6)
    assert before + steps(resumed, 3, 6) == through


def test_a_full_disk_leaves_the_previous_checkpoint_whole(tmp_path, monkeypatch) -> None:
    run = Run(RECIPE, tmp_path)
    run.save()
    whole = (tmp_path / "checkpoint.pt").read_bytes()

    def full(_: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("torch.save", full)

    with pytest.raises(OSError, match="No space"):
        run.save()
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.pt"]
    assert (tmp_path / "checkpoint.pt").read_bytes() == whole


def test_a_batch_that_gives_no_finite_gradient_is_skipped(tmp_path, caplog) -> None:
    run = Run(RECIPE, tmp_path)
    run.network.train()
    before = [parameter.clone() for parameter in run.network.parameters()]
    run.loss_weights["unknown_l1"] = float("inf")

    run.advance(*batch())

    assert "not finite" in caplog.text
    assert all((a == b).all() for a, b in zip(before, run.network.parameters(), strict=True))


def test_a_batch_that_is_not_finite_spoils_no_statistics(tmp_path) -> None:
    run = Run(RECIPE, tmp_path)
    run.network.train()
    inputs, truth, unknown = batch()

    run.advance(inputs * float("nan"), truth, unknown)

    assert all(value.isfinite().all() for value in run.network.state_dict().values())


def test_exported_weights_are_the_averaged_ones_with_a_record(tmp_path) -> None:
    run = Run(RECIPE, tmp_path)
    run.network.train()
    for step in range(3):
        run.advance(*batch(step))

    weights = run.weights("MIT")

    key = "backbone.blocks.0.mlp.0.weight"
    assert (weights.state[key] == run.average.module.state_dict()[key]).all()
    assert not (weights.state[key] == run.network.state_dict()[key]).all()
    assert (weights.training["steps"], weights.training["crops"]) == (3, 6)
    json.dumps(weights.training)


@pytest.mark.parametrize(
    ("step", "progress", "factor"),
    [(0, 0, 0.005), (199, 0.1, 1), (500, 0.6, 1), (500, 0.8, 0.5), (500, 1, 0)],
)
def test_the_learning_rate_rises_stays_and_falls(step, progress, factor) -> None:
    assert replace(RECIPE, warmup_steps=200).rate_factor(step, progress) == pytest.approx(factor)


def test_phases_follow_progress() -> None:
    assert RECIPE.batch(0, 0.49) == (64, 2)
    assert RECIPE.batch(0, 0.5) == (96, 1)


def _joint(folder: Path) -> None:
    network = torch.nn.Linear(3, 1)
    torch.nn.init.ones_(network.weight)
    torch.nn.init.zeros_(network.bias)
    rows = torch.arange(12.0).view(4, 3)[rank() :: ranks()]
    share = mean_over_ranks(network(rows).mean())
    ((share - 5) ** 2).backward()
    average_gradients(network.parameters())
    torch.save((share.item(), network.weight.grad), folder / f"{rank()}.pt")


def test_two_ranks_have_the_gradient_of_the_joint_batch(tmp_path) -> None:
    launch(partial(_joint, tmp_path), 2, tmp_path)

    alone = torch.nn.Linear(3, 1)
    torch.nn.init.ones_(alone.weight)
    torch.nn.init.zeros_(alone.bias)
    share = alone(torch.arange(12.0).view(4, 3)).mean()
    ((share - 5) ** 2).backward()
    for index in range(2):
        theirs = torch.load(tmp_path / f"{index}.pt", weights_only=True)
        assert theirs[0] == pytest.approx(share.item())
        assert torch.allclose(theirs[1], alone.weight.grad)


def _times(folder: Path) -> None:
    torch.manual_seed(rank())
    torch.save(mean_over_ranks(torch.rand(1000)), folder / f"{rank()}.pt")


def test_ranks_agree_bit_by_bit_on_a_mean_that_the_schedule_hangs_on(tmp_path) -> None:
    launch(partial(_times, tmp_path), 2, tmp_path)

    one, other = (torch.load(tmp_path / f"{index}.pt", weights_only=True) for index in range(2))
    assert torch.equal(one, other)


def _fail() -> None:
    if rank() == 1:
        raise RuntimeError("rank 1 fell over")


def test_a_rank_that_fails_ends_the_run(tmp_path) -> None:
    with pytest.raises(Exception, match="rank 1 fell over"):
        launch(_fail, 2, tmp_path)
    assert list(tmp_path.iterdir()) == []
