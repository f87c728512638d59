"""Engines made of networks of noise, pictures of noise, and what the plain network makes of them."""

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from mematte.engine import Engine
from mematte.engine.plan import Plan, make_plan
from mematte.model import TINY, MEMatte, ModelSpec, within_budget
from mematte.weights import build
from mematte.weights.checkpoint import Weights, weights_of

from ..conftest import noisy


def random_weights(spec: ModelSpec = TINY) -> Weights:
    """Weights of a network in which no branch is silent."""
    network = MEMatte(spec)
    noisy(network)
    return weights_of(network, name="random", licence="none")


@pytest.fixture(scope="session")
def weights() -> Weights:
    return random_weights()


@pytest.fixture(scope="session")
def engine(weights: Weights) -> Engine:
    return Engine(weights, device="cpu", precision="float32")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def banded_trimap(height: int, width: int) -> np.ndarray:
    """Background on the left, foreground on the right, an unknown band between that reaches both edges."""
    levels = np.full((height, width), 128, np.uint8)
    levels[:, : width // 3] = 0
    levels[:, -(width // 3) or width :] = 255
    return levels


def in_one_piece(weights, image: np.ndarray, trimap: np.ndarray, budget: int = 10**9) -> np.ndarray:
    """The oracle: the plain network in float32 on the normalised image."""
    mean, std = (torch.tensor(v) for v in (weights.preprocessing.mean, weights.preprocessing.std))
    rgb = (torch.from_numpy(image).float() / 255 - mean) / std
    levels = torch.from_numpy(np.where(trimap == 128, 0.5, trimap / 255).astype(np.float32))
    inputs = torch.cat((rgb, levels[..., None]), dim=-1).permute(2, 0, 1)[None]
    with torch.inference_mode():
        matting = build(weights)(inputs, partial(within_budget, budget=budget))
    return matting.alpha[0, 0].numpy()


def cut_into(monkeypatch, **pieces: object) -> None:
    """From now on engines cut their work into these pieces."""

    def planned(*arguments: Any) -> Plan:
        plan = make_plan(*arguments)
        return replace(plan, pieces=replace(plan.pieces, **pieces))

    monkeypatch.setattr("mematte.engine.execute.make_plan", planned)
