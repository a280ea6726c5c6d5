"""A contestant: something that can be called, timed, and whose result can be compared."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

import numpy as np

SETTLE_SECONDS = 0.03  # how long to wait, at most, for the last contestant's threads to fall asleep
WARM_SECONDS = 0.005  # calls shorter than this are timed with warm caches


def as_arrays(result) -> tuple[np.ndarray, ...]:
    return tuple(np.asarray(part) for part in (result if isinstance(result, tuple) else (result,)))


def settle() -> None:
    """Wait until no thread of this process is busy: OpenMP's spin for milliseconds after their last parallel region."""
    deadline = time.perf_counter() + SETTLE_SECONDS
    while time.perf_counter() < deadline:
        wall, busy = time.perf_counter(), time.process_time()
        time.sleep(0.0005)
        if time.process_time() - busy < 0.3 * (time.perf_counter() - wall):
            return


@dataclass
class Runner:
    call: Callable[[], object]
    result: Callable[[object], tuple[np.ndarray, ...]] = as_arrays  # of the call, in logitloss's terms; not timed
    restore: Callable[[], None] | None = None  # brings back an input that the call overwrites; not timed
    in_place: bool = False
    seconds: float = 0.0  # of one call, roughly; set by calibrate
    repeats: int = 1

    def first_result(self) -> tuple[np.ndarray, ...]:
        if self.restore:
            self.restore()
        return self.result(self.call())

    def calibrate(self, sample_seconds: float) -> None:
        """Choose how many calls one sample takes."""
        self.repeats = 1
        self.seconds = self.sample()
        while self.seconds * self.repeats < sample_seconds / 4:
            self.repeats *= 4
            self.seconds = self.sample()
        self.repeats = max(1, round(sample_seconds / self.seconds))

    def sample(self) -> float:
        """Seconds per call, over `repeats` calls."""
        settle()
        call = self.call
        if 0 < self.seconds < WARM_SECONDS:
            call()
        if self.restore:
            self.restore()
        start = time.perf_counter()
        for _ in repeat(None, self.repeats):
            call()
        return (time.perf_counter() - start) / self.repeats


def interleave(contestants: dict, rounds: int) -> dict[str, list[float]]:
    """One sample of each per round; every round starts with another, so that nobody always follows the same one."""
    names = list(contestants)
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds if names else 0):
        first = turn % len(names)
        for name in names[first:] + names[:first]:
            times[name].append(contestants[name].sample())
    return times
