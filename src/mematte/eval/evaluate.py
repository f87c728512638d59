"""Score a matting method on a set of pictures with known mattes.

The method is any function from a picture and its trimap to a matte: a network of ours, or a peer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from mematte.errors import ImageFileError, InputError
from mematte.eval import metrics
from mematte.eval.metrics import Alpha, Region, Scores

Predict: TypeAlias = Callable[[npt.NDArray[np.uint8], npt.NDArray[np.uint8]], npt.NDArray[np.floating[Any]]]


@dataclass(frozen=True)
class EvalPair:
    """One picture with its trimap and its true matte.

    Attributes:
        name: what the table calls it.
        image: (H, W, 3) uint8 RGB.
        trimap: (H, W) uint8 of 0, 128 and 255.
        truth: (H, W) the true matte, float in [0, 1] or uint8.
    """

    name: str
    image: npt.NDArray[np.uint8]
    trimap: npt.NDArray[np.uint8]
    truth: Alpha


@dataclass(frozen=True)
class Evaluation:
    """The scores of every picture, in the order they came, and their mean.

    Attributes:
        names: one per picture.
        scores: one per picture, in the units papers print.
        mean: the mean over pictures (not over pixels) of each metric, as papers take it.
    """

    names: tuple[str, ...]
    scores: tuple[Scores, ...]
    mean: Scores

    def table(self) -> str:
        """One line per picture and one for the mean, as plain text columns."""
        columns = ("SAD", "MSE x1e3", "MAD x1e3", "Grad", "Conn")
        width = max(len(name) for name in (*self.names, "mean"))
        lines = [" " * width + "".join(f"{column:>10}" for column in columns)]
        for name, scores in zip((*self.names, "mean"), (*self.scores, self.mean), strict=True):
            lines.append(f"{name:<{width}}" + "".join(f"{value:>10.2f}" for value in astuple(scores)))
        return "\n".join(lines)


def evaluate(
    predict: Predict, pairs: Iterable[EvalPair], eight_bit: bool = True, *, region: Region = "unknown"
) -> Evaluation:
    """Run a method over pictures and score what it returns.

    Args:
        predict: image (H, W, 3) uint8 and trimap (H, W) uint8 -> alpha (H, W), float in [0, 1].
        pairs: the pictures; taken one at a time, so a generator never holds more than one.
        eight_bit: round the prediction to 8 bits first, as the files that papers score are. Unrounded
            mattes score slightly better; say which when you quote a figure.
        region: where errors count, "unknown" or "whole"; see `mematte.eval.metrics.score`.

    Returns:
        `Evaluation`: each picture's scores and their mean.

    Raises:
        InputError: no pictures, or a prediction of the wrong shape, type or range (the picture is named).
    """
    names: list[str] = []
    scores: list[Scores] = []
    for pair in pairs:
        alpha = predict(pair.image, pair.trimap)
        try:
            judged = metrics.eight_bit(alpha) if eight_bit else alpha
            scores.append(metrics.score(judged, pair.truth, pair.trimap, region=region))
        except InputError as error:
            raise InputError(f"{pair.name}: {error}") from error
        names.append(pair.name)
    if not scores:
        raise InputError("There are no pictures to evaluate: `pairs` is empty.")
    return Evaluation(tuple(names), tuple(scores), _mean(scores))


def alphamatting_pairs(root: str | Path, trimap: str = "trimap1") -> Iterator[EvalPair]:
    """Read the alphamatting.com training pictures: `image/`, `trimap1/`, `trimap2/`, `alpha/`, same names.

    Args:
        root: the folder that holds these four.
        trimap: which trimaps, "trimap1" (narrow) or "trimap2" (wide).

    Yields:
        One `EvalPair` per file of `image/`, by name; mattes stay uint8. Of an alpha or a trimap with several
        channels, which are equal in this set, the first is read.

    Raises:
        ImageFileError: a folder or a file is missing, or is not a picture.
    """
    root = Path(root)
    images = sorted((root / "image").glob("*.png"))
    if not images:
        raise ImageFileError(
            f"No PNG pictures in {root / 'image'}: expected image/, {trimap}/ and alpha/ there."
        )
    for path in images:
        image = _read(path, cv2.IMREAD_COLOR)
        yield EvalPair(
            name=path.stem,
            image=np.ascontiguousarray(image[..., ::-1]),  # OpenCV reads BGR
            trimap=_read_plane(root / trimap / path.name),
            truth=_read_plane(root / "alpha" / path.name),
        )


def _mean(scores: list[Scores]) -> Scores:
    names = [field.name for field in fields(Scores)]
    return Scores(**{name: float(np.mean([getattr(one, name) for one in scores])) for name in names})


def _read_plane(path: Path) -> npt.NDArray[np.uint8]:
    """(H, W) the first channel; PNG's first is OpenCV's third, red."""
    pixels = _read(path, cv2.IMREAD_UNCHANGED)
    return np.ascontiguousarray(pixels if pixels.ndim == 2 else pixels[..., 2])


def _read(path: Path, flags: int) -> npt.NDArray[np.uint8]:
    # imread warns on its own stderr about a missing file, so ask first.
    pixels = cv2.imread(str(path), flags) if path.is_file() else None
    if pixels is None:
        raise ImageFileError(f"{path} is missing or not a picture.")
    if pixels.dtype != np.uint8:
        raise ImageFileError(f"{path} holds {pixels.dtype}; this layout is 8-bit.")
    return pixels.astype(np.uint8, copy=False)
