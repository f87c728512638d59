"""Tiny folders of pictures, so that the tests need no data set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.data.crops import CropSource
from mematte.data.procedural import MatteBank


def write_pictures(root: Path) -> tuple[Path, Path]:
    """Two RGBA foregrounds (a soft disc, a star of thin lines) and two textured photographs."""
    rng = np.random.default_rng(5)
    foregrounds, backgrounds = root / "fg" / "drawn", root / "bg" / "noise"
    foregrounds.mkdir(parents=True)
    backgrounds.mkdir(parents=True)
    ys, xs = np.mgrid[:160, :200]
    disc = np.clip((60 - np.hypot(ys - 80, xs - 100)) / 12, 0, 1)
    star = np.zeros((160, 200), np.uint8)
    for angle in np.linspace(0, np.pi, 9):
        reach = np.array([np.cos(angle), np.sin(angle)]) * 70
        ends = [tuple(np.rint(np.array([100, 80]) + sign * reach).astype(int).tolist()) for sign in (-1, 1)]
        cv2.line(star, ends[0], ends[1], 255, 2, cv2.LINE_AA)
    for name, alpha in (("disc", disc * 255), ("star", star)):
        picture = np.dstack([np.full((160, 200), level) for level in (40, 90, 200)] + [alpha])
        cv2.imwrite(
            str(foregrounds / f"{name}.webp"), picture.astype(np.uint8), [cv2.IMWRITE_WEBP_QUALITY, 101]
        )
    for name in ("one", "two"):
        grid = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        cv2.imwrite(str(backgrounds / f"{name}.webp"), cv2.resize(grid, (320, 240)))
    return root / "fg", root / "bg"


def small_source(folders: tuple[Path, Path]) -> CropSource:
    """A source with a small, small-sized stock of drawings."""
    return CropSource(*folders, bank=MatteBank(size_px=160, capacity=4, first=2, every=3))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of foregrounds and of backgrounds."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture
def make_pictures() -> Callable[[Path], tuple[Path, Path]]:
    """Writes folders of its own for a test that spoils them."""
    return write_pictures


@pytest.fixture
def make_source() -> Callable[[tuple[Path, Path]], CropSource]:
    """Makes sources, for tests that compare two."""
    return small_source


@pytest.fixture
def source(folders: tuple[Path, Path]) -> CropSource:
    """A fresh source: its stock of drawings is empty."""
    return small_source(folders)
