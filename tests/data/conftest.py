"""Tiny folders of pictures, so that the tests need no data set."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from mematte.data.crops import Crop, CropSource
from mematte.data.procedural import MatteBank
from mematte.data.shelf import Entry, Lottery, Shelf


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


def lottery_of(things: Sequence[Any], weights: Sequence[float] | None = None) -> Lottery[Any]:
    """A lottery of things that are there already."""
    entries = [Entry(Path(str(number)), lambda thing=thing: thing) for number, thing in enumerate(things)]
    return Lottery(Shelf(entries, "things"), weights)


def check_contract(crop: Crop, size_px: int) -> None:
    """Hold that a crop has the promised shapes and levels, and an exact alpha where its trimap knows it."""
    assert crop.image.shape == (size_px, size_px, 3)
    assert crop.alpha.shape == crop.trimap.shape == (size_px, size_px)
    assert (crop.image.dtype, crop.alpha.dtype, crop.trimap.dtype) == (np.uint8, np.float32, np.uint8)
    assert 0 <= crop.alpha.min() <= crop.alpha.max() <= 1
    assert set(np.unique(crop.trimap)) <= {0, 128, 255}
    assert (crop.alpha[crop.trimap == 0] == 0).all()
    assert (crop.alpha[crop.trimap == 255] == 1).all()


def same(one: Crop, two: Crop) -> bool:
    """Whether two crops are equal in every pixel."""
    return all((getattr(one, name) == getattr(two, name)).all() for name in ("image", "alpha", "trimap"))


def write_pair(folder: Path, name: str, size: tuple[int, int] = (240, 320), trimap: bool = True) -> None:
    """A photograph whose red is its alpha: a soft disc. AIM-500's layout."""
    height, width = size
    ys, xs = np.mgrid[:height, :width]
    alpha = np.clip((height / 3 - np.hypot(ys - height / 2, xs - width / 2)) / 20 + 0.5, 0, 1)
    levels = np.full(size, 128, np.uint8)
    levels[cv2.erode((alpha >= 1).astype(np.uint8), np.ones((9, 9))) > 0] = 255
    levels[cv2.erode((alpha <= 0).astype(np.uint8), np.ones((9, 9))) > 0] = 0
    red = np.rint(alpha * 255).astype(np.uint8)
    image = cv2.merge([np.full_like(red, 90), np.full_like(red, 40), red])
    for role, picture in {"original": image, "mask": red, "trimap": levels}.items():
        if role != "trimap" or trimap:
            (folder / role).mkdir(parents=True, exist_ok=True)
            assert cv2.imwrite(str(folder / role / f"{name}.png"), picture)


def small_source(folders: tuple[Path, Path]) -> CropSource:
    """A source with few and small drawings."""
    return CropSource(*folders, bank=MatteBank(size_px=160, capacity=4))


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Folders of foregrounds and of backgrounds."""
    return write_pictures(tmp_path_factory.mktemp("pictures"))


@pytest.fixture(scope="session")
def photograph_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three photographs with alpha, two of them with trimaps."""
    folder = tmp_path_factory.mktemp("photographs")
    for name, size, trimap in (
        ("one", (240, 320), True),
        ("two", (200, 180), True),
        ("three", (120, 150), False),
    ):
        write_pair(folder, name, size, trimap)
    return folder


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
