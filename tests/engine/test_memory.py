"""Memory: amounts as people write them, and figures that are there."""

import subprocess
import sys

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
    zeros_on_demand,
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


@pytest.mark.parametrize("version", [1, 2])
def test_files_that_a_container_keeps_in_memory_are_free(tmp_path, monkeypatch, version) -> None:
    """Whoever has read a large file would seem to have nothing left."""
    prefix, names = ("", ("memory.max", "memory.current"))
    if version == 1:
        prefix, names = "total_", ("memory.limit_in_bytes", "memory.usage_in_bytes")
    (tmp_path / names[0]).write_text("900000000\n")
    (tmp_path / names[1]).write_text("880000000\n")
    (tmp_path / "memory.stat").write_text(
        f"anon 100\nactive_file 1\n{prefix}active_file 300000000\n{prefix}inactive_file 400000000\n"
    )
    monkeypatch.setattr("mematte.engine.memory._CONTAINERS", ((tmp_path, *names),))

    assert total_bytes(CPU) == 900_000_000
    assert free_bytes(CPU) == 720_000_000
    (tmp_path / "memory.stat").unlink()
    assert free_bytes(CPU) == 20_000_000
    (tmp_path / names[0]).write_text("max\n")
    assert free_bytes(CPU) > 20_000_000


@pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="known of Linux alone: pages only read take none"
)
def test_zeros_take_memory_where_they_are_written_to() -> None:
    """In a process of its own: what others left would be used again."""
    program = """
import torch
from mematte.engine.memory import process_bytes, zeros_on_demand

before = process_bytes()
zeros = zeros_on_demand((500_000, 1_000), torch.zeros((), dtype=torch.bfloat16))
assert not zeros[::100].any()  # what is only read takes nothing
read = process_bytes() - before
zeros[:25_000] = 1
written = process_bytes() - before
del zeros
print(read, written, process_bytes() - before)
"""
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    read, written, freed = (int(word) for word in said.stdout.split())
    code = 15_000_000  # that runs for the first time
    assert read < code
    assert 50_000_000 <= written < 50_000_000 + code
    assert freed < code


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_zeros_on_demand_are_zeros(dtype) -> None:
    zeros = zeros_on_demand((3, 5, 7), torch.ones(2, dtype=dtype))

    assert (zeros.shape, zeros.dtype) == ((3, 5, 7), dtype)
    assert not zeros.any()
    zeros.view(-1, 7)[4] += 2
    assert zeros.sum() == 14
