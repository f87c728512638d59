"""Composition on the device: each operation against numpy or OpenCV, and samples that know no neighbours."""

from __future__ import annotations

import math
from dataclasses import fields

import cv2
import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from mematte.data import compose, published
from mematte.data.foregrounds import Foreground
from mematte.data.pyramid import Pyramid, View
from mematte.train.on_device import (
    RawBatch,
    RawSample,
    RawSource,
    camera,
    collate,
    compose_on_device,
    composition,
    geometry,
    raw,
    trimaps,
)
from mematte.train.on_device.camera import blur, noise
from mematte.train.on_device.colour import jitter_colour
from mematte.train.on_device.composition import merge, over
from mematte.train.on_device.draws import Draws
from mematte.train.on_device.erosion import eroded, painted, squared_distance
from mematte.train.on_device.geometry import affine, turns
from mematte.train.on_device.jpeg import through_jpeg
from mematte.train.on_device.raw import tile_px
from mematte.train.on_device.trimaps import STYLES, make_trimap

CHANCES = [
    (module, name)
    for module in (camera, composition, raw, trimaps)
    for name in vars(module)
    if name.endswith("_CHANCE")
]


@pytest.fixture
def without_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing happens to a sample but composition and a trimap."""
    for module, name in CHANCES:
        monkeypatch.setattr(module, name, 0.0)
    monkeypatch.setattr(composition, "turns", lambda draws: torch.eye(2).repeat(len(draws.numbers(1)), 1, 1))


class Drawings:
    """A library of foregrounds that needs no files."""

    def __init__(self, foregrounds: list[Foreground]) -> None:
        self.foregrounds = foregrounds

    def draw(self, rng: np.random.Generator) -> Foreground:
        return self.foregrounds[int(rng.integers(len(self.foregrounds)))]


class Photograph:
    """A library of one background."""

    def __init__(self, pyramid: Pyramid) -> None:
        self.pyramid = pyramid

    def photograph(self, rng: np.random.Generator, size_px: int) -> np.ndarray:
        x, y = rng.uniform(100, 140, 2)
        return self.pyramid.warp_mirrored(View((x, y), 1.0), size_px)


def raw_source() -> RawSource:
    """A soft disc and a star of thin lines over coloured noise."""
    rng = np.random.default_rng(5)
    ys, xs = np.mgrid[:160, :200]
    disc = np.clip((60 - np.hypot(ys - 80, xs - 100)) / 12, 0, 1) * 255
    star = np.zeros((160, 200), np.uint8)
    for angle in np.linspace(0, np.pi, 9):
        x, y = (np.array([np.cos(angle), np.sin(angle)]) * 70).astype(int).tolist()
        cv2.line(star, (100 - x, 80 - y), (100 + x, 80 + y), 255, 2, cv2.LINE_AA)
    colour = cv2.resize(rng.integers(0, 256, (10, 12, 3), dtype=np.uint8), (200, 160))
    foregrounds = [Foreground.from_rgba(np.dstack([colour, a]).astype(np.uint8)) for a in (disc, star)]
    photograph = cv2.resize(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8), (320, 240))
    return RawSource(Drawings(foregrounds), Photograph(Pyramid(photograph)))


class Numbered(Dataset[RawSample]):
    """Raw samples by number, each with a generator of its own."""

    def __init__(self, size_px: int = 64, seed: int = 0) -> None:
        self.source, self.size_px, self.seed = raw_source(), size_px, seed

    def __getitem__(self, number: int) -> RawSample:
        return self.source.sample(np.random.default_rng([self.seed, number]), self.size_px)


def raw_batch(count: int, size_px: int = 64, seed: int = 0) -> RawBatch:
    source = Numbered(size_px, seed)
    return collate([source[number] for number in range(count)])


def random_numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def channels_last(picture: Tensor) -> np.ndarray:
    """(C, H, W) in [0, 1] -> (H, W, C) in [0, 255]."""
    return picture.permute(1, 2, 0).numpy() * 255


def disc_mask(side: int = 48) -> np.ndarray:
    ys, xs = np.mgrid[:side, :side]
    mask = np.hypot(ys - 22, xs - 25) < 19
    mask[20:23, 18] = False
    mask[:4, 30:] = True
    return mask


# The batch


def test_a_batch_holds_what_the_network_and_the_losses_take() -> None:
    pictures, truth, unknown = compose_on_device(raw_batch(6))

    assert (pictures.shape, truth.shape, unknown.shape) == ((6, 4, 64, 64), (6, 1, 64, 64), (6, 1, 64, 64))
    assert {pictures.dtype, truth.dtype, unknown.dtype} == {torch.float32}
    assert set(pictures[:, 3].unique().tolist()) == {0.0, 0.5, 1.0}
    assert ((pictures[:, 3:] == 0.5) == (unknown == 1)).all()
    levels = pictures[:, :3] * 255
    assert (levels - levels.round()).abs().max() < 1e-3
    assert levels.min() > -0.01
    assert levels.max() < 255.01
    assert pictures.isfinite().all()


@pytest.mark.parametrize("size_px", [64, 96])
def test_alpha_is_exact_where_the_trimap_knows(size_px: int) -> None:
    for seed in range(3):
        pictures, truth, unknown = compose_on_device(raw_batch(12, size_px, seed))

        assert (truth[pictures[:, 3:] == 0] == 0).all()
        assert (truth[pictures[:, 3:] == 1] == 1).all()
        assert 0 <= truth.min() <= truth.max() <= 1
        assert 0.1 < unknown.mean() < 0.9


@pytest.mark.usefixtures("without_changes")
def test_without_changes_the_image_is_the_tiles_composite() -> None:
    batch = raw_batch(4)
    assert not len(batch.back_of)

    pictures, truth, _ = compose_on_device(batch)

    middle = batch.fronts[:, 16:80, 16:80].numpy().astype(np.float32)
    alpha = middle[..., 3:] / np.float32(255)
    expected = alpha * middle[..., :3] + (1 - alpha) * batch.backgrounds.numpy()
    assert (truth.permute(0, 2, 3, 1).numpy() == alpha).all()
    assert np.abs(pictures[:, :3].permute(0, 2, 3, 1).numpy() * 255 - expected).max() <= 0.51


def test_a_sample_does_not_depend_on_its_batch() -> None:
    source = Numbered()
    samples = [source[number] for number in range(8)]
    together = compose_on_device(collate(samples))
    backwards = compose_on_device(collate(samples[::-1]))
    for number, sample in enumerate(samples):
        alone = compose_on_device(collate([sample]))
        for one, all_, reverse in zip(alone, together, backwards, strict=True):
            assert torch.equal(one[0], all_[number])
            assert torch.equal(one[0], reverse[7 - number])


def test_another_seed_makes_another_sample_of_the_same_tiles() -> None:
    sample = Numbered()[0]
    other = RawSample(sample.foregrounds, sample.background, sample.seed + 1)

    pictures, _, _ = compose_on_device(collate([sample, other]))

    assert not torch.equal(pictures[0], pictures[1])


def test_composition_changes_neither_its_batch_nor_global_random_state() -> None:
    batch = raw_batch(6)
    before = {field.name: getattr(batch, field.name).clone() for field in fields(batch)}
    state = torch.get_rng_state()

    compose_on_device(batch)

    assert all(torch.equal(getattr(batch, name), value) for name, value in before.items())
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_cuda_gives_what_the_cpu_gives() -> None:
    batch = raw_batch(16, 96)

    on_cpu, on_cuda = compose_on_device(batch), compose_on_device(batch.pin_memory().to("cuda"))

    for cpu, cuda in zip(on_cpu, on_cuda, strict=True):
        difference = (cpu - cuda.cpu()).abs()
        # Rounding may tip a pixel over a threshold of the trimap, a level of 8 bits, a step of the JPEG.
        assert (difference > 1e-3).float().mean() < 2e-3
        assert difference.mean() < 1e-3


# The worker's part


def test_a_sample_depends_on_its_generator_alone() -> None:
    first, second = Numbered(seed=3), Numbered(seed=3)
    expected = [first[number] for number in range(6)]
    for number in reversed(range(6)):
        sample = second[number]
        assert sample.seed == expected[number].seed
        assert (sample.background == expected[number].background).all()
        assert len(sample.foregrounds) == len(expected[number].foregrounds)
        for one, two in zip(sample.foregrounds, expected[number].foregrounds, strict=True):
            assert (one == two).all()
    assert Numbered(seed=4)[0].seed != expected[0].seed


def test_tiles_are_half_as_large_again_as_the_crop() -> None:
    sample = Numbered(64)[0]
    assert sample.foregrounds[0].shape == (96, 96, 4)
    assert sample.background.shape == (64, 64, 3)
    assert [tile_px(size) for size in (64, 96, 512)] == [96, 144, 768]


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(workers: int) -> None:
    source = Numbered()
    loader = DataLoader(source, 4, sampler=range(2, 10), num_workers=workers, collate_fn=collate)

    batches = list(loader)

    assert len(batches) == 2
    for start, batch in zip((2, 6), batches, strict=True):
        expected = collate([source[number] for number in range(start, start + 4)])
        for field in fields(batch):
            assert torch.equal(getattr(batch, field.name), getattr(expected, field.name))


def test_a_batch_remembers_what_lies_behind_whom(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Numbered()
    samples = [source[number] for number in range(12)]
    batch = collate(samples)
    merged = [number for number, sample in enumerate(samples) if len(sample.foregrounds) == 2]
    assert 0 < len(merged) < 12
    assert batch.back_of.tolist() == merged
    for row, number in enumerate(merged):
        assert (batch.backs[row].numpy() == samples[number].foregrounds[1]).all()
    monkeypatch.setattr(raw, "MERGE_CHANCE", 0.0)
    assert collate([source[0]]).backs.shape == (0, 96, 96, 4)


# Geometry


@pytest.mark.parametrize(("side", "size_px"), [(96, 64), (33, 33), (40, 60)])
def test_the_unit_matrix_is_exactly_the_middle_of_the_mirrored_tile(side: int, size_px: int) -> None:
    tile = np.random.default_rng(0).integers(0, 256, (2, side, side, 4), dtype=np.uint8)

    crop = affine(torch.from_numpy(tile), torch.eye(2).repeat(2, 1, 1), size_px)

    reach = 10
    padded = np.pad(tile, ((0, 0), (reach, reach), (reach, reach), (0, 0)), mode="reflect")
    start = reach + (side - size_px) // 2
    expected = padded[:, start : start + size_px, start : start + size_px].astype(np.float32) / np.float32(
        255
    )
    assert (crop.permute(0, 2, 3, 1).numpy() == expected).all()


def test_quarter_turns_and_flips_are_exact() -> None:
    tile = np.random.default_rng(0).integers(0, 256, (48, 48, 4), dtype=np.uint8)
    matrices = torch.tensor([[[0.0, -1], [1, 0]], [[-1.0, 0], [0, 1]], [[1.0, 0], [0, -1]]])

    turned = affine(torch.from_numpy(tile).repeat(3, 1, 1, 1), matrices, 48)

    # (x, y) of the crop shows (-y, x) of the tile: the tile turned by a quarter.
    for crop, expected in zip(turned, (np.rot90(tile), tile[:, ::-1], tile[::-1]), strict=True):
        assert np.abs(channels_last(crop) - expected).max() < 1e-4


def test_affine_is_opencvs() -> None:
    tile = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (72, 72, 4), dtype=np.uint8), (0, 0), 2)
    matrices = turns(Draws(torch.arange(8)))

    crops = affine(torch.from_numpy(tile).repeat(8, 1, 1, 1), matrices, 48)

    for crop, matrix in zip(crops, matrices.double().numpy(), strict=True):
        shift = np.full(2, 71 / 2) - matrix @ np.full(2, 47 / 2)
        expected = cv2.warpAffine(
            tile,
            np.column_stack([matrix, shift]),
            (48, 48),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        assert np.abs(channels_last(crop) - expected).max() < 2.5  # OpenCV's places are rounded


def test_turns_have_the_recipes_scales_and_flips() -> None:
    matrices = turns(Draws(torch.arange(400)))
    determinants = torch.linalg.det(matrices)
    scales = determinants.abs().rsqrt()
    assert 0.8 <= scales.min() < 0.82
    assert 1.23 < scales.max() <= 1.251
    assert 0.4 < (determinants < 0).float().mean() < 0.6


def test_turns_are_the_inverse_of_rotation_shear_and_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(geometry, "SHEAR_DEGREES", 0.0)
    monkeypatch.setattr(geometry, "SCALES", (1.0, 1.0))
    matrices = turns(Draws(torch.arange(200)))
    assert torch.allclose(matrices @ matrices.transpose(1, 2), torch.eye(2).expand(200, 2, 2), atol=1e-5)
    angles = torch.atan2(matrices[:, 0, 1], matrices[:, 1, 1]) * 180 / math.pi
    assert -30 <= angles.min() < -27
    assert 27 < angles.max() <= 30


# Layers and colours


def test_over_is_the_composition_equation_and_exact_at_both_ends() -> None:
    front, back, alpha = (
        random_numbers(2, 3, 9, 9),
        random_numbers(2, 3, 9, 9, seed=1),
        random_numbers(2, 1, 9, 9),
    )
    expected = alpha.double() * front + (1 - alpha.double()) * back
    assert (over(front, alpha, back) - expected).abs().max() < 1e-6
    assert torch.equal(over(front, torch.ones(2, 1, 9, 9), back), front)
    assert torch.equal(over(front, torch.zeros(2, 1, 9, 9), back), back)


def test_merged_layers_are_those_of_the_published_crops() -> None:
    front, back = np.random.default_rng(0).integers(0, 256, (2, 20, 20, 4), dtype=np.uint8)
    layers = [torch.from_numpy(layer).permute(2, 0, 1)[None].float() / 255 for layer in (front, back)]

    assert np.abs(channels_last(merge(*layers)[0]) - published.merge(front, back)).max() < 1


def test_where_nobody_is_the_merged_alpha_is_zero() -> None:
    nothing = torch.cat((random_numbers(1, 3, 8, 8), torch.zeros(1, 1, 8, 8)), dim=1)
    assert (merge(nothing, nothing)[:, 3] == 0).all()
    assert torch.equal(merge(nothing, nothing)[:, :3], nothing[:, :3])


def test_colours_change_for_the_chosen_only_and_stay_in_range() -> None:
    pictures = random_numbers(40, 3, 8, 8)
    assert torch.equal(jitter_colour(pictures, Draws(torch.arange(40)), chance=0.0), pictures)
    changed = jitter_colour(pictures, Draws(torch.arange(40)), chance=0.5)
    same = [torch.equal(one, two) for one, two in zip(changed, pictures, strict=True)]
    assert 10 < sum(same) < 30
    assert changed.min() >= 0
    assert changed.max() <= 1


@pytest.mark.parametrize("sigma_px", [0.3, 1.0, 2.5, 4.0])
def test_blur_is_opencvs(sigma_px: float) -> None:
    picture = random_numbers(1, 3, 40, 56)

    blurred = blur(picture, torch.tensor([sigma_px]))[0].permute(1, 2, 0).numpy()

    expected = cv2.GaussianBlur(
        picture[0].permute(1, 2, 0).numpy(), (25, 25), sigma_px, borderType=cv2.BORDER_REFLECT_101
    )
    assert np.abs(blurred - expected).max() < 1e-4


def test_a_narrow_blur_needs_no_wide_reach() -> None:
    picture, sigma_px = random_numbers(1, 1, 40, 40), torch.tensor([0.8])
    assert (blur(picture, sigma_px) - blur(picture, sigma_px, largest_px=0.8)).abs().max() < 1e-3


def test_each_sample_is_blurred_by_its_own_sigma() -> None:
    pictures, sigma_px = random_numbers(3, 1, 40, 40), torch.tensor([0.5, 3.0, 1.0])
    for number in range(3):
        alone = blur(pictures[number : number + 1], sigma_px[number : number + 1])
        assert torch.equal(blur(pictures, sigma_px)[number], alone[0])


def test_noise_is_normal_and_each_seed_has_its_own() -> None:
    grain = noise(torch.tensor([7, 8, 7 + 2**40]), 128)
    assert grain.mean().abs() < 0.01
    assert abs(grain.std().item() - 1) < 0.01
    assert abs((grain**4).mean().item() - 3) < 0.4  # four uniform numbers have 2.7
    flat = grain.flatten(1)
    for one, two in ((0, 1), (0, 2), (1, 2)):
        assert (flat[one] * flat[two]).mean().abs() < 0.02
    for shift in (1, 2, 128, 128 * 128):
        assert (flat[0][shift:] * flat[0][:-shift]).mean().abs() < 0.02
    assert torch.equal(noise(torch.tensor([8]), 128)[0], grain[1])


@pytest.mark.parametrize("quality", [50, 70, 90, 97])
@pytest.mark.parametrize("size_px", [64, 72])
def test_jpeg_is_nearly_that_of_files(quality: int, size_px: int) -> None:
    rng = np.random.default_rng(0)
    picture = cv2.resize(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8), (size_px, size_px))
    picture = np.clip(picture + rng.normal(0, 6, picture.shape), 0, 255).astype(np.uint8)

    tensor = torch.from_numpy(picture).permute(2, 0, 1)[None] / 255
    ours = channels_last(through_jpeg(tensor, torch.tensor([float(quality)]))[0])

    files = compose.through_jpeg(picture, quality).astype(float)
    assert np.abs(ours - files).mean() < 0.25 * np.abs(files - picture).mean()


def test_jpeg_keeps_flat_colours() -> None:
    flat = torch.tensor([200, 40, 90]).view(1, 3, 1, 1).expand(1, 3, 32, 32) / 255
    assert (through_jpeg(flat, torch.tensor([90.0])) - flat).abs().max() < 4 / 255


# Trimaps


def test_distances_are_exact_up_to_each_masks_limit() -> None:
    mask = disc_mask()
    limits_px = torch.tensor([4.0, 60.0, 1.0, 11.5, 300.0])

    ours = squared_distance(torch.from_numpy(mask).repeat(5, 1, 1), limits_px).numpy()

    ys, xs = np.nonzero(~mask)
    rows, columns = np.mgrid[:48, :48]
    true = ((rows[..., None] - ys) ** 2 + (columns[..., None] - xs) ** 2).min(-1)
    for distances, limit_px in zip(ours, limits_px.tolist(), strict=True):
        near = true <= limit_px**2
        assert (distances[near] == true[near]).all()
        assert (distances[~near] > limit_px**2).all()


@pytest.mark.parametrize("limit_px", [1.0, 20.0, 126.0, 127.0, 500.0])
def test_nothing_is_near_where_the_mask_is_everywhere(limit_px: float) -> None:
    masks = torch.ones(2, 9, 9, dtype=torch.bool)
    assert (squared_distance(masks, torch.full((2,), limit_px)) > limit_px**2).all()
    assert (squared_distance(~masks, torch.full((2,), limit_px)) == 0).all()


def eroded_disc(radius_px: float) -> np.ndarray:
    masks = torch.from_numpy(disc_mask())[None, None]
    return eroded(masks, torch.tensor(radius_px), torch.full((1, 1), radius_px))[0, 0].numpy()


@pytest.mark.parametrize("radius_px", [0, 1, 2, 3, 5, 7, 10, 14])
def test_erosion_is_opencvs(radius_px: int) -> None:
    mask = disc_mask()

    ours = eroded_disc(float(radius_px))

    ys, xs = np.mgrid[-radius_px : radius_px + 1, -radius_px : radius_px + 1]
    disc = (ys**2 + xs**2 <= radius_px**2).astype(np.uint8)
    assert (ours == (cv2.erode(mask.view(np.uint8), disc) == 1)).all()
    # Its ellipse is a disc that is rounded outwards, by up to half a pixel.
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2)
    by_ellipse = cv2.erode(mask.view(np.uint8), ellipse) == 1
    assert not (eroded_disc(radius_px + 0.5) & ~by_ellipse).any()
    assert not (by_ellipse & ~ours).any()


def test_each_mask_is_eroded_by_its_own_radius() -> None:
    masks = torch.from_numpy(disc_mask()).expand(3, 2, 48, 48)
    radii = torch.tensor([[1.0, 9.0], [2.5, 0.0], [6.0, 3.5]])
    together = eroded(masks, radii[..., None, None], radii)
    for number in range(3):
        for side in range(2):
            assert (together[number, side].numpy() == eroded_disc(radii[number, side].item())).all()


def test_a_brush_stays_inside_and_leaves_narrow_places_out() -> None:
    mask = torch.zeros(60, 60, dtype=torch.bool)
    mask[10:50, 10:50] = True
    mask[28:31, :] = True  # a corridor narrower than the brush

    result = painted(mask[None, None], torch.tensor(6.0), torch.full((1, 1), 6.0))[0, 0]

    assert not (result & ~mask).any()
    assert result[30, 30]
    assert not result[29, 2]


def soft_discs(count: int, softness_px: float, size_px: int = 96) -> Tensor:
    ys, xs = np.mgrid[:size_px, :size_px]
    alpha = np.clip((size_px / 3 - np.hypot(ys - size_px / 2, xs - size_px / 2)) / softness_px, 0, 1)
    return torch.from_numpy(alpha.astype(np.float32)).repeat(count, 1, 1, 1)


@pytest.mark.parametrize("style", STYLES)
def test_known_means_exact_in_every_style(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimaps, "STYLES", {name: float(name == style) for name in STYLES})
    for alpha in (soft_discs(12, 10), soft_discs(12, 0.5), 1 - soft_discs(12, 10), soft_discs(12, 3) * 0.5):
        trimap = make_trimap(alpha, Draws(torch.arange(12)))
        assert set(trimap.unique().tolist()) <= {0.0, 0.5, 1.0}
        assert (alpha[trimap == 0] == 0).all()
        assert (alpha[trimap == 1] == 1).all()


def test_a_plain_band_is_as_wide_as_its_two_radii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimaps, "STYLES", {name: float(name == "band") for name in STYLES})
    monkeypatch.setattr(trimaps, "BRUSH_CHANCE", 0.0)
    alpha = soft_discs(30, 0.01, 224)  # a hard edge, and the radii are between 1.5 and 20 px
    trimap = make_trimap(alpha, Draws(torch.arange(30)))
    widths = []
    for known, region in ((1, alpha[0, 0] == 1), (0, alpha[0, 0] == 0)):
        depth = torch.from_numpy(
            cv2.distanceTransform(region.byte().numpy(), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        )
        for number in range(30):
            kept = trimap[number, 0] == known
            radius_px = depth[region & ~kept].max()
            assert depth[kept].min() > radius_px
            widths.append(radius_px.item())
    assert 1 <= min(widths) < 3
    assert 15 < max(widths) <= 20


def test_styles_cover_thin_bands_and_wide_ones() -> None:
    unknown = (make_trimap(soft_discs(80, 2, 112), Draws(torch.arange(80))) == 0.5).float().mean((1, 2, 3))
    assert unknown.min() < 0.08
    assert unknown.max() > 0.5


def test_what_is_known_everywhere_stays_known() -> None:
    for level in (0.0, 1.0):
        trimap = make_trimap(torch.full((20, 1, 48, 48), level), Draws(torch.arange(20)))
        assert (trimap == level).all()
