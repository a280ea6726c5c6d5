"""Information measures: worked numbers, exactness, signs, and everything that all functions promise."""

import itertools
import math

import numpy as np
import pytest
import reference
from checks import DTYPES, HALVES, arithmetic_for, assert_same_bits, assert_within, floor, ulps
from reference import EXACT, to_extended
from test_layouts import LAYOUTS

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
# Computed in float64: a float32 result is rounded once.
TOLERANCE = {np.dtype(np.float32): 6.1e-8, np.dtype(np.float64): 1e-14}
SHAPES = [
    (40, 1),
    (37, 2),
    (33, 10),
    (70, 17),
    (9, 64),
    (9, 65),
    (7, 128),
    (7, 129),
    (5, 1000),
    (3, 4100),
    (2, 9000),
    (1, 70_001),
]


def probabilities(rng, shape, dtype, concentration=1.0):
    p = rng.standard_gamma(concentration, shape) + 1e-300
    return (p / p.sum(axis=-1, keepdims=True)).astype(dtype)


# ---------------------------------------------------------------------------------------------------- worked numbers


@pytest.mark.parametrize(
    ("p", "bits"), [((26 / 30, 4 / 30), 0.5665), ((14 / 30, 16 / 30), 0.9968), ((29 / 30, 1 / 30), 0.2108)]
)
def test_entropy_of_the_containers(p, bits):
    want = -sum(x * np.log2(x) for x in p)
    assert abs(want - bits) < 5e-5
    np.testing.assert_allclose(ll.entropy(p, base=2), want, rtol=1e-14)


def test_worked_divergences():
    np.testing.assert_allclose(ll.kl_divergence([1, 0, 0], [0.7, 0.2, 0.1]), -np.log(0.7), rtol=1e-14)
    assert abs(ll.kl_divergence([1, 0, 0], [0.7, 0.2, 0.1]) - 0.3567) < 5e-5
    for q, want in (([0.7, 0.2, 0.1], 0.3567), ([0.9, 0.05, 0.05], 0.1054)):
        assert abs(ll.cross_entropy_of([1, 0, 0], q) - want) < 5e-5
    assert abs(ll.cross_entropy_of([1, 0, 0], [0.1, 0.8, 0.1]) - 2.3026) < 5e-5


def test_self_information_of_the_first_class():
    q = [0.775, 0.116, 0.039, 0.070]
    assert abs(ll.self_information(q, base=2)[0] - 0.3677) < 5e-5
    assert abs(ll.cross_entropy_of([1, 0, 0, 0], q, base=2) - 0.3677) < 5e-5


@every_dtype
def test_powers_of_two_have_whole_bits(dtype):
    least = int(np.log2(float(np.finfo(dtype).smallest_subnormal)))
    exponents = np.arange(least, 5)
    p = np.ldexp(1.0, exponents).astype(dtype)
    np.testing.assert_array_equal(ll.self_information(p, base=2), -exponents.astype(dtype))
    assert not np.signbit(ll.self_information(dtype(1)))


# ------------------------------------------------------------------------------------------------------------ accuracy


@every_dtype
def test_self_information(dtype, rng):
    largest_below_1 = np.nextafter(dtype(1), dtype(0))
    p = np.concatenate([rng.random(2000), 1 - np.geomspace(1e-16, 0.5, 500), np.geomspace(1e-37, 1, 500), [1, 0.5]])
    p = np.append(p.astype(dtype), [largest_below_1, np.finfo(dtype).smallest_subnormal])
    want = -to_extended(arithmetic_for(dtype).log(arithmetic_for(dtype).array(p)))
    limit = 0.51 if dtype == np.float32 else 2.5
    for base, unit in ((None, 1), (2, np.log(np.longdouble(2))), (10, np.log(np.longdouble(10)))):
        assert np.all(ulps(ll.self_information(p, base=base), want / unit) <= limit)


@every_dtype
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_sums_against_the_reference(shape, dtype, rng):
    arithmetic, tolerance = arithmetic_for(dtype), TOLERANCE[np.dtype(dtype)]
    for concentration in (1.0, 0.05):
        p, q = (probabilities(rng, shape, dtype, concentration) for _ in range(2))
        p[0, 0] = 0
        q[q == 0] = np.finfo(dtype).tiny  # a 0 in q has a test of its own
        assert_within(ll.entropy(p), *_with_tolerance(reference.entropy(p, arithmetic=arithmetic), tolerance))
        want = reference.cross_entropy_of(p, q, arithmetic=arithmetic)
        assert_within(ll.cross_entropy_of(p, q), *_with_tolerance(want, tolerance))
        entropy = reference.entropy(p, arithmetic=arithmetic)
        magnitude = want[1] + entropy[1]
        assert_within(ll.kl_divergence(p, q), want[0] - entropy[0], tolerance, magnitude)


def _with_tolerance(value_and_magnitude, tolerance):
    value, magnitude = value_and_magnitude
    return value, tolerance, magnitude


@every_dtype
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 64, 65, 300])
def test_divergence_of_near_rows_keeps_its_digits(classes, dtype, rng):
    """Against 50 digits, where q is p to within one part in 10 to one in 2^22: the terms cancel by all but their
    squares."""
    for relative in (0.1, 1e-3, 2.0**-22):
        p = probabilities(rng, (4, classes), np.float64)
        p = (np.round(p * 2**20) + 1).astype(dtype) / dtype(2**20)
        step = np.round(p * relative * 2**22) / dtype(2**22)
        q = p.copy()
        for j in range(0, classes - 1, 2):  # what one class loses the next one gains: both rows sum alike
            step_j = np.minimum(step[:, j], p[:, j + 1] / 2)
            q[:, j] += step_j
            q[:, j + 1] -= step_j
        exact_p, exact_q = EXACT.array(p), EXACT.array(q)
        want = (exact_p * (EXACT.log(exact_p) - EXACT.log(exact_q))).sum(axis=-1)
        got = ll.kl_divergence(p, q)
        assert np.all(got >= 0)
        assert_within(got, want, TOLERANCE[np.dtype(dtype)], floor=float(np.finfo(dtype).smallest_subnormal))


@every_dtype
@pytest.mark.parametrize("classes", [2, 3, 10, 64, 129, 4097, 9000])
def test_entropy_from_logits(classes, dtype, rng):
    arithmetic, tolerance = arithmetic_for(dtype), TOLERANCE[np.dtype(dtype)]
    for spread, lead in ((1, 0), (20, 0), (1, 20), (1, 80), (1e3, 0), (1, 600)):
        logits = (spread * rng.standard_normal((12, classes))).astype(dtype)
        logits[np.arange(12), rng.integers(0, classes, 12)] += dtype(lead)
        logits[0, 0], logits[1] = -np.inf, 700
        want = reference.entropy_from_logits(logits, arithmetic=arithmetic)
        assert_within(ll.entropy_from_logits(logits), want, tolerance, floor=floor(dtype))


def test_entropy_from_logits_of_very_confident_rows():
    lead = np.linspace(0, 690, 700)
    logits = np.stack([lead, np.zeros(700)], axis=-1)
    want = reference.entropy_from_logits(logits, arithmetic=EXACT)
    assert_within(ll.entropy_from_logits(logits), want, 1e-14)


# ---------------------------------------------------------------------------------------------------------- identities


@every_dtype
def test_divergence_is_cross_entropy_less_entropy(dtype, rng):
    p, q = (probabilities(rng, (50, 12), dtype) for _ in range(2))
    difference = ll.cross_entropy_of(p, q).astype(np.float64) - ll.entropy(p)
    size = ll.cross_entropy_of(p, q).astype(np.float64) + ll.entropy(p)
    assert np.all(np.abs(ll.kl_divergence(p, q) - difference) <= 2 * np.finfo(dtype).eps * size)


@every_dtype
def test_entropy_from_logits_is_the_entropy_of_the_softmax(dtype, rng):
    logits = (3 * rng.standard_normal((30, 20))).astype(dtype)
    rtol = 1e-6 if dtype == np.float32 else 1e-13
    np.testing.assert_allclose(ll.entropy_from_logits(logits), ll.entropy(ll.softmax(logits, axis=-1)), rtol=rtol)
    uniform = np.full((4, 32), 7, dtype)
    np.testing.assert_allclose(ll.entropy_from_logits(uniform, base=2), 5, rtol=np.finfo(dtype).eps)


@every_dtype
@pytest.mark.parametrize("base", [2, 10, 0.5, 3.7])
def test_a_base_is_a_unit(base, dtype, rng):
    p, q = (probabilities(rng, (9, 5), dtype) for _ in range(2))
    for function, arguments in (
        (ll.self_information, (p,)),
        (ll.entropy, (p,)),
        (ll.entropy_from_logits, (p,)),
        (ll.kl_divergence, (p, q)),
        (ll.cross_entropy_of, (p, q)),
    ):
        want = function(*arguments).astype(np.float64) / np.log(base)
        np.testing.assert_allclose(function(*arguments, base=base), want, rtol=2 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("base", [None, 2, 10, 0.5, 0.1])
@pytest.mark.parametrize("classes", [1, 3, 300])
def test_nothing_to_tell_is_not_minus_0(classes, base, dtype):
    sure = np.eye(classes, dtype=dtype)[:1]
    nothing = [
        ll.self_information(sure[:, :1], base=base),
        ll.entropy(sure, base=base),
        ll.entropy_from_logits(np.where(sure == 1, 0, -np.inf).astype(dtype), base=base),
        ll.kl_divergence(sure, sure, base=base),
        ll.cross_entropy_of(sure, sure, base=base),
    ]
    assert [float(np.squeeze(n)) for n in nothing] == [0.0] * 5
    assert not np.signbit(nothing[0]).any()
    assert not np.signbit(nothing[1:]).any()


@pytest.mark.parametrize("dtype", [*DTYPES, *HALVES], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("classes", [2, 10, 300])
def test_minus_0_is_the_probability_0(classes, dtype):
    p, q = np.zeros((2, classes), dtype)
    p[0] = q[1] = 1
    signed = [np.where(a == 0, dtype(-0.0), a) for a in (p, q)]
    assert all(np.signbit(a).sum() == classes - 1 for a in signed)
    for measure in (ll.self_information, ll.entropy):
        assert_same_bits(measure(signed[0]), measure(p))
    for measure in (ll.kl_divergence, ll.cross_entropy_of):
        for a, b in itertools.product((p, signed[0]), (p, q, *signed)):
            assert_same_bits(measure(a, b), measure(p, abs(b)))
            assert measure(a, b) == (0 if b[0] == 1 else np.inf)


# --------------------------------------------------------------------------------------------------------------- signs


@every_dtype
def test_a_divergence_from_itself_is_0(dtype, rng):
    for shape in SHAPES:
        p = probabilities(rng, shape, dtype)
        p[0, 0] = 0
        got = ll.kl_divergence(p, p)
        assert np.all(got == 0)
        assert not np.signbit(got).any()


@every_dtype
def test_a_divergence_is_never_negative_by_rounding(dtype, rng):
    """Rows and permutations of them, which sum alike exactly, and neighbours one unit in the last place away."""
    for shape in ((500, 2), (500, 3), (200, 10), (50, 100)):
        p = probabilities(rng, shape, dtype)
        assert np.all(ll.kl_divergence(p, rng.permuted(p, axis=-1)) >= 0)
        q = p.copy()  # powers of two: an ulp up of one is an ulp down of the other
        p[:, 0] = p[:, 1] = q[:, 0] = q[:, 1] = 0.3
        q[:, 0], q[:, 1] = np.nextafter(p[:, 0], dtype(1)), np.nextafter(p[:, 1], dtype(0))
        assert np.all(q[:, 0] - p[:, 0] == p[:, 1] - q[:, 1])
        got = ll.kl_divergence(p, q)
        assert np.all(got > 0)
        assert np.all(got < np.finfo(dtype).eps ** 2)


@every_dtype
def test_a_divergence_that_is_0_by_balance_is_not_negative(dtype, rng):
    """a log(1/k) + a log(k) is 0 though the rows differ: they do not sum alike. Both sums cancel, in float64 to a
    rounding of either sign."""
    a = rng.uniform(0.1, 1, (500, 1)).astype(dtype)
    for k in (2, 4, 8, 64, 1024):
        p, q = np.hstack([a, a]), np.hstack([a * dtype(k), a / dtype(k)])
        got = ll.kl_divergence(p, q)
        assert np.all(got >= 0)
        assert np.all(got <= 1e-15 * k)


@every_dtype
def test_a_divergence_that_is_truly_negative_stays_negative(dtype, rng):
    p = probabilities(rng, (20, 6), dtype)
    for factor in (2, 1.5, 1 + 2.0**-20):
        q = p * dtype(factor)
        want = -np.log(np.float64(factor)) * p.sum(axis=-1, dtype=np.float64)
        np.testing.assert_allclose(ll.kl_divergence(p, q), want, rtol=1e-1 if factor < 1.1 else 1e-6)
    assert ll.kl_divergence(np.float32([0.5]), np.float32([1])) == np.float32(-0.5 * np.log(2))


# ---------------------------------------------------------------------------------------------------------- edge cases


@every_dtype
def test_zeros_infinities_and_nan_stay_in_their_rows(dtype):
    nan, inf = np.nan, np.inf
    p = np.array([[0, 1], [0.5, 0.5], [nan, 0.5], [-0.1, 1], [0, 0], [0.25, 0.75]], dtype)
    q = np.array([[0, 1], [0, 1], [0.5, 0.5], [0.5, 0.5], [nan, 0.5], [-0.25, 1]], dtype)
    log2 = np.float64(np.log(2))
    entropy = ll.entropy(p)
    np.testing.assert_allclose(entropy[[0, 1, 4]], [0, log2, 0], rtol=1e-6)
    np.testing.assert_array_equal(np.isnan(entropy), [False, False, True, True, False, False])
    for function, finite in ((ll.cross_entropy_of, 0), (ll.kl_divergence, 0)):
        got = function(p, q)
        np.testing.assert_array_equal(got[:2], [finite, inf])
        assert np.isnan(got[2:]).all()
    np.testing.assert_array_equal(ll.self_information(np.array([0, 1, nan, -1, inf], dtype)), [inf, 0, nan, nan, -inf])


@every_dtype
@pytest.mark.parametrize("classes", [2, 10, 200, 4100, 9000])
def test_logits_that_are_not_finite(classes, dtype, rng):
    logits = rng.standard_normal((8, classes)).astype(dtype)
    kept = logits.copy()
    logits[1, 0], logits[2, -1], logits[3], logits[4, 0], logits[5, 1] = -np.inf, np.nan, -np.inf, np.inf, -1e9
    logits[6] = np.where(np.arange(classes) == 1, np.nan, -np.inf)
    got = ll.entropy_from_logits(logits)
    assert np.isnan(got[[2, 3, 4, 6]]).all()
    np.testing.assert_allclose(got[1], ll.entropy_from_logits(kept[1, 1:]), rtol=1e-6)
    np.testing.assert_allclose(got[5], ll.entropy_from_logits(np.delete(kept[5], 1)), rtol=1e-6)
    assert_same_bits(got[[0, 7]], ll.entropy_from_logits(kept[[0, 7]]))


def test_nothing():
    for function in (ll.entropy, ll.entropy_from_logits):
        assert function(np.empty((0, 3))).shape == (0,)
        np.testing.assert_array_equal(function(np.empty((3, 0))), [0, 0, 0])
    assert ll.kl_divergence(np.empty((0, 3)), np.empty((0, 3))).shape == (0,)
    assert ll.self_information(np.empty((0, 3))).shape == (0, 3)


# ------------------------------------------------------------------------------------- what every function promises

ROW_MEASURES = [ll.entropy, ll.entropy_from_logits, ll.kl_divergence, ll.cross_entropy_of]
every_measure = pytest.mark.parametrize("measure", ROW_MEASURES, ids=lambda f: f.__name__)


def arguments_of(measure, rng, shape, dtype):
    count = 2 if measure in (ll.kl_divergence, ll.cross_entropy_of) else 1
    return [probabilities(rng, shape, dtype) for _ in range(count)]


@every_measure
@every_dtype
def test_any_axis_layout_and_alignment(measure, dtype, rng):
    for shape in ((5, 4, 6), (3, 2, 70), (2, 2, 4100)):
        arguments = arguments_of(measure, rng, shape, dtype)
        want = measure(*arguments)
        assert want.dtype == dtype
        for axis in range(-3, 3):
            for change in (np.ascontiguousarray, np.asarray, *LAYOUTS.values()):
                moved = [change(np.moveaxis(a, -1, axis)) for a in arguments]
                assert_same_bits(measure(*moved, axis=axis), want)


@every_measure
@every_dtype
@pytest.mark.parametrize("classes", [3, 128, 129, 300])
def test_strided_class_axes_go_side_by_side(measure, dtype, classes, rng):
    """Of more classes than go side by side in any layout, the additions' order may differ, and with it the last bit."""
    arguments = arguments_of(measure, rng, (2, 40, classes), dtype)
    want = measure(*arguments)
    moved = [np.ascontiguousarray(np.moveaxis(a, -1, 1)) for a in arguments]
    got = measure(*moved, axis=1)
    np.testing.assert_allclose(got, want, rtol=2 * np.finfo(dtype).eps)
    assert_same_bits(measure(*[m[:, :, 20:36] for m in moved], axis=1), got[:, 20:36])
    if classes <= 64:
        assert_same_bits(got, want)


@every_measure
@pytest.mark.parametrize("half", HALVES, ids=lambda d: np.dtype(d).name)
def test_half_precision(measure, half, rng):
    arguments = arguments_of(measure, rng, (20, 30), half)
    got = measure(*arguments)
    assert got.dtype == np.float32
    assert_same_bits(got, measure(*[a.astype(np.float32) for a in arguments]))
    wide = ll.self_information(arguments[0])
    assert_same_bits(wide, ll.self_information(arguments[0].astype(np.float32)))


@every_measure
@every_dtype
def test_rows_do_not_depend_on_each_other_nor_on_threads(measure, dtype, rng):
    for shape in ((7000, 2), (700, 10), (700, 128), (700, 300), (3, 50_000), (1, 140_000)):
        arguments = arguments_of(measure, rng, shape, dtype)
        want = measure(*arguments, num_threads=1)
        assert_same_bits(measure(*arguments), want)
        assert_same_bits(measure(*[a[-1:] for a in arguments]), want[-1:])
        assert_same_bits(measure(*[a[-1] for a in arguments]), want[-1])


@every_measure
@every_dtype
def test_into_given_outputs(measure, dtype, rng):
    arguments = arguments_of(measure, rng, (6, 5), dtype)
    want = measure(*arguments)
    for out in (np.zeros(6, dtype), np.zeros(12, dtype)[::2], np.zeros(6, dtype)[::-1]):
        assert measure(*arguments, out=out) is out
        np.testing.assert_array_equal(out, want)
    into = np.zeros_like(arguments[0])
    assert ll.self_information(arguments[0], out=into) is into
    assert_same_bits(into, ll.self_information(arguments[0]))
    assert type(measure(*[a[0] for a in arguments])) is dtype


@every_dtype
def test_p_and_q_broadcast(dtype, rng):
    p, q = (probabilities(rng, (3, 4, 5), dtype) for _ in range(2))
    for function in (ll.kl_divergence, ll.cross_entropy_of):
        assert_same_bits(function(p, q[1, 2]), function(p, np.broadcast_to(q[1, 2], p.shape).copy()))
        assert_same_bits(function(p[1, 2], q), function(np.broadcast_to(p[1, 2], q.shape).copy(), q))
        assert_same_bits(function(p, q[:, :1]), function(p, np.repeat(q[:, :1], 4, axis=1)))
        assert_same_bits(function(p, q[1, 2], axis=1), function(p, np.broadcast_to(q[1, 2], p.shape).copy(), axis=1))


def test_a_float64_q_keeps_its_digits_beside_a_float32_p():
    p = np.float32([0.5, 0.5])
    got = ll.kl_divergence(p, [0.5 + 1e-12, 0.5 - 1e-12])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, 2e-24, rtol=1e-3)


def test_integers_are_probabilities_too():
    assert ll.entropy([[1, 0], [0, 1]]).dtype == np.float64
    assert ll.kl_divergence(np.array([True, False]), np.array([1, 0], np.uint8)) == 0


def test_scipy_agrees(rng):
    scipy_stats = pytest.importorskip("scipy.stats")
    p, q = (probabilities(rng, (20, 7), np.float64) for _ in range(2))
    np.testing.assert_allclose(ll.entropy(p, base=2), scipy_stats.entropy(p, base=2, axis=-1), rtol=1e-13)
    np.testing.assert_allclose(ll.kl_divergence(p, q), scipy_stats.entropy(p, q, axis=-1), rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("p", "q"),
    [
        ([0, 1], [1e20, 0.5]),  # a masked class beside a huge q
        ([0, 0.25, 0.75], [1e12, 0.3, 0.7]),
        ([0.25, 0.75], [3e11, 7e11]),  # q as counts
        ([0.25, 0.75], [3e5, 7e5]),
        ([0.5], [1e20]),
        ([1e-17, 0], [0.5, 0.5]),  # a tiny p: truly negative
        ([1e-12, 0], [0.5, 0.5]),
    ],
    ids=str,
)
def test_divergences_of_rows_of_other_sizes_keep_their_digits(p, q, dtype):
    p, q = np.array(p, dtype), np.array(q, dtype)
    terms = [0.0 if a == 0 else float(a) * math.log(float(a) / float(b)) for a, b in zip(p, q, strict=True)]
    want, size = math.fsum(terms), math.fsum(map(abs, terms))
    tolerance = (1e-14 if dtype is np.float64 else 1e-7) * size
    assert abs(float(ll.kl_divergence(p, q)) - want) <= tolerance
    side_by_side = ll.kl_divergence(np.tile(p, (40, 1)), np.tile(q, (40, 1)))
    assert np.all(np.abs(side_by_side.astype(float) - want) <= tolerance)


def test_divergences_of_infinite_masses():
    assert ll.kl_divergence([0.5, 0.5], [np.inf, 0.5]) == -np.inf
    assert ll.kl_divergence([np.inf, 0.5], [0.5, 0.5]) == np.inf
