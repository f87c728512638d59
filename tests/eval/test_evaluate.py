"""Evaluating a method over pictures, and reading the alphamatting.com layout."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from mematte.errors import ImageFileError, InputError
from mematte.eval import EvalPair, Scores, alphamatting_pairs, evaluate, score

Array = npt.NDArray[Any]


def pair(name: str, truth: float) -> EvalPair:
    return EvalPair(
        name=name,
        image=np.zeros((10, 100, 3), dtype=np.uint8),
        trimap=np.full((10, 100), 128, dtype=np.uint8),
        truth=np.full((10, 100), truth),
    )


def half(_image: Array, trimap: Array) -> Array:
    return np.full(trimap.shape, 0.5, dtype=np.float32)


def test_the_mean_is_over_pictures() -> None:
    result = evaluate(half, [pair("a", 0.5), pair("b", 0.25)], eight_bit=False)
    assert result.names == ("a", "b")
    assert [scores.sad for scores in result.scores] == pytest.approx([0, 0.25])
    assert result.mean.sad == pytest.approx(0.125)
    assert result.mean.mse == pytest.approx(31.25)


def test_eight_bit_scores_what_a_file_would_hold() -> None:
    one = pair("a", 0.5)
    stored = np.full((10, 100), 128, dtype=np.uint8)  # 127.5 rounds to even
    assert evaluate(half, [one]).scores == (score(stored, one.truth, one.trimap),)
    assert evaluate(half, [one], eight_bit=False).scores == (Scores(0, 0, 0, 0, 0),)


def test_pictures_are_taken_one_at_a_time() -> None:
    alive: list[str] = []

    def pairs() -> Iterator[EvalPair]:
        for name in "abc":
            alive.append(name)
            yield pair(name, 0.5)

    def predict(image: Array, trimap: Array) -> Array:
        seen.append(len(alive))
        return half(image, trimap)

    seen: list[int] = []
    evaluate(predict, pairs())
    assert seen == [1, 2, 3]


def test_the_table_has_a_line_per_picture_and_the_mean() -> None:
    lines = (
        evaluate(half, [pair("GT01", 0.5), pair("a long name", 0.25)], eight_bit=False).table().splitlines()
    )
    assert lines[0].split() == ["SAD", "MSE", "x1e3", "MAD", "x1e3", "Grad", "Conn"]
    assert lines[1].split() == ["GT01", "0.00", "0.00", "0.00", "0.00", "0.00"]
    assert lines[2].startswith("a long name      0.25     62.50    250.00")
    assert lines[3].split()[:2] == ["mean", "0.12"]
    assert len({len(line) for line in lines}) == 1


def test_no_pictures_is_an_error() -> None:
    with pytest.raises(InputError, match="no pictures"):
        evaluate(half, [])


@pytest.mark.parametrize("eight_bit", [True, False])
@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (lambda image, trimap: half(image, trimap) * np.nan, "b: alpha holds 1000 values"),
        (lambda image, trimap: half(image, trimap) * 3, r"b: alpha must lie in \[0, 1\]"),
        (lambda image, trimap: half(image, trimap)[:5], r"b: .*\(5, 100\)"),
        (lambda *_: None, "b: alpha must be a numpy array, not NoneType"),
    ],
)
def test_a_bad_prediction_names_the_picture(bad: Any, message: str, eight_bit: bool) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(bad, [pair("b", 0.5)], eight_bit=eight_bit)


def write(path: Path, pixels: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), pixels)


def test_alphamatting_pairs_reads_rgb_and_first_channels(tmp_path: Path) -> None:
    rgb = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    alpha = np.array([[0, 10, 255], [7, 8, 9]], dtype=np.uint8)
    trimap = np.array([[0, 128, 255], [128, 128, 128]], dtype=np.uint8)
    for name in ("GT02", "GT01"):
        write(tmp_path / "image" / f"{name}.png", rgb[..., ::-1])
    write(tmp_path / "alpha" / "GT01.png", alpha)
    write(tmp_path / "alpha" / "GT02.png", np.dstack([alpha * 0, alpha * 0, alpha]))  # first in the file: red
    write(tmp_path / "trimap2" / "GT01.png", trimap)
    write(tmp_path / "trimap2" / "GT02.png", np.dstack([trimap] * 3))

    pairs = list(alphamatting_pairs(tmp_path, "trimap2"))

    assert [one.name for one in pairs] == ["GT01", "GT02"]
    for one in pairs:
        np.testing.assert_array_equal(one.image, rgb)
        np.testing.assert_array_equal(one.truth, alpha)
        np.testing.assert_array_equal(one.trimap, trimap)


def test_a_missing_folder_or_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ImageFileError, match="No PNG pictures"):
        list(alphamatting_pairs(tmp_path))
    write(tmp_path / "image" / "GT01.png", np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(ImageFileError, match=r"GT01\.png is missing"):
        list(alphamatting_pairs(tmp_path))


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "GT01.png").write_text("not a picture")
    with pytest.raises(ImageFileError, match=r"GT01\.png is missing or not a picture"):
        list(alphamatting_pairs(tmp_path))
