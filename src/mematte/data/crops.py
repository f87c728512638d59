"""Training crops: one call gives a picture, its exact alpha, and a trimap."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

from mematte.data import compose
from mematte.data.backgrounds import BackgroundLibrary
from mematte.data.foregrounds import ForegroundLibrary, clean_alpha, random_view
from mematte.data.procedural import MatteBank
from mematte.data.trimaps import make_trimap

Bytes = NDArray[np.uint8]
Floats = NDArray[np.float32]
Random = np.random.Generator

# What a crop is made of, as chances.
PROCEDURAL_SHARE = 0.5  # drawn by `procedural`; otherwise a foreground picture
MERGE_CHANCE = 0.15  # two foregrounds, one over the other
PHOTOGRAPH_CHANCE = 0.2  # a photograph laid into a foreground picture's colours
RIM_CHANCE = 0.2  # darker or lighter towards the outline
SHADOW_CHANCE = 0.12  # the foreground's shadow on the background
CLUTTER_CHANCE = 0.07  # a foreground-like object that belongs to the background
SIMILAR_CHANCE = 0.2  # the background's mean colour moved towards the foreground's
# Levels of 255 between foreground and background, on average: with less nobody could tell them apart.
LEAST_CONTRAST = 12
# Strand-like kinds, whose colour changes slowly along each strand.
THIN_KINDS = {"hair", "net", "basket", "web", "stems", "twigs", "feather", "grass", "wool"}
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
    """Endless training crops from a folder of foregrounds, one of photographs, and procedural mattes.

    Pictures are read once, here, and only read afterwards: processes forked later share them. The stock
    of procedural mattes fills while sampling, from the generator passed to `sample`. Contract: a new
    source, sampled in the same order with generators in the same state, gives the same crops.
    """

    def __init__(
        self,
        foreground_dir: Path,
        background_dir: Path,
        *,
        foreground_px: int = 1100,
        background_px: int = 900,
        bank: MatteBank | None = None,
    ) -> None:
        cv2.setNumThreads(1)  # crops are made in parallel by processes, not by threads in each
        self._foregrounds = ForegroundLibrary.load(Path(foreground_dir), foreground_px)
        self._backgrounds = BackgroundLibrary.load(Path(background_dir), background_px)
        self._textures = self._backgrounds.textures
        self._bank = bank if bank is not None else MatteBank()

    def sample(self, rng: Random, size_px: int) -> Crop:
        """One crop of `size_px` squared."""
        for _ in range(_ATTEMPTS):
            colour, alpha = self._object(rng, size_px)
            if rng.random() < MERGE_CHANCE:
                colour, alpha = self._merge(colour, alpha, *self._object(rng, size_px))
            colour, alpha = self._blurred(rng, colour, alpha)
            exact = clean_alpha(alpha).astype(np.float32) / np.float32(255)
            trimap = make_trimap(exact, rng)
            unknown = float((trimap == 128).mean())
            if unknown > 0.04 and (unknown < 0.98 or rng.random() < 0.2):
                break
        if rng.random() < RIM_CHANCE:
            colour = compose.shade_rim(colour, alpha, rng.uniform(2, 14), rng.uniform(-0.25, 0.6))
        for _ in range(_ATTEMPTS):
            background = self._background(rng, size_px, colour)
            if rng.random() < SHADOW_CHANCE:
                background = compose.cast_shadow(background, alpha, rng)
            if compose.contrast(colour, background, (trimap == 128) & (exact > 0)) > LEAST_CONTRAST:
                break
        image = compose.over(colour, exact, background)
        if rng.random() < 0.4:
            image = compose.jitter_colour(image, rng, 0.5)
        return Crop(compose.degrade(image, rng), exact, trimap)

    def _object(self, rng: Random, size_px: int) -> tuple[Bytes, Bytes]:
        """(S, S, 3) colour, valid everywhere, and (S, S) alpha, both uint8."""
        interpolation = cv2.INTER_LINEAR if rng.random() < 0.7 else cv2.INTER_CUBIC
        if rng.random() < PROCEDURAL_SHARE:
            matte = self._bank.draw(rng)
            view = random_view(rng, matte.points, matte.pyramid.size_px, size_px)
            crop = matte.pyramid.warp(view, size_px, interpolation)
            return self._surface(rng, crop, thin=matte.kind in THIN_KINDS), np.ascontiguousarray(crop[..., 2])
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

    def _surface(self, rng: Random, crop: Bytes, thin: bool) -> Bytes:
        """Colours for a procedural matte: two textures mixed by tint, darkened by shade."""
        size_px = crop.shape[0]
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
        depth = rng.uniform(0, 1.0)
        shade = crop[..., 0].astype(np.float32) * np.float32(depth / 255) + np.float32(1 - depth)
        return cast(Bytes, (colour * shade[..., None]).astype(np.uint8))

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
        pattern = matte.pyramid.warp(view, size_px)[..., 2]
        return pattern.astype(np.float32) / np.float32(255)

    def _background(self, rng: Random, size_px: int, foreground: Bytes) -> Bytes:
        """What is behind: mostly a sharp photograph, sometimes confusingly like the foreground."""
        chance = rng.random()
        if chance < 0.1:
            background = compose.smooth_colours(rng, size_px)
        elif chance < 0.14:
            # The foreground's own texture, mirrored: only the shading tells them apart.
            background = np.ascontiguousarray(foreground[::-1])
        else:
            background = self._backgrounds.photograph(rng, size_px)
        if rng.random() < 0.25:
            # Depth of field: most photographs of a subject have it.
            background = compose.blur(background, float(np.exp(rng.uniform(-0.5, 2.2))))
        if rng.random() < 0.4:
            background = compose.jitter_colour(background, rng)
        if rng.random() < CLUTTER_CHANCE:
            colour, alpha = self._object(rng, size_px)
            background = compose.over(colour, alpha.astype(np.float32) / np.float32(255), background)
        if rng.random() < SIMILAR_CHANCE:
            background = compose.match_colour(background, foreground, rng.uniform(0.3, 1.0))
        return background

    def _merge(self, front: Bytes, alpha: Bytes, back: Bytes, back_alpha: Bytes) -> tuple[Bytes, Bytes]:
        """Two foregrounds as one: the front over the back; the colour stays valid where both are thin."""
        cover = alpha.astype(np.float32) / 255
        behind = back_alpha.astype(np.float32) / 255 * (1 - cover)
        total = cover + behind
        share = np.where(total > 1e-3, cover / np.maximum(total, 1e-3), 1)
        return compose.over(front, share, back), np.rint(total * 255).astype(np.uint8)

    def _blurred(self, rng: Random, colour: Bytes, alpha: Bytes) -> tuple[Bytes, Bytes]:
        """Defocus and motion, sometimes. Colour is valid everywhere, so blurring both apart is right."""
        chance = rng.random()
        if chance < 0.25:
            sigma = rng.uniform(0.4, 1.2)
        elif chance < 0.32:
            sigma = float(np.exp(rng.uniform(np.log(1.2), np.log(8))))
        elif chance < 0.36:
            kernel = compose.motion_kernel(rng, rng.uniform(3, 24))
            moved = cv2.filter2D(alpha, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
            return cast(Bytes, cv2.filter2D(colour, -1, kernel)), cast(Bytes, moved)
        else:
            return colour, alpha
        return compose.blur(colour, sigma), compose.blur(alpha, sigma)
