"""Infinities and NaNs in rows: what softmaxes and cross-entropy promise of masked classes,
overflowed logits and poisoned rows.

Every rule is tried on few and on many classes, at the ends of the row and around its blocks, along both a contiguous
and a strided class axis; and the rows beside the special one must keep their bits.
"""

import numpy as np
import pytest
import reference
from checks import (
    DTYPES,
    GRADIENT_TOLERANCE,
    LOSS_TOLERANCE,
    arithmetic_for,
    assert_same_bits,
    assert_within,
    ends_and_borders,
    floor,
)

import logitloss as ll

INF, NAN = np.inf, np.nan
ROWS, SPECIAL = 21, 10
CLASSES = [2, 3, 10, 64, 129, 1000, 4100]

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
every_size = pytest.mark.parametrize("classes", CLASSES)
every_axis = pytest.mark.parametrize("axis", [-1, 0])


@pytest.fixture(autouse=True)
def _no_floating_point_warnings():
    with np.errstate(all="raise"):
        yield


def clean_rows(rng, classes, dtype):
    return (4 * rng.standard_normal((ROWS, classes))).astype(dtype)


def special_rows(rng, classes, dtype, value, column):
    logits = clean_rows(rng, classes, dtype)
    logits[SPECIAL, column] = value
    return logits


def along(axis, function, logits, *arrays, **options):
    """`function` on rows laid along `axis`; arrays of the logits' shape follow, and so do results of it."""
    if axis == -1:
        return function(logits, *arrays, axis=-1, **options)
    turned = [np.ascontiguousarray(a.T) if a.shape == logits.shape else a for a in (logits, *arrays)]
    results = function(*turned, axis=0, **options)
    turn_back = lambda r: r.T if r.shape == logits.T.shape else r  # noqa: E731
    return tuple(map(turn_back, results)) if isinstance(results, tuple) else turn_back(results)


def cross_entropy_none(logits, target, axis, **options):
    return ll.cross_entropy_value_and_grad(logits, target, axis=axis, reduction="none", **options)


def assert_others_keep_their_bits(function, axis, clean, special, *arrays, **options):
    others = np.arange(ROWS) != SPECIAL
    got, want = (along(axis, function, logits, *arrays, **options) for logits in (special, clean))
    pairs = zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]
    for g, w in pairs:
        assert_same_bits(g[others], w[others])


# ---------------------------------------------------------------------------------------- -inf: masked classes


@every_axis
@every_dtype
@every_size
def test_a_masked_class_has_probability_0_and_gradient_0(classes, dtype, axis, rng):
    for column in ends_and_borders(classes):
        logits = special_rows(rng, classes, dtype, -INF, column)
        target = np.full(ROWS, (column + 1) % classes)
        without = np.delete(logits[SPECIAL], column)
        lse, lse_grad = along(axis, ll.logsumexp_value_and_grad, logits)
        p, log_p = along(axis, ll.softmax, logits), along(axis, ll.log_softmax, logits)
        loss, grad = along(axis, cross_entropy_none, logits, target)
        assert p[SPECIAL, column] == lse_grad[SPECIAL, column] == grad[SPECIAL, column] == 0
        assert log_p[SPECIAL, column] == -INF
        want = reference.cross_entropy(logits, target, reduction="none", arithmetic=arithmetic_for(dtype))
        assert_within(lse[SPECIAL], reference.log_sum_exp(without), 2e-7, magnitude=1 + abs(lse[SPECIAL]))
        assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(dtype)])
        assert_within(grad, want.grad, GRADIENT_TOLERANCE[np.dtype(dtype)], floor=floor(dtype))


@every_dtype
@every_size
def test_the_mask_holds_with_soft_targets_that_are_0_there(classes, dtype, rng):
    for column in ends_and_borders(classes):
        logits = special_rows(rng, classes, dtype, -INF, column)
        target = rng.random(logits.shape).astype(dtype)
        target[SPECIAL, column] = 0
        want = reference.cross_entropy(logits, target, reduction="none", arithmetic=arithmetic_for(dtype))
        loss, grad = cross_entropy_none(logits, target, -1)
        assert np.isfinite(loss).all()
        assert grad[SPECIAL, column] == 0
        assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(dtype)])
        assert_within(grad, want.grad, GRADIENT_TOLERANCE[np.dtype(dtype)], want.grad_magnitude, floor(dtype))


@every_dtype
@every_size
@pytest.mark.parametrize(
    "options", [{"softcap": 5.0}, {"scale": 2.5}, {"margin": 0.5, "scale": 2.0}, {"z_loss": 0.1}], ids=str
)
def test_the_mask_survives(options, classes, dtype, rng):
    for column in ends_and_borders(classes):
        logits = special_rows(rng, classes, dtype, -INF, column)
        target = np.full(ROWS, (column + 1) % classes)
        want = reference.cross_entropy(logits, target, reduction="none", arithmetic=arithmetic_for(dtype), **options)
        loss, grad = cross_entropy_none(logits, target, -1, **options)
        assert grad[SPECIAL, column] == 0
        assert_within(loss, want.loss, 1e-5, want.loss_magnitude)
        assert_within(grad, want.grad, 1e-5, want.grad_magnitude, floor(dtype))


@every_dtype
@every_size
def test_a_target_at_a_masked_class_costs_infinity_and_pulls_as_usual(classes, dtype, rng):
    for column in ends_and_borders(classes):
        logits = special_rows(rng, classes, dtype, -INF, column)
        labels = np.full(ROWS, column)
        p = reference.softmax(logits[SPECIAL])
        for target in (labels, (np.arange(classes) == labels[:, None]).astype(np.float32)):
            loss, grad = cross_entropy_none(logits, target, -1)
            assert loss[SPECIAL] == INF
            assert grad[SPECIAL, column] == -1
            elsewhere = np.arange(classes) != column
            assert_within(grad[SPECIAL, elsewhere], p[elsewhere], 1e-6, floor=floor(dtype))


@every_dtype
@every_size
def test_smoothing_still_puts_its_share_on_a_masked_class(classes, dtype, rng):
    logits = special_rows(rng, classes, dtype, -INF, 0)
    target = np.full(ROWS, 1)
    loss, grad = cross_entropy_none(logits, target, -1, label_smoothing=0.25)
    assert loss[SPECIAL] == INF
    assert np.isfinite(np.delete(loss, SPECIAL)).all()
    np.testing.assert_allclose(grad[SPECIAL, 0], -0.25 / classes, rtol=1e-6)
    no_weight_there = np.ones(classes)
    no_weight_there[0] = 0
    loss, grad = cross_entropy_none(logits, target, -1, label_smoothing=0.25, class_weight=no_weight_there)
    assert np.isfinite(loss).all()
    assert grad[SPECIAL, 0] == 0


@every_dtype
@every_size
@pytest.mark.parametrize("smoothing", [1e-30, 1e-60, 1e-300])
def test_a_share_that_float32_does_not_hold_is_one(smoothing, classes, dtype, rng):
    masked = special_rows(rng, classes, dtype, -INF, 0)
    infinite = special_rows(rng, classes, dtype, INF, 0)
    labels = np.full(ROWS, 1)
    one_hot = (np.arange(classes) == 1).astype(np.float32) + np.zeros((ROWS, 1), np.float32)
    for target, options in ((labels, {}), (labels, {"class_weight": np.ones(classes)}), (one_hot, {})):
        options = options | {"label_smoothing": smoothing}
        loss, grad = cross_entropy_none(masked, target, -1, **options)
        assert loss[SPECIAL] == INF
        assert np.isfinite(np.delete(loss, SPECIAL)).all()
        exact = reference.cross_entropy(np.delete(masked, SPECIAL, 0), target[1:], reduction="none", **options)
        assert_within(np.delete(grad, SPECIAL, 0), exact.grad, 1e-6, exact.grad_magnitude, floor(dtype))
        loss, _ = cross_entropy_none(infinite, target, -1, **options)
        assert np.isnan(loss[SPECIAL])


@every_dtype
@every_size
@pytest.mark.parametrize("options", [{"softcap": 5.0}, {"softcap": 5.0, "margin": 0.5, "scale": 2.0}], ids=str)
def test_a_masked_target_under_a_softcap(options, classes, dtype, rng):
    for column in ends_and_borders(classes):
        logits = special_rows(rng, classes, dtype, -INF, column)
        loss, grad = cross_entropy_none(logits, np.full(ROWS, column), -1, **options)
        assert loss[SPECIAL] == INF
        assert grad[SPECIAL, column] == -options.get("scale", 1.0)  # p - y, and no derivative of the cap: a mask
        finite = np.delete(logits[SPECIAL], column)
        cap, scale = options["softcap"], options.get("scale", 1.0)
        p = reference.softmax(scale * cap * np.tanh(finite.astype(float) / cap))
        want = scale * p / np.cosh(finite.astype(float) / cap) ** 2
        assert_within(np.delete(grad[SPECIAL], column), want, 2e-5, floor=floor(dtype))
        soft = np.zeros(logits.shape, np.float32)
        soft[:, column] = 1
        soft_loss, soft_grad = cross_entropy_none(logits, soft, -1, softcap=5.0)
        assert soft_loss[SPECIAL] == INF
        assert soft_grad[SPECIAL, column] == -1


@every_dtype
@every_size
@pytest.mark.parametrize("cap", [5.0, 1e29, 2e38])
def test_a_softcap_caps_plus_infinity(cap, classes, dtype, rng):
    for column in ends_and_borders(classes):
        logits = special_rows(rng, classes, dtype, INF, column)
        capped = logits.copy()
        capped[SPECIAL, column] = 3e38  # of which the cap is the same
        for target in (column, (column + 1) % classes):
            got = cross_entropy_none(logits, np.full(ROWS, target), -1, softcap=cap)
            assert np.isfinite(got[0]).all()
            assert np.isfinite(got[1]).all()
            assert got[1][SPECIAL, column] == 0  # the cap is flat there
            if cap < 1e30:
                want = cross_entropy_none(capped, np.full(ROWS, target), -1, softcap=cap)
                assert_same_bits(got[0], want[0])
                assert_same_bits(got[1], want[1])


@every_dtype
def test_options_beyond_the_dtype(dtype):
    """They count as they are, and what the dtype holds of the results is there."""
    largest = float(np.finfo(dtype).max)
    logits = np.array([[3, 1, -INF], [1, 3, 2], [0, 0, 0], [-1e30, 1e30, 5]], dtype)
    target = np.zeros(4, int)

    def results(**options):
        return cross_entropy_none(logits, target, -1, **options)

    plain = results()
    for huge in (1e38, 1e39, 1e300):
        for got, want in zip(results(softcap=huge), plain, strict=True):
            np.testing.assert_allclose(got[:3], want[:3], rtol=1e-6)
    for small in (1e-39, 1e-300, 5e-324):  # all classes alike, and flat but for zeros
        loss, grad = results(softcap=small)
        np.testing.assert_allclose(loss, np.log([2, 3, 3, 3]), rtol=1e-6)
        assert np.all(grad[[0, 1, 3]] == 0)
        loss, grad = results(scale=small)
        np.testing.assert_allclose(loss[:3], np.log([2, 3, 3]), rtol=1e-6)
        assert np.all(np.abs(grad) <= max(small, float(np.finfo(dtype).tiny)))
    if dtype == np.float32:
        loss, grad = results(margin=1e39)
        np.testing.assert_array_equal(loss[:3], INF)
        assert_same_bits(grad, results(margin=largest)[1])
        for got in results(margin=-1e39):
            assert np.all(got[:3] == 0)
        loss, grad = results(scale=1e39, sample_weight=np.full(4, 1e-10))
        np.testing.assert_allclose(loss[1:3], [2e29, 1e-10 * np.log(3)], rtol=1e-6)
        np.testing.assert_allclose(grad[1], [-1e29, 1e29, 0], rtol=1e-6)
    loss, grad = results(margin=largest)
    np.testing.assert_allclose(loss[:3], largest, rtol=1e-6)
    np.testing.assert_array_equal(grad[:3, 0], -1)
    loss, grad = results(margin=-largest)
    assert np.all(loss[:3] == 0)
    assert np.all(grad[:3] == 0)
    loss, grad = results(scale=largest)
    np.testing.assert_array_equal(loss[:3], np.array([0, INF, np.log(3)], dtype))
    np.testing.assert_allclose(grad[2], largest * np.array([-2 / 3, 1 / 3, 1 / 3]), rtol=1e-6)
    np.testing.assert_array_equal(grad[:2], np.array([[0, 0, 0], [-largest, largest, 0]], dtype))


@every_dtype
def test_logits_far_below_the_softcap_keep_their_digits(dtype, rng):
    logits = clean_rows(rng, 10, dtype)
    target = rng.integers(0, 10, ROWS)
    plain = cross_entropy_none(logits, target, -1)
    for got, want in zip(cross_entropy_none(logits, target, -1, softcap=3e38), plain, strict=True):
        assert_same_bits(got, want)
    huge = logits * dtype(1e37)
    capped = 1e37 * np.tanh(huge.astype(np.float64) / 1e37)
    loss, _ = cross_entropy_none(huge, target, -1, softcap=1e37)
    np.testing.assert_allclose(loss, capped.max(axis=1) - capped[np.arange(ROWS), target], rtol=1e-5, atol=1e30)


@every_axis
@every_dtype
@pytest.mark.parametrize("classes", [1, *CLASSES])
def test_a_row_of_only_masked_classes(classes, dtype, axis, rng):
    clean = clean_rows(rng, classes, dtype)
    logits = clean.copy()
    logits[SPECIAL] = -INF
    target = rng.integers(0, classes, ROWS)
    lse, lse_grad = along(axis, ll.logsumexp_value_and_grad, logits)
    assert lse[SPECIAL] == -INF
    assert along(axis, ll.logsumexp, logits)[SPECIAL] == -INF
    assert np.isnan(lse_grad[SPECIAL]).all()
    assert np.isnan(along(axis, ll.softmax, logits)[SPECIAL]).all()
    assert np.isnan(along(axis, ll.log_softmax, logits)[SPECIAL]).all()
    loss, grad = along(axis, cross_entropy_none, logits, target)
    assert np.isnan(loss[SPECIAL])
    assert np.isnan(grad[SPECIAL]).all()
    for function in (ll.logsumexp_value_and_grad, ll.softmax, ll.log_softmax):
        assert_others_keep_their_bits(function, axis, clean, logits)
    assert_others_keep_their_bits(cross_entropy_none, axis, clean, logits, target)


@every_dtype
def test_masked_blocks_beside_normal_ones_change_nothing(dtype, rng):
    row = (3 * rng.standard_normal(9000)).astype(dtype)
    masked = row.copy()
    masked[:4096] = -INF
    want = reference.log_sum_exp(row[4096:], arithmetic=arithmetic_for(dtype))
    assert_within(ll.logsumexp(masked, axis=-1), want, 2e-7)
    padded = row.copy()
    for value in (-1e9, np.finfo(dtype).min):
        padded[:4096] = value
        assert_same_bits(ll.logsumexp(padded, axis=-1), ll.logsumexp(masked, axis=-1))
        assert_same_bits(ll.softmax(padded, axis=-1), ll.softmax(masked, axis=-1))


# ------------------------------------------------------------------------------------------------------------ +inf


@every_axis
@every_dtype
@every_size
@pytest.mark.parametrize("how_many", [1, 2])
def test_plus_infinity(how_many, classes, dtype, axis, rng):
    if how_many == classes:
        pytest.skip("no finite class would be left to be the target")
    for column in ends_and_borders(classes):
        clean = clean_rows(rng, classes, dtype)
        logits = clean.copy()
        logits[SPECIAL, column] = logits[SPECIAL, (column + how_many - 1) % classes] = INF
        lse, lse_grad = along(axis, ll.logsumexp_value_and_grad, logits)
        assert lse[SPECIAL] == INF
        assert along(axis, ll.logsumexp, logits)[SPECIAL] == INF
        assert np.isnan(lse_grad[SPECIAL]).all()
        assert np.isnan(along(axis, ll.softmax, logits)[SPECIAL]).all()
        away, there = np.full(ROWS, (column - 1) % classes), np.full(ROWS, column)
        loss, grad = along(axis, cross_entropy_none, logits, away)
        assert loss[SPECIAL] == INF
        assert np.isnan(grad[SPECIAL]).all()
        loss, grad = along(axis, cross_entropy_none, logits, there)
        assert np.isnan(loss[SPECIAL])
        assert np.isnan(grad[SPECIAL]).all()
        assert_others_keep_their_bits(cross_entropy_none, axis, clean, logits, there)
        assert_others_keep_their_bits(ll.softmax, axis, clean, logits)


@every_dtype
@every_size
def test_log_softmax_beside_plus_infinity_is_minus_infinity(classes, dtype, rng):
    for column in ends_and_borders(classes):
        got = ll.log_softmax(special_rows(rng, classes, dtype, INF, column), axis=-1)[SPECIAL]
        assert np.isnan(got[column])
        assert np.all(np.delete(got, column) == -INF)


@every_dtype
@every_size
def test_plus_infinity_with_probability_targets(classes, dtype, rng):
    for column in ends_and_borders(classes):
        logits = special_rows(rng, classes, dtype, INF, column)
        for at, want in (((column + 1) % classes, INF), (column, NAN)):
            target = np.zeros(logits.shape, np.float32)
            target[:, at] = 1
            loss, grad = cross_entropy_none(logits, target, -1)
            np.testing.assert_equal(loss[SPECIAL], want)
            assert np.isnan(grad[SPECIAL]).all()


@every_dtype
@every_size
@pytest.mark.parametrize("smoothing", [0.25, 1.0])
@pytest.mark.parametrize("z_loss", [0.0, 0.5])
def test_smoothing_has_a_share_of_the_target_at_plus_infinity(z_loss, smoothing, classes, dtype, rng):
    """L - z is NaN there, and every class is a target."""
    for column in ends_and_borders(classes):
        logits = special_rows(rng, classes, dtype, INF, column)
        labels = np.full(ROWS, (column + 1) % classes)
        one_hot = (np.arange(classes) == labels[:, None]).astype(np.uint8)
        for target in (labels, one_hot):
            for options in ({}, {"class_weight": np.ones(classes)}):
                smoothed = {"label_smoothing": smoothing, "z_loss": z_loss} | options
                loss, grad = cross_entropy_none(logits, target, -1, **smoothed)
                assert np.isnan(loss[SPECIAL])
                assert np.isfinite(np.delete(loss, SPECIAL)).all()
                assert np.isnan(grad[SPECIAL]).all()


# ------------------------------------------------------------------------------------------------------------- NaN


@every_axis
@every_dtype
@every_size
def test_a_nan_poisons_its_row_and_no_other(classes, dtype, axis, rng):
    for column in ends_and_borders(classes):
        clean = clean_rows(rng, classes, dtype)
        logits = clean.copy()
        logits[SPECIAL, column] = NAN
        lse, lse_grad = along(axis, ll.logsumexp_value_and_grad, logits)
        assert np.isnan(lse[SPECIAL])
        assert np.isnan(along(axis, ll.logsumexp, logits)[SPECIAL])
        assert np.isnan(lse_grad[SPECIAL]).all()
        assert np.isnan(along(axis, ll.softmax, logits)[SPECIAL]).all()
        assert np.isnan(along(axis, ll.log_softmax, logits)[SPECIAL]).all()
        soft = rng.random(logits.shape).astype(np.float32)
        for target in (np.full(ROWS, column), np.full(ROWS, (column + 1) % classes), soft):
            loss, grad = along(axis, cross_entropy_none, logits, target)
            assert np.isnan(loss[SPECIAL])
            assert np.isnan(grad[SPECIAL]).all()
            assert_others_keep_their_bits(cross_entropy_none, axis, clean, logits, target)
        for function in (ll.logsumexp_value_and_grad, ll.softmax, ll.log_softmax):
            assert_others_keep_their_bits(function, axis, clean, logits)


@every_dtype
@every_size
@pytest.mark.parametrize("company", [-INF, INF, -1e9, 1e30], ids=str)
def test_a_nan_wins_over_whatever_else_its_row_holds(company, classes, dtype, rng):
    for column in ends_and_borders(classes):
        logits = np.full((ROWS, classes), company, dtype)
        logits[:, column] = NAN
        target = np.full(ROWS, (column + 1) % classes)
        assert np.isnan(ll.logsumexp(logits, axis=-1)).all()
        assert np.isnan(ll.softmax(logits, axis=-1)).all()
        loss, grad = cross_entropy_none(logits, target, -1)
        assert np.isnan(loss).all()
        assert np.isnan(grad).all()


@every_dtype
def test_a_nan_in_a_block_of_padding_beside_normal_blocks(dtype, rng):
    for padding in (-INF, -1e9, np.finfo(dtype).min):
        logits = (3 * rng.standard_normal((2, 13000))).astype(dtype)
        logits[:, 4096:8192] = padding
        logits[1, 5000] = NAN
        lse = ll.logsumexp(logits, axis=-1)
        assert np.isfinite(lse[0])
        assert np.isnan(lse[1])


# ------------------------------------------------------------------------------- rows that are not read; reductions


@every_dtype
@every_size
@pytest.mark.parametrize("garbage", [NAN, INF, -INF])
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
def test_ignored_rows_are_not_read(reduction, garbage, classes, dtype, rng):
    logits, target = clean_rows(rng, classes, dtype), rng.integers(0, classes, ROWS)
    target[[0, SPECIAL, -1]] = -100
    kept = target != -100
    poisoned = logits.copy()
    poisoned[~kept] = garbage
    loss, grad = ll.cross_entropy_value_and_grad(poisoned, target, reduction=reduction)
    want_loss, want_grad = ll.cross_entropy_value_and_grad(logits, target, reduction=reduction)
    assert np.all(grad[~kept] == 0)
    assert_same_bits(loss, want_loss)
    assert_same_bits(grad, want_grad)
    if reduction == "none":
        assert np.all(loss[~kept] == 0)


@every_dtype
@every_size
@pytest.mark.parametrize("garbage", [NAN, INF, -INF])
@pytest.mark.parametrize("form", ["indices", "probabilities"])
def test_rows_of_sample_weight_0_are_not_read(form, garbage, classes, dtype, rng):
    logits = clean_rows(rng, classes, dtype)
    target = rng.integers(0, classes, ROWS) if form == "indices" else rng.random(logits.shape)
    weight = np.ones(ROWS)
    weight[[0, SPECIAL, -1]] = 0
    logits[weight == 0] = garbage
    loss, grad = cross_entropy_none(logits, target, -1, sample_weight=weight)
    assert np.all(loss[weight == 0] == 0)
    assert np.all(grad[weight == 0] == 0)
    assert np.isfinite(loss).all()
    assert np.isfinite(grad).all()


@every_dtype
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_a_mean_over_nothing_is_nan_with_a_gradient_of_0(rows, dtype, rng):
    logits = rng.standard_normal((rows, 4)).astype(dtype)
    loss, grad = ll.cross_entropy_value_and_grad(logits, np.full(rows, -100))
    assert np.isnan(loss)
    assert np.all(grad == 0)
    loss, grad = ll.cross_entropy_value_and_grad(logits, np.full(rows, -100), reduction="sum")
    assert loss == 0
    assert np.all(grad == 0)
    loss, grad = ll.cross_entropy_value_and_grad(logits, np.full(rows, -100), normalizer=3.0)
    assert loss == 0
    assert np.all(grad == 0)


@every_dtype
def test_a_mean_whose_weights_sum_to_0_is_nan_with_a_gradient_of_0(dtype, rng):
    logits, target = rng.standard_normal((4, 3)).astype(dtype), np.array([0, 1, 1, 2])
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, sample_weight=np.array([1, -1, 2, -2]))
    assert np.isnan(loss)
    assert np.all(grad == 0)
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, class_weight=np.zeros(3))
    assert np.isnan(loss)
    assert np.all(grad == 0)


@every_dtype
def test_one_class_costs_exactly_0(dtype):
    logits = np.array([[3.5], [-1e30], [0.0], [88.0]], dtype)
    loss, grad = cross_entropy_none(logits, np.zeros(4, int), -1)
    assert np.all(loss == 0)
    assert np.all(grad == 0)
    assert_same_bits(ll.logsumexp(logits, axis=-1), logits[:, 0])
    assert np.all(ll.softmax(logits, axis=-1) == 1)
    assert np.all(ll.log_softmax(logits, axis=-1) == 0)
    weighed = {"class_weight": [0.7], "label_smoothing": 0.1}  # 0.7 is not the same number in float32
    loss, grad = ll.cross_entropy_value_and_grad(logits, np.zeros(4, int), **weighed, reduction="sum")
    assert loss == 0
    assert np.all(grad == 0)


# --------------------------------------------------------------------------------------- products with softmax


@every_dtype
@every_size
def test_products_give_0_at_masked_classes_whatever_comes_from_above(classes, dtype, rng):
    for column in ends_and_borders(classes):
        logits = special_rows(rng, classes, dtype, -INF, column)
        dy = rng.standard_normal(logits.shape).astype(dtype)
        y, log_y = ll.softmax(logits, axis=-1), ll.log_softmax(logits, axis=-1)
        for above in (7.0, INF, NAN):
            dy[SPECIAL, column] = above
            got = ll.softmax_vjp(y, dy)
            assert got[SPECIAL, column] == 0
            assert np.isfinite(got).all()
        dy[SPECIAL, column] = 0
        got = ll.log_softmax_vjp(log_y, dy)
        assert got[SPECIAL, column] == 0
        assert np.isfinite(got).all()


# ------------------------------------------------------------------------------------- factors beyond the logits' dtype


@pytest.mark.parametrize("classes", [3, 300, 5000])
@pytest.mark.parametrize("targets", ["indices", "soft", "one-hot", "smoothed and weighted"])
def test_factors_beyond_float32_of_gradients_that_are_not(classes, targets, rng):
    # With such a factor the float32 factors are infinite, and infinity times a probability of 0 would be NaN.
    logits = (rng.standard_normal((4, classes)) * 8).astype(np.float32)
    logits[:, 1] = -INF
    labels = np.array([0, 2, 0, 2])
    target = labels if targets in ("indices", "smoothed and weighted") else np.eye(classes)[labels]
    if targets == "soft":
        target = 0.9 * target
        target[:, [0, 2]] += 0.05
    options = {}
    if targets == "smoothed and weighted":
        logits[:, 1] = 0.5
        options = {"label_smoothing": 0.1, "class_weight": rng.random(classes) + 0.5}
    factor = 1e39
    _, want = ll.cross_entropy_value_and_grad(logits.astype(np.float64), target, reduction="sum", **options)
    _, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="sum", upstream=factor, **options)
    want = want * factor
    inside, beyond = np.abs(want) < 3.3e38, np.abs(want) > 3.5e38
    assert inside.any()
    # p - q of a smoothed target cancels, to the rounding of q.
    rounding = 1e-6 * factor * 0.2 / classes if options else 1e-40
    np.testing.assert_allclose(grad[inside], want[inside], rtol=1e-6, atol=rounding)
    np.testing.assert_array_equal(grad[beyond], np.copysign(INF, want[beyond]))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [3, 300])
def test_an_infinite_upstream_gives_infinities_and_masked_classes_0(classes, dtype, rng):
    logits = rng.standard_normal((2, classes)).astype(dtype)
    logits[:, 1] = -INF
    _, grad = ll.cross_entropy_value_and_grad(logits, [0, 2], reduction="sum", upstream=INF)
    want = np.full((2, classes), INF)
    want[:, 1] = 0
    want[0, 0] = want[1, 2] = -INF
    np.testing.assert_array_equal(grad, want)


@pytest.mark.parametrize("classes", [3, 200, 5000])
@pytest.mark.parametrize("factor", [1e40, INF])
def test_factors_beyond_float32_of_log_sum_exps(factor, classes):
    logits = np.full((2, classes), -100, np.float32)
    logits[:, 0] = 0
    logits[:, 1] = -INF
    _, grad = ll.logsumexp_value_and_grad(logits, axis=1, upstream=np.full(2, factor))
    assert np.all(grad[:, 0] == INF)
    assert np.all(grad[:, 1] == 0)
    np.testing.assert_allclose(grad[:, 2:], factor * np.exp(-100.0), rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("classes", [1, 2, 128, 129, 200, 4096, 4097])
@pytest.mark.parametrize("form", ["index", "soft"])
def test_where_only_the_target_is_finite_the_gradient_is_0(form, classes, dtype, rng):
    # After many ordinary rows, whose exponentials lie in the buffers that these rows use.
    logits = rng.standard_normal((160, classes)).astype(dtype)
    logits[100:] = -INF
    logits[100:, classes // 2] = 1
    target = np.full(160, classes // 2)
    if form == "soft":
        target = np.eye(classes)[target]
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none")
    assert np.all(loss[100:] == 0)
    assert np.all(grad[100:] == 0)
    assert np.all(ll.softmax(logits, -1)[100:] == (np.arange(classes) == classes // 2))
