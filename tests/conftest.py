"""What tests of several packages share."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mematte.model import MEMatte, ModelSpec

# Beside the checkout, not in it: the published network's outputs are large.
_BESIDE = Path(__file__).resolve().parents[2] / "shared" / "parity"
PARITY = Path(os.environ.get("MEMATTE_PARITY", _BESIDE))


@pytest.fixture(scope="session")
def parity_folder() -> Path:
    """The folder with what the paper's published code computes; see its README.md."""
    wanted = ("cases.json", "expected.safetensors", "reference_weights.py")
    missing = [name for name in wanted if not (PARITY / name).is_file()]
    if missing:
        pytest.skip(f"the parity reference is not here: {PARITY} lacks {', '.join(missing)}")
    return PARITY


@pytest.fixture(scope="session")
def parity_cases(parity_folder: Path) -> dict[str, dict[str, Any]]:
    """Case -> size, token cap, kind of decoding."""
    cases: dict[str, dict[str, Any]] = json.loads((parity_folder / "cases.json").read_text())
    return cases


@pytest.fixture(scope="session")
def parity_expected(parity_folder: Path) -> dict[str, Tensor]:
    """`CASE.QUANTITY` -> what the published code computes."""
    from safetensors.torch import load_file

    expected: dict[str, Tensor] = load_file(parity_folder / "expected.safetensors")
    return expected


@pytest.fixture(scope="session")
def published_state(parity_folder: Path) -> Callable[[str], dict[str, Tensor]]:
    """'mematte_s', 'mematte_b' or 'vitmatte_s' -> a state dict as published, of reproducible noise."""
    found = importlib.util.spec_from_file_location(
        "reference_weights", parity_folder / "reference_weights.py"
    )
    assert found
    assert found.loader
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)

    def state(variant: str) -> dict[str, Tensor]:
        return {key: torch.from_numpy(value) for key, value in module.state_dict(variant).items()}

    return state


def noisy(network: nn.Module, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if not value.is_floating_point():
            continue
        noise = torch.randn(value.shape, generator=generator)
        if name.endswith("running_var"):
            value.copy_(1 + 0.2 * noise.abs())
        elif value.ndim == 1:
            value.copy_((1 if name.endswith("weight") else 0) + 0.1 * noise)
        elif "relative" in name or "positions" in name:
            value.copy_(0.2 * noise)
        else:
            value.copy_(noise / value[0].numel() ** 0.5)


@pytest.fixture
def fill_with_noise() -> Callable[..., None]:
    """Module, seed -> its parameters and statistics become noise of a sensible scale: no branch is silent."""
    return noisy


@pytest.fixture
def small_spec() -> ModelSpec:
    """A network with every kind of block, small enough for a test."""
    return ModelSpec(
        "test",
        channels=16,
        heads=2,
        blocks="WRG",
        detail_channels=(4, 6, 8),
        fusion_channels=(8, 8, 6, 4),
        head_channels=4,
        global_positions=8,
    )


@pytest.fixture
def random_network() -> Callable[..., MEMatte]:
    """Spec, seed -> a network of noise in evaluation mode."""

    def make(spec: ModelSpec, seed: int = 0) -> MEMatte:
        network = MEMatte(spec)
        noisy(network, seed)
        return network.eval()

    return make
