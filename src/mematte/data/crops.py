"""Training crops: one call gives a picture, its exact alpha, and a trimap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data import compose
from mematte.data.backgrounds import BackgroundLibrary
from mematte.data.draws import ratio
from mematte.data.foregrounds import clean_alpha, load_foregrounds, random_view
from mematte.data.photographs import SCALES, load_photographs
from mematte.data.pictures import as_folders
from mematte.data.procedural import MatteBank
from mematte.data.procedural.colours import MATERIALS, colour_drawing, draw_palette, lit
from mematte.data.shelf import DEFAULT_MEMORY_BYTES
from mematte.data.trimaps import CAREFUL_STYLES, STYLES, make_trimap
from mematte.errors import DataError, InputError

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Random = np.random.Generator

# What a crop is made of, as chances.
PROCEDURAL_SHARE = 0.5  # of objects: drawn by `procedural`; the others are foreground pictures
PHOTOGRAPH_SHARE = 0.3  # of crops, where there are photographs with alpha: not composites
OWN_TRIMAP_CHANCE = 0.4  # the trimap that came with a photograph, instead of one made from its alpha
MERGE_CHANCE = 0.15  # two foregrounds, one over the other
PHOTOGRAPH_CHANCE = 0.2  # a photograph laid into a foreground picture's colours
PALETTE_CHANCE = 0.7  # a drawing in the colours of its material; otherwise photographs as textures
LIGHT_CHANCE = 0.35  # lit from one side, as a round body
RIM_CHANCE = 0.2  # darker or lighter towards the outline
SHADOW_CHANCE = 0.12  # the foreground's shadow on the background
CLUTTER_CHANCE = 0.07  # a foreground-like object that belongs to the background
SIMILAR_CHANCE = 0.2  # the background's mean colour moved towards the foreground's
# Levels of 255 between foreground and background, on average: with less nobody could tell them apart.
LEAST_CONTRAST = 12
# What most photographs that people cut out have: a subject that stands out, a clean file, a careful trimap.
PLAIN_CONTRAST = 35
PLAIN_DEGRADED_CHANCE = 0.3
PLAIN_OWN_TRIMAP_CHANCE = 0.7
PLAIN_SCALES = (0.7, 1.4)  # crop pixels per pixel of a photograph
# Strand-like kinds, whose colour changes slowly along each strand.
THIN_KINDS = {"hair", "net", "mesh", "basket", "web", "stems", "twigs", "feather", "grass", "wool"}
_ATTEMPTS = 6


@dataclass(frozen=True)
class Crop:
    """image: (S, S, 3) uint8 RGB. alpha: (S, S) float32 in [0, 1]. trimap: (S, S) uint8 {0, 128, 255}.

    Where the trimap is 0 the alpha is exactly 0, where it is 255 exactly 1.
    """

    image: Bytes
    alpha: Floats
    trimap: Bytes


class CropSource:
    """Endless training crops: composites of foregrounds and procedural mattes, and real photographs.

    Pictures are read here, as many as fit into memory, and shared by processes forked later; the others are
    read again when they are drawn. Contract: a crop depends on the state of the generator passed to `sample`
    and on the window of drawings only (see `MatteBank`), never on the crops before it, nor on what is in
    memory.

    Args:
        foregrounds: folders of cut-outs, of foregrounds with alpha, or of photographs with alpha, which are
            cut out here; in any layout of `mematte.data.layouts`.
        backgrounds: folders of photographs to lie behind, and to be the texture of procedural mattes.
        photographs: folders of photographs with alpha, and perhaps trimaps, to be taken as they are.
        procedural_share: of objects that are drawn; the others are foregrounds. Without foregrounds all are.
        photograph_share: of crops that are parts of photographs; the others are composites. Without
            foregrounds and with a `procedural_share` of 0 all are.
        hard_share: of crops that may have all that makes matting hard: backgrounds like the foreground,
            hardly any contrast, noise, sloppy trimaps, photographs much reduced. The others are plain.
        enlarged_share: of composites made at half their size and enlarged, as `Engine` shows small pictures
            to a network. They ask for an even `size_px`.
        enlarge_photographs_below: pixels. Photographs of fewer are shown at twice their size, as `Engine`
            shows them to a network whose weights ask for it. They ask for an even `size_px`.
        foreground_px, background_px, photograph_px: the longer side that pictures are reduced to; 0: of
            photographs, none is.
        memory_bytes: for pictures, shared by all processes.
        bank: where drawings come from.

    Raises:
        DataError: a folder does not hold what it should, more than 1 % of the pictures are damaged, or there
            is nothing to lie behind the foregrounds. The damage of a picture that is read when it is drawn
            shows up in `sample`, which then draws another, or raises this.
        InputError: a share is not in [0, 1].
    """

    def __init__(
        self,
        foregrounds: Sequence[Path] | Path = (),
        backgrounds: Sequence[Path] | Path = (),
        photographs: Sequence[Path] | Path = (),
        *,
        procedural_share: float = PROCEDURAL_SHARE,
        photograph_share: float = PHOTOGRAPH_SHARE,
        hard_share: float = 1.0,
        enlarged_share: float = 0.0,
        enlarge_photographs_below: int = 0,
        foreground_px: int = 1100,
        background_px: int = 900,
        photograph_px: int = 1100,
        memory_bytes: int = DEFAULT_MEMORY_BYTES,
        bank: MatteBank | None = None,
    ) -> None:
        shares = {
            "procedural_share": procedural_share,
            "photograph_share": photograph_share,
            "hard_share": hard_share,
            "enlarged_share": enlarged_share,
        }
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise InputError(f"{name} must be from 0 to 1, not {share}.")
        front, behind, real = map(as_folders, (foregrounds, backgrounds, photographs))
        objects = bool(front) or procedural_share > 0
        self._procedural_share = procedural_share if front else 1.0
        self._photograph_share = (photograph_share if objects else 1.0) if real else 0.0
        self._hard_share, self._enlarged_share = hard_share, enlarged_share
        self._enlarge_below = enlarge_photographs_below
        _check_sets(objects, bool(behind), bool(real), self._photograph_share)
        cv2.setNumThreads(1)  # crops are made in parallel by processes, not by threads in each
        # Each set may take an equal part of the memory that those before it have left.
        part = memory_bytes // (1 + bool(real) + bool(behind))
        self._foregrounds = load_foregrounds(front, foreground_px, part)
        memory_bytes -= self._foregrounds.memory_bytes
        self._photographs = load_photographs(real, photograph_px, memory_bytes // (1 + bool(behind)))
        memory_bytes -= self._photographs.memory_bytes
        self._backgrounds = BackgroundLibrary.load(behind, background_px, memory_bytes)
        self._textures = self._backgrounds.textures
        self._bank = bank if bank is not None else MatteBank()

    def move_window(self, first: int) -> None:
        """From now on use the procedural drawings from number `first` on: what keeps long runs varied.

        Moving it on by one every 30 crops or so costs 8 ms per crop.
        """
        self._bank.move_window(first)

    def draw_ahead(self, processes: int) -> None:
        """Make the procedural drawings in use, in so many processes, for those that are forked later."""
        if self._procedural_share > 0:
            self._bank.draw_ahead(processes)

    def sample(self, rng: Random, size_px: int) -> Crop:
        """One crop of `size_px` squared."""
        is_photograph, hard = rng.random() < self._photograph_share, rng.random() < self._hard_share
        if is_photograph:
            return self._photograph(rng, size_px, hard)
        if rng.random() < self._enlarged_share:
            return enlarged(self._composite(rng, size_px // 2, hard))
        return self._composite(rng, size_px, hard)

    def _composite(self, rng: Random, size_px: int, hard: bool) -> Crop:
        """A foreground over a background."""
        for _ in range(_ATTEMPTS):
            colour, alpha = self._object(rng, size_px)
            if rng.random() < MERGE_CHANCE:
                colour, alpha = compose.merge(colour, alpha, *self._object(rng, size_px))
            colour, alpha = self._blurred(rng, colour, alpha)
            exact = clean_alpha(alpha).astype(np.float32) / np.float32(255)
            trimap = make_trimap(exact, rng, STYLES if hard else CAREFUL_STYLES)
            if _asks_enough(trimap, rng):
                break
        if rng.random() < LIGHT_CHANCE:
            strength, direction = rng.uniform(0.1, 0.7), rng.uniform(-np.pi, np.pi)
            colour = compose.light_from(colour, alpha, rng.uniform(3, 24), direction, strength)
        if rng.random() < RIM_CHANCE:
            colour = compose.shade_rim(colour, alpha, rng.uniform(2, 14), rng.uniform(-0.25, 0.6))
        for _ in range(_ATTEMPTS):
            background = self._background(rng, size_px, colour, hard)
            if rng.random() < SHADOW_CHANCE:
                background = compose.cast_shadow(background, alpha, rng)
            contrast = compose.contrast(colour, background, (trimap == 128) & (exact > 0))
            if contrast > (LEAST_CONTRAST if hard else PLAIN_CONTRAST):
                break
        image = compose.over(colour, exact, background)
        if rng.random() < 0.4:
            image = compose.jitter_colour(image, rng, 0.5)
        if hard or rng.random() < PLAIN_DEGRADED_CHANCE:
            image = compose.degrade(image, rng)
        return Crop(image, exact, trimap)

    def _photograph(self, rng: Random, size_px: int, hard: bool) -> Crop:
        """A part of a real photograph; where it is plain, nearly as the network is shown the whole."""
        scales = SCALES if hard else PLAIN_SCALES
        interpolation = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC
        for _ in range(_ATTEMPTS):
            photograph = self._photographs.draw(rng)
            is_small = photograph.pixels < self._enlarge_below
            side = size_px // 2 if is_small else size_px
            view = photograph.random_view(rng, side, scales)
            image, alpha, own_trimap = photograph.crop(view, side, interpolation)
            exact = alpha.astype(np.float32) / np.float32(255)
            own_chance = OWN_TRIMAP_CHANCE if hard else PLAIN_OWN_TRIMAP_CHANCE
            if own_trimap is not None and rng.random() < own_chance:
                trimap = own_trimap
            else:
                trimap = make_trimap(exact, rng, STYLES if hard else CAREFUL_STYLES)
            if _asks_enough(trimap, rng):
                break
        if rng.random() < (0.6 if hard else 0.2):
            image = compose.jitter_colour(image, rng, 0.5)
        if hard or rng.random() < PLAIN_DEGRADED_CHANCE:
            image = compose.degrade(image, rng)
        crop = Crop(image, exact, trimap)
        return enlarged(crop) if is_small else crop

    def _object(self, rng: Random, size_px: int) -> tuple[Bytes, Bytes]:
        """(S, S, 3) colour, valid everywhere, and (S, S) alpha, both uint8."""
        interpolation = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC
        if rng.random() < self._procedural_share:
            matte = self._bank.draw(rng)
            view = random_view(rng, matte.points, matte.pyramid.size_px, size_px)
            crop = matte.pyramid.warp(view, size_px, interpolation)
            return self._surface(rng, crop, matte.kind), np.ascontiguousarray(crop[..., 3])
        foreground = self._foregrounds.draw(rng)
        view = random_view(rng, foreground.points, foreground.pyramid.size_px, size_px)
        crop = foreground.pyramid.warp(view, size_px, interpolation)
        colour, alpha = np.ascontiguousarray(crop[..., :3]), np.ascontiguousarray(crop[..., 3])
        if rng.random() < PHOTOGRAPH_CHANCE:
            share = rng.uniform(0.3, 1.0)
            photograph = self._textures.photograph(rng, size_px)
            colour = cast(Bytes, cv2.addWeighted(colour, 1 - share, photograph, share, 0))
        if rng.random() < 0.1:
            colour = np.ascontiguousarray(colour[..., rng.permutation(3)])
        if rng.random() < 0.6:
            colour = compose.jitter_colour(colour, rng)
        return colour, alpha

    def _surface(self, rng: Random, crop: Bytes, kind: str) -> Bytes:
        """Colours for a procedural matte: those of its material, or textures mixed by tint; lit by shade."""
        size_px = crop.shape[0]
        light, gloss = rng.uniform(0, 1.0), rng.uniform(0, 0.8) * (rng.random() < 0.4)
        if kind in MATERIALS and rng.random() < PALETTE_CHANCE:
            palette = draw_palette(rng, MATERIALS[kind])
            colour = colour_drawing(crop, palette, rng.uniform(0.5, 1.0), gloss)
            if rng.random() < 0.3:
                # Dirt, veins, woven threads: the brightness of a photograph, faintly.
                texture = self._textures.photograph(rng, size_px)
                colour = compose.modulate(colour, texture, rng.uniform(0.1, 0.5))
            if rng.random() < 0.3:
                colour = compose.jitter_colour(colour, rng, 0.6)
            return colour
        thin = kind in THIN_KINDS
        colour = self._strand_colours(rng, size_px) if thin else self._texture(rng, size_px)
        if rng.random() < 0.6:
            chance = rng.random()
            if chance < 0.5:
                other = compose.jitter_colour(colour, rng)
            elif thin:
                other = self._strand_colours(rng, size_px)
            else:
                other = self._texture(rng, size_px)
            tint = crop[..., 1].astype(np.float32) * np.float32(1 / 255)
            colour = compose.over(other, tint, colour)
        return lit(colour, crop[..., 0], light, gloss)

    def _strand_colours(self, rng: Random, size_px: int) -> Bytes:
        """A wire or a hair changes its colour slowly along its way: plain, or a blurred photograph."""
        chance = rng.random()
        if chance < 0.45:
            return compose.smooth_colours(rng, size_px)
        if chance < 0.75:
            soft = compose.blur(self._textures.photograph(rng, size_px // 4), rng.uniform(1, 4))
            return cast(Bytes, cv2.resize(soft, (size_px, size_px), interpolation=cv2.INTER_LINEAR))
        return self._texture(rng, size_px)

    def _texture(self, rng: Random, size_px: int) -> Bytes:
        """A surface: plain, photographed, or two of them with a sharp border that is no alpha edge."""
        if rng.random() < 0.25:
            colour = compose.smooth_colours(rng, size_px)
        else:
            colour = self._textures.photograph(rng, size_px)
            if rng.random() < 0.7:
                colour = compose.jitter_colour(colour, rng)
        if rng.random() < 0.12:
            other = compose.smooth_colours(rng, size_px)
            colour = compose.over(other, self._pattern(rng, size_px), colour)
        return colour

    def _pattern(self, rng: Random, size_px: int) -> Floats:
        """(S, S) in [0, 1]: some other drawing, as print on a surface or clutter behind."""
        matte = self._bank.draw(rng)
        view = random_view(rng, matte.points, matte.pyramid.size_px, size_px)
        pattern = matte.pyramid.warp(view, size_px)[..., 3]
        return pattern.astype(np.float32) / np.float32(255)

    def _background(self, rng: Random, size_px: int, foreground: Bytes, hard: bool) -> Bytes:
        """What is behind: mostly a sharp photograph, where it is hard confusingly like the foreground."""
        chance = rng.random()
        if chance < 0.1:
            background = compose.smooth_colours(rng, size_px)
        elif hard and chance < 0.14:
            # The foreground's own texture, mirrored: only the shading tells them apart.
            background = np.ascontiguousarray(foreground[::-1])
        else:
            background = self._backgrounds.photograph(rng, size_px)
        if rng.random() < 0.25:
            # Depth of field: most photographs of a subject have it.
            background = compose.blur(background, float(np.exp(rng.uniform(-0.5, 2.2))))
        if rng.random() < 0.4:
            background = compose.jitter_colour(background, rng)
        if hard and rng.random() < CLUTTER_CHANCE:
            colour, alpha = self._object(rng, size_px)
            background = compose.over(colour, alpha.astype(np.float32) / np.float32(255), background)
        if hard and rng.random() < SIMILAR_CHANCE:
            background = compose.match_colour(background, foreground, rng.uniform(0.3, 1.0))
        return background

    def _blurred(self, rng: Random, colour: Bytes, alpha: Bytes) -> tuple[Bytes, Bytes]:
        """Defocus and motion, sometimes. Colour is valid everywhere, so blurring both apart is right."""
        chance = rng.random()
        if chance < 0.2:
            sigma = rng.uniform(0.4, 1.2)
        elif chance < 0.25:
            sigma = ratio(rng, 1.2, 8)
        elif chance < 0.28:
            kernel = compose.motion_kernel(rng, rng.uniform(3, 24))
            moved = cv2.filter2D(alpha, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
            return cast(Bytes, cv2.filter2D(colour, -1, kernel)), cast(Bytes, moved)
        else:
            return colour, alpha
        return compose.blur(colour, sigma), compose.blur(alpha, sigma)


def enlarged(crop: Crop) -> Crop:
    """A crop at twice its size, made as `Engine` makes small pictures larger before a network sees them."""
    size = (2 * crop.image.shape[1], 2 * crop.image.shape[0])
    alpha = cv2.resize(crop.alpha, size, interpolation=cv2.INTER_CUBIC).clip(0, 1)
    trimap = crop.trimap.repeat(2, axis=0).repeat(2, axis=1)
    alpha = np.where(trimap == 128, alpha, trimap == 255).astype(np.float32)
    return Crop(cast(Bytes, cv2.resize(crop.image, size, interpolation=cv2.INTER_CUBIC)), alpha, trimap)


def _asks_enough(trimap: Bytes, rng: Random) -> bool:
    """Whether a trimap leaves something to find out; where it says next to nothing, only sometimes."""
    unknown = float((trimap == 128).mean())
    return unknown > 0.04 and (unknown < 0.98 or rng.random() < 0.2)


def _check_sets(objects: bool, backgrounds: bool, photographs: bool, photograph_share: float) -> None:
    """Raise a DataError if crops cannot be made of these sets of pictures."""
    if not (objects or photographs):
        raise DataError(
            "There is nothing to train on: name folders of foregrounds and backgrounds, or of photographs "
            "with alpha."
        )
    if photograph_share < 1 and not backgrounds:
        raise DataError(
            "Foregrounds and procedural mattes need something to lie behind them: name a folder of "
            "photographs as backgrounds. To train on photographs with alpha alone, give no foregrounds and a "
            "procedural_share of 0."
        )
