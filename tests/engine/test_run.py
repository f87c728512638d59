"""The engine: an image and a trimap in, a matte and a report out; nothing else in silence."""

from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from mematte.engine import Engine, Matte
from mematte.errors import (
    BudgetError,
    ImageFileError,
    InputError,
    SizeMismatchError,
    TrimapError,
)
from mematte.image import write_alpha
from mematte.model import TINY, teacher
from mematte.weights import Weights

from .conftest import banded_trimap, cut_into, in_one_piece, picture, random_weights


@pytest.mark.parametrize(
    "size",
    [(1, 1), (1, 40), (15, 15), (16, 16), (17, 31), (33, 100), (223, 225), (250, 130), (20, 1500), (1500, 9)],
)
def test_an_engine_gives_what_the_network_gives_in_one_piece(engine, weights, size) -> None:
    image, trimap = picture(*size), np.full(size, 128, np.uint8)

    matte = engine(image, trimap)

    assert matte.alpha.dtype == np.float32
    assert np.abs(matte.alpha - in_one_piece(weights, image, trimap)).max() < 1e-5


def test_known_pixels_are_exactly_0_and_1(engine) -> None:
    trimap = banded_trimap(100, 120)

    alpha = engine(picture(100, 120), trimap).alpha

    assert (alpha[trimap == 0] == 0).all()
    assert (alpha[trimap == 255] == 1).all()
    assert 0 < alpha[trimap == 128].mean() < 1


def test_a_teacher_runs_in_the_same_engine() -> None:
    weights = random_weights(teacher(TINY))
    image, trimap = picture(100, 90), np.full((100, 90), 128, np.uint8)

    matte = Engine(weights, device="cpu", precision="float32")(image, trimap)

    assert matte.routings == ()
    assert np.abs(matte.alpha - in_one_piece(weights, image, trimap)).max() < 1e-5


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_arrays_of_every_depth_give_the_same_matte_and_stay_as_they_were(engine, dtype) -> None:
    eight_bit, trimap = picture(48, 64), banded_trimap(48, 64)
    image = {"uint8": eight_bit, "uint16": eight_bit.astype(np.uint16) * 257}.get(
        dtype, (eight_bit / 255).astype(np.float32)
    )
    before = image.copy(), trimap.copy()

    alpha = engine(image, trimap).alpha

    assert np.abs(alpha - engine(eight_bit, trimap).alpha).max() < 1e-5
    assert (image == before[0]).all()
    assert (trimap == before[1]).all()


def test_the_report_says_what_was_done(engine) -> None:
    report = engine(picture(48, 70), banded_trimap(48, 70)).report

    assert (report.device, report.precision, report.network) == ("cpu", "float32", "WWRWWRWWRWWR")
    assert (report.size, report.padded, report.tokens) == ((48, 70), (64, 96), 24)
    assert set(report.seconds) == {"encode", "decode"}
    assert report.peak_bytes > 10_000_000
    assert report.unknown_share == pytest.approx((banded_trimap(48, 70) == 128).mean())


def test_progress_runs_from_encoding_to_the_last_tile(engine) -> None:
    heard = []

    engine(picture(48, 64), banded_trimap(48, 64), progress=lambda stage, share: heard.append((stage, share)))

    assert heard[0] == ("encode", 0)
    assert heard[-1] == ("decode", 1)


def test_missing_foreground_and_background_are_warnings(engine) -> None:
    warnings = engine(picture(40, 40), np.full((40, 40), 128, np.uint8)).report.warnings

    assert [warning.split(":")[0] for warning in warnings] == [
        "The trimap has no foreground",
        "The trimap has no background",
    ]


@pytest.mark.parametrize(
    ("image", "trimap", "error", "message"),
    [
        (
            picture(40, 50),
            np.full((40, 51), 128, np.uint8),
            SizeMismatchError,
            "50x40 px, the trimap 51x40 px",
        ),
        (picture(40, 50), np.zeros((40, 50), np.uint8), TrimapError, "no unknown pixel"),
        (picture(40, 50).astype(np.int64), np.full((40, 50), 128, np.uint8), InputError, "int64"),
        (np.full((40, 50, 3), np.nan, np.float32), np.full((40, 50), 128, np.uint8), InputError, "NaN"),
        (picture(40, 50)[..., :2], np.full((40, 50), 128, np.uint8), InputError, "40x50x2"),
        (12, np.full((40, 50), 128, np.uint8), InputError, "int"),
    ],
)
def test_bad_input_is_refused_by_name(engine, image, trimap, error, message) -> None:
    with pytest.raises(error, match=message):
        engine(image, trimap)


def test_a_cap_that_memory_lowered_is_a_warning_with_numbers(engine, monkeypatch) -> None:
    image, trimap = picture(128, 160), banded_trimap(128, 160)
    free = engine(image, trimap)

    cut_into(monkeypatch, max_global_tokens=5)  # as a plan does where more do not fit
    tight = engine(image, trimap)

    asked = max(routing.asked for routing in tight.routings)
    assert tight.report.max_global_tokens == 5 < asked
    assert any(f"{asked - 5:,} fewer than the routers asked for" in said for said in tight.report.warnings)
    assert not any("fewer" in said for said in free.report.warnings)


def test_a_cap_that_the_user_asked_for_is_no_warning(weights) -> None:
    capped = Engine(weights, device="cpu", precision="float32", max_global_tokens=5)

    assert not any(
        "fewer" in said for said in capped(picture(128, 160), banded_trimap(128, 160)).report.warnings
    )


def test_a_budget_is_told_of_the_picture_s_own_size(weights) -> None:
    with pytest.raises(
        BudgetError, match=r"200x300 px, shown at 2 times their size, do not fit into 1 MB.* --enlarge 1"
    ):
        Engine(weights, device="cpu", memory="1MB", enlarge=2)(picture(300, 200), banded_trimap(300, 200))


def test_a_picture_that_does_not_fit_is_not_enlarged_before_it_is_refused(weights, monkeypatch) -> None:
    def resize(*_: object, **__: object) -> None:
        raise AssertionError("enlarged")

    monkeypatch.setattr("mematte.engine.scene.cv2.resize", resize)
    engine = Engine(weights, device="cpu", memory="1MB", enlarge=3)

    with pytest.raises(BudgetError):
        engine(picture(100, 200), banded_trimap(100, 200))


def test_the_limit_of_pixels_can_be_lifted_and_lowered(engine, tmp_path) -> None:
    write_alpha(tmp_path / "photo.png", np.zeros((40, 50), np.float32))

    with pytest.raises(ImageFileError, match="50x40 px"):
        engine(tmp_path / "photo.png", banded_trimap(40, 50), max_pixels=1999)
    assert engine(tmp_path / "photo.png", banded_trimap(40, 50), max_pixels=2000).alpha.shape == (40, 50)


def test_small_pictures_are_shown_larger_where_the_weights_ask_for_it(weights) -> None:
    image, trimap = picture(60, 80), banded_trimap(60, 80)
    asking = replace(weights, enlarge_below=5000)

    twice = Engine(asking, device="cpu", precision="float32")
    once = Engine(asking, device="cpu", precision="float32", enlarge=1)

    matte = twice(image, trimap)
    assert (matte.report.enlarged, matte.report.size, matte.report.padded) == (2, (60, 80), (128, 160))
    assert matte.alpha.shape == (60, 80)
    assert (matte.alpha[trimap == 0] == 0).all()
    assert (matte.alpha[trimap == 255] == 1).all()
    assert np.abs(matte.alpha - once(image, trimap).alpha).max() > 1e-4
    assert twice(picture(60, 90), banded_trimap(60, 90)).report.enlarged == 1  # 5,400 pixels
    assert once(image, trimap).report.enlarged == 1


@pytest.mark.parametrize("factor", [2, 3])
def test_an_enlarged_matte_is_the_mean_of_what_the_network_sees(weights, factor) -> None:
    image, trimap = picture(40, 50), np.full((40, 50), 128, np.uint8)
    size = (factor * 50, factor * 40)
    large = cv2.resize(image / np.float32(255), size, interpolation=cv2.INTER_CUBIC).clip(0, 1)

    matte = Engine(weights, device="cpu", precision="float32", enlarge=factor)(image, trimap)

    seen = in_one_piece(weights, 255 * large, np.full((factor * 40, factor * 50), 128, np.uint8))
    parts = [seen[down::factor, right::factor] for down in range(factor) for right in range(factor)]
    means = sum(parts) / factor**2
    assert matte.report.unknown_share == 1
    assert np.abs(matte.alpha - means).max() < 1e-5


def test_windows_near_the_unknown_region_are_computed_where_the_weights_ask_for_it(weights) -> None:
    image, trimap = picture(100, 1400), np.full((100, 1400), 255, np.uint8)
    trimap[:, 500:600] = 128
    asking = replace(weights, windows="unknown", enlarge_below=140_001)

    def run(of: Weights, **options: Any) -> Matte:
        return Engine(of, device="cpu", precision="float32", **options)(image, trimap)

    whole, asked = run(weights), run(weights, windows="unknown")

    # Columns 31 to 37 of tokens are unknown: in the third window, and within 7 of the second and the fourth.
    assert asked.report.tokens == whole.report.tokens == whole.report.computed_tokens == 8 * 88
    assert asked.report.computed_tokens == 8 * 3 * 14
    assert whole.routings[0].left_out is None
    assert asked.routings[0].left_out is not None
    assert asked.routings[0].left_out.all(axis=0).nonzero()[0].tolist() == [*range(14), *range(56, 88)]
    assert not (asked.routings[0].left_out & asked.routings[0].attend).any()
    assert np.abs(asked.alpha - whole.alpha).max() > 0
    assert np.array_equal(run(asking, enlarge=1).alpha, asked.alpha)
    assert np.array_equal(run(asking, enlarge=1, windows="all").alpha, whole.alpha)
    enlarged = run(asking)
    assert enlarged.report.computed_tokens == enlarged.report.tokens == 14 * 176
    assert run(asking, windows="unknown").report.computed_tokens < enlarged.report.tokens


def test_with_everything_unknown_every_window_is_computed(engine, weights) -> None:
    image, trimap = picture(250, 300), np.full((250, 300), 128, np.uint8)
    near = Engine(weights, device="cpu", precision="float32", windows="unknown")

    assert np.abs(near(image, trimap).alpha - engine(image, trimap).alpha).max() < 1e-5


def test_who_attends_to_every_token_leaves_no_window_out() -> None:
    every = random_weights(teacher(TINY))

    with pytest.raises(
        InputError, match=r"all tokens attend to all others \(blocks WWGWWG.*no window can be left"
    ):
        Engine(every, device="cpu", windows="unknown")
    assert Engine(replace(every, windows="unknown"), device="cpu").windows_of() == "all"


def test_only_all_and_unknown_are_windows(weights) -> None:
    with pytest.raises(InputError, match='"auto", "all" or "unknown", not \'some\''):
        Engine(weights, device="cpu", windows="some")


def test_only_1_2_and_3_are_enlargements(weights) -> None:
    with pytest.raises(InputError, match='"auto", 1, 2 or 3'):
        Engine(weights, device="cpu", enlarge=4)


@pytest.mark.parametrize("enlarge", [2.0, True, "2"])
def test_an_enlargement_is_a_whole_number(weights, enlarge) -> None:
    with pytest.raises(InputError, match='"auto", 1, 2 or 3'):
        Engine(weights, device="cpu", enlarge=enlarge)


def test_colours_leave_pytorchs_threads_as_they_were(engine) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        _ = engine(picture(40, 50), banded_trimap(40, 50)).foreground
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(threads)
