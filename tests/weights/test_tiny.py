"""The built-in weights: that they matte, whatever the version. How well they do is measured, not tested."""

from __future__ import annotations

import numpy as np
import pytest

import mematte
from mematte.image import FOREGROUND, UNKNOWN
from mematte.model import TINY


@pytest.fixture(scope="module")
def engine() -> mematte.Engine:
    return mematte.load(device="cpu", precision="float32")


def disc(softness_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An orange disc with a soft edge over blue waves: image, trimap, truth."""
    y, x = np.mgrid[:320, :400].astype(np.float32)
    truth = np.clip((90 - np.hypot(y - 160, x - 200)) / softness_px + 0.5, 0, 1)
    waves = 0.5 + 0.1 * np.sin(x / 9) * np.cos(y / 13)
    background = np.stack((0.3 * waves, 0.5 * waves, waves), axis=-1)
    image = truth[..., None] * [0.9, 0.5, 0.1] + (1 - truth[..., None]) * background
    trimap = np.full(truth.shape, UNKNOWN, np.uint8)
    distance = np.hypot(y - 160, x - 200) - 90
    trimap[distance > 25] = 0
    trimap[distance < -25] = FOREGROUND
    return np.rint(image * 255).astype(np.uint8), trimap, truth


def test_they_are_the_default_and_know_where_they_come_from(engine: mematte.Engine) -> None:
    from mematte.weights import load_weights

    weights = load_weights("tiny")

    assert engine.spec == TINY
    assert weights.licence == "MIT"
    assert all(
        stage["stage"] and (stage.get("steps") or stage["record"]) for stage in weights.training["stages"]
    )
    assert len(weights.training["stages"]) > 1


def test_of_large_pictures_they_see_what_lies_near_the_unknown_region(engine: mematte.Engine) -> None:
    image, trimap, truth = (np.tile(a, (2, 6) + (1,) * (a.ndim - 2)) for a in disc(12))
    trimap[320:], trimap[:, 400:] = 0, 0  # one disc of twelve is wanted
    unknown = trimap == UNKNOWN

    matte = engine(image, trimap)
    small = engine(image[:320, :400], trimap[:320, :400])

    assert matte.report.enlarged == 1
    assert matte.report.computed_tokens < 0.4 * matte.report.tokens
    assert small.report.computed_tokens == small.report.tokens  # it is shown enlarged
    assert np.abs(matte.alpha - truth)[unknown].mean() < 0.05


@pytest.mark.parametrize("softness_px", [2, 30])
def test_they_matte_a_disc_with_an_edge_of_any_softness(engine: mematte.Engine, softness_px: float) -> None:
    image, trimap, truth = disc(softness_px)

    alpha = engine(image, trimap).alpha

    unknown = trimap == UNKNOWN
    guess = np.abs(0.5 - truth)[unknown].mean()  # what knowing nothing costs
    assert np.abs(alpha - truth)[unknown].mean() < 0.25 * guess


@pytest.mark.parametrize("size", [(161, 200), (175, 129)])
def test_what_is_unknown_along_the_edges_goes_on_there(size: tuple[int, int]) -> None:
    """As in a trimap made by eroding a mask. With zeros beyond, these four errors were 0.005 to 0.05."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float32)
    truth = ((y > 60) & (x > 70)).astype(np.float32)  # as far as the bottom and the right edge
    waves = 0.5 + 0.1 * np.sin(x / 9) * np.cos(y / 13)
    background = np.stack((0.3 * waves, 0.5 * waves, waves), axis=-1)
    image = np.where(truth[..., None] > 0, np.float32([0.9, 0.5, 0.1]), background)
    trimap = np.where(truth > 0, FOREGROUND, 0).astype(np.uint8)
    trimap[-6:, 60:] = trimap[50:, -6:] = trimap[50:70, 60:] = trimap[50:, 60:80] = UNKNOWN

    alpha = mematte.load(device="cpu", precision="float32", enlarge=1)(image, trimap).alpha

    assert np.abs(alpha - truth)[-6:, 90:].mean() < 0.003
    assert np.abs(alpha - truth)[80:, -6:].mean() < 0.003


def test_bfloat16_gives_nearly_the_same_matte(engine: mematte.Engine) -> None:
    image, trimap, _ = disc(12)

    half = mematte.load(device="cpu", precision="bfloat16")(image, trimap).alpha

    assert np.abs(half - engine(image, trimap).alpha).mean() < 5e-3


def test_some_tokens_attend_and_most_do_not(engine: mematte.Engine) -> None:
    image, trimap, _ = disc(12)

    shares = [routing.share for routing in engine(image, trimap).routings]

    assert 0 < np.mean(shares) < 0.6
