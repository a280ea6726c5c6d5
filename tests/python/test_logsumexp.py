"""logsumexp as a replacement for SciPy's: axis tuples, keepdims, weights, signs, promotion, empty reductions."""

import itertools

import mpmath
import numpy as np
import pytest
import reference
from checks import DTYPES, assert_same_bits, assert_within

import logitloss as ll

scipy_special = pytest.importorskip("scipy.special")
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
AXES = [None, 0, 1, 2, -1, (0,), (0, 1), (1, 0), (-1, 0), (1, 2), (0, 1, 2), ()]


def tolerance(dtype):
    return 4e-7 if dtype == np.float32 else 2e-15


@every_dtype
@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_axes_and_keepdims(keepdims, axis, dtype, rng):
    for shape in ((3, 4, 5), (2, 130, 3), (1, 1, 1)):
        for make in (np.asarray, np.asfortranarray, lambda a: a[::-1]):
            a = make((3 * rng.standard_normal(shape)).astype(dtype))
            want = scipy_special.logsumexp(a.astype(np.float64), axis=axis, keepdims=keepdims)
            got = ll.logsumexp(a, axis=axis, keepdims=keepdims)
            assert np.shape(got) == np.shape(want)
            assert got.dtype == dtype
            assert_within(got, want, tolerance(dtype), 1 + np.abs(want))


def reduced_last(a, axis):
    """`a` with the axes to reduce merged into the last one."""
    axes = tuple(range(a.ndim)) if axis is None else tuple(np.atleast_1d(axis) % a.ndim)
    kept = [d for d in range(a.ndim) if d not in axes]
    return a.transpose(*kept, *axes).reshape([a.shape[d] for d in kept] + [-1])


@every_dtype
@pytest.mark.parametrize("axis", AXES[:-1], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
def test_weights_and_signs(keepdims, axis, dtype, rng):
    a = (2 * rng.standard_normal((3, 4, 5))).astype(dtype)
    for b_shape in ((3, 4, 5), (5,), (4, 1), (1, 1, 1), ()):
        b = rng.choice([0.25, 1, 2, -0.5, 0, -1], b_shape).astype(dtype)
        terms = reduced_last(a, axis), reduced_last(np.broadcast_to(b, a.shape), axis)
        want, want_sign = reference.weighted_log_sum_exp(*terms, arithmetic=reference.EXTENDED)
        total, _ = reference.weighted_log_sum_exp(terms[0], np.abs(terms[1]), arithmetic=reference.EXTENDED)
        got, sign = ll.logsumexp(a, axis=axis, b=b, keepdims=keepdims, return_sign=True)
        assert got.shape == sign.shape == np.sum(a, axis=axis, keepdims=keepdims).shape
        assert got.dtype == sign.dtype == dtype
        unsigned = ll.logsumexp(a, axis=axis, b=b, keepdims=keepdims)
        np.testing.assert_array_equal(unsigned, np.where(sign < 0, np.nan, got))
        # The sum itself may cancel: its error is measured by the sum of the sizes of its terms.
        with np.errstate(invalid="ignore"):
            magnitude = np.abs(want) + np.exp(total - want)
        np.testing.assert_array_equal(np.reshape(sign, want.shape), want_sign)
        assert_within(np.reshape(got, want.shape), want, 4 * tolerance(dtype), magnitude)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int16])
@pytest.mark.parametrize("b", [None, 2, 0.5, "array"])
@pytest.mark.parametrize("return_sign", [False, True])
def test_the_byte_order_changes_nothing(return_sign, b, dtype, rng):
    a, weights = (4 * rng.standard_normal((3, 5))).astype(dtype), rng.integers(-2, 3, (3, 5)).astype(dtype)
    other = a.dtype.newbyteorder()
    want, got = (
        ll.logsumexp(a.astype(order), 0, weights.astype(order) if b == "array" else b, return_sign=return_sign)
        for order in (a.dtype, other)
    )
    for g, w in zip(got, want, strict=True) if return_sign else [(got, want)]:
        assert_same_bits(g, w)


def test_b_may_be_larger_than_a(rng):
    a, b = rng.standard_normal((4, 1)), rng.uniform(0.5, 2, (3, 1, 5))
    for axis in (None, 0, 1, 2, (0, 2)):
        want = scipy_special.logsumexp(a, axis=axis, b=b)
        np.testing.assert_allclose(ll.logsumexp(a, axis=axis, b=b), want, rtol=1e-13, atol=1e-14)


@every_dtype
def test_a_weight_of_0_takes_the_element_out(dtype):
    a = np.array([1.0, np.nan, np.inf, 2.0, -np.inf], dtype)
    b = np.array([1, 0, 0, 1, 1], dtype)
    want = np.logaddexp(1, 2)
    np.testing.assert_allclose(ll.logsumexp(a, b=b), want, rtol=1e-7)
    lse, sign = ll.logsumexp(a, b=-b, return_sign=True)
    np.testing.assert_allclose(lse, want, rtol=1e-7)
    assert sign == -1
    assert np.isnan(ll.logsumexp(a, b=-b))
    lse, sign = ll.logsumexp(a, b=np.zeros(5), return_sign=True)
    assert lse == -np.inf
    assert sign == 0


@every_dtype
def test_terms_that_cancel(dtype):
    a = np.array([[3.0, 3.0], [3.0, 2.0]], dtype)
    lse, sign = ll.logsumexp(a, axis=1, b=np.array([1, -1]), return_sign=True)
    assert lse[0] == -np.inf
    np.testing.assert_array_equal(sign, [0, 1])
    np.testing.assert_allclose(lse[1], np.log(np.exp(3) - np.exp(2)), rtol=1e-6)


@every_dtype
def test_signs_without_weights(dtype):
    lse, sign = ll.logsumexp(np.array([[0.0, 0.0], [-np.inf, -np.inf]], dtype), axis=1, return_sign=True)
    np.testing.assert_allclose(lse, [np.log(2), -np.inf], rtol=1e-7)
    np.testing.assert_array_equal(sign, [1, 0])


@every_dtype
@pytest.mark.parametrize(
    ("shape", "axis"), [((0,), None), ((0,), 0), ((3, 0), 1), ((0, 3), 0), ((0, 3), None), ((2, 0, 3), (1, 2))]
)
def test_an_empty_sum_is_minus_infinity(shape, axis, dtype):
    got, sign = ll.logsumexp(np.empty(shape, dtype), axis=axis, return_sign=True)
    want_shape = np.sum(np.empty(shape), axis=axis).shape
    assert np.shape(got) == np.shape(sign) == want_shape
    assert np.all(got == -np.inf)
    assert np.all(sign == 0)
    assert np.all(ll.logsumexp(np.empty(shape, dtype), axis=axis) == -np.inf)


def test_a_and_b_promote_together(rng):
    a, b = rng.standard_normal(5).astype(np.float32), rng.uniform(1, 2, 5)
    assert ll.logsumexp(a, b=b).dtype == np.float64
    assert ll.logsumexp(a, b=b.astype(np.float32)).dtype == np.float32
    assert ll.logsumexp(a.astype(np.float64), b=b.astype(np.float32)).dtype == np.float64
    np.testing.assert_allclose(ll.logsumexp(a, b=b), scipy_special.logsumexp(a.astype(float), b=b), rtol=1e-14)


@every_dtype
def test_many_weights(dtype, rng):
    a = (5 * rng.standard_normal((3, 10_000))).astype(dtype)
    b = rng.standard_normal((3, 10_000)).astype(dtype)
    want, want_sign = reference.weighted_log_sum_exp(a, b)
    got, sign = ll.logsumexp(a, axis=1, b=b, return_sign=True)
    np.testing.assert_array_equal(sign, want_sign)
    np.testing.assert_allclose(got, want, rtol=1e-4 if dtype == np.float32 else 1e-12)


@every_dtype
def test_softmaxes_over_everything(dtype, rng):
    x = rng.standard_normal((3, 4)).astype(dtype)
    for ours, theirs in ((ll.softmax, scipy_special.softmax), (ll.log_softmax, scipy_special.log_softmax)):
        for axis in (None, 0, 1, -1):
            got = ours(x, axis=axis)
            assert got.dtype == dtype
            np.testing.assert_allclose(got, theirs(x.astype(np.float64), axis=axis), rtol=1e-6)


@every_dtype
def test_infinities_as_scipy(dtype):
    values = [-np.inf, np.inf, np.nan, 0.0, 5.0]
    for row in itertools.product(values, repeat=3):
        a = np.array(row, dtype)
        with np.errstate(all="ignore"):
            want = scipy_special.logsumexp(a.astype(np.float64))
        np.testing.assert_allclose(ll.logsumexp(a), want, rtol=1e-7)
        with np.errstate(all="ignore"):
            p, log_p = (f(a.astype(np.float64)) for f in (scipy_special.softmax, scipy_special.log_softmax))
        np.testing.assert_allclose(ll.softmax(a), p, rtol=1e-6)
        if not np.isnan(log_p).all():
            np.testing.assert_allclose(ll.log_softmax(a), log_p, rtol=1e-6)


def sum_of_infinite_terms(a, b):
    """What is 0 or at -inf adds nothing, NaN makes all NaN, infinite terms an infinity of their sign."""
    terms = [(x, y) for x, y in zip(a, b, strict=True) if y != 0]
    if any(np.isnan(y) or np.isnan(x) for x, y in terms):
        return np.nan
    signs = {np.sign(y) for x, y in terms if x == np.inf or (np.isinf(y) and x != -np.inf)}
    if signs:
        return signs.pop() * np.inf if len(signs) == 1 else np.nan
    return sum(y * np.exp(x) for x, y in terms if x != -np.inf)


@every_dtype
def test_infinite_weights(dtype):
    """As in SciPy, but for -inf with an infinite weight, and for exponentials that underflow under one: NaN there."""
    agree = differ = 0
    for a, b in itertools.product(
        itertools.product([-np.inf, np.inf, np.nan, -1000.0, 2.0], repeat=2),
        itertools.product([np.inf, -np.inf, np.nan, -1.0, 0.0, 3.0], repeat=2),
    ):
        lse, sign = ll.logsumexp(np.array(a, dtype), b=np.array(b, dtype), return_sign=True)
        total = sum_of_infinite_terms(a, b)
        with np.errstate(all="ignore"):
            log, theirs = np.log(np.abs(total)), scipy_special.logsumexp(a, b=b, return_sign=True)
        if np.isfinite(log) or not np.isfinite(lse):
            np.testing.assert_allclose([lse, sign], [log, np.sign(total)], rtol=1e-6, err_msg=f"{a}, {b}")
        if np.isnan(theirs[0]) and not np.isnan(lse):
            differ += 1
        else:
            np.testing.assert_allclose([lse, sign], theirs, rtol=1e-6, err_msg=f"{a}, {b}")
            agree += 1
        alone = ll.logsumexp(np.array(a, dtype), b=np.array(b, dtype))
        np.testing.assert_array_equal(alone, np.nan if sign < 0 else lse)
    assert agree > differ > 10


@every_dtype
@pytest.mark.parametrize("axis", [None, 0, 1, (0, 1)], ids=str)
def test_the_gradient_over_several_axes(axis, dtype, rng):
    a = rng.standard_normal((4, 6)).astype(dtype)
    value, grad = ll.logsumexp_value_and_grad(a, axis=axis)
    np.testing.assert_allclose(value, ll.logsumexp(a, axis=axis), rtol=1e-6)
    np.testing.assert_allclose(grad, np.exp(a - ll.logsumexp(a, axis=axis, keepdims=True)), rtol=1e-5)


@pytest.mark.parametrize("weight", [1e-4, 1e-12, 4.14e-17, 1e-100, 1e-300, 1e-308, 5e-324, 1e100, 1e308])
@pytest.mark.parametrize("top", [1.0, 6.37073236, -700.5, 1e6])
def test_a_single_weight_of_any_size(weight, top):
    got, sign = ll.logsumexp(top, b=-weight, return_sign=True)
    with mpmath.workprec(200):
        want = mpmath.mpf(top) + mpmath.log(mpmath.mpf(weight))
        assert abs(got - want) <= 1.5 * np.spacing(max(abs(float(want)), 1.0))
    assert sign == -1


def test_small_weights_beside_each_other(rng):
    for _ in range(300):
        size = rng.integers(2, 6)
        a = rng.standard_normal(size) * rng.choice([1, 10, 100])
        b = 10.0 ** (rng.uniform(-310, 100) + rng.uniform(-8, 8, size))
        with mpmath.workprec(200):
            terms = [mpmath.mpf(float(y)) * mpmath.exp(mpmath.mpf(float(x))) for x, y in zip(a, b, strict=True)]
            want = mpmath.log(mpmath.fsum(terms))
            scale = max(abs(float(want)), abs(a).max(), 1.0)  # the maximum and the logarithm may cancel
            assert abs(ll.logsumexp(a, b=b) - want) <= 2 * np.spacing(scale), (a, b)


def test_out_keeps_the_axes_that_the_result_keeps():
    for shape in ((3,), (7,)):
        out = np.full(shape, 5.0)
        with pytest.raises(ValueError, match=r"out: got shape .*, expected \(1, 3\)"):
            ll.logsumexp(np.zeros((2, 3)), axis=0, keepdims=True, out=out)
        assert (out == 5).all()


def test_weights_of_arrays_with_many_axes():
    a = np.ones((1,) * 40 + (2,))
    np.testing.assert_allclose(ll.logsumexp(a, b=2.0), 1 + np.log(4), rtol=1e-15)
    np.testing.assert_array_equal(ll.kl_divergence(a / 2, np.ones(2) / 2), np.zeros((1,) * 40))


@every_dtype
@pytest.mark.parametrize("shape", [(3, 70), (10, 5000), (200, 33)], ids=str)
def test_gradient_along_the_first_axis_times_upstream(shape, dtype, rng):
    """Neighbouring rows are computed side by side there, each with an upstream of its own."""
    a = rng.standard_normal(shape).astype(dtype)
    upstream = rng.standard_normal(shape[1])
    _, got = ll.logsumexp_value_and_grad(a, axis=0, upstream=upstream)
    want = upstream * scipy_special.softmax(a.astype(np.float64), axis=0)
    assert_within(got, want, tolerance(dtype), np.abs(want))
