"""LogSumExp: data that comes in pieces gives what it gives at once, however it was cut and in whatever order merged."""

import pickle

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
