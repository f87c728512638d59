"""Names of weights."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import mematte
from mematte.errors import InputError, WeightsError
from mematte.files import sha256
from mematte.model import MEMatte, ModelSpec
from mematte.weights import CATALOG, DEFAULT, load, load_weights, save_weights, weights_of
from mematte.weights.catalog import ALIASES, BUILT_IN, ENTRIES, SMALL, Entry, find


def test_the_default_is_built_in() -> None:
    assert CATALOG[DEFAULT] is BUILT_IN


@pytest.mark.parametrize(("entry", "most_bytes"), [(BUILT_IN, 20_000_000), (SMALL, 64_000_000)])
def test_our_own_file_is_the_one_the_catalogue_means(entry: Entry, most_bytes: int) -> None:
    assert entry.file
    if not entry.file.exists():
        pytest.skip(f"{entry.file} is not there: SMALL's is in the repository, not in the package")

    actual = {entry.file.name: sha256(entry.file)}
    assert entry.sha256 == actual, f"the file changed: write {actual} into catalog.py"
    assert entry.file.stat().st_size < most_bytes
    weights = load_weights(entry.name)
    assert (weights.name, weights.licence, weights.spec.name) == (entry.name, entry.licence, entry.name)
    assert weights.training


def test_what_is_not_beside_the_package_comes_with_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "find", lambda _: replace(SMALL, file=Path("nowhere.safetensors")))

    with pytest.raises(WeightsError, match=r"take weights/small\.safetensors from the project's"):
        load_weights("small")


def test_every_entry_says_exactly_one_place_and_a_licence() -> None:
    for entry in ENTRIES:
        assert sum(place is not None for place in (entry.file or entry.how, entry.repository)) == 1
        assert entry.licence
        assert all(re.fullmatch("[0-9a-f]{64}", value) for value in entry.sha256.values())
    assert set(ALIASES.values()) <= set(CATALOG)
    assert not set(ALIASES) & set(CATALOG)


def test_a_repository_finds_its_entry() -> None:
    entry = find("hustvl/vitmatte-small-composition-1k")

    assert entry is CATALOG["vitmatte-small-composition-1k"]
    assert find("hustvl/something-else") is None


@pytest.mark.parametrize("name", ["mematte-small", "mematte-base", "mematte-small-mixed", "base"])
def test_what_lies_on_a_drive_comes_with_directions(name: str) -> None:
    with pytest.raises(WeightsError) as caught:
        load_weights(name)

    message = str(caught.value)
    assert "https://github.com/linyiheng123/MEMatte" in message
    assert "`mematte convert FILE.pth -o mematte-" in message
    assert "exclude commercial use" in message


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("tyni", "'tyni' is neither a file nor a name of weights. Did you mean 'tiny'?"),
        ("mematte_small", "Did you mean 'mematte-small'?"),
        ("xxxxxxxx", "Names are: tiny, small, mematte-small, "),
        ("", "'' is neither a file nor a name"),
    ],
)
def test_an_unknown_name_lists_the_known_ones(name: str, message: str) -> None:
    with pytest.raises(WeightsError, match=re.escape(message)):
        load_weights(name)


@pytest.mark.parametrize("name", [None, 1, b"tiny", ["tiny"]])
def test_weights_are_said_by_a_name_or_a_path(name: Any) -> None:
    for function in (load_weights, mematte.load):
        with pytest.raises(InputError, match="a name, a path or a repository") as caught:
            function(name)
        assert repr(name) in str(caught.value)


def test_what_does_not_come_from_the_hub_has_no_revision() -> None:
    assert BUILT_IN.file
    for name in (BUILT_IN.name, BUILT_IN.file, str(BUILT_IN.file)):
        with pytest.raises(InputError, match="revision='main' is of a repository on the hub"):
            load_weights(name, revision="main")


@pytest.fixture
def entry(small_spec: ModelSpec, random_network: Callable[..., MEMatte], tmp_path: Path) -> Entry:
    path = tmp_path / "built-in.safetensors"
    save_weights(weights_of(random_network(small_spec), name="built-in", licence="MIT"), path)
    return Entry("built-in", licence="MIT", file=path, sha256={path.name: sha256(path)})


def test_a_built_in_file_is_held_against_its_checksum(entry: Entry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "find", lambda _: entry)
    assert load_weights("built-in").name == "built-in"

    assert entry.file
    content = bytearray(entry.file.read_bytes())
    content[-1] ^= 1
    entry.file.write_bytes(content)
    with pytest.raises(
        WeightsError, match=r"damaged or was replaced: its SHA-256 is \w{64}, and should be \w{64}"
    ):
        load_weights("built-in")

    monkeypatch.setattr(load, "find", lambda _: replace(entry, file=Path("nowhere.safetensors")))
    with pytest.raises(WeightsError, match="'built-in' should come with the package"):
        load_weights("built-in")


def test_an_entry_may_know_better_than_its_older_file_how_to_run_it(
    entry: Entry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(load, "find", lambda _: entry)
    weights = load_weights("built-in")
    assert (weights.windows, weights.narrow_above) == ("all", 0)

    monkeypatch.setattr(load, "find", lambda _: replace(entry, windows="unknown", narrow_above=5))
    weights = load_weights("built-in")
    assert (weights.windows, weights.narrow_above) == ("unknown", 5)


def test_a_name_wins_over_a_file_of_that_name_unless_it_is_written_as_a_path(
    entry: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert entry.file
    (tmp_path / "base").mkdir()
    entry.file.rename(tmp_path / "base" / "model.safetensors")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(WeightsError, match="is not something that mematte can fetch"):
        load_weights("base")
    assert load_weights("./base").name == "built-in"
    assert load_weights(Path("base")).name == "built-in"
