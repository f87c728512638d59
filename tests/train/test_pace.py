"""Pace: shares of a step's time, on any device's clock."""

from __future__ import annotations

import time

import pytest
import torch

from mematte.train.pace import Pace


def test_stages_share_the_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 1.0, 5.0, 7.0, 100.0, 101.5, 102.0, 103.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(moments))
    pace = Pace()
    for _ in range(2):
        pace.begin(torch.device("cpu"))
        for _ in range(3):
            pace.mark()

    figures = pace.figures(20.0)

    assert figures["forward"] == pytest.approx(2.5 / 20)
    assert figures["backward"] == pytest.approx(4.5 / 20)
    assert figures["update"] == pytest.approx(3 / 20)
    assert figures["memory_gb"] > 0


def test_nothing_was_done_yet() -> None:
    figures = Pace().figures(1.0)

    assert (figures["forward"], figures["backward"], figures["update"]) == (0, 0, 0)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_has_its_own_clock() -> None:
    device = torch.device("cuda")
    pace = Pace()
    matrix = torch.rand(4096, 4096, device=device)
    torch.cuda.synchronize()

    start = time.monotonic()
    pace.begin(device)
    for products in (1, 20, 1):
        for _ in range(products):
            matrix @ matrix
        pace.mark()
    figures = pace.figures(1.0)

    assert 0 < figures["forward"] < figures["backward"]
    assert sum(figures[stage] for stage in ("forward", "backward", "update")) <= time.monotonic() - start
    assert figures["memory_gb"] >= 0.06
