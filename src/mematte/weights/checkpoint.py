"""Our weights: in memory a `Weights`, on disk one `.safetensors` file that is enough by itself.

The file's metadata holds one entry, `mematte`: JSON with the format's version, the spec that draws the
network, how it is shown pictures, the licence and the record of the training.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors.torch import save_file
from torch import Tensor

from mematte.errors import OutputError, WeightsError
from mematte.files import appearing, target_of
from mematte.model import MEMatte, ModelSpec
from mematte.model.mematte import Padding

METADATA_KEY = "mematte"
FORMAT_VERSION = 1
LISTED = 10  # names in an error message before it says how many more

Windows = Literal["all", "unknown"]
"""Which windows of a picture a network computes: "unknown" = those near unknown pixels."""

# BatchNorm counts its batches; nothing reads the count at a fixed momentum.
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Preprocessing:
    """How a network is shown pictures: what their RGB channels (in [0, 1]) are normalised with, which the
    trimap never is, and what lies beyond their bottom and right edges, up to the next multiple of 32 px.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)  # ImageNet
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    # Zeros as the published networks have it, or the last pixels again. Zeros are a surely known background:
    # who never saw them in training takes an unknown region that meets such an edge for background as well.
    padding: Padding = "zeros"


@dataclass(frozen=True)
class Weights:
    """Everything that a network needs to run, and what a person should know about it."""

    spec: ModelSpec
    state: dict[str, Tensor] = field(repr=False)  # parameter or buffer -> value, in its stored precision
    preprocessing: Preprocessing = Preprocessing()
    licence: str = "unknown"
    name: str = "unnamed"
    training: dict[str, Any] = field(default_factory=dict)  # the record: data, hours, machine, figures
    enlarge_below: int = 0  # pixels; smaller pictures are shown to the network at twice their size
    windows: Windows = "all"  # which of them are computed, of pictures that are shown at their own size
    narrow_above: int = 0  # pixels; larger pictures are shown to the network reduced first; 0: none are
    source: str = ""  # where it was read from


def weights_of(
    network: MEMatte,
    *,
    name: str,
    licence: str,
    training: Mapping[str, Any] | None = None,
    preprocessing: Preprocessing | None = None,
    enlarge_below: int = 0,
    windows: Windows = "all",
    narrow_above: int = 0,
) -> Weights:
    """The weights of a network, copied: training it further does not change them."""
    state = {
        key: value.detach().to("cpu", copy=True).contiguous()
        for key, value in network.state_dict().items()
        if not key.endswith(COUNTER)
    }
    return Weights(
        spec=network.spec,
        state=state,
        preprocessing=preprocessing or Preprocessing(),
        licence=licence,
        name=name,
        training=dict(training or {}),
        enlarge_below=enlarge_below,
        windows=windows,
        narrow_above=narrow_above,
        source="a network in memory",
    )


def build(weights: Weights, *, copy: bool = True, backbone: torch.dtype = torch.float32) -> MEMatte:
    """Weights -> the network on the CPU, in evaluation mode, in float32 unless asked otherwise.

    Args:
        weights: what fills it.
        copy: False: where the precision is theirs the network is made of the weights themselves, which takes
            no memory a second time; whoever changes the one changes the other.
        backbone: the precision of that, where what follows wants another than float32.

    Raises:
        WeightsError: the state does not fit the spec.
    """
    check_fit(weights.state, weights.spec, weights.source or weights.name)
    # On "meta" nothing is drawn at random only to be overwritten.
    with torch.device("meta"):
        network = MEMatte(weights.spec)
    state = {
        key: value.to(backbone if key.startswith("backbone.") else torch.float32, copy=copy)
        for key, value in weights.state.items()
    }
    for key in network.state_dict():
        if key.endswith(COUNTER):
            state[key] = torch.zeros((), dtype=torch.long)
    network.load_state_dict(state, assign=True)
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network.eval()


def save_weights(
    weights: Weights, path: str | Path, dtype: torch.dtype = torch.float32, *, overwrite: bool = True
) -> None:
    """Write one `.safetensors` file. It appears whole or not at all.

    Args:
        weights: checked before anything is written.
        path: ends in `.safetensors`; its folder exists.
        dtype: of what has two axes or more. Biases, scales and running statistics stay float32: they weigh
            nothing, and a variance is easily too small or too large for float16.
        overwrite: False = an existing file is an error.

    Raises:
        WeightsError: the state does not fit the spec, or holds values that are not finite, or not in `dtype`.
        OutputError: the file cannot be written there.
    """
    path = Path(path)
    what = weights.name
    if path.suffix.lower() != ".safetensors":
        raise OutputError(
            f"{path}: weights are written as .safetensors, not as {path.suffix or 'a bare name'}."
        )
    if path.is_dir():
        raise OutputError(f"{path} is a folder; the weights need a file name.")
    if not overwrite and path.exists():
        raise OutputError(f"{path} exists already. Choose another name, or ask for it to be overwritten.")
    if not (folder := target_of(path).parent).is_dir():
        raise OutputError(f"{path}: there is no folder {folder}. Make it first.")
    check_fit(weights.state, weights.spec, what)
    tensors = {
        key: value.detach().to("cpu", dtype if value.ndim > 1 else torch.float32).contiguous()
        for key, value in weights.state.items()
    }
    check_finite(tensors, f"{what} in {str(dtype).removeprefix('torch.')}")
    try:
        metadata = {METADATA_KEY: json.dumps(_description(weights), allow_nan=False)}
    except (TypeError, ValueError) as error:
        raise WeightsError(f"{what}: the training record must be plain JSON: {error}.") from error
    try:
        with appearing(path) as partial:
            partial.touch()
            mode = partial.stat().st_mode
            save_file(tensors, partial, metadata=metadata)
            partial.chmod(mode)  # safetensors makes files that only their owner may read
    except Exception as error:  # safetensors has an error of its own for a full disk
        reason = " ".join(str(error).split())
        raise OutputError(f"{path} cannot be written: {reason}. Nothing was left behind.") from error


def from_metadata(state: dict[str, Tensor], metadata: Mapping[str, str], path: Path) -> Weights:
    """Tensors and the metadata beside them -> `Weights`, checked."""
    if METADATA_KEY not in metadata:
        raise WeightsError(
            f"{path}: this file has no `{METADATA_KEY}` entry in its metadata, so nothing says which network "
            f"it is for. The .safetensors files that `mematte convert` writes have it."
        )
    try:
        described = json.loads(metadata[METADATA_KEY])
        version = described["format"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise WeightsError(
            f"{path}: the `{METADATA_KEY}` entry of the metadata is damaged ({error!r})."
        ) from error
    if version != FORMAT_VERSION:
        raise WeightsError(
            f"{path}: the file's format is {version!r}; this version of mematte reads format "
            f"{FORMAT_VERSION}. A newer mematte may read it."
        )
    try:
        weights = Weights(
            spec=_spec(described["spec"]),
            state=state,
            preprocessing=_preprocessing(described["preprocessing"]),
            licence=str(described["licence"]),
            name=str(described["name"]),
            training=dict(described.get("training", {})),
            enlarge_below=_count(described.get("enlarge_below", 0)),
            windows=_windows(described.get("windows", "all")),
            narrow_above=_count(described.get("narrow_above", 0)),
            source=str(path),
        )
    except (ValueError, TypeError, KeyError, ArithmeticError) as error:
        raise WeightsError(
            f"{path}: the description of the network in the metadata is damaged: {error!r}."
        ) from error
    check_fit(state, weights.spec, str(path))
    check_finite(state, str(path))
    return weights


def check_fit(state: Mapping[str, Tensor], spec: ModelSpec, what: str) -> None:
    """Hold a state against the network it is for.

    Raises:
        WeightsError: parameters are missing, unknown, of another shape or no floating-point numbers; it lists
            which.
    """
    with torch.device("meta"):
        wanted = {
            key: value.shape for key, value in MEMatte(spec).state_dict().items() if not key.endswith(COUNTER)
        }
    complaints = []
    if missing := [key for key in wanted if key not in state]:
        complaints.append(f"{len(missing)} missing: {listed(missing)}")
    if unknown := [key for key in state if key not in wanted]:
        complaints.append(f"{len(unknown)} that the network does not have: {listed(unknown)}")
    differing = [
        f"{key} is {tuple(state[key].shape)} and should be {tuple(shape)}"
        for key, shape in wanted.items()
        if key in state and state[key].shape != shape
    ]
    if differing:
        complaints.append(f"{len(differing)} of another shape: {listed(differing)}")
    kinds = [f"{key} is {value.dtype}" for key, value in state.items() if not value.is_floating_point()]
    if kinds:
        complaints.append(f"{len(kinds)} that are no floating-point numbers: {listed(kinds)}")
    if complaints:
        raise WeightsError(
            f"{what}: these weights do not fit the network {spec.name!r} ({spec.channels} channels, blocks "
            f"{spec.blocks}). Parameters: {'; '.join(complaints)}."
        )


def check_finite(state: Mapping[str, Tensor], what: str) -> None:
    """No NaN and no infinity anywhere, or a `WeightsError` that lists where."""
    # A sum is finite only if all of it is; float16's own test takes twenty times as long on a CPU.
    bad = [key for key, value in state.items() if not bool(value.sum(dtype=torch.float64).isfinite())]
    if bad:
        raise WeightsError(
            f"{what}: {len(bad)} parameters hold NaN or infinite numbers: {listed(bad)}. The file is "
            f"damaged, the training went wrong, or the numbers are too large for the precision."
        )


def listed(names: Iterable[str]) -> str:
    """The first few names, and how many more there are."""
    names = list(names)
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return ", ".join(names[:LISTED]) + more


def _description(weights: Weights) -> dict[str, Any]:
    return {
        "format": FORMAT_VERSION,
        "name": weights.name,
        "licence": weights.licence,
        "spec": asdict(weights.spec),
        "preprocessing": asdict(weights.preprocessing),
        "enlarge_below": weights.enlarge_below,
        "windows": weights.windows,
        "narrow_above": weights.narrow_above,
        "training": weights.training,
    }


def _count(number: object) -> int:
    if type(number) is not int or number < 0:
        raise ValueError(f"{number!r} is no count")
    return number


def _windows(windows: Any) -> Windows:
    if windows not in get_args(Windows):
        raise ValueError(f"windows {windows!r} must be one of {', '.join(get_args(Windows))}")
    chosen: Windows = windows
    return chosen


def _spec(described: Mapping[str, Any]) -> ModelSpec:
    """JSON -> ModelSpec; whatever is not a spec is a ValueError, TypeError or KeyError."""
    names = {item.name for item in fields(ModelSpec)}
    if unknown := set(described) - names:
        raise ValueError(f"the spec has unknown entries {sorted(unknown)}")
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in described.items()
    }
    for key, value in values.items():
        if key in ("name", "blocks"):
            valid = isinstance(value, str)
        else:
            numbers = value if isinstance(value, tuple) else (value,)
            valid = all(type(number) is int and 0 < number < 1 << 16 for number in numbers)
        if not valid:
            raise ValueError(f"{key} = {value!r} in the spec")
    for key, length in (("detail_channels", 3), ("fusion_channels", 4)):
        if key in values and len(values[key]) != length:
            raise ValueError(f"{key} = {values[key]!r} in the spec")
    if len(values.get("blocks", "")) > 1000:
        raise ValueError("more than 1000 blocks in the spec")
    return ModelSpec(**values)


def _preprocessing(described: Mapping[str, Any]) -> Preprocessing:
    mean = tuple(float(value) for value in described["mean"])
    std = tuple(float(value) for value in described["std"])
    return preprocessing(mean, std, described.get("padding", "zeros"))


def preprocessing(
    mean: tuple[float, ...], std: tuple[float, ...], padding: Padding = "zeros"
) -> Preprocessing:
    """Checked `Preprocessing`.

    Raises:
        ValueError: not three finite numbers each, a standard deviation that is not positive, or a padding
            that does not exist.
    """
    if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
        raise ValueError(f"mean {mean} and std {std} must be three numbers each, std above 0")
    if padding not in get_args(Padding):
        raise ValueError(f"padding {padding!r} must be one of {', '.join(get_args(Padding))}")
    return Preprocessing((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), padding)
