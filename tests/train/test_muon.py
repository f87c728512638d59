"""Muon: updates are orthogonal, as PyTorch's own are, and processes share the work."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.multiprocessing.spawn import start_processes

from mematte.train.muon import Muon, orthogonal


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (24, 24), (1, 5)])
def test_all_singular_values_come_near_one(shape: tuple[int, int], precision: torch.dtype) -> None:
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))

    values = torch.linalg.svdvals(orthogonal(matrix, precision))

    assert values.max() < 1.25
    assert values.median() > 0.65


@pytest.mark.parametrize("columns", [12, 17, 19, 30])
def test_the_iteration_is_the_published_one(columns: int) -> None:
    matrix = torch.randn(12, columns, generator=torch.Generator().manual_seed(1))
    plain = matrix / matrix.norm()
    for _ in range(5):
        square = plain @ plain.T
        plain = 3.4445 * plain + (-4.7750 * square + 2.0315 * square @ square) @ plain

    assert torch.allclose(orthogonal(matrix), plain, atol=1e-5)
    in_half = orthogonal(matrix, torch.bfloat16)
    assert in_half.dtype == torch.float32
    assert 0 < (in_half - plain).norm() / plain.norm() < 0.1


def test_updates_are_those_of_pytorch_s_muon() -> None:
    def trained(make) -> torch.Tensor:
        generator = torch.Generator().manual_seed(3)
        weight = nn.Parameter(torch.randn(40, 24, generator=generator))
        optimiser = make([weight])
        for _ in range(5):
            weight.grad = torch.randn(40, 24, generator=generator)
            optimiser.step()
        return weight.detach()

    ours = trained(lambda weights: Muon(weights, lr=0.02, weight_decay=0.1))
    theirs = trained(
        lambda weights: torch.optim.Muon(weights, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    )

    assert torch.allclose(ours, theirs, atol=2e-3)  # theirs iterates in bfloat16


def test_filters_are_taken_as_matrices_of_their_inputs() -> None:
    filters = nn.Parameter(torch.zeros(6, 4, 3, 3).contiguous(memory_format=torch.channels_last))
    filters.grad = torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(2))

    Muon([filters], lr=1.0).step()

    ahead = filters.grad.reshape(6, 36)
    assert torch.allclose(filters.detach().reshape(6, 36), -0.2 * 6 * orthogonal(ahead), atol=1e-5)


def _step(rank: int, ranks: int, folder: Path) -> None:
    torch.set_num_threads(1)
    if ranks > 1:
        meeting = (folder / "meeting").absolute().as_uri()
        dist.init_process_group("gloo", init_method=meeting, rank=rank, world_size=ranks)
    generator = torch.Generator().manual_seed(4)
    weights = [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((8, 20), (9, 9), (30, 4))]
    optimiser = Muon(weights, lr=0.1)
    for _ in range(2):
        for weight in weights:
            weight.grad = torch.randn(weight.shape, generator=generator)
        optimiser.step()
    torch.save([weight.detach() for weight in weights], folder / f"{rank}.pt")
    if ranks > 1:
        dist.destroy_process_group()


def test_two_processes_make_the_updates_of_one(tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    _step(0, 1, tmp_path / "alone")
    start_processes(_step, args=(2, tmp_path), nprocs=2, start_method="fork")

    alone = torch.load(tmp_path / "alone" / "0.pt", weights_only=True)
    for rank in range(2):
        together = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(alone, together, strict=True))


def test_matrices_of_one_shape_are_made_orthogonal_as_they_are_alone() -> None:
    torch.manual_seed(0)
    together = [nn.Parameter(torch.randn(6, 9)) for _ in range(3)] + [nn.Parameter(torch.randn(9, 6))]
    alone = [nn.Parameter(weight.detach().clone()) for weight in together]
    optimisers = [
        Muon(together, lr=0.1, weight_decay=0.1),
        *(Muon([weight], lr=0.1, weight_decay=0.1) for weight in alone),
    ]

    for _ in range(3):
        for ours, theirs in zip(together, alone, strict=True):
            ours.grad = torch.randn_like(ours)
            theirs.grad = ours.grad.clone()
        for optimiser in optimisers:
            optimiser.step()

    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(together, alone, strict=True))
