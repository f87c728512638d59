"""A run: it learns, goes on where it was stopped, survives full disks, and processes add up to one batch."""

from __future__ import annotations

import errno
import json
import logging
import multiprocessing
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mematte.data.crops import Crop
from mematte.data.published import PublishedCrops
from mematte.engine import Engine
from mematte.errors import DataError, OutputError, TrainingError, WeightsError
from mematte.model import TINY, MEMatte
from mematte.model.spec import teacher
from mematte.train import Crops, Recipe, changed, resumed, train
from mematte.train.batches import Batches, CropBatch
from mematte.train.checkpoints import WholeCheckpoints
from mematte.train.loggers import log_figures
from mematte.train.module import MattingTraining
from mematte.train.pace import STAGES
from mematte.train.run import _divided, _place, _Placement
from mematte.train.sources import crop_source
from mematte.train.start import Start
from mematte.weights import Preprocessing, load_weights, save_weights
from mematte.weights.checkpoint import weights_of

from .conftest import Discs


def lines(folder: Path) -> list[dict[str, float]]:
    """log.jsonl without what depends on the clock."""
    read = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    clock = {"crops_per_second", "waited", *STAGES, "memory_gb"}
    return [{k: v for k, v in line.items() if k not in clock} for line in read]


def run(recipe: Recipe, folder: Path, source: Any = None) -> Path:
    return train(recipe, folder, device="cpu", devices=1, source=source or Discs())


def pictures(folder: Path) -> None:
    """Two to validate with."""
    for kind in ("image", "trimap", "alpha"):
        (folder / kind).mkdir(parents=True)
    for seed in range(2):
        crop = Discs().sample(np.random.default_rng(seed), 96)
        for kind, pixels in (("image", crop.image), ("trimap", crop.trimap), ("alpha", crop.alpha * 255)):
            cv2.imwrite(str(folder / kind / f"{seed}.png"), np.asarray(pixels, np.uint8))


class KilledError(Exception):
    pass


class KilledAt(Discs):
    """A source that ends its process, as a kill would, after so many crops."""

    def __init__(self, crops: int) -> None:
        self.left = crops

    def sample(self, rng: np.random.Generator, size_px: int):
        self.left -= 1
        if self.left < 0:
            raise KilledError
        return super().sample(rng, size_px)


def test_a_run_learns_what_it_is_shown(recipe: Recipe, tmp_path: Path) -> None:
    weights = run(replace(recipe, steps=60, crops=(Crops(96, 2),), save_every=50), tmp_path)

    losses = [line["unknown_l1"] for line in lines(tmp_path)]
    assert np.mean(losses[-8:]) < 0.6 * np.mean(losses[:8])
    assert weights == tmp_path / "weights.safetensors"
    assert {"recipe.json", "checkpoint.ckpt", "log.jsonl"} <= {path.name for path in tmp_path.iterdir()}


def test_the_weights_are_the_averaged_ones_with_a_record(recipe: Recipe, tmp_path: Path) -> None:
    weights = load_weights(run(replace(recipe, licence="MIT"), tmp_path))

    state = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["state_dict"]
    key = "backbone.blocks.0.mlp.0.weight"
    assert torch.equal(weights.state[key], state[f"average.{key}"])
    assert not torch.equal(weights.state[key], state[f"network.{key}"])
    assert (weights.licence, weights.training["steps"]) == ("MIT", 6)
    assert weights.training["recipe"]["learning_rate"] == 3e-3


def test_how_weights_want_to_be_run_stays_when_they_are_tuned(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = weights_of(
        MEMatte(recipe.spec),
        name="start",
        licence="MIT",
        enlarge_below=5000,
        windows="unknown",
        narrow_above=10_000,
    )
    save_weights(start, tmp_path / "start.safetensors")

    tuned = run(replace(recipe, steps=1, start=str(tmp_path / "start.safetensors")), tmp_path / "run")

    weights = load_weights(tuned)
    assert (weights.enlarge_below, weights.windows, weights.narrow_above) == (5000, "unknown", 10_000)
    below: list[int] = []
    monkeypatch.setattr("mematte.train.run.crop_source", lambda _, pixels: below.append(pixels) or Discs())
    train(
        replace(recipe, steps=1, start=str(tmp_path / "start.safetensors")),
        tmp_path / "shown",
        device="cpu",
        devices=1,
    )
    assert below == [5000]
    fresh = load_weights(run(replace(recipe, steps=1), tmp_path / "fresh"))
    assert (fresh.enlarge_below, fresh.windows, fresh.narrow_above) == (0, "all", 0)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_every_line_of_the_log_says_where_the_time_went(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, accumulate: int
) -> None:
    """By a clock on which only these take time: a crop 1 s, a loss 4 s, its gradients 8 s, a step 16 s."""
    now = 0.0

    def takes(seconds: float, owner: type, name: str) -> None:
        work = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            nonlocal now
            done = work(*args, **kwargs)
            now += seconds
            return done

        monkeypatch.setattr(owner, name, timed)

    for module in ("pace", "progress"):
        monkeypatch.setattr(f"mematte.train.{module}.time", SimpleNamespace(monotonic=lambda: now))
    takes(1, Discs, "sample")
    takes(4, MattingTraining, "training_step")
    takes(8, MattingTraining, "backward")
    takes(16, MattingTraining, "optimizer_step")

    run(replace(recipe, accumulate=accumulate, log_every=3), tmp_path)

    read = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert len(read) == 2
    for line in read:
        assert line["waited"] + sum(line[stage] for stage in STAGES) == pytest.approx(1, abs=1e-4)
        seconds = 3 * 16 / line["update"]
        assert line["forward"] * seconds == pytest.approx(3 * accumulate * 4, rel=1e-3)
        assert line["backward"] * seconds == pytest.approx(3 * accumulate * 8, rel=1e-3)
        # Batches are made one ahead: the first of all before the clock starts.
        assert 2 * recipe.crops[0].count <= line["waited"] * seconds + 0.1 <= 3 * recipe.crops[0].count + 1
        assert line["crops_per_second"] * seconds == pytest.approx(3 * recipe.crops[0].count, rel=1e-3)
        assert 0.05 < line["memory_gb"] < 50


@pytest.mark.parametrize("frozen", [False, True])
def test_statistics_of_the_start_stay_where_they_are_frozen(
    recipe: Recipe, tmp_path: Path, frozen: bool
) -> None:
    begun = run(replace(recipe, averaging=0.0), tmp_path / "first")
    tuned = replace(recipe, start=str(begun), freeze_batchnorm=frozen, averaging=0.0)

    # Stopped and resumed, which must not thaw them.
    with pytest.raises(KilledError):
        run(tuned, tmp_path / "second", KilledAt(9))
    state = load_weights(run(tuned, tmp_path / "second")).state

    before = load_weights(begun).state
    changed = {name for name in before if not torch.equal(before[name], state[name])}
    statistics = {name for name in before if "running_" in name}
    assert len(statistics) > 10
    assert changed & statistics == (set() if frozen else statistics)
    assert "decoder.details.0.1.weight" in changed  # what the statistics are scaled with is still learned


def test_with_frozen_statistics_a_run_starts_with_what_its_weights_can_do(
    recipe: Recipe, tmp_path: Path
) -> None:
    begun = load_weights(run(replace(recipe, steps=20), tmp_path / "first"))
    begun = replace(begun, preprocessing=Preprocessing((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    save_weights(begun, tmp_path / "start.safetensors")
    start = str(tmp_path / "start.safetensors")
    one_crop = replace(recipe, start=start, crops=(Crops(96, 1),), noise_until=0.0, steps=1)

    tuned = run(replace(one_crop, freeze_batchnorm=True), tmp_path / "frozen")
    run(one_crop, tmp_path / "free")

    crop = Batches(Discs(), one_crop, 0, 0, 1).part(0, 0)
    assert isinstance(crop, CropBatch)
    alpha = Engine(begun, device="cpu", precision="float32")(crop.images[0].numpy(), crop.trimaps[0].numpy())
    error, unknown = np.abs(alpha.alpha - crop.alphas[0].numpy()), crop.trimaps[0].numpy() == 128
    able = error[unknown].mean()
    frozen, free = (lines(tmp_path / name)[0]["unknown_l1"] for name in ("frozen", "free"))
    assert frozen == pytest.approx(able, rel=1e-3)
    assert free != pytest.approx(able, rel=1e-2)
    assert load_weights(tuned).preprocessing == begun.preprocessing


def test_the_share_of_attending_tokens_is_drawn_to_the_target(recipe: Recipe, tmp_path: Path) -> None:
    only = replace(recipe.weights, unknown_l1=0, known_l1=0, laplacian=0, gradient=0)
    run(replace(recipe, steps=60, weights=only, target_share=0.8, save_every=100), tmp_path)

    shares = [line["share"] for line in lines(tmp_path)]
    assert abs(np.mean(shares[-10:]) - 0.8) < 0.1 < abs(np.mean(shares[:5]) - 0.8)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_killed_run_goes_on_with_the_losses_of_one_that_was_not(
    recipe: Recipe, tmp_path: Path, accumulate: int
) -> None:
    recipe = replace(recipe, accumulate=accumulate)
    run(recipe, tmp_path / "through")
    with pytest.raises(KilledError):
        run(recipe, tmp_path / "killed", KilledAt(crops=11))

    weights = run(resumed(tmp_path / "killed"), tmp_path / "killed")

    assert [line["step"] for line in lines(tmp_path / "killed")] == [1, 2, 3, 4, 5, 6]
    assert lines(tmp_path / "killed") == lines(tmp_path / "through")
    through = load_weights(tmp_path / "through" / "weights.safetensors")
    assert all(torch.equal(value, through.state[key]) for key, value in load_weights(weights).state.items())


@pytest.mark.parametrize("crops", [1, 2, 3])
def test_a_run_that_is_killed_twice_goes_on_with_the_same_losses(
    recipe: Recipe, tmp_path: Path, crops: int
) -> None:
    recipe = replace(recipe, accumulate=2)
    run(recipe, tmp_path / "through")
    for left in (9, crops):
        with pytest.raises(KilledError):
            run(recipe, tmp_path / "killed", KilledAt(left))

    run(recipe, tmp_path / "killed")

    assert lines(tmp_path / "killed") == lines(tmp_path / "through")


def parts_of_steps(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """What is about to be recorded: of each part that is trained on, its step and its number in it."""
    seen: list[tuple[int, int]] = []
    start = MattingTraining.on_train_batch_start

    def note(module: MattingTraining, batch: Any, batch_idx: int) -> None:
        seen.append((module.global_step, batch_idx % module.recipe.accumulate))
        start(module, batch, batch_idx)

    monkeypatch.setattr(MattingTraining, "on_train_batch_start", note)
    return seen


def test_a_run_may_go_on_in_other_parts(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(replace(recipe, steps=3), tmp_path)
    seen = parts_of_steps(monkeypatch)

    run(replace(recipe, steps=5, accumulate=2), tmp_path)

    assert seen == [(3, 0), (3, 1), (4, 0), (4, 1)]


def test_a_run_whose_minutes_are_over_ends_with_a_whole_step(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(MattingTraining, "minutes_spent", lambda _: 1.0)
    seen = parts_of_steps(monkeypatch)

    run(replace(recipe, minutes=0.5, accumulate=2), tmp_path)

    assert seen == [(0, 0), (0, 1)]
    assert torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)["global_step"] == 1


def test_a_run_that_begins_anew_forgets_what_the_killed_one_reported(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(KilledError):
        run(replace(recipe, save_every=100), tmp_path, KilledAt(crops=7))
    assert [line["step"] for line in lines(tmp_path)] == [1, 2]

    run(recipe, tmp_path)

    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize("setting", [{"spec": TINY}, {"start": "nowhere"}, {"optimiser": "adamw"}])
def test_what_is_refused_leaves_the_run_as_it_was(
    recipe: Recipe, tmp_path: Path, setting: dict[str, Any]
) -> None:
    run(replace(recipe, steps=2), tmp_path)

    with pytest.raises((TrainingError, WeightsError)):
        run(replace(recipe, **setting), tmp_path)

    run(replace(resumed(tmp_path), steps=3), tmp_path)


class Full:
    """A logger whose disk is full."""

    calls = 0

    def log_metrics(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        raise OSError(28, "No space left on device")


def test_a_logger_that_cannot_write_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    full, heard = Full(), []
    fine = SimpleNamespace(log_metrics=lambda figures, step: heard.append((figures, step)))
    trainer = SimpleNamespace(loggers=[full, fine], global_step=7)

    for _ in range(2):
        log_figures(trainer, {"a": 1.0})

    assert heard == [({"a": 1.0}, 7)] * 2
    assert full.calls == 1
    assert "Full writes no more" in caplog.text


def test_best_weights_that_find_no_room_do_not_end_the_run(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OutputError("no space left")

    monkeypatch.setattr("mematte.train.validation.save_weights", full)
    pictures(tmp_path / "pictures")

    run(replace(recipe, validation=str(tmp_path / "pictures"), validate_every=3), tmp_path / "run")

    assert "no space left" in caplog.text
    assert not (tmp_path / "run" / "best.safetensors").exists()
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_statistics_are_not_joined_on_a_cpu(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="a CPU cannot do it"):
        run(replace(recipe, sync_batchnorm=True), tmp_path)


def test_parts_and_float16_change_what_a_decision_s_gradient_may_be(recipe: Recipe) -> None:
    module = MattingTraining(replace(recipe, accumulate=2), Start(MEMatte(recipe.spec)), Discs())
    assert float(module._gradient_scale()) == 0.5

    module._scaler = SimpleNamespace(scale=lambda tensor: tensor * 4096)
    assert float(module._gradient_scale()) == 2048


class Interrupting(Discs):
    """Ctrl-C in the process that shows it, at its third crop; others go on."""

    def __init__(self) -> None:
        self.parent, self.crops = os.getpid(), 0

    def sample(self, rng: np.random.Generator, size_px: int) -> Crop:
        self.crops += 1
        if self.crops == 3:
            os.kill(self.parent, signal.SIGINT)
        return super().sample(rng, size_px)


@pytest.mark.parametrize("processes", [1, 2])
def test_ctrl_c_ends_all_processes(recipe: Recipe, tmp_path: Path, processes: int) -> None:
    endless = replace(recipe, steps=100_000, save_every=100_000)

    with pytest.raises(KeyboardInterrupt):
        train(endless, tmp_path, device="cpu", devices=processes, source=Interrupting())

    assert multiprocessing.active_children() == []


def test_a_recipe_s_new_rate_counts_when_a_run_goes_on(recipe: Recipe, tmp_path: Path) -> None:
    run(replace(recipe, steps=4), tmp_path)
    before = load_weights(tmp_path / "weights.safetensors")

    run(replace(recipe, steps=6, learning_rate=1e-12, matrix_learning_rate=1e-12, averaging=0.0), tmp_path)

    state = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)
    assert state["global_step"] == 6
    groups = [g for o in state["optimizer_states"][0]["optimisers"] for g in o["param_groups"]]
    assert all(group["lr"] <= 1e-12 for group in groups)
    assert before.spec == recipe.spec


def test_a_run_of_so_many_minutes_ends_then_with_its_rate_at_zero(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = []
    factor = Recipe.rate_factor
    monkeypatch.setattr(
        Recipe, "rate_factor", lambda run, *where: rates.append(factor(run, *where)) or rates[-1]
    )
    # Every step takes a minute.
    monkeypatch.setattr(MattingTraining, "minutes_spent", lambda training: float(training.global_step))

    weights = run(replace(recipe, steps=1000, minutes=4, decay_share=1.0, save_every=100), tmp_path)

    assert rates == pytest.approx([0.001, 0.75, 0.5, 0.25, 0])
    assert load_weights(weights).training["steps"] == 5


def test_a_run_that_goes_on_has_the_minutes_left_that_it_had(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    checkpoint = torch.load(tmp_path / "checkpoint.ckpt", weights_only=True)
    assert 0 < checkpoint["minutes"] < 5
    checkpoint["minutes"] = 60.0
    torch.save(checkpoint, tmp_path / "checkpoint.ckpt")

    weights = run(replace(recipe, steps=50, minutes=60.0), tmp_path)

    assert load_weights(weights).training["steps"] == 7


def test_distillation_draws_the_student_to_its_teacher(recipe: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(1)
    path = tmp_path / "teacher.safetensors"
    save_weights(weights_of(MEMatte(teacher(recipe.spec)), name="teacher", licence="MIT"), path)
    only = replace(
        recipe.weights, unknown_l1=0, known_l1=0, laplacian=0, gradient=0, routing=0, distillation=1
    )

    run(replace(recipe, steps=40, weights=only, teacher=str(path), save_every=100), tmp_path / "run")

    losses = [line["distillation"] for line in lines(tmp_path / "run")]
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:5])
    saved = torch.load(tmp_path / "run" / "checkpoint.ckpt", weights_only=True)["state_dict"]
    assert not any("teacher" in key for key in saved)


@pytest.mark.parametrize("other", [{"spec": "tiny"}, {"optimiser": "adamw"}])
def test_a_checkpoint_of_something_else_is_refused_with_both_named(
    recipe: Recipe, tmp_path: Path, other: dict[str, str]
) -> None:
    run(replace(recipe, steps=2), tmp_path)

    with pytest.raises(TrainingError, match=r"test \(32 channels, WR\), muon.*(tiny|adamw).*start="):
        run(changed(recipe, [f"{key}={value}" for key, value in other.items()]), tmp_path)


def test_a_damaged_checkpoint_is_named(recipe: Recipe, tmp_path: Path) -> None:
    run(replace(recipe, steps=2), tmp_path)
    file = tmp_path / "checkpoint.ckpt"
    file.write_bytes(file.read_bytes()[:1000])

    with pytest.raises(TrainingError, match=r"checkpoint.ckpt cannot be read.*start="):
        run(recipe, tmp_path)


class Spoilt(Discs):
    def sample(self, rng: np.random.Generator, size_px: int):
        crop = super().sample(rng, size_px)
        return replace(crop, alpha=crop.alpha * np.float32("nan"))


def test_a_batch_that_gives_no_finite_gradient_changes_nothing(
    recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(replace(recipe, steps=2), tmp_path)
    before = load_weights(tmp_path / "weights.safetensors").state

    run(replace(recipe, steps=3), tmp_path, Spoilt())

    after = load_weights(tmp_path / "weights.safetensors").state
    assert "not finite" in caplog.text
    assert all(torch.equal(value, after[key]) for key, value in before.items())


def test_a_full_disk_leaves_the_previous_checkpoint_whole_and_the_run_goes_on(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run(replace(recipe, steps=2), tmp_path)
    whole = (tmp_path / "checkpoint.ckpt").read_bytes()

    def full(_: object, file: Any) -> None:
        file.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mematte.train.checkpoints.torch.save", full)
    with pytest.raises(OutputError, match=r"No space left on device.*--resume"):
        run(recipe, tmp_path)

    assert (tmp_path / "checkpoint.ckpt").read_bytes() == whole
    assert not list(tmp_path.glob(".*partial*"))
    assert "the previous one is whole. The run goes on" in caplog.text
    assert lines(tmp_path)[-1]["step"] == 6


def test_a_checkpoint_written_after_a_failure_is_no_failure(tmp_path: Path) -> None:
    checkpoints = WholeCheckpoints()
    checkpoints.save_checkpoint({}, tmp_path / "a file" / "x.ckpt")
    (tmp_path / "blocked").write_text("")
    checkpoints.save_checkpoint({}, tmp_path / "blocked" / "x.ckpt")
    assert checkpoints.failure

    checkpoints.save_checkpoint({"a": 1}, tmp_path / "x.ckpt")

    assert not checkpoints.failure


def test_validation_scores_the_average_and_keeps_the_best(
    recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pictures(tmp_path / "pictures")

    with caplog.at_level(logging.INFO, "mematte.train"):
        run(replace(recipe, validation=str(tmp_path / "pictures"), validate_every=4), tmp_path / "run")

    assert caplog.text.count("2 pictures: SAD") == 2  # after step 4 and after the last
    assert load_weights(tmp_path / "run" / "best.safetensors").spec == recipe.spec
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run")).Reload()
    assert {"validation/sad", "validation/conn", "validation/share of block 1"} <= set(
        events.Tags()["scalars"]
    )
    assert {"0/alpha", "0/routes", "1/alpha"} <= set(events.Tags()["images"])


def test_a_folder_without_trimaps_cannot_validate(recipe: Recipe, tmp_path: Path) -> None:
    for kind in ("image", "alpha"):
        (tmp_path / kind).mkdir()
        cv2.imwrite(str(tmp_path / kind / "a.png"), np.zeros((40, 40), np.uint8))

    with pytest.raises(DataError, match="cannot validate"):
        run(replace(recipe, validation=str(tmp_path)), tmp_path / "run")


def test_a_recipe_without_pictures_says_how_to_name_them(recipe: Recipe) -> None:
    with pytest.raises(DataError, match="backgrounds=DIR"):
        crop_source(recipe)


@pytest.mark.parametrize("augmentation", ["published", "on_device"])
@pytest.mark.parametrize("named", ["foregrounds", "backgrounds"])
def test_a_recipe_that_composes_wants_both_sets(recipe: Recipe, augmentation: str, named: str) -> None:
    only = replace(recipe, augmentation=augmentation, procedural_share=0.0, **{named: ("somewhere",)})

    missing = "backgrounds" if named == "foregrounds" else "foregrounds"
    with pytest.raises(DataError, match=f"no {missing} are named"):
        crop_source(only)


def test_published_crops_are_of_pictures_as_they_are(recipe: Recipe, tmp_path: Path) -> None:
    for kind, shape in (("fg", (600, 1500, 4)), ("bg", (500, 1200, 3))):
        (tmp_path / kind).mkdir()
        pixels = np.full(shape, 200, np.uint8)
        pixels[:, :400] = 0
        cv2.imwrite(str(tmp_path / kind / "0.png"), pixels)
    composed = replace(
        recipe,
        procedural_share=0.0,
        foregrounds=(str(tmp_path / "fg"),),
        backgrounds=(str(tmp_path / "bg"),),
    )

    source = crop_source(replace(composed, augmentation="published"))

    assert isinstance(source, PublishedCrops)
    drawn = source._foregrounds.draw(np.random.default_rng(0)).pyramid
    assert max(drawn.size_px) >= 1500
    assert source._backgrounds._behind.draw(np.random.default_rng(0)).size_px == (500, 1200)
    assert source.sample(np.random.default_rng(0), 96).alpha.shape == (96, 96)


def test_a_folder_that_holds_no_run_cannot_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="holds no run"):
        resumed(tmp_path)
    (tmp_path / "recipe.json").write_text('{"no": "recipe"}')
    with pytest.raises(TrainingError, match="no recipe of this version"):
        resumed(tmp_path)


def test_a_batch_that_cannot_be_divided_among_the_processes_is_refused(
    recipe: Recipe, tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match="2 crops of 96 px per step cannot be divided among 3"):
        train(recipe, tmp_path, device="cpu", devices=3, source=Discs())


class Refusing(Discs):
    def sample(self, *_: object):
        raise DataError("12 of 300 files are damaged")


def test_an_error_of_the_user_s_in_a_forked_process_arrives_as_itself(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^12 of 300 files are damaged$"):
        train(recipe, tmp_path, device="cpu", devices=2, source=Refusing())


class Killing(Discs):
    def sample(self, *_: object):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_process_that_is_killed_ends_the_run_and_is_said(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"ended from outside \(.*SIGKILL\).*--resume"):
        train(recipe, tmp_path, device="cpu", devices=2, source=Killing())


class Gradients(MattingTraining):
    """Keeps the first gradient. Batch statistics, which on a CPU each process has its own, are frozen."""

    def on_train_start(self) -> None:
        for part in self.network.modules():
            if isinstance(part, torch.nn.BatchNorm2d):
                part.eval()

    def on_before_optimizer_step(self, *_: Any) -> None:
        if self.global_step == 0:
            joined = torch.cat([p.grad.flatten() for p in self.network.parameters() if p.grad is not None])
            torch.save(joined, Path(self.trainer.default_root_dir) / f"gradient-{self.global_rank}.pt")


class Various(Discs):
    """Pictures that differ in how much of them is unknown, and to a router."""

    def sample(self, rng: np.random.Generator, size_px: int) -> Crop:
        crop = super().sample(rng, size_px)
        trimap = crop.trimap.copy()
        trimap[: int(size_px * rng.random() ** 3)] = 128
        return Crop(np.clip(crop.image * rng.uniform(0.2, 1.2), 0, 255).astype(np.uint8), crop.alpha, trimap)


def test_two_processes_have_the_gradient_of_one_with_the_joint_batch(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    network = MEMatte(recipe.spec)
    for name, parameter in network.named_parameters():
        if ".router.score" in name:  # one that does not treat all tokens alike
            parameter.data.normal_(0, 0.5 if parameter.ndim > 1 else 0)
    save_weights(weights_of(network, name="start", licence="MIT"), tmp_path / "start.safetensors")
    recipe = replace(recipe, start=str(tmp_path / "start.safetensors"))
    monkeypatch.setattr("mematte.train.run.MattingTraining", Gradients)
    monkeypatch.setattr(Recipe, "routing_noise", lambda *_: 0.0)  # each process has its own noise
    joint = replace(recipe, steps=1, crops=(Crops(96, 4),), routers_balance=0.5)
    for name, processes in (("one", 1), ("two", 2)):
        train(joint, tmp_path / name, device="cpu", devices=processes, source=Various())

    alone = torch.load(tmp_path / "one" / "gradient-0.pt", weights_only=True)
    for rank in range(2):
        together = torch.load(tmp_path / "two" / f"gradient-{rank}.pt", weights_only=True)
        assert (together - alone).norm() < 1e-5 * alone.norm()
    assert alone.abs().max() > 1e-3
    one, two = (lines(tmp_path / name)[0] for name in ("one", "two"))
    assert two["routing"] == pytest.approx(one["routing"], rel=1e-4)  # the share of all processes together
    # Pictures and router are such that it would be another one without what the processes tell each other.
    for told in ("losses", "batr"):
        with monkeypatch.context() as deaf:
            deaf.setattr(f"mematte.train.{told}.mean_over_ranks", lambda value: value)
            train(joint, tmp_path / told, device="cpu", devices=2, source=Various())
        apart = torch.load(tmp_path / told / "gradient-0.pt", weights_only=True)
        assert (apart - alone).norm() > 1e-4 * alone.norm()


def test_the_routers_noise_is_the_same_after_a_stop(recipe: Recipe) -> None:
    module = MattingTraining(recipe, Start(MEMatte(recipe.spec)), Discs())
    scores = torch.zeros(1, 500, 2).log_softmax(-1)

    first, second, other_part = (module._decide(part)(scores) for part in (0, 0, 1))

    assert torch.equal(first, second)
    assert not torch.equal(first, other_part)


# ---------------------------------------------------------------- where it runs


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)


def test_a_run_takes_all_gpus_or_the_one_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 4)

    assert (_place("cuda", 0).devices, _place("auto", 0).devices, _place("cuda", 2).devices) == (4, 4, 2)
    one = _place("cuda:1", 0)
    assert (one.devices, one.is_one_gpu, one.own_device()) == (1, True, torch.device("cuda:1"))
    with pytest.raises(TrainingError, match="5 processes want a GPU each, and there are 4"):
        _place("cuda", 5)
    with pytest.raises(TrainingError, match="cuda:1 is one GPU, and the run is to have 2"):
        _place("cuda:1", 2)


@pytest.mark.parametrize(
    ("counts", "accumulate", "processes"), [((2,), 1, 2), ((8, 12), 1, 4), ((8, 12), 4, 1), ((16,), 1, 8)]
)
def test_as_many_processes_train_as_can_share_the_crops(
    recipe: Recipe, counts: tuple[int, ...], accumulate: int, processes: int
) -> None:
    crops = tuple(Crops(96, count) for count in counts)

    placed = _divided(replace(recipe, crops=crops, accumulate=accumulate), _Placement(torch.device("cpu"), 8))

    assert placed.devices == processes


def test_every_process_asks_its_own_gpu_for_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 4)
    for name, value in {"LOCAL_WORLD_SIZE": "4", "WORLD_SIZE": "8", "LOCAL_RANK": "3"}.items():
        monkeypatch.setenv(name, value)

    placement = _place("cuda", 0)

    assert (placement.devices, placement.nodes, placement.own_device()) == (4, 2, torch.device("cuda:3"))


def test_where_nothing_can_be_forked_one_process_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mematte.train.run.CAN_FORK", False)

    assert _place("cpu", 0).devices == 1
    with pytest.raises(TrainingError, match="cannot fork"):
        _place("cpu", 2)


def test_all_that_processes_share_of_a_run_is_on_the_device(recipe: Recipe) -> None:
    """NCCL, which GPUs speak, carries no tensor of the computer's memory."""
    module = MattingTraining(recipe, Start(MEMatte(recipe.spec)), Discs()).to("meta")
    module.on_train_start()

    shared = [*module.named_parameters(), *module.named_buffers()]

    assert {tensor.device.type for _, tensor in shared} == {"meta"}
    assert len(shared) > 100


def test_losses_are_of_whole_numbers_where_the_network_has_half_ones(
    recipe: Recipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A convolution in bfloat16 would round alpha to steps of 1/256, and its gradient with it."""
    seen = {}

    def note(alpha: torch.Tensor, *_: torch.Tensor) -> dict[str, torch.Tensor]:
        seen["alpha"], seen["made"] = (
            alpha.dtype,
            torch.nn.functional.conv2d(alpha, alpha[:1, :, :1, :1]).dtype,
        )
        return {"unknown_l1": alpha.mean()}

    monkeypatch.setattr("mematte.train.module.matting_losses", note)
    module = MattingTraining(recipe, Start(MEMatte(recipe.spec)), Discs())
    batch = CropBatch.of([Discs().sample(np.random.default_rng(0), 96)])

    with torch.autocast("cpu", torch.bfloat16):
        module.training_step(batch, 0)

    assert seen == {"alpha": torch.float32, "made": torch.float32}


def test_a_run_that_is_past_its_steps_keeps_its_recipe(recipe: Recipe, tmp_path: Path) -> None:
    run(recipe, tmp_path)
    told = (tmp_path / "recipe.json").read_text()

    with pytest.raises(TrainingError, match=f"is at step {recipe.steps} already, past steps=3"):
        run(replace(recipe, steps=3), tmp_path)

    assert (tmp_path / "recipe.json").read_text() == told
