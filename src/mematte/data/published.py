"""Training crops made as the paper's were.

Source: Lin et al., "Memory Efficient Matting with Adaptive Token Routing", AAAI 2025, trained on the crops of
Yao et al., "ViTMatte", 2024, which are those of Li and Lu, "Natural Image Matting via Guided Contextual
Attention", AAAI 2020. The chances and ranges are theirs. Three things differ:

- What the trimap knows is exact. Theirs is eroded on a small copy, and a soft pixel can end up as known.
- Of two merged foregrounds each gives colour by its part of the joint alpha, so that the colour is right
  where both are thin.
- The background is a part of a photograph, as `BackgroundLibrary.photograph` cuts it, not all of it squeezed
  to the foreground's size.
"""

from __future__ import annotations

from typing import Protocol, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data import compose
from mematte.data.crops import Crop
from mematte.data.pyramid import Pyramid

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Random = np.random.Generator

MERGE_CHANCE = 0.5
SQUARE_CHANCE = 0.25
COPY_PX = 640  # side of the square that a foreground sometimes becomes, and that every trimap is drawn on
ANGLE_DEGREES, SHEAR_DEGREES = 30.0, 10.0
SCALES = (0.8, 1.25)
BRUSH_PX = (1, 29)  # diameters of the ellipses that erode the known regions
HUE_DEGREES = 40
RESAMPLING = (cv2.INTER_NEAREST, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_AREA, cv2.INTER_LANCZOS4)


class Drawn(Protocol):
    """A foreground: RGBA, straight alpha, colour valid everywhere; level 0 is the whole picture."""

    @property
    def pyramid(self) -> Pyramid: ...


class Foregrounds(Protocol):
    """Where foregrounds come from, such as what `load_foregrounds` gives."""

    def draw(self, rng: Random, /) -> Drawn: ...


class Backgrounds(Protocol):
    """Where backgrounds come from, such as `BackgroundLibrary`."""

    def photograph(self, rng: Random, size_px: int, /) -> Bytes: ...


class PublishedCrops:
    """Endless training crops by the published recipe; a crop depends on nothing but its generator's state."""

    def __init__(self, foregrounds: Foregrounds, backgrounds: Backgrounds) -> None:
        cv2.setNumThreads(1)  # crops are made in parallel by processes, not by threads in each
        self._foregrounds = foregrounds
        self._backgrounds = backgrounds

    def sample(self, rng: Random, size_px: int) -> Crop:
        """One crop of `size_px` squared."""
        picture = self._foregrounds.draw(rng).pyramid.levels[0]
        if rng.random() < MERGE_CHANCE:
            other = self._foregrounds.draw(rng).pyramid.levels[0]
            height, width = picture.shape[:2]
            picture = merge(picture, resample(other, (height, width), rng))
        if rng.random() < SQUARE_CHANCE:
            picture = resample(picture, (COPY_PX, COPY_PX), rng)
        picture = enlarge(turn(picture, rng), size_px, rng)
        trimap = eroded_trimap(picture[..., 3], rng)
        top, left = around_unknown(trimap, size_px, rng)
        window = (slice(top, top + size_px), slice(left, left + size_px))
        colour, alpha = np.ascontiguousarray(picture[window][..., :3]), picture[window][..., 3]
        exact = alpha.astype(np.float32) / np.float32(255)
        colour = jitter_hsv(colour, alpha > 0, rng)
        background = self._backgrounds.photograph(rng, size_px)
        return Crop(compose.over(colour, exact, background), exact, trimap[window].copy())


def merge(front: Bytes, back: Bytes) -> Bytes:
    """One RGBA picture over another, as `compose.merge`."""
    merged = compose.merge(front[..., :3], front[..., 3], back[..., :3], back[..., 3])
    return cast(Bytes, np.dstack(merged))


def resample(picture: Bytes, size_px: tuple[int, int], rng: Random) -> Bytes:
    """The picture at (height, width), by a random interpolation."""
    height, width = size_px
    resized = cv2.resize(picture, (width, height), interpolation=_any_of(RESAMPLING, rng))
    return cast(Bytes, resized)


def turn(picture: Bytes, rng: Random) -> Bytes:
    """Rotate, scale each axis, shear and flip a picture around its middle; its size stays."""
    height, width = picture.shape[:2]
    angle, shear = np.radians(
        [rng.uniform(-ANGLE_DEGREES, ANGLE_DEGREES), rng.uniform(-SHEAR_DEGREES, SHEAR_DEGREES)]
    )
    flips = np.where(rng.random(2) < 0.5, -1.0, 1.0)
    rotation = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = rotation @ np.array([[1, np.tan(shear)], [0, 1]]) @ np.diag(rng.uniform(*SCALES, 2) * flips)
    middle = np.array([width - 1, height - 1]) / 2
    matrix = np.column_stack([linear, middle - linear @ middle])
    # OpenCV has no area interpolation for warps.
    flags = _any_of([kind for kind in RESAMPLING if kind != cv2.INTER_AREA], rng)
    warped = cv2.warpAffine(picture, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return cast(Bytes, warped)


def enlarge(picture: Bytes, least_px: int, rng: Random) -> Bytes:
    """The picture as it is, or so large that its shorter side is `least_px`."""
    height, width = picture.shape[:2]
    scale = least_px / min(height, width)
    if scale <= 1:
        return picture
    return resample(picture, (max(least_px, round(height * scale)), max(least_px, round(width * scale))), rng)


def eroded_trimap(alpha: Bytes, rng: Random) -> Bytes:
    """(H, W) alpha -> (H, W) trimap {0, 128, 255}: both sides eroded, independently, on a 640 px copy.

    Where the trimap is 0 the alpha is 0, where it is 255 the alpha is 255.
    """
    height, width = alpha.shape
    copy = cv2.resize(alpha, (COPY_PX, COPY_PX), interpolation=cv2.INTER_NEAREST)
    trimap = np.full(alpha.shape, 128, np.uint8)
    for level in (0, 255):
        diameter_px = int(rng.integers(BRUSH_PX[0], BRUSH_PX[1] + 1))
        brush = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (diameter_px, diameter_px))
        known = cv2.erode((copy == level).astype(np.uint8), brush)
        known = cv2.resize(known, (width, height), interpolation=cv2.INTER_NEAREST)
        # A pixel of the copy stands for several of the picture: they are not all what it is.
        trimap[(known == 1) & (alpha == level)] = level
    return trimap


def around_unknown(trimap: Bytes, size_px: int, rng: Random) -> tuple[int, int]:
    """(top, left) of a window inside the picture, centred on a random unknown pixel as far as that goes."""
    height, width = trimap.shape
    unknown = np.flatnonzero(trimap == 128)
    anywhere = int(rng.integers(height * width))
    pixel = int(unknown[rng.integers(len(unknown))]) if len(unknown) else anywhere
    y, x = divmod(pixel, width)
    top = min(max(0, y - size_px // 2), height - size_px)
    left = min(max(0, x - size_px // 2), width - size_px)
    return top, left


def jitter_hsv(colour: Bytes, visible: NDArray[np.bool_], rng: Random) -> Bytes:
    """Turn the hue and shift saturation and value of a (H, W, 3) foreground.

    The paler or darker the visible part is, the further its saturation or value may move.
    """
    moves = rng.uniform(-1, 1, 3)
    if not visible.any():
        return colour
    hsv = cv2.cvtColor(colour.astype(np.float32) / 255, cv2.COLOR_RGB2HSV)
    hsv[..., 0] = (hsv[..., 0] + HUE_DEGREES * moves[0]) % 360
    for channel in (1, 2):
        plane = hsv[..., channel]
        moved = plane + moves[channel] * 0.1 * (1.1 - float(plane[visible].mean()))
        hsv[..., channel] = 1 - np.abs(1 - np.abs(moved))  # mirrored at both ends of [0, 1]
    return cast(Bytes, np.rint(cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB) * 255).astype(np.uint8))


def _any_of(kinds: tuple[int, ...] | list[int], rng: Random) -> int:
    return kinds[int(rng.integers(len(kinds)))]
