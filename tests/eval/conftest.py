"""Data sets of made pictures: soft discs, small enough for every test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

SIZE = 40, 56

Array = NDArray[Any]
MakeDiscs = Callable[..., Path]


def disc(radius: float) -> Array:
    """(40, 56) in [0, 1]: a disc whose edge is 8 px soft."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.clip((radius - np.hypot(rows - SIZE[0] / 2, columns - SIZE[1] / 2)) / 8 + 0.5, 0, 1)


def trimap_of(truth: Array) -> Array:
    """Known where the truth is 0 or 1."""
    return np.where((truth > 0) & (truth < 1), 128, truth * 255).astype(np.uint8)


def write(path: Path, pixels: Array) -> Path:
    """A picture file, its folder made if it is not there; pixels RGB or grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels[..., ::-1] if pixels.ndim == 3 else pixels)
    return path


@pytest.fixture
def make_discs(tmp_path: Path) -> MakeDiscs:
    """Names -> a folder with image/ alpha/ trimap1/ of discs that grow from name to name."""

    def make(*names: str) -> Path:
        for number, name in enumerate(names):
            truth = disc(10 + 2 * number)
            write(tmp_path / "set/image" / f"{name}.png", np.dstack([truth * 200 + 20] * 3).astype(np.uint8))
            write(tmp_path / "set/alpha" / f"{name}.png", np.rint(truth * 255).astype(np.uint8))
            write(tmp_path / "set/trimap1" / f"{name}.png", trimap_of(truth))
        return tmp_path / "set"

    return make
