"""Engines made of networks of noise."""

import pytest

from mematte.engine import Engine
from mematte.model import TINY, MEMatte, ModelSpec
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
