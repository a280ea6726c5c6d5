"""logitloss.dask: results of any grid of chunks are those of one call, lazily, with few tasks and on any scheduler."""

import inspect
import itertools
import math
import tracemalloc
from functools import reduce

import ml_dtypes
import numpy as np
import pytest
from checks import DTYPES, HALVES, assert_same_bits, assert_within
from hypothesis import given, settings
from hypothesis import strategies as st

import logitloss as ll

dask = pytest.importorskip("dask")
da = pytest.importorskip("dask.array")
Callback = pytest.importorskip("dask.callbacks").Callback
lazy = pytest.importorskip("logitloss.dask")

ROWS, CLASSES = 24, 30
GRIDS = {"rows": (7, CLASSES), "classes": (ROWS, 9), "both": (7, 9), "single": (1, 1), "one": (ROWS, CLASSES)}


@pytest.fixture(autouse=True)
def threads():
    with dask.config.set(scheduler="threads", num_workers=2):
        yield


def ordered(array):
    """Numbers that count an array's values in the order of the real line: neighbours differ by 1."""
    array = np.asarray(array)
    bits = array.view(f"i{array.dtype.itemsize}").astype(np.int64)
    return np.where(bits < 0, np.iinfo(f"i{array.dtype.itemsize}").min - bits, bits)


def assert_ulps(got, want, most):
    got, want = np.asarray(got), np.asarray(want)
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    nan = np.isnan(want)
    np.testing.assert_array_equal(np.isnan(got), nan)
    apart = np.abs(ordered(got)[~nan] - ordered(want)[~nan])
    assert apart.max(initial=0) <= most, (apart.max(), got, want)


def logits_of(rng, dtype, shape=(ROWS, CLASSES), spread=4.0):
    return (spread * rng.standard_normal(shape)).astype(dtype)


# Gradients of one call are within 1e-14 in float64, so two ways of adding may be a few ulp apart there.
GRADIENT_ULPS = {np.dtype(dtype): 8 if dtype == np.float64 else 2 for dtype in DTYPES + HALVES}


@pytest.mark.parametrize("dtype", DTYPES + HALVES, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_any_grid_gives_what_one_call_gives(grid, dtype, rng):
    shape = (6, 10) if grid == (1, 1) else (ROWS, CLASSES)
    x = logits_of(rng, dtype, shape) + np.asarray(100, dtype)
    x[0, :4] = -np.inf
    x[1, 2] += 40
    target = rng.integers(0, shape[1], shape[0])
    target[1] = 2
    d = da.from_array(x, chunks=grid)
    for axis in (None, 0, -1):
        assert_ulps(lazy.logsumexp(d, axis).compute(), ll.logsumexp(x, axis), 1)
        assert_ulps(lazy.softmax(d, axis).compute(), ll.softmax(x, axis), 4)
        # What is nearly 0 has the error of the sum beside the largest class, which is 1e-14 in float64.
        assert_ulps(lazy.log_softmax(d, axis).compute(), ll.log_softmax(x, axis), 45 if dtype == np.float64 else 2)
    for reduction in ("none", "sum", "mean"):
        want = ll.cross_entropy_value_and_grad(x, target, reduction=reduction)
        loss, grad = lazy.cross_entropy_value_and_grad(d, target, reduction=reduction)
        assert grad.chunks == d.chunks
        got = dask.compute(loss, grad)
        assert_ulps(got[0], want[0], 1 if dtype != np.float64 else 2)
        assert_ulps(got[1], want[1], GRADIENT_ULPS[np.dtype(dtype)])
        assert_same_bits(got[0], lazy.cross_entropy(d, target, reduction=reduction).compute())
        if grid[1] == shape[1] and reduction == "none":
            assert_same_bits(got[0], want[0])
            assert_same_bits(got[1], want[1])
        hits = rng.random(shape)
        want = ll.bce_with_logits(x, hits, reduction=reduction)
        assert_ulps(lazy.bce_with_logits(d, hits, reduction=reduction).compute(), want, int(reduction != "none"))


def test_axes_in_the_middle_and_several_axes(rng):
    x = logits_of(rng, np.float32, (4, 6, 5))
    d = da.from_array(x, chunks=(3, 2, 4))
    target = rng.integers(0, 6, (4, 5))
    for axis in ((0, 1), (2, 0), (1, -1), (), [0, 2]):
        for keepdims in (False, True):
            got = lazy.logsumexp(d, axis, keepdims=keepdims)
            want = ll.logsumexp(x, tuple(axis), keepdims=keepdims)
            assert got.shape == want.shape
            assert_ulps(got.compute(), want, 1)
        assert_ulps(lazy.softmax(d, axis).compute(), ll.softmax(x, tuple(axis)), 4)
    for axis in (1, -2):
        for part, want in zip(
            lazy.cross_entropy_value_and_grad(d, target, axis=axis, reduction="none"),
            ll.cross_entropy_value_and_grad(x, target, axis=axis, reduction="none"),
            strict=True,
        ):
            assert_ulps(part.compute(), want, 2)


OPTIONS = {
    "smoothing": {"label_smoothing": 0.1},
    "z-loss": {"z_loss": 1e-2},
    "softcap": {"softcap": 6.0},
    "scale": {"scale": 3.0},
    "margin": {"margin": 0.3, "scale": 2.0},
    "ignored": {"ignore_index": 3},
    "nothing ignored": {"ignore_index": None},
    "class weights": {"class_weight": np.linspace(0.2, 3, CLASSES)},
    "sample weights": {"sample_weight": np.linspace(0, 3, ROWS)},
    "one weight": {"sample_weight": [2.0]},
    "weights of both signs": {"sample_weight": np.linspace(-1, 2, ROWS)},
    "all": {
        "label_smoothing": 0.2, "class_weight": np.linspace(0.2, 3, CLASSES), "z_loss": 1e-3, "softcap": 20.0,
        "sample_weight": da.linspace(0.1, 3, ROWS, chunks=5), "scale": 1.5,
    },
}  # fmt: skip


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("grid", [GRIDS["rows"], GRIDS["both"]], ids=["rows", "both"])
def test_options_of_cross_entropy(grid, options, rng):
    x = logits_of(rng, np.float32)
    d = da.from_array(x, chunks=grid)
    in_memory = {name: np.asarray(value) if isinstance(value, da.Array) else value for name, value in options.items()}
    indices, probabilities = rng.integers(0, CLASSES, ROWS), rng.dirichlet(np.ones(CLASSES), ROWS)
    for target in (indices, da.from_array(indices, chunks=10), da.from_array(probabilities, chunks=(5, 20))):
        if target.ndim == 2 and "margin" in options:
            continue
        plain = np.asarray(target)
        for more in ({"reduction": "none"}, {"reduction": "sum"}, {}, {"normalizer": 7.0}, {"upstream": -2.5}):
            if more == {"reduction": "none"}:
                more["upstream"] = np.linspace(-1, 1, ROWS)
            loss, grad = dask.compute(*lazy.cross_entropy_value_and_grad(d, target, **options, **more))
            want_loss, want_grad = ll.cross_entropy_value_and_grad(x, plain, **in_memory, **more)
            assert_within(loss, want_loss, 4e-7, np.max(np.abs(want_loss)))
            assert (grad.dtype, loss.dtype) == (want_grad.dtype, want_loss.dtype)
            largest = np.max(np.abs(want_grad), axis=1, keepdims=True)
            assert_within(grad, want_grad, 1e-6, np.broadcast_to(largest, x.shape))


@st.composite
def cuts(draw, length):
    """The lengths of chunks."""
    borders = sorted(draw(st.sets(st.integers(1, length - 1), max_size=6)))
    return tuple(np.diff([0, *borders, length]).tolist())


@settings(max_examples=25, deadline=None, derandomize=True)
@given(rows=cuts(ROWS), classes=cuts(CLASSES), seed=st.integers(0, 2**32 - 1), workers=st.integers(2, 5))
def test_any_cut_gives_one_calls_result_and_the_same_bits_on_any_number_of_workers(rows, classes, seed, workers):
    rng = np.random.default_rng(seed)
    x = logits_of(rng, np.float32, spread=rng.choice([1.0, 10.0]))
    target = rng.integers(0, CLASSES, ROWS)
    d = da.from_array(x, chunks=(rows, classes))
    lazily = (*lazy.cross_entropy_value_and_grad(d, target), lazy.logsumexp(d), lazy.log_softmax(d, -1))
    with dask.config.set(scheduler="synchronous"):
        alone = dask.compute(*lazily)
    with dask.config.set(scheduler="threads", num_workers=workers):
        together = dask.compute(*lazily)
    for got, expected in zip(together, alone, strict=True):
        assert_same_bits(got, expected)
    loss, grad = ll.cross_entropy_value_and_grad(x, target)
    assert_ulps(alone[0], loss, 1)
    assert_ulps(alone[1], grad, 2)


def test_the_order_of_blocks_of_rows_decides_nothing(rng):
    graphs = pytest.importorskip("logitloss._dask_graphs")
    sums = [(total, 0.0, 0) for total in (10.0 ** rng.uniform(-9, 9, 64) * rng.choice([-1, 1], 64)).tolist()]
    right = math.fsum(total for total, *_ in sums)
    for _ in range(20):
        rng.shuffle(sums)
        halves = [graphs.added(sums[:37]), graphs.added(sums[37:])]
        assert graphs.added(halves)[0] == right == reduce(lambda a, b: graphs.added([a, b]), sums)[0]
    assert graphs.exact_sum([math.inf, -math.inf])[0] != graphs.exact_sum([math.inf, -math.inf])[0]
    assert graphs.exact_sum([1e308, 1e308, -1.0])[0] == math.inf
    far = [(1.0, 0.0, 3000), (0.0, 0.0, 5000), (3.0, 0.0, 2999), (1.0, 0.0, -3000)]
    assert graphs.added(far) == (2.5, 0.0, 3000)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_target_that_leads_in_another_shard(dtype):
    x = np.zeros((2, 3), dtype)
    x[:, 2] = 40
    loss, grad = dask.compute(*lazy.cross_entropy_value_and_grad(da.from_array(x, chunks=(1, 1)), [2, 2]))
    assert loss == pytest.approx(2 * math.exp(-40), rel=1e-6)
    np.testing.assert_allclose(grad[:, 2], -math.exp(-40), rtol=1e-6)
    assert lazy.log_softmax(da.from_array(x, chunks=1), -1).compute()[0, 2] == pytest.approx(
        -2 * math.exp(-40), rel=1e-6
    )
    one = lazy.cross_entropy(da.from_array(x[:1, 1:], chunks=1), [1]).compute()
    assert one == pytest.approx(4.248354255e-18, rel=1e-7)


def test_means_of_nothing_sums_beyond_float32_and_rows_that_are_not_finite(rng):
    x = logits_of(rng, np.float32, (6, 4))
    d = da.from_array(x, chunks=(2, 3))
    loss, grad = dask.compute(*lazy.cross_entropy_value_and_grad(d, np.full(6, -100)))
    assert np.isnan(loss)
    assert (grad == 0).all()
    weights = [1.0, -1, 1, -1, 1, -1]
    loss, grad = dask.compute(*lazy.cross_entropy_value_and_grad(d, np.zeros(6, int), sample_weight=weights))
    assert np.isnan(loss)
    assert (grad == 0).all()
    for chunks in ((2, 2), (1, 1)):
        far = da.from_array(np.tile(np.float32([0, 3e38]), (4, 1)), chunks=chunks)
        assert lazy.cross_entropy(far, np.zeros(4, int)).compute() == np.float32(3e38)
        hits = lazy.bce_with_logits(far, np.zeros((4, 2)), reduction="sum", normalizer=4.0).compute()
        assert hits == np.float32(3e38)
    odd = x.copy()
    odd[0, 1], odd[1, 2], odd[2], odd[3, 0] = np.nan, np.inf, -np.inf, -np.inf
    d = da.from_array(odd, chunks=(4, 2))
    target = np.array([0, 0, 0, 0, 1, 2])
    for function in ("softmax", "log_softmax", "logsumexp"):
        got, want = getattr(lazy, function)(d, 1).compute(), getattr(ll, function)(odd, 1)
        np.testing.assert_array_equal(np.isnan(got), np.isnan(want))
        np.testing.assert_allclose(got, want, rtol=1e-6)
    got = dask.compute(*lazy.cross_entropy_value_and_grad(d, target, reduction="none"))
    for part, want in zip(got, ll.cross_entropy_value_and_grad(odd, target, reduction="none"), strict=True):
        np.testing.assert_array_equal(np.isnan(part), np.isnan(want))
        np.testing.assert_allclose(part, want, rtol=1e-6)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("classes", [4, 2, 1], ids=["whole", "two shards", "four shards"])
def test_means_of_weights_far_from_1(classes, rng):
    x, target = logits_of(rng, np.float32, (6, 4)), np.array([0, 1, 2, 3, -100, 1])
    soft = rng.dirichlet(np.ones(4), 6)
    d = da.from_array(x, chunks=(2, classes))
    calls = [(target, {"sample_weight": np.r_[np.full(4, w), 1, w]}) for w in (1e-43, 1e-46, 1e-300, 5e-324, 1e308)]
    calls += [(target, {"class_weight": np.full(4, w)}) for w in (1e-46, 1e-300, 1e308)]
    calls += [(target, {"class_weight": np.full(4, w), "sample_weight": [w]}) for w in (1e-200, 1e200)]
    calls += [(soft, {"sample_weight": np.full(6, w)}) for w in (1e-46, 1e308)]
    calls += [(target, {"sample_weight": w}) for w in ([1e-300] * 3 + [1e-280] * 3, [1e-300] * 2 + [1.0] * 4)]
    calls += [
        (target, {"sample_weight": w}) for w in ([np.inf] * 6, [np.inf] + [1.0] * 5, [np.nan] + [0.0, 1.0] * 2 + [1.0])
    ]
    calls += [(target, {"sample_weight": [1e-300] * 6, "normalizer": 1e-300})]
    calls += [(target, {"sample_weight": [1e300] * 6, "normalizer": 1e301})]
    for labels, options in calls:
        got = dask.compute(*lazy.cross_entropy_value_and_grad(d, labels, **options))
        want = ll.cross_entropy_value_and_grad(x, labels, **options)
        np.testing.assert_allclose(got[0], want[0], rtol=4e-7, err_msg=str(options))
        np.testing.assert_allclose(got[1], want[1], rtol=4e-6, atol=1e-9, err_msg=str(options))
    # Small losses of many blocks have a sum that each block's own has to be precise for.
    leading = np.tile(np.float32([100, 0]), (64, 1))
    got = lazy.cross_entropy(da.from_array(leading, chunks=(1, classes)), np.zeros(64, int), reduction="sum")
    assert_ulps(got.compute(), ll.cross_entropy(leading, np.zeros(64, int), reduction="sum"), 1)


def test_a_row_without_other_axes(rng):
    for dtype, classes in itertools.product((np.float32, np.float64), (5, 3, 1)):
        x = logits_of(rng, dtype, 5)
        d = da.from_array(x, chunks=classes)
        for target, options in (
            (0, {}), (np.int8(4), {"reduction": "none"}), (-100, {"reduction": "sum"}),
            (2, {"class_weight": np.arange(5)}),
            (1, {"ignore_index": None}), (da.asarray(3), {"sample_weight": 2.0}), (rng.dirichlet(np.ones(5)), {}),
        ):  # fmt: skip
            got = dask.compute(*lazy.cross_entropy_value_and_grad(d, target, **options))
            target = target.compute() if isinstance(target, da.Array) else target
            want = ll.cross_entropy_value_and_grad(x, target, **options)
            for part, one in zip(got, want, strict=True):
                assert (part.dtype, part.shape) == (one.dtype, one.shape)
                near = 4e-7 if dtype == np.float32 else 1e-14
                np.testing.assert_allclose(part, one, rtol=near, atol=near * np.max(np.abs(one)))


def test_binary_options(rng):
    x, target = logits_of(rng, np.float32), rng.choice([0.0, 1.0, -1.0], (ROWS, CLASSES))
    options = {
        "weight": rng.uniform(0, 2, (ROWS, 1)), "pos_weight": da.linspace(0.5, 2, CLASSES, chunks=7),
        "label_smoothing": 0.1, "ignore_value": -1.0,
    }  # fmt: skip
    d = da.from_array(x, chunks=GRIDS["both"])
    in_memory = options | {"pos_weight": np.linspace(0.5, 2, CLASSES)}
    for more in ({}, {"reduction": "none"}, {"reduction": "sum"}, {"normalizer": 3.0}):
        got = lazy.bce_with_logits(d, da.from_array(target, chunks=4), **options, **more)
        assert_ulps(got.compute(), ll.bce_with_logits(x, target, **in_memory, **more), 1)
    for dtype, ignored in ((ml_dtypes.bfloat16, 0.1), (np.float32, 0.1), (np.int8, 0.1), (np.int8, 1.0), (bool, 1.0)):
        hits = rng.choice([0.1, 0.0, 1.0], x.shape).astype(dtype)
        got = lazy.bce_with_logits(d, hits, ignore_value=ignored).compute()
        assert_ulps(got, ll.bce_with_logits(x, hits, ignore_value=ignored), 1)
    for size in (1e-300, 1e300):
        weighted = {"weight": np.full((ROWS, 1), size), "normalizer": size}
        assert_ulps(lazy.bce_with_logits(d, hits, **weighted).compute(), ll.bce_with_logits(x, hits, **weighted), 1)


# ---------------------------------------------------------------------------------------------- lazy, metadata, errors


def lazy_results(d, target, hits):
    yield from (lazy.logsumexp(d, -1), lazy.softmax(d, -1), lazy.log_softmax(d, -1))
    for reduction in ("none", "mean"):
        yield lazy.cross_entropy(d, target, reduction=reduction)
        yield from lazy.cross_entropy_value_and_grad(d, target, reduction=reduction)
        yield lazy.bce_with_logits(d, hits, reduction=reduction)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, np.int32])
def test_results_are_lazy_and_know_their_dtypes_and_shapes(dtype, rng):
    x = da.from_array(rng.integers(-9, 9, (4, 6)).astype(dtype), chunks=(2, 3))
    read = []

    def noted(block):
        read.append(block.size)
        return block

    d = x.map_blocks(noted, dtype=x.dtype, meta=np.empty((0, 0), x.dtype))
    results = list(lazy_results(d, rng.integers(0, 6, 4), np.zeros((4, 6))))
    assert read == []
    for result in results:
        got = result.compute()
        assert (result.dtype, result._meta.dtype, result.shape) == (got.dtype, got.dtype, got.shape)
        assert result._meta.ndim == result.ndim
        assert isinstance(got, np.ndarray if result.ndim else np.floating)
    assert sum(read) >= 24


def test_empty_arrays_and_empty_chunks():
    for shape, chunks in (((0, 3), (1, 2)), ((4, 3), ((2, 0, 2), (0, 3, 0)))):
        d = da.ones(shape, chunks=chunks)
        target = np.zeros(shape[0], int)
        want = ll.cross_entropy_value_and_grad(np.ones(shape), target, reduction="sum")
        for part, one in zip(lazy.cross_entropy_value_and_grad(d, target, reduction="sum"), want, strict=True):
            np.testing.assert_allclose(part.compute(), one, rtol=1e-14)
        np.testing.assert_array_equal(lazy.softmax(d, 1).compute(), ll.softmax(np.ones(shape), 1))
    x = logits_of(np.random.default_rng(0), np.float64, (4, 4))
    for classes in ((4,), (2, 2), (1, 1, 1, 1)):
        d = da.from_array(x, chunks=((0, 4), classes))
        for reduction in ("none", "mean"):
            got = dask.compute(*lazy.cross_entropy_value_and_grad(d, np.arange(4), reduction=reduction))
            for part, want in zip(
                got, ll.cross_entropy_value_and_grad(x, np.arange(4), reduction=reduction), strict=True
            ):
                assert part.dtype == np.float64
                np.testing.assert_allclose(part, want, rtol=1e-13)
    assert lazy.logsumexp(da.ones((0, 3), chunks=2)).compute() == -np.inf
    assert lazy.logsumexp(da.ones((), chunks=())).compute() == 1.0


def test_chunks_of_unknown_size(rng):
    x, target = logits_of(rng, np.float32), rng.integers(0, CLASSES, ROWS)
    kept = x[:, 0] > 0
    for classes in (CLASSES, 9):
        d = da.from_array(x, chunks=(7, classes))
        mask = da.from_array(kept, chunks=7)
        rows, labels = d[mask], da.from_array(target, chunks=7)[mask]
        assert math.isnan(rows.shape[0])
        assert_ulps(lazy.logsumexp(rows, -1).compute(), ll.logsumexp(x[kept], -1), 1)
        assert_ulps(lazy.softmax(rows, -1).compute(), ll.softmax(x[kept], -1), 4)
        loss, grad = dask.compute(*lazy.cross_entropy_value_and_grad(rows, labels))
        want_loss, want_grad = ll.cross_entropy_value_and_grad(x[kept], target[kept])
        assert_ulps(loss, want_loss, 1)
        assert_ulps(grad, want_grad, 2)
        with pytest.raises(ValueError, match=r"target: .* unknown.\s+A possible solution"):
            lazy.cross_entropy(rows, target[kept])
        with pytest.raises(ValueError, match="expected a class in"):
            lazy.cross_entropy(rows, labels + CLASSES).compute()
    assert lazy.cross_entropy(rows.T, labels, axis=0).compute() == pytest.approx(want_loss, rel=1e-6)
    classes_first = da.from_array(x, chunks=7)[:, da.from_array(x[0] > 0, chunks=7)]
    assert_ulps(lazy.logsumexp(classes_first, -1).compute(), ll.logsumexp(x[:, x[0] > 0], -1), 1)
    with pytest.raises(ValueError, match=r"unknown along the class axis.\s+A possible solution"):
        lazy.cross_entropy(classes_first, target)


X = da.ones((6, 4), chunks=(2, 3))
Y = np.zeros(6, int)
BAD_CALLS = [
    (TypeError, "a: got ndarray, expected a Dask array", lambda: lazy.logsumexp(np.ones(3))),
    (TypeError, "logits: got list, expected a Dask array", lambda: lazy.cross_entropy([[1.0]], [0])),
    (TypeError, "x: got dtype complex128|a: got dtype complex128", lambda: lazy.softmax(X.astype(complex))),
    (np.exceptions.AxisError, "axis", lambda: lazy.logsumexp(X, 2)),
    (ValueError, "axis 0 twice", lambda: lazy.log_softmax(X, (0, -2))),
    (np.exceptions.AxisError, "axis", lambda: lazy.cross_entropy(X, Y, axis=2)),
    (TypeError, r"target: got dtype float64.*shape \(6, 4\)", lambda: lazy.cross_entropy(X, Y * 1.0)),
    (ValueError, r"target: got shape \(5,\), expected \(6,\)", lambda: lazy.cross_entropy(X, Y[:5])),
    (ValueError, r"target: got shape \(6, 3\), expected \(6, 4\)", lambda: lazy.cross_entropy(X, np.ones((6, 3)))),
    (ValueError, r"target: got shape \(\)", lambda: lazy.cross_entropy(X, 0)),
    (TypeError, "target: .*mask", lambda: lazy.cross_entropy(X, np.ma.array(Y, mask=Y))),
    (ValueError, "label_smoothing: got 2.0", lambda: lazy.cross_entropy(X, Y, label_smoothing=2.0)),
    (ValueError, "margin", lambda: lazy.cross_entropy(X, np.ones((6, 4)), margin=1.0)),
    (ValueError, "normalizer", lambda: lazy.cross_entropy(X, Y, normalizer=-1.0)),
    (ValueError, "reduction", lambda: lazy.cross_entropy(X, Y, reduction="all")),
    (ValueError, r"class_weight: got shape \(3,\)", lambda: lazy.cross_entropy(X, Y, class_weight=[1, 2, 3])),
    (ValueError, r"sample_weight: got shape \(5,\)", lambda: lazy.cross_entropy(X, Y, sample_weight=np.ones(5))),
    (TypeError, "sample_weight", lambda: lazy.cross_entropy(X, Y, sample_weight=np.ones(6, complex))),
    (ValueError, "num_threads", lambda: lazy.cross_entropy(X, Y, num_threads=0)),
    (ValueError, "upstream: got shape", lambda: lazy.cross_entropy_value_and_grad(X, Y, upstream=np.ones(6))),
    (TypeError, "upstream: got .*complex", lambda: lazy.cross_entropy_value_and_grad(X, Y, upstream=1j)),
    (TypeError, "upstream: got ", lambda: lazy.cross_entropy_value_and_grad(X, Y, upstream="1")),
    (TypeError, "upstream: got .*complex",
     lambda: lazy.cross_entropy_value_and_grad(X, Y, upstream=np.ones(6, complex), reduction="none")),
    (ValueError, r"expected a class in \[0, 4\)", lambda: lazy.cross_entropy(X[0], 4).compute()),
    (TypeError, "target: got dtype float64", lambda: lazy.cross_entropy(X[0], 1.0)),
    (ValueError, "target: got shape", lambda: lazy.bce_with_logits(X, Y)),
    (ValueError, "weight: got shape", lambda: lazy.bce_with_logits(X, X, pos_weight=np.ones((7, 6, 4)))),
    (ValueError, r"target\[5\]: got label 4, expected a class in \[0, 4\)",
     lambda: lazy.cross_entropy(X, [0, 0, 0, 0, 0, 4]).compute()),
    (ValueError, r"target\[3\]: got label -1, ",
     lambda: lazy.cross_entropy_value_and_grad(X, [0, 0, 0, -1, 0, 0])[1].compute()),
    (ValueError, r"target\[3\]: got label 4, ",
     lambda: lazy.cross_entropy(X.rechunk((2, 4)), [0, 0, 0, 4, 0, 0], reduction="none").compute()),
    (ValueError, r"target\[3\]: got label 4, ",
     lambda: lazy.cross_entropy(X.rechunk((2, 4)), [0, 0, 0, 4, 0, 0], class_weight=np.ones(4)).compute()),
    (ValueError, r"target\[1, 3\]: got label 2, ",
     lambda: lazy.cross_entropy(da.ones((2, 2, 4), chunks=(1, 1, 3)), [[0, 0, 0, 0], [0, 0, 0, 2]], axis=1).compute()),
]  # fmt: skip


@pytest.mark.parametrize(("error", "message", "call"), BAD_CALLS, ids=[message for _, message, _ in BAD_CALLS])
def test_bad_calls(error, message, call):
    with pytest.raises(error, match=message):
        call()


# ------------------------------------------------------------------------------------------------- graphs, schedulers


class Zeros:
    """Logits that are read chunk by chunk, as from a file."""

    def __init__(self, *shape):
        self.shape, self.ndim, self.dtype = shape, len(shape), np.dtype(np.float32)

    def __getitem__(self, where):
        return np.zeros([len(range(*each.indices(n))) for each, n in zip(where, self.shape, strict=True)], self.dtype)


def tasks(*results):
    """How many tasks are run, besides those that only read."""
    keys = []
    with Callback(pretask=lambda key, graph, state: keys.append(key[0] if isinstance(key, tuple) else key)):
        dask.compute(*results, scheduler="synchronous")
    return sum(not key.startswith(("read-", "finalize-")) for key in keys)


@pytest.mark.parametrize("grid", [(80, 1), (40, 2), (32, 4), (24, 9), (8, 40)], ids=str)
def test_few_tasks_a_chunk(grid):
    rows, classes = grid
    d = da.from_array(Zeros(5 * rows, 3 * classes), chunks=(5, 3), name="read-logits")
    target = da.from_array(np.zeros(5 * rows, int), chunks=5, name="read-target")
    chunks, ends = rows * classes, 4
    for reduction in ("none", "sum", "mean"):
        loss, grad = lazy.cross_entropy_value_and_grad(d, target, reduction=reduction)
        assert tasks(loss) <= (1.3 if reduction != "none" or classes == 1 else 1.5) * chunks + ends
        assert tasks(loss, grad) <= (2.3 if reduction != "none" or classes == 1 else 2.5) * chunks + ends
    assert tasks(lazy.bce_with_logits(d, d)) <= 1.2 * chunks + ends
    assert tasks(lazy.logsumexp(d, -1)) <= (2 if classes < 4 else 1.5) * chunks
    for function in (lazy.softmax, lazy.log_softmax):
        assert tasks(function(d, -1)) <= (1 if classes == 1 else 2.25) * chunks


def peak_bytes(result):
    result.compute(scheduler="synchronous")
    tracemalloc.start()
    try:
        result.compute(scheduler="synchronous")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_mean_needs_no_more_memory_than_a_sum():
    d, targets = (da.from_array(Zeros(32 * 16, 2 * 1024), chunks=(16, 1024), name=name) for name in "ab")
    slack = 4 * 16 * 1024 * 4  # four chunks; a task that takes sixteen is seen
    for function, options in (
        (lazy.cross_entropy, {}), (lazy.cross_entropy, {"sample_weight": np.ones(32 * 16)}),
        (lazy.cross_entropy, {"sample_weight": [2.0]}), (lazy.bce_with_logits, {}),
        (lazy.bce_with_logits, {"ignore_value": 1.0}),
    ):  # fmt: skip
        rows = {"reduction": "sum"}
        assert peak_bytes(function(d, targets, **options)) < peak_bytes(function(d, targets, **options, **rows)) + slack
    unknown = d[da.from_array(np.ones(32 * 16, bool), chunks=16)]
    more = peak_bytes(lazy.cross_entropy(unknown, unknown)) - peak_bytes(
        lazy.cross_entropy(unknown, unknown, reduction="sum")
    )
    assert more < slack
    many = 16 * 20000
    tall, labels = da.from_array(Zeros(many, 2), chunks=(20000, 2)), da.zeros(many, chunks=20000, dtype=np.int32)
    weights = da.ones(many, chunks=20000, dtype=np.float32)
    assert peak_bytes(lazy.cross_entropy(tall, labels, sample_weight=weights, class_weight=[1, 2])) < 16 * many


def test_states_of_many_shards_are_merged_once(monkeypatch, rng):
    shards, read = 16, []
    from_array, merge = ll.CrossEntropyState.from_array, ll.LogSumExp.merge
    monkeypatch.setattr(
        ll.CrossEntropyState, "from_array",
        lambda array, *a, **options: read.append(array.shape[-1] // 12) or from_array(array, *a, **options),
    )  # fmt: skip
    monkeypatch.setattr(ll.LogSumExp, "merge", lambda *states: read.append(1) or merge(*states))
    d = da.from_array(logits_of(rng, np.float32, (4, shards)), chunks=(4, 1))
    dask.compute(*lazy.cross_entropy_value_and_grad(d, [0, 1, 2, 3]))
    assert shards < sum(read) <= 3 * shards
    for function in (lazy.softmax, lazy.log_softmax):
        read.clear()
        function(d, -1).compute()
        assert shards < sum(read) <= 3 * shards


def test_chunks_take_one_thread_unless_asked():
    for name in lazy.__all__:
        assert inspect.signature(getattr(lazy, name)).parameters["num_threads"].default == 1
    with pytest.raises(ValueError, match="num_threads"):  # it is handed on
        lazy.logsumexp(X, num_threads=-1).compute()


def test_processes_give_the_bits_of_threads(rng):
    distributed = pytest.importorskip("distributed")
    x = logits_of(rng, np.float32, (60, 40))
    d = da.from_array(x, chunks=(7, 9))
    target, weights = rng.integers(0, 40, 60), rng.uniform(0, 2, 40)
    results = list(lazy_results(d, target, np.ones((60, 40))))
    results += lazy.cross_entropy_value_and_grad(d, da.from_array(target, chunks=20), class_weight=weights)
    here = dask.compute(*results)
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
    ):
        there = [future.result() for future in client.compute(results)]
    for got, want in zip(there, here, strict=True):
        assert_same_bits(got, want)
