"""LogSumExp: data that comes in pieces gives what it gives at once, however it was cut and in whatever order merged."""

import copy
import pickle
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from checks import DTYPES, assert_same_bits, ulps

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)


def cuts(rng, size, pieces):
    return np.split(np.arange(size), np.sort(rng.integers(0, size + 1, pieces - 1)))


@every_dtype
@pytest.mark.parametrize("classes", [1, 10, 129, 5000, 20_000])
def test_one_chunk_gives_the_one_shot_bits(classes, dtype, rng):
    a = (5 * rng.standard_normal((4, classes))).astype(dtype)
    assert_same_bits(ll.LogSumExp().update(a).value(), ll.logsumexp(a, axis=-1))
    assert_same_bits(ll.LogSumExp(axis=0).update(a).value(), ll.logsumexp(a, axis=0))


@every_dtype
@pytest.mark.parametrize("spread", [1, 50, 1e4])
@pytest.mark.parametrize("pieces", [2, 5, 40])
def test_pieces_are_within_1_ulp_of_the_one_shot_result(pieces, spread, dtype, rng):
    a = (spread * rng.standard_normal((3, 20_000))).astype(dtype)
    want = ll.logsumexp(a, axis=-1)
    for _ in range(3):
        parts = cuts(rng, a.shape[1], pieces)
        state = ll.LogSumExp()
        for part in parts:
            assert state.update(a[:, part]) is state
        assert np.all(ulps(state.value(), want) <= 1)
        states = [ll.LogSumExp().update(a[:, part]) for part in parts]
        while len(states) > 1:
            left, right = (states.pop(rng.integers(len(states))) for _ in range(2))
            assert left.merge(right) is left
            states.append(left)
        assert np.all(ulps(states[0].value(), want) <= 1)


@every_dtype
@pytest.mark.parametrize("classes", [2, 3, 50, 20_000])
@pytest.mark.parametrize("pieces", [2, 7, 40])
def test_values_near_0_are_as_near_to_the_one_shot_result(pieces, classes, dtype, rng):
    a = 3 * rng.standard_normal((60, classes))
    wanted = np.linspace(-2, 2, 60) * np.geomspace(1e-12, 1, 60)[rng.permutation(60)]
    a = (a - ll.logsumexp(a, axis=-1, keepdims=True) + wanted[:, None]).astype(dtype)
    one_shot = ll.logsumexp(a, axis=-1)
    state = ll.LogSumExp()
    for part in np.array_split(a, pieces, axis=1):
        state.update(part)
    # Two sums, each right to some u, and the rounding of two logarithms: 2 eps were the most that 10^5 rows gave.
    assert np.all(np.abs(state.value() - one_shot) <= 3 * np.finfo(dtype).eps)


@every_dtype
def test_specials_survive_merging(dtype):
    pieces = np.array([[0.0, -np.inf, np.inf, np.nan, 1e9, -1e9]], dtype)
    for first in range(6):
        for second in range(6):
            pair = pieces[:, [first, second]]
            merged = ll.LogSumExp().update(pair[:, :1]).merge(ll.LogSumExp().update(pair[:, 1:])).value()
            np.testing.assert_allclose(merged, ll.logsumexp(pair, axis=-1), rtol=1e-7)


@every_dtype
def test_empty_pieces_and_states_change_nothing(dtype, rng):
    a = rng.standard_normal((3, 50)).astype(dtype)
    want = ll.logsumexp(a, axis=-1)
    state = ll.LogSumExp().update(a).update(a[:, :0])
    assert_same_bits(state.value(), want)
    assert_same_bits(ll.LogSumExp().merge(state).value(), want)
    assert_same_bits(state.merge(ll.LogSumExp()).value(), want)


@every_dtype
def test_states_are_small_and_can_be_pickled(dtype, rng):
    a = rng.standard_normal((2, 100_000)).astype(dtype)
    state = ll.LogSumExp().update(a[:, :70_000])
    stored = pickle.dumps(state)
    assert len(stored) < 2000
    copy = pickle.loads(stored)
    assert_same_bits(copy.value(), state.value())
    assert_same_bits(copy.update(a[:, 70_000:]).value(), state.update(a[:, 70_000:]).value())


def test_a_copy_does_not_follow_its_original(rng):
    a = rng.standard_normal((2, 10))
    state = ll.LogSumExp().update(a)
    before = state.value()
    other = ll.LogSumExp().merge(state)
    other.update(a)
    assert_same_bits(state.value(), before)


def test_bad_pieces_leave_the_state_untouched(rng):
    state = ll.LogSumExp().update(rng.standard_normal((3, 5)))
    before = state.value()
    with pytest.raises(ValueError, match="shape"):
        state.update(np.zeros((4, 5)))
    with pytest.raises(ValueError, match="shape"):
        state.merge(ll.LogSumExp().update(np.zeros((4, 5))))
    with pytest.raises(TypeError):
        state.update(np.zeros((3, 5), complex))
    with pytest.raises(TypeError):
        state.merge(np.zeros(3))
    assert_same_bits(state.value(), before)


# ------------------------------------------------------------------------------------------------------------- threads


@pytest.fixture
def frequent_switches():
    """Threads take turns every microsecond, so that what is no single step is torn apart."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def run_at_once(*functions):
    """Run them in threads of their own. A TimeoutError says that they wait for each other."""
    start = threading.Barrier(len(functions))

    def run(function):
        start.wait()
        function()

    with ThreadPoolExecutor(len(functions)) as pool:
        for future in [pool.submit(run, function) for function in functions]:
            future.result(timeout=120)


@pytest.mark.parametrize("how", ["update", "merge"])
def test_every_piece_of_several_threads_counts(how, frequent_switches):
    state, repetitions = ll.LogSumExp(), 3000
    chunk = np.zeros(1, np.float32)
    piece = chunk if how == "update" else ll.LogSumExp().update(chunk)

    def add():
        for _ in range(repetitions):
            getattr(state, how)(piece)

    run_at_once(*[add] * 4)
    assert state.value() == np.float32(np.log(4 * repetitions))


def test_states_that_merge_each_other_do_not_wait_for_each_other(frequent_switches):
    left, right = ll.LogSumExp().update([0.0]), ll.LogSumExp().update([0.0])

    def merge(into, other):
        for _ in range(500):
            into.merge(other)

    run_at_once(*2 * [lambda: merge(left, right), lambda: merge(right, left)])
    for state in (left, right):  # each of 1000 merges has added at least the 1 that the other one had at first
        assert np.log(1000.5) < state.value() < np.inf


def test_what_is_read_while_others_add_is_a_state_of_one_moment(frequent_switches):
    """Both rows get the same pieces, and the first float64 piece comes with the value 7."""
    state = ll.LogSumExp()
    done = threading.Event()

    def update():
        for _ in range(2000):
            state.update(np.zeros((2, 1), np.float32))
        state.update(np.full((2, 1), 7.0))
        done.set()

    def read():
        rounds = 0
        while not done.is_set() or rounds == 0:
            for copied in (state, copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
                value = copied.value()
                assert np.all(value == np.max(value))
                assert np.ndim(value) == 0 or (value.dtype == np.float64) == (value[0] > np.log(2001))
                assert "LogSumExp" in repr(copied)
            rounds += 1

    run_at_once(update, read, read)
    np.testing.assert_allclose(state.value(), np.log(2000 + np.exp(7)), rtol=1e-15)


def test_copies_are_independent(rng):
    a = rng.standard_normal((2, 10))
    state = ll.LogSumExp(axis=(1,)).update(a)
    before = state.value()
    for copied in (copy.copy(state), copy.deepcopy(state), pickle.loads(pickle.dumps(state))):
        assert_same_bits(copied.value(), before)
        copied.update(a)
        assert_same_bits(state.value(), before)
        assert np.all(copied.value() != before)
    assert copy.copy(ll.LogSumExp()).value() == -np.inf


def test_a_pickle_that_holds_no_states_is_an_error():
    state = ll.LogSumExp().update([0.0])
    for states in (np.float64(1), np.zeros(3), np.zeros((2, 5))):
        with pytest.raises(ValueError, match=r"states: got shape .* expected four numbers a row"):
            ll.LogSumExp().__setstate__(state.__getstate__() | {"_states": states})
