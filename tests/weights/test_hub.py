"""The Hugging Face hub: a small one is served here, so that the real client talks to it."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants

from mematte.errors import OutputError, WeightsError
from mematte.model import MEMatte, ModelSpec
from mematte.weights import (
    Weights,
    build,
    from_pretrained,
    load,
    load_weights,
    push_to_hub,
    save_pretrained,
    save_weights,
    weights_of,
)
from mematte.weights.catalog import Entry

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def weights(small_spec: ModelSpec, random_network: Callable[..., MEMatte]) -> Weights:
    return weights_of(random_network(small_spec), name="mine", licence="Apache-2.0", training={"hours": 2})


class Hub(ThreadingHTTPServer):
    """Serves `files` ("org/name/file" -> bytes) as the hub does, and counts what is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.announced: dict[str, str] = {}  # instead of the true SHA-256
        self.asked: list[str] = []


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        self.server.asked.append(f"{self.command} {self.path}")
        repository, _, rest = self.path.strip("/").partition("/resolve/")
        name = f"{repository}/{rest.partition('/')[2]}"
        known = any(file.startswith(repository + "/") for file in self.server.files)
        content = self.server.files.get(name)
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("X-Error-Message", "not here")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", COMMIT)
        digest = self.server.announced.get(name, hashlib.sha256(content).hexdigest())
        self.send_header("ETag", f'"{digest}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Tests are silent."""


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and no hub: the client may not ask for anything."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return folder


@pytest.fixture
def hub(cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub of our own, with an empty cache before it."""
    assert not cache.exists()
    server = Hub()
    address = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    huggingface_hub.close_session()  # the client that exists may have read other settings
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    huggingface_hub.close_session()
    server.shutdown()
    server.server_close()
    thread.join()


def serve(hub: Hub, weights: Weights, folder: Path, repository: str = "org/name") -> None:
    save_pretrained(weights, folder)
    for path in folder.iterdir():
        hub.files[f"{repository}/{path.name}"] = path.read_bytes()


def same(one: Weights, other: Weights) -> bool:
    return one.state.keys() == other.state.keys() and all(
        torch.equal(one.state[key], value) for key, value in other.state.items()
    )


def test_a_repository_is_fetched_once_and_then_read_from_the_cache(
    hub: Hub, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(hub, weights, tmp_path / "folder")

    fetched = load_weights("org/name")

    assert same(fetched, weights)
    assert (fetched.name, fetched.licence, fetched.training) == ("mine", "Apache-2.0", {"hours": 2})
    assert fetched.source == f"https://huggingface.co/org/name at {COMMIT}"
    build(fetched)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    hub.asked.clear()
    assert same(load_weights("org/name"), weights)
    assert same(from_pretrained("org/name", local_files_only=True), weights)
    assert hub.asked == []


def test_what_was_converted_and_pushed_keeps_its_name_and_licence(
    hub: Hub, weights: Weights, tmp_path: Path
) -> None:
    serve(hub, replace(weights, training={"converted from": "theirs.pth"}), tmp_path / "folder")

    fetched = load_weights("org/name")

    assert (fetched.name, fetched.licence) == ("mine", "Apache-2.0")
    assert fetched.training == {"converted from": "theirs.pth"}


def test_a_file_that_was_damaged_in_the_cache_is_found_out(
    hub: Hub, weights: Weights, tmp_path: Path
) -> None:
    serve(hub, weights, tmp_path / "folder")
    load_weights("org/name")
    blob = next((tmp_path / "cache").rglob("snapshots/*/model.safetensors")).resolve()
    content = bytearray(blob.read_bytes())
    content[-1] ^= 1
    blob.write_bytes(content)

    with pytest.raises(WeightsError, match=r"model.safetensors is damaged .* Delete .* and run again"):
        load_weights("org/name")

    blob.unlink()
    assert same(load_weights("org/name"), weights)


def test_a_file_that_arrives_damaged_is_found_out(hub: Hub, weights: Weights, tmp_path: Path) -> None:
    serve(hub, weights, tmp_path / "folder")
    hub.announced["org/name/model.safetensors"] = "0" * 64

    with pytest.raises(WeightsError, match=r"its SHA-256 is .*, and should be 0000"):
        load_weights("org/name")


def test_the_catalogue_pins_what_a_repository_must_hold(
    hub: Hub, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    serve(hub, weights, tmp_path / "folder")
    entry = Entry("n", licence="MIT", repository="org/name", sha256={"model.safetensors": "1" * 64})
    monkeypatch.setattr(load, "find", lambda _: entry)

    with pytest.raises(WeightsError, match="and should be 1111"):
        load_weights("n")
    assert same(load_weights("n", revision="main"), weights)


def test_what_the_hub_does_not_have(hub: Hub, weights: Weights, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="org/none: the hub has no such repository, or it is private"):
        load_weights("org/none")
    hub.files["org/empty/README.md"] = b"nothing here"
    with pytest.raises(
        WeightsError, match=r"org/empty holds neither model.safetensors nor pytorch_model.bin"
    ):
        load_weights("org/empty")
    with pytest.raises(WeightsError, match=r"'org/a--b' is not a repository's name"):
        load_weights("org/a--b")
    serve(hub, weights, tmp_path / "folder")
    hub.files["org/name/model.safetensors"] = b"version https://git-lfs.github.com/spec/v1\n"
    with pytest.raises(WeightsError, match="Git LFS pointer"):
        load_weights("org/name")


@pytest.mark.parametrize("name", ["hustvl/vitmatte-small-composition-1k", "vitmatte-small-composition-1k"])
def test_offline_says_what_to_put_where(cache: Path, name: str) -> None:
    with pytest.raises(WeightsError) as caught:
        load_weights(name)

    message = str(caught.value)
    assert f"is not in the cache ({cache})" in message
    assert "`hf download hustvl/vitmatte-small-composition-1k --local-dir FOLDER`" in message
    assert "`mematte convert FOLDER -o FILE.safetensors`" in message
    assert "HF_HOME" in message


def test_a_folder_on_disk_wins_over_the_hub(
    cache: Path, weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    save_pretrained(weights, "hustvl/vitmatte-small-composition-1k")

    assert same(load_weights("hustvl/vitmatte-small-composition-1k"), weights)
    assert not cache.exists()


def test_the_hub_s_vitmatte_comes_as_it_is_described_there(
    hub: Hub, fill_with_noise: Callable[..., None]
) -> None:
    transformers = pytest.importorskip("transformers", reason="the development extra brings transformers")
    backbone = transformers.VitDetConfig(
        hidden_size=16,
        num_attention_heads=2,
        num_hidden_layers=2,
        image_size=512,
        num_channels=4,
        window_size=14,
        window_block_indices=[0],
        residual_block_indices=[1],
        use_relative_position_embeddings=True,
        out_features=["stage2"],
    )
    network = transformers.VitMatteForImageMatting(
        transformers.VitMatteConfig(
            backbone_config=backbone,
            hidden_size=16,
            convstream_hidden_sizes=[4, 6, 8],
            fusion_hidden_sizes=[8, 8, 6, 4],
        )
    )
    fill_with_noise(network)
    from safetensors.torch import save

    state = {key: value.contiguous() for key, value in network.state_dict().items()}
    hub.files["org/vitmatte/model.safetensors"] = save(state)
    hub.files["org/vitmatte/config.json"] = network.config.to_json_string().encode()
    processor = {
        "image_mean": [0.4, 0.5, 0.6],
        "image_std": [0.5, 0.5, 0.5],
        "rescale_factor": 0.00392156862745098,
    }
    hub.files["org/vitmatte/preprocessor_config.json"] = json.dumps(processor).encode()

    weights = load_weights("org/vitmatte")

    assert (weights.spec.blocks, weights.name) == ("WG", "vitmatte")
    assert weights.preprocessing.mean == (0.4, 0.5, 0.6)
    assert weights.licence == "see https://huggingface.co/org/vitmatte"
    assert weights.training["converted from"].startswith("https://huggingface.co/org/vitmatte at ")


def test_a_saved_folder_is_loaded_again(weights: Weights, tmp_path: Path) -> None:
    save_pretrained(weights, tmp_path / "folder")

    read = from_pretrained(tmp_path / "folder")

    assert same(read, weights)
    assert (read.spec, read.name, read.training) == (weights.spec, "mine", {"hours": 2})
    names = sorted(path.name for path in (tmp_path / "folder").iterdir())
    assert names == ["README.md", "config.json", "model.safetensors"]
    assert json.loads((tmp_path / "folder" / "config.json").read_text())["spec"]["blocks"] == "WRG"
    card = (tmp_path / "folder" / "README.md").read_text()
    assert "license: apache-2.0" in card
    assert "- hours: 2" in card


def test_a_model_card_that_is_there_stays(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("my own words")

    save_pretrained(weights, tmp_path)

    assert (tmp_path / "README.md").read_text() == "my own words"


def test_a_description_is_there_whole_or_not_at_all(
    weights: Weights, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_pretrained(weights, tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(_descriptor: int) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OutputError, match=r"config.json was not written, .*No space left on device"):
        save_pretrained(replace(weights, name="another"), tmp_path)

    after = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert {**after, "model.safetensors": before["model.safetensors"]} == before


def test_a_folder_that_cannot_be_made_is_an_error(weights: Weights, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(OutputError, match="file/folder cannot be made a folder"):
        save_pretrained(weights, tmp_path / "file" / "folder")


class Api:
    """What `push_to_hub` asks of the hub's client."""

    calls: list[tuple[str, Any]] = []  # noqa: RUF012
    has_card = False

    def __init__(self, token: str | None, library_name: str) -> None:
        self.calls.append(("client", (token, library_name)))

    def create_repo(self, repository: str, **options: Any) -> None:
        self.calls.append(("create", (repository, options)))

    def file_exists(self, _repository: str, _name: str) -> bool:
        return self.has_card

    def upload_folder(self, folder_path: str, ignore_patterns: list[str], **_: Any) -> Any:
        files = sorted(path.name for path in Path(folder_path).iterdir() if path.name not in ignore_patterns)
        self.calls.append(("upload", (files, load_weights(folder_path).name)))
        return type("Commit", (), {"commit_url": "https://huggingface.co/me/mine/commit/1"})


@pytest.mark.parametrize("has_card", [False, True])
def test_push_to_hub(weights: Weights, monkeypatch: pytest.MonkeyPatch, has_card: bool) -> None:
    monkeypatch.setattr("mematte.weights.hub.HfApi", Api)
    monkeypatch.setattr(Api, "calls", [])
    monkeypatch.setattr(Api, "has_card", has_card)

    address = push_to_hub(weights, "me/mine", private=True, token="secret")

    assert address == "https://huggingface.co/me/mine/commit/1"
    files = ([] if has_card else ["README.md"]) + ["config.json", "model.safetensors"]
    assert Api.calls == [
        ("client", ("secret", "mematte")),
        ("create", ("me/mine", {"private": True, "exist_ok": True})),
        ("upload", (files, "mine")),
    ]


def test_an_upload_that_fails_is_our_error(cache: Path, weights: Weights) -> None:
    with pytest.raises(OutputError, match=r"me/mine: the upload failed: .*Log in with `hf auth login`"):
        push_to_hub(weights, "me/mine")
    assert not cache.exists()


def test_a_file_of_ours_needs_nothing_beside_it(weights: Weights, tmp_path: Path, cache: Path) -> None:
    save_weights(weights, tmp_path / "mine.safetensors")

    assert same(load_weights(str(tmp_path / "mine.safetensors")), weights)
    assert not cache.exists()
