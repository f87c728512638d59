"""Real photographs: image, alpha and trimap through one view, inside the photograph where it is possible."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.data.layouts import find_pairs
from mematte.data.photographs import Photograph, load_photographs, read_photograph
from mematte.data.pyramid import Pyramid
from mematte.errors import DataError

from .conftest import write_pair


@pytest.fixture
def photograph(tmp_path: Path) -> Photograph:
    write_pair(tmp_path, "disc")
    return read_photograph(find_pairs(tmp_path).pairs[0], 1000)


def test_image_and_alpha_go_through_the_same_view(photograph: Photograph) -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        image, alpha, _ = photograph.crop(photograph.random_view(rng, 96), 96)
        # Cleaning stretches the alpha by up to 5 levels.
        assert np.abs(image[..., 0].astype(int) - alpha).max() <= 6
        assert set(np.unique(image[..., 1:])) == {40, 90}


def test_its_own_trimap_is_exact_where_it_knows(photograph: Photograph) -> None:
    rng = np.random.default_rng(0)
    seen: set[int] = set()
    for _ in range(60):
        _, alpha, trimap = photograph.crop(photograph.random_view(rng, 96), 96, cv2.INTER_CUBIC)
        assert trimap is not None
        assert (alpha[trimap == 0] == 0).all()
        assert (alpha[trimap == 255] == 255).all()
        seen |= set(np.unique(trimap).tolist())
    assert seen == {0, 128, 255}


def test_a_trimap_that_contradicts_the_alpha_counts_as_unknown(photograph: Photograph) -> None:
    white = Pyramid(np.full((240, 320), 255, np.uint8))
    wrong = replace(photograph, trimap=white)
    _, alpha, trimap = wrong.crop(wrong.random_view(np.random.default_rng(0), 96), 96)
    assert trimap is not None
    assert (trimap == np.where(alpha == 255, 255, 128)).all()


def test_without_a_trimap_there_is_none(tmp_path: Path) -> None:
    write_pair(tmp_path, "disc", trimap=False)
    photograph = load_photographs(tmp_path).draw(np.random.default_rng(0))
    assert photograph.crop(photograph.random_view(np.random.default_rng(0), 64), 64)[2] is None


@pytest.mark.parametrize("size_px", [40, 200])
def test_views_lie_inside_the_photograph(photograph: Photograph, size_px: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(200):
        view = photograph.random_view(rng, size_px)
        reach = size_px / 2 / view.scale
        x, y = view.centre
        assert reach - 1e-6 <= x <= 320 - reach + 1e-6
        assert reach - 1e-6 <= y <= 240 - reach + 1e-6


@pytest.mark.parametrize("size", [(20, 20), (12, 300), (300, 12)])
def test_photographs_smaller_than_a_crop_fill_it(tmp_path: Path, size: tuple[int, int]) -> None:
    write_pair(tmp_path, "small", size)
    photograph = load_photographs(tmp_path).draw(np.random.default_rng(0))
    for seed in range(10):
        image, _, _ = photograph.crop(photograph.random_view(np.random.default_rng(seed), 224), 224)
        assert image.shape == (224, 224, 3)
        assert (image[..., 2] > 80).all()


def test_photographs_are_reduced_with_their_alpha_and_trimap(tmp_path: Path) -> None:
    write_pair(tmp_path, "large", (600, 900))
    photograph = read_photograph(find_pairs(tmp_path).pairs[0], 300)
    assert photograph.pyramid.size_px == (200, 300)
    assert photograph.trimap is not None
    assert photograph.trimap.size_px == (200, 300)


def test_photographs_stay_as_they_are_where_that_is_asked_for(tmp_path: Path) -> None:
    write_pair(tmp_path, "large", (600, 900))
    pair = find_pairs(tmp_path).pairs[0]

    whole, reduced = read_photograph(pair, 0), read_photograph(pair, 300)

    assert whole.pyramid.size_px == (600, 900)
    assert whole.trimap is not None
    assert whole.trimap.size_px == (600, 900)
    assert whole.pixels == reduced.pixels == 600 * 900


def test_a_folder_of_cutouts_holds_no_photographs(tmp_path: Path) -> None:
    picture = np.zeros((40, 40, 4), np.uint8)
    picture[10:30, 10:30] = 255
    cv2.imwrite(str(tmp_path / "a.png"), picture)
    with pytest.raises(DataError, match="Name it among the foregrounds"):
        load_photographs(tmp_path)


@pytest.mark.parametrize("level", [0, 255])
def test_an_alpha_that_is_the_same_everywhere_is_an_error(tmp_path: Path, level: int) -> None:
    write_pair(tmp_path, "plain")
    cv2.imwrite(str(tmp_path / "mask" / "plain.png"), np.full((240, 320), level, np.uint8))
    with pytest.raises(DataError, match=r"plain\.png: it is (transparent|opaque) everywhere"):
        load_photographs(tmp_path)


def test_a_photograph_and_an_alpha_of_different_sizes_are_an_error(tmp_path: Path) -> None:
    write_pair(tmp_path, "odd")
    cv2.imwrite(str(tmp_path / "mask" / "odd.png"), np.zeros((320, 240), np.uint8))
    with pytest.raises(DataError, match=r"odd\.png is 320x240 px, but its alpha .* 240x320 px"):
        load_photographs(tmp_path)
