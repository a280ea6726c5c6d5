"""Logarithms of means of exponentials. With m the largest element the error is at most 1 ulp, 1.5 in float64, of the
result where it is at least 1 in magnitude, and elsewhere of the larger of its size and its distance from m."""

import warnings

import mpmath
import numpy as np
import pytest
from checks import DTYPES, HALVES, assert_same_bits

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
ULPS = {np.dtype(np.float32): 1.0, np.dtype(np.float64): 1.5}


def error_in_ulps(got, row, weights=None):
    """In units of the spacing at what the bound is relative to."""
    with mpmath.workprec(500):
        weights = np.ones(len(row)) if weights is None else weights
        terms = [mpmath.mpf(float(b)) * mpmath.exp(mpmath.mpf(float(x))) for x, b in zip(row, weights, strict=True)]
        exact = mpmath.log(mpmath.fsum(terms) / len(row))
        size = abs(exact) if abs(exact) >= 1 else max(abs(exact), abs(exact - mpmath.mpf(float(row.max()))))
        if size == 0:
            return 0.0 if got == 0 else np.inf
        return float(abs(mpmath.mpf(float(got)) - exact) / float(np.spacing(got.dtype.type(float(size)))))


def rows_of(rng, n, scale, offset, dtype):
    yield (scale * rng.standard_normal(n) + offset).astype(dtype)
    equal = np.full(n, offset - scale, dtype)  # their errors are the same, and add up
    equal[rng.integers(n)] = offset
    yield equal


SCALES = [1e-20, 1e-12, 1e-8, 1e-4, 1e-2, 0.3, 1.0, 3.0, 30.0]
OFFSETS = [0.0, 1e-3, 0.5, 1.4, -1.9, -40.0, 1000.0, 3e5]


@pytest.mark.sampled
@every_dtype
@pytest.mark.parametrize("n", [2, 3, 10, 129, 700, 4100])
def test_error(n, dtype):
    rng = np.random.default_rng(n)
    worst = 0.0
    for scale in SCALES if n < 1000 else SCALES[::3]:
        for offset in OFFSETS if n < 1000 else OFFSETS[::3]:
            for row in rows_of(rng, n, scale, offset, dtype):
                got = ll.logmeanexp(row)
                assert got.dtype == dtype
                worst = max(worst, error_in_ulps(got, row))
    assert 0 < worst <= ULPS[np.dtype(dtype)]


@every_dtype
def test_error_with_weights(dtype):
    rng = np.random.default_rng(2)
    worst = 0.0
    for scale in SCALES:
        for offset in OFFSETS[:-1]:
            for row in rows_of(rng, 20, scale, offset, dtype):
                b = rng.random(20).astype(dtype)
                worst = max(worst, error_in_ulps(ll.logmeanexp(row, b=b), row, b))
    assert 0 < worst <= ULPS[np.dtype(dtype)]


@every_dtype
def test_near_0_digits_are_kept(dtype):
    for tiny in (1e-8, 1e-12, 1e-20, 1e-30):
        pair = np.array([0, tiny], dtype)
        got = ll.logmeanexp(pair)
        assert abs(float(got) - float(pair[1]) / 2 * (1 + float(pair[1]) / 4)) <= np.spacing(got)


@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda d: np.dtype(d).name)
def test_equal_elements_give_themselves(dtype):
    rng = np.random.default_rng(1)
    for n in (1, 2, 3, 7, 49, 128, 1000, 5000):
        values = (3 * rng.standard_normal(6)).astype(dtype)
        rows = np.repeat(values[:, None], n, axis=1)
        np.testing.assert_array_equal(ll.logmeanexp(rows, axis=1), values.astype(np.float64))
        np.testing.assert_array_equal(ll.logmeanexp(np.ascontiguousarray(rows.T), axis=0), values.astype(np.float64))
        np.testing.assert_array_equal(ll.logmeanexp(rows, axis=1, b=1), values.astype(np.float64))


@every_dtype
def test_it_is_of_what_where_keeps(dtype):
    rng = np.random.default_rng(3)
    for shape, axis in (((70, 10), 1), ((70, 200), 0), ((9, 4100), 1), ((3, 4, 5), (0, 2))):
        x = rng.standard_normal(shape).astype(dtype)
        where = rng.random(shape) < 0.6
        got = ll.logmeanexp(np.where(where, x, np.nan).astype(dtype), axis=axis, where=where)
        want = np.log(np.mean(np.exp(x.astype(np.float64)), axis=axis, where=where))
        np.testing.assert_allclose(got, want, rtol=8 * np.finfo(dtype).eps, atol=8 * np.finfo(dtype).eps)
        assert_same_bits(ll.logmeanexp(x, axis=axis, where=True), ll.logmeanexp(x, axis=axis))


def test_with_weights_it_is_the_mean_of_the_products():
    rng = np.random.default_rng(4)
    x, b, where = rng.standard_normal((6, 9)), rng.random((6, 9)), rng.random((6, 9)) < 0.7
    b[:, 3] = 0
    want = np.log(np.mean(b * np.exp(x), axis=1))
    np.testing.assert_allclose(ll.logmeanexp(x, 1, b), want, rtol=1e-14)
    want = np.log(np.mean(b * np.exp(x), axis=1, where=where))
    np.testing.assert_allclose(ll.logmeanexp(x, 1, b, where=where), want, rtol=1e-14)
    assert np.isnan(ll.logmeanexp([0.0, 0.0], b=[1, -2]))
    assert ll.logmeanexp([0.0, 0.0], b=[0, 0]) == -np.inf
    assert ll.logmeanexp(np.zeros(3), b=np.full(3, 1e-310)) == pytest.approx(np.log(1e-310), rel=1e-15)


def test_shapes_and_dtypes():
    x = np.arange(24.0).reshape(2, 3, 4)
    assert ll.logmeanexp(x, axis=(0, 2), keepdims=True).shape == (1, 3, 1)
    assert isinstance(ll.logmeanexp(x), np.float64)
    assert ll.logmeanexp(x.astype(np.float16)).dtype == np.float32
    assert ll.logmeanexp(np.arange(3)).dtype == np.float64
    out = np.zeros(2, np.float64)
    assert ll.logmeanexp(x, axis=(1, 2), out=out) is out
    np.testing.assert_allclose(out, np.log(np.mean(np.exp(x), axis=(1, 2))), rtol=1e-15)
    with pytest.raises(ValueError, match=r"^out: got dtype float32"):
        ll.logmeanexp(x, axis=(1, 2), out=out.astype(np.float32))


@every_dtype
def test_not_finite_and_nothing(dtype):
    inf, nan = np.inf, np.nan
    with warnings.catch_warnings(), np.errstate(all="raise"):
        warnings.simplefilter("error")
        for n in (2, 20, 300, 5000):  # each of the ways a row may take
            rows = np.zeros((6, n), dtype)
            rows[0] = -inf
            rows[1, -1], rows[2, -1], rows[3, -1], rows[5] = inf, nan, -inf, np.finfo(dtype).max
            largest, some = np.finfo(dtype).max, np.log((n - 1) / n).astype(dtype)
            for got in (ll.logmeanexp(rows, axis=1), ll.logmeanexp(rows, axis=1, b=1)):
                np.testing.assert_allclose(got, np.array([-inf, inf, nan, some, 0, largest]), rtol=1e-6)
            where = np.ones((6, n), bool)
            where[0:3] = False
            np.testing.assert_array_equal(np.isnan(ll.logmeanexp(rows, axis=1, where=where)), ~where[:, 0])
        assert np.isnan(ll.logmeanexp(np.zeros((3, 0), dtype), axis=1)).all()
        assert ll.logmeanexp(np.zeros((0, 3), dtype), axis=1).shape == (0,)
        assert np.isnan(ll.logmeanexp(np.zeros(0, dtype), b=1))


@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda d: np.dtype(d).name)
def test_bits_do_not_depend_on_threads(dtype):
    rng = np.random.default_rng(8)
    for shape, axis in (((3000, 10), 1), ((2, 100_000), 1), ((200, 1500), 0)):
        x, where = rng.standard_normal(shape).astype(dtype), rng.random(shape) < 0.7
        one = ll.logmeanexp(x, axis=axis, where=where, num_threads=1)
        for threads in (2, 5):
            assert_same_bits(ll.logmeanexp(x, axis=axis, where=where, num_threads=threads), one)
