"""Our network against what the paper's published code computes, with the same weights."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from mematte.model import BASE, SMALL, Matting, MEMatte, teacher, within_budget
from mematte.model.blocks import RoutedBlock
from mematte.weights import Weights, build
from mematte.weights.convert import convert

ALPHA_TOLERANCE = 1e-4
EDGE_PX = 64  # the published tiled decoder is wrong this far from the right and bottom edges

State = Callable[[str], dict[str, Tensor]]


class Run(NamedTuple):
    matting: Matting
    blocks: list[Tensor]  # the output of each block


def network(state: State, variant: str) -> MEMatte:
    converted = convert(state(variant), variant)
    return build(Weights(converted.spec, converted.state, source=variant))


@pytest.fixture(scope="module")
def small(published_state: State) -> MEMatte:
    return network(published_state, "mematte_s")


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As the reference was computed: sums in the same order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def inputs_of(expected: dict[str, Tensor], case: str) -> Tensor:
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    std = torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    image = (expected[f"{case}.image"] / 255 - mean) / std
    return torch.cat((image, expected[f"{case}.trimap"] / 255))[None]


def run(model: MEMatte, inputs: Tensor, case: dict[str, Any]) -> Run:
    blocks: list[Tensor] = []

    def keep(_module: object, _inputs: object, output: Any) -> None:
        blocks.append(output[0] if isinstance(output, tuple) else output)

    hooks = [block.register_forward_hook(keep) for block in model.backbone.blocks]
    cap = case.get("max_global_tokens", 1 << 30)
    with torch.inference_mode():
        matting = model(inputs, partial(within_budget, budget=cap))
    for hook in hooks:
        hook.remove()
    return Run(matting, blocks)


def check_encoder(ours: Run, expected: dict[str, Tensor], case: str) -> None:
    """Decisions, their log-probabilities, statistics of the blocks, features."""
    for index, routing in enumerate(ours.matting.routings):
        theirs = expected[f"{case}.router{index}.log_prob"].flatten(0, 1)
        assert (routing.log_probs[0] - theirs).abs().max() < 1e-4
        attending = expected[f"{case}.router{index}.global"].flatten().bool()
        assert torch.equal(routing.attend[0], attending), f"router {index} decides otherwise"
    for index, output in enumerate(ours.blocks):
        statistics = expected.get(f"{case}.blockblock{index}.mean_std")
        if statistics is not None:
            mean_std = torch.stack((output.mean(), output.std()))
            torch.testing.assert_close(mean_std, statistics, rtol=1e-4, atol=1e-5)
    if f"{case}.features" in expected:
        features = expected[f"{case}.features"]
        torch.testing.assert_close(ours.matting.features[0], features, rtol=1e-4, atol=1e-3)


def check_alpha(alpha: Tensor, theirs: Tensor) -> None:
    assert alpha.shape == theirs.shape
    assert (alpha - theirs).abs().max() < ALPHA_TOLERANCE


@pytest.mark.parametrize("case", ["s_plain", "s_odd_size", "s_capped"])
def test_small_agrees(
    small: MEMatte, parity_cases: dict[str, Any], parity_expected: dict[str, Tensor], case: str
) -> None:
    ours = run(small, inputs_of(parity_expected, case), parity_cases[case])

    check_encoder(ours, parity_expected, case)
    check_alpha(ours.matting.alpha[0], parity_expected[f"{case}.alpha"])


@pytest.mark.parametrize(
    ("case", "bias"), [("s_none_global", (-50.0, 50.0)), ("s_all_global", (50.0, -50.0))]
)
def test_small_agrees_with_its_routers_forced(
    published_state: State,
    parity_cases: dict[str, Any],
    parity_expected: dict[str, Tensor],
    case: str,
    bias: tuple[float, float],
) -> None:
    forced = network(published_state, "mematte_s")
    for block in forced.backbone.blocks:
        if isinstance(block, RoutedBlock):
            block.router.score[4].bias.data = torch.tensor(bias)

    ours = run(forced, inputs_of(parity_expected, case), parity_cases[case])

    check_encoder(ours, parity_expected, case)
    check_alpha(ours.matting.alpha[0], parity_expected[f"{case}.alpha"])


def test_large_image_agrees_whole_and_tiled(
    small: MEMatte, parity_cases: dict[str, Any], parity_expected: dict[str, Tensor]
) -> None:
    ours = run(small, inputs_of(parity_expected, "s_tiled"), parity_cases["s_whole"])
    alpha = ours.matting.alpha[0]

    check_encoder(ours, parity_expected, "s_whole")
    check_encoder(ours, parity_expected, "s_tiled")
    check_alpha(alpha, parity_expected["s_whole.alpha"])
    # Published tiles are filled with zeros beyond the right and bottom edges, where the whole image has none.
    difference = (alpha - parity_expected["s_tiled.alpha"]).abs()
    assert difference[..., :-EDGE_PX, :-EDGE_PX].max() < ALPHA_TOLERANCE
    assert difference.max() > 0.1


def test_base_agrees(
    published_state: State, parity_cases: dict[str, Any], parity_expected: dict[str, Tensor]
) -> None:
    base = network(published_state, "mematte_b")
    assert base.spec == BASE

    ours = run(base, inputs_of(parity_expected, "b_plain"), parity_cases["b_plain"])

    check_encoder(ours, parity_expected, "b_plain")
    check_alpha(ours.matting.alpha[0], parity_expected["b_plain.alpha"])


def test_teacher_agrees(
    published_state: State, parity_cases: dict[str, Any], parity_expected: dict[str, Tensor]
) -> None:
    vitmatte = network(published_state, "vitmatte_s")
    assert vitmatte.spec == teacher(SMALL)

    ours = run(vitmatte, inputs_of(parity_expected, "vitmatte_s"), parity_cases["vitmatte_s"])

    check_encoder(ours, parity_expected, "vitmatte_s")
    check_alpha(ours.matting.alpha[0], parity_expected["vitmatte_s.alpha"])


def test_block_in_training_agrees(small: MEMatte, parity_expected: dict[str, Tensor]) -> None:
    block = small.backbone.blocks[5]
    decision = parity_expected["train_block5.decision"][..., 0]

    output, routing = block(parity_expected["train_block5.x"], lambda _: decision)

    assert torch.equal(routing.attend, decision)
    torch.testing.assert_close(output, parity_expected["train_block5.y"], rtol=1e-4, atol=1e-4)


def test_every_case_is_tested(parity_cases: dict[str, Any]) -> None:
    large = {"s_tiled", "s_whole"}
    routed = {"s_plain", "s_odd_size", "s_capped", "s_none_global", "s_all_global"}
    assert set(parity_cases) == routed | large | {"b_plain", "vitmatte_s"}  # and losses, train_block5
