"""Windows, relative positions, and attention masked or among a few."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from mematte.model import attention, masked
from mematte.model.attention import Attention, from_windows, to_windows

CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture
def make(fill_with_noise: Callable[..., None]) -> Callable[..., Attention]:
    def attend(positions: int | None = None, channels: int = 12, heads: int = 3) -> Attention:
        layer = Attention(channels, heads, positions).eval()
        fill_with_noise(layer)
        for parameter in layer.parameters():
            parameter.requires_grad_(False)
        return layer

    return attend


def random(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("grid", [(1, 1), (14, 14), (13, 15), (28, 3), (15, 29), (2, 2)])
def test_windows_round_trip(grid: tuple[int, int]) -> None:
    tokens = random(2, *grid, 3)

    windows = to_windows(tokens, 14)

    assert windows.shape == (2 * math.ceil(grid[0] / 14) * math.ceil(grid[1] / 14), 196, 3)
    assert torch.equal(from_windows(windows, 14, grid), tokens)


def test_windows_hold_their_own_tokens_and_zeros_beyond_the_grid() -> None:
    tokens = random(1, 15, 20, 2)

    windows = to_windows(tokens, 14).view(2, 2, 14, 14, 2)

    assert torch.equal(windows[0, 1, :, :6], tokens[0, :14, 14:])
    assert torch.equal(windows[1, 0, :1], tokens[0, 14:, :14])
    assert not windows[1, :, 1:].any()
    assert not windows[:, 1, :, 6:].any()


def stretched(table: Tensor, length: int) -> list[Tensor]:
    """Linear interpolation of the entries to 2 * length - 1 of them, in plain Python."""
    count, wanted = table.shape[0], 2 * length - 1
    entries = []
    for index in range(wanted):
        place = min(max((index + 0.5) * count / wanted - 0.5, 0), count - 1)
        lower = min(int(place), count - 1)
        upper = min(lower + 1, count - 1)
        entries.append(table[lower] * (1 - (place - lower)) + table[upper] * (place - lower))
    return entries


@pytest.mark.parametrize(
    ("grid", "positions"), [((4, 4), 4), ((3, 5), 4), ((6, 2), 3), ((1, 1), 2), ((2, 2), 2), ((1, 3), 2)]
)
def test_relative_positions_follow_their_definition(
    make: Callable[..., Attention], grid: tuple[int, int], positions: int
) -> None:
    layer = make(positions)
    height, width = grid
    tokens = random(1, height * width, 12)

    ours = layer.positioned(tokens, grid)

    query, key, value = (part[0] for part in layer.split(tokens))
    rows, columns = stretched(layer.relative_rows, height), stretched(layer.relative_columns, width)
    attended = torch.zeros(3, height * width, 4)
    for head in range(3):
        for q in range(height * width):
            scores = []
            for k in range(height * width):
                down, right = q // width - k // width, q % width - k % width
                score = query[head, q] @ key[head, k] / 4**0.5
                score = score + query[head, q] @ rows[down + height - 1]  # from the query as it is, unscaled
                scores.append(score + query[head, q] @ columns[right + width - 1])
            attended[head, q] = torch.stack(scores).softmax(0) @ value[head]
    torch.testing.assert_close(ours, layer.merge(attended[None]), **CLOSE)


@pytest.mark.parametrize("scores", [1, 200, 1000])
def test_groups_of_queries_do_not_change_the_result(
    make: Callable[..., Attention], monkeypatch: pytest.MonkeyPatch, scores: int
) -> None:
    layer = make(4)
    tokens = random(2, 35, 12)
    at_once = layer.positioned(tokens, (5, 7))

    monkeypatch.setattr(attention, "MAX_SCORES", scores)

    torch.testing.assert_close(layer.positioned(tokens, (5, 7)), at_once, **CLOSE)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("scores", [1, 31, 5 * 31 + 7, 1 << 21])
@pytest.mark.parametrize("batch", [1, 2])
def test_chosen_tokens_look_at_all_by_the_definition_whatever_the_groups(
    make: Callable[..., Attention], precision: torch.dtype, scores: int, batch: int
) -> None:
    layer = make().to(precision)
    query = random(batch, 3, 17, 4).to(precision)
    key_value = random(batch, 31, 24, seed=2).to(precision)

    ours = layer.look(query, key_value, scores)

    key, value = (part.double() for part in layer.key_and_value(key_value))
    weights = (query.double() @ key.transpose(2, 3) / 2).softmax(dim=3)
    project = layer.project.weight.double(), layer.project.bias.double()
    expected = F.linear((weights @ value).transpose(1, 2).flatten(2), *project)
    error = 1e-5 if precision == torch.float32 else 0.02
    torch.testing.assert_close(ours.double(), expected, rtol=0, atol=error * float(expected.abs().max()))


def test_nobody_looks_at_nobody(make: Callable[..., Attention]) -> None:
    layer = make().to(torch.bfloat16)

    assert layer.among(torch.empty(1, 0, 12, dtype=torch.bfloat16)).shape == (1, 0, 12)


def test_masked_attention_with_all_attending_is_plain_attention(make: Callable[..., Attention]) -> None:
    layer = make()
    tokens = random(2, 30, 12)

    torch.testing.assert_close(layer.masked(tokens, torch.ones(2, 30)), layer.among(tokens), **CLOSE)


def test_masked_attention_sees_the_attending_tokens_and_itself(make: Callable[..., Attention]) -> None:
    layer = make()
    tokens = random(1, 10, 12)
    decision = torch.tensor([[1.0, 0, 0, 1, 0, 0, 1, 0, 0, 0]])

    ours = layer.masked(tokens, decision)

    for token in range(10):
        seen = sorted({0, 3, 6} | {token})
        alone = layer.among(tokens[:, seen])[:, seen.index(token)]
        torch.testing.assert_close(ours[:, token], alone, **CLOSE)


def by_the_definition(query: Tensor, key: Tensor, value: Tensor, decision: Tensor) -> Tensor:
    """Masked attention written out, with the gradient that autograd finds."""
    tokens = query.shape[2]
    seen = decision[:, None, None, :]
    seen = seen + (1 - seen) * torch.eye(tokens, dtype=seen.dtype)
    scores = query @ key.transpose(2, 3) * query.shape[-1] ** -0.5
    weights = (scores - scores.amax(dim=3, keepdim=True).detach()).exp() * seen
    weights = (weights + masked.EPS / tokens) / (weights.sum(dim=3, keepdim=True) + masked.EPS)
    return weights @ value


@pytest.mark.parametrize(
    ("precision", "error"), [(torch.float64, 1e-9), (torch.float32, 1e-5), (torch.bfloat16, 0.03)]
)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("scores", [1, 5 * 17**2, 1 << 20])
def test_masked_attention_and_its_gradient_are_as_defined_whatever_the_groups(
    monkeypatch: pytest.MonkeyPatch, precision: torch.dtype, error: float, share: float, scores: int
) -> None:
    monkeypatch.setattr(masked, "_ON_A_CPU", scores)
    parts = [random(2, 3, 17, 4, seed=seed).to(precision) for seed in range(3)]
    decision = (random(2, 17, seed=4).sigmoid() < share).to(torch.promote_types(precision, torch.float32))
    towards = random(2, 3, 17, 4, seed=5)

    def with_gradients(attend: Callable[..., Tensor], dtypes: list[torch.dtype]) -> list[Tensor]:
        given = zip((*parts, decision), dtypes, strict=True)
        inputs = [part.to(dtype).requires_grad_() for part, dtype in given]
        attended = attend(*inputs)
        gradients = torch.autograd.grad(attended, inputs, towards.to(attended.dtype))
        return [attended.detach(), *gradients]

    ours = with_gradients(masked.masked_attention, [precision] * 3 + [decision.dtype])
    expected = with_gradients(by_the_definition, [torch.float64] * 4)

    for mine, theirs in zip(ours, expected, strict=True):
        assert mine.isfinite().all()
        torch.testing.assert_close(
            mine.double(), theirs, rtol=0, atol=error * max(1, float(theirs.abs().max()))
        )


def test_masked_attention_of_thousands_is_no_sum_beyond_float16() -> None:
    query, key = (random(1, 1, 4096, 4, seed=seed).half() * 0.01 for seed in range(2))
    value = torch.full((1, 1, 4096, 4), 24.0).half()

    attended = masked.masked_attention(query, key, value, torch.ones(1, 4096))

    torch.testing.assert_close(attended, value, rtol=1e-2, atol=0)


def test_masked_attention_keeps_no_scores_for_the_backward_pass() -> None:
    tokens = 64
    query, key, value = (random(1, 2, tokens, 4, seed=seed).requires_grad_() for seed in range(3))
    kept: list[Tensor] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        masked.masked_attention(query, key, value, torch.ones(1, tokens, requires_grad=True))

    assert kept
    assert max(tensor.numel() for tensor in kept) <= 2 * tokens * 4


def test_masked_attention_has_a_gradient_in_the_decision(make: Callable[..., Attention]) -> None:
    decision = torch.ones(1, 8, requires_grad=True)

    make().masked(random(1, 8, 12), decision).square().sum().backward()

    assert decision.grad is not None
    assert decision.grad.abs().min() > 0
