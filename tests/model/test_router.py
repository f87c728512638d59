"""Scores -> who attends."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from mematte.model import argmax, everyone, gumbel, within_budget
from mematte.model.router import Router


def scores(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, 2, generator=torch.Generator().manual_seed(seed)).log_softmax(-1)


@pytest.mark.parametrize("budget", [0, 1, 17, 63, 64, 1000])
def test_within_budget_keeps_the_best_tokens(budget: int) -> None:
    log_probs = scores(3, 64)
    margin = (log_probs[..., 0] - log_probs[..., 1]).tolist()

    keep = within_budget(log_probs, budget)

    for image in range(3):  # the oracle: sort in plain Python
        ranked = sorted(range(64), key=lambda n: -margin[image][n])
        expected = sorted(n for n in ranked[:budget] if margin[image][n] > 0)
        assert keep[image].nonzero().flatten().tolist() == expected


def test_within_budget_without_need_is_argmax() -> None:
    log_probs = scores(2, 50)

    assert torch.equal(within_budget(log_probs, 50), argmax(log_probs))


def test_a_negative_budget_is_an_error() -> None:
    with pytest.raises(ValueError, match="0 or more, not -1"):
        within_budget(scores(1, 4), -1)


def test_a_tie_is_refined() -> None:
    assert not argmax(torch.zeros(1, 5, 2)).any()


def test_everyone_attends_whatever_the_scores() -> None:
    assert everyone(scores(2, 9)).all()


def test_gumbel_is_hard_and_as_frequent_as_the_probability() -> None:
    torch.manual_seed(0)
    log_probs = torch.tensor([0.3, 0.7]).log().expand(1, 20000, 2)

    decision = gumbel(log_probs)

    assert set(decision.unique().tolist()) == {0.0, 1.0}
    assert decision.mean().item() == pytest.approx(0.3, abs=0.015)


def test_gumbel_has_the_gradient_of_the_soft_decision() -> None:
    torch.manual_seed(0)
    raw = torch.randn(2, 40, 2, requires_grad=True)

    gumbel(raw.log_softmax(-1)).sum().backward()

    assert raw.grad is not None
    # More of "attend" never makes the decision smaller, and both scores move it oppositely.
    assert (raw.grad[..., 0] > 0).all()
    torch.testing.assert_close(raw.grad[..., 0], -raw.grad[..., 1])


def test_router_scores_are_log_probabilities_of_each_image_alone(
    fill_with_noise: Callable[..., None],
) -> None:
    router = Router(16).eval()
    fill_with_noise(router)
    tokens = torch.randn(3, 20, 16, generator=torch.Generator().manual_seed(1))

    log_probs = router(tokens)

    torch.testing.assert_close(log_probs.exp().sum(-1), torch.ones(3, 20))
    for image in range(3):
        torch.testing.assert_close(router(tokens[image : image + 1])[0], log_probs[image])


def test_router_knows_the_other_tokens_of_its_image(fill_with_noise: Callable[..., None]) -> None:
    router = Router(16).eval()
    fill_with_noise(router)
    tokens = torch.randn(1, 20, 16, generator=torch.Generator().manual_seed(1))
    changed = tokens.clone()
    changed[:, 10:] = changed[:, 10:].flip(-1)

    assert not torch.allclose(router(tokens)[:, :10], router(changed)[:, :10])


def test_without_noise_gumbel_is_the_argmax() -> None:
    log_probs = torch.randn(2, 50, 2, generator=torch.Generator().manual_seed(1)).log_softmax(-1)

    assert (gumbel(log_probs, noise=0) == argmax(log_probs).float()).all()


def test_with_noise_a_token_attends_as_often_as_its_probability_says() -> None:
    torch.manual_seed(0)
    log_probs = torch.tensor([0.25, 0.75]).log().expand(1, 40_000, 2)

    assert gumbel(log_probs).mean().item() == pytest.approx(0.25, abs=0.01)


def test_the_gradient_of_a_decision_is_limited() -> None:
    scores = torch.zeros(1, 8, 2, requires_grad=True)

    (gumbel(scores.log_softmax(-1), noise=0) * torch.tensor([1e6] + [0.01] * 7)).sum().backward()

    # The soft decision's derivative at even odds is 1/4 per score.
    assert scores.grad[0, :, 0].tolist() == pytest.approx([4 / 8 / 4] + [0.01 / 4] * 7)


def test_the_limit_is_that_of_a_loss_that_was_scaled() -> None:
    scores = torch.zeros(1, 8, 2, requires_grad=True)

    scaled = gumbel(scores.log_softmax(-1), noise=0, gradient_scale=torch.tensor(1024.0))
    (1024 * scaled * torch.tensor([1e6] + [0.01] * 7)).sum().backward()

    assert (scores.grad[0, :, 0] / 1024).tolist() == pytest.approx([4 / 8 / 4] + [0.01 / 4] * 7)
