"""Files that are no weights, or not ours: each has its own message."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from mematte.errors import MatteError, WeightsError
from mematte.model import MEMatte, ModelSpec
from mematte.weights import convert_file, load_weights, save_weights, weights_of
from mematte.weights.convert import PUBLISHED, rename

State = dict[str, Tensor]


@pytest.fixture
def ours(small_spec: ModelSpec, random_network: Callable[..., MEMatte], tmp_path: Path) -> Path:
    path = tmp_path / "ours.safetensors"
    save_weights(weights_of(random_network(small_spec), name="ours", licence="MIT"), path)
    return path


@pytest.fixture
def published(small_spec: ModelSpec, random_network: Callable[..., MEMatte]) -> State:
    """A small network under the published names: the table read backwards."""
    backwards = tuple((ours, theirs) for theirs, ours in PUBLISHED)
    state = {}
    for name, value in random_network(small_spec).state_dict().items():
        key = rename(name.replace("blocks.1.router", "routed.0.router"), backwards)
        assert key
        if name == "backbone.positions":
            value = torch.cat((torch.zeros(1, 1, value.shape[-1]), value.flatten(1, 2)), dim=1)
        if name.endswith(("residual.shrink.weight", "residual.expand.weight")):
            value = value[:, :, None, None]
        state[key] = value.clone()
    return state


class Stranger:
    """Any object that is no tensor."""


class Shell:
    """What would run a program."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit",)


def zipped(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "no tensors here")


def pickled(content: Any) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        torch.save(content, path)

    return write


def plain(content: bytes) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        path.write_bytes(content)

    return write


HEADER = b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'

FILES: list[tuple[str, Callable[[Path], None], str]] = [
    ("empty.pth", plain(b""), "the file is empty. Download or copy it again"),
    ("empty.safetensors", plain(b""), "the file is empty"),
    ("picture.pth", plain(b"\x89PNG\r\n" + bytes(100)), "no file of weights. It is a picture"),
    ("text.pth", plain(b"hello, these are no weights"), "no file of weights. Weights are .safetensors, .pth"),
    (
        "page.pth",
        plain(b"<!DOCTYPE html><html>Sign in</html>"),
        "It is a web page, saved in place of the download",
    ),
    (
        "pointer.safetensors",
        plain(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"),
        "Git LFS pointer",
    ),
    ("short.safetensors", plain(b"\x40\x00"), "no file of weights"),
    (
        "cut.safetensors",
        plain(len(HEADER).to_bytes(8, "little") + HEADER + bytes(7)),
        "is damaged or cut short",
    ),
    ("header.safetensors", plain((1 << 40).to_bytes(8, "little") + HEADER), "is damaged or cut short"),
    ("archive.pth", zipped, "damaged, cut short, or no PyTorch file"),
    ("pickle.pth", plain(pickle.dumps({"a": 1}, 2)), "damaged, cut short, or no PyTorch file"),
    ("foreign.pth", plain(pickle.dumps({"a": 1}, 4)), "damaged, cut short, or no PyTorch file .*operand 149"),
    ("sparse.pth", pickled({"a": torch.eye(2).to_sparse()}), "something else: a"),
    ("meta.pth", pickled({"a": torch.ones(2, device="meta")}), "something else: a"),
    (
        "object.pth",
        pickled({"model": {"a": torch.ones(2)}, "args": Stranger()}),
        "holds pickled Python objects besides .*GLOBAL .*Stranger was not an allowed",
    ),
    (
        "shell.pth",
        pickled({"model": {"a": torch.ones(2)}, "args": Shell()}),
        r"Python objects besides tensors .Trying to load unsupported GLOBAL \w+.system whose module",
    ),
    ("list.pth", pickled([torch.ones(2)]), "it holds a list, not a dict of named tensors"),
    ("tensor.pth", pickled(torch.ones(2)), "it holds a Tensor, not a dict"),
    ("run.pth", pickled({"network": {"a": torch.ones(2)}, "step": 7}), "something else: network, step"),
    ("none.pth", pickled({"model": {}}), "the dict of named tensors is empty"),
    (
        "other.pth",
        pickled({f"layer{index}.weight": torch.ones(2) for index in range(13)}),
        "weights of another network.* the keys are layer0.weight, .*layer9.weight and 3 more",
    ),
]


@pytest.mark.parametrize(("name", "write", "message"), FILES, ids=[name for name, _, _ in FILES])
def test_a_file_that_is_no_weights(
    tmp_path: Path, name: str, write: Callable[[Path], None], message: str
) -> None:
    write(tmp_path / name)

    with pytest.raises(WeightsError, match=f"{name}: .*{message}"):
        load_weights(tmp_path / name)
    with pytest.raises(MatteError, match=message):
        convert_file(tmp_path / name, tmp_path / "converted.safetensors")

    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_pickle_is_never_run(tmp_path: Path) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return Path.touch, (tmp_path / "it ran",)

    torch.save({"model": {"a": torch.ones(2)}, "trap": Trap()}, tmp_path / "trap.pth")

    with pytest.raises(
        WeightsError, match=r"GLOBAL getattr .*Reading those can run any code, so mematte never does"
    ):
        load_weights(tmp_path / "trap.pth")

    assert not (tmp_path / "it ran").exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("new", [True, False])
def test_a_truncated_file(published: State, tmp_path: Path, share: float, new: bool) -> None:
    torch.save({"model": published}, tmp_path / "whole.pth", _use_new_zipfile_serialization=new)
    content = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(content[: int(share * len(content))])

    with pytest.raises(WeightsError, match=r"cut.pth: the file is damaged, cut short"):
        load_weights(tmp_path / "cut.pth")


def test_a_truncated_file_of_ours(ours: Path) -> None:
    ours.write_bytes(ours.read_bytes()[:-100])

    with pytest.raises(WeightsError, match=r"ours.safetensors: the file is damaged or cut short"):
        load_weights(ours)


def test_what_is_not_there(tmp_path: Path) -> None:
    for missing in (
        tmp_path / "gone.safetensors",
        tmp_path / "gone",
        "weights/gone.pth",
        "gone.safetensors",
        "./tiny",
        "~nobody/gone.pth",
    ):
        with pytest.raises(WeightsError, match=r"there is no such file"):
            load_weights(missing)
    (tmp_path / "link.pth").symlink_to("gone.pth")
    with pytest.raises(
        WeightsError, match=r"link.pth: the link leads to gone.pth, and there is no such file.$"
    ):
        load_weights(str(tmp_path / "link.pth"))
    for long in ("x" * 300, Path("x" * 300)):
        with pytest.raises(WeightsError, match="x cannot be read: File name too long"):
            load_weights(long)
    with pytest.raises(WeightsError, match=r"holds none of weights.safetensors, model.safetensors, pytorch"):
        load_weights(tmp_path)
    (tmp_path / "model.safetensors").mkdir()
    with pytest.raises(WeightsError, match=r"holds none"):
        load_weights(tmp_path)


def test_a_mistyped_file_in_a_folder_is_not_asked_of_the_hub(
    ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    ours.rename(tmp_path / "runs" / "portraits.safetensors")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mematte.weights.load.fetch", lambda *_, **__: pytest.fail("the hub was asked"))

    with pytest.raises(WeightsError, match=r"no such file. Did you mean runs/portraits.safetensors\?"):
        load_weights("runs/portraits")
    with pytest.raises(WeightsError, match=r"no such file.$"):
        load_weights("runs/xyz")


def test_the_folder_of_a_training_run_is_its_weights(ours: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    ours.rename(tmp_path / "run" / "weights.safetensors")

    assert load_weights(tmp_path / "run").source == str(tmp_path / "run" / "weights.safetensors")


def test_a_file_that_may_not_be_read(ours: Path) -> None:
    ours.chmod(0)
    try:
        ours.open("rb").close()
    except PermissionError:
        with pytest.raises(WeightsError, match=r"ours.safetensors cannot be read: Permission denied"):
            load_weights(ours)
    else:
        pytest.skip("this user may read every file")


def test_the_fixture_is_what_the_tables_read(published: State, small_spec: ModelSpec, tmp_path: Path) -> None:
    torch.save(published, tmp_path / "whole.pth")

    assert asdict(load_weights(tmp_path / "whole.pth").spec) == asdict(small_spec) | {"name": "custom"}


def without(part: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if part not in key}


def extra(**more: Tensor) -> Callable[[State], State]:
    return lambda state: state | {key.replace("__", "."): value for key, value in more.items()}


def replaced(key: str, change: Callable[[Tensor], Tensor]) -> Callable[[State], State]:
    return lambda state: state | {key: change(state[key])}


MISFITS: list[tuple[str, Callable[[State], State], str]] = [
    ("no patches", without("patch_embed"), "1 parameter is missing: backbone.patches.weight"),
    ("no positions", without("pos_embed"), "1 parameter is missing: backbone.positions"),
    (
        "no norm",
        without("blocks.0.norm1"),
        "2 missing: backbone.blocks.0.norm1.weight, backbone.blocks.0.norm1.bias",
    ),
    ("no routers", without("routers"), r"10 missing: backbone.blocks.1.router.embed.0.weight"),
    ("no refinement", without("efficient_block"), "a router 0, but only 0 blocks|relative_rows"),
    ("no block", without("blocks.1."), "of the blocks, these are missing: 1"),
    ("no blocks", without("blocks"), "of the blocks, these are missing|a router 0"),
    ("no head", without("matting_head"), "1 parameter is missing: decoder.head.0.weight"),
    (
        "no decoder",
        without("decoder"),
        "1 parameter is missing: decoder.details.0.0.weight",
    ),
    (
        "more keys",
        extra(backbone__mask_token=torch.ones(3)),
        "1 keys belong to no part .*: backbone.mask_token",
    ),
    (
        "a second router",
        extra(backbone__routers__1__in_conv__0__bias=torch.ones(16)),
        "there is a router 1, but only 1",
    ),
    ("twice", extra(module__backbone__pos_embed=torch.ones(1)), "some parameters are there twice"),
    (
        "another shape",
        replaced("backbone.blocks.2.mlp.fc1.bias", lambda value: value[:-1]),
        r"1 of another shape: backbone.blocks.2.mlp.0.bias is \(63,\) and should be \(64,\)",
    ),
    (
        "other axes",
        replaced("backbone.patch_embed.proj.weight", lambda value: value.flatten(1)),
        r"has the shape \(16, 1024\); 4 axes were expected",
    ),
    (
        "positions of no square",
        replaced("backbone.pos_embed", lambda value: value[:, :-1]),
        r"n \* n, channels",
    ),
    (
        "three heads",
        replaced("backbone.blocks.0.attn.rel_pos_h", lambda value: value[:, :5]),
        "of another shape|split",
    ),
    (
        "NaN",
        replaced("decoder.matting_head.matting_convs.0.bias", lambda value: value / 0 * 0),
        "hold NaN or inf",
    ),
    (
        "integers",
        replaced("backbone.blocks.0.norm1.bias", lambda value: value.long()),
        "no floating-point numbers",
    ),
]


@pytest.mark.parametrize(("change", "message"), [row[1:] for row in MISFITS], ids=[row[0] for row in MISFITS])
def test_weights_that_fit_no_network(
    published: State, tmp_path: Path, change: Callable[[State], State], message: str
) -> None:
    torch.save({"model": change(published)}, tmp_path / "misfit.pth")

    with pytest.raises(WeightsError, match=f"misfit.pth: .*({message})"):
        load_weights(tmp_path / "misfit.pth")


def described(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        read: dict[str, Any] = json.loads(file.metadata()["mematte"])
    return read


def rewrite(path: Path, metadata: dict[str, str], change: Callable[[State], State] = dict) -> None:
    from safetensors.torch import load_file

    save_file(change(load_file(path)), path, metadata=metadata)


def test_our_names_without_our_metadata(ours: Path) -> None:
    rewrite(ours, {})

    with pytest.raises(WeightsError, match=r"has no `mematte` entry in its metadata"):
        load_weights(ours)


@pytest.mark.parametrize("metadata", ["", "{", "[]", "7", "{}", "[" * 100_000], ids=lambda text: text[:9])
def test_damaged_metadata(ours: Path, metadata: str) -> None:
    rewrite(ours, {"mematte": metadata})

    with pytest.raises(WeightsError, match="the `mematte` entry of the metadata is damaged"):
        load_weights(ours)


def test_a_newer_format(ours: Path) -> None:
    rewrite(ours, {"mematte": json.dumps(described(ours) | {"format": 2})})

    with pytest.raises(WeightsError, match="the file's format is 2; this version of mematte reads format 1"):
        load_weights(ours)


@pytest.mark.parametrize(
    "change",
    [
        {"blocks": "WXG"},
        {"blocks": "W" * 2000},
        {"blocks": 3},
        {"heads": 0},
        {"heads": 3},
        {"channels": "16"},
        {"channels": 1 << 40},
        {"channels": True},
        {"detail_channels": [1, 2]},
        {"experts": 4},
    ],
)
def test_a_spec_that_is_none(ours: Path, change: dict[str, Any]) -> None:
    description = described(ours)
    description["spec"] |= change
    rewrite(ours, {"mematte": json.dumps(description)})

    with pytest.raises(WeightsError, match="the description of the network in the metadata is damaged"):
        load_weights(ours)


@pytest.mark.parametrize("part", ["spec", "preprocessing", "licence", "name"])
def test_a_description_with_a_part_missing(ours: Path, part: str) -> None:
    description = described(ours)
    del description[part]
    rewrite(ours, {"mematte": json.dumps(description)})

    with pytest.raises(WeightsError, match=f"is damaged: KeyError\\('{part}'\\)"):
        load_weights(ours)


@pytest.mark.parametrize(
    "change",
    [
        {"mean": [0.5]},
        {"mean": [0.5, 0.5, float("inf")]},
        {"mean": "abc"},
        {"mean": None},
        {"padding": "mirror"},
        {"padding": ["edge"]},
        {"padding": None},
    ],
)
def test_a_preprocessing_that_is_none(ours: Path, change: dict[str, Any]) -> None:
    description = described(ours)
    description["preprocessing"] |= change
    rewrite(ours, {"mematte": json.dumps(description)})

    with pytest.raises(WeightsError, match="the description of the network in the metadata is damaged"):
        load_weights(ours)


@pytest.mark.parametrize("windows", ["some", ["all"], None, 3])
def test_windows_that_are_none(ours: Path, windows: Any) -> None:
    rewrite(ours, {"mematte": json.dumps(described(ours) | {"windows": windows})})

    with pytest.raises(WeightsError, match="the description of the network in the metadata is damaged"):
        load_weights(ours)


@pytest.mark.parametrize("pixels", [-1, 1.5, "4 megapixels", None, True])
def test_a_size_to_narrow_above_that_is_none(ours: Path, pixels: Any) -> None:
    rewrite(ours, {"mematte": json.dumps(described(ours) | {"narrow_above": pixels})})

    with pytest.raises(WeightsError, match="the description of the network in the metadata is damaged"):
        load_weights(ours)


def test_a_spec_of_another_network(ours: Path) -> None:
    description = described(ours)
    description["spec"] |= {"blocks": "WRGW", "name": "longer"}
    rewrite(ours, {"mematte": json.dumps(description)})

    with pytest.raises(
        WeightsError,
        match=r"do not fit the network 'longer' .* 14 missing: backbone.blocks.3.norm1.weight.* and 4 more",
    ):
        load_weights(ours)


def test_nan_in_a_file_of_ours(ours: Path) -> None:
    def damage(state: State) -> State:
        state["backbone.positions"][0, 3, 3, 3] = float("nan")
        return state

    rewrite(ours, {"mematte": json.dumps(described(ours))}, damage)

    with pytest.raises(WeightsError, match=r"1 parameters hold NaN or infinite numbers: backbone\.positions"):
        load_weights(ours)


def test_a_refused_pickle_does_not_advise_to_trust_it(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / "network.pth")

    with pytest.raises(WeightsError, match="can run any code") as refused:
        load_weights(tmp_path / "network.pth")

    assert "add_safe_globals" not in str(refused.value)


def test_our_names_in_a_pickle(ours: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(ours), tmp_path / "ours.pth")

    with pytest.raises(WeightsError, match=r"ours.pth: this file has no `mematte` entry"):
        load_weights(tmp_path / "ours.pth")
