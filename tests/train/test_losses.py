"""The matting losses against the published ones, and the batch's constraint on routing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mematte.model.blocks import Routing
from mematte.train import losses
from mematte.train.batr import attending_shares, batch_constraint, image_constraint
from mematte.train.losses import distillation, laplacian, matting_losses, region_l1, region_l2

PUBLISHED = {
    "unknown_l1": "unknown_l1_loss",
    "known_l1": "known_l1_loss",
    "laplacian": "loss_pha_laplacian",
    "gradient": "loss_gradient_penalty",
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_losses_agree_with_the_published_ones(parity_expected: dict[str, Tensor], name: str) -> None:
    alpha, truth, unknown = (parity_expected[f"losses.{part}"] for part in ("pred", "target", "unknown"))
    # The published code counts every picture as a crop of 512 x 512, except in the pyramid.
    crop = 1 if name == "laplacian" else 512 * 512 / (alpha.shape[-2] * alpha.shape[-1])

    ours = matting_losses(alpha, truth, unknown)[name].item() * crop

    assert ours == pytest.approx(parity_expected[f"losses.{PUBLISHED[name]}"].item(), rel=1e-5)


def test_every_loss_of_a_perfect_flat_alpha_is_zero() -> None:
    alpha = torch.full((1, 1, 64, 64), 0.5)
    unknown = torch.zeros(1, 1, 64, 64)
    unknown[..., 8:-8, 8:-8] = 1

    losses = matting_losses(alpha, alpha.clone(), unknown)

    assert {name: round(loss.item(), 6) for name, loss in losses.items()} == dict.fromkeys(losses, 0.0)


def test_an_empty_region_costs_nothing() -> None:
    assert region_l1(torch.ones(1, 1, 4, 4), torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)).item() == 0


def test_a_region_of_part_of_the_picture_is_averaged_over_that_part() -> None:
    region = torch.zeros(1, 1, 4, 4)
    region[..., :1, :2] = 1

    assert region_l1(torch.full((1, 1, 4, 4), 0.25), torch.zeros(1, 1, 4, 4), region).item() == 0.25


def test_a_picture_too_small_for_the_pyramid_is_an_error() -> None:
    with pytest.raises(ValueError, match="5 pyramid levels need at least 48 px"):
        laplacian(torch.zeros(1, 1, 47, 64), torch.zeros(1, 1, 47, 64))


def test_losses_have_gradients() -> None:
    generator = torch.Generator().manual_seed(0)
    alpha = torch.rand(2, 1, 64, 64, generator=generator, requires_grad=True)
    truth = torch.rand(2, 1, 64, 64, generator=generator)
    unknown = (torch.rand(2, 1, 64, 64, generator=generator) > 0.5).float()

    torch.stack(list(matting_losses(alpha, truth, unknown).values())).sum().backward()

    assert alpha.grad is not None
    assert (alpha.grad != 0).all()


def routing(*decisions: list[float]) -> Routing:
    return Routing(torch.zeros(len(decisions), len(decisions[0]), 2), torch.tensor(decisions))


def test_the_batch_meets_the_target_not_each_image() -> None:
    easy_and_hard = [routing([0.0, 0, 0, 0], [1.0, 1, 0, 0])]
    alike = [routing([1.0, 0, 0, 0], [0.0, 1, 0, 0])]
    greedy = [routing([1.0, 1, 1, 1], [1.0, 1, 1, 1])]

    assert batch_constraint(attending_shares(easy_and_hard)).item() == 0
    assert batch_constraint(attending_shares(alike)).item() == 0
    assert batch_constraint(attending_shares(greedy)).item() == 0.75**2


def test_shares_are_means_over_the_tokens_of_each_image() -> None:
    routings = [routing([1.0, 0, 0, 0], [1.0, 1, 0, 0]), routing([0.0, 0, 0, 0], [0.0, 0, 0, 1])]

    assert attending_shares(routings).tolist() == [[1 / 4, 1 / 2], [0, 1 / 4]]


def test_the_constraint_pushes_the_share_towards_its_target() -> None:
    for share, direction in ((0.1, -1), (0.6, 1)):
        value = torch.full((2, 3), share, requires_grad=True)
        batch_constraint(value).backward()
        assert value.grad is not None
        assert (value.grad.sign() == direction).all()


def test_the_balance_tells_one_greedy_router_from_four_modest_ones() -> None:
    greedy, modest = torch.tensor([[1.0], [0], [0], [0]]), torch.full((4, 1), 0.25)

    assert batch_constraint(greedy).item() == batch_constraint(modest).item() == 0
    assert batch_constraint(modest, balance=1).item() == 0
    assert batch_constraint(greedy, balance=1).item() == pytest.approx((0.75**2 + 3 * 0.25**2) / 4)


def test_where_each_image_has_to_meet_the_target_an_easy_one_cannot_make_up_for_a_hard_one() -> None:
    shares = torch.tensor([[0.0, 0.5], [0.0, 0.5]])

    assert batch_constraint(shares).item() == 0
    assert image_constraint(shares).item() == pytest.approx(0.0625)


def test_distillation_is_the_mean_squared_difference_of_the_features() -> None:
    student, teacher = torch.zeros(1, 2, 2, 3), torch.full((1, 2, 2, 3), 2.0)

    assert distillation(student, teacher).item() == 4


def test_squares_are_least_at_the_mean_where_l1_is_least_at_the_median() -> None:
    truth = torch.tensor([0.0, 0.0, 1.0]).view(1, 1, 1, 3)
    region = torch.ones_like(truth)
    levels = torch.linspace(0, 1, 301)
    least = {
        loss.__name__: float(
            levels[int(torch.stack([loss(level * region, truth, region) for level in levels]).argmin())]
        )
        for loss in (region_l1, region_l2)
    }
    assert least["region_l1"] == 0
    assert least["region_l2"] == pytest.approx(1 / 3, abs=1e-2)


def test_squares_see_only_their_region() -> None:
    alpha, truth = torch.zeros(1, 1, 2, 2), torch.tensor([[0.5, 1.0], [1.0, 1.0]]).view(1, 1, 2, 2)
    region = torch.tensor([[1.0, 0.0], [0.0, 0.0]]).view(1, 1, 2, 2)
    assert region_l2(alpha, truth, region) == 0.25
    assert region_l2(alpha, truth, 0 * region) == 0


def test_losses_asked_for_in_inference_first_can_be_trained_with_afterwards() -> None:
    losses._sobel.cache_clear()
    losses._binomial.cache_clear()
    alpha, truth = torch.rand(2, 1, 1, 64, 64)
    with torch.inference_mode():
        matting_losses(alpha, truth, torch.ones_like(alpha))

    alpha = alpha.clone().requires_grad_()
    sum(matting_losses(alpha, truth, torch.ones_like(truth)).values()).backward()

    assert alpha.grad is not None
    assert alpha.grad.abs().sum() > 0
