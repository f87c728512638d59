"""Photographs of any shape give crops of any size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.data.backgrounds import BackgroundLibrary
from mematte.data.pyramid import Pyramid
from mematte.errors import DataError

from .conftest import lottery_of


@pytest.mark.parametrize("shape", [(1, 1), (5, 300), (40, 40), (600, 35)])
@pytest.mark.parametrize("size_px", [16, 224])
def test_any_photograph_fills_a_crop(shape: tuple[int, int], size_px: int) -> None:
    library = BackgroundLibrary(lottery_of([Pyramid(np.full((*shape, 3), (10, 120, 250), np.uint8))]))
    for seed in range(8):
        crop = library.photograph(np.random.default_rng(seed), size_px)
        assert crop.shape == (size_px, size_px, 3)
        assert (crop == (10, 120, 250)).all()


def test_crops_come_from_all_photographs_and_places() -> None:
    ramps = [
        np.tile(np.arange(start, start + 100, dtype=np.uint8)[None, :, None], (100, 1, 3))
        for start in (0, 150)
    ]
    library = BackgroundLibrary(lottery_of([Pyramid(ramp) for ramp in ramps]))
    rng = np.random.default_rng(0)
    means = np.array([library.photograph(rng, 32).mean() for _ in range(200)])
    assert 0.35 < (means < 125).mean() < 0.65
    assert np.std(means[means < 125]) > 5


@pytest.mark.parametrize("subfolder", [".", "animals/2019"])
def test_share_alike_photographs_are_backgrounds_but_never_textures(tmp_path: Path, subfolder: str) -> None:
    for name, level in (("cid22_ccbysa", 250), ("kodak", 10)):
        folder = Path(name) / subfolder
        (tmp_path / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / folder / "one.webp"), np.full((64, 64, 3), level, np.uint8))
    library = BackgroundLibrary.load([tmp_path / "cid22_ccbysa", tmp_path / "kodak"])
    rng = np.random.default_rng(0)

    behind = {int(library.photograph(rng, 32).mean() > 128) for _ in range(40)}
    textures = {int(library.textures.photograph(rng, 32).mean() > 128) for _ in range(40)}

    assert behind == {0, 1}
    assert textures == {0}


def test_only_share_alike_photographs_are_an_error_that_says_so(tmp_path: Path) -> None:
    (tmp_path / "all_ccbysa4").mkdir()
    cv2.imwrite(str(tmp_path / "all_ccbysa4" / "one.webp"), np.zeros((64, 64, 3), np.uint8))

    with pytest.raises(DataError, match="may be the texture of a foreground"):
        BackgroundLibrary.load(tmp_path)
