"""Probabilities, weights and logits at the ends of their dtype's range, against 50 digits: what is subnormal, what sums
to more than the largest number, and what leaves the range and comes back. Values and gradients, in every layout."""

import functools
import itertools
from collections import Counter

import mpmath
import numpy as np
import pytest
from checks import DTYPES, HALVES, assert_same_bits
from ml_dtypes import finfo

import logitloss as ll

ALL = [*DTYPES, *HALVES]
name_of = lambda dtype: np.dtype(dtype).name  # noqa: E731
every_dtype = pytest.mark.parametrize("dtype", ALL, ids=name_of)
real = mpmath.mpf
INF = float("inf")

# Computed in float64 and rounded once to float32, or float64 throughout; of the sum of the terms' sizes.
LIMIT = {np.dtype(np.float32): 1.3e-7, np.dtype(np.float64): 1e-14}


@pytest.fixture(autouse=True)
def _fifty_digits():
    with mpmath.workdps(50), np.errstate(all="raise"):
        yield


@functools.cache
def log(x):
    with mpmath.workdps(50):
        return mpmath.log(x)


def to_real(x):
    return real(float(x))


def rounding_of(dtype):
    """Relative error and spacing of the smallest numbers."""
    info = finfo(dtype)
    return max(LIMIT.get(np.dtype(dtype), 0), float(info.eps)), float(info.smallest_subnormal)


def assert_near(got, want, magnitude, smallest=1, limit=None):
    """|got - want| within the dtype's error of `magnitude`, or `smallest` of its smallest numbers; infinite where that
    reaches beyond the dtype."""
    got = np.asarray(got)
    relative, least = rounding_of(got.dtype)
    relative = real(relative if limit is None else limit)
    most = real(float(finfo(got.dtype).max)) * (1 + real(float(finfo(got.dtype).eps)) / 4)
    assert got.size == len(want)
    for value, exact, size in zip(np.ravel(got), want, magnitude, strict=True):
        number, allowed = float(value), relative * size + smallest * real(least)
        if np.isinf(number):
            assert abs(exact) + allowed >= most, (number, mpmath.nstr(exact, 17), size)
            assert (number > 0) == (exact > 0)
        else:
            assert abs(to_real(number) - exact) <= allowed, (number, mpmath.nstr(exact, 17), size)


def ends_of(dtype):
    """Probabilities from the smallest number on: subnormal, around the first normal one, ordinary, and all but 1."""
    info = finfo(dtype)
    least, tiny, eps = float(info.smallest_subnormal), float(info.tiny), float(info.eps)
    return np.array(
        [least, 3 * least, tiny / 4, tiny - least, tiny, tiny / 0.3, tiny**0.5, 0.25, 0.7, 1 - eps, 1.0]
    ).astype(dtype)


LAYOUTS = {  # rows, classes and how the rows lie
    "side by side": (19, 5, "rows"),
    "one block": (2, 300, "rows"),
    "blocks": (1, 4200, "rows"),
    "strided, few": (20, 7, "columns"),
    "strided, many": (17, 131, "columns"),
    "one class": (4, 1, "rows"),
}
every_layout = pytest.mark.parametrize("layout", LAYOUTS)


def laid_out(array, how):
    return np.asfortranarray(array) if how == "columns" else np.ascontiguousarray(array)


def drawn(rng, layout, values):
    rows, classes, how = LAYOUTS[layout]
    return laid_out(rng.choice(values, (rows, classes)), how)


def pairs_of(*rows):
    """The different tuples of elements of some rows, and how often each is there."""
    return Counter(zip(*(row.astype(np.float64).tolist() for row in rows), strict=True)).items()


# ------------------------------------------------------------------------------------------------- information measures


def information(p):
    return -log(real(p))


def entropy_term(p):
    return 0 if p == 0 else real(p) * information(p)


def cross_term(p, q):
    return 0 if p == 0 else real(p) * information(q)


def divergence_term(p, q):
    return 0 if p == 0 else real(p) * (log(real(p)) - log(real(q)))


def sums_of(term, unit, *arrays):
    """Sum and sum of sizes of a term, row by row."""
    totals, sizes = [], []
    for rows in zip(*arrays, strict=True):
        terms = [(count, term(*key)) for key, count in pairs_of(*rows)]
        totals.append(sum(count * t for count, t in terms) / unit)
        sizes.append(sum(count * abs(t) for count, t in terms) / abs(unit))
    return totals, sizes


BASES = [None, 2, 0.5, 1 + 2.0**-52, 1 - 2.0**-53, 1e300, 5e-324]


def unit_of(base):
    return real(1) if base is None else log(real(base))


@every_dtype
@pytest.mark.parametrize("base", BASES)
def test_self_information(base, dtype):
    p = np.resize(ends_of(dtype), 77)
    want = [information(float(x)) / unit_of(base) for x in p]
    assert_near(ll.self_information(p, base=base), want, [abs(w) for w in want])


def test_the_cases_that_were_found():
    assert ll.kl_divergence([1.0, 1e-310], [0.5, 0.5]) == 0.6931471805599453
    for p, q in ((0.7, 5e-324), (5e-324, 0.7), (1e-310, 0.5), (1e-310, 1e-320), (1e305, 1e-310)):
        assert_near(ll.kl_divergence([p], [q]), [divergence_term(p, q)], [abs(divergence_term(p, q))])


@every_layout
@every_dtype
@pytest.mark.parametrize("base", [None, 0.5, 1 + 2.0**-52])
def test_measures_of_rows(base, dtype, layout, rng):
    p, q = (drawn(rng, layout, ends_of(dtype)) for _ in range(2))
    unit = unit_of(base)
    assert_near(ll.entropy(p, base=base), *sums_of(entropy_term, unit, p))
    assert_near(ll.cross_entropy_of(p, q, base=base), *sums_of(cross_term, unit, p, q))
    assert_near(ll.kl_divergence(p, q, base=base), *sums_of(divergence_term, unit, p, q))


@every_layout
@pytest.mark.parametrize("base", [None, 10, 1 + 2.0**-52])
@pytest.mark.parametrize("masses", [(5e-324, 1e-320, 3e-310, 2e-308), (1e300, 9e305, 1.7e308, 0.3)], ids=str)
def test_rows_of_subnormal_and_of_huge_masses(masses, base, layout, rng):
    """Whose terms are subnormal, or beyond float64, before the base brings them back."""
    values = np.array(masses)
    p, q = drawn(rng, layout, values), drawn(rng, layout, [*masses, 1e-310, 0.7])
    unit = unit_of(base)
    assert_near(ll.entropy(p, base=base), *sums_of(entropy_term, unit, p))
    assert_near(ll.cross_entropy_of(p, q, base=base), *sums_of(cross_term, unit, p, q))
    assert_near(ll.kl_divergence(p, q, base=base), *sums_of(divergence_term, unit, p, q))


@every_dtype
@every_layout
def test_a_divergence_of_permuted_rows_is_not_negative(layout, dtype, rng):
    least = float(finfo(dtype).smallest_subnormal)
    for values in (ends_of(dtype), (least * np.arange(1, 40)).astype(dtype)):
        p = drawn(rng, layout, values)
        q = laid_out(rng.permuted(p, axis=-1), LAYOUTS[layout][2])
        divergence = ll.kl_divergence(p, q)
        assert np.all(divergence >= 0)
        difference = ll.cross_entropy_of(p, q).astype(np.float64) - ll.entropy(p)
        size = ll.cross_entropy_of(p, q).astype(np.float64) + ll.entropy(p)
        rounding = finfo(divergence.dtype)
        with np.errstate(under="ignore"):
            allowed = 4 * rounding.eps * size + 4 * rounding.smallest_subnormal
        assert np.all(abs(divergence - difference) <= allowed)


def test_perplexity_at_both_ends():
    losses = [-744.0, -709.0, -1e-310, 0.0, 5e-324, 709.7]
    want = [mpmath.exp(real(x)) for x in losses]
    assert_near(ll.perplexity(losses), want, want)


# -------------------------------------------------------------------------------------------------- entropy from logits


def entropy_of_logits(row):
    """log(1 + S) + G / (1 + S), S and G without the largest logit."""
    counts = Counter(row.astype(float).tolist())
    top = max(counts)
    counts[top] -= 1
    gaps = [(count, real(top) - real(x)) for x, count in counts.items() if x != -INF]
    others = sum(count * mpmath.exp(-gap) for count, gap in gaps)
    return mpmath.log1p(others) + sum(count * gap * mpmath.exp(-gap) for count, gap in gaps) / (1 + others)


@every_dtype
@pytest.mark.parametrize("classes", [2, 3, 60, 129, 4097, 4098, 9000])
@pytest.mark.parametrize("how", ["rows", "columns"])
def test_entropy_of_extreme_logits(how, classes, dtype):
    most, least = float(finfo(dtype).max), float(finfo(dtype).smallest_subnormal)
    rows = np.zeros((20, classes))
    rows[0], rows[0, 0] = -most, most
    rows[1], rows[1, -1] = -most, most
    rows[2], rows[2, 0] = -most, 0
    rows[3], rows[3, -1] = -INF, -most
    rows[4], rows[5], rows[6] = most, -most, least
    rows[7, 1::2] = -least
    rows[8], rows[8, -1] = -INF, most
    logits = laid_out(rows.astype(dtype), how)
    want = [entropy_of_logits(row) for row in logits]
    assert_near(ll.entropy_from_logits(logits), want, want)


@pytest.mark.parametrize("dtype", DTYPES, ids=name_of)
@pytest.mark.parametrize("classes", [2, 3, 60, 300, 9000])
def test_a_common_offset_costs_an_entropy_no_digit(classes, dtype, rng):
    for offset in (0, 1e3, 1e5, 1e17, -1e17):
        step = float(np.spacing(dtype(abs(offset) or 1)))
        logits = (dtype(offset) + (step * rng.integers(-3, 3, (20, classes))).astype(dtype)).astype(dtype)
        want = [entropy_of_logits(row) for row in logits]
        for how in ("rows", "columns"):
            assert_near(ll.entropy_from_logits(laid_out(logits, how)), want, want)
    assert_near(ll.entropy_from_logits(np.full(3, 1e17, dtype)), [log(real(3))], [1])


@pytest.mark.parametrize("classes", [2, 60, 300, 9000])
def test_an_entropy_is_a_normal_number_where_its_exponentials_are_not(classes):
    """713 exp(-712) is one, and exp(-712) is not; the other classes come in the largest one's block and in others."""
    lead = np.array([690.0, 708, 710, 712, 716, 720, 740, 750])
    logits = np.repeat(-lead[:, np.newaxis], classes, axis=1)
    for at in (0, classes - 1):
        rows = logits.copy()
        rows[:, at] = 0
        want = [entropy_of_logits(row) for row in rows]
        for how in ("rows", "columns"):
            assert_near(ll.entropy_from_logits(laid_out(rows, how)), want, want, smallest=2)


# ------------------------------------------------------------------------------------------- cross-entropy of rows


def bounds(eps, dtype):
    if eps is None:
        return None
    kind = np.float64 if np.dtype(dtype) == np.float64 else np.float32
    return real(float(kind(eps))), real(float(kind(1 - eps)))


def share_of(p, total, clip):
    """p of the total as it counts, and whether that is not clipped."""
    share = real(p) / total
    if clip is None or clip[0] <= share <= clip[1]:
        return share, True
    return min(max(share, clip[0]), clip[1]), False


def cross_entropy_of_row(counts, clip, factor):
    """Loss, level of the gradient and size of the loss's terms, from how often each (probability, target, class weight)
    is in the row."""
    total = sum(n * real(p) for (p, _, _), n in counts.items()) if clip else real(1)
    loss = size = kept = real(0)
    for (p, t, w), n in counts.items():
        a = real(t) * real(w)
        if a != 0:
            share, inside = share_of(p, total, clip)
            loss -= n * a * log(share)
            size += n * abs(a * log(share))
            kept += n * a * inside
    return factor * loss, abs(factor) * size, total, kept / total if clip else real(0)


def check_rows(probs, target, eps, class_weight=None, sample_weight=None, upstream=None, loss_limit=None):
    """Losses and gradients of rows against 50 digits, fresh and in place."""
    rows, classes = probs.shape
    options = {"eps": eps, "reduction": "none", "class_weight": class_weight, "sample_weight": sample_weight}
    keep = probs.copy(order="K")
    in_place = probs.copy(order="K")
    loss, grad = ll.cross_entropy_from_probs_value_and_grad(probs, target, upstream=upstream, **options)
    assert_same_bits(probs, keep)
    assert_same_bits(ll.cross_entropy_from_probs(probs, target, **options), loss)
    again, same = ll.cross_entropy_from_probs_value_and_grad(
        in_place, target, upstream=upstream, grad_out=in_place, **options
    )
    assert same is in_place
    assert_same_bits(again, loss)
    assert_same_bits(in_place, grad)
    clip = bounds(eps, probs.dtype)
    weights = np.ones(classes) if class_weight is None else class_weight
    factors = np.ones(rows) if sample_weight is None else sample_weight
    slopes = np.ones(rows) if upstream is None else upstream
    for r in range(rows):
        t = np.eye(1, classes, target[r])[0] if target.ndim == 1 else target[r]
        keys = list(zip(*(x.astype(float).tolist() for x in (probs[r], t, weights)), strict=True))
        want, size, total, level = cross_entropy_of_row(Counter(keys), clip, to_real(factors[r]))
        assert_near(loss[r : r + 1], [want], [size], smallest=2, limit=loss_limit)
        factor = to_real(factors[r]) * to_real(slopes[r])
        for (p, t_j, w), got in {*zip(keys, grad[r].astype(float).tolist(), strict=True)}:
            a = real(t_j) * real(w)
            own = a / real(p) if a != 0 and share_of(p, total, clip)[1] else real(0)
            size = abs(factor) * (abs(level) + abs(own))
            assert_near(grad.dtype.type(got), [factor * (level - own)], [size], smallest=2)


TARGETS = ["indices", "one-hot", "soft"]


def targets_of(kind, rng, rows, classes, how="rows"):
    labels = rng.integers(0, classes, rows)
    if kind == "indices":
        return labels
    soft = np.eye(classes)[labels] if kind == "one-hot" else rng.choice([0, 0.25, 0.5], (rows, classes))
    return laid_out(soft, how)


@every_layout
@every_dtype
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("eps", [None, 1e-7])
def test_cross_entropy_of_subnormal_probabilities(eps, kind, dtype, layout, rng):
    probs = drawn(rng, layout, ends_of(dtype))
    target = targets_of(kind, rng, *probs.shape, LAYOUTS[layout][2])
    with np.errstate(all="ignore"):
        check_rows(probs, target, eps)
        check_rows(probs, target, eps, upstream=np.geomspace(1e-30, 1e30, len(probs)))


@every_layout
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(
    "values",
    [(5e-324, 1e-320), (1e-310, 3e-309), (1e-300, 1e-310), (1.7e308, 1.2e308), (1.7e308, 1e-310), (1e200, 1.0)],
    ids=str,
)
def test_rows_whose_sum_is_no_normal_number(values, kind, layout, rng):
    """Renormalised they are ordinary rows. The gradient of a row of two equal probabilities and targets is 0."""
    if LAYOUTS[layout][1] == 1 and values[0] < 1:
        pytest.skip("one class: all of its row")
    probs = drawn(rng, layout, np.array(values))
    target = targets_of(kind, rng, *probs.shape, LAYOUTS[layout][2])
    for eps in (0.0, 1e-7):
        check_rows(probs, target, eps, loss_limit=2e-14)
        check_rows(probs, target, eps, sample_weight=np.geomspace(1e-300, 1e300, len(probs)), loss_limit=2e-14)


def test_the_gradient_of_balanced_rows_is_0():
    for value in (1e-310, 5e-324, 1.7e308, 0.5):
        for reduction in ("mean", "sum"):
            loss, grad = ll.cross_entropy_from_probs_value_and_grad(
                [value] * 2, [0.5, 0.5], eps=1e-7, reduction=reduction
            )
            assert abs(loss - np.log(2)) < 1e-15
            np.testing.assert_array_equal(grad, [0, 0])


@pytest.mark.parametrize("dtype", [np.float32, *HALVES], ids=name_of)
def test_narrow_rows_of_subnormal_sum(dtype, rng):
    least = float(finfo(dtype).smallest_subnormal)
    for classes, how in ((3, "rows"), (300, "rows"), (7, "columns")):
        probs = laid_out((least * rng.integers(1, 9, (18, classes))).astype(dtype), how)
        for kind in TARGETS:
            check_rows(probs, targets_of(kind, rng, 18, classes, how), 1e-7)


WEIGHTS = [1e-310, 1e-300, 1e-40, 1.0, 1e40, 1e300]


@pytest.mark.sampled
@every_layout
@pytest.mark.parametrize("kind", TARGETS)
@every_dtype
def test_weights_that_leave_the_range_and_come_back(dtype, kind, layout, rng):
    """Class weights, sample weights and upstream gradients whose products with 1 / p are ordinary numbers, or are not,
    in every order."""
    probs = drawn(rng, layout, ends_of(dtype))
    rows, classes = probs.shape
    target = targets_of(kind, rng, rows, classes, LAYOUTS[layout][2])
    drawn_weights = lambda n: rng.choice(WEIGHTS, n)  # noqa: E731
    with np.errstate(all="ignore"):
        check_rows(probs, target, None, class_weight=drawn_weights(classes))
        check_rows(probs, target, None, sample_weight=drawn_weights(rows))
        check_rows(probs, target, None, drawn_weights(classes), drawn_weights(rows), drawn_weights(rows))
        check_rows(probs, target, 1e-7, drawn_weights(classes), drawn_weights(rows), drawn_weights(rows))


@every_layout
@every_dtype
def test_class_probabilities_that_are_subnormal_or_beyond_the_dtype(dtype, layout, rng):
    probs = drawn(rng, layout, ends_of(dtype))
    target = drawn(rng, layout, [0.0, 5e-324, 1e-310, 1e-60, 0.5, 1e60, 1e300])
    with np.errstate(all="ignore"):
        check_rows(probs, target, None)
        check_rows(probs, target, None, sample_weight=rng.choice(WEIGHTS, len(probs)))


def test_a_long_row_shared_by_threads():
    probs = np.full((1, 70_001), 1e-310)
    target = np.full((1, 70_001), 1 / 70_001)
    for eps in (None, 1e-9):
        one, two = (
            ll.cross_entropy_from_probs_value_and_grad(probs, target, eps=eps, sample_weight=[1e-10], num_threads=n)
            for n in (1, 2)
        )
        assert_same_bits(one[0], two[0])
        assert_same_bits(one[1], two[1])
    np.testing.assert_allclose(two[0], np.log(70_001), rtol=1e-14)
    assert np.all(abs(two[1]) < 1e300)


# --------------------------------------------------------------------------------------------- binary cross-entropy


def binary_element(p, t, factor, clip):
    p, t = to_real(p), to_real(t)
    within = clip is None or clip[0] <= p <= clip[1]
    c = p if within else min(max(p, clip[0]), clip[1])
    up = -t * log(c) if t != 0 else real(0)
    down = -(1 - t) * mpmath.log1p(-c) if t != 1 else real(0)
    slope = ((1 - t) / (1 - c) if t != 1 else 0) - (t / c if t != 0 else 0) if within else real(0)
    return factor * (up + down), factor * slope


@every_dtype
@pytest.mark.parametrize("size", [1, 33, 700, 5000])
@pytest.mark.parametrize("eps", [None, 0.0, 1e-7])
def test_binary_cross_entropy_of_subnormal_probabilities(eps, size, dtype, rng):
    """With weights and upstream gradients of the probabilities' dtype and of float64, in place too."""
    values = ends_of(dtype)
    clip = None if eps is None else bounds(eps, dtype)
    # Products with float32 weights are rounded in float32, as those with targets that it holds.
    limit = max(float(finfo(dtype).eps), LIMIT.get(np.dtype(dtype), 0)) * 2
    for weights in ((1.0,), (1e-30, 1e-10, 1.0, 3.0), (1e-310, 1e-300, 1.0)):
        for weight_dtype in (np.float64,) if weights[0] < 1e-100 else (np.float64, np.float32):
            probs = rng.choice(values[:-1], size)
            target = rng.choice([0.0, 0.25, 1.0], size)
            weight = rng.choice(weights, size).astype(weight_dtype)
            options = {"weight": weight, "eps": eps, "reduction": "sum"}
            with np.errstate(all="ignore"):
                none = ll.binary_cross_entropy_value_and_grad(probs, target, **{**options, "reduction": "none"})
                loss, grad = ll.binary_cross_entropy_value_and_grad(probs, target, **options)
                in_place = probs.copy()
                ll.binary_cross_entropy_value_and_grad(in_place, target, grad_out=in_place, **options)
            assert_same_bits(in_place, grad)
            assert_same_bits(none[1], grad)
            memo = functools.cache(lambda p, t, w: binary_element(p, t, to_real(w), clip))
            keys = zip(probs.astype(float).tolist(), target.tolist(), weight.tolist(), strict=True)
            for key, value, slope in {*zip(keys, none[0].tolist(), grad.astype(float).tolist(), strict=True)}:
                want, want_slope = memo(*key)
                assert_near(none[0].dtype.type(value), [want], [abs(want)], 2, LIMIT[none[0].dtype] * 3)
                assert_near(grad.dtype.type(slope), [want_slope], [abs(want_slope)], 2, limit)
            with np.errstate(under="ignore"):
                assert np.isclose(float(loss), none[0].sum(dtype=float), rtol=1e-6, atol=0)


@every_dtype
@pytest.mark.parametrize("count", [100, 3000])
def test_the_mean_of_a_binary_cross_entropy_brings_a_gradient_back(count, dtype):
    p = np.full(count, 3 * float(finfo(dtype).smallest_subnormal), dtype)
    factor = 1 / real(count)
    want = [-factor / to_real(p[0])] * count
    for upstream in (None, 1.0, 0.5):
        times = 1 if upstream is None else real(upstream)
        _, grad = ll.binary_cross_entropy_value_and_grad(p, np.ones(count), upstream=upstream)
        assert_near(grad, [w * times for w in want], [abs(w) for w in want], limit=2 * rounding_of(dtype)[0])


@pytest.mark.parametrize("t", [0.0, 0.25, 1.0])
def test_binary_gradients_where_three_factors_leave_the_range(t):
    weights = [1e-310, 1e-155, 1e155, 1e300]
    for p, w, u in itertools.product([5e-324, 1e-310, 1e-308, 1e-200, 0.5], weights, weights):
        _, grad = ll.binary_cross_entropy_value_and_grad([p], [t], weight=[w], upstream=[u], reduction="none")
        _, slope = binary_element(p, t, to_real(w) * to_real(u), None)
        if p < 1e-160 and t > 0:  # of other probabilities the weights alone decide
            assert_near(grad, [slope], [abs(slope)])
