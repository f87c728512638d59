"""Every kind of procedural matte: partial coverage, valid colours, repeatable; and the bank of them."""

from __future__ import annotations

import numpy as np
import pytest

from mematte.data.compose import over
from mematte.data.foregrounds import clean_alpha, random_view
from mematte.data.procedural import KINDS, Canvas, MatteBank, draw_matte
from mematte.data.procedural.colours import MATERIALS, colour_drawing, draw_palette
from mematte.data.trimaps import make_trimap


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_draws_background_and_partial_alpha(kind: str) -> None:
    mattes = [draw_matte(np.random.default_rng(seed), 300, kind) for seed in range(3)]
    alphas = np.stack([matte.pyramid.levels[0][..., 3] for matte in mattes])
    partial = (alphas > 0) & (alphas < 255)
    assert {matte.kind for matte in mattes} == {kind}
    assert (alphas == 0).any()
    assert alphas.max() > 100
    assert partial.mean() > 0.001
    assert len(np.unique(alphas[partial])) > 40  # antialiased: many levels, not a few


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in {"smoke", "glass"}])
def test_solid_kinds_have_opaque_pixels(kind: str) -> None:
    alphas = [
        draw_matte(np.random.default_rng(seed), 300, kind).pyramid.levels[0][..., 3] for seed in range(4)
    ]
    assert max(int(alpha.max()) for alpha in alphas) == 255


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_draws_the_same_matte(kind: str) -> None:
    one, two = (draw_matte(np.random.default_rng(11), 160, kind) for _ in range(2))
    assert (one.pyramid.levels[0] == two.pyramid.levels[0]).all()
    assert (one.points == two.points).all()


def test_the_border_of_a_matte_is_transparent() -> None:
    """Beyond the border the border pixels repeat: they must not be part of the object."""
    for seed in range(6):
        alpha = draw_matte(np.random.default_rng(seed), 160, "grass").pyramid.levels[0][..., 3]
        assert not alpha[0].any()
        assert not alpha[-1].any()
        assert not alpha[:, 0].any()
        assert not alpha[:, -1].any()


def test_coverage_of_a_polygon_is_its_area() -> None:
    canvas = Canvas(60)
    canvas.polygons([np.array([[10.25, 10.25], [40.75, 10.25], [40.75, 30.5], [10.25, 30.5]])])
    area = canvas.layer[..., 3].astype(float).sum() / 255 / 9
    # OpenCV fills the contour's own pixels too: up to a quarter of a pixel more on each side.
    assert 30.5 * 20.25 <= area <= 31 * 20.75 + 1


def test_holes_are_cut_out() -> None:
    canvas = Canvas(40)
    canvas.polygons([np.array([[5.0, 5], [35, 5], [35, 35], [5, 35]])])
    canvas.holes([np.array([[15.0, 15], [25, 15], [25, 25], [15, 25]])])
    assert canvas.layer[60, 60].tolist() == [0, 0, 0, 0]
    assert canvas.layer[30, 30, 3] == 255


def test_chances_of_the_kinds_add_up_to_one() -> None:
    assert sum(chance for _, chance in KINDS.values()) == pytest.approx(1.0)


def test_polygons_may_each_have_their_own_paint() -> None:
    canvas = Canvas(40)
    square = np.array([[2.0, 2], [12, 2], [12, 12], [2, 12]])
    canvas.polygons(
        np.stack([square, square + 20]), shade=np.array([0.2, 0.6]), tint=np.array([1, 0]), hue=0.4
    )
    assert canvas.layer[20, 20].tolist() == [51, 255, 102, 255]
    assert canvas.layer[80, 80].tolist() == [153, 0, 102, 255]


@pytest.mark.parametrize("kind", KINDS)
def test_colours_are_those_of_solid_pixels_everywhere(kind: str) -> None:
    """Shade, tint and hue under soft alpha are not darkened by what is transparent."""
    matte = draw_matte(np.random.default_rng(2), 200, kind)
    values, alpha = matte.pyramid.levels[0][..., :3].astype(int), matte.pyramid.levels[0][..., 3]
    trusted = alpha >= 64
    for channel in range(3):
        assert values[..., channel][~trusted].max(initial=0) <= values[..., channel][trusted].max() + 1
        assert values[..., channel][~trusted].min(initial=255) >= values[..., channel][trusted].min() - 1


@pytest.mark.parametrize("kind", sorted(MATERIALS))
def test_a_drawing_takes_the_colours_of_its_palette(kind: str) -> None:
    rng = np.random.default_rng(3)
    matte = draw_matte(rng, 200, kind)
    drawing = matte.pyramid.warp(random_view(rng, matte.points, matte.pyramid.size_px, 64), 64)
    palette = draw_palette(rng, MATERIALS[kind])
    assert palette.min() >= 0
    assert palette.max() <= 255
    flat = colour_drawing(drawing, palette, 0.0, 0.0)
    tint, hue = (drawing[..., channel, None] / 255 for channel in (1, 2))
    expected = palette[0] + tint * (palette[1] - palette[0]) + hue * (palette[2] - palette[0])
    assert np.abs(flat - np.clip(expected, 0, 255)).max() <= 1.5


@pytest.mark.parametrize("kind", KINDS)
def test_composites_are_exact_where_the_trimap_knows(kind: str) -> None:
    rng = np.random.default_rng(4)
    matte = draw_matte(rng, 200, kind)
    background = rng.integers(0, 256, (96, 96, 3), dtype=np.uint8)
    for _ in range(4):
        drawing = matte.pyramid.warp(random_view(rng, matte.points, matte.pyramid.size_px, 96), 96)
        alpha = clean_alpha(np.ascontiguousarray(drawing[..., 3])).astype(np.float32) / np.float32(255)
        colour = colour_drawing(drawing, draw_palette(rng, MATERIALS.get(kind)), 0.8, 0.3)
        trimap, image = make_trimap(alpha, rng), over(colour, alpha, background)
        assert (image[trimap == 0] == background[trimap == 0]).all()
        assert (image[trimap == 255] == colour[trimap == 255]).all()
        expected = background + (colour.astype(float) - background) * alpha[..., None]
        assert np.abs(image - expected).max() <= 0.51


def test_light_darkens_and_gloss_whitens() -> None:
    drawing = np.zeros((1, 3, 4), np.uint8)
    drawing[0, :, 0] = 0, 204, 255
    palette = np.full((3, 3), 100.0)
    assert colour_drawing(drawing, palette, 1.0, 1.0)[0, :, 0].tolist() == [0, 100, 255]
    assert colour_drawing(drawing, palette, 0.5, 0.0)[0, :, 0].tolist() == [50, 100, 100]


def test_a_drawing_depends_on_its_number_and_the_seed_only() -> None:
    one, two = MatteBank(size_px=64, capacity=5), MatteBank(size_px=64, capacity=5, memory_bytes=1)
    for number in (3, 0, 3, 1):
        assert (one.drawing(number).pyramid.levels[0] == two.drawing(number).pyramid.levels[0]).all()
    other = MatteBank(size_px=64, capacity=5, seed=1).drawing(3).pyramid.levels[0]
    assert (one.drawing(3).pyramid.levels[0] != other).any()


def test_a_bank_draws_from_its_window_only() -> None:
    bank, rng = MatteBank(size_px=48, capacity=3), np.random.default_rng(0)
    first = [bank.draw(rng) for _ in range(40)]
    bank.move_window(2)
    second = [bank.draw(rng) for _ in range(40)]
    names = [{id(matte) for matte in mattes} for mattes in (first, second)]
    assert [len(each) for each in names] == [3, 3]
    assert len(names[0] & names[1]) == 1
    assert len(bank._kept) == 3  # those before the window are forgotten


def test_a_bank_keeps_what_fits_into_its_memory() -> None:
    each = MatteBank(size_px=64).drawing(0).memory_bytes
    bank = MatteBank(size_px=64, memory_bytes=3 * each + each // 2)
    for number in range(8):
        bank.drawing(number)
    assert len(bank._kept) <= 4
    assert bank._kept_bytes == sum(matte.memory_bytes for matte in bank._kept.values())
    assert bank.drawing(7) is bank.drawing(7)


def test_a_bank_drawn_ahead_holds_what_it_would_draw() -> None:
    bank = MatteBank(size_px=48, capacity=5)
    bank.move_window(2)

    bank.draw_ahead(2)
    bank.draw_ahead(2)  # there already: nothing is counted twice

    assert sorted(bank._kept) == [2, 3, 4, 5, 6]
    assert bank._kept_bytes == sum(matte.memory_bytes for matte in bank._kept.values())
    ours, alone = bank.drawing(4), MatteBank(size_px=48).drawing(4)
    assert np.array_equal(ours.pyramid.levels[0], alone.pyramid.levels[0])


def test_a_bank_draws_ahead_what_fits_into_its_memory() -> None:
    each = MatteBank(size_px=64).drawing(0).memory_bytes
    bank = MatteBank(size_px=64, capacity=8, memory_bytes=3 * each)

    bank.draw_ahead(1)

    assert 0 < len(bank._kept) < 8
    assert bank._kept_bytes <= bank.memory_bytes
