"""Scenes: the same for the network, whichever way the pixels come to it."""

import numpy as np
import pytest
import torch

from mematte.engine.scene import Scene, enlarged_picture
from mematte.image import Picture, Trimap
from mematte.image.color import srgb_to_linear
from mematte.image.picture import displayed
from mematte.weights import Preprocessing

from .conftest import banded_trimap, picture


@pytest.mark.parametrize("window", [(slice(0, 64), slice(0, 96)), (slice(32, 64), slice(48, 80))])
def test_what_is_carried_as_bytes_is_what_is_prepared_here(window) -> None:
    photo, trimap = Picture(picture(50, 90)), Trimap(banded_trimap(50, 90))
    photo.pixels.flags.writeable = trimap.levels.flags.writeable = False
    scenes = [Scene(photo, trimap, Preprocessing(), torch.float32, torch.device("cpu")) for _ in range(2)]
    scenes[1]._carries_bytes = True  # as where the device is a GPU

    prepared, carried = (scene.read(*window) for scene in scenes)

    assert prepared.shape == carried.shape == (1, 4, *(part.stop - part.start for part in window))
    torch.testing.assert_close(carried, prepared, rtol=1e-6, atol=1e-6)
    assert carried.is_contiguous(memory_format=torch.channels_last)
    assert np.count_nonzero(carried[0, 3].numpy()) > 0


@pytest.mark.parametrize("carries_bytes", [False, True])
@pytest.mark.parametrize(("padding", "mode"), [("zeros", "constant"), ("edge", "edge")])
@pytest.mark.parametrize("size", [(50, 90), (1, 1), (64, 65), (33, 96)])
def test_beyond_the_picture_is_what_the_weights_ask_for(size, padding, mode, carries_bytes) -> None:
    """Windows of any place, some of which lie wholly beyond it; in any order, as bands may come."""
    photo, trimap = Picture(picture(*size)), Trimap(banded_trimap(*size))
    preprocessing = Preprocessing(padding=padding)
    scene = Scene(photo, trimap, preprocessing, torch.float32, torch.device("cpu"))
    scene._carries_bytes = carries_bytes
    height, width = (-(-side // 32) * 32 for side in size)
    levels = np.where(trimap.levels == 128, 0.5, trimap.levels / 255)
    colours = (photo.pixels / 255 - preprocessing.mean) / preprocessing.std
    beyond = ((0, height - size[0]), (0, width - size[1]), (0, 0))
    whole = np.pad(np.dstack((colours, levels)), beyond, mode=mode)

    for rows in (slice(0, height), slice(height - 16, height), slice(0, 16), slice(height // 2, height)):
        for columns in (slice(0, width), slice(width - 16, width), slice(16, 32)):
            window = scene.read(rows, columns)
            assert np.abs(window[0].permute(1, 2, 0).numpy() - whole[rows, columns]).max() < 1e-5


@pytest.mark.parametrize("factor", [2, 3])
def test_what_is_enlarged_does_not_depend_on_how_it_is_stored(factor) -> None:
    pixels = picture(30, 40)
    light = srgb_to_linear(pixels / np.float32(255))
    bright = np.where(pixels == 255, np.float32(60), light)  # highlights that the network sees as white

    from_bytes, *others = (
        displayed(enlarged_picture(photo, factor).pixels, False)
        for photo in (
            Picture(pixels),
            Picture(pixels.astype(np.uint16) * 257),
            Picture(light, linear=True),
            Picture(bright, linear=True),
        )
    )

    assert from_bytes.shape == (30 * factor, 40 * factor, 3)
    for other in others:
        assert np.abs(other - from_bytes).max() < 1e-5
