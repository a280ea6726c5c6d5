"""What every test module may ask for, and which tests take long or must run alone."""

from __future__ import annotations

import fcntl
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
from checks import SAMPLE

HERE = Path(__file__).parent

# Builds of C++, and processes or inputs by the hundred: what `bash .ci/run quick` leaves out.
SLOW = {"test_cpp_suite.py", "test_cpp_users.py", "test_every_isa.py"}

# They measure time and count the threads of this machine.
ALONE = {"test_threads.py", "test_faults.py"}


@pytest.fixture
def rng(request: pytest.FixtureRequest) -> np.random.Generator:
    """Random numbers of this test's own: the same in every run, others in every test."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for names, mark in ((SLOW, pytest.mark.slow), (ALONE, pytest.mark.alone)):
            if item.path.parent == HERE and item.path.name in names:
                item.add_marker(mark)
    items.sort(key=lambda item: item.path.name in ALONE)  # at the end, where the fewest wait for them
    keep_sample(items)


def keep_sample(items: list[pytest.Item]) -> None:
    """Leaves one case of SAMPLE of each test that is marked `sampled`.

    A value of a parameter has a number, its place in the parameter's list. A case stays if the numbers of its values
    add up to a multiple of SAMPLE. So a value is in some case if another parameter has SAMPLE values, and two values
    are in one together if a third parameter has.
    """
    numbers: dict[object, dict[tuple[int, ...], int]] = {}
    left_out = set()
    for item in items if SAMPLE else ():
        if item.get_closest_marker("sampled") is None:
            continue
        total = 0
        for mark in item.iter_markers("parametrize"):
            names = mark.args[0].split(",") if isinstance(mark.args[0], str) else mark.args[0]
            of_values = numbers.setdefault((item.function, *names), {})
            values = tuple(id(item.callspec.params[name.strip()]) for name in names)  # the same objects in every case
            total += of_values.setdefault(values, len(of_values))
        if total % SAMPLE:
            left_out.add(item)
    if left_out:
        items[0].config.hook.pytest_deselected(items=list(left_out))
        items[:] = [item for item in items if item not in left_out]


# ------------------------------------------------------------------------------------------------ in several processes


@contextmanager
def locked(name: str, kind: int) -> Iterator[None]:
    """A lock on a file that is there, so that nothing is left behind."""
    with (HERE / name).open() as file:
        fcntl.flock(file, kind)
        yield


@contextmanager
def turn(alone: bool) -> Iterator[None]:
    """A test's time in the room. Who wants the room alone keeps the door shut while waiting, or would wait for ever."""
    with ExitStack() as room:
        with locked("support/checks.py", fcntl.LOCK_EX):
            room.enter_context(locked("conftest.py", fcntl.LOCK_EX if alone else fcntl.LOCK_SH))
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    if not hasattr(item.config, "workerinput"):  # of pytest-xdist: pytest -n 2
        return (yield)
    with turn(item.get_closest_marker("alone") is not None):
        return (yield)
