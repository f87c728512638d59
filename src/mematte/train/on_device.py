"""Crops made where the network is: workers cut tiles out of pictures, the device does everything else.

A worker's part is one or two resampled tiles and a seed. Turning, merging, colours, blur, composition, noise,
JPEG and trimap are batched operations on the device that the tiles have been moved to.

What a sample becomes depends on its tiles and its seed alone, bit by bit on one device: not on its batch, nor
on the workers. Hence random numbers are drawn per sample, on the CPU, which also makes two devices agree but
for rounding; noise is a hash of seed and position; and sums over neighbours are sums of shifted pictures,
since the order in which a matrix product or a convolution adds up may change with the batch.

Shapes: B samples, S px of the crop, T px of a tile. Pictures are (B, C, S, S) float32 in [0, 1], alpha is
straight.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Protocol

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from mematte.data.foregrounds import random_view
from mematte.data.published import Backgrounds, Drawn

Bytes = NDArray[np.uint8]

IMAGENET_MEAN = torch.tensor([0.485, 0.456, 0.406])
IMAGENET_STD = torch.tensor([0.229, 0.224, 0.225])

Batch = tuple[Tensor, Tensor, Tensor]
"""inputs (B, 4, S, S): normalised RGB, trimap 0 / 0.5 / 1; truth (B, 1, S, S): alpha in [0, 1];
unknown (B, 1, S, S): 1 where the trimap is unknown, else 0."""

# What happens to a crop, as chances.
MERGE_CHANCE = 0.5  # two foregrounds, one over the other
FOREGROUND_COLOUR_CHANCE = 0.6
BACKGROUND_COLOUR_CHANCE = 0.4
IMAGE_COLOUR_CHANCE = 0.4
DEFOCUS_CHANCE = 0.3  # colour and alpha of the foreground together
DEPTH_CHANCE = 0.25  # the background out of focus
SOFT_CHANCE, SHARP_CHANCE, NOISE_CHANCE, JPEG_CHANCE = 0.25, 0.15, 0.4, 0.3
# The affine map of the published recipe.
ANGLE_DEGREES, SHEAR_DEGREES, SCALES = 30.0, 10.0, (0.8, 1.25)
LARGEST_SIGMA_PX = 4.0  # of any blur at full resolution
# Alphas this close to 0 or 1 are 0 or 1: half a level of 8 bits.
SNAP = 0.5 / 255
# style -> probability, of the trimap styles of `data/trimaps.py` that need no search over the whole crop
STYLES: dict[str, float] = {"band": 0.38, "wobbly": 0.32, "wide": 0.16, "coarse": 0.14}
WOBBLE = (0.2, 1.8)  # factors on the radii, along the contour
BRUSH_CHANCE = 0.4  # known regions painted with a round brush


class Pointed(Drawn, Protocol):
    """A foreground that knows where its alpha is soft: (P, 2) pixels as (x, y)."""

    @property
    def points(self) -> NDArray[np.int32]: ...


class PointedForegrounds(Protocol):
    """Where foregrounds come from, such as what `load_foregrounds` gives."""

    def draw(self, rng: np.random.Generator, /) -> Pointed: ...


@dataclass(frozen=True)
class RawSample:
    """What a worker hands over.

    foregrounds: one or two (T, T, 4) uint8 RGBA tiles, the first in front, straight alpha, colour valid
    everywhere. background: (S, S, 3) uint8. seed: of everything that is still to happen.
    """

    foregrounds: tuple[Bytes, ...]
    background: Bytes
    seed: int


@dataclass(frozen=True)
class RawBatch:
    """B samples. fronts: (B, T, T, 4), backs: (K, T, T, 4), backgrounds: (B, S, S, 3), all uint8.

    back_of: (K,) the samples that the backs lie behind. seeds: (B,). These two stay on the CPU.
    """

    fronts: Tensor
    backs: Tensor
    back_of: Tensor
    backgrounds: Tensor
    seeds: Tensor

    def to(self, device: torch.device | str) -> RawBatch:
        """The batch with its pictures on another device."""
        return self._each(lambda pictures: pictures.to(device, non_blocking=True))

    def pin_memory(self) -> RawBatch:
        """The batch with its pictures in page-locked memory; `DataLoader(pin_memory=True)` calls it."""
        return self._each(lambda pictures: pictures.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> RawBatch:
        fronts, backs, backgrounds = map(change, (self.fronts, self.backs, self.backgrounds))
        return replace(self, fronts=fronts, backs=backs, backgrounds=backgrounds)


def tile_px(size_px: int) -> int:
    """Side of a foreground tile: half as much again as the crop, for turning; beyond, it is mirrored."""
    return size_px + 2 * (size_px // 4)


class RawSource:
    """Endless raw samples, each a function of the generator's state alone.

    Example:
        source = RawSource(foregrounds, backgrounds)
        generators = (np.random.default_rng([seed, step, number]) for number in range(16))
        batch = collate([source.sample(rng, 512) for rng in generators])  # in a worker
        inputs, truth, unknown = compose_on_device(batch.to("cuda"))
    """

    def __init__(self, foregrounds: PointedForegrounds, backgrounds: Backgrounds) -> None:
        cv2.setNumThreads(1)  # samples are made in parallel by processes, not by threads in each
        self._foregrounds = foregrounds
        self._backgrounds = backgrounds

    def sample(self, rng: np.random.Generator, size_px: int) -> RawSample:
        """What becomes one crop of `size_px` squared."""
        count = 2 if rng.random() < MERGE_CHANCE else 1
        tiles = tuple(self._tile(rng, size_px) for _ in range(count))
        return RawSample(tiles, self._backgrounds.photograph(rng, size_px), int(rng.integers(2**62)))

    def _tile(self, rng: np.random.Generator, size_px: int) -> Bytes:
        foreground = self._foregrounds.draw(rng)
        view = random_view(rng, foreground.points, foreground.pyramid.size_px, size_px)
        # The device turns the tile: here only place and scale.
        upright = replace(view, angle=0.0, flip=False, stretch=1.0)
        return foreground.pyramid.warp(upright, tile_px(size_px))


def collate(samples: Sequence[RawSample]) -> RawBatch:
    """Samples of one crop size -> their batch."""
    fronts = np.stack([sample.foregrounds[0] for sample in samples])
    merged = [number for number, sample in enumerate(samples) if len(sample.foregrounds) > 1]
    backs = [samples[number].foregrounds[1] for number in merged]
    return RawBatch(
        torch.from_numpy(fronts),
        torch.from_numpy(np.stack(backs) if backs else fronts[:0]),
        torch.tensor(merged, dtype=torch.int64),
        torch.from_numpy(np.stack([sample.background for sample in samples])),
        torch.tensor([sample.seed for sample in samples], dtype=torch.int64),
    )


class Draws:
    """Random numbers for B samples, each from the sample's own seed; all on the CPU."""

    _COUNT = 256

    def __init__(self, seeds: Tensor) -> None:
        rows = [
            torch.rand(self._COUNT, generator=torch.Generator().manual_seed(seed)) for seed in seeds.tolist()
        ]
        self._numbers = torch.stack(rows)
        self._used = 0

    def numbers(self, count: int) -> Tensor:
        """(B, count) in [0, 1), not used before."""
        start, self._used = self._used, self._used + count
        assert self._used <= self._COUNT
        return self._numbers[:, start : self._used]

    def uniform(self, low: float, high: float) -> Tensor:
        """(B,) in [low, high)."""
        return low + (high - low) * self.numbers(1)[:, 0]

    def ratio(self, low: float, high: float) -> Tensor:
        """(B,) in [low, high), its logarithm uniform."""
        return self.uniform(math.log(low), math.log(high)).exp()

    def normal(self, deviation: float) -> Tensor:
        """(B,) around 0."""
        first, second = self.numbers(2).unbind(1)
        return deviation * (-2 * (1 - first).log()).sqrt() * (2 * math.pi * second).cos()

    def chosen(self, chance: float) -> Tensor:
        """(K,) numbers of the samples that something happens to."""
        return (self.numbers(1)[:, 0] < chance).nonzero()[:, 0]


def compose_on_device(batch: RawBatch) -> Batch:
    """What the network and the losses take, on the device of the batch's pictures."""
    draws = Draws(batch.seeds)
    colour, alpha = _foreground(batch, draws)
    background = batch.backgrounds.permute(0, 3, 1, 2).float() / 255
    background = _change(background, draws.chosen(DEPTH_CHANCE), blur, draws.ratio(0.6, LARGEST_SIGMA_PX))
    background = jitter_colour(background, draws, BACKGROUND_COLOUR_CHANCE)
    image = over(colour, alpha, background)
    image = jitter_colour(image, draws, IMAGE_COLOUR_CHANCE, strength=0.5)
    image = degrade(image, batch.seeds, draws)
    trimap = make_trimap(alpha, draws)
    mean, deviation = (value.to(image.device).view(3, 1, 1) for value in (IMAGENET_MEAN, IMAGENET_STD))
    # Pictures come from files of 8 bits.
    normal = ((image * 255).round() / 255 - mean) / deviation
    return torch.cat((normal, trimap), dim=1), alpha, (trimap == 0.5).float()


def _foreground(batch: RawBatch, draws: Draws) -> tuple[Tensor, Tensor]:
    """(B, 3, S, S) colour and (B, 1, S, S) alpha of the turned, merged and defocused tiles."""
    size_px = batch.backgrounds.shape[1]
    layer = affine(batch.fronts, turns(draws), size_px)
    matrices = turns(draws)
    if len(batch.back_of):
        owners = batch.back_of.to(layer.device)
        back = affine(batch.backs, matrices[batch.back_of], size_px)
        layer = layer.index_copy(0, owners, merge(layer[owners], back))
    layer = _change(layer, draws.chosen(DEFOCUS_CHANCE), blur, draws.ratio(0.4, LARGEST_SIGMA_PX))
    colour, alpha = layer.split((3, 1), dim=1)
    alpha = torch.where(alpha < SNAP, 0.0, torch.where(alpha > 1 - SNAP, 1.0, alpha))
    return jitter_colour(colour, draws, FOREGROUND_COLOUR_CHANCE), alpha


def _change(pictures: Tensor, chosen: Tensor, change: Callable[..., Tensor], *arguments: Tensor) -> Tensor:
    """Pictures of which the chosen ones are changed; each argument has one row per sample of the batch."""
    if not len(chosen):
        return pictures
    at = chosen.to(pictures.device)
    rows = (argument[chosen].to(pictures.device, non_blocking=True) for argument in arguments)
    return pictures.index_copy(0, at, change(pictures[at], *rows))


def turns(draws: Draws) -> Tensor:
    """(B, 2, 2) random maps from crop to tile, around the middles: the recipe's affine map, inverted."""
    angle, shear = (
        draws.uniform(-limit, limit) * (math.pi / 180) for limit in (ANGLE_DEGREES, SHEAR_DEGREES)
    )
    scale = 1 / draws.ratio(*SCALES)
    flip = torch.where(draws.uniform(0, 1) < 0.5, -1.0, 1.0)
    cosine, sine, slope = angle.cos() * scale, angle.sin() * scale, shear.tan()
    first = torch.stack((cosine * flip, sine * flip), dim=1)
    second = torch.stack((cosine * slope - sine, sine * slope + cosine), dim=1)
    return torch.stack((first, second), dim=2)


def affine(tiles: Tensor, matrices: Tensor, size_px: int) -> Tensor:
    """Bilinear crops around the tiles' middles; beyond its border a tile goes on as its mirror image.

    Args:
        tiles: (B, T, T, 4) uint8.
        matrices: (B, 2, 2) from (x, y) of the crop to (x, y) of the tile, both from the middle.
        size_px: side of the crops.

    Returns:
        (B, 4, S, S). With the unit matrix exactly the middle of the tile, where T - S is even.
    """
    count, side = tiles.shape[:2]
    matrices = matrices.to(tiles.device)
    steps = torch.arange(size_px, device=tiles.device) - (size_px - 1) / 2
    along_x, along_y = steps.view(1, 1, -1), steps.view(1, -1, 1)
    corner, part = [], []
    for row in (0, 1):
        weights = matrices[:, row].view(count, 2, 1, 1)
        place = weights[:, 0] * along_x + weights[:, 1] * along_y + (side - 1) / 2
        corner.append(place.floor())
        part.append((place - corner[-1]).view(count, 1, size_px, size_px))
    columns, rows = ([_mirrored(start.long() + step, side) for step in (0, 1)] for start in corner)
    # The four bytes of a pixel are fetched as one number.
    words = tiles.contiguous().view(torch.int32).view(count, side * side)

    def fetch(row: Tensor, column: Tensor) -> Tensor:
        found = words.gather(1, (row * side + column).view(count, -1)).view(torch.uint8)
        return found.view(count, size_px, size_px, 4).permute(0, 3, 1, 2).float() / 255

    top = torch.lerp(fetch(rows[0], columns[0]), fetch(rows[0], columns[1]), part[0])
    bottom = torch.lerp(fetch(rows[1], columns[0]), fetch(rows[1], columns[1]), part[0])
    return torch.lerp(top, bottom, part[1])


def _mirrored(place: Tensor, side: int) -> Tensor:
    """Any integer -> [0, side): ... 2 1 [0 1 2 ... side-1] side-2 ..."""
    last = side - 1
    return last - (place.remainder(2 * last) - last).abs()


def merge(front: Tensor, back: Tensor) -> Tensor:
    """One (K, 4, S, S) layer over another: alpha = 1 - (1 - front)(1 - back), colour that of what is seen."""
    cover, behind = front[:, 3:], back[:, 3:] * (1 - front[:, 3:])
    total = cover + behind
    share = torch.where(total > 1e-3, cover / total.clamp(min=1e-3), 1.0)
    return torch.cat((torch.lerp(back[:, :3], front[:, :3], share), total.clamp(max=1)), dim=1)


def over(foreground: Tensor, alpha: Tensor, background: Tensor) -> Tensor:
    """alpha * foreground + (1 - alpha) * background; exactly one of the two where alpha is 0 or 1."""
    return torch.lerp(background, foreground, alpha)


def jitter_colour(pictures: Tensor, draws: Draws, chance: float, strength: float = 1.0) -> Tensor:
    """Change gamma, contrast, brightness, cast and saturation of some (B, 3, S, S) pictures."""
    chosen = draws.chosen(chance)
    gamma, contrast = draws.normal(0.25 * strength).exp(), draws.normal(0.2 * strength).exp()
    shift = draws.normal(0.08 * strength)
    casts = torch.stack([shift + draws.normal(0.04 * strength) for _ in range(3)], dim=1)
    saturation = draws.uniform(1 - 0.8 * strength, 1 + 0.5 * strength)
    return _change(pictures, chosen, _recolour, gamma, contrast, casts, saturation)


def _recolour(pictures: Tensor, gamma: Tensor, contrast: Tensor, casts: Tensor, saturation: Tensor) -> Tensor:
    # Not `**`: on a CPU its last pixels come from another routine than the others, with other last bits.
    curve = (pictures.clamp(min=0).log() * _each(gamma)).exp()
    curve = ((curve - 0.5) * _each(contrast) + 0.5 + casts[..., None, None]).clamp(0, 1)
    grey = (curve[:, :1] + curve[:, 1:2] + curve[:, 2:]) / 3
    return torch.lerp(grey, curve, _each(saturation)).clamp(0, 1)


def _each(values: Tensor) -> Tensor:
    """(B,) -> (B, 1, 1, 1): one number per sample."""
    return values.view(-1, 1, 1, 1)


def blur(pictures: Tensor, sigma_px: Tensor, largest_px: float = LARGEST_SIGMA_PX) -> Tensor:
    """Gaussian blur, mirrored at the border. sigma_px: (B,), at most `largest_px`; less is faster."""
    # The same reach for all: a sample's result must not depend on the others'.
    reach = min(math.ceil(3 * largest_px), min(pictures.shape[-2:]) - 1)
    weights = [torch.exp(-0.5 * (step / sigma_px) ** 2) for step in range(reach + 1)]
    total = weights[0]
    for weight in weights[1:]:
        total = total + 2 * weight
    for axis in (-1, -2):
        length = pictures.shape[axis]
        padding = (reach, reach, 0, 0) if axis == -1 else (0, 0, reach, reach)
        padded = F.pad(pictures, padding, mode="reflect")
        blurred = padded.narrow(axis, reach, length) * _each(weights[0] / total)
        for step in range(1, reach + 1):
            sides = padded.narrow(axis, reach - step, length) + padded.narrow(axis, reach + step, length)
            blurred.addcmul_(sides, _each(weights[step] / total))
        pictures = blurred
    return pictures


def degrade(image: Tensor, seeds: Tensor, draws: Draws) -> Tensor:
    """Slight blur or sharpening, sensor noise, JPEG: each sometimes."""
    soften = partial(blur, largest_px=0.8)
    image = _change(image, draws.chosen(SOFT_CHANCE), soften, draws.uniform(0.3, 0.8))
    image = _change(
        image, draws.chosen(SHARP_CHANCE), _sharpened, draws.uniform(0.6, 1.5), draws.uniform(0.2, 0.8)
    )
    image = _change(
        image, draws.chosen(NOISE_CHANCE), _noisy, seeds, draws.uniform(0.5, 8) / 255, draws.uniform(0, 1)
    )
    return _change(image, draws.chosen(JPEG_CHANCE), through_jpeg, draws.uniform(55, 98).floor())


def _sharpened(image: Tensor, sigma_px: Tensor, amount: Tensor) -> Tensor:
    return torch.lerp(blur(image, sigma_px, largest_px=1.5), image, 1 + _each(amount)).clamp(0, 1)


def _noisy(image: Tensor, seeds: Tensor, deviation: Tensor, kind: Tensor) -> Tensor:
    grain = noise(seeds, 3, image.shape[-1])
    # Two cameras in five have the same grain in all channels.
    grain = torch.where(_each(kind) < 0.4, grain[:, :1], grain)
    return torch.addcmul(image, grain, _each(deviation)).clamp(0, 1)


def noise(seeds: Tensor, channels: int, size_px: int) -> Tensor:
    """(B, channels, S, S) of about normal noise, mean 0, deviation 1; the same numbers on every device."""
    place = torch.arange(channels * size_px * size_px, device=seeds.device)
    mixed = _hashed(_hashed(place)[None] ^ _hashed(_hashed(seeds & 0xFFFFFFFF) ^ (seeds >> 32))[:, None])
    # The sum of four bytes: four uniform numbers, the central limit theorem does the rest.
    total = (mixed & 255) + (mixed >> 8 & 255) + (mixed >> 16 & 255) + (mixed >> 24)
    deviation = math.sqrt(4 * (256**2 - 1) / 12)
    return ((total.float() - 4 * 127.5) / deviation).view(-1, channels, size_px, size_px)


def _hashed(value: Tensor) -> Tensor:
    """32 bits in int64 -> 32 well mixed bits; products stay below 2 ** 63."""
    for _ in range(2):
        value = ((value >> 16) ^ value) * 0x45D9F3B & 0xFFFFFFFF
    return (value >> 16) ^ value


# ITU-T T.81, annex K.1: quantisation of luma and chroma at quality 50.
_LUMA = [
    [16, 11, 10, 16, 24, 40, 51, 61],
    [12, 12, 14, 19, 26, 58, 60, 55],
    [14, 13, 16, 24, 40, 57, 69, 56],
    [14, 17, 22, 29, 51, 87, 80, 62],
    [18, 22, 37, 56, 68, 109, 103, 77],
    [24, 35, 55, 64, 81, 104, 113, 92],
    [49, 64, 78, 87, 103, 121, 120, 101],
    [72, 92, 95, 98, 112, 100, 103, 99],
]
_CHROMA = [
    [17, 18, 24, 47, 99, 99, 99, 99],
    [18, 21, 26, 66, 99, 99, 99, 99],
    [24, 26, 56, 99, 99, 99, 99, 99],
    [47, 66, 99, 99, 99, 99, 99, 99],
    *([99] * 8 for _ in range(4)),
]


def through_jpeg(pictures: Tensor, quality: Tensor) -> Tensor:
    """Pictures as JPEG files give them back, chroma at half size; quality: (B,) from 50 to 100."""
    size_px = pictures.shape[-1]
    missing = -size_px % 16
    red, green, blue = F.pad(pictures * 255, (0, missing, 0, missing), mode="replicate").split(1, dim=1)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    chroma = torch.cat(((blue - luma) / 1.772, (red - luma) / 1.402), dim=1)
    factor = _each((200 - 2 * quality) / 100)
    tables = [
        (torch.tensor(table, device=pictures.device) * factor).round().clamp(min=1)
        for table in (_LUMA, _CHROMA)
    ]
    luma = _quantised(luma - 128, tables[0]) + 128
    blueness, redness = (
        F.interpolate(_quantised(F.avg_pool2d(chroma, 2), tables[1]), scale_factor=2, mode="bilinear")
    ).split(1, dim=1)
    red, blue = luma + 1.402 * redness, luma + 1.772 * blueness
    green = (luma - 0.299 * red - 0.114 * blue) / 0.587
    decoded = torch.cat((red, green, blue), dim=1)[..., :size_px, :size_px]
    return (decoded.round() / 255).clamp(0, 1)


def _quantised(planes: Tensor, table: Tensor) -> Tensor:
    """Planes whose 8x8 blocks have lost what the (B, 1, 8, 8) table takes from their cosine transform."""
    place = torch.arange(8, device=planes.device)
    waves = torch.cos((2 * place + 1) * place[:, None] * (math.pi / 16)) / 2
    waves[0] /= math.sqrt(2)
    count, channels, height, width = planes.shape
    blocks = planes.view(count, channels, height // 8, 8, width // 8, 8)
    blocks = _product(waves, _product(waves, blocks, 3), 5)
    steps = table.view(count, 1, 1, 8, 1, 8)
    blocks = (blocks / steps).round() * steps
    return _product(waves.T, _product(waves.T, blocks, 3), 5).view(planes.shape)


def _product(matrix: Tensor, blocks: Tensor, axis: int) -> Tensor:
    """Matrix times the blocks' axis of length 8, added up in the order of that axis."""
    shape = [1] * blocks.ndim
    shape[axis] = 8
    result = torch.zeros_like(blocks)
    for number in range(8):
        result.addcmul_(matrix[:, number].view(shape), blocks.narrow(axis, number, 1))
    return result


def squared_distance(masks: Tensor, limits_px: Tensor) -> Tensor:
    """(P, H, W) squared distance of each pixel from its mask's nearest False one, as integers.

    Args:
        masks: (P, H, W) bool. Outside the picture nothing is False.
        limits_px: (P,) on the CPU: distances are exact up to there, what is farther has some larger number.
    """
    order = limits_px.argsort(descending=True)
    limits = [math.ceil(limit) for limit in limits_px[order].tolist()]
    reach, (height, width) = limits[0], masks.shape[1:]
    # Half the bytes where the numbers are small enough: memory is what this costs.
    kind = torch.int16 if 2 * (reach + 1) ** 2 < 2**15 else torch.int32
    masks = masks[order.to(masks.device)]
    rows = torch.arange(height, dtype=torch.int32, device=masks.device).view(-1, 1)
    # Along columns: the last False row above, the next one below.
    above = torch.where(masks, -reach - 1, rows).cummax(dim=-2).values
    below = torch.where(masks, height + reach, rows).flip(-2).cummin(dim=-2).values.flip(-2)
    far = (reach + 1) ** 2
    nearest = torch.minimum(rows - above, below - rows).clamp(max=reach + 1).square().to(kind)
    # Across: the best of all columns within reach, for those masks that want to know.
    padded = F.pad(nearest, (reach, reach), value=far)
    for step in range(1, reach + 1):
        count = sum(limit >= step for limit in limits)
        left = padded[:count].narrow(-1, reach - step, width)
        right = padded[:count].narrow(-1, reach + step, width)
        part = nearest[:count]
        torch.minimum(part, torch.minimum(left, right).add_(step * step), out=part)
    return nearest[order.argsort().to(masks.device)]


def eroded(masks: Tensor, radius_px: Tensor, limits_px: Tensor) -> Tensor:
    """(B, C, H, W) masks without what lies at most `radius_px` from their outsides: erosions by discs.

    Args:
        masks: bool. What is outside the picture is not outside a mask.
        radius_px: broadcast over the masks: one number per mask, or one per pixel.
        limits_px: (B, C) on the CPU: no radius is larger; the smaller, the faster.
    """
    squared = squared_distance(masks.flatten(0, 1), limits_px.flatten()).view(masks.shape)
    return squared > radius_px.square()


def painted(masks: Tensor, brush_px: Tensor, limits_px: Tensor) -> Tensor:
    """The parts of masks that a round brush of radius `brush_px` can paint without leaving them."""
    return ~eroded(~eroded(masks, brush_px, limits_px), brush_px, limits_px)


def make_trimap(alpha: Tensor, draws: Draws) -> Tensor:
    """(B, 1, S, S) alpha -> (B, 1, S, S) trimap 0 / 0.5 / 1 in styles drawn from `STYLES`.

    Where the trimap is 0 the alpha is exactly 0, where it is 1 exactly 1.
    """
    size_px, device = alpha.shape[-1], alpha.device
    unit = size_px / 224  # radii are those of data/trimaps.py, meant for crops of 224 px
    bounds = torch.tensor(list(STYLES.values())).cumsum(0)[:-1]
    number = torch.searchsorted(bounds, draws.numbers(1)[:, 0].contiguous(), right=True)
    style = {name: _each(number == place) for place, name in enumerate(STYLES)}
    # Foreground and background are channels: (B, 2, ...).
    tight, wide = (
        torch.stack((draw(), draw()), dim=1)[..., None, None]
        for draw in (partial(draws.ratio, 1.5 * unit, 20 * unit), partial(draws.uniform, 8 * unit, 45 * unit))
    )
    radius_px = torch.where(style["wide"], wide, tight)
    limits_px = (radius_px * torch.where(style["wobbly"], WOBBLE[1], 1.0))[..., 0, 0]

    known = torch.cat((alpha >= 1, alpha <= 0), dim=1)
    sigma_px, threshold = draws.uniform(unit, 6 * unit), draws.uniform(0.25, 0.75)
    soft = _softened(alpha, sigma_px.to(device), 6 * unit)
    guess = soft > _each(threshold.to(device))
    known = torch.where(style["coarse"].to(device), torch.cat((guess, ~guess), dim=1), known)
    wobble = torch.where(style["wobbly"].to(device), _wobble(draws, size_px, device), 1.0)
    known = eroded(known, radius_px.to(device) * wobble, limits_px)
    chosen, brush_px = draws.chosen(BRUSH_CHANCE), draws.ratio(2 * unit, 16 * unit)
    paint = partial(painted, limits_px=brush_px[chosen, None].expand(-1, 2))
    known = _change(known, chosen, paint, _each(brush_px))
    foreground, background = known.split(1, dim=1)
    trimap = torch.where(foreground & (alpha >= 1), 1.0, 0.5)
    return torch.where(background & (alpha <= 0), 0.0, trimap)


def _softened(alpha: Tensor, sigma_px: Tensor, largest_px: float) -> Tensor:
    """Blurred alpha, computed at a size at which `blur` reaches the largest sigma."""
    shrink = math.ceil(largest_px / LARGEST_SIGMA_PX)
    small = blur(F.avg_pool2d(alpha, shrink, ceil_mode=True), sigma_px / shrink)
    return F.interpolate(small, size=alpha.shape[-2:], mode="bilinear")


def _wobble(draws: Draws, size_px: int, device: torch.device) -> Tensor:
    """(B, 2, S, S) smooth factors on a radius within `WOBBLE`: slow bumps and quicker ones, mixed."""
    slow, quick = (
        F.interpolate(
            draws.numbers(2 * cells**2).reshape(-1, 2, cells, cells).to(device), size=size_px, mode="bicubic"
        )
        for cells in (3, 6)
    )
    share = _each(draws.uniform(0, 1).to(device))
    low, high = WOBBLE
    return (low + (high - low) * torch.lerp(slow, quick, share)).clamp(low, high)
