"""CrossEntropyState: classes that lie in several places give what they give in one, wherever they are cut."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import reference
from checks import (
    DTYPES,
    GRADIENT_TOLERANCE,
    HALVES,
    LOSS_TOLERANCE,
    arithmetic_for,
    assert_same_bits,
    assert_within,
    floor,
    ulps,
)
from child import run_python
from hypothesis import given, settings
from hypothesis import strategies as st
from shards import gradient, merged, states

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)

# All that act on a row; weights are made for the classes and rows at hand.
OPTIONS = [
    {},
    {"label_smoothing": 0.1},
    {"z_loss": 1e-3},
    {"softcap": 9.0},
    {"class_weight": True},
    {"class_weight": True, "label_smoothing": 0.2},
    {"sample_weight": True, "ignore_index": 1},
    {"scale": 2.0},
    {"scale": 3.0, "margin": 0.3},
    {
        "sample_weight": True, "class_weight": True, "label_smoothing": 0.05, "z_loss": 1e-4, "softcap": 20.0,
        "scale": 1.7, "margin": 0.1, "ignore_index": None,
    },
]  # fmt: skip


def named(options):
    return "-".join(options) or "plain"


every_option = pytest.mark.parametrize("options", OPTIONS, ids=named)


def with_weights(options, rng, rows, classes):
    weights = {"class_weight": rng.uniform(0.5, 2, classes), "sample_weight": rng.uniform(0.5, 2, rows)}
    return {name: weights[name] if value is True else value for name, value in options.items()}


def case(rng, dtype, rows, classes, options):
    """Logits, class indices some of which are ignored, and options; leads of -60 to 60."""
    logits = (3 * rng.standard_normal((rows, classes))).astype(dtype)
    target = rng.integers(0, classes, rows)
    logits[np.arange(rows), target] += np.linspace(-60, 60, rows).astype(dtype)
    target[:: max(2, rows // 3)] = options.get("ignore_index") or 0
    return logits, target, with_weights(options, rng, rows, classes)


# ------------------------------------------------------------------------------------------------- loss and gradient


def sensitivity(logits, options):
    """Rounding of transformed logits moves a loss by this much, as in one call."""
    if not {"softcap", "scale"} & set(options):
        return 0.0
    return 4 * np.finfo(logits.dtype).eps * options.get("scale", 1.0) * np.abs(logits).max()


@every_dtype
@every_option
@pytest.mark.parametrize("classes", [2, 700, 9000])
def test_shards_are_as_exact_as_one_call(classes, options, dtype, rng):
    logits, target, options = case(rng, dtype, 13, classes, options)
    want = reference.cross_entropy(logits, target, reduction="none", arithmetic=arithmetic_for(dtype), **options)
    moved = sensitivity(logits, options)
    for shards in (1, 4):
        cuts = np.sort(rng.integers(0, classes + 1, shards - 1))
        state = merged(states(logits, target, cuts, **options))
        loss = state.loss(reduction="none")
        assert loss.dtype == dtype
        assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(dtype)] + moved, want.loss_magnitude, floor(dtype))
        grad = gradient(state, logits, target, cuts, reduction="none")
        assert_within(grad, want.grad, GRADIENT_TOLERANCE[np.dtype(dtype)] + moved, want.grad_magnitude, floor(dtype))


@every_dtype
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_one_shard_of_long_rows_has_the_bits_of_one_call(reduction, dtype, rng):
    for options in ({}, {"class_weight": True}, {"label_smoothing": 0.1}):
        logits, target, options = case(rng, dtype, 24, 8193, options)
        loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction=reduction, **options)
        state = ll.CrossEntropyState(logits, target, first_class=0, num_classes=8193, **options)
        assert_same_bits(state.loss(reduction=reduction), loss)
        assert_same_bits(state.grad(logits, reduction=reduction), grad)


def test_the_loss_is_the_same_beside_every_shard(rng):
    """Each rank of logitloss.mpi computes it beside its own classes."""
    cuts = [0, 10, 10, 4500, 5000]
    for rows in range(20, 60):
        logits, target, _ = case(rng, np.float64, rows, cuts[-1], {})
        state = merged(states(logits, target, cuts[1:-1]))
        loss = state.loss(reduction="sum")
        for first, end in itertools.pairwise(cuts):
            shard = logits[:, first:end]
            beside, _ = state._loss_and_grad(shard, first, None, True, "sum", None, None, None, None)
            assert_same_bits(beside, loss)


@every_dtype
@pytest.mark.parametrize("options", [o for o in OPTIONS if not {"scale", "label_smoothing"} & set(o)], ids=named)
@pytest.mark.parametrize("classes", [10, 1000, 9000])
def test_distance_from_one_call(classes, options, dtype, rng):
    """Sums in another order differ in the last bits of float64; float32 is rounded from such sums."""
    logits, target, options = case(rng, dtype, 40, classes, options)
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none", **options)
    most = 1 if dtype == np.float32 else 2
    for shards in (1, 2, 4):
        cuts = np.sort(rng.integers(0, classes + 1, shards - 1))
        state = merged(states(logits, target, cuts, **options))
        assert ulps(state.loss(reduction="none"), loss).max() <= most
        normal = np.abs(grad) > floor(dtype)
        of_shards = gradient(state, logits, target, cuts, reduction="none")
        # A softcap multiplies it by one more rounded factor.
        assert ulps(of_shards[normal], grad[normal]).max() <= (4 if "softcap" in options else 2) * most


@every_dtype
def test_smoothing_is_within_2_ulp_of_one_call(dtype, rng):
    logits, target, _ = case(rng, dtype, 40, 1000, {})
    loss = ll.cross_entropy(logits, target, reduction="none", label_smoothing=0.1)
    state = merged(states(logits, target, [100, 101, 600], label_smoothing=0.1))
    assert ulps(state.loss(reduction="none"), loss).max() <= 2


@every_dtype
@pytest.mark.parametrize("options", [{}, {"label_smoothing": 0.1}, {"class_weight": True}, {"z_loss": 1e-3}], ids=named)
def test_class_probabilities(options, dtype, rng):
    logits = (5 * rng.standard_normal((19, 600))).astype(dtype)
    target = rng.dirichlet(np.ones(600), 19)
    target[:3] = np.eye(600)[:3]
    logits[:3] += 40 * target[:3].astype(dtype)
    options = with_weights(options, rng, 19, 600)
    want = reference.cross_entropy(logits, target, reduction="none", arithmetic=arithmetic_for(dtype), **options)
    cuts = [1, 200, 550]
    state = merged(states(logits, target, cuts, **options), [2, 0, 3, 1])
    loss = state.loss(reduction="none")
    assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(dtype)], want.loss_magnitude, floor(dtype))
    grad = gradient(state, logits, target, cuts, reduction="none")
    assert_within(grad, want.grad, GRADIENT_TOLERANCE[np.dtype(dtype)], want.grad_magnitude, floor(dtype))


@every_dtype
def test_a_target_that_leads_by_40_in_another_shard(dtype):
    logits = np.array([[0, 0, 0, 40]], dtype)
    state = merged(states(logits, [3], [2]))
    assert ulps(state.loss(), 3 * np.exp(-40.0)) <= 1
    grad = gradient(state, logits, [3], [2])
    np.testing.assert_allclose(grad, [[np.exp(-40.0)] * 3 + [-3 * np.exp(-40.0)]], rtol=1e-6, atol=0)


@every_dtype
def test_every_lead_keeps_its_digits(dtype):
    lead = np.linspace(-90, 90, 91)
    logits = np.zeros((91, 6))
    logits[:, 4] = lead
    logits = logits.astype(dtype)
    loss = merged(states(logits, np.full(91, 4), [1, 4, 5])).loss(reduction="none")
    assert_within(loss, np.log1p(5 * np.exp(-lead.astype(np.longdouble))), LOSS_TOLERANCE[np.dtype(dtype)])


@pytest.mark.parametrize("half", HALVES, ids=lambda d: np.dtype(d).name)
def test_halves(half, rng):
    logits = (4 * rng.standard_normal((9, 300))).astype(half)
    target = rng.integers(0, 300, 9)
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none")
    state = merged(states(logits, target, [50, 51, 299]))
    assert ulps(state.loss(reduction="none"), loss).max() <= 1
    got = gradient(state, logits, target, [50, 51, 299], reduction="none")
    assert got.dtype == half
    np.testing.assert_allclose(got.astype(float), grad.astype(float), rtol=1e-2)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_class_axes_and_layouts(axis, rng):
    logits = rng.standard_normal((4, 5, 6)).astype(np.float32)
    rows = np.moveaxis(logits, axis, -1).shape[:-1]
    classes = logits.shape[axis]
    target = rng.integers(0, classes, rows)
    weight = rng.random(rows[-1])
    options = {"axis": axis, "sample_weight": weight, "label_smoothing": 0.1}
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none", **options)
    for array in (logits, np.asfortranarray(logits), logits[::-1, ::-1, ::-1].copy()[::-1, ::-1, ::-1]):
        state = merged(states(array, target, [1, 3], **options))
        np.testing.assert_allclose(state.loss(reduction="none"), loss, rtol=5e-7)
        got = gradient(state, array, target, [1, 3], axis, reduction="none")
        np.testing.assert_allclose(got, grad, rtol=2e-6, atol=1e-8)
        assert_same_bits(state.loss(), merged(states(array, target, [1, 3], num_threads=1, **options)).loss())


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_reductions_upstream_and_in_place(reduction, rng):
    logits = rng.standard_normal((8, 12))
    target = rng.integers(0, 12, 8)
    target[2] = -100
    options = {"class_weight": rng.random(12), "sample_weight": rng.random(8)}
    upstream = rng.random(8) if reduction == "none" else 0.7
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction=reduction, upstream=upstream, **options)
    state = merged(states(logits, target, [4], **options))
    np.testing.assert_allclose(state.loss(reduction=reduction), loss, rtol=1e-15, atol=0)
    for first, end in ((0, 4), (4, 12)):
        shard = logits[:, first:end].copy()
        out = state.grad(shard, first_class=first, reduction=reduction, upstream=upstream, grad_out=shard)
        assert out is shard
        np.testing.assert_allclose(shard, grad[:, first:end], rtol=1e-14, atol=0)
    if reduction != "none":
        loss = ll.cross_entropy(logits, target, reduction=reduction, normalizer=3.0, **options)
        np.testing.assert_allclose(state.loss(reduction=reduction, normalizer=3.0), loss, rtol=1e-15)


def test_weights_whose_mean_would_overflow(rng):
    logits = rng.standard_normal((6, 9))
    target = rng.integers(0, 9, 6)
    weights = rng.random(9) * 1e308
    for options in ({"class_weight": weights}, {"class_weight": weights, "label_smoothing": 0.1}):
        state = merged(states(logits, target, [3, 5], **options))
        np.testing.assert_allclose(state.loss(), ll.cross_entropy(logits, target, **options), rtol=1e-13)


# -------------------------------------------------------------------------------------------------------- not finite

ODD = [np.inf, -np.inf, np.nan, 1e6, -1e6, 2e5, -1.4e5, 3e38, -3e38]


def odd_rows():
    rows = [np.array([0.0, 1, 2, 3, 4, 5])]
    for at in range(6):
        for value in ODD:
            rows.append(rows[0].copy())
            rows[-1][at] = value
    rows += [np.full(6, v) for v in (-np.inf, -1e9, 1e6)]
    rows += [rows[0] + 1e6, rows[0] - 1e6, np.array([-1e9, -1e9, 0, 1, -1e9, -1e9])]
    rows += [np.array([-np.inf, -np.inf, -np.inf, 1, -np.inf, 0]), np.array([1e30, 1e30, 0, 0, 1e30, -1e30])]
    rows += [np.array([140000.0, 139999, 139990, 140001, 0, 5])]
    return np.stack(rows)


@every_dtype
@pytest.mark.parametrize("options", [o for o in OPTIONS if "scale" not in o and "ignore_index" not in o], ids=named)
@pytest.mark.parametrize("cuts", [[3], [1, 2, 3, 4, 5], [2, 4]], ids=str)
def test_odd_rows_are_as_in_one_call(cuts, options, dtype, rng):
    rows = odd_rows()
    logits = np.repeat(rows, 6, axis=0).astype(dtype)
    target = np.tile(np.arange(6), len(rows))
    options = with_weights(options, rng, len(target), 6)
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none", **options)
    state = merged(states(logits, target, cuts, **options))
    tolerance = 10 * LOSS_TOLERANCE[np.dtype(dtype)]
    np.testing.assert_allclose(state.loss(reduction="none"), loss, rtol=tolerance, atol=0)
    got = gradient(state, logits, target, cuts, reduction="none")
    np.testing.assert_allclose(got, grad, rtol=3 * tolerance, atol=tolerance)


@every_dtype
@pytest.mark.parametrize("cuts", [[3], [1, 2, 3, 4, 5]], ids=str)
def test_masks_and_offsets_survive_scale_and_margin(cuts, dtype):
    rows = odd_rows()
    rows = rows[~(np.abs(rows) > 1e10).any(axis=-1) | np.isinf(rows).any(axis=-1)]
    logits = np.repeat(rows, 6, axis=0).astype(dtype)
    target = np.tile(np.arange(6), len(rows))
    options = {"scale": 3.0, "margin": 0.25}
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none", **options)
    state = merged(states(logits, target, cuts, **options))
    tolerance = 20 * LOSS_TOLERANCE[np.dtype(dtype)]
    np.testing.assert_allclose(state.loss(reduction="none"), loss, rtol=tolerance, atol=0)
    got = gradient(state, logits, target, cuts, reduction="none")
    np.testing.assert_allclose(got, grad, rtol=3 * tolerance, atol=3 * tolerance)


@every_dtype
def test_a_common_offset_costs_no_digit(dtype):
    logits = np.array([[0.0, 0.5, 0.25, 0.75, 0.125, 1.0]], dtype)
    for offset in (2.0**16, 2.0**20, -(2.0**20)):
        moved = (logits.astype(float) + offset).astype(dtype)
        if not np.array_equal(moved - dtype(offset), logits):
            continue
        for options in ({}, {"scale": 3.0, "margin": 0.5}, {"label_smoothing": 0.1}):
            near = merged(states(logits, [2], [1, 4], **options))
            far = merged(states(moved, [2], [1, 4], **options))
            np.testing.assert_allclose(far.loss(), near.loss(), rtol=4 * LOSS_TOLERANCE[np.dtype(dtype)])


def test_ignored_and_weightless_rows_are_not_read():
    logits = np.full((3, 6), np.nan)
    logits[2] = np.arange(6)
    options = {"sample_weight": [1.0, 0.0, 1.0], "ignore_index": 9}
    target = np.array([9, 1, 2])
    state = merged(states(logits, target, [2], **options))
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none", **options)
    np.testing.assert_allclose(state.loss(reduction="none"), loss, rtol=1e-15)
    np.testing.assert_allclose(gradient(state, logits, target, [2], reduction="none"), grad, rtol=1e-14)


@every_dtype
@pytest.mark.parametrize("cuts", [[], [2], [1, 2, 3], [0, 4]], ids=str)
@pytest.mark.parametrize("z_loss", [0.0, 1e-3])
def test_rows_without_any_coefficient_are_as_in_one_call(z_loss, cuts, dtype):
    """Their logits decide nothing, whatever they are; coefficients that cancel are others."""
    odd = [[np.nan, 1, 2, 3], [-np.inf] * 4, [1, np.inf, 0, -np.inf], [0, 1, 2, 3], [np.nan] * 4, [1e30, 3, 1e30, 3]]
    rows = np.array([row for row in odd for _ in range(4)], dtype)
    zeros, first, cancels = [0.0] * 4, [1.0, 0, 0, 0], [0, 1.0, 0, -1.0]
    soft = np.array([zeros, first, [0.25] * 4, cancels] * len(odd))
    hard = np.tile([0, 1, 2, 3], len(odd))
    weight = [0.0, 2, 1, 1]
    for target, options in (
        (soft, {}),
        (soft, {"class_weight": weight}),
        (soft, {"sample_weight": np.resize([1.0, np.inf, 0.5, 2], len(rows))}),
        (soft, {"sample_weight": np.resize([np.inf, 1.0], len(rows))}),
        (hard, {"class_weight": weight}),
        (hard, {"class_weight": weight, "label_smoothing": 0.1}),
        (hard, {"class_weight": np.zeros(4), "label_smoothing": 0.1}),
    ):
        options = options | {"z_loss": z_loss}
        loss, grad = ll.cross_entropy_value_and_grad(rows, target, reduction="none", **options)
        state = merged(states(rows, target, cuts, **options))
        tolerance = 10 * LOSS_TOLERANCE[np.dtype(dtype)]
        np.testing.assert_allclose(state.loss(reduction="none"), loss, rtol=tolerance, atol=0)
        got = gradient(state, rows, target, cuts, reduction="none")
        np.testing.assert_allclose(got, grad, rtol=3 * tolerance, atol=tolerance)


# ---------------------------------------------------------------------------------------------------------- same bits


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_bits_depend_on_the_cuts_alone(data):
    """Not on the order or the tree of merging, not on transport, not on threads."""
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    dtype = data.draw(st.sampled_from(DTYPES))
    classes = data.draw(st.integers(1, 60))
    options = data.draw(st.sampled_from(OPTIONS))
    logits, target, options = case(rng, dtype, 7, classes, options)
    if options.get("ignore_index") is not None:
        target = np.minimum(target, classes - 1) if classes > 1 else np.zeros_like(target)
    odd = data.draw(st.sampled_from([None, np.nan, np.inf, -np.inf, 3e5, -3e5]))
    if odd is not None:
        logits[rng.integers(7), rng.integers(classes)] = odd
    cuts = sorted(data.draw(st.lists(st.integers(0, classes), max_size=5)))
    parts = states(logits, target, cuts, **options)
    first = merged(parts)
    loss, grad = first.loss(reduction="none"), gradient(first, logits, target, cuts)
    pool = [copy.copy(one) for one in data.draw(st.permutations(parts))]
    keywords = dict(options, num_classes=classes)
    while len(pool) > 1:
        left = pool.pop(data.draw(st.integers(0, len(pool) - 1)))
        right = pool.pop(data.draw(st.integers(0, len(pool) - 1)))
        if data.draw(st.booleans()):
            right = pickle.loads(pickle.dumps(right))
        if data.draw(st.booleans()):
            left = ll.CrossEntropyState.from_array(left.to_array(), target, **keywords)
        pool.append(left.merge(right))
    assert_same_bits(pool[0].loss(reduction="none", num_threads=1), loss)
    assert_same_bits(gradient(pool[0], logits, target, cuts, num_threads=1), grad)


DIGEST = """
import hashlib, numpy as np, logitloss as ll
from shards import gradient, merged, states
rng = np.random.default_rng(3)
digest = hashlib.sha256()
for dtype in (np.float16, np.float32, np.float64):
    for classes, cuts in ((3, [1]), (10, [2, 9]), (5000, [700, 4096]), (20000, [8192, 9001])):
        logits = (4 * rng.standard_normal((20, classes))).astype(dtype)
        logits[3, 1] = -np.inf
        logits[4, 0] = 60000
        target = rng.integers(0, classes, 20)
        for options in ({}, dict(label_smoothing=.1, z_loss=1e-3, scale=1.5, softcap=30.0)):
            state = merged(states(logits, target, cuts, **options))
            for result in (state.to_array(), state.loss(), gradient(state, logits, target, cuts)):
                result = np.asarray(result)
                digest.update(np.where(np.isnan(result), np.nan, result).astype(result.dtype).tobytes())
print(ll.isa(), digest.hexdigest())
"""


def test_the_same_bits_on_every_instruction_set_and_at_any_number_of_threads():
    digests = set()
    for isa in ll.available_isas():
        for threads in "13":
            printed = run_python(DIGEST, LOGITLOSS_ISA=isa, OMP_NUM_THREADS=threads, LOGITLOSS_OVERSUBSCRIBE="1")
            assert printed.split()[0] == isa
            digests.add(printed.split()[1])
    assert len(digests) == 1


# -------------------------------------------------------------------------------------------- what a state is


@every_dtype
def test_states_are_small(dtype, rng):
    logits = rng.standard_normal((50, 3000)).astype(dtype)
    parts = states(logits, np.zeros(50, int), [1000, 2000])
    assert [one.to_array().shape for one in parts] == [(50, 12)] * 3
    assert merged(parts[:2]).to_array().shape == (50, 24)
    assert merged(parts).to_array().shape == (50, 12)
    assert len(pickle.dumps(merged(parts))) < 50 * (12 + 1) * 8 + 2000


def test_the_other_state_and_the_target_of_the_caller_stay_as_they_are(rng):
    logits = rng.standard_normal((5, 8))
    target = rng.integers(0, 8, 5)
    left, right = states(logits, target, [3])
    before = right.to_array()
    want = ll.cross_entropy(logits, target)
    target[:] = 0
    assert left.merge(right) is left
    assert_same_bits(right.to_array(), before)
    np.testing.assert_allclose(left.loss(), want, rtol=1e-15)


def test_shards_without_classes_and_without_rows(rng):
    logits = rng.standard_normal((5, 8))
    target = rng.integers(0, 8, 5)
    state = merged(states(logits, target, [0, 3, 3, 8]))
    np.testing.assert_allclose(state.loss(), ll.cross_entropy(logits, target), rtol=1e-15)
    assert state.grad(logits[:, :0], first_class=8).shape == (5, 0)

    nothing, no_target = np.empty((0, 8)), np.empty(0, int)
    state = merged(states(nothing, no_target, [3]))
    stored = ll.CrossEntropyState.from_array(state.to_array(), no_target, num_classes=8)
    for one in (state, stored):
        assert np.isnan(one.loss())
        assert one.loss(reduction="sum") == 0
        assert one.grad(nothing[:, 3:], first_class=3).shape == (0, 5)


@every_dtype
def test_states_without_rows_or_classes_keep_their_arithmetic(dtype):
    nothing, no_target = np.empty((0, 8), dtype), np.empty(0, int)
    state = merged(states(nothing, no_target, [3]))
    for one in (state, pickle.loads(pickle.dumps(state)), merged(states(nothing, no_target, [0, 8]), [2, 0, 1])):
        for reduction in ("none", "mean", "sum"):
            assert one.loss(reduction=reduction).dtype == dtype
    stored = ll.CrossEntropyState.from_array(np.empty((0, 12)), no_target, num_classes=8)
    assert stored.merge(state).loss().dtype == dtype
    other = np.float32 if dtype == np.float64 else np.float64
    for rows in (0, 2):
        target = np.zeros(rows, int)
        left = ll.CrossEntropyState(np.empty((rows, 0), dtype), target, first_class=0, num_classes=8)
        right = ll.CrossEntropyState(np.zeros((rows, 8), other), target, first_class=0, num_classes=8)
        with pytest.raises(ValueError, match="float64 logits beside one of others"):
            left.merge(right)


@every_dtype
def test_hundreds_of_shards(dtype, rng):
    """One by one, and all at once, with the same bits; copies of a state in the making stay what they are."""
    logits, target, options = case(rng, dtype, 30, 900, {"label_smoothing": 0.1, "z_loss": 1e-3})
    cuts = np.sort(rng.choice(np.arange(1, 900), 499, replace=False))
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none", **options)
    parts = states(logits, target, cuts, **options)
    state = parts[0]
    made_of_half = None
    for i, part in enumerate(parts[1:]):
        if i == 249:
            made_of_half = copy.copy(state)
        state = state.merge(part)
    assert made_of_half.to_array().shape == (30, 250 * 12)
    tolerance = 4 * LOSS_TOLERANCE[np.dtype(dtype)]
    np.testing.assert_allclose(state.loss(reduction="none"), loss, rtol=tolerance)
    got = gradient(state, logits, target, cuts, reduction="none")
    np.testing.assert_allclose(got, grad, rtol=3 * tolerance, atol=tolerance)
    parts = states(logits, target, cuts, **options)
    together = np.concatenate([part.to_array() for part in parts], axis=-1)
    stored = ll.CrossEntropyState.from_array(together, target, num_classes=900, **options)
    assert_same_bits(stored.to_array(), state.to_array())
    assert_same_bits(merged(parts, rng.permutation(500)).to_array(), state.to_array())


def test_merging_one_by_one_copies_no_state(rng, monkeypatch):
    """Half a state in the making is not copied whenever a shard arrives: what is laid side by side is all, once."""
    logits, target = rng.standard_normal((5, 64)), rng.integers(0, 64, 5)
    parts = states(logits, target, list(range(1, 64)))
    stacked = []
    stack = np.stack
    monkeypatch.setattr(np, "stack", lambda arrays, axis: stacked.append(len(arrays)) or stack(arrays, axis=axis))
    monkeypatch.setattr(np, "concatenate", None)
    merged(parts).loss()
    assert stacked == [64]


def test_one_row_without_axes():
    state = merged(states(np.array([0.0, 1.0, 2.0]), np.array(1), [1]))
    assert ulps(state.loss(reduction="none"), ll.cross_entropy([0.0, 1.0, 2.0], 1)) <= 1
    assert isinstance(state.loss(), np.float64)


# ------------------------------------------------------------------------------------------------------------- errors


def test_labels_are_those_of_all_classes():
    shard = np.zeros((2, 3))
    ll.CrossEntropyState(shard, [9, 0], first_class=3, num_classes=10)
    with pytest.raises(ValueError, match=r"target\[1\]: got label 10, expected a class in \[0, 10\)"):
        ll.CrossEntropyState(shard, [9, 10], first_class=3, num_classes=10)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"first_class": 8}, ValueError, r"first_class: got 8 for a shard of 3 classes, expected classes in \[0, 10\)"),
        ({"first_class": -1}, ValueError, "first_class: got -1"),
        ({"num_classes": 2}, ValueError, "first_class: got 3 for a shard of 3 classes"),
        ({"num_classes": 0}, ValueError, "num_classes: got 0, expected at least 1"),
        ({"first_class": 1.5}, TypeError, "first_class: got 1.5, expected an int"),
        ({"num_classes": True}, TypeError, "num_classes: got True, expected an int"),
        ({"class_weight": np.ones(3)}, ValueError, r"class_weight: got shape \(3,\), expected \(10,\)"),
        ({"label_smoothing": 2.0}, ValueError, "label_smoothing: got 2.0"),
        ({"margin": "x"}, TypeError, "margin"),
        ({"axis": 2}, np.exceptions.AxisError, "axis 2 is out of bounds"),
        ({"target": [0.5, 1.0]}, TypeError, "target: got dtype float64, expected an integer"),
        ({"logits_shard": np.zeros((2, 3), complex)}, TypeError, "logits_shard: got dtype complex128"),
        ({"logits_shard": np.ma.zeros((2, 3))}, TypeError, "logits_shard: .* mask"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_bad_arguments(changed, error, message):
    arguments = {"logits_shard": np.zeros((2, 3)), "target": [0, 1], "first_class": 3, "num_classes": 10} | changed
    shard, target = arguments.pop("logits_shard"), arguments.pop("target")
    with pytest.raises(error, match=message):
        ll.CrossEntropyState(shard, target, **arguments)


def test_states_that_do_not_belong_together(rng):
    logits, target = rng.standard_normal((4, 8)), rng.integers(0, 8, 4)

    def right(values=logits, labels=target, first=3, **options):
        arguments = {"first_class": first, "num_classes": 8} | options
        return ll.CrossEntropyState(values[:, first:8], labels, **arguments)

    left = ll.CrossEntropyState(logits[:, :3], target, first_class=0, num_classes=8)
    before = left.to_array()
    for other, message in (
        (right(first=2), "got class 2 twice, expected shards that do not overlap"),
        (right(labels=(target + 1) % 8), "got another target"),
        (right(values=logits[:3], labels=target[:3]), r"got rows of shape \(3,\), expected \(4,\)"),
        (right(values=logits.astype(np.float32)), "float64 logits beside one of others"),
        (right(scale=2.0), "got another scale"),
        (right(class_weight=np.ones(8)), "got another class_weight"),
        (right(num_classes=9), "got another num_classes"),
        (left, "got class 0 twice"),
    ):
        with pytest.raises(ValueError, match=message):
            left.merge(other)
    with pytest.raises(TypeError, match="other: got ndarray, expected a CrossEntropyState"):
        left.merge(before)
    assert_same_bits(left.to_array(), before)


def test_classes_that_are_missing(rng):
    logits, target = rng.standard_normal((4, 8)), rng.integers(0, 8, 4)
    first, second, third = states(logits, target, [3, 5])
    for state, missing in (
        (copy.copy(first), r"\[3, 8\)"),
        (merged([first, third]), r"\[3, 5\)"),
        (second, r"\[0, 3\)"),
    ):
        with pytest.raises(ValueError, match=f"got no classes {missing}, expected shards that cover all 8"):
            state.loss()
        with pytest.raises(ValueError, match="got no classes"):
            state.grad(logits[:, :3])


def test_bad_gradients_leave_everything_as_it_was(rng):
    logits, target = rng.standard_normal((4, 8)), rng.integers(0, 8, 4)
    state = merged(states(logits, target, [3]))
    shard = logits[:, :3].copy()
    kept = shard.copy()
    for arguments, error, message in (
        ({"grad_out": shard.astype(np.float32)}, ValueError, "grad_out"),
        ({"grad_out": shard[:, :2]}, ValueError, "grad_out"),
        ({"first_class": 6, "grad_out": shard}, ValueError, "first_class: got 6 for a shard of 3 classes"),
        ({"upstream": np.ones(3), "grad_out": shard}, ValueError, "upstream"),
        ({"reduction": "max", "grad_out": shard}, ValueError, "reduction"),
        ({"target": np.ones((4, 3)), "grad_out": shard}, TypeError, "target: got ndarray, expected none"),
    ):
        with pytest.raises(error, match=message):
            state.grad(shard, **arguments)
    with pytest.raises(ValueError, match=r"got rows of shape \(3,\), expected \(4,\)"):
        state.grad(shard[:3])
    with pytest.raises(ValueError, match="logits_shard: got dtype float32 beside states of float64 logits"):
        state.grad(shard.astype(np.float32))
    soft = merged(states(logits, np.full((4, 8), 0.125), [3]))
    with pytest.raises(TypeError, match="target: got None, expected class probabilities of the shard"):
        soft.grad(shard, grad_out=shard)
    assert_same_bits(shard, kept)


def test_arrays_that_are_no_states(rng):
    logits, target = rng.standard_normal((4, 8)), rng.integers(0, 8, 4)
    array = merged(states(logits, target, [3])[:1]).to_array()

    def changed(column, value, row=slice(None)):
        other = array.copy()
        other[row, column] = value
        return other

    for bad, message in (
        (array[:, :-1], "expected 12 numbers a shard"),
        (np.float64(1), "expected 12 numbers a shard"),
        (array[:3], r"target: got shape \(4,\), expected \(3,\)"),
        (changed(0, 1, row=2), "numbers that to_array does not give"),
        (changed(1, 9), "numbers that to_array does not give"),
        (changed(0, np.nan), "numbers that to_array does not give"),
        (changed(1, 2.5), "numbers that to_array does not give"),
        (changed(2, 7), "numbers that to_array does not give"),
        (np.concatenate([array, array], axis=-1), "numbers that to_array does not give"),
    ):
        with pytest.raises(ValueError, match=message):
            ll.CrossEntropyState.from_array(bad, target, num_classes=8)
