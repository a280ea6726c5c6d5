"""Log-probabilities, entropies, ranks and best classes: against mpmath, sorting, cross-entropy and differences."""

import itertools

import numpy as np
import pytest
import reference
from checks import DTYPES, HALVES, LOSS_TOLERANCE, arithmetic_for, assert_same_bits, assert_within, floor
from reference import EXACT

import logitloss as ll

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
every_dtype_and_half = pytest.mark.parametrize("dtype", DTYPES + HALVES, ids=lambda d: np.dtype(d).name)
ALL = ll.TokenLogProbs._fields
SIZES = [1, 2, 3, 10, 64, 65, 256, 257, 1000, 4095, 4096, 4097, 9000]
VJP_TOLERANCE = {np.dtype(np.float32): 1e-6, np.dtype(np.float64): 1e-13}


def rows_of_many_kinds(rng, rows, classes, dtype):
    """Plain, confident, masked and tied ones."""
    logits = (3 * rng.standard_normal((rows, classes))).astype(dtype)
    for row, lead in enumerate((15, 40, 60, 85, 95)):
        logits[row, rng.integers(classes)] = lead
    logits[5, rng.random(classes) < 0.5] = -np.inf
    logits[5, classes // 2] = 1
    logits[6] = rng.integers(-2, 3, classes)
    logits[7] = 1.5
    return logits


def expected(logits, ids, k, temperature=1.0, arithmetic=None):
    arithmetic = arithmetic or arithmetic_for(np.float64 if logits.dtype == np.float64 else np.float32)
    return reference.token_logprobs(logits, ids, k, temperature, arithmetic)


def assert_tokens(got, want, dtype, tolerance=None):
    result = np.dtype(np.float64 if dtype == np.float64 else np.float32)
    tolerance = tolerance or LOSS_TOLERANCE[result]
    for name in ("logprob", "entropy", "topk_logprobs"):
        value = getattr(got, name)
        assert value.dtype == result
        assert_within(value, np.reshape(getattr(want, name), value.shape), tolerance, floor=floor(result))
    above = -np.asarray(want.topk_logprobs)[..., 0]  # L - max
    with np.errstate(invalid="ignore"):
        size = np.maximum(abs(want.lse), above)
    assert_within(got.lse, want.lse, tolerance, size, floor(result))
    for name in ("argmax", "rank", "topk_ids"):
        value = getattr(got, name)
        assert value.dtype == np.int64
        np.testing.assert_array_equal(value, np.reshape(getattr(want, name), value.shape), err_msg=name)


# -------------------------------------------------------------------------------------------------------------- values


@every_dtype_and_half
@pytest.mark.parametrize("classes", SIZES)
def test_one_id_a_row(classes, dtype, rng):
    logits = rows_of_many_kinds(rng, 12, classes, dtype)
    k = min(classes, 7)
    for ids in (rng.integers(0, classes, 12), np.argmax(logits, axis=-1)):
        got = ll.token_logprobs(logits, ids, returns=ALL, k=k)
        assert_tokens(got, expected(logits, ids[:, None], k), dtype)
        assert_same_bits(got.logprob, -ll.cross_entropy(logits, ids, reduction="none"))


@every_dtype_and_half
@pytest.mark.parametrize("classes", [1, 3, 100, 300, 4097, 9000])
def test_several_ids_a_row(classes, dtype, rng):
    logits = rows_of_many_kinds(rng, 10, classes, dtype)
    ids = rng.integers(0, classes, (10, 6))
    ids[:, 1] = ids[:, 0]
    ids[:, 2] = np.argmax(logits, axis=-1)
    got = ll.token_logprobs(logits, ids, returns=ALL, k=1)
    assert_tokens(got, expected(logits, ids, 1), dtype)


@every_dtype
@pytest.mark.parametrize("classes", [4, 500, 5000])
def test_confident_rows_against_fifty_digits(classes, dtype, rng):
    logits = rng.standard_normal((12, classes)).astype(dtype)
    logits[:, 1] = 1.5
    logits[:, classes - 1] = np.linspace(5, 88, 12)
    ids = np.array([[classes - 1, 1, 0]] * 12)
    want = expected(logits, ids, 3, arithmetic=EXACT)
    assert_tokens(ll.token_logprobs(logits, ids, returns=ALL, k=3), want, dtype)
    one = ll.token_logprobs(logits, ids[:, 0], returns=ALL, k=3)
    assert_tokens(one, want._replace(logprob=want.logprob[:, :1], rank=want.rank[:, :1]), dtype)


@every_dtype_and_half
@pytest.mark.parametrize("temperature", [0.5, 4.0, 0.7, 1e-3, 1e30])
@pytest.mark.parametrize("classes", [7, 1000, 5000])
def test_temperature(classes, temperature, dtype, rng):
    logits = rows_of_many_kinds(rng, 12, classes, dtype)
    ids = rng.integers(0, classes, 12)
    got = ll.token_logprobs(logits, ids, temperature=temperature, returns=ALL, k=3)
    assert_same_bits(got.logprob, -ll.cross_entropy(logits, ids, scale=1 / temperature, reduction="none"))
    want = expected(logits, ids[:, None], 3, temperature)
    # A scale that is no power of two, and what it multiplies, are rounded: an error that grows with the spread.
    spread = float(np.max(np.where(np.isinf(logits), 0, abs(logits).astype(np.float64)))) / temperature
    rounding = (6e-8 if got.logprob.dtype == np.float32 else 1.2e-16) * 4 * (1 + spread)
    exact = temperature in (0.5, 4.0)
    tolerance = LOSS_TOLERANCE[got.logprob.dtype]
    assert_tokens(got, want, dtype, tolerance if exact else tolerance + rounding)


@every_dtype_and_half
@pytest.mark.parametrize("classes", [5, 300, 5000])
def test_rows_that_are_not_finite(classes, dtype, rng):
    logits = rng.standard_normal((9, classes)).astype(dtype)
    logits[0, 2] = np.nan
    logits[1, 2] = np.inf
    logits[2] = -np.inf
    logits[3, 0] = -np.inf
    logits[4] = -3e4
    logits[4, 1] = 3e4
    logits[5, 1:] = -np.inf
    logits[6, 1], logits[6, 2] = np.inf, np.nan
    logits[7, 1:3] = np.inf
    if dtype not in HALVES:
        logits[8] *= 1e30
    for ids in (np.full(9, 1), np.full(9, 0), np.arange(9) % 3):
        got = ll.token_logprobs(logits, ids, returns=ALL, k=4)
        assert_tokens(got, expected(logits, ids[:, None], 4), dtype)
        assert_same_bits(got.logprob, -ll.cross_entropy(logits, ids, reduction="none"))
        several = ll.token_logprobs(logits, ids[:, None].repeat(2, 1), returns=ALL, k=4)
        assert_tokens(several, expected(logits, ids[:, None].repeat(2, 1), 4), dtype)


@pytest.mark.parametrize("classes", [4, 300, 9000])
def test_ids_that_are_ignored(classes, rng):
    """Rows of nothing else are not read: they may hold anything."""
    logits = rng.standard_normal((6, classes)).astype(np.float32)
    ids = rng.integers(0, classes, (6, 2))
    whole = ll.token_logprobs(logits, ids, returns=ALL, k=2)
    ids[1], ids[3, 0], ids[4] = -100, -100, -100
    logits[1], logits[4] = np.nan, np.inf
    got = ll.token_logprobs(logits, ids, returns=ALL, k=2)
    for name, part, kept in zip(ALL, got, whole, strict=True):
        per_id = name in ("logprob", "rank")
        nothing = -1 if part.dtype == np.int64 else 0
        skipped = ids == -100 if per_id else (ids == -100).all(axis=-1)
        assert (part[skipped] == nothing).all(), name
        np.testing.assert_array_equal(part[~skipped], kept[~skipped], err_msg=name)
    one = ll.token_logprobs(logits, ids[:, 0], returns=ALL, k=2)
    assert one.logprob[3] == one.lse[3] == one.entropy[3] == 0
    assert one.argmax[3] == one.rank[3] == -1
    assert (ll.token_logprobs(logits, np.where(ids == -100, 1, ids), ignore_index=1).logprob[1] == 0).all()


@pytest.mark.parametrize("classes", [40, 300, 5000, 20_000])
def test_best_classes_of_many_sizes(classes, rng):
    """Few different logits, so that ties decide; a row of one value, and one that rises."""
    logits = rng.integers(-50, 50, (4, classes)).astype(np.float32)
    logits[1] = 2
    logits[2] = np.arange(classes)
    logits[3, rng.random(classes) < 0.99] = -np.inf
    for k in (1, 2, 17, 40, classes // 2, classes):
        got = ll.token_logprobs(logits, np.zeros(4, int), returns=("topk_ids",), k=k).topk_ids
        np.testing.assert_array_equal(got, np.argsort(-logits, axis=-1, kind="stable")[:, :k])


def test_rank_counts_as_accuracy_does(rng):
    logits = rng.integers(-3, 4, (200, 900)).astype(np.float32)
    ids = rng.integers(0, 900, 200)
    rank = ll.token_logprobs(logits, ids, returns=("rank",)).rank
    for k in (1, 3, 100):
        assert np.mean(rank < k) == ll.accuracy(logits, ids, top_k=k)


# ------------------------------------------------------------------------------------------------------------- layouts


@every_dtype_and_half
@pytest.mark.parametrize("classes", [6, 500, 4100])
def test_layouts(classes, dtype, rng):
    """Bits depend on the layout's way through memory only; ids, strides and axes decide nothing else."""
    logits = rng.standard_normal((3, 20, classes)).astype(dtype)
    ids = rng.integers(0, classes, (3, 20, 2))
    want = ll.token_logprobs(logits, ids, returns=ALL, k=3)
    gaps = np.repeat(logits, 2, axis=-1)[..., ::2]
    swapped = logits.astype(logits.dtype.newbyteorder()) if dtype in (np.float32, np.float64) else logits
    for other in (gaps, np.flip(np.flip(logits).copy()), swapped, np.asfortranarray(logits)):
        for name, got, value in zip(ALL, ll.token_logprobs(other, ids, returns=ALL, k=3), want, strict=True):
            np.testing.assert_allclose(got, value, rtol=4e-7, err_msg=name)
    for axis in (0, 1):
        moved, moved_ids = np.moveaxis(logits, -1, axis), np.moveaxis(ids, -1, axis)
        for source in (moved, np.ascontiguousarray(moved)):
            got = ll.token_logprobs(source, moved_ids.astype(np.uint16), axis=axis, returns=ALL, k=3)
            for name, part, value in zip(ALL, got, want, strict=True):
                here = np.moveaxis(part, axis, -1) if part.ndim == 3 else part
                np.testing.assert_allclose(here, value, rtol=4e-7, err_msg=name)


def test_shapes():
    logits = np.zeros((2, 3, 5))
    for ids, shape in (((2, 3), (2, 3)), ((2, 3, 1), (2, 3, 1)), ((2, 3, 7), (2, 3, 7)), ((2, 3, 0), (2, 3, 0))):
        got = ll.token_logprobs(logits, np.zeros(ids, int), returns=ALL, k=5)
        assert got.logprob.shape == got.rank.shape == shape
        assert got.lse.shape == got.entropy.shape == got.argmax.shape == (2, 3)
        assert got.topk_ids.shape == got.topk_logprobs.shape == (2, 3, 5)
        np.testing.assert_allclose(got.lse, np.log(5))
    one = ll.token_logprobs(np.float32([1, 2]), 1, returns=("logprob", "rank"))
    assert type(one.logprob) is np.float32
    assert type(one.rank) is np.int64
    assert one.lse is None
    empty = ll.token_logprobs(np.zeros((0, 4)), np.zeros(0, int), returns=ALL, k=2)
    assert empty.topk_ids.shape == (0, 2)
    np.testing.assert_array_equal(ll.token_logprobs(np.zeros((3, 0)), [-100] * 3, returns=("lse",)).lse, 0)


@pytest.mark.parametrize("returns", [("logprob",), ("lse",), ("rank", "argmax"), ("entropy",), ("topk_ids",)])
def test_results_do_not_depend_on_what_else_is_asked_for(returns, rng):
    for classes in (9, 5000):
        logits = rng.standard_normal((5, classes)).astype(np.float32)
        ids = rng.integers(0, classes, 5)
        every = ll.token_logprobs(logits, ids, returns=ALL, k=2)
        some = ll.token_logprobs(logits, ids, returns=returns, k=2)
        for name in ALL:
            if name in returns:
                assert_same_bits(getattr(some, name), getattr(every, name))
            else:
                assert getattr(some, name) is None


@every_dtype_and_half
def test_threads_change_no_bit(dtype, rng, monkeypatch):
    monkeypatch.setenv("LOGITLOSS_OVERSUBSCRIBE", "1")
    logits = rng.standard_normal((5, 40_000)).astype(dtype)
    ids = rng.integers(0, 40_000, (5, 2))
    d = rng.standard_normal((5, 2))
    whole = ll.token_logprobs(logits, ids, returns=ALL, k=9, num_threads=1)
    gradient = ll.token_logprobs_vjp(logits, ids, d, 0.5, num_threads=1)
    for threads in (2, 5):
        for got, want in zip(ll.token_logprobs(logits, ids, returns=ALL, k=9, num_threads=threads), whole, strict=True):
            assert_same_bits(got, want)
        assert_same_bits(ll.token_logprobs_vjp(logits, ids, d, 0.5, num_threads=threads), gradient)


# -------------------------------------------------------------------------------------------------------------- errors


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"temperature": 0.0}, ValueError, "temperature"),
        ({"temperature": -1.0}, ValueError, "temperature"),
        ({"temperature": np.nan}, ValueError, "temperature"),
        ({"temperature": np.inf}, ValueError, "temperature"),
        ({"ids": [0, 5]}, ValueError, r"ids\[1\]: got label 5"),
        ({"ids": [[0, 1], [2, -1]]}, ValueError, r"ids\[1, 1\]: got label -1"),
        ({"ids": [0.0, 1.0]}, TypeError, "ids: got dtype float64"),
        ({"ids": [0, 1, 2]}, ValueError, r"ids: got shape \(3,\)"),
        ({"ids": [[0], [1], [2]]}, ValueError, r"ids: got shape \(3, 1\)"),
        ({"ids": 1}, ValueError, "ids: got shape"),
        ({"axis": 2}, np.exceptions.AxisError, "axis 2"),
        ({"returns": "logprob"}, TypeError, "returns"),
        ({"returns": (1,)}, TypeError, "returns"),
        ({"returns": ()}, ValueError, "returns"),
        ({"returns": ("logprob", "median")}, ValueError, "returns: got 'median'"),
        ({"returns": ("topk_ids",)}, TypeError, "k"),
        ({"returns": ("topk_ids",), "k": 0}, ValueError, "k: got 0"),
        ({"returns": ("topk_ids",), "k": 6}, ValueError, "k: got 6"),
        ({"returns": ("topk_ids",), "k": 2**70}, ValueError, "k: got"),
        ({"k": 0}, ValueError, "k: got 0"),
        ({"logits": np.zeros((2, 5), complex)}, TypeError, "logits"),
        ({"num_threads": 0}, ValueError, "num_threads"),
    ],
)
def test_errors(change, error, message):
    valid = {"logits": np.zeros((2, 5)), "ids": [0, 4]}
    with pytest.raises(error, match=message):
        ll.token_logprobs(**(valid | change))


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"d_logprob": np.zeros(3)}, ValueError, "d_logprob"),
        ({"d_logprob": None}, TypeError, "d_logprob"),
        ({"d_entropy": np.zeros((2, 2))}, ValueError, "d_entropy"),
        ({"lse": np.zeros(3)}, ValueError, "lse"),
        ({"ids": [0, 9]}, ValueError, r"ids\[1\]"),
        ({"temperature": 0.0}, ValueError, "temperature"),
        ({"grad_out": np.zeros((2, 5), np.float32)}, ValueError, "grad_out: got dtype float32"),
        ({"grad_out": np.zeros((2, 4))}, ValueError, "grad_out: got shape"),
    ],
)
def test_errors_of_the_vjp_leave_everything_untouched(change, error, message):
    logits = np.ones((2, 5))
    grad = np.full((2, 5), 77.0)
    valid = {"logits": logits, "ids": [0, 4], "d_logprob": 1.0, "d_entropy": 1.0, "grad_out": grad}
    with pytest.raises(error, match=message):
        ll.token_logprobs_vjp(**(valid | change))
    assert (grad == 77).all()
    assert (logits == 1).all()


# ----------------------------------------------------------------------------------------------------------- gradients


@every_dtype
@pytest.mark.parametrize("classes", [1, 3, 60, 300, 5000])
def test_gradient_against_the_formula(classes, dtype, rng):
    logits = (2 * rng.standard_normal((8, classes))).astype(dtype)
    for row, lead in enumerate((10, 40, 80)):
        logits[row, 0] = lead
    for m, temperature in itertools.product((1, 4), (1.0, 0.5)):
        ids = rng.integers(0, classes, (8, m))
        ids[:4, 0] = 0
        d, e = rng.standard_normal((8, m)), rng.standard_normal(8)
        e[3] = 0
        got = ll.token_logprobs_vjp(logits, ids, d, e, temperature=temperature)
        want, size = reference.token_logprobs_vjp(logits, ids, d, e, temperature, arithmetic_for(dtype))
        assert got.dtype == dtype
        assert_within(got, want, VJP_TOLERANCE[np.dtype(dtype)], size, floor(dtype))


@pytest.mark.parametrize("classes", [5, 700])
def test_gradient_against_differences(classes, rng):
    logits = rng.standard_normal((3, classes))
    ids = rng.integers(0, classes, (3, 2))
    d, e = rng.standard_normal((3, 2)), rng.standard_normal(3)

    def value(z):
        read = ll.token_logprobs(z, ids, temperature=1.7, returns=("logprob", "entropy"))
        return (d * read.logprob).sum() + (e * read.entropy).sum()

    gradient = ll.token_logprobs_vjp(logits, ids, d, e, temperature=1.7)
    for row, j in ((0, 0), (1, ids[1, 0]), (2, ids[2, 1]), (2, classes - 1)):
        step = np.zeros_like(logits)
        step[row, j] = 1e-5
        difference = (value(logits + step) - value(logits - step)) / 2e-5
        np.testing.assert_allclose(gradient[row, j], difference, rtol=1e-6, atol=1e-9)


@every_dtype_and_half
@pytest.mark.parametrize("classes", [4, 300, 5000])
def test_one_id_is_the_gradient_of_cross_entropy(classes, dtype, rng):
    logits = rows_of_many_kinds(rng, 9, classes, dtype)
    ids = rng.integers(0, classes, 9)
    ids[8] = -100
    logits[8] = np.nan
    d = rng.standard_normal(9)
    got = ll.token_logprobs_vjp(logits, ids, d, temperature=1.5, lse=np.zeros(9))
    _, want = ll.cross_entropy_value_and_grad(
        logits, ids, scale=1 / 1.5, reduction="none", sample_weight=-1.0, upstream=d
    )
    assert_same_bits(got, want)
    _, other = ll.cross_entropy_value_and_grad(logits, ids, scale=1 / 1.5, reduction="none", upstream=-d)
    np.testing.assert_array_equal(got, other)


def test_gradient_rows_that_do_not_count(rng):
    logits = rng.standard_normal((6, 400)).astype(np.float32)
    logits[0], logits[1], logits[2, 3], logits[3, 3], logits[4, 3] = np.nan, np.inf, -np.inf, np.nan, np.inf
    ids = np.array([[-100, -100], [0, 1], [3, -100], [0, 1], [0, 1], [-100, 2]])
    d = np.array([[1, 1], [0, 0], [2, 5], [1, 0], [0, 1], [9, 0]])
    e = np.array([1, 0, 0, 0, 0, 0.5])
    got = ll.token_logprobs_vjp(logits, ids, d, e)
    assert (got[:2] == 0).all()
    assert got[2, 3] == 2
    assert np.isnan(got[3:5]).all()
    want, _ = reference.token_logprobs_vjp(logits[5:], [[2]], [[0]], [0.5])
    np.testing.assert_allclose(got[5:], want, rtol=1e-5, atol=1e-9)
    logits[5, 7] = -np.inf
    assert ll.token_logprobs_vjp(logits, ids, d, e)[5, 7] == 0


@every_dtype_and_half
@pytest.mark.parametrize("layout", ["C", "F"])
def test_gradient_in_place_and_given(dtype, layout, rng):
    for m, e in ((1, None), (3, None), (2, 0.25)):
        logits = np.asarray(rng.standard_normal((7, 4500)).astype(dtype), order=layout)
        ids = rng.integers(0, 4500, (7, m))
        want = ll.token_logprobs_vjp(logits, ids, 1.0, e)
        assert want.dtype == dtype
        out = np.empty((7, 9000), dtype)[:, ::2]
        assert ll.token_logprobs_vjp(logits, ids, 1.0, e, grad_out=out) is out
        np.testing.assert_array_equal(out, want)
        assert ll.token_logprobs_vjp(logits, ids, 1.0, e, grad_out=logits) is logits
        assert_same_bits(logits, want)


@pytest.mark.parametrize("temperature", [2.0**-10, 1e-3])
def test_a_temperature_may_take_logits_out_of_range(temperature):
    got = ll.token_logprobs(
        [[1e308, 0, 1e308]], [[0, 2]], temperature=temperature, returns=ll.TokenLogProbs._fields, k=1
    )
    np.testing.assert_allclose(got.logprob, [[-np.log(2), -np.log(2)]], rtol=1e-14)
    np.testing.assert_allclose(got.entropy, [np.log(2)], rtol=1e-14)
    assert got.lse[0] == np.inf
    assert (got.argmax[0], got.topk_ids[0, 0], *got.rank[0]) == (0, 0, 0, 1)


def test_logits_far_apart_at_a_huge_temperature():
    got = ll.token_logprobs([[1e308, -1e308]], [[0, 1]], temperature=1e308, returns=("logprob",))
    np.testing.assert_allclose(got.logprob, [[-np.log1p(np.exp(-2.0)), -2 - np.log1p(np.exp(-2.0))]], rtol=1e-14)


def test_k_that_does_not_fit_is_named_as_it_was_given():
    for k in (0, 4, 2**70):
        for returns in (("logprob",), ("topk_ids",)):
            with pytest.raises(ValueError, match=f"k: got {k},"):
                ll.token_logprobs(np.zeros((2, 3)), [0, 1], k=k, returns=returns)
    with pytest.raises(TypeError, match="topk_ids"):
        ll.token_logprobs(np.zeros((2, 3)), [0, 1], returns=("topk_ids",))
