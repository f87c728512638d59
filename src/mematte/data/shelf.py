"""Things made from files: in memory as far as a budget goes, the others made again when they are drawn."""

from __future__ import annotations

import logging
import os
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

import numpy as np

from mematte.data.damage import Damage
from mematte.errors import DataError, MatteError

log = logging.getLogger("mematte.data")

DEFAULT_MEMORY_BYTES = 6 * 10**9
"""For what all processes share."""

CACHE_BYTES = 64 * 2**20
"""For what did not fit into memory, in each process: those drawn last, for they may be drawn again."""

_THREADS = 8  # at most: each may be reading a picture of 30 megapixels
_REPORT_SECONDS = 10
_ATTEMPTS = 1000


class Thing(Protocol):
    """What stands on a shelf."""

    @property
    def memory_bytes(self) -> int:
        """What keeping it takes."""
        ...


T = TypeVar("T", bound=Thing)


@dataclass(frozen=True)
class Entry(Generic[T]):
    """How one thing is made.

    Attributes:
        file: whom to name if that fails.
        make: gives the thing, the same each time; a MatteError says that the files are damaged.
        weight: how often it is drawn, relative to others.
    """

    file: Path
    make: Callable[[], T]
    weight: float = 1.0


class Shelf(Generic[T]):
    """Things by number. What `get` returns does not depend on what is in memory, or was asked for before."""

    def __init__(self, entries: Sequence[Entry[T]], what: str, cache_bytes: int = CACHE_BYTES) -> None:
        """`what`: the name of the things in messages, in the plural."""
        self.entries = tuple(entries)
        self.damage = Damage(what, len(entries))
        self._kept: dict[int, T | None] = {}  # None: damaged
        self._cached: OrderedDict[int, T] = OrderedDict()
        self._cached_bytes, self._cache_bytes = 0, cache_bytes
        self.memory_bytes = 0

    def __len__(self) -> int:
        """How many there are, the damaged ones counted."""
        return len(self.entries)

    def load(self, memory_bytes: int) -> None:
        """Make what fits into `memory_bytes`, those first that are drawn most.

        Processes that are forked later share it.

        Raises:
            DataError: too many files are damaged.
        """
        if not self.entries:
            return
        numbers = sorted(range(len(self)), key=lambda number: -self.entries[number].weight)
        threads = min(_THREADS, os.cpu_count() or 1)
        reported = time.monotonic()
        with ThreadPoolExecutor(threads) as pool:
            # A few at a time: those waiting to be counted take memory too.
            for start in range(0, len(numbers), 4 * threads):
                part = numbers[start : start + 4 * threads]
                for number, thing in zip(part, pool.map(self._make, part), strict=True):
                    self._keep(number, thing, memory_bytes)
                if self.memory_bytes >= memory_bytes or len(self._kept) < start + len(part):
                    break
                if time.monotonic() - reported > _REPORT_SECONDS:
                    reported = time.monotonic()
                    log.info("%d of %d %s read", len(self._kept), len(self), self.damage.what)
        self.damage.check()
        kept = len(self._kept) - len(self.damage.reasons)
        rest = len(self) - len(self._kept)
        log.info(
            "%d %s in memory, %.1f GB%s",
            kept,
            self.damage.what,
            self.memory_bytes / 1e9,
            f"; {rest} more are read when they are drawn" if rest else "",
        )

    def get(self, number: int) -> T | None:
        """The thing of that number; None if it is damaged.

        Raises:
            DataError: with this one, too many files are damaged.
        """
        if number in self._kept:
            return self._kept[number]
        if number in self._cached:
            self._cached.move_to_end(number)
            return self._cached[number]
        made = self._make(number)
        if isinstance(made, MatteError):
            self._keep(number, made, 0)
            self.damage.check()
            return None
        self._cached[number] = made
        self._cached_bytes += made.memory_bytes
        while self._cached_bytes > self._cache_bytes and len(self._cached) > 1:
            self._cached_bytes -= self._cached.popitem(last=False)[1].memory_bytes
        return made

    def _make(self, number: int) -> T | MatteError:
        try:
            return self.entries[number].make()
        except MatteError as error:
            return error

    def _keep(self, number: int, made: T | MatteError, memory_bytes: int) -> None:
        """Keep it if it fits; that it is damaged, always."""
        if isinstance(made, MatteError):
            self.damage.add(self.entries[number].file, made)
            self._kept[number] = None
        elif self.memory_bytes + made.memory_bytes <= memory_bytes:
            self.memory_bytes += made.memory_bytes
            self._kept[number] = made


class Lottery(Generic[T]):
    """Draws from a shelf by weight. A draw depends on the generator's state only."""

    def __init__(self, shelf: Shelf[T], weights: Sequence[float] | None = None) -> None:
        """`weights`: one for each thing, 0 = never; None = those of the entries."""
        self.shelf = shelf
        chances = [entry.weight for entry in shelf.entries] if weights is None else weights
        assert len(chances) == len(shelf)
        self._cumulative = np.cumsum(chances)

    @property
    def memory_bytes(self) -> int:
        """What those in memory take."""
        return self.shelf.memory_bytes

    def __bool__(self) -> bool:
        """Whether anything can be drawn."""
        return len(self._cumulative) > 0 and bool(self._cumulative[-1] > 0)

    def draw(self, rng: np.random.Generator) -> T:
        """One thing; in place of a damaged one another, without taking more from `rng`.

        Raises:
            DataError: too many files are damaged.
        """
        chance = rng.random()
        thing = self.shelf.get(self._number(chance))
        if thing is None:
            others = np.random.default_rng(int(chance * 2**53))
            for _ in range(_ATTEMPTS):
                thing = self.shelf.get(self._number(others.random()))
                if thing is not None:
                    break
            else:
                raise DataError(f"None of the {self.shelf.damage.what} that may be drawn can be used.")
        return thing

    def _number(self, chance: float) -> int:
        total = self._cumulative[-1]
        point = min(chance * total, np.nextafter(total, 0))  # rounding must not lead beyond the last
        return int(np.searchsorted(self._cumulative, point, side="right"))
