"""LogSumExp over any axes, layouts and mixed dtypes."""

import itertools

import numpy as np
import pytest
from checks import assert_same_bits, ulps

import logitloss as ll


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (1, -1), None])
@pytest.mark.parametrize("layout", ["C", "F", "reversed", "moved"])
def test_one_piece_has_the_one_shot_bits(layout, axis, rng):
    a = rng.standard_normal((4, 30, 6)).astype(np.float32)
    a = {"C": a, "F": np.asfortranarray(a), "reversed": a[::-1, :, ::2], "moved": a.transpose(2, 0, 1)}[layout]
    assert_same_bits(ll.LogSumExp(axis=axis).update(a).value(), ll.logsumexp(a, axis=axis))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_halves_have_the_one_shot_bits(dtype, rng):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    a = rng.standard_normal((3, 500)).astype(getattr(ml_dtypes, dtype, dtype))
    value = ll.LogSumExp().update(a).value()
    assert value.dtype == np.float32
    assert_same_bits(value, ll.logsumexp(a, axis=-1))


def test_many_threads_and_many_pieces(rng):
    a = 3 * rng.standard_normal((2, 200_000))
    want = ll.logsumexp(a, axis=-1)
    for num_threads in (1, 2, 5):
        assert_same_bits(ll.LogSumExp().update(a, num_threads=num_threads).value(), want)
    state = ll.LogSumExp()
    for piece in np.array_split(a, 3000, axis=1):
        state.update(piece)
    assert np.all(ulps(state.value(), want) <= 1)


def test_a_float64_piece_makes_the_value_float64(rng):
    a = rng.standard_normal((3, 40))
    state = ll.LogSumExp().update(a[:, :20].astype(np.float32))
    assert state.value().dtype == np.float32
    assert state.update(a[:, 20:]).value().dtype == np.float64
    np.testing.assert_allclose(state.value(), ll.logsumexp(a, axis=-1), atol=3e-7)


def test_no_piece_is_an_empty_sum():
    assert ll.LogSumExp().value() == -np.inf
    np.testing.assert_array_equal(ll.LogSumExp().update(np.empty((2, 0))).value(), [-np.inf, -np.inf])


def test_states_of_other_axes_merge_by_their_rows(rng):
    a = rng.standard_normal((3, 10))
    columns = ll.LogSumExp(axis=0).update(a[:, 4:].T)
    for state in (ll.LogSumExp(axis=1).update(a[:, :4]), ll.LogSumExp(axis=-1).update(a[:, :4])):
        assert np.all(np.abs(state.merge(columns).value() - ll.logsumexp(a, axis=1)) <= 1e-15)
        assert np.all(
            np.abs(state.update(a).value() - np.log(2) - ll.logsumexp(a, axis=1)) <= 1e-15
        )  # still by its own


def test_a_state_can_be_merged_with_itself():
    state = ll.LogSumExp().update([0.0, 0.0, 0.0])
    assert state.merge(state) is state
    assert ulps(state.value(), np.log(np.longdouble(6))) <= 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_huge_values_merge_with_ordinary_ones(dtype):
    values = [0.0, -np.inf, np.inf, np.nan, 131_070, 131_073, -131_070, -131_073, 1e30, -1e30]
    for row in itertools.product(np.array(values, dtype), repeat=3):
        state = ll.LogSumExp()
        for value in row:
            state.merge(ll.LogSumExp().update(np.array([value])))
        want = ll.logsumexp(np.array(row))
        if np.isfinite(want):
            assert ulps(state.value(), want) <= 1, row
        else:
            np.testing.assert_equal(state.value(), want)


@pytest.mark.parametrize("axis", [1.5, "0", True, (0, 0.5)])
def test_an_axis_is_an_int(axis):
    with pytest.raises(TypeError, match="axis"):
        ll.LogSumExp(axis=axis)


def test_a_bad_axis_leaves_the_state_untouched():
    state = ll.LogSumExp(axis=1).update(np.ones((2, 3)))
    before = state.value()
    with pytest.raises(np.exceptions.AxisError):
        state.update(np.ones(2))
    assert_same_bits(state.value(), before)
