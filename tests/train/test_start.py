"""Where a network starts: from weights, as a student of a teacher, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mematte.errors import TrainingError, WeightsError
from mematte.model import MEMatte, ModelSpec
from mematte.model.blocks import RoutedBlock
from mematte.model.router import everyone, gumbel
from mematte.model.spec import teacher
from mematte.train import Recipe
from mematte.train.start import frozen_teacher, starting_point
from mematte.weights import save_weights
from mematte.weights.checkpoint import Preprocessing, weights_of

INPUTS = torch.rand(1, 4, 96, 96, generator=torch.Generator().manual_seed(0))


def saved(network: MEMatte, folder: Path) -> str:
    """A file of a network's weights."""
    path = folder / "weights.safetensors"
    save_weights(weights_of(network, name="other", licence="MIT"), path)
    return str(path)


def widened_spec(spec: ModelSpec, times: int) -> ModelSpec:
    """So many times the channels everywhere, heads as large as they were."""
    details, fusions = (
        tuple(times * channels for channels in each) for each in (spec.detail_channels, spec.fusion_channels)
    )
    return replace(
        spec,
        channels=times * spec.channels,
        heads=times * spec.heads,
        detail_channels=details,
        fusion_channels=fusions,
    )


def random_values(network: MEMatte) -> MEMatte:
    """None of a fresh network's zeros and ones, which hide what is not copied."""
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            noise = torch.rand_like(value)
            value.copy_(0.5 + noise if name.endswith("running_var") else value + 0.5 * (noise - 0.5))
    return network


def test_a_network_starts_from_weights_of_its_kind(recipe: Recipe, tmp_path: Path) -> None:
    torch.manual_seed(5)
    other = MEMatte(recipe.spec).eval()

    started = starting_point(replace(recipe, start=saved(other, tmp_path))).network.eval()

    assert torch.equal(started(INPUTS).alpha, other(INPUTS).alpha)


def test_a_student_starts_as_its_teacher_with_refinement_that_changes_nothing(
    recipe: Recipe, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.manual_seed(5)
    other = MEMatte(teacher(recipe.spec))
    with caplog.at_level("INFO"):
        student = starting_point(replace(recipe, start=saved(other, tmp_path))).network

    tokens = torch.randn(1, 4, 4, recipe.spec.channels)
    assert torch.equal(student.backbone.blocks[0].mlp[0].weight, other.backbone.blocks[0].mlp[0].weight)
    assert torch.equal(student.backbone.blocks[1].mlp[0].weight, other.backbone.blocks[1].mlp[0].weight)
    assert not student.backbone.blocks[1].refinement(tokens).any()
    assert "blocks.1.router" in caplog.text


def test_weights_of_another_size_are_refused_with_both_sizes(recipe: Recipe, tmp_path: Path) -> None:
    larger = MEMatte(replace(recipe.spec, channels=64))

    with pytest.raises(TrainingError, match=r"64 channels.*32 channels.*same size"):
        starting_point(replace(recipe, start=saved(larger, tmp_path)))


def test_a_teacher_s_positions_fit_another_grid_only_in_its_student(recipe: Recipe, tmp_path: Path) -> None:
    spec = teacher(recipe.spec)
    start = saved(MEMatte(replace(spec, global_positions=8)), tmp_path)

    with pytest.raises(TrainingError, match=r"8 global positions.*32 global positions"):
        starting_point(replace(recipe, spec=spec, start=start))
    starting_point(replace(recipe, start=start))  # a student has none


@pytest.mark.parametrize("role", ["start", "teacher"])
def test_colours_are_normalised_as_the_weights_want_them(recipe: Recipe, tmp_path: Path, role: str) -> None:
    half = Preprocessing((0.5, 0.25, 0.5), (0.5, 0.5, 2.0))
    path = tmp_path / "half.safetensors"
    save_weights(weights_of(MEMatte(recipe.spec), name="x", licence="MIT", preprocessing=half), path)

    start = {"start": starting_point, "teacher": frozen_teacher}[role](replace(recipe, **{role: str(path)}))

    assert start is not None
    pictures = torch.tensor([0.75, 0.75, 0.0, 0.5]).view(1, 4, 1, 1).expand(2, 4, 3, 5)
    assert start.inputs(pictures)[1, :, 2, 4].tolist() == [0.5, 1.0, -0.25, 0.5]


def test_from_random_values_colours_are_normalised_as_imagenet_s(recipe: Recipe) -> None:
    inputs = starting_point(recipe).inputs(torch.full((1, 4, 2, 2), 0.5))

    wanted = [(0.5 - 0.485) / 0.229, (0.5 - 0.456) / 0.224, (0.5 - 0.406) / 0.225, 0.5]
    assert inputs[0, :, 1, 1].tolist() == pytest.approx(wanted)


def test_who_never_saw_padding_is_shown_the_edge_again(recipe: Recipe, tmp_path: Path) -> None:
    published = saved(MEMatte(recipe.spec), tmp_path)  # such weights were made for zeros

    assert starting_point(recipe).preprocessing.padding == "edge"
    assert starting_point(replace(recipe, start=published)).preprocessing.padding == "zeros"


def test_missing_weights_are_named(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere"):
        starting_point(replace(recipe, start=str(tmp_path / "nowhere.safetensors")))


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_widened_network_computes_what_the_smaller_one_does(
    recipe: Recipe, tmp_path: Path, times: int
) -> None:
    torch.manual_seed(5)
    narrow = random_values(MEMatte(recipe.spec).eval())
    for block in narrow.backbone.blocks:
        if isinstance(block, RoutedBlock):  # the gate sees other neighbours where copies meet
            block.refinement.gate.weight.data[..., [0, 1, 3, 4]] = 0.0
    wide = replace(widened_spec(recipe.spec, times), name="wide")

    started = starting_point(replace(recipe, spec=wide, start=saved(narrow, tmp_path), widen=True)).network

    expected = narrow(INPUTS, everyone).alpha
    assert expected.std() > 0.01  # it computes something
    assert (started.eval()(INPUTS, everyone).alpha - expected).abs().max() < 1e-4
    assert (started(INPUTS).alpha - narrow(INPUTS).alpha).abs().max() < 1e-4


def test_copies_of_a_channel_are_read_differently_so_that_training_draws_them_apart(
    recipe: Recipe, tmp_path: Path
) -> None:
    wide = widened_spec(recipe.spec, 2)
    network = starting_point(
        replace(recipe, spec=wide, start=saved(MEMatte(recipe.spec), tmp_path), widen=True)
    ).network.eval()

    network(INPUTS).alpha.mean().backward()

    gradient = network.backbone.blocks[0].mlp[0].weight.grad
    assert gradient is not None
    one, other = gradient.chunk(2)
    assert (one - other).norm() > 0.01 * one.norm()


@pytest.mark.parametrize(
    "differs", [{"channels": 48, "heads": 2}, {"channels": 64}, {"window": 7}, {"head_channels": 12}]
)
def test_a_network_that_cannot_be_widened_into_is_refused(
    recipe: Recipe, tmp_path: Path, differs: dict[str, int]
) -> None:
    wide = replace(widened_spec(recipe.spec, 1), **differs)

    with pytest.raises(TrainingError, match="widen=true makes"):
        starting_point(replace(recipe, spec=wide, start=saved(MEMatte(recipe.spec), tmp_path), widen=True))


def test_a_teacher_of_another_size_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    larger = MEMatte(replace(recipe.spec, channels=64))

    with pytest.raises(TrainingError, match="features of 64 channels"):
        frozen_teacher(replace(recipe, teacher=saved(larger, tmp_path)))


def test_without_routing_everybody_attends_at_inference_too(recipe: Recipe) -> None:
    network = starting_point(replace(recipe, routing="everyone")).network

    assert network(INPUTS).routings[0].attend.all()
    assert not any(parameter.requires_grad for parameter in network.backbone.blocks[1].router.parameters())


def test_without_refinement_the_others_pass_unchanged(recipe: Recipe) -> None:
    network = starting_point(replace(recipe, refine=False)).network

    tokens = torch.randn(1, 6, 6, recipe.spec.channels)
    assert not network.backbone.blocks[1].refinement(tokens).any()
    network(INPUTS, gumbel).alpha.sum().backward()
    assert all(p.grad is None for p in network.backbone.blocks[1].refinement.parameters())
