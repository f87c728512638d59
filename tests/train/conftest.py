"""A network and a source of crops small enough to be trained in a test."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mematte.data.crops import Crop
from mematte.model import ModelSpec
from mematte.train import Crops, Recipe

SPEC = ModelSpec(
    "test", channels=32, heads=2, blocks="WR", detail_channels=(4, 6, 8), fusion_channels=(16, 8, 8, 8),
    head_channels=8, window=4,
)  # fmt: skip


class Discs:
    """A source of crops that needs no files: soft bright discs on darkness."""

    def sample(self, rng: np.random.Generator, size_px: int) -> Crop:
        y, x = np.mgrid[:size_px, :size_px] - rng.uniform(size_px / 3, size_px * 2 / 3, (2, 1, 1))
        alpha = np.clip((size_px / 4 - np.hypot(y, x)) / 6 + 0.5, 0, 1).astype(np.float32)
        image = np.repeat(np.rint(alpha * 200 + 30).astype(np.uint8)[..., None], 3, axis=2)
        near = np.abs(size_px / 4 - np.hypot(y, x)) < 8
        trimap = np.where(near, 128, np.where(alpha > 0.5, 255, 0)).astype(np.uint8)
        return Crop(image, alpha, trimap)

    def move_window(self, first: int) -> None:
        self.window = first

    def draw_ahead(self, processes: int) -> None:
        self.drawn_in = processes


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def discs() -> Discs:
    return Discs()


@pytest.fixture
def recipe() -> Recipe:
    """Six steps of a network of two blocks."""
    return Recipe(
        spec=SPEC,
        steps=6,
        crops=(Crops(96, 2),),
        optimiser="muon",
        learning_rate=3e-3,
        matrix_learning_rate=3e-3,
        warmup_steps=1,
        save_every=2,
        log_every=1,
        precision="32-true",
    )
