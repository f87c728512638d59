"""Foreground over background, and what cameras and files do to the result.

Composites are made in gamma space, as in the data sets of the literature: I = alpha F + (1 - alpha) B.
"""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data.trimaps import smooth_field

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Random = np.random.Generator

_GRAIN = np.random.default_rng(0).standard_normal((640, 640, 3), dtype=np.float32)
# Cameras interpolate colours and reduce noise: what is left is correlated between neighbours.
_SOFT_GRAIN = cv2.GaussianBlur(_GRAIN, (0, 0), 0.8).astype(np.float32)
_SOFT_GRAIN /= _SOFT_GRAIN.std()


def over(foreground: Bytes, alpha: Floats, background: Bytes) -> Bytes:
    """alpha * foreground + (1 - alpha) * background, rounded. (S, S, 3), (S, S), (S, S, 3) -> (S, S, 3)."""
    base = background.astype(np.float32)
    return cast(Bytes, (base + (foreground - base) * alpha[..., None] + 0.5).astype(np.uint8))


def merge(front: Bytes, alpha: Bytes, back: Bytes, back_alpha: Bytes) -> tuple[Bytes, Bytes]:
    """One foreground over another: alpha = 1 - (1 - front)(1 - back), colour that of what is seen.

    (S, S, 3), (S, S), (S, S, 3), (S, S) -> (S, S, 3), (S, S). Colour stays valid where both are thin.
    """
    cover = alpha.astype(np.float32) / 255
    total = cover + back_alpha.astype(np.float32) / 255 * (1 - cover)
    share = np.where(total > 1e-3, cover / np.maximum(total, 1e-3), 1)
    return over(front, share, back), np.rint(total * 255).astype(np.uint8)


def jitter_colour(picture: Bytes, rng: Random, strength: float = 1.0) -> Bytes:
    """Change brightness, contrast, gamma, cast and saturation of a (H, W, 3) picture."""
    levels = np.arange(256, dtype=np.float32) / 255
    gamma = np.exp(rng.normal(0, 0.25 * strength))
    contrast = np.exp(rng.normal(0, 0.2 * strength))
    table = np.empty((256, 1, 3), np.uint8)
    shift = rng.normal(0, 0.08 * strength)
    for channel in range(3):
        cast_ = rng.normal(0, 0.04 * strength)
        curve = (levels**gamma - 0.5) * contrast + 0.5 + shift + cast_
        table[:, 0, channel] = np.clip(curve * 255 + 0.5, 0, 255)
    result = cv2.LUT(picture, table)
    if rng.random() < 0.5:
        saturation = rng.uniform(1 - 0.8 * strength, 1 + 0.5 * strength)
        grey = np.full((3, 3), (1 - saturation) / 3)
        result = cv2.transform(result, grey + np.eye(3) * saturation)
    return cast(Bytes, result)


def match_colour(picture: Bytes, target: Bytes, share: float) -> Bytes:
    """Move the mean colour of a picture towards that of another by `share` in [0, 1]."""
    move = (np.array(cv2.mean(target)[:3]) - np.array(cv2.mean(picture)[:3])) * share
    matrix = np.column_stack([np.eye(3), move])
    return cast(Bytes, cv2.transform(picture, matrix))


def blur(picture: Bytes, sigma_px: float) -> Bytes:
    """Gaussian blur, mirrored at the border."""
    return cast(Bytes, cv2.GaussianBlur(picture, (0, 0), sigma_px, borderType=cv2.BORDER_REFLECT_101))


def contrast(foreground: Bytes, background: Bytes, region: NDArray[np.bool_]) -> float:
    """Mean absolute difference of the two pictures in a region, in levels of 255."""
    return float(np.mean(cv2.mean(cv2.absdiff(foreground, background), region.view(np.uint8))[:3]))


def shade_rim(colour: Bytes, alpha: Bytes, sigma_px: float, strength: float) -> Bytes:
    """Darken (strength > 0) or lighten (< 0) a foreground towards its outline, as round bodies look."""
    depth = cv2.GaussianBlur(alpha, (0, 0), sigma_px).astype(np.float32) * (1 / 255)
    factor = 1 - strength * (1 - np.clip(depth * 2 - 1, 0, 1))
    return cast(Bytes, np.clip(colour * factor[..., None] + 0.5, 0, 255).astype(np.uint8))


def light_from(colour: Bytes, alpha: Bytes, sigma_px: float, direction: float, strength: float) -> Bytes:
    """Light from a direction, in radians, on a body that is round towards its outline.

    The blurred alpha is taken for the height of the body: slopes that face the light are lighter.
    """
    # What is smooth over sigma needs no finer grid than a third of it.
    rows, columns = alpha.shape
    step = max(1.0, sigma_px / 3)
    coarse = (max(3, round(columns / step)), max(3, round(rows / step)))
    height = cv2.GaussianBlur(
        cv2.resize(alpha, coarse, interpolation=cv2.INTER_AREA), (0, 0), sigma_px / step
    ).astype(np.float32) * np.float32(sigma_px * 2.5 / 255 / step)
    slope_x, slope_y = (cv2.Sobel(height, cv2.CV_32F, dx, dy, scale=1 / 8) for dx, dy in ((1, 0), (0, 1)))
    facing = -(slope_x * np.float32(np.cos(direction)) + slope_y * np.float32(np.sin(direction)))
    facing = cv2.resize(facing, (columns, rows), interpolation=cv2.INTER_LINEAR)
    factor = 1 + np.float32(strength) * np.clip(facing, -1, 1)
    return cast(Bytes, np.clip(colour * factor[..., None] + 0.5, 0, 255).astype(np.uint8))


def modulate(colour: Bytes, texture: Bytes, strength: float) -> Bytes:
    """A colour made lighter and darker by the brightness of a texture, around its mean."""
    grey = cv2.cvtColor(texture, cv2.COLOR_RGB2GRAY).astype(np.float32)
    mean = float(grey.mean())
    factor = 1 + np.float32(strength / max(mean, 40.0)) * (grey - np.float32(mean))
    return cast(Bytes, np.clip(colour * factor[..., None] + 0.5, 0, 255).astype(np.uint8))


def cast_shadow(background: Bytes, alpha: Bytes, rng: Random) -> Bytes:
    """The foreground's soft shadow on what is close behind it."""
    size_px = alpha.shape[0]
    move = rng.normal(0, size_px * 0.04, 2)
    moved = cv2.warpAffine(
        alpha,
        np.array([[1, 0, move[0]], [0, 1, move[1]]]),
        (size_px, size_px),
        borderMode=cv2.BORDER_REPLICATE,
    )
    soft = cv2.GaussianBlur(moved, (0, 0), rng.uniform(1, 12)).astype(np.float32) * (1 / 255)
    return cast(Bytes, (background * (1 - rng.uniform(0.2, 0.7) * soft)[..., None]).astype(np.uint8))


def motion_kernel(rng: Random, length_px: float) -> Floats:
    """Line of a random direction that sums to one."""
    side = int(length_px) // 2 * 2 + 3
    kernel = np.zeros((side, side), np.uint8)
    angle, middle = rng.uniform(0, np.pi), side / 2 - 0.5
    reach = np.array([np.cos(angle), np.sin(angle)]) * length_px / 2
    ends = [tuple(np.rint((middle + sign * reach) * 16).astype(int).tolist()) for sign in (-1, 1)]
    cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA, 4)
    return cast(Floats, kernel.astype(np.float32) / max(1.0, float(kernel.sum())))


def smooth_colours(rng: Random, size_px: int) -> Bytes:
    """A plain or slowly varying surface: painted metal, studio wall, sky."""
    base = rng.uniform(0, 255, 3)
    base = base.mean() + (base - base.mean()) * rng.beta(1, 2)  # most surfaces are not vivid
    other = np.clip(base + rng.normal(0, 40) + rng.normal(0, 20, 3), 0, 255)
    mix = smooth_field(rng, size_px, int(rng.integers(1, 7)))[..., None]
    grain = rng.uniform(0, 8) * _grain(rng, _GRAIN, size_px)[..., :1]
    surface = np.clip(base * (1 - mix) + other * mix + grain, 0, 255)
    return cast(Bytes, surface.astype(np.uint8))


def _grain(rng: Random, sheet: Floats, size_px: int) -> Floats:
    """A random (size_px, size_px, 3) part of a sheet of noise."""
    if size_px > sheet.shape[0]:
        return rng.standard_normal((size_px, size_px, 3), dtype=np.float32)
    y, x = rng.integers(0, sheet.shape[0] - size_px + 1, 2)
    return sheet[y : y + size_px, x : x + size_px]


def degrade(picture: Bytes, rng: Random) -> Bytes:
    """Resampling, slight blur or sharpening, sensor noise, JPEG: each sometimes."""
    if rng.random() < 0.1:
        picture = resampled(picture, rng.uniform(0.55, 0.95))
    if rng.random() < 0.2:
        picture = blur(picture, rng.uniform(0.3, 0.8))
    elif rng.random() < 0.25:
        soft = blur(picture, rng.uniform(0.6, 1.5))
        amount = rng.uniform(0.2, 0.8)
        picture = cast(Bytes, cv2.addWeighted(picture, 1 + amount, soft, -amount, 0))
    if rng.random() < 0.45:
        picture = with_noise(picture, rng, rng.uniform(0.3, 4), rng.uniform(0, 0.5) * rng.random())
    if rng.random() < 0.4:
        picture = through_jpeg(picture, int(rng.integers(50, 98)))
    return picture


def resampled(picture: Bytes, scale: float) -> Bytes:
    """The picture made smaller and as large again, as pictures from the web often have been."""
    height, width = picture.shape[:2]
    smaller = (max(1, round(width * scale)), max(1, round(height * scale)))
    small = cv2.resize(picture, smaller, interpolation=cv2.INTER_AREA)
    return cast(Bytes, cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC))


def with_noise(picture: Bytes, rng: Random, dark: float, shot: float) -> Bytes:
    """A (S, S, 3) picture with a sensor's noise: variance `dark` squared, and `shot` times the level.

    Sometimes the noise is grey, sometimes neighbours have it in common.
    """
    grain = _grain(rng, _SOFT_GRAIN if rng.random() < 0.5 else _GRAIN, picture.shape[0])
    if rng.random() < 0.4:
        grain = grain[..., :1]
    deviation = np.sqrt(dark**2 + shot * np.arange(256, dtype=np.float32)).astype(np.float32)
    return cast(Bytes, np.clip(picture + grain * deviation[picture] + 0.5, 0, 255).astype(np.uint8))


def through_jpeg(picture: Bytes, quality: int) -> Bytes:
    """The picture as a JPEG file of that quality gives it back."""
    # OpenCV takes the channels for blue, green, red; luma and chroma must be made of the true ones.
    encoded = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.ascontiguousarray(decoded[..., ::-1]).astype(np.uint8, copy=False)
