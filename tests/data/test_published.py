"""Crops of the published recipe: the contract, each step against plain arithmetic, repeatability."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.data import published
from mematte.data.backgrounds import BackgroundLibrary
from mematte.data.foregrounds import load_foregrounds
from mematte.data.published import (
    PublishedCrops,
    around_unknown,
    enlarge,
    eroded_trimap,
    jitter_hsv,
    merge,
    resample,
    turn,
)
from mematte.data.pyramid import Pyramid

from .conftest import check_contract, same


@pytest.fixture(scope="module")
def crops(folders: tuple[Path, Path]) -> PublishedCrops:
    return PublishedCrops(load_foregrounds(folders[0]), BackgroundLibrary.load(folders[1]))


class OnePicture:
    """A library of one foreground."""

    def __init__(self, picture: np.ndarray) -> None:
        self.pyramid = Pyramid(picture)

    def draw(self, _: np.random.Generator) -> OnePicture:
        return self


class Grey:
    """A library of grey backgrounds."""

    def photograph(self, _: np.random.Generator, size_px: int) -> np.ndarray:
        return np.full((size_px, size_px, 3), 128, np.uint8)


def soft_disc(height: int = 200, width: int = 240) -> np.ndarray:
    """(H, W, 4): a disc with a soft rim, colours that differ everywhere."""
    ys, xs = np.mgrid[:height, :width]
    alpha = np.clip((height / 3 - np.hypot(ys - height / 2, xs - width / 2)) / 12, 0, 1) * 255
    return np.dstack([ys % 256, xs % 256, (ys + xs) % 256, np.rint(alpha)]).astype(np.uint8)


@pytest.mark.parametrize(("size_px", "seed"), [(64, 0), (96, 1), (96, 2), (224, 3), (512, 4)])
def test_a_crop_keeps_its_contract(crops: PublishedCrops, size_px: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(12):
        check_contract(crops.sample(rng, size_px), size_px)


def test_the_middle_of_a_crop_away_from_the_border_is_unknown(crops: PublishedCrops) -> None:
    rng = np.random.default_rng(0)
    middles = [crops.sample(rng, 64).trimap[32, 32] for _ in range(40)]
    assert np.mean(np.array(middles) == 128) > 0.7


def test_the_same_seed_gives_the_same_crop_whatever_was_sampled_before(crops: PublishedCrops) -> None:
    one = crops.sample(np.random.default_rng(3), 80)
    crops.sample(np.random.default_rng(4), 64)
    two = crops.sample(np.random.default_rng(3), 80)
    assert same(one, two)


def test_pictures_of_the_libraries_are_not_modified() -> None:
    picture = soft_disc()
    before = picture.copy()
    source = PublishedCrops(OnePicture(picture), Grey())
    for seed in range(12):
        source.sample(np.random.default_rng(seed), 96)
    assert (picture == before).all()


def test_the_image_is_the_composite_of_its_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "jitter_hsv", lambda colour, *_: colour)
    picture = soft_disc()
    picture[..., :3] = (200, 90, 40)
    source, rng = PublishedCrops(OnePicture(picture), Grey()), np.random.default_rng(0)
    for _ in range(20):
        crop = source.sample(rng, 96)
        expected = 128 + crop.alpha[..., None] * (np.array([200, 90, 40]) - 128.0)
        assert np.abs(crop.image - expected).max() <= 1


def test_merged_foregrounds_look_like_one_laid_over_the_other() -> None:
    rng = np.random.default_rng(0)
    front, back = rng.integers(0, 256, (2, 40, 40, 4), dtype=np.uint8)
    behind = np.full((40, 40, 3), 90.0)

    def laid(picture: np.ndarray, below: np.ndarray) -> np.ndarray:
        alpha = picture[..., 3:] / 255
        return alpha * picture[..., :3] + (1 - alpha) * below

    assert np.abs(laid(merge(front, back), behind) - laid(front, laid(back, behind))).max() < 2


def test_merging_with_nothing_changes_nothing() -> None:
    picture = soft_disc()
    nothing = np.zeros_like(picture)
    merged = merge(picture, nothing)
    assert (merged[..., 3] == picture[..., 3]).all()
    assert (merged == picture)[picture[..., 3] > 0].all()


def test_a_turn_without_range_is_no_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(published, "ANGLE_DEGREES", 0.0)
    monkeypatch.setattr(published, "SHEAR_DEGREES", 0.0)
    monkeypatch.setattr(published, "SCALES", (1.0, 1.0))
    picture = soft_disc()
    flipped = [picture[::y, ::x] for y in (1, -1) for x in (1, -1)]
    seen = set()
    for seed in range(24):
        result = turn(picture, np.random.default_rng(seed))
        seen |= {number for number, other in enumerate(flipped) if (result == other).all()}
        assert any((result == other).all() for other in flipped)
    assert seen == {0, 1, 2, 3}


def test_a_turn_keeps_the_middle_and_its_area_within_the_scales() -> None:
    picture = soft_disc()
    area = picture[..., 3].sum() / 255
    for seed in range(24):
        alpha = turn(picture, np.random.default_rng(seed))[..., 3].astype(float)
        ys, xs = np.mgrid[: alpha.shape[0], : alpha.shape[1]]
        assert (alpha * ys).sum() / alpha.sum() == pytest.approx(100, abs=1.5)
        assert (alpha * xs).sum() / alpha.sum() == pytest.approx(120, abs=1.5)
        assert 0.63 * area < alpha.sum() / 255 < 1.57 * area


@pytest.mark.parametrize(("height", "width"), [(640, 640), (300, 500), (900, 1280)])
def test_a_trimap_is_both_sides_eroded_by_ellipses(height: int, width: int) -> None:
    alpha = soft_disc(height, width)[..., 3]
    for seed in range(8):
        trimap = eroded_trimap(alpha, np.random.default_rng(seed))

        rng = np.random.default_rng(seed)
        small = alpha[(np.arange(640) * height // 640)[:, None], np.arange(640) * width // 640]
        for level in (0, 255):
            brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(rng.integers(1, 30)),) * 2)
            known = cv2.erode(np.where(small == level, 255, 0).astype(np.uint8), brush) == 255
            ys, xs = np.arange(height) * 640 // height, np.arange(width) * 640 // width
            expected = known[ys[:, None], xs] & (alpha == level)
            assert ((trimap == level) == expected).mean() > 0.999  # which pixel is nearest may round


@pytest.mark.parametrize("level", [0, 255])
def test_what_is_known_everywhere_stays_known(level: int) -> None:
    trimap = eroded_trimap(np.full((50, 70), level, np.uint8), np.random.default_rng(0))
    assert (trimap == level).all()


def test_a_window_is_centred_on_the_unknown_pixel_and_stays_inside() -> None:
    trimap = np.zeros((100, 120), np.uint8)
    for y, x in ((50, 60), (0, 0), (99, 119), (3, 80)):
        only = trimap.copy()
        only[y, x] = 128
        top, left = around_unknown(only, 40, np.random.default_rng(0))
        assert (top, left) == (min(max(y - 20, 0), 60), min(max(x - 20, 0), 80))
    top, left = around_unknown(trimap, 40, np.random.default_rng(0))  # nothing unknown: anywhere
    assert 0 <= top <= 60
    assert 0 <= left <= 80


@pytest.mark.parametrize(
    ("size", "expected"), [((40, 80), (64, 128)), ((33, 20), (106, 64)), ((64, 99), (64, 99))]
)
def test_small_pictures_grow_to_the_crop(size: tuple[int, int], expected: tuple[int, int]) -> None:
    picture = np.zeros((*size, 4), np.uint8)
    assert enlarge(picture, 64, np.random.default_rng(0)).shape[:2] == expected


def test_every_interpolation_occurs() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 40, 4), dtype=np.uint8)
    results = {resample(picture, (90, 70), np.random.default_rng(seed)).tobytes() for seed in range(60)}
    assert len(results) >= 4  # enlarging, some builds take area for another name of linear


def test_colour_jitter_turns_the_hue_and_keeps_grey_nearly_grey() -> None:
    red, grey = np.full((20, 20, 3), (200, 60, 60), np.uint8), np.full((20, 20, 3), 128, np.uint8)
    visible = np.ones((20, 20), bool)
    hues = []
    for seed in range(40):
        jittered = jitter_hsv(red, visible, np.random.default_rng(seed))
        hue = cv2.cvtColor(jittered.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)[0, 0, 0]
        hues.append((hue + 180) % 360 - 180)
        assert np.ptp(jitter_hsv(grey, visible, np.random.default_rng(seed))[0, 0].astype(int)) < 20
    assert -41 < min(hues) < -25
    assert 25 < max(hues) < 41


def test_colour_jitter_leaves_its_input_and_an_invisible_foreground_alone() -> None:
    colour = soft_disc()[..., :3].copy()
    before = colour.copy()
    jitter_hsv(colour, np.ones(colour.shape[:2], bool), np.random.default_rng(0))
    assert (colour == before).all()
    unseen = jitter_hsv(colour, np.zeros(colour.shape[:2], bool), np.random.default_rng(0))
    assert (unseen == before).all()
