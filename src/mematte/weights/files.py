"""Files of weights -> named tensors, by what is in them and not by what they are called.

`.safetensors` is plain data. `.pth`, `.pt`, `.bin` are pickles, which can run code when they are read: they
are read with `weights_only=True`, and what that refuses is refused.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from mematte.errors import WeightsError

# Where training code puts the state dict inside its checkpoint.
ENTRIES = ("model", "state_dict")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read named tensors and, from a `.safetensors` file, its metadata.

    Raises:
        WeightsError: missing, a folder, unreadable, damaged, no weights, or a pickle of more than tensors.
    """
    start = _start(path)
    if start[:4] == b"PK\x03\x04" or (start[:1] == b"\x80" and start[1:2] <= b"\x05"):
        return read_pickle(path), {}
    if start[8:9] == b"{":
        return read_safetensors(path)
    raise WeightsError(f"{path}: this is no file of weights. {_looks_like(start)}")


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Read a `.safetensors` file: its tensors and its metadata."""
    start = _start(path)
    if start[8:9] != b"{":
        raise WeightsError(f"{path}: this is no .safetensors file. {_looks_like(start)}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError, RuntimeError) as error:
        raise WeightsError(f"{path}: the file is damaged or cut short ({error}). {_AGAIN}") from error


def read_pickle(path: Path) -> dict[str, Tensor]:
    """Read the state dict of a `.pth` file, bare or inside a dict under "model" or "state_dict"."""
    _start(path)
    try:
        with warnings.catch_warnings():
            # Old files are read with a warning about their pickle protocol; whether they can be read is what
            # counts.
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (
        Exception
    ) as error:  # torch.load fails in a dozen ways: OSError, EOFError, KeyError, RuntimeError ...
        raise WeightsError(_pickle_refused(path, error)) from error
    if isinstance(content, Mapping):
        for entry in ENTRIES:
            if isinstance(content.get(entry), Mapping):
                content = content[entry]
                break
    if not isinstance(content, Mapping):
        raise WeightsError(f"{path}: it holds a {type(content).__name__}, not a dict of named tensors.")
    tensors = {str(key): value for key, value in content.items() if _is_plain(value)}
    if len(tensors) < len(content):
        others = [str(key) for key, value in content.items() if not _is_plain(value)]
        raise WeightsError(
            f"{path}: a dict of named tensors was expected, bare or under 'model' or 'state_dict'; "
            f"these entries are something else: {', '.join(others[:10])}."
        )
    if not tensors:
        raise WeightsError(f"{path}: the dict of named tensors is empty.")
    return tensors


def _is_plain(value: object) -> bool:
    """Whether it is a tensor whose numbers are all there: neither sparse nor nested nor on "meta"."""
    return (
        isinstance(value, Tensor)
        and value.layout is torch.strided
        and not value.is_nested
        and value.device.type == "cpu"
    )


_REASON = (
    r"(?:WeightsUnpickler error: |(?=Trying to load ))(.*?)\.?(?: Please use| Check the documentation|$)"
)
_AGAIN = "Download or copy it again."


def _start(path: Path) -> bytes:
    """The first bytes of a file that exists and is not empty."""
    if path.is_dir():
        raise WeightsError(f"{path} is a folder, and a file of weights was expected.")
    try:
        with path.open("rb") as file:
            start = file.read(64)
    except FileNotFoundError as error:
        raise WeightsError(f"{path}: there is no such file.") from error
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}.") from error
    if not start:
        raise WeightsError(f"{path}: the file is empty. {_AGAIN}")
    return start


def _looks_like(start: bytes) -> str:
    if start.startswith(b"version https://git-lfs"):
        return "It is a Git LFS pointer: fetch the file itself with `git lfs pull`."
    if start.lstrip()[:1] == b"<":
        return "It is a web page, saved in place of the download."
    if start.startswith((b"\x89PNG", b"\xff\xd8\xff", b"II*\x00", b"MM\x00*", b"v/1\x01", b"RIFF")):
        return "It is a picture."
    return "Weights are .safetensors, .pth, .pt or .bin files."


def _pickle_refused(path: Path, error: Exception) -> str:
    text = " ".join(str(error).split())
    # The reason, without torch's advice to switch the protection off.
    refused = re.search(_REASON, text)
    if refused and refused[1].startswith("Unsupported operand"):
        text = f"{refused[1]} in its pickle"
    elif "weights_only" in text or "Weights only" in text:
        reason = refused[1] if refused else "objects other than tensors"
        return (
            f"{path}: the file holds pickled Python objects besides tensors ({reason[:200]}). Reading those "
            f"can run any code, so mematte never does. Where you trust the file, save its tensors alone: "
            f"torch.save({{'model': model.state_dict()}}, 'tensors.pth')."
        )
    reason = f"{type(error).__name__}: {text[:200]}"
    return f"{path}: the file is damaged, cut short, or no PyTorch file ({reason}). {_AGAIN}"
