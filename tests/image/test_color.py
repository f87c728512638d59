from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mematte.image import linear_to_srgb, srgb_to_linear


@pytest.mark.parametrize(
    ("display", "linear"),
    [(0, 0), (0.04045, 0.0031308), (0.5, 0.21404114), (0.735357, 0.5), (1, 1)],
)
def test_the_curve_goes_through_known_points(display: float, linear: float) -> None:
    assert srgb_to_linear(np.array([display]))[0] == pytest.approx(linear, abs=1e-6)
    assert linear_to_srgb(np.array([linear]))[0] == pytest.approx(display, abs=1e-5)


@given(st.floats(0, 1, width=32))
def test_there_and_back_is_where_it_was(value: float) -> None:
    array = np.array([value], np.float32)
    assert linear_to_srgb(srgb_to_linear(array))[0] == pytest.approx(value, abs=2e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_integers_are_read_from_a_table_that_agrees_with_the_formula(dtype: type) -> None:
    levels = np.arange(np.iinfo(dtype).max + 1).astype(dtype)
    by_formula = srgb_to_linear(levels.astype(np.float32) / np.iinfo(dtype).max)
    np.testing.assert_allclose(srgb_to_linear(levels), by_formula, atol=1e-6)


def test_the_input_is_not_changed() -> None:
    values = np.linspace(-0.5, 2, 50, dtype=np.float32)
    before = values.copy()
    srgb_to_linear(values)
    linear_to_srgb(values)
    np.testing.assert_array_equal(values, before)
