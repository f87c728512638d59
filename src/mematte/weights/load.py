"""A name, a path or a repository -> `Weights`; and another's file -> ours."""

from __future__ import annotations

import difflib
import os
import re
import warnings
from dataclasses import replace
from pathlib import Path

import torch

from mematte.errors import InputError, MatteWarning, OutputError, WeightsError
from mematte.files import sha256

from .catalog import ALIASES, CATALOG, Entry, find
from .checkpoint import METADATA_KEY, Preprocessing, Weights, from_metadata, save_weights
from .convert import check_config, convert, read_json, read_preprocessing
from .files import read_tensors
from .hub import WEIGHTS_FILES, fetch

SUFFIXES = {".safetensors", ".pth", ".pt", ".bin", ".ckpt"}
REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]*/[\w.\-]+")

RUN_WEIGHTS = "weights.safetensors"  # as `mematte train` leaves them in a run's folder

UNKNOWN_LICENCE = (
    "not stated in the file; the weights that are published in this form descend from Adobe Composition-1K "
    "or Distinctions-646 and may not be used commercially"
)


def load_weights(
    name_or_path: str | os.PathLike[str], *, revision: str | None = None, local_files_only: bool = False
) -> Weights:
    """Load weights by what people call them.

    Args:
        name_or_path: a name of the catalogue ("tiny"), a file (ours, or a published `.pth`, or Hugging
            Face's), a folder of a training run or with `model.safetensors`, or a repository on the Hugging
            Face hub ("org/name"). A name of the catalogue wins over a file that is called the same ("./tiny"
            means the file); what exists on disk wins over the hub, and where there is a folder "org" here,
            "org/name" is a file in it. A `Path` is a path, whatever names there are.
        revision: of the repository: branch, tag or commit. The catalogue's checksums then do not apply.
        local_files_only: do not ask the hub; take what its cache holds.

    Raises:
        WeightsError: nothing is there, or what is there is damaged or of another network. The message says
            what to do.
        InputError: it is neither a string nor a path, or a revision is asked for of what is no repository.
    """
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise InputError(f"Weights are a name, a path or a repository on the hub, not {name_or_path!r}.")
    if isinstance(name_or_path, str):
        entry = find(name_or_path)
        if entry and not (entry.repository == name_or_path and _on_disk(name_or_path)):
            return _from_catalog(entry, revision, local_files_only)
        if not _on_disk(name_or_path):
            is_file = (
                Path(name_or_path).suffix.lower() in SUFFIXES
                or name_or_path.startswith((".", "~"))
                or _in_a_folder(name_or_path)
            )
            if REPOSITORY.fullmatch(name_or_path) and not is_file:
                return _from_hub(name_or_path, revision, local_files_only, None)
            if not is_file and "/" not in name_or_path and os.sep not in name_or_path:
                raise WeightsError(_no_such_name(name_or_path))
            raise WeightsError(_no_such_file(_path(name_or_path)))
    _check_no_revision(revision, "a path")
    return read(_path(name_or_path))


def from_pretrained(
    name_or_path: str | os.PathLike[str], *, revision: str | None = None, local_files_only: bool = False
) -> Weights:
    """`load_weights`, under the name that users of the Hugging Face hub know."""
    return load_weights(name_or_path, revision=revision, local_files_only=local_files_only)


def read(path: Path, *, licence: str = UNKNOWN_LICENCE, name: str = "", origin: str = "") -> Weights:
    """Read a file or folder of any kind that is known: ours, published, or Hugging Face's.

    Args:
        path: the file, or a folder: a training run's, or one with `model.safetensors` or `pytorch_model.bin`.
        licence: of a file that does not say, as only ours does. So too:
        name: "" = what the file or its folder is called.
        origin: what the training record says it was converted from; "" = the file's name.

    Raises:
        WeightsError: see `load_weights`.
    """
    if _on_disk(path) and path.is_dir():
        names = (RUN_WEIGHTS, *WEIGHTS_FILES)
        files = [path / name for name in names if (path / name).is_file()]
        if not files:
            raise WeightsError(f"{path}: the folder holds none of {', '.join(names)}.")
        path = files[0]
    state, metadata = read_tensors(path)
    if METADATA_KEY in metadata:
        return from_metadata(state, metadata, path)
    if "backbone.patches.weight" in state:
        # Our names without our metadata: say so, rather than "another network".
        return from_metadata(state, metadata, path)
    converted = convert(state, str(path))
    called = path.stem if path.name not in WEIGHTS_FILES else path.parent.name or path.stem
    weights = Weights(
        spec=converted.spec,
        state=converted.state,
        licence=licence,
        name=name or called,
        training={
            "converted from": origin or path.name,
            "naming": converted.family,
            "notes": converted.notes,
        },
        source=str(path),
    )
    if converted.family != "Hugging Face":
        return weights
    if (config := path.with_name("config.json")).is_file():
        check_config(read_json(config), converted.spec, str(path.parent))
    return replace(weights, preprocessing=_preprocessing_beside(path))


def convert_file(
    source: str | Path, output: str | Path, *, dtype: torch.dtype = torch.float32, overwrite: bool = False
) -> Weights:
    """Read weights of any kind (a file, a folder, a repository) and write them as one file of ours.

    Returns:
        What was written; `training["notes"]` says what was left out.

    Raises:
        WeightsError: see `load_weights`.
        OutputError: the file exists and `overwrite` is False, or cannot be written. Nothing half-written
            stays.
    """
    output = Path(output)
    if output.exists() and not overwrite:  # before the reading, which can take long
        raise OutputError(f"{output} exists already. Choose another name, or ask for it to be overwritten.")
    weights = load_weights(source)
    save_weights(weights, output, dtype, overwrite=overwrite)
    return weights


def _from_catalog(entry: Entry, revision: str | None, local_files_only: bool) -> Weights:
    is_there = entry.file is not None and entry.file.is_file()
    if entry.how and not is_there:
        raise WeightsError(f"{entry.name!r} is not something that mematte can fetch. {entry.how}")
    if entry.repository:
        return _from_hub(entry.repository, revision, local_files_only, entry)
    _check_no_revision(revision, f"{entry.name!r}, which comes with mematte")
    assert entry.file
    if not is_there:
        raise WeightsError(
            f"{entry.name!r} should come with the package, but {entry.file} is not there. Install mematte "
            f"again, or give the path of a .safetensors file."
        )
    expected = entry.sha256.get(entry.file.name)
    if expected and (found := sha256(entry.file)) != expected:
        raise WeightsError(
            f"{entry.file} is damaged or was replaced: its SHA-256 is {found}, and should be {expected}. "
            f"Install mematte again; weights of your own are given by their path."
        )
    weights = read(entry.file)
    return replace(
        weights,
        windows=weights.windows if entry.windows is None else entry.windows,
        narrow_above=weights.narrow_above if entry.narrow_above is None else entry.narrow_above,
    )


def _check_no_revision(revision: str | None, what: str) -> None:
    if revision is not None:
        raise InputError(
            f"revision={revision!r} is of a repository on the hub, and this is {what}. Leave it out."
        )


def _from_hub(repository: str, revision: str | None, local_files_only: bool, entry: Entry | None) -> Weights:
    pinned = entry.sha256 if entry and revision is None else None
    path = fetch(repository, revision=revision, local_files_only=local_files_only, pinned=pinned)
    source = f"https://huggingface.co/{repository} at {path.parent.name}"  # the cache's folder is the commit
    licence = entry.licence if entry else f"see https://huggingface.co/{repository}"
    name = repository.split("/")[1]
    weights = read(path, licence=licence, name=name, origin=f"{source}, {path.name}")
    return replace(weights, source=source)


def _preprocessing_beside(path: Path) -> Preprocessing:
    """Mean and standard deviation from the file beside a Hugging Face checkpoint."""
    beside = path.with_name("preprocessor_config.json")
    if not beside.is_file():
        warnings.warn(
            f"{path}: there is no preprocessor_config.json beside it; mean and standard deviation are taken "
            f"as 0.5, as `transformers` does. If the matte looks wrong, this is why.",
            MatteWarning,
            stacklevel=3,
        )
    return read_preprocessing(read_json(beside) if beside.is_file() else {}, str(path.parent))


def _on_disk(name: str | os.PathLike[str]) -> bool:
    try:
        return bool(name) and _path(name).exists()
    except OSError as error:  # too long, or in a folder that may not be searched
        raise WeightsError(f"{name} cannot be read: {error.strerror}.") from error


def _path(name: str | os.PathLike[str]) -> Path:
    try:
        return Path(name).expanduser()
    except RuntimeError:  # nobody is called so
        return Path(name)


def _in_a_folder(name: str) -> bool:
    """Whether it begins with a folder that is here: then nobody means the hub."""
    return Path(name).parent != Path() and Path(name).parent.is_dir()


def _no_such_file(path: Path) -> str:
    if path.is_symlink():
        return f"{path}: the link leads to {path.readlink()}, and there is no such file."
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1, cutoff=0.5)
    guess = f" Did you mean {path.parent / near[0]}?" if near else ""
    return f"{path}: there is no such file.{guess}"


def _no_such_name(name: str) -> str:
    names = [*CATALOG, *ALIASES]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    return (
        f"{name!r} is neither a file nor a name of weights.{guess} Names are: {', '.join(CATALOG)}; or a "
        f"path to a .safetensors or .pth file, or a repository on the Hugging Face hub as org/name."
    )
