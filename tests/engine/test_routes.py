"""Pictures of the routes: which pixel has which colour, and what the letters say."""

import math
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest

import mematte
from mematte.engine.matte import BlockRouting, Report
from mematte.engine.routes import (
    ATTENDS,
    CAPPED,
    LEFT_OUT,
    NARROWEST_PX,
    OPACITY,
    Ground,
    arrangement,
    description,
    detail,
    draw_routes,
    explain_routes,
    heat_colours,
    overlay,
    title,
)
from mematte.engine.shares import BlockShares, block_shares, times_attended, token_px, unknown_tokens
from mematte.engine.sheet import TRACK, Bar, Sheet, fitted, text_width
from mematte.errors import InputError
from mematte.image import Picture, Trimap, open_picture, open_trimap
from mematte.model import TINY, teacher

from .conftest import banded_trimap, picture, random_weights

SIZES = [(96, 120), (1, 1), (15, 17), (300, 40), (33, 64)]


def report_for(size: tuple[int, int], enlarged: int = 1) -> Report:
    """Of a picture of (height, width) px."""
    padded = tuple(-(-side * enlarged // 32) * 32 for side in size)
    tokens = padded[0] * padded[1] // 256
    return Report(
        "probe", "", "WR", "cpu", "float32", size, enlarged, padded, tokens, tokens, 18_500, 0.3, 1, 0.3,
        {}, 0, 0, 0, (), (),
    )  # fmt: skip


def routing_for(report: Report, seed: int = 0, block: int = 2) -> BlockRouting:
    """A quarter of the tokens attends, another is capped, another left out, at random."""
    kinds = np.random.default_rng(seed).integers(0, 4, (report.padded[0] // 16, report.padded[1] // 16))
    return BlockRouting(block, kinds == 1, int(np.isin(kinds, (1, 2)).sum()), kinds == 2, kinds == 3)


def under_tint(photo: np.ndarray, routing: BlockRouting, y: int, x: int, token: int, opacity: float):
    """The oracle: a pixel of the overlay in plain Python."""
    red, green, blue = (int(value) for value in photo[y, x])
    luminance = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    faded = [0.88 * (0.2 * value + 0.8 * luminance) + 0.12 * 255 for value in (red, green, blue)]
    at = y // token, x // token
    tints = (ATTENDS, routing.attend), (CAPPED, routing.capped), (LEFT_OUT, routing.left_out)
    tint = next((tint for tint, tokens in tints if tokens[at]), None)
    if tint is None:
        return faded
    return [(1 - opacity) * below + opacity * above for below, above in zip(faded, tint, strict=True)]


# Maps


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("enlarged", [1, 2])
@pytest.mark.parametrize("opacity", [0.0, OPACITY, 1.0])
def test_every_pixel_has_the_tint_of_its_token(size, enlarged, opacity) -> None:
    photo, report = picture(*size), report_for(size, enlarged)
    routing = routing_for(report)

    drawn = overlay(Picture(photo), routing, report, opacity)

    expected = [
        [under_tint(photo, routing, y, x, 16 // enlarged, opacity) for x in range(size[1])]
        for y in range(size[0])
    ]
    assert drawn.dtype == np.uint8
    assert np.abs(drawn - np.array(expected)).max() < 1.1  # rounded twice


@pytest.mark.parametrize("size", [(48, 64), (480, 640), (97, 131)])
def test_at_another_size_tokens_keep_their_place(size) -> None:
    report = report_for((96, 128))
    routing = routing_for(report)

    drawn = overlay(Picture(picture(96, 128)), routing, report, 1.0, size=size)

    assert drawn.shape == (*size, 3)
    for row, column in np.ndindex(6, 8):
        middle = drawn[int((row + 0.5) * size[0] / 6), int((column + 0.5) * size[1] / 8)].tolist()
        assert (tuple(middle) == ATTENDS) == routing.attend[row, column]
        assert (tuple(middle) == CAPPED) == routing.capped[row, column]
        assert (tuple(middle) == LEFT_OUT) == routing.left_out[row, column]


def test_a_large_photo_is_shown_smaller() -> None:
    report = report_for((40, 2400))

    assert overlay(Picture(picture(40, 2400)), routing_for(report), report).shape == (20, 1200, 3)


@pytest.mark.parametrize("opacity", [-0.1, 1.01, math.nan])
def test_an_opacity_that_is_none_is_refused(opacity) -> None:
    report = report_for((96, 128))

    with pytest.raises(InputError, match=f"not {opacity}"):
        overlay(Picture(picture(96, 128)), routing_for(report), report, opacity)


def test_linear_light_brighter_than_white_is_white() -> None:
    report = report_for((16, 16))
    nobody = BlockRouting(0, np.zeros((2, 2), bool), 0)

    drawn = overlay(Picture(np.full((16, 16, 3), 7, np.float32), linear=True), nobody, report)

    assert (drawn == 255).all()


@pytest.mark.parametrize("zoom", [1, 4])
def test_the_unknown_region_is_outlined_and_nothing_else_changes(zoom) -> None:
    levels = np.zeros((96, 128), np.uint8)
    levels[30:60, 100:] = 128  # it ends at the picture's right edge, where no line belongs
    report, photo = report_for((96, 128)), Picture(picture(96, 128))
    options = {"size": (96 * zoom, 128 * zoom)}

    plain = overlay(photo, routing_for(report), report, **options)
    drawn = overlay(photo, routing_for(report), report, trimap=Trimap(levels), **options)

    top, bottom, left = 30 * zoom, 60 * zoom, 100 * zoom
    line = np.zeros(drawn.shape[:2], bool)
    line[[top, bottom - 1], left:] = line[top:bottom, left] = True
    assert (drawn[line] == 255).all()
    near = cv2.dilate(line.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    assert (drawn[near & ~line] == 20).all()
    assert (drawn[~near] == plain[~near]).all()


def test_a_panel_of_several_bands_may_be_larger_than_the_trimap() -> None:
    """2 million pixels are a band, and the second begins in the middle of a row of the trimap."""
    report, levels = report_for((37, 303)), np.full((37, 303), 255, np.uint8)
    levels[31] = 128

    drawn = overlay(
        Picture(picture(37, 303)), routing_for(report), report, size=(1238, 1820), trimap=Trimap(levels)
    )

    rows = np.flatnonzero((drawn[:, 900] == 255).all(axis=1))
    assert rows.tolist() == [-(-31 * 1238 // 37), -(-32 * 1238 // 37) - 1]


def test_a_single_unknown_pixel_of_a_large_photo_is_not_lost() -> None:
    levels = np.zeros((2400, 40), np.uint8)
    levels[1001, 21] = 128
    report = report_for((2400, 40))

    drawn = overlay(
        Picture(np.zeros((2400, 40, 3), np.uint8)), routing_for(report), report, trimap=Trimap(levels)
    )

    assert np.argwhere((drawn == 255).all(axis=2)).tolist() == [[500, 10]]


def test_the_map_of_all_blocks_counts_how_often_a_token_attends() -> None:
    report = report_for((64, 64))
    routings = [routing_for(report, seed) for seed in range(5)]
    colours = heat_colours(5)

    times = times_attended(routings)
    drawn = Ground(Picture(picture(64, 64)), report, (64, 64), None).tinted(times, colours, 1.0)

    for row, column in np.ndindex(4, 4):
        count = sum(bool(routing.attend[row, column]) for routing in routings)
        colour = tuple(drawn[16 * row + 8, 16 * column + 8].tolist())
        assert colours.index(colour) + 1 == count if count else colour not in colours


@pytest.mark.parametrize("blocks", range(1, 13))
def test_more_is_darker_in_the_map_of_all_blocks(blocks) -> None:
    luminances = [0.2126 * r + 0.7152 * g + 0.0722 * b for r, g, b in heat_colours(blocks)]

    assert len(luminances) == blocks
    assert luminances == sorted(luminances, reverse=True)
    assert len(set(luminances)) == blocks


# Sheets


@pytest.mark.parametrize("blocks", [1, 2, 4, 7, 12])
@pytest.mark.parametrize("size", [(96, 128), (200, 40), (1, 1), (15, 17)])
def test_a_sheet_shows_every_block_at_a_place_of_its_own(size, blocks) -> None:
    report, photo = report_for(size), Picture(picture(*size))
    routings = [routing_for(report, seed, seed) for seed in range(blocks)]

    sheet = draw_routes(photo, routings, report)

    columns, panel = arrangement(size, blocks)
    shown = [overlay(photo, routing, report, size=panel) for routing in routings]
    tops = [tops_of(part, sheet, number % columns) for number, part in enumerate(shown)]
    rows = sorted(set().union(*tops))
    assert len(rows) == -(-blocks // columns)
    assert all(rows[number // columns] in found for number, found in enumerate(tops))
    assert max(sheet.shape) < 2300


def tops_of(part: np.ndarray, sheet: np.ndarray, column: int) -> list[int]:
    """The rows at which a panel stands in a column of the sheet, pixel by pixel; at least one."""
    height, width = part.shape[:2]
    left = 24 + column * (max(width, NARROWEST_PX) + 22)
    strip = sheet[:, left : left + width]
    starts = np.flatnonzero((strip == part[0]).all(axis=(1, 2)))
    tops = [int(y) for y in starts if np.array_equal(strip[y : y + height], part)]
    assert tops, "it is not there"
    return tops


@pytest.mark.parametrize("size", [(96, 128), (200, 40), (1, 1), (15, 17), (20, 3000), (3000, 20)])
def test_panels_are_as_large_as_they_may_be_and_keep_their_proportions(size) -> None:
    for panels in range(1, 15):
        columns, (height, width) = arrangement(size, panels)

        assert 1 <= columns <= panels
        assert max(height, width) <= min(1200, 16 * max(size))
        assert abs(height * size[1] - width * size[0]) <= max(size)
        assert columns * width <= 2000
        assert -(-panels // columns) * height <= 1200


def test_an_explanation_has_the_photo_the_maps_and_bars_of_the_shares() -> None:
    report, photo, trimap = report_for((96, 128)), Picture(picture(96, 128)), Trimap(banded_trimap(96, 128))
    attend = np.zeros((6, 8), bool)
    attend[:, :2] = True  # a quarter, all of them known
    routings = [BlockRouting(block, attend, 12) for block in (1, 3)]
    shares = block_shares(routings, unknown_tokens(trimap, routings[0], report))

    sheet = explain_routes(photo, routings, report, shares, trimap=trimap)

    _, panel = arrangement((96, 128), 4)
    ground = Ground(photo, report, panel, trimap)
    (top,) = tops_of(ground.photo(), sheet, 0)
    assert top in tops_of(ground.decided(routings[0], OPACITY), sheet, 1)
    table = sheet[-(2 * 30 + 24) :, None]
    bars = [row for row in table if (row == ATTENDS).all(2).any()]
    assert len(bars) == 2 * 16  # px high
    for bar in bars:
        orange, grey = ((bar == colour).all(2) for colour in (ATTENDS, TRACK))
        first = np.flatnonzero(orange | grey)
        ends = np.flatnonzero(np.diff(first) > 1)  # three bars: all tokens, the unknown region, elsewhere
        assert len(ends) == 2
        parts = np.split(first, ends + 1)
        measured = [orange[0, part].mean() for part in parts]
        assert np.abs(np.array(measured) - [shares[0].share(12), 0, shares[0].share_outside]).max() < 0.01


def test_files_are_drawn_as_pictures_in_memory_are(tmp_path) -> None:
    photo, levels = picture(500, 300), banded_trimap(500, 300)
    cv2.imwrite(str(tmp_path / "photo.png"), photo[..., ::-1])
    cv2.imwrite(str(tmp_path / "trimap.png"), levels)
    report = report_for((500, 300))
    routings = [routing_for(report, seed) for seed in range(2)]

    with open_picture(tmp_path / "photo.png") as file, open_trimap(tmp_path / "trimap.png") as known:
        drawn = draw_routes(file, routings, report, trimap=known)

    assert (drawn == draw_routes(Picture(photo), routings, report, trimap=Trimap(levels))).all()


def test_a_large_photo_is_read_downwards_in_bands() -> None:
    asked: list[tuple[int, int]] = []

    class Tall(Picture):
        def stored(self, rows: slice = slice(None)) -> np.ndarray:
            asked.append(rows.indices(self.size[0])[:2])
            return super().stored(rows)

    report = report_for((9000, 700))
    photo = Tall(np.broadcast_to(np.uint8(9), (9000, 700, 3)))

    draw_routes(photo, [routing_for(report)], report)

    rows = [stop - start for start, stop in asked]
    assert max(rows) <= 9000 // 2
    assert sum(rows) < 1.05 * 9000
    assert all(later[0] >= earlier[1] - 9 for earlier, later in pairwise(asked))


def test_a_network_without_routing_has_no_routes_to_draw() -> None:
    engine = mematte.Engine(random_weights(teacher(TINY)), device="cpu", precision="float32")

    matte = engine(picture(40, 40), banded_trimap(40, 40))

    with pytest.raises(InputError, match="no routed blocks"):
        draw_routes(matte.picture, matte.routings, matte.report)


# Numbers


def test_captions_say_what_the_block_did() -> None:
    free = BlockShares(block=5, tokens=2204, attending=125, capped=0, unknown=0, attending_unknown=0)
    capped = BlockShares(
        block=11, tokens=391_876, attending=18_500, capped=3_919, unknown=0,
        attending_unknown=0,
    )  # fmt: skip

    assert (title(free), detail(free)) == ("Block 5: 5.7% of the tokens attend", "125 of 2,204 tokens")
    assert detail(capped) == "18,500 of 391,876 tokens; 3,919 capped (1.0%)"
    assert text_width(detail(capped), 15) < NARROWEST_PX


def test_the_description_has_sizes_as_people_say_them() -> None:
    report = report_for((300, 451), enlarged=2)
    near = routing_for(report)
    size = "451x300 px, shown to the network at 2 times its size: 58x38 = 2,204 tokens of 8x8 px each"
    network = "Network WR, at most 18,500 tokens attend per block."

    assert description(replace(near, left_out=None), report) == f"{size}. {network}"
    some = replace(report, computed_tokens=1234)
    assert description(near, some) == f"{size}, of which 1,234 are computed. {network}"
    looked = replace(report, enlarged=1, first_reduced=2, asked_share=0.12)
    assert "451x300 px, 12% of it unknown after a first look, 30% before: 58x38" in description(near, looked)


@pytest.mark.parametrize("enlarged", [1, 2, 3])
@pytest.mark.parametrize("size", SIZES)
def test_tokens_are_counted_where_they_lie(size, enlarged) -> None:
    report = report_for(size, enlarged)
    routing = routing_for(report)
    levels = np.random.default_rng(1).choice(np.array([0, 128, 255], np.uint8), size, p=[0.495, 0.01, 0.495])
    levels[-1, -1] = 128

    unknown = unknown_tokens(Trimap(levels), routing, report)
    (shares,) = block_shares([routing], unknown)

    assert token_px(routing, report) == 16 / enlarged
    # Of a picture that is shown larger every pixel is so many, which may lie in two tokens.
    inside = {
        ((enlarged * y + down) // 16, (enlarged * x + right) // 16)
        for y, x in np.argwhere(levels == 128).tolist()
        for down in range(enlarged)
        for right in range(enlarged)
    }
    assert set(map(tuple, np.argwhere(unknown).tolist())) == inside
    attending = set(map(tuple, np.argwhere(routing.attend).tolist()))
    assert (shares.attending, shares.attending_unknown) == (len(attending), len(attending & inside))
    assert shares.left_out == routing.left_out.sum()
    counted = shares.attending + shares.capped + shares.refined + shares.left_out
    assert counted == shares.tokens == report.tokens
    assert shares.share_inside == len(attending & inside) / len(inside)
    outside = report.tokens - len(inside)
    assert shares.share_outside == (len(attending - inside) / outside if outside else None)


def test_the_engine_says_which_tokens_the_cap_cut_off(engine, weights) -> None:
    image, trimap = picture(96, 120), banded_trimap(96, 120)
    capped_engine = mematte.Engine(weights, device="cpu", precision="float32", max_global_tokens=5)

    free = engine(image, trimap).routings
    capped = capped_engine(image, trimap).routings

    assert all(routing.capped is None and routing.asked == routing.attend.sum() for routing in free)
    for routing in capped:
        assert routing.attend.sum() == min(5, routing.asked)
        if routing.asked <= 5:
            assert routing.capped is None
            continue
        assert not (routing.attend & routing.capped).any()
        assert routing.capped.sum() == routing.asked - 5
    # Up to the first routed block nothing depends on the cap.
    assert ((capped[0].attend | capped[0].capped) == free[0].attend).all()


# Letters and bars


@pytest.mark.parametrize("width", [40, 100, 333])
def test_text_is_made_to_fit(width) -> None:
    words = "109 of 2,204 tokens; 24 capped (1.1%) " * 3

    text, size = fitted(words, 18, width)

    assert text_width(text, size) <= width
    assert text == words or text.endswith("...")
    assert fitted("8 px", 18, 400) == ("8 px", 18)


def test_a_long_text_goes_on_in_the_next_line_and_none_runs_over_the_edge() -> None:
    sheet = Sheet(200)
    sheet.text("at most 18,500 tokens attend per block of this network " * 2, 15)

    drawn = sheet.pixels()

    ink = np.argwhere((drawn < 128).all(axis=2))
    assert ink[:, 1].min() >= 24
    assert ink[:, 1].max() < 24 + 200
    assert len(drawn) > 24 + 4 * 20


@pytest.mark.parametrize(
    ("shares", "pixels"), [((0.25, 0.5), (100, 200)), ((0.0001, 0), (1, 0)), ((1, 0), (400, 0))]
)
def test_bars_are_as_long_as_their_shares(shares, pixels) -> None:
    sheet = Sheet(500)
    sheet.row([Bar(50, 400, list(zip(shares, (ATTENDS, CAPPED), strict=True)))])

    middle = sheet.pixels()[24 + 15, 24:]

    assert [int((middle == colour).all(axis=1).sum()) for colour in (ATTENDS, CAPPED)] == list(pixels)
    assert int((middle == TRACK).all(axis=1).sum()) == 400 - sum(pixels)
