"""Our own files: what is written is what is read."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from mematte.errors import OutputError, WeightsError
from mematte.model import MEMatte, ModelSpec
from mematte.weights import Preprocessing, Weights, build, load_weights, save_weights, weights_of

RECORD = {"hours": 2.5, "data": ["photographs", "procedural mattes"], "figures": {"SAD": 6.5}}


@pytest.fixture
def weights(small_spec: ModelSpec, random_network: Callable[..., MEMatte]) -> Weights:
    return weights_of(
        random_network(small_spec),
        name="mine",
        licence="CC-BY-4.0",
        training=RECORD,
        preprocessing=Preprocessing((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), "edge"),
        enlarge_below=123,
        windows="unknown",
        narrow_above=456,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_file_alone_is_enough(weights: Weights, tmp_path: Path, dtype: torch.dtype) -> None:
    path = tmp_path / "mine.safetensors"

    save_weights(weights, path, dtype)
    read = load_weights(path)

    assert replace(read, state={}, source="") == replace(weights, state={}, source="")
    assert read.source == str(path)
    for key, value in weights.state.items():
        stored = read.state[key]
        assert stored.dtype == (dtype if value.ndim > 1 else torch.float32)
        assert torch.equal(stored, value.to(stored.dtype))


def test_a_network_built_from_its_file_computes_the_same(
    small_spec: ModelSpec, random_network: Callable[..., MEMatte], tmp_path: Path
) -> None:
    network = random_network(small_spec)
    inputs = torch.randn(1, 4, 50, 40, generator=torch.Generator().manual_seed(0))
    save_weights(weights_of(network, name="n", licence="MIT"), tmp_path / "n.safetensors")

    built = build(load_weights(tmp_path / "n.safetensors"))

    assert not built.training
    assert all(value.requires_grad for value in built.parameters())
    assert {value.device.type for value in built.state_dict().values()} == {"cpu"}
    with torch.inference_mode():
        assert torch.equal(built(inputs).alpha, network(inputs).alpha)


def test_float16_is_half_as_large_and_nearly_the_same(weights: Weights, tmp_path: Path) -> None:
    save_weights(weights, tmp_path / "half.safetensors", torch.float16)
    save_weights(weights, tmp_path / "full.safetensors")

    half, full = (build(load_weights(tmp_path / f"{name}.safetensors")) for name in ("half", "full"))

    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("half", "full")]
    assert sizes[0] < 0.65 * sizes[1]
    assert {value.dtype for value in half.parameters()} == {torch.float32}
    inputs = torch.randn(1, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert (half(inputs).alpha - full(inputs).alpha).abs().max() < 0.02


def test_the_metadata_is_one_entry_of_json(weights: Weights, tmp_path: Path) -> None:
    save_weights(weights, tmp_path / "mine.safetensors")

    with safe_open(tmp_path / "mine.safetensors", framework="pt") as file:
        metadata = file.metadata()
        names = list(file.keys())

    assert list(metadata) == ["mematte"]
    described = json.loads(metadata["mematte"])
    assert described["format"] == 1
    assert described["spec"]["blocks"] == "WRG"
    assert described["training"] == RECORD
    assert not [name for name in names if "num_batches_tracked" in name]


def test_the_same_weights_give_the_same_bytes(weights: Weights, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_weights(weights, tmp_path / f"{name}.safetensors")

    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()


def test_training_on_changes_neither_weights_nor_what_they_came_from(weights: Weights) -> None:
    before = {key: value.clone() for key, value in weights.state.items()}
    network = build(weights)
    again = weights_of(network, name="again", licence="MIT")

    with torch.no_grad():
        for value in network.parameters():
            value.add_(1)

    assert all(torch.equal(weights.state[key], value) for key, value in before.items())
    assert all(torch.equal(again.state[key], value) for key, value in before.items())


def test_a_half_network_is_built_in_float32(weights: Weights) -> None:
    halved = replace(weights, state={key: value.half() for key, value in weights.state.items()})

    assert {value.dtype for value in build(halved).parameters()} == {torch.float32}


def listing(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_backbone_is_built_in_the_precision_that_is_asked_for(weights: Weights) -> None:
    network = build(weights, copy=False, backbone=torch.bfloat16)

    for key, value in network.state_dict().items():
        if value.is_floating_point():
            assert value.dtype == (torch.bfloat16 if key.startswith("backbone.") else torch.float32), key
            assert torch.equal(value, weights.state[key].to(value.dtype)), key


def test_what_cannot_be_stored_is_refused_and_nothing_is_written(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / "mine.safetensors"
    large = weights.state | {"backbone.patches.weight": weights.state["backbone.patches.weight"] * 1e6}
    missing = {key: value for key, value in weights.state.items() if "router" not in key}

    with pytest.raises(
        WeightsError, match=r"mine in float16: 1 parameters hold NaN or infinite numbers: backb"
    ):
        save_weights(replace(weights, state=large), path, torch.float16)
    with pytest.raises(WeightsError, match=r"10 missing: backbone.blocks.1.router.embed"):
        save_weights(replace(weights, state=missing), path)
    with pytest.raises(WeightsError, match="the training record must be plain JSON"):
        save_weights(replace(weights, training={"when": object()}), path)

    assert listing(tmp_path) == []


def test_a_place_that_cannot_be_written_is_an_error(weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"written as .safetensors, not as .pth"):
        save_weights(weights, tmp_path / "mine.pth")
    with pytest.raises(OutputError, match=r"there is no folder .*nowhere. Make it first"):
        save_weights(weights, tmp_path / "nowhere" / "mine.safetensors")
    (tmp_path / "folder.safetensors").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        save_weights(weights, tmp_path / "folder.safetensors")

    assert listing(tmp_path) == ["folder.safetensors"]


def test_an_existing_file_is_kept_if_asked_and_when_writing_fails(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.safetensors"
    path.write_bytes(b"precious")
    with pytest.raises(OutputError, match="exists already"):
        save_weights(weights, path, overwrite=False)

    def full(_tensors: object, partial: Path, **_: object) -> None:
        partial.write_bytes(b"half of it")
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("mematte.weights.checkpoint.save_file", full)
    with pytest.raises(OutputError, match=r"cannot be written: .*No space left on device. Nothing was left"):
        save_weights(weights, path)

    assert path.read_bytes() == b"precious"
    assert listing(tmp_path) == ["mine.safetensors"]


def test_a_link_goes_on_pointing_where_it_did(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    link, real = tmp_path / "mine.safetensors", tmp_path / "store" / "real.safetensors"
    link.symlink_to(real)
    save_weights(weights, link)
    assert link.is_symlink()
    assert load_weights(real).name == weights.name
    assert listing(tmp_path / "store") == ["real.safetensors"]


def test_a_name_may_be_as_long_as_the_system_takes(weights: Weights, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 243 + ".safetensors")
    save_weights(weights, path)
    assert load_weights(path).name == weights.name


def test_others_may_read_what_is_written(
    random_network: Callable[..., MEMatte], small_spec: ModelSpec, tmp_path: Path
) -> None:
    (tmp_path / "ordinary").touch()

    save_weights(
        weights_of(random_network(small_spec), name="noise", licence="MIT"), tmp_path / "w.safetensors"
    )

    assert (tmp_path / "w.safetensors").stat().st_mode == (tmp_path / "ordinary").stat().st_mode
