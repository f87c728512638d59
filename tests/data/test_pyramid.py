"""Pyramids: every picture can be cut from, however thin."""

from __future__ import annotations

import numpy as np
import pytest

from mematte.data.pyramid import Pyramid, View


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (200, 1), (2, 2)])
def test_a_picture_of_one_row_continues_as_itself(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 77, np.uint8)

    crop = Pyramid(picture).warp_mirrored(View((0.0, 0.0), 3.0, angle=0.4), 64)

    assert crop.shape == (64, 64, 3)
    assert (crop == 77).all()
