"""Recordings: pictures of one size share what was recorded, and nobody can tell from the result."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pytest
import torch
from torch import Tensor

from mematte.engine import Engine
from mematte.engine.replay import Directly, Recorder, Recording, is_worth_it
from mematte.errors import DeviceError
from mematte.model import TINY, teacher

from .conftest import banded_trimap, picture, random_weights

Result = TypeVar("Result")


class Again:
    """A graph on the CPU: playing it does the work once more, and puts what it gives where it was before."""

    def record(self, work: Callable[[], Result]) -> Result:
        self._work, self._is_done = work, True  # recording does it here; on a device it is done when played
        self._result = work()
        return self._result

    def play(self) -> None:
        if not self._is_done:
            for old, new in zip(tensors(self._result), tensors(self._work()), strict=True):
                old.copy_(new)
        self._is_done = False


def tensors(result: Any) -> Iterator[Tensor]:
    if isinstance(result, Tensor):
        yield result
    elif result is not None:
        for part in result:
            yield from tensors(part)


def recording(engine: Engine) -> Recorder:
    """From now on the engine records as on a GPU."""
    engine._recorder = Recorder(engine.device, lambda: Again)
    return engine._recorder


@dataclass
class Taken:
    """What is compared of a matte: its own, since what was recorded is used again."""

    alpha: np.ndarray
    attend: list[np.ndarray]


def taken(engine: Engine, image: np.ndarray, trimap: np.ndarray) -> Taken:
    matte = engine(image, trimap)
    return Taken(matte.alpha.copy(), [routing.attend.copy() for routing in matte.routings])


def the_same(one: Taken, other: Taken) -> None:
    for mine, theirs in zip(one.attend, other.attend, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert np.abs(one.alpha - other.alpha).max() < 1e-6


@pytest.mark.parametrize("spec", [TINY, teacher(TINY)], ids=lambda spec: spec.name)
@pytest.mark.parametrize("cap", [None, 0, 7])
def test_pictures_of_one_size_get_what_they_get_alone(spec, cap) -> None:
    weights = random_weights(spec)
    records, alone = (
        Engine(weights, device="cpu", precision="float32", max_global_tokens=cap) for _ in range(2)
    )
    recording(records)
    trimaps = [banded_trimap(150, 210), np.full((150, 210), 128, np.uint8), banded_trimap(150, 210)[:, ::-1]]

    for number in range(5):
        image, trimap = picture(150, 210, number), trimaps[number % 3]
        the_same(taken(records, image, trimap), taken(alone, image, trimap))


def test_whether_all_attend_may_differ_from_picture_to_picture(weights, monkeypatch) -> None:
    """Then nobody is refined, which is recorded when it is first needed."""
    everyone = iter([True, True, False, True, False])
    engine = Engine(weights, device="cpu", precision="float32")
    alone = Engine(weights, device="cpu", precision="float32")
    recording(engine)
    share = torch.zeros(())

    def decision(_: object) -> Callable[[Tensor], Tensor]:
        return lambda log_probs: (log_probs[..., 0] > log_probs[..., 1]) | (share > 0)

    monkeypatch.setattr(Engine, "decision", staticmethod(decision))
    for number, all_attend in enumerate(everyone):
        share.fill_(float(all_attend))
        image, trimap = picture(90, 70, number), banded_trimap(90, 70)
        found = taken(engine, image, trimap)
        assert all(attend.all() for attend in found.attend) == all_attend
        the_same(found, taken(alone, image, trimap))


def test_it_is_recorded_when_a_second_picture_has_the_size_and_dropped_when_one_has_another(weights) -> None:
    engine = Engine(weights, device="cpu", precision="float32")
    recorder = recording(engine)

    def kept_after(height: int, width: int) -> Recording | None:
        engine(picture(height, width), banded_trimap(height, width))
        return recorder._recording

    assert kept_after(60, 70) is None
    made = kept_after(60, 70)
    assert made is not None
    assert kept_after(60, 70) is made
    assert kept_after(60, 130) is None
    assert kept_after(60, 70) is None


def test_what_breaks_off_is_not_played(weights, monkeypatch) -> None:
    engine = Engine(weights, device="cpu", precision="float32")
    recorder = recording(engine)
    image, trimap = picture(60, 70), banded_trimap(60, 70)
    expected = taken(engine, image, trimap)
    with monkeypatch.context() as patched:
        patched.setattr("mematte.engine.decode._in_strips", exhausted)
        with pytest.raises(DeviceError, match="ran out of memory"):
            engine(image, trimap)

    assert recorder._recording is None
    for _ in range(3):
        the_same(taken(engine, image, trimap), expected)


def exhausted(*_: object) -> None:
    raise torch.OutOfMemoryError("too much")


def test_a_picture_beside_another_is_not_recorded(weights) -> None:
    engine = Engine(weights, device="cpu", precision="float32")
    recorder = recording(engine)
    plan = engine.plan(engine.job((60, 70)))
    found = []

    def beside() -> None:
        with recorder.sections(plan) as sections:
            found.append(sections)

    for _ in range(2):
        with recorder.sections(plan):
            other = threading.Thread(target=beside)
            other.start()
            other.join()

    assert [type(sections) for sections in found] == [Directly, Directly]


def test_large_pictures_and_chosen_windows_are_not_worth_it(weights) -> None:
    engine = Engine(weights, device="cpu", windows="unknown")
    trimap = banded_trimap(900, 1500) == 128
    cells = np.zeros((57, 94), np.bool_)
    cells[: trimap.shape[0] // 16, 40:50] = True

    assert is_worth_it(engine.plan(engine.job((1100, 1500))))
    assert not is_worth_it(engine.plan(engine.job((2000, 3000))))
    assert not is_worth_it(engine.plan(engine.job((900, 1500)), cells))
