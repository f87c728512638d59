"""Memory: amounts as people write them, and figures that are there."""

import pytest
import torch

from mematte.engine.memory import (
    default_budget,
    forget_peak,
    free_bytes,
    parse_memory,
    peak_process_bytes,
    process_bytes,
    show_memory,
    total_bytes,
)
from mematte.errors import InputError

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("4GB", 4 * 10**9),
        ("900 mb", 900 * 10**6),
        ("1.5G", 1_500_000_000),
        ("2GiB", 2 * 2**30),
        ("512MiB", 2**29),
        (".5GB", 5 * 10**8),
        ("3000000", 3_000_000),
        ("3000000B", 3_000_000),
        (123456, 123456),
        (2.5e9, 2_500_000_000),
    ],
)
def test_amounts_are_read_as_people_write_them(text, size) -> None:
    assert parse_memory(text) == size


@pytest.mark.parametrize(
    "text", ["", "GB", "-1GB", "4XB", "1e9GB", "four", "10", "0", "0GB", 0, -1, True, None]
)
def test_what_is_no_amount_is_refused(text) -> None:
    with pytest.raises(InputError):
        parse_memory(text)


@pytest.mark.parametrize("size", [10**6, 940 * 10**6, 4_200_000_000, 31 * 10**9])
def test_what_is_shown_can_be_read_again(size) -> None:
    assert parse_memory(show_memory(size).replace(",", "")) == pytest.approx(size, rel=0.01)


def test_figures_of_this_process_make_sense() -> None:
    assert 50_000_000 < process_bytes() <= total_bytes(CPU)
    assert peak_process_bytes() >= process_bytes() * 0.9
    assert 0 < free_bytes(CPU) <= total_bytes(CPU)
    assert process_bytes() * 0.9 < default_budget(CPU) < total_bytes(CPU)


def test_a_peak_is_seen_and_can_be_forgotten() -> None:
    if not forget_peak():
        pytest.skip("this system cannot forget a peak")
    before = peak_process_bytes()
    block = bytearray(200_000_000)

    assert peak_process_bytes() > before + 150_000_000

    del block
    forget_peak()
    assert peak_process_bytes() < before + 100_000_000
