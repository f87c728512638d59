"""Weights that have names: where they are, what they must hash to, and under which licence they come."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .checkpoint import Windows

DEFAULT = "tiny"


@dataclass(frozen=True)
class Entry:
    """One name of the catalogue. One of `file`, `repository` and `how` says where the weights are.

    A file that is too large for the package has `how` as well, for those who have only that.
    """

    name: str
    licence: str
    file: Path | None = None  # shipped in the package, or beside it in the project's repository
    repository: str | None = None  # on the Hugging Face hub
    how: str | None = None  # what a person has to do
    sha256: dict[str, str] = field(default_factory=dict)  # file name -> SHA-256
    # Instead of what the file says, which is older than these choices.
    windows: Windows | None = None
    narrow_above: int | None = None


NON_COMMERCIAL = "trained on Adobe Composition-1K, whose terms exclude commercial use"

BUILT_IN = Entry(
    "tiny",
    licence="MIT",
    file=Path(__file__).with_name("tiny.safetensors"),
    # A test says the new value when the file changes.
    sha256={"tiny.safetensors": "4280e1cc3101372269ccd75b007c847d0379143f23b146def0be69abefbbd3f1"},
    windows="unknown",
    narrow_above=4_000_000,
)

_REPOSITORY = Path(__file__).parents[3]  # of a package that is used where it was cloned

SMALL = Entry(
    "small",
    licence="MIT",
    file=_REPOSITORY / "weights" / "small.safetensors",
    how="It is too large for the package, 58.6 MB: take weights/small.safetensors from the project's "
    "repository and give its path. For the weights of the paper's authors say mematte-small.",
    sha256={"small.safetensors": "ab5860243a6d1000a703f086373f28e9c82309704501a2fe4f31fae19b53ac28"},
    narrow_above=4_000_000,
)

_PUBLISHED_LICENCE = f"as the authors state; {NON_COMMERCIAL}"
_PUBLISHED_HOW = (
    "The paper's authors publish these weights on a drive, which no program may fetch for you. Their README, "
    "https://github.com/linyiheng123/MEMatte, links to it. Download the .pth file ({which}), then run "
    "`mematte convert FILE.pth -o {name}.safetensors` and give the path of that file in place of the name. "
    f"Mind the licence: they are {NON_COMMERCIAL}."
)


def _published(name: str, which: str) -> Entry:
    return Entry(name, licence=_PUBLISHED_LICENCE, how=_PUBLISHED_HOW.format(which=which, name=name))


def _vitmatte(size: str, data: str, sha256: dict[str, str]) -> Entry:
    data_licence = (
        NON_COMMERCIAL if data == "composition-1k" else "trained on Distinctions-646, for research only"
    )
    return Entry(
        f"vitmatte-{size}-{data}",
        licence=f"Apache-2.0 as published; {data_licence}",
        repository=f"hustvl/vitmatte-{size}-{data}",
        sha256=sha256,
    )


# The hashes are those that the hub shows for the files; a file that has none here is still held against the
# hub's own.
ENTRIES = (
    BUILT_IN,
    SMALL,
    _published("mematte-small", "ViT-S, Composition-1K"),
    _published("mematte-base", "ViT-B, Composition-1K"),
    _published("mematte-small-mixed", "ViT-S, 1024 px crops of mixed data"),
    _vitmatte(
        "small",
        "composition-1k",
        {"model.safetensors": "bda9289db1bb6762d978b42d1c62ae3f34daf7497171a347a1d09657efd788cb"},
    ),
    _vitmatte(
        "base",
        "composition-1k",
        {"pytorch_model.bin": "b2521bcc4b719fb24611c39605b6642162fd7502e69b3cc846506ca921757b41"},
    ),
    _vitmatte(
        "small",
        "distinctions-646",
        {"model.safetensors": "7bbe217ec9d6945679b6191ccd071006a3975675326312df1ecb5518488049a8"},
    ),
    _vitmatte("base", "distinctions-646", {}),
)

CATALOG = {entry.name: entry for entry in ENTRIES}

# What people type: a size of the paper of which only the authors' weights exist so far.
ALIASES = {"base": "mematte-base"}


def find(name: str) -> Entry | None:
    """The entry of a name, of another word for it, or of a repository; None where there is none."""
    by_name = CATALOG.get(ALIASES.get(name, name))
    return by_name or next((entry for entry in ENTRIES if entry.repository == name), None)
