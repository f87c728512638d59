"""Published `.pth` files, of MEMatte and of ViTMatte, through the table."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from mematte.errors import OutputError
from mematte.model import BASE, SMALL, ModelSpec, teacher
from mematte.weights import Preprocessing, build, convert_file, load_weights
from mematte.weights.convert import HUGGING_FACE, PUBLISHED, Table, rename

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def small(published_state: Callable[[str], State]) -> State:
    return published_state("mematte_s")


@pytest.mark.parametrize(
    ("variant", "spec"), [("mematte_s", SMALL), ("vitmatte_s", teacher(SMALL)), ("mematte_b", BASE)]
)
def test_a_published_file_is_read(
    published_state: Callable[[str], State], tmp_path: Path, variant: str, spec: ModelSpec
) -> None:
    theirs = published_state(variant)
    path = tmp_path / "published.pth"
    torch.save({"model": theirs, "iteration": 40406}, path)

    weights = load_weights(path)

    assert weights.spec == spec
    assert weights.name == "published"
    assert weights.preprocessing == Preprocessing()
    assert "may not be used commercially" in weights.licence
    # Every number arrives once: all sums together agree, less the class token's entry.
    counted = sum(value.numel() for key, value in theirs.items() if not key.endswith("num_batches_tracked"))
    assert sum(value.numel() for value in weights.state.values()) == counted - spec.channels
    blocks = "backbone.blocks.11"
    assert torch.equal(weights.state[f"{blocks}.attention.qkv.weight"], theirs[f"{blocks}.attn.qkv.weight"])


def bare(state: State) -> State:
    return state


def under_state_dict(state: State) -> dict[str, State]:
    return {"state_dict": state}


def from_parallel_training(state: State) -> State:
    return {f"module.{key}": value for key, value in state.items()}


def with_a_teacher(state: State) -> dict[str, State]:
    beside = {f"module.teacher_backbone.{key}": value for key, value in list(state.items())[:7]}
    return {"model": from_parallel_training(state) | beside}


def in_double_precision(state: State) -> State:
    return {key: value.double() if value.is_floating_point() else value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap", [bare, under_state_dict, from_parallel_training, with_a_teacher, in_double_precision]
)
def test_the_forms_in_which_it_is_saved_all_give_the_same(
    small: State, tmp_path: Path, wrap: Callable[[State], object]
) -> None:
    torch.save({"model": small}, tmp_path / "plain.pth")
    torch.save(wrap(small), tmp_path / "wrapped.pth")

    plain, wrapped = (load_weights(tmp_path / f"{name}.pth") for name in ("plain", "wrapped"))

    assert plain.spec == wrapped.spec
    assert list(plain.state) == list(wrapped.state)
    assert all(torch.equal(plain.state[key], value) for key, value in wrapped.state.items())


def test_what_is_left_out_is_said(small: State, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    torch.save(with_a_teacher(small), tmp_path / "student.pth")

    with caplog.at_level(logging.INFO, logger="mematte"):
        weights = load_weights(tmp_path / "student.pth")

    notes = weights.training["notes"]
    assert notes[0] == "left out 7 tensors teacher_backbone.*: the teacher is not part of the network"
    assert "class token" in notes[1]
    assert all(note in caplog.text for note in notes)


def test_an_old_file_without_zip_is_read(small: State, tmp_path: Path) -> None:
    torch.save({"model": small}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)

    assert load_weights(tmp_path / "old.pth").spec == SMALL


def test_convert_file_writes_one_file_that_is_enough(small: State, tmp_path: Path) -> None:
    torch.save({"model": small}, tmp_path / "in.pth")
    output = tmp_path / "out.safetensors"

    written = convert_file(tmp_path / "in.pth", output)
    read = load_weights(output)

    assert read.spec == written.spec == SMALL
    assert read.training == written.training
    assert read.training["converted from"] == "in.pth"
    assert all(torch.equal(read.state[key], value) for key, value in written.state.items())
    assert build(read).spec == SMALL
    with pytest.raises(OutputError, match=r"out.safetensors exists already"):
        convert_file(tmp_path / "in.pth", output)
    convert_file(tmp_path / "in.pth", output, dtype=torch.float16, overwrite=True)
    assert output.stat().st_size < 0.6 * (tmp_path / "in.pth").stat().st_size


@pytest.mark.parametrize("table", [PUBLISHED, HUGGING_FACE])
def test_no_two_rows_of_a_table_meet(table: Table) -> None:
    for column in (0, 1):
        names = [row[column] for row in table]
        assert len(set(names)) == len(names)
    for theirs, ours in table:
        renamed = rename(theirs.replace("#", "7") + ".weight", table)
        assert renamed == ours.replace("#", "7") + ".weight"
