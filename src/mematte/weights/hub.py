"""The Hugging Face hub: fetch a repository's weights, write a folder as the hub wants it, push one."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from mematte.errors import OutputError, WeightsError
from mematte.files import sha256, write_text

from .checkpoint import Weights, save_weights

# The first that a repository or folder has is taken.
WEIGHTS_FILES = ("model.safetensors", "pytorch_model.bin")
CONFIG_FILES = ("config.json", "preprocessor_config.json")

# What the hub's model cards may name; anything else is "other" there, and said in words below.
HUB_LICENCES = {"mit", "apache-2.0", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0"}


def fetch(
    repository: str,
    *,
    revision: str | None = None,
    local_files_only: bool = False,
    pinned: Mapping[str, str] | None = None,
) -> Path:
    """Download what is not in the cache yet.

    Args:
        repository: `org/name`.
        revision: branch, tag or commit; None = main.
        local_files_only: take what is in the cache and do not ask the hub.
        pinned: file name -> SHA-256 that the file must have.

    Returns:
        The weights file in the cache; `config.json` and `preprocessor_config.json` lie beside it, where there
        are any.

    Raises:
        WeightsError: no such repository, no weights in it, no connection and not in the cache (the message
            says what to put where), or a file that is not what the hub or the catalogue says it is.
    """
    weights, unreachable = None, None
    for name in (*CONFIG_FILES, *WEIGHTS_FILES):  # the weights last: where they are, the rest is
        try:
            path = _download(repository, name, revision, local_files_only or unreachable is not None)
        except LocalEntryNotFoundError as error:
            unreachable = error  # one attempt to reach the hub is enough, each may take long to fail
            continue
        if path and name in WEIGHTS_FILES:
            weights = path
            break
    if weights is None:
        message = _OFFLINE if unreachable else f"{{repository}} holds neither {' nor '.join(WEIGHTS_FILES)}."
        cache = constants.HF_HUB_CACHE
        raise WeightsError(message.format(repository=repository, cache=cache)) from unreachable
    verify(weights, repository, (pinned or {}).get(weights.name))
    return weights


_OFFLINE = (
    "{repository} is not in the cache ({cache}) and the hub cannot be reached, or may not be asked. On a "
    "machine with a connection run `hf download {repository} --local-dir FOLDER`, bring FOLDER here and give "
    "its path in place of the name, or make one file of it with `mematte convert FOLDER -o "
    "FILE.safetensors`. Or bring that machine's cache here and set HF_HOME to it."
)


def verify(path: Path, repository: str, pinned: str | None) -> None:
    """Hold a cached file against its SHA-256.

    The cache names a large file by the SHA-256 that the hub announced for it, so damage is found without a
    connection. (Where the file system has no links, as on some Windows, only what is pinned is checked.)

    Raises:
        WeightsError: it differs.
    """
    announced = path.resolve().name
    expected = pinned or (announced if re.fullmatch(r"[0-9a-f]{64}", announced) else None)
    if expected and (found := sha256(path)) != expected:
        raise WeightsError(
            f"{repository}: {path.name} is damaged or was replaced: its SHA-256 is {found}, and should be "
            f"{expected}. Delete {path.resolve()} and run again to download it anew."
        )


def _download(repository: str, name: str, revision: str | None, local_files_only: bool) -> Path | None:
    """One file of a repository, from the cache or the hub; None where the repository does not have it.

    Raises:
        LocalEntryNotFoundError: it is not in the cache and the hub cannot be asked.
        WeightsError: anything else that goes wrong.
    """
    try:
        return Path(
            hf_hub_download(
                repository, name, revision=revision, local_files_only=local_files_only, library_name="mematte"
            )
        )
    except LocalEntryNotFoundError:
        raise
    except EntryNotFoundError:
        return None
    except GatedRepoError as error:
        raise WeightsError(
            f"{repository}: the hub gives it only to people who accepted its terms. Accept them on "
            f"https://huggingface.co/{repository}, then log in with `hf auth login`."
        ) from error
    except RepositoryNotFoundError as error:
        raise WeightsError(
            f"{repository}: the hub has no such repository, or it is private. Check the name; log in with "
            f"`hf auth login` if it is yours."
        ) from error
    except RevisionNotFoundError as error:
        raise WeightsError(f"{repository}: the repository has no revision {revision!r}.") from error
    except HFValidationError as error:
        raise WeightsError(f"{repository!r} is not a repository's name: {error}") from error
    except Exception as error:  # its errors are those of the library that carries the bytes, whichever it is
        raise WeightsError(
            f"{repository}: {name} cannot be downloaded: {type(error).__name__}: {error}."
        ) from error


def save_pretrained(weights: Weights, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
    """Write a folder as the hub wants it: model.safetensors, config.json and, if there is none, README.md.

    model.safetensors is enough by itself; config.json repeats its description for people and for the hub.
    Both replace what the folder holds under these names, as the hub's own functions of this name do.

    Raises:
        WeightsError: the weights do not fit their spec, or are not finite.
        OutputError: the folder cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be made a folder: {error.strerror or error}.") from error
    save_weights(weights, folder / "model.safetensors", dtype)
    config = {
        "model_type": "mematte",
        "name": weights.name,
        "spec": asdict(weights.spec),
        "preprocessing": asdict(weights.preprocessing),
        "licence": weights.licence,
    }
    write_text(folder / "config.json", json.dumps(config, indent=2) + "\n")
    if not (folder / "README.md").exists():
        write_text(folder / "README.md", model_card(weights))


def push_to_hub(
    weights: Weights,
    repository: str,
    *,
    private: bool = False,
    token: str | None = None,
    message: str = "Weights written by mematte",
    dtype: torch.dtype = torch.float32,
) -> str:
    """Upload to the hub, making the repository if there is none. A model card that is there already stays.

    Returns:
        The address of the commit.

    Raises:
        WeightsError: the weights do not fit their spec, or are not finite.
        OutputError: the hub refuses or cannot be reached.
    """
    with tempfile.TemporaryDirectory() as folder:
        save_pretrained(weights, folder, dtype)
        hub = HfApi(token=token, library_name="mematte")
        try:
            hub.create_repo(repository, private=private, exist_ok=True)
            kept = ["README.md"] if hub.file_exists(repository, "README.md") else []
            commit = hub.upload_folder(
                repo_id=repository, folder_path=folder, commit_message=message, ignore_patterns=kept
            )
        except Exception as error:  # see `_download`
            raise OutputError(
                f"{repository}: the upload failed: {error}. Log in with `hf auth login`, or give a token "
                f"that may write."
            ) from error
    return str(commit.commit_url)


def model_card(weights: Weights) -> str:
    """README.md for the hub: what these weights are and how to use them."""
    licence = weights.licence.lower()
    spec = weights.spec
    kind = "ViTMatte" if "G" in spec.blocks else "MEMatte"
    lines = [
        "---",
        f"license: {licence if licence in HUB_LICENCES else 'other'}",
        "library_name: mematte",
        "tags: [image-matting, trimap]",
        "---",
        "",
        f"# {weights.name}",
        "",
        f"{kind} for image matting: blocks `{spec.blocks}`, {spec.channels} channels, {spec.heads} heads.",
        "",
        f"Licence: {weights.licence}.",
        "",
        "## Use",
        "",
        "    mematte matte photo.jpg trimap.png -o alpha.png --weights ORG/NAME",
        "",
        "## Training",
        "",
    ]
    record = [f"- {key}: {value}" for key, value in weights.training.items()]
    return "\n".join(lines + (record or ["Nothing is recorded."])) + "\n"
