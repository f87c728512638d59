"""What is wrong with a data set: each problem is named with its file, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from mematte.data.check import Problem, Report, check, contact_sheet
from mematte.data.layouts import find_pairs
from mematte.errors import DataError, OutputError
from mematte.image import read_picture

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
HEIGHT, WIDTH = 24, 32

Pixels = np.ndarray
Spoil = Callable[[Path], object]


def soft_alpha(height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    """0 on the left, 255 on the right, a ramp between."""
    ramp = np.clip(np.linspace(-1, 2, width), 0, 1) * 255
    return np.tile(np.rint(ramp).astype(np.uint8), (height, 1))


def trimap_of(alpha: Pixels) -> Pixels:
    trimap = np.full_like(alpha, 128)
    trimap[alpha == 0], trimap[alpha == 255] = 0, 255
    return trimap


def photo(height: int = HEIGHT, width: int = WIDTH) -> Pixels:
    return np.random.default_rng(height).integers(0, 256, (height, width, 3), dtype=np.uint8)


def save(path: Path, pixels: Pixels) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)
    return path


def add_pair(folder: Path, name: str, height: int = HEIGHT, width: int = WIDTH) -> None:
    alpha = soft_alpha(height, width)
    save(folder / "image" / f"{name}.jpg", photo(height, width))
    save(folder / "alpha" / f"{name}.png", alpha)
    save(folder / "trimap" / f"{name}.png", trimap_of(alpha))


def cut_file(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three good pairs with trimaps."""
    for name in ("a", "b", "c"):
        add_pair(tmp_path / "set", name)
    return tmp_path / "set"


def said(report: Report) -> list[tuple[str, str, str]]:
    """(file, level, what) of every problem."""
    return [
        (problem.file.relative_to(report.found.folder).as_posix(), problem.level, problem.what)
        for problem in report.problems
    ]


def test_a_good_data_set_has_no_problems(folder: Path) -> None:
    report = check(folder)
    assert report.problems == ()
    assert len(report.found.pairs) == 3


def test_sizes_are_the_smallest_the_median_and_the_largest(tmp_path: Path) -> None:
    for name, size in zip("abcde", [(20, 30), (90, 10), (40, 50), (8, 9), (10, 91)], strict=True):
        add_pair(tmp_path, name, *size)
    assert check(tmp_path).sizes == ((8, 9), (90, 10), (40, 50))


HARD = np.where(soft_alpha() > 127, 255, 0).astype(np.uint8)


@pytest.mark.parametrize(
    ("file", "spoil", "level", "what"),
    [
        ("image/b.jpg", cut_file, "error", "is damaged or truncated"),
        ("image/b.jpg", lambda path: path.write_text("no picture"), "error", "cannot be read as a picture"),
        ("image/b.jpg", lambda path: path.write_bytes(b""), "error", "is empty (0 bytes)"),
        ("alpha/b.png", cut_file, "error", "is truncated"),
        ("trimap/b.png", cut_file, "error", "is truncated"),
        ("image/b.jpg", lambda path: save(path, photo(12, 16)), "error", "is 32x24 px, its image 16x12 px"),
        ("alpha/b.png", lambda path: save(path, np.zeros_like(HARD)), "error",
         "is transparent everywhere, all 0"),
        ("alpha/b.png", lambda path: save(path, np.full_like(HARD, 255)), "error",
         "is opaque everywhere, all 1"),
        ("alpha/b.png", lambda path: save(path, HARD), "warning", "is a hard mask"),
        ("alpha/b.png", lambda path: save(path, photo()), "error", "cannot be used as the alpha"),
        ("alpha/b.png", lambda path: save(path, HARD // 255), "error", "cannot be used as the alpha"),
        ("trimap/b.png", lambda path: save(path, photo()), "error", "cannot be used as the trimap"),
        ("trimap/b.png", lambda path: save(path, HARD), "error", "has no unknown pixel"),
        ("trimap/b.png", lambda path: save(path, 255 - trimap_of(soft_alpha())), "warning",
         "contradicts the alpha in 100.0% of the pixels that it knows"),
        ("alpha/b.png", lambda path: path.unlink(), "warning", "belongs to no pair"),
        ("trimap/b.png", lambda path: path.unlink(), "warning", "has no trimap, others have one"),
        ("image/d.jpg", lambda path: save(path, photo()), "warning", "belongs to no pair"),
    ],
)  # fmt: skip
def test_a_spoilt_file_is_named_and_the_others_are_not(
    folder: Path, file: str, spoil: Spoil, level: str, what: str
) -> None:
    spoil(folder / file)

    report = check(folder)

    about_b_or_d = [problem for problem in report.problems if problem.file.stem in "bd"]
    assert list(report.problems) == about_b_or_d
    assert report.problems
    assert any(problem.level == level and problem.what.startswith(what) for problem in report.problems), said(
        report
    )
    assert all(problem.advice.endswith(".") for problem in report.problems)


def test_of_files_that_differ_in_size_both_sizes_are_said(folder: Path) -> None:
    save(folder / "alpha" / "b.png", soft_alpha(12, 20))
    assert said(check(folder)) == [("alpha/b.png", "error", "is 20x12 px, its image 32x24 px")]


def test_a_file_that_lies_on_its_side_is_told_so(folder: Path) -> None:
    save(folder / "alpha" / "b.png", soft_alpha(WIDTH, HEIGHT))
    (problem,) = check(folder).problems
    assert problem.advice.startswith("One of them may lie on its side.")


def test_a_small_contradiction_is_the_noise_of_files(folder: Path) -> None:
    alpha = soft_alpha()
    alpha[alpha == 255] = 240  # 0.94: as JPEG leaves it
    save(folder / "alpha" / "b.png", alpha)
    assert check(folder).problems == ()


def test_partners_that_are_missing_are_named_one_by_one(folder: Path) -> None:
    (folder / "alpha" / "b.png").unlink()
    assert said(check(folder)) == [
        ("image/b.jpg", "warning", "belongs to no pair"),
        ("trimap/b.png", "warning", "belongs to no pair"),
    ]


@pytest.mark.parametrize(
    ("alpha", "level", "what"),
    [
        (np.full((HEIGHT, WIDTH), 255, np.uint8), "error", "has no transparency: its alpha is 1 everywhere"),
        (np.zeros((HEIGHT, WIDTH), np.uint8), "error", "is transparent everywhere, all 0"),
        (HARD, "warning", "is a hard mask: no pixel is partly covered"),
    ],
)
def test_a_cutout_needs_an_alpha_that_says_something(
    tmp_path: Path, alpha: Pixels, level: str, what: str
) -> None:
    save(tmp_path / "good.png", np.dstack([photo(), soft_alpha()]))
    save(tmp_path / "bad.png", np.dstack([photo(), alpha]))
    assert said(check(tmp_path)) == [("bad.png", level, what)]


def test_a_picture_without_alpha_among_cutouts_is_told(tmp_path: Path) -> None:
    save(tmp_path / "good.png", np.dstack([photo(), soft_alpha()]))
    save(tmp_path / "photo.jpg", photo())
    assert said(check(tmp_path)) == [("photo.jpg", "warning", "has no alpha channel")]


def test_sixteen_bits_and_floats_are_read(tmp_path: Path) -> None:
    save(tmp_path / "fg" / "deep.png", photo().astype(np.uint16) * 257)
    save(tmp_path / "alpha" / "deep.tif", soft_alpha().astype(np.uint16) * 257)
    save(tmp_path / "fg" / "float.tiff", photo().astype(np.float32) / 255)
    save(tmp_path / "alpha" / "float.tiff", soft_alpha().astype(np.float32) / 255)
    assert check(tmp_path).problems == ()


def test_errors_and_warnings_are_told_apart(folder: Path) -> None:
    cut_file(folder / "alpha" / "a.png")
    save(folder / "alpha" / "b.png", HARD)
    report = check(folder)

    def files(problems: tuple[Problem, ...]) -> list[str]:
        return [problem.file.name for problem in problems]

    assert (files(report.of("error")), files(report.of("warning"))) == (["a.png"], ["b.png"])


def test_nothing_readable_has_no_size(tmp_path: Path) -> None:
    for file in ("fg/a.jpg", "alpha/a.png"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).touch()
    report = check(tmp_path)
    assert (report.sizes, len(report.of("error"))) == ((), 2)


def test_progress_is_told_pair_by_pair(folder: Path) -> None:
    told: list[tuple[str, float]] = []
    check(folder, progress=lambda name, share: told.append((name, share)))
    assert told == [("a", pytest.approx(1 / 3)), ("b", pytest.approx(2 / 3)), ("c", 1)]


def test_what_is_no_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        check(tmp_path)


@pytest.mark.parametrize(("pairs", "columns", "cells"), [(1, 3, (1, 1)), (3, 2, (2, 2)), (7, 3, (2, 3))])
def test_a_sheet_has_a_cell_per_pair_up_to_the_most(
    tmp_path: Path, pairs: int, columns: int, cells: tuple[int, int]
) -> None:
    for number in range(pairs):
        add_pair(tmp_path / "set", f"{number}")
    found = find_pairs(tmp_path / "set")

    contact_sheet(found, tmp_path / "s.png", columns=columns, most=6, panel_px=40)

    sheet = read_picture(tmp_path / "s.png")
    cell_height, cell_width = 40 + 4 + 18, 3 * (40 + 4) + 2 * 4
    assert sheet.size == (cells[0] * cell_height, cells[1] * cell_width)


def test_a_sheet_shows_image_alpha_and_cutout(tmp_path: Path) -> None:
    alpha = np.zeros((40, 40), np.uint8)
    alpha[:, 20:] = 255
    save(tmp_path / "set" / "fg" / "a.png", np.full((40, 40, 3), (0, 0, 200), np.uint8))
    save(tmp_path / "set" / "alpha" / "a.png", alpha)

    contact_sheet(find_pairs(tmp_path / "set"), tmp_path / "s.png", panel_px=40)

    pixels = read_picture(tmp_path / "s.png").pixels
    image, matte, cut_out = (pixels[4:44, left : left + 40] for left in (4, 48, 92))
    assert (image == (200, 0, 0)).all()
    assert (matte[:, :20] == 0).all()
    assert (matte[:, 20:] == 255).all()
    assert set(np.unique(cut_out[:, :20])) == {153, 204}  # the checkerboard
    assert np.abs(cut_out[:, 20:].astype(int) - (200, 0, 0)).max() <= 1


def test_colours_that_are_cut_away_do_not_show_in_a_sheet(tmp_path: Path) -> None:
    """A cut-out's hidden colours, here a glaring green, are not mixed into its edge when it is shrunk."""
    cutout = np.zeros((800, 800, 4), np.uint8)
    cutout[..., 1] = 255
    cutout[:, 412:] = (60, 60, 60, 255)
    save(tmp_path / "set" / "a.png", cutout)

    contact_sheet(find_pairs(tmp_path / "set"), tmp_path / "s.png", panel_px=40)

    cut_out = read_picture(tmp_path / "s.png").pixels[4:44, 92:132].astype(int)
    assert (
        np.abs(cut_out[..., 1] - cut_out[..., 0]).max() < 20
    )  # 41 if they are shrunk before they are added up


def test_a_sheet_is_the_same_each_time(folder: Path, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        contact_sheet(find_pairs(folder), tmp_path / name, most=2)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()


def test_a_sheet_shows_where_pairs_are_damaged_or_do_not_fit(folder: Path, tmp_path: Path) -> None:
    cut_file(folder / "alpha" / "a.png")
    save(folder / "alpha" / "b.png", soft_alpha(100, 20))
    told: list[str] = []
    contact_sheet(find_pairs(folder), tmp_path / "s.png", progress=lambda name, _: told.append(name))
    assert told == ["a", "b", "c"]
    assert (tmp_path / "s.png").is_file()


def test_a_name_longer_than_its_cell_or_in_other_letters_is_drawn(tmp_path: Path) -> None:
    add_pair(tmp_path / "set", "名" + "x" * 120)
    contact_sheet(find_pairs(tmp_path / "set"), tmp_path / "s.png", panel_px=20)


def test_a_sheet_replaces_only_what_it_may(folder: Path, tmp_path: Path) -> None:
    found = find_pairs(folder)
    (tmp_path / "old.png").write_text("old")
    before = (folder / "alpha" / "a.png").read_bytes()

    with pytest.raises(OutputError, match=r"old\.png exists"):
        contact_sheet(found, tmp_path / "old.png")
    with pytest.raises(OutputError, match="is one of the inputs"):
        contact_sheet(found, folder / "alpha" / "a.png", force=True)
    with pytest.raises(OutputError, match="cannot hold a picture"):
        contact_sheet(found, tmp_path / "s.txt")

    assert (tmp_path / "old.png").read_text() == "old"
    assert (folder / "alpha" / "a.png").read_bytes() == before
    contact_sheet(found, tmp_path / "old.png", force=True)
    assert read_picture(tmp_path / "old.png").bits == 8


def test_alphamatting_is_clean() -> None:
    if not (SHARED / "eval/alphamatting").is_dir():
        pytest.skip(f"the pictures are not here: {SHARED / 'eval/alphamatting'}")
    for layout in ("alphamatting", "alphamatting-trimap2"):
        report = check(SHARED / "eval/alphamatting", layout)
        assert said(report) == []
        assert report.sizes == ((490, 800), (595, 800), (715, 800))
