"""The metrics against slow, obvious loops and against closed forms."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import correlate1d, gaussian_filter
from skimage.measure import label

from mematte.errors import InputError
from mematte.eval import metrics

Array = npt.NDArray[Any]
EXACT = 1e-9


def example(seed: int, height: int = 13, width: int = 17) -> tuple[Array, Array, Array]:
    """A prediction, a truth and a trimap with all three levels. Blocky, so that components have sizes."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((2, (height + 2) // 3, (width + 2) // 3))
    blocks = np.kron(coarse, np.ones((1, 3, 3)))[:, :height, :width]
    alpha, truth = np.clip(blocks * 1.3 - 0.1 + rng.normal(0, 0.05, blocks.shape), 0, 1)
    truth = np.clip(0.6 * alpha + 0.4 * truth, 0, 1)
    trimap = rng.choice(np.array([0, 128, 128, 128, 255], dtype=np.uint8), (height, width))
    return alpha, truth, trimap


# ---------------------------------------------------------------- the oracles: plain Python, pixel by pixel


def forced(alpha: Array, trimap: Array) -> list[list[float]]:
    known = {0: 0.0, 255: 1.0}
    rows, columns = alpha.shape
    return [[known.get(int(trimap[y, x]), float(alpha[y, x])) for x in range(columns)] for y in range(rows)]


def counted(trimap: Array, region: str) -> list[tuple[int, int]]:
    rows, columns = trimap.shape
    everywhere = [(y, x) for y in range(rows) for x in range(columns)]
    return [(y, x) for y, x in everywhere if region == "whole" or trimap[y, x] == 128]


def slow_sad(alpha: Array, truth: Array, trimap: Array, region: str) -> float:
    p = forced(alpha, trimap)
    return math.fsum(abs(p[y][x] - truth[y, x]) for y, x in counted(trimap, region)) / 1000


def slow_mad(alpha: Array, truth: Array, trimap: Array, region: str) -> float:
    return slow_sad(alpha, truth, trimap, region) * 1000 / len(counted(trimap, region)) * 1000


def slow_mse(alpha: Array, truth: Array, trimap: Array, region: str) -> float:
    p, where = forced(alpha, trimap), counted(trimap, region)
    return math.fsum((p[y][x] - truth[y, x]) ** 2 for y, x in where) / len(where) * 1000


def slow_grad(alpha: Array, truth: Array, trimap: Array, region: str) -> float:
    sigma = 1.4
    half = math.ceil(sigma * math.sqrt(-2 * math.log(math.sqrt(2 * math.pi) * sigma * 0.01)))

    def gauss(x: int) -> float:
        return math.exp(-(x * x) / (2 * sigma**2)) / (sigma * math.sqrt(2 * math.pi))

    offsets = range(-half, half + 1)
    kernel = {(i, j): gauss(i) * -j * gauss(j) / sigma**2 for i in offsets for j in offsets}
    norm = math.sqrt(math.fsum(v**2 for v in kernel.values()))
    rows, columns = (int(side) for side in alpha.shape)

    def magnitude(a: list[list[float]], y: int, x: int) -> float:
        def nearest(yy: int, xx: int) -> float:
            return a[min(max(yy, 0), rows - 1)][min(max(xx, 0), columns - 1)]

        gx = math.fsum(k / norm * nearest(y - i, x - j) for (i, j), k in kernel.items())
        gy = math.fsum(k / norm * nearest(y - j, x - i) for (i, j), k in kernel.items())
        return math.hypot(gx, gy)

    p, g = forced(alpha, trimap), truth.tolist()
    where = counted(trimap, region)
    return math.fsum((magnitude(p, y, x) - magnitude(g, y, x)) ** 2 for y, x in where) / 1000


def slow_conn(alpha: Array, truth: Array, trimap: Array, region: str, background: bool = False) -> float:
    p, g = forced(alpha, trimap), truth.tolist()
    rows, columns = alpha.shape
    pixels = [(y, x) for y in range(rows) for x in range(columns)]

    def object_at(threshold: float) -> set[tuple[int, int]]:
        mask = {(y, x) for y, x in pixels if p[y][x] >= threshold and g[y][x] >= threshold}
        outside = [(y, x) for y, x in pixels if (y, x) not in mask]
        components = [set(outside)] if background else []
        seen: set[tuple[int, int]] = set()
        for start in pixels:  # flood fill
            if start not in mask or start in seen:
                continue
            component, queue = {start}, [start]
            while queue:
                y, x = queue.pop()
                for step in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    if step in mask and step not in component:
                        component.add(step)
                        queue.append(step)
            seen |= component
            components.append(component)
        return max(components, key=len, default=set())  # of equals, the first

    objects = [object_at(i / 10) for i in range(11)]
    total = []
    for y, x in counted(trimap, region):
        level = 1.0
        for i in range(1, 11):
            if (y, x) not in objects[i]:
                level = (i - 1) / 10
                break
        phi = []
        for value in (p[y][x], g[y][x]):
            above = value - level
            phi.append(1 - above if above >= 0.15 else 1.0)
        total.append(abs(phi[0] - phi[1]))
    return math.fsum(total) / 1000


ORACLES: list[tuple[Callable[..., float], Callable[..., float]]] = [
    (metrics.sad, slow_sad),
    (metrics.mse, slow_mse),
    (metrics.mad, slow_mad),
    (metrics.grad, slow_grad),
    (metrics.conn, slow_conn),
    (metrics.conn_counting_background, partial(slow_conn, background=True)),
]


@pytest.mark.parametrize("region", ["unknown", "whole"])
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("metric", "oracle"), ORACLES, ids=lambda f: getattr(f, "__name__", "oracle"))
def test_metric_equals_the_slow_loop(
    metric: Callable[..., float], oracle: Callable[..., float], seed: int, region: str
) -> None:
    alpha, truth, trimap = example(seed)
    assert metric(alpha, truth, trimap, region=region) == pytest.approx(
        oracle(alpha, truth, trimap, region), abs=EXACT
    )


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (7, 1), (2, 2), (3, 40)])
def test_metrics_equal_the_slow_loops_on_pictures_smaller_than_the_kernel(size: tuple[int, int]) -> None:
    alpha, truth, _ = example(3, *size)
    trimap = np.full(size, 128, dtype=np.uint8)
    for metric, oracle in ORACLES:
        assert metric(alpha, truth, trimap) == pytest.approx(
            oracle(alpha, truth, trimap, "unknown"), abs=EXACT
        )


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 9), st.integers(1, 9))
def test_eight_bit_mattes_score_as_their_values_over_255(seed: int, height: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    # Few levels, multiples of a tenth among them: ties and exact thresholds happen.
    levels = np.array([0, 51, 102, 128, 153, 204, 255], dtype=np.uint8)
    alpha, truth = rng.choice(levels, (2, height, width))
    trimap = np.full((height, width), 128, dtype=np.uint8)
    for metric, oracle in ORACLES:
        expected = oracle(alpha / 255.0, truth / 255.0, trimap, "unknown")
        assert metric(alpha, truth, trimap) == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("region", ["unknown", "whole"])
@pytest.mark.parametrize("rows", [1, 2, 5])
def test_bands_of_rows_score_as_the_slow_loops(
    rows: int, region: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "_BAND_PIXELS", rows * 17)  # the Gaussian reaches over several bands
    alpha, truth, trimap = example(7)
    trimap[3:8] = 0  # and some have nothing to count
    for metric, oracle in ORACLES:
        assert metric(alpha, truth, trimap, region=region) == pytest.approx(
            oracle(alpha, truth, trimap, region), abs=EXACT
        )


def large_example() -> tuple[Array, Array, Array]:
    """(2100, 1000) of many bands: blobs of all sizes, 8-bit, and unknown in a ring."""
    rng = np.random.default_rng(0)
    height, width = 2100, 1000
    fields = rng.random((2, height, width))
    soft = sum(gaussian_filter(fields, (0, s, s)) * s for s in (1.0, 4.0, 16.0))
    low, high = np.quantile(soft, [0.2, 0.8])
    truth, other = np.clip((soft - low) / (high - low), 0, 1)
    alpha = 0.7 * truth + 0.3 * other
    y, x = np.mgrid[:height, :width]
    away = np.hypot(y / height - 0.5, x / width - 0.5)
    trimap = np.select([away < 0.2, away < 0.45], [255, 128], 0).astype(np.uint8)
    return np.rint(alpha * 255).astype(np.uint8), np.rint(truth * 255).astype(np.uint8), trimap


def test_a_large_pair_scores_as_other_libraries_do_in_one_piece() -> None:
    alpha, truth, trimap = large_example()
    p, g = alpha / 255, truth / 255
    p[trimap == 0], p[trimap == 255] = 0, 1

    def magnitude(a: Array) -> Array:
        x = np.arange(-4, 5)
        smooth = np.exp(-(x**2) / (2 * 1.4**2))
        kernels = [k / np.sqrt((k**2).sum()) for k in (smooth, x * smooth)]
        sides = [
            correlate1d(correlate1d(a, kernels[i], 0, mode="nearest"), kernels[1 - i], 1, mode="nearest")
            for i in (0, 1)
        ]
        return np.hypot(*sides)

    level = np.ones_like(p)
    inside = np.ones(p.shape, dtype=bool)
    for i in range(1, 11):
        labels = label(np.minimum(p, g) >= i / 10, connectivity=1)
        sizes = np.bincount(labels.ravel())
        sizes[0] = 0
        leaves = inside & ((labels != sizes.argmax()) | (sizes.max() == 0))
        level[leaves] = (i - 1) / 10
        inside &= ~leaves
    phi = [1 - (a - level) * (a - level >= 0.15) for a in (p, g)]

    difference, gradients, connectedness = p - g, magnitude(p) - magnitude(g), phi[0] - phi[1]

    regions: list[tuple[metrics.Region, Array]] = [("unknown", trimap == 128), ("whole", trimap >= 0)]
    for region, counts in regions:
        found = metrics.score(alpha, truth, trimap, region=region)
        assert found.sad == pytest.approx(np.abs(difference)[counts].sum() / 1000, abs=EXACT)
        assert found.mse == pytest.approx((difference**2)[counts].mean() * 1000, abs=EXACT)
        assert found.mad == pytest.approx(np.abs(difference)[counts].mean() * 1000, abs=EXACT)
        assert found.grad == pytest.approx((gradients**2)[counts].sum() / 1000, abs=EXACT)
        assert found.conn == pytest.approx(np.abs(connectedness)[counts].sum() / 1000, abs=EXACT)
        assert found.conn > 1  # there are islands, or this says nothing


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("top_of_the_bar", [50, 150, 420])
def test_of_equal_components_the_first_in_reading_order_is_the_object(
    top_of_the_bar: int, threads: int
) -> None:
    hook, bar = np.zeros((2, 1000, 900), dtype=bool)
    hook[100:700, 600] = hook[700, 200:601] = hook[400:700, 200] = True  # begins at the right, turns left
    strip = np.zeros((1000 - top_of_the_bar, 5), dtype=bool)
    strip.ravel()[: hook.sum()] = True
    bar[top_of_the_bar:, 300:305] = strip
    assert hook.sum() == bar.sum()
    assert not (hook & bar).any()
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        found = metrics._largest_component(hook | bar, count_background=False)
    finally:
        cv2.setNumThreads(before)
    np.testing.assert_array_equal(found, bar if top_of_the_bar < 100 else hook)


def test_score_is_the_five_metrics() -> None:
    given_ = example(1)
    five = metrics.Scores(
        sad=metrics.sad(*given_),
        mse=metrics.mse(*given_),
        mad=metrics.mad(*given_),
        grad=metrics.grad(*given_),
        conn=metrics.conn(*given_),
    )
    assert metrics.score(*given_) == five
    other = replace(five, conn=metrics.conn_counting_background(*given_))
    assert metrics.score(*given_, count_background=True) == other


# ---------------------------------------------------------------- closed forms


def test_a_constant_error_has_the_closed_form() -> None:
    trimap = np.full((20, 50), 128, dtype=np.uint8)
    scores = metrics.score(np.full((20, 50), 0.75), np.full((20, 50), 0.5), trimap)
    assert scores.sad == pytest.approx(0.25, abs=EXACT)  # 1000 px x 0.25 / 1000
    assert scores.mse == pytest.approx(62.5, abs=EXACT)
    assert scores.mad == pytest.approx(250, abs=EXACT)
    assert scores.grad == pytest.approx(0, abs=EXACT)
    # Everything is connected up to 0.5; 0.75 exceeds that by 0.25, 0.5 by nothing.
    assert scores.conn == pytest.approx(0.25, abs=EXACT)


def test_grad_of_a_step_is_the_energy_of_the_edge_response() -> None:
    truth = np.zeros((9, 40))
    truth[:, 20:] = 1
    trimap = np.full((9, 40), 128, dtype=np.uint8)
    # A vertical step sums one half of the derivative kernel; flat rows sum the smoothing kernel.
    x = np.arange(-4, 5)
    smooth = np.exp(-(x**2) / (2 * 1.4**2))
    slope = x * smooth
    smooth, slope = smooth / np.sqrt((smooth**2).sum()), slope / np.sqrt((slope**2).sum())
    response = [smooth.sum() * abs(slope[k:].sum()) for k in range(1, 9)]
    expected = 9 * sum(r**2 for r in response) / 1000
    assert metrics.grad(np.zeros((9, 40)), truth, trimap) == pytest.approx(expected, abs=EXACT)


def test_conn_charges_an_island_its_whole_alpha() -> None:
    truth = np.zeros((10, 30))
    truth[:, :10] = 1
    alpha = truth.copy()
    alpha[2:4, 20:25] = 0.8  # ten pixels that the object does not reach
    trimap = np.full((10, 30), 128, dtype=np.uint8)
    assert metrics.conn(alpha, truth, trimap) == pytest.approx(10 * 0.8 / 1000, abs=EXACT)


def test_conn_ignores_differences_under_the_dead_zone() -> None:
    trimap = np.full((4, 4), 128, dtype=np.uint8)
    assert metrics.conn(np.full((4, 4), 0.64), np.full((4, 4), 0.5), trimap) == 0
    assert metrics.conn(np.full((4, 4), 0.66), np.full((4, 4), 0.5), trimap) > 0


def test_counting_the_background_differs_where_the_object_is_small() -> None:
    truth = np.zeros((20, 20))
    truth[8:12, 8:12] = 1
    alpha = np.clip(truth * 0.7, 0, 1)
    trimap = np.full((20, 20), 128, dtype=np.uint8)
    without = metrics.conn(alpha, truth, trimap)
    # Connected up to 0.7 (the last threshold both reach); the truth exceeds that by 0.3, the prediction by 0.
    assert without == pytest.approx(16 * 0.3 / 1000, abs=EXACT)
    # With it the background is the object from the first threshold on; the square exceeds 0 by all it has.
    assert metrics.conn_counting_background(alpha, truth, trimap) == pytest.approx(16 * 0.3 / 1000, abs=EXACT)
    alpha[8:12, 8:12] = 0.1
    truth[8:12, 8:12] = 0.22
    assert metrics.conn(alpha, truth, trimap) == pytest.approx(0, abs=EXACT)
    assert metrics.conn_counting_background(alpha, truth, trimap) == pytest.approx(
        16 * 0.22 / 1000, abs=EXACT
    )


@pytest.mark.parametrize("region", ["unknown", "whole"])
def test_a_perfect_matte_scores_zero(region: metrics.Region) -> None:
    truth = np.linspace(0, 1, 300, dtype=np.float32).reshape(15, 20)
    trimap = np.full((15, 20), 128, dtype=np.uint8)
    assert metrics.score(truth, truth, trimap, region=region) == metrics.Scores(0, 0, 0, 0, 0)


def test_known_pixels_are_set_before_measuring() -> None:
    truth = np.tile(np.linspace(0, 1, 30), (12, 1))
    trimap = np.full((12, 30), 128, dtype=np.uint8)
    trimap[:, :6], trimap[:, -6:] = 0, 255
    alpha = truth.copy()
    wrong = alpha.copy()
    wrong[:, :6], wrong[:, -6:] = 0.9, 0.1  # what a method says there does not count
    assert metrics.score(wrong, truth, trimap) == metrics.score(alpha, truth, trimap)
    assert metrics.score(wrong, truth, trimap, region="whole") == metrics.score(
        alpha, truth, trimap, region="whole"
    )


def test_whole_counts_known_pixels_whose_truth_disagrees_with_the_trimap() -> None:
    trimap = np.array([[0, 128, 255]], dtype=np.uint8)
    truth = np.array([[0.5, 0.5, 0.5]])
    assert metrics.sad(truth, truth, trimap) == 0
    assert metrics.sad(truth, truth, trimap, region="whole") == pytest.approx(1.0 / 1000, abs=EXACT)


def test_inputs_are_not_changed() -> None:
    given_ = example(5)
    copies = [array.copy() for array in given_]
    metrics.score(*given_)
    for array, copy in zip(given_, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_eight_bit_rounds_to_the_nearest() -> None:
    alpha = np.array([[0.0, 0.4 / 255, 0.6 / 255, 254.6 / 255, 1.0]], dtype=np.float32)
    assert metrics.eight_bit(alpha).tolist() == [[0, 0, 1, 255, 255]]


# ---------------------------------------------------------------- errors

PLANE = np.full((4, 5), 0.5)
TRIMAP = np.full((4, 5), 128, dtype=np.uint8)


@pytest.mark.parametrize(
    ("alpha", "truth", "trimap", "message"),
    [
        (PLANE[:3], PLANE, TRIMAP, r"\(3, 5\), \(4, 5\) and \(4, 5\)"),
        (PLANE, PLANE, TRIMAP[:, :4], r"and \(4, 4\)"),
        (PLANE[None], PLANE, TRIMAP, r"alpha must be one plane .* \(1, 4, 5\)"),
        (PLANE[:0], PLANE, TRIMAP, r"alpha must be one plane"),
        (PLANE.tolist(), PLANE, TRIMAP, "alpha must be a numpy array, not list"),
        (PLANE + 1, PLANE, TRIMAP, r"alpha must lie in \[0, 1\]; it reaches from 1.5 to 1.5"),
        (np.full((4, 5), 1 + 1e-7), PLANE, TRIMAP, r"it reaches from 1.0000001 to 1.0000001"),
        (PLANE, PLANE - 1, TRIMAP, r"truth must lie in \[0, 1\]; it reaches from -0.5"),
        (PLANE * np.nan, PLANE, TRIMAP, "alpha holds 20 values that are NaN or infinite"),
        (PLANE.astype(np.int64), PLANE, TRIMAP, "alpha must be floating point .* not int64"),
        (PLANE, PLANE > 0, TRIMAP, "truth must be floating point .* not bool"),
        (PLANE, PLANE, TRIMAP.astype(np.float32), "trimap must be uint8 .* not float32"),
        (PLANE, PLANE, TRIMAP + 1, "only 0, 128 and 255; it also holds 129"),
        (PLANE, PLANE, np.arange(20, dtype=np.uint8).reshape(4, 5), r"also holds 1, 2, 3, 4, 5 \.\.\."),
        (PLANE, PLANE, TRIMAP * 0, "no unknown pixel"),
    ],
)
def test_bad_arguments_are_named_with_their_values(alpha: Any, truth: Any, trimap: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        metrics.score(alpha, truth, trimap)


def test_an_unknown_region_is_an_error() -> None:
    with pytest.raises(InputError, match="not 'all'"):
        metrics.score(PLANE, PLANE, TRIMAP, region="all")  # type: ignore[arg-type]


def test_a_trimap_without_unknown_can_be_scored_whole() -> None:
    assert metrics.sad(PLANE, PLANE, TRIMAP * 0, region="whole") == pytest.approx(20 * 0.5 / 1000)
