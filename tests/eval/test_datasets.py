"""A folder on disk -> pairs to score: what is found, what is read, and what is said where something lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mematte.errors import DataError, MatteError, SizeMismatchError
from mematte.eval.datasets import files_by_name, open_data_set, read_alpha
from mematte.image import trimap_from_mask, write_alpha

from .conftest import SIZE, Array, MakeDiscs, disc, trimap_of, write

TRUTH = np.rint(disc(12) * 255).astype(np.uint8)
TRIMAP = trimap_of(disc(12))
PICTURE = np.dstack([TRUTH, TRUTH // 2, 255 - TRUTH])


@pytest.mark.parametrize(
    ("layout", "files", "region"),
    [
        ("composition-1k", ("merged/a.png", "alpha_copy/a.png", "trimaps/a.png"), "unknown"),
        ("aim-500", ("original/a.png", "mask/a.png", "trimap/a.png"), "unknown"),
        ("p3m-500-p", ("blurred_image/a.png", "mask/a.png", "trimap/a.png"), "whole"),
        ("p3m-500-np", ("original_image/a.png", "mask/a.png", "trimap/a.png"), "whole"),
        (
            "alphamatting",
            (
                "input_training_lowres/a.png",
                "gt_training_lowres/a.png",
                "trimap_training_lowres/Trimap1/a.png",
            ),
            "unknown",
        ),
        ("alphamatting-trimap2", ("image/a.png", "alpha/a.png", "trimap2/a.png"), "unknown"),
        ("images", ("images/a.png", "masks/a.png", "trimaps/a.png"), "unknown"),
        ("flat", ("a.png", "a_alpha.png", "a_trimap.png"), "unknown"),
    ],
)
def test_every_layout_with_trimaps_is_read(
    tmp_path: Path, layout: str, files: tuple[str, str, str], region: str
) -> None:
    for file, pixels in zip(files, (PICTURE, TRUTH, TRIMAP), strict=True):
        write(tmp_path / file, pixels)

    data = open_data_set(tmp_path)

    assert (data.found.layout.name, data.region, data.lacking) == (layout, region, ())
    (pair,) = data.pairs
    read = data.read(pair)
    assert read.name == "a"
    for pixels, expected in ((read.image, PICTURE), (read.truth, TRUTH), (read.trimap, TRIMAP)):
        np.testing.assert_array_equal(pixels, expected)
        assert pixels.dtype == np.uint8


def test_a_set_that_lies_as_another_is_scored_as_its_own_papers_do(tmp_path: Path) -> None:
    for file, pixels in (("merged/a.png", PICTURE), ("alpha_copy/a.png", TRUTH), ("trimaps/a.png", TRIMAP)):
        write(tmp_path / file, pixels)
    assert open_data_set(tmp_path).region == "unknown"
    assert open_data_set(tmp_path, "Distinctions-646").region == "whole"


def test_of_a_set_that_is_split_the_test_part_is_taken(tmp_path: Path) -> None:
    for part, name in (("train", "a"), ("test", "b"), ("validation", "c")):
        for folder, pixels in (("merged", PICTURE), ("alpha_copy", TRUTH), ("trimaps", TRIMAP)):
            write(tmp_path / part / folder / f"{name}.png", pixels)
    data = open_data_set(tmp_path)
    assert [pair.name for pair in data.pairs] == ["b"]
    assert [folder.name for folder in data.found.left_out] == ["train", "validation"]


@pytest.mark.parametrize("inside", [True, False])
def test_another_folder_of_trimaps_can_be_named(make_discs: MakeDiscs, tmp_path: Path, inside: bool) -> None:
    folder = make_discs("a", "b")
    place = folder / "wide" if inside else tmp_path / "elsewhere"
    for name in "ab":
        write(place / f"{name}.png", np.full(SIZE, 128, np.uint8))
    data = open_data_set(folder, trimaps="wide" if inside else str(place))
    assert [(data.read(pair).trimap == 128).all() for pair in data.pairs] == [True, True]
    assert place.name in str(data.trimaps)


def test_trimaps_can_be_made_of_the_alphas(tmp_path: Path) -> None:
    write(tmp_path / "image/a.png", PICTURE)
    write(tmp_path / "matte/a.png", TRUTH)
    with pytest.raises(DataError, match=r"has no trimaps .*ppm-100.*--trimap-from-alpha"):
        open_data_set(tmp_path)

    data = open_data_set(tmp_path, trimap_radius_px=3)

    np.testing.assert_array_equal(data.read(data.pairs[0]).trimap, trimap_from_mask(TRUTH, 3))
    assert "made of the true alphas, radius 3 px" in str(data.trimaps)


def test_without_trimaps_every_pixel_is_unknown(make_discs: MakeDiscs) -> None:
    data = open_data_set(make_discs("a"), trimaps="none")
    assert (data.read(data.pairs[0]).trimap == 128).all()


def test_pairs_without_a_trimap_are_named(tmp_path: Path) -> None:
    for name in "ab":
        write(tmp_path / f"image/{name}.png", PICTURE)
        write(tmp_path / f"alpha/{name}.png", TRUTH)
    write(tmp_path / "trimap/b.png", TRIMAP)
    data = open_data_set(tmp_path)
    assert ([pair.name for pair in data.pairs], data.lacking) == (["b"], ("a",))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (("fg/a.png", "alpha/a.png"), "no photographs to matte.*data compose"),
        (("other/a.png",), "No layout fits"),
    ],
)
def test_a_folder_that_holds_nothing_to_score_is_refused(
    tmp_path: Path, files: tuple[str, ...], message: str
) -> None:
    for file in files:
        write(tmp_path / file, TRUTH)
    with pytest.raises(DataError, match=message):
        open_data_set(tmp_path)


@pytest.mark.parametrize(
    ("file", "pixels", "error", "message"),
    [
        ("trimap1/a.png", TRIMAP[:-1], SizeMismatchError, "the image is 56x40 px, the trimap 56x39 px"),
        ("alpha/a.png", TRUTH.T, DataError, "the picture is 56x40 px, the true alpha 40x56 px"),
        ("alpha/a.png", PICTURE, MatteError, "coloured"),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    make_discs: MakeDiscs, file: str, pixels: Array, error: type[MatteError], message: str
) -> None:
    folder = make_discs("a")
    write(folder / file, pixels)
    data = open_data_set(folder)
    with pytest.raises(error, match=message):
        data.read(data.pairs[0])


def test_alphas_keep_what_their_files_hold(tmp_path: Path) -> None:
    exact = disc(12).astype(np.float32)
    write(tmp_path / "eight.png", TRUTH)
    write(tmp_path / "three.png", np.dstack([TRUTH] * 3))
    write(tmp_path / "sixteen.png", np.rint(disc(12) * 65535).astype(np.uint16))
    write_alpha(tmp_path / "float.tif", exact, bits="float")
    for name in ("eight.png", "three.png"):
        alpha = read_alpha(tmp_path / name)
        assert alpha.dtype == np.uint8
        np.testing.assert_array_equal(alpha, TRUTH)
    np.testing.assert_array_equal(read_alpha(tmp_path / "sixteen.png"), np.rint(disc(12) * 65535) / 65535)
    np.testing.assert_array_equal(read_alpha(tmp_path / "float.tif"), exact)


def test_files_are_found_by_name(tmp_path: Path) -> None:
    for file in ("a.jpg", "a.png", "part__b.tif", "part/c.png", "d.alpha.png", "stranger.png", "e.txt"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    names = ("a", "part/b", "part/c", "d", "e")
    found, others = files_by_name(tmp_path, names, ("", ".alpha"))
    assert {name: file.relative_to(tmp_path).as_posix() for name, file in found.items()} == {
        "a": "a.png", "part/b": "part__b.tif", "part/c": "part/c.png", "d": "d.alpha.png",
    }  # fmt: skip
    assert [file.name for file in others] == ["a.jpg", "stranger.png"]
