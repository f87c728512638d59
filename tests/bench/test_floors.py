"""Floors: arithmetic against hand counts, and one small row measured for real."""

import pytest

from mematte.bench.floors import Floors, StageRow, decoder_bytes, encoder_bytes, measure_all, table
from mematte.engine import Job
from mematte.errors import InputError
from mematte.model import TINY


def test_closeness_is_against_the_higher_floor() -> None:
    row = StageRow("encode", operations=1e9, seconds=2.0, operations_floor=1.5, bytes_floor=0.5)

    assert row.closeness == 0.75
    assert StageRow("decode", 1e9, 2.0, 0.2, 1.0).closeness == 0.5


def test_the_encoder_moves_its_map_at_least_once_per_part() -> None:
    small, large = Job((448, 448), TINY), Job((896, 896), TINY)
    passes = 1 + sum({"W": 4, "R": 8}[letter] for letter in TINY.blocks)

    grown = encoder_bytes(large) - encoder_bytes(small)

    # The weights cancel out; what is left is the map's passes and the picture's four channels.
    assert grown == 3 * (passes * small.map_bytes + 4 * 448 * 448 * 4)
    assert encoder_bytes(Job((448, 448), TINY, value_bytes=2)) == encoder_bytes(small) / 2


def test_the_decoder_moves_what_grows_with_the_pixels() -> None:
    assert decoder_bytes(Job((896, 896), TINY)) == pytest.approx(4 * decoder_bytes(Job((448, 448), TINY)))


def test_the_table_names_every_stage_and_the_machines_rates() -> None:
    stage = StageRow("encode", 120e9, 2.0, 1.2, 0.1)
    lines = table([Floors("tiny", "float32", 1024, 100e9, 20e9, (stage,))]).splitlines()

    assert lines[2] == "| 1024x1024 | tiny float32 | encode | 120 | 1.200 s | 0.100 s | 2.000 | 60% |"
    assert lines[-1] == "tiny float32 at 1024 px: a matrix product runs at 100 GFLOP/s, a copy at 20.0 GB/s."


def test_measured_in_a_process_of_its_own_no_stage_beats_its_floor() -> None:
    (found,) = measure_all(["tiny"], [224], "float32", threads=1, repeats=1)

    assert [row.stage for row in found.stages] == ["encode", "decode"]
    assert found.matrix_rate > 1e9
    assert found.bandwidth > 1e8
    for row in found.stages:
        assert row.operations > 0
        assert 0 < row.closeness < 1.5  # a busy machine may slow the floor down, but never this far


def test_an_unknown_network_fails_before_anything_is_measured() -> None:
    for name in ("huge", "tiny:float32"):
        with pytest.raises(InputError, match=f"There is no network '{name}'"):
            measure_all([name], [224])
