"""Log-sum-exps near 0: where LSE - max is small against 1 and the maximum is as near to 0, the result is the sum of the
other classes, or what is left when the maximum cancels it.

With m the largest element the error is at most 1 ulp, 1.5 in float64, of the result where |LSE| >= 1, and elsewhere of
the larger of |LSE| and LSE - m."""

import subprocess
import sys
from pathlib import Path

import ml_dtypes
import mpmath
import numpy as np
import pytest
import reference
from checks import DTYPES, assert_same_bits

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
EVERY_DTYPE = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
ULPS = {np.dtype(np.float32): 1.0, np.dtype(np.float64): 1.5}
extended_is_wider = np.finfo(np.longdouble).nmant >= 63


def two_sum(a, b):
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def exact_by_extended(rows):
    """LSE and LSE - m of each row: the classes but one largest are summed, whose sum loses no digits."""
    x = rows.astype(np.longdouble)
    top = np.argmax(x, axis=-1)[:, None]
    largest = np.take_along_axis(x, top, -1)
    gap, lost = two_sum(x, -largest)
    terms = np.exp(gap) * (1 + lost)
    np.put_along_axis(terms, top, 0, -1)
    above = np.log1p(np.sum(terms, axis=-1))
    return largest[:, 0] + above, above


def exact_by_mpmath(rows):
    pairs = []
    with mpmath.workprec(1200):  # as many bits as lie between 1 and exp(-745), and then some
        for row in rows.astype(np.float64):
            largest = mpmath.mpf(float(row.max()))
            above = mpmath.log(mpmath.fsum(mpmath.exp(mpmath.mpf(float(x)) - largest) for x in row))
            pairs.append((largest + above, above))
    return [np.array([mpmath_to_extended(p[i]) for p in pairs]) for i in (0, 1)]


def mpmath_to_extended(x):
    high = np.longdouble(float(x))
    return high + np.longdouble(float(x - mpmath.mpf(float(x))))


def exact(rows):
    few = rows.shape[-1] <= 10
    return exact_by_mpmath(rows) if few or not extended_is_wider else exact_by_extended(rows)


def allowed(dtype, value, above):
    return ULPS[np.dtype(dtype)] * np.spacing(np.maximum(np.abs(value), above).astype(dtype))


def assert_near(got, rows, want=None):
    value, above = exact(rows) if want is None else want
    got = np.asarray(got)
    error = np.abs(got.astype(np.longdouble) - value) / allowed(got.dtype, value, above)
    worst = np.argmax(error)
    assert error[worst] <= 1, f"row {worst}: got {got[worst]!r}, want {value[worst]!r}, {error[worst]:.2f} of the bound"


def near_zero(rng, count, classes, dtype):
    """Rows whose largest class is 0, cancels the others, nearly does, or stands beside as much as there is."""
    x = 3 * rng.standard_normal((count, classes)) - rng.choice([0, 2, 8, 25, 60], (count, 1))
    lead = rng.integers(0, classes, count)
    rows = np.arange(count)
    x[rows, lead] = -np.inf
    total = np.exp(x).sum(axis=-1)
    with np.errstate(divide="ignore", invalid="ignore"):
        cancelling = np.log1p(-total)
        normalised = x - np.log(total)[:, None]
    kind = rows % 4
    with np.errstate(invalid="ignore"):
        x = np.where((kind == 3)[:, None], normalised - 0.1, x)
        total = np.where(kind == 3, np.exp(x).sum(axis=-1), total)
        cancelling = np.where(total < 1, np.log1p(-np.minimum(total, 0.999)), 0)
    x[rows, lead] = np.where(
        kind == 0, 0, np.where(kind == 1, cancelling, cancelling * (1 + rng.uniform(-1, 1, count)))
    )
    return x.astype(dtype)


def columns(f):
    return lambda a: f(np.asfortranarray(a).T, axis=0)


SIZES = [(64, 1), (200, 2), (200, 3), (100, 10), (70, 64), (40, 65), (40, 128), (40, 129), (20, 1000), (16, 4097)]
MANY = [(3, 20_000), (1, 100_000)]


@pytest.mark.parametrize("dtype", EVERY_DTYPE, ids=lambda d: np.dtype(d).name)
def test_one_class_far_below_0(dtype):
    for lower in (-10.0, -40.0, -80.0):
        want = np.log1p(np.exp(lower))
        for row in ([0, lower], [lower, 0], [lower, 0, -np.inf], [-np.inf] * 200 + [lower, 0]):
            a = np.array(row, dtype)
            result = ll.logsumexp(a)
            np.testing.assert_allclose(result, want, rtol=1.2e-7 if result.dtype == np.float32 else 3e-16)
            assert_same_bits(ll.logsumexp_value_and_grad(a)[0], result)


def test_what_the_contract_names():
    assert ll.logsumexp([0.0, -40.0]) == 4.248354255291589e-18
    assert ll.logsumexp(np.float32([0, -40])) == np.float32(4.248354255291589e-18)


@every_dtype
def test_results_that_are_subnormal(dtype):
    lowest = {np.float32: (-88, -95, -103), np.float64: (-709, -725, -744)}[dtype]
    for lower in lowest:
        rows = np.array([[0, lower]], dtype)
        assert_near(ll.logsumexp(rows, axis=-1), rows)
        assert_near(ll.LogSumExp().update(rows[:, :1]).update(rows[:, 1:]).value(), rows)
        assert_near(ll.logsumexp(rows, axis=-1, b=np.ones(2, dtype)), rows)


@pytest.mark.parametrize("dtype", EVERY_DTYPE, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(("count", "classes"), SIZES + MANY)
def test_rows_made_to_cancel(count, classes, dtype, rng):
    rows = near_zero(rng, count, classes, dtype)
    want = exact(rows)
    got = ll.logsumexp(rows, axis=-1)
    assert_near(got, rows, want)
    assert_near(columns(ll.logsumexp)(rows), rows, want)
    assert_same_bits(ll.logsumexp_value_and_grad(rows, axis=-1)[0], got)
    assert_same_bits(ll.logsumexp(rows, axis=-1, num_threads=1), got)
    assert_same_bits(ll.logsumexp(np.repeat(rows, 2, axis=-1)[:, ::2], axis=-1), got)
    for row in range(min(count, 3)):
        assert_same_bits(ll.logsumexp(rows[row], num_threads=2), ll.logsumexp(rows[row], num_threads=1))
        assert_near(ll.logsumexp(rows[row : row + 1], axis=-1), rows[row : row + 1])


@every_dtype
@pytest.mark.parametrize(("count", "classes"), [*SIZES[1:-1], MANY[1]])
def test_states_of_rows_made_to_cancel(count, classes, dtype, rng):
    rows = near_zero(rng, count, classes, dtype)
    want = exact(rows)
    assert_same_bits(ll.LogSumExp().update(rows).value(), ll.logsumexp(rows, axis=-1))
    for pieces in (2, 7, 40):
        parts = [rows[:, part] for part in np.array_split(rng.permutation(classes), pieces)]
        one_by_one = ll.LogSumExp()
        for part in parts:
            one_by_one.update(part)
        assert_near(one_by_one.value(), rows, want)
        states = [ll.LogSumExp().update(part) for part in parts]
        while len(states) > 1:
            left, right = (states.pop(rng.integers(len(states))) for _ in range(2))
            states.append(left.merge(right))
        assert_near(states[0].value(), rows, want)


@every_dtype
def test_states_of_rising_and_falling_maxima(dtype, rng):
    """Each new maximum moves the sum of all classes before it."""
    rows = near_zero(rng, 12, 3000, dtype)
    for order in (np.sort(rows, axis=-1), -np.sort(-rows, axis=-1)):
        state = ll.LogSumExp()
        for first in range(0, 3000, 3):
            state.update(order[:, first : first + 3])
        assert_near(state.value(), rows)


@every_dtype
@pytest.mark.parametrize(("count", "classes"), [(64, 1), (200, 2), (100, 10), (40, 129), (8, 5000)])
def test_weights_of_one_sign(count, classes, dtype, rng):
    """Weights move the logits: as many rows are near 0, with weights of both kinds at the maximum."""
    rows = near_zero(rng, count, classes, dtype)
    want = exact(rows)
    assert_near(ll.logsumexp(rows, axis=-1, b=dtype(1)), rows, want)
    value, sign = ll.logsumexp(rows, axis=-1, b=dtype(-1), return_sign=True)
    assert_near(value, rows, want)
    assert (sign == -1).all()
    doubled = np.concatenate([rows, rows], axis=-1)
    assert_near(ll.logsumexp(doubled, axis=-1, b=dtype(0.5)), rows, want)
    assert_near(ll.logsumexp(doubled, axis=-1, b=np.repeat(dtype([0.25, 0.75]), classes)), rows, want)
    assert_near(ll.logsumexp(doubled, axis=-1, b=np.repeat(dtype([3, -2]), classes)), rows, want)


@pytest.mark.parametrize("reach", [1, 40, 300])
def test_weights_of_both_signs(reach, rng):
    """What cancels is measured by the sum of the sizes of the terms: the weighted sum is right to 2^-55 of that."""
    for _ in range(80):
        size = int(rng.integers(2, 7))
        a = rng.standard_normal(size) * rng.choice([1e-12, 1, 30])
        b = rng.choice([-1, 1], size) * 10.0 ** rng.uniform(-reach, reach, size)
        with mpmath.workprec(300 + 8 * reach):
            terms = [mpmath.mpf(float(w)) * mpmath.exp(mpmath.mpf(float(x))) for x, w in zip(a, b, strict=True)]
            total, sizes = mpmath.fsum(terms), mpmath.fsum(abs(t) for t in terms)
            value, sign = ll.logsumexp(a, b=b, return_sign=True)
            assert sign == mpmath.sign(total)
            want = mpmath.log(abs(total))
            size_of_value = max(abs(want), abs(want - mpmath.mpf(float(a.max()))))
            rounding = 1.5 * np.spacing(float(size_of_value))
            assert abs(mpmath.mpf(float(value)) - want) <= rounding + 2.0**-55 * sizes / abs(total), (a, b)


def test_weights_that_outweigh_the_largest_element():
    for a, b in (
        ([0.0, -1000.0], [1e-300, 1e300]),
        ([0.0, -1400.0], [5e-324, 1.7e308]),
        ([700.0, -700.0], [1e-320, 1e300]),
        ([1e6, 1e6 - 1000], [1e-300, 1e300]),
        ([3e5, 0.0], [5e-324, 1.7e308]),
    ):
        with mpmath.workprec(6000):
            terms = [mpmath.mpf(w) * mpmath.exp(mpmath.mpf(x)) for x, w in zip(a, b, strict=True)]
            want = float(mpmath.log(mpmath.fsum(terms)))
        np.testing.assert_allclose(ll.logsumexp(a, b=b), want, rtol=4e-16)


@every_dtype
def test_log_softmax_takes_the_largest_out(dtype, rng):
    for count, classes in SIZES[1:]:
        rows = near_zero(rng, count, classes, dtype)
        want = reference.log_softmax(rows, arithmetic=reference.EXTENDED)
        got = ll.log_softmax(rows, axis=-1).astype(np.longdouble)
        want = getattr(want, "value", want)
        assert np.all(np.abs(got - want) <= (4e-7 if dtype == np.float32 else 1e-15) * np.abs(want))


SCIPY_TESTS = "scipy.special.tests.test_logsumexp"
# Complex numbers are a TypeError here; `xp` and devices are other libraries' arrays.
NOT_OURS = ("complex", "wrap_radians", "gh21610", "gh21709", "gh22601", "device")
RUN_SCIPY_TESTS = """
import sys
import pytest
import logitloss as ll

class Ours:
    def pytest_collection_modifyitems(self, items):
        for item in items:
            for name in ("logsumexp", "softmax", "log_softmax"):
                setattr(item.module, name, getattr(ll, name))

sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", "-o", "addopts=", "--pyargs", *sys.argv[1:]], plugins=[Ours()]))
"""


def scipy_tests():
    special = pytest.importorskip("scipy.special")
    path = Path(special.__file__).parent / "tests" / "test_logsumexp.py"
    if not path.exists():
        pytest.skip("SciPy is installed without its tests")
    pytest.importorskip("scipy.special._logsumexp")
    return SCIPY_TESTS


def test_scipys_own_tests_on_real_numbers(tmp_path):
    unwanted = " or ".join(NOT_OURS)
    command = [sys.executable, "-c", RUN_SCIPY_TESTS, scipy_tests(), "-k", f"not ({unwanted})"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert " passed" in run.stdout
