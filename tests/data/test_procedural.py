"""Every kind of procedural matte: partial coverage, repeatable, and a bank that renews itself."""

from __future__ import annotations

import numpy as np
import pytest

from mematte.data.procedural import KINDS, Canvas, MatteBank, draw_matte


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_background_and_partial_alpha(kind: str) -> None:
    mattes = [draw_matte(np.random.default_rng(seed), 300, kind) for seed in range(3)]
    alphas = np.stack([matte.pyramid.levels[0][..., 2] for matte in mattes])
    partial = (alphas > 0) & (alphas < 255)
    assert {matte.kind for matte in mattes} == {kind}
    assert (alphas == 0).any()
    assert alphas.max() > 100
    assert partial.mean() > 0.001
    assert len(np.unique(alphas[partial])) > 40  # antialiased: many levels, not a few


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"smoke", "glass"}])
def test_solid_kinds_have_opaque_pixels(kind: str) -> None:
    alphas = [
        draw_matte(np.random.default_rng(seed), 300, kind).pyramid.levels[0][..., 2] for seed in range(4)
    ]
    assert max(int(alpha.max()) for alpha in alphas) == 255


@pytest.mark.parametrize("kind", ["hair", "foliage", "glass"])
def test_the_same_seed_draws_the_same_matte(kind: str) -> None:
    one, two = (draw_matte(np.random.default_rng(11), 160, kind) for _ in range(2))
    assert (one.pyramid.levels[0] == two.pyramid.levels[0]).all()
    assert (one.points == two.points).all()


def test_the_border_of_a_matte_is_transparent() -> None:
    """Beyond the border the border pixels repeat: they must not be part of the object."""
    for seed in range(6):
        alpha = draw_matte(np.random.default_rng(seed), 160, "grass").pyramid.levels[0][..., 2]
        assert not alpha[0].any()
        assert not alpha[-1].any()
        assert not alpha[:, 0].any()
        assert not alpha[:, -1].any()


def test_coverage_of_a_polygon_is_its_area() -> None:
    canvas = Canvas(60)
    canvas.polygons([np.array([[10.25, 10.25], [40.75, 10.25], [40.75, 30.5], [10.25, 30.5]])])
    area = canvas.layer[..., 2].astype(float).sum() / 255 / 9
    # OpenCV fills the contour's own pixels too: up to a quarter of a pixel more on each side.
    assert 30.5 * 20.25 <= area <= 31 * 20.75 + 1


def test_holes_are_cut_out() -> None:
    canvas = Canvas(40)
    canvas.polygons([np.array([[5.0, 5], [35, 5], [35, 35], [5, 35]])])
    canvas.holes([np.array([[15.0, 15], [25, 15], [25, 25], [15, 25]])])
    assert canvas.layer[60, 60].tolist() == [0, 0, 0]
    assert canvas.layer[30, 30, 2] == 255


def test_chances_of_the_kinds_add_up_to_one() -> None:
    assert sum(chance for _, chance in KINDS.values()) == pytest.approx(1.0)


def test_a_bank_grows_to_its_capacity_and_then_renews_the_oldest() -> None:
    bank, rng = MatteBank(size_px=64, capacity=3, first=2, every=2), np.random.default_rng(0)
    seen = {id(bank.draw(rng)): None for _ in range(30)}
    assert len(bank._mattes) == 3
    assert bank._drawn > 10
    assert len(seen) >= 3
