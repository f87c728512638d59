"""A first look at the picture, reduced: what it settles, what stays to be asked, what it never touches."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mematte import load
from mematte.engine import Engine, Results, look_job, matte_to_files, narrow
from mematte.engine.narrow import MARGIN_PX, NarrowedTrimap, reduction, settle, shrunk
from mematte.errors import BudgetError, InputError
from mematte.image import (
    Picture,
    Trimap,
    open_picture,
    open_trimap,
    read_picture,
    write_picture,
    write_trimap,
)
from mematte.image.bands import row_bands

from .conftest import banded_trimap, picture


def disc() -> tuple[np.ndarray, np.ndarray]:
    """A light disc of 60 px radius on dark ground, and a trimap that knows little about it."""
    rng = np.random.default_rng(0)
    down, right = np.mgrid[:261, :323]
    distance = np.hypot(down - 130, right - 160)
    inside = np.clip(60.5 - distance, 0, 1)[..., None]
    image = inside * (230, 200, 160) + (1 - inside) * (20, 40, 60) + rng.normal(0, 2, (261, 323, 3))
    levels = np.full(distance.shape, 128, np.uint8)
    levels[distance < 20], levels[distance > 120] = 255, 0
    return image.clip(0, 255).astype(np.uint8), levels


@pytest.fixture(scope="module")
def tiny() -> Engine:
    return load("tiny", device="cpu", precision="float32", enlarge=1, narrow="always")


@pytest.mark.parametrize("size", [(1, 1), (7, 5), (40, 61), (64, 48)])
@pytest.mark.parametrize("times", [2, 3, 4])
def test_the_reduced_picture_has_means_and_is_known_where_all_is_known_alike(
    monkeypatch, size, times
) -> None:
    monkeypatch.setattr(narrow, "row_bands", lambda size, _, multiple: row_bands(size, 1, multiple=multiple))
    image = picture(*size)
    levels = np.random.default_rng(1).choice(np.array([0, 128, 255], np.uint8), size, p=[0.7, 0.1, 0.2])

    colours, known = shrunk(Picture(image), Trimap(levels), times)

    height, width = -(-size[0] // times), -(-size[1] // times)
    assert colours.size == known.size == (height, width)
    more = (0, height * times - size[0]), (0, width * times - size[1])
    whole = np.pad(image, (*more, (0, 0)), mode="edge") / 255
    means = whole.reshape(height, times, width, times, 3).mean(axis=(1, 3))
    assert np.abs(colours.pixels - means).max() < 1e-5
    squares = np.pad(levels, more, mode="edge").reshape(height, times, width, times).swapaxes(1, 2)
    for square, level in zip(squares.reshape(-1, times**2), known.levels.flat, strict=True):
        assert level == (square[0] if (square == square[0]).all() else 128)


def test_scene_linear_light_is_reduced_as_it_is_shown() -> None:
    light = np.zeros((2, 2, 3), np.float32)
    light[0] = 4.0  # above white

    colours, _ = shrunk(Picture(light, linear=True), Trimap(np.full((2, 2), 128, np.uint8)), 2)

    assert np.allclose(colours.pixels, 0.5)


def test_what_is_clear_and_far_from_all_that_is_not_is_settled() -> None:
    levels = np.full((80, 200), 128, np.uint8)
    levels[:5], levels[-5:] = 255, 0
    alpha = np.zeros((80, 200), np.float32)
    alpha[:, 100:] = 1
    alpha[40, 50] = 0.3  # a lone hair
    alpha[40, 150] = 0.8
    alpha[0, 0] = 0.5  # an estimate says nothing where the trimap knows

    settled = settle(levels, alpha)

    assert (settled[:5] == 255).all()
    assert (settled[-5:] == 0).all()
    down, right = np.mgrid[:80, :200]
    unknown = np.zeros_like(levels, bool)
    for row, column in ((40, 50), (40, 150), (0, 0)):
        unknown |= np.hypot(down - row, right - column) <= MARGIN_PX
    unknown |= (right >= 100 - MARGIN_PX) & (right < 100 + MARGIN_PX)
    unknown[:5], unknown[-5:] = False, False
    assert np.array_equal(settled == 128, unknown)
    assert (
        settled[5:-5][(settled != 128)[5:-5]] == np.where(right < 100, 0, 255)[5:-5][~unknown[5:-5]]
    ).all()


def test_rows_of_a_narrowed_trimap_are_rows_of_the_whole() -> None:
    levels = banded_trimap(101, 77)
    settled = np.random.default_rng(0).choice(np.array([0, 128, 255], np.uint8), (34, 26))
    narrowed = NarrowedTrimap(Trimap(levels, ("a note",)), settled, 3)

    whole = narrowed.level_rows(slice(0, 101))

    known = levels != 128
    assert np.array_equal(whole[known], levels[known])
    assert np.array_equal(whole[~known], settled.repeat(3, 0).repeat(3, 1)[:101, :77][~known])
    for first, end in ((0, 1), (4, 5), (50, 101), (99, 200)):
        assert np.array_equal(narrowed.level_rows(slice(first, end)), whole[first:end])
    scan = narrowed.scan((101, 77), patch_px=16)
    assert scan.unknown == np.count_nonzero(whole == 128)
    assert (narrowed.size, narrowed.notes) == ((101, 77), ("a note",))


@pytest.mark.parametrize(
    ("size", "times"),
    [((1, 1), 2), ((2000, 2000), 2), ((3000, 4000), 3), ((4872, 6017), 4), ((32768, 32768), 24)],
)
def test_how_much_smaller_a_picture_is_looked_at(size: tuple[int, int], times: int) -> None:
    assert reduction(size) == times


def test_pictures_larger_than_the_weights_name_are_looked_at_first(weights) -> None:
    def times(narrow_above: int, **options: Any) -> list[int]:
        engine = Engine(replace(weights, narrow_above=narrow_above), device="cpu", **options)
        return [engine.reduction(size) for size in ((100, 100), (101, 100))]

    asking = Engine(replace(weights, narrow_above=10_000), device="cpu")
    assert asking.reduction((200, 200), enlarged=2) == 1, "it is not as large as it is shown"
    assert Engine(weights, device="cpu", narrow="always").reduction((200, 200), enlarged=2) == 2

    assert times(0) == [1, 1]
    assert times(10_000) == [1, 2]
    assert times(10_000, narrow="never") == [1, 1]
    assert times(0, narrow="always") == [2, 2]


def test_built_in_weights_look_first_above_four_megapixels() -> None:
    engine = load("tiny", device="cpu")

    assert engine.reduction((2000, 2000)) == 1
    assert engine.reduction((2000, 2001)) == 2


def test_a_first_look_narrows_what_is_asked_and_says_so(tiny: Engine) -> None:
    image, levels = disc()

    matte = tiny(image, levels)

    report = matte.report
    assert report.first_reduced == 2
    assert report.unknown_share == pytest.approx(np.mean(levels == 128))
    assert 0 < report.asked_share < report.unknown_share / 2
    assert "look" in report.seconds
    assert np.array_equal(matte.trimap, levels)
    distance = np.hypot(*(np.indices(levels.shape) - [[[130]], [[160]]]))
    assert (matte.alpha[distance < 30] == 1).all()
    assert (matte.alpha[distance > 90] == 0).all()
    assert ((matte.alpha > 0.05) & (matte.alpha < 0.95)).any()


def test_the_matte_is_that_of_the_narrowed_trimap(tiny: Engine, monkeypatch) -> None:
    image, levels = disc()
    matte = tiny(image, levels)

    monkeypatch.setattr(tiny, "narrow", "never")
    shown, known = shrunk(Picture(image), Trimap(levels), 2)
    settled = settle(known.levels, tiny(shown.pixels, known).alpha)
    whole = NarrowedTrimap(Trimap(levels), settled, 2).level_rows(slice(0, len(levels)))
    plain = tiny(image, whole)

    assert np.array_equal(matte.alpha, plain.alpha)
    assert plain.report.first_reduced == 1
    assert plain.report.asked_share == plain.report.unknown_share == matte.report.asked_share


def test_files_in_bands_get_what_pictures_in_memory_get(tiny: Engine, tmp_path: Path) -> None:
    image, levels = disc()
    write_picture(tmp_path / "photo.png", image.astype(np.float32) / 255)
    write_trimap(tmp_path / "trimap.png", levels)
    told: list[tuple[str, float]] = []

    with open_picture(tmp_path / "photo.png") as photo, open_trimap(tmp_path / "trimap.png") as trimap:
        results = Results(tmp_path / "alpha.tif")
        progress = lambda *part: told.append(part)  # noqa: E731
        report, _ = matte_to_files(tiny, photo, trimap, results, progress=progress)

    matte = tiny(tmp_path / "photo.png", tmp_path / "trimap.png")
    matte.save(tmp_path / "whole.tif")
    ours, whole = (read_picture(tmp_path / name).values() for name in ("alpha.tif", "whole.tif"))
    assert np.abs(ours - whole).max() < 1e-3
    assert (report.first_reduced, report.asked_share) == (2, matte.report.asked_share)
    looks = [share for stage, share in told if stage == "look"]
    assert looks == sorted(looks)
    assert (looks[0], looks[-1]) == (0, 1)
    assert [stage for stage, _ in told].index("encode") > len(looks) - 1


@pytest.mark.parametrize("enlarge", [1, 2])
def test_a_first_look_that_memory_does_not_hold_is_left_out_and_it_is_said(
    tiny: Engine, monkeypatch, enlarge
) -> None:
    image, levels = disc()
    monkeypatch.setattr(tiny, "enlarge", enlarge)
    looked = tiny(image, levels)

    monkeypatch.setattr(narrow, "look_job", lambda job: replace(look_job(job), beside_bytes=10**15))
    matte = tiny(image, levels)

    assert matte.report.first_reduced == 1
    assert matte.report.asked_share == matte.report.unknown_share
    [warning] = [line for line in matte.report.warnings if "reduced first" in line]
    assert "323x261 px" in warning
    assert "as asked for" in warning
    assert not np.array_equal(matte.alpha, looked.alpha)


def test_a_look_that_leaves_nothing_to_ask_is_not_believed(tiny: Engine, monkeypatch) -> None:
    image, levels = disc()
    monkeypatch.setattr(narrow, "settle", lambda levels, _: np.zeros_like(levels))

    matte = tiny(image, levels)

    assert matte.report.first_reduced == 2
    assert matte.report.asked_share == matte.report.unknown_share
    assert matte.alpha.any()


def test_what_does_not_fit_at_its_own_size_is_refused_before_the_look(weights) -> None:
    engine = Engine(weights, device="cpu", precision="float32", narrow="always")
    engine.memory = 1
    seen: list[str] = []

    with pytest.raises(BudgetError, match="323x261 px"):
        engine(*disc(), progress=lambda stage, _: seen.append(stage))
    assert not seen


def test_narrow_is_auto_always_or_never(weights) -> None:
    with pytest.raises(InputError, match=r"narrow is .auto., .always. or .never., not 'yes'"):
        Engine(weights, device="cpu", narrow="yes")  # type: ignore[arg-type]
