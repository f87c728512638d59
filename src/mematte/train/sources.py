"""Where a recipe's crops come from."""

from __future__ import annotations

from pathlib import Path

from mematte.data.backgrounds import BackgroundLibrary
from mematte.data.crops import CropSource
from mematte.data.foregrounds import load_foregrounds
from mematte.data.procedural import MatteBank
from mematte.data.published import PublishedCrops
from mematte.data.shelf import DEFAULT_MEMORY_BYTES
from mematte.errors import DataError, TrainingError

from .batches import Source
from .on_device import RawSource
from .recipe import Recipe

DRAWING_BYTES = 6_000_000  # of one that is kept, all sizes of its pyramid


def crop_source(recipe: Recipe, enlarge_below: int = 0) -> Source:
    """What the recipe's folders hold, read into memory.

    `enlarge_below`: pixels; photographs of fewer are shown at twice their size, as the weights ask for that
    the recipe starts from.

    Raises:
        DataError: there is nothing to train on, or too much of it is damaged.
    """
    foregrounds, backgrounds, photographs = (
        [Path(folder) for folder in folders]
        for folders in (recipe.foregrounds, recipe.backgrounds, recipe.photographs)
    )
    if not (foregrounds or backgrounds or photographs):
        raise DataError(
            "The recipe names no pictures. Say where they are: backgrounds=DIR, with foregrounds=DIR "
            "(cut-outs) or without (drawn mattes only), or photographs=DIR (pictures with alpha)."
        )
    if recipe.augmentation != "photographic":
        if recipe.photographs or (recipe.procedural_share and not recipe.foregrounds):
            raise TrainingError(
                f"augmentation={recipe.augmentation} composes foregrounds=DIR over backgrounds=DIR; photos "
                "and drawn mattes are for augmentation=photographic."
            )
        if not (foregrounds and backgrounds):
            missing = "backgrounds" if foregrounds else "foregrounds"
            raise DataError(
                f"augmentation={recipe.augmentation} composes foregrounds=DIR over backgrounds=DIR, and no "
                f"{missing} are named."
            )
        published = recipe.augmentation == "published"
        sizes = {"longest_px": 0} if published else {}  # as they are
        cut_outs = load_foregrounds(foregrounds, memory_bytes=DEFAULT_MEMORY_BYTES // 2, **sizes)
        rest = DEFAULT_MEMORY_BYTES - cut_outs.memory_bytes
        behind = BackgroundLibrary.load(backgrounds, memory_bytes=rest, **sizes)
        return PublishedCrops(cut_outs, behind) if published else RawSource(cut_outs, behind)
    return CropSource(
        foregrounds,
        backgrounds,
        photographs,
        procedural_share=recipe.procedural_share,
        photograph_share=recipe.photograph_share,
        hard_share=recipe.hard_share,
        enlarged_share=recipe.enlarged_share,
        enlarge_photographs_below=enlarge_below,
        photograph_px=recipe.photograph_px,
        bank=MatteBank(capacity=recipe.drawings, memory_bytes=recipe.drawings * DRAWING_BYTES),
    )
