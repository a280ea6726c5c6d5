"""Meanings are those of the peers: the same results as PyTorch, SciPy, scikit-learn and optax, over grids of arguments.

Everything is compared in float64, gradients with the peer's own. Deliberate differences, for infinite logits, for
means over nothing and for the digits of tiny losses, are no part of these grids and have tests of their own.
"""

import itertools

import numpy as np
import pytest

import logitloss as ll

RTOL, ATOL = 1e-11, 1e-14


def close(got, want):
    np.testing.assert_allclose(got, want, rtol=RTOL, atol=ATOL)


# ----------------------------------------------------------------------------------------------------------- PyTorch


@pytest.fixture(scope="module")
def torch():
    module = pytest.importorskip("torch")
    module.set_num_threads(1)
    return module


def peer_gradient(torch, function, logits, upstream=None):
    """Value and gradient with respect to the logits of a PyTorch function."""
    tensor = torch.tensor(logits, dtype=torch.float64, requires_grad=True)
    value = function(tensor)
    (value.sum() if upstream is None else (value * torch.as_tensor(upstream)).sum()).backward()
    return value.detach().numpy(), tensor.grad.numpy()


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", ["indices", "probabilities"])
@pytest.mark.parametrize("shape", [(8, 5), (4, 3, 6), (2, 7, 3, 2), (5,)])
def test_torch_cross_entropy(shape, form, weighted, smoothing, reduction, torch, rng):
    axis = 0 if len(shape) == 1 else 1
    classes = shape[axis]
    logits = 3 * rng.standard_normal(shape)
    weight = rng.uniform(0.2, 2, classes) if weighted else None
    for ignore_index in (-100, 1):
        if form == "indices":
            target = rng.integers(0, classes, np.delete(shape, axis))
            if ignore_index == 1 and np.all(target == 1):
                continue
        elif ignore_index == 1:
            continue
        else:
            target = rng.random(shape)
        want = peer_gradient(
            torch,
            lambda x, t=target, i=ignore_index: torch.nn.functional.cross_entropy(
                x,
                torch.as_tensor(t),
                weight=None if weight is None else torch.as_tensor(weight),
                ignore_index=i,
                label_smoothing=smoothing,
                reduction=reduction,
            ),
            logits,
        )
        got = ll.cross_entropy_value_and_grad(
            logits,
            target,
            axis=axis,
            class_weight=weight,
            ignore_index=ignore_index,
            label_smoothing=smoothing,
            reduction=reduction,
        )
        close(got[0], want[0])
        close(got[1], want[1])


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("weight_shape", [None, (), (4,), (6, 1), (6, 4)])
@pytest.mark.parametrize("pos_weight_shape", [None, (), (4,), (6, 4)])
@pytest.mark.parametrize("hard", [False, True])
def test_torch_bce(hard, pos_weight_shape, weight_shape, reduction, torch, rng):
    logits = 4 * rng.standard_normal((6, 4))
    target = rng.integers(0, 2, (6, 4)).astype(float) if hard else rng.random((6, 4))
    weight = None if weight_shape is None else rng.uniform(0.2, 2, weight_shape)
    pos_weight = None if pos_weight_shape is None else rng.uniform(0.2, 4, pos_weight_shape)
    tensors = {
        name: torch.as_tensor(value)
        for name, value in (("weight", weight), ("pos_weight", pos_weight))
        if value is not None
    }
    want = peer_gradient(
        torch,
        lambda x: torch.nn.functional.binary_cross_entropy_with_logits(
            x, torch.as_tensor(target), reduction=reduction, **tensors
        ),
        logits,
    )
    got = ll.bce_with_logits_value_and_grad(logits, target, weight=weight, pos_weight=pos_weight, reduction=reduction)
    close(got[0], want[0])
    close(got[1], want[1])


ROWS, CLASSES = 9, 5
ROW_OPTIONS = {
    "label_smoothing": 0.15,
    "z_loss": 0.03,
    "softcap": 4.0,
    "margin": 0.4,
    "scale": 1.7,
    "normalizer": 3.5,
    "class_weight": np.array([0.5, 1.0, 2.0, 0.25, 1.5]),
    "sample_weight": np.array([1.0, 2.0, 0.5, 0.0, 1.0, 3.0, 0.25, 1.0, -0.5]),
}


def torch_rows(torch, x, target, options):
    """Loss and weight of each row, in PyTorch's operations: its autograd knows the gradient."""
    classes = torch.arange(CLASSES)
    if "softcap" in options:
        x = options["softcap"] * torch.tanh(x / options["softcap"])
    if target.ndim == 1:
        here = (classes == torch.as_tensor(target)[:, None]).to(x)
        x = x - options.get("margin", 0.0) * here
    x = options.get("scale", 1.0) * x
    w = torch.as_tensor(options.get("class_weight", np.ones(CLASSES)))
    smoothing = options.get("label_smoothing", 0.0)
    soft = torch.as_tensor(target) if target.ndim == 2 else here
    coefficients = ((1 - smoothing) * soft + smoothing / CLASSES) * w
    lse = torch.logsumexp(x, 1)
    row_factor = torch.ones(ROWS).to(x) if target.ndim == 2 else (here * w).sum(1)
    loss = (coefficients * (lse[:, None] - x)).sum(1) + options.get("z_loss", 0.0) * row_factor * lse**2
    keep = torch.as_tensor(target != -100).to(x) if target.ndim == 1 else torch.ones(ROWS).to(x)
    rows = torch.as_tensor(options.get("sample_weight", np.ones(ROWS)))
    return rows * keep * loss, (rows * keep * row_factor).sum()


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("form", ["indices", "ignored", "probabilities"])
@pytest.mark.parametrize(
    "names", [*itertools.combinations(ROW_OPTIONS, 1), *itertools.combinations(ROW_OPTIONS, 2), tuple(ROW_OPTIONS)]
)
def test_all_options_of_cross_entropy_against_autograd(names, form, reduction, torch, rng):
    options = {name: ROW_OPTIONS[name] for name in names}
    if form == "probabilities":
        options.pop("margin", None)
    if reduction == "none":
        options.pop("normalizer", None)
    logits = 3 * rng.standard_normal((ROWS, CLASSES))
    target = rng.random((ROWS, CLASSES)) if form == "probabilities" else rng.integers(0, CLASSES, ROWS)
    if form == "ignored":
        target[[2, 5]] = -100
    upstream = rng.standard_normal(ROWS if reduction == "none" else ())

    def peer(x):
        rows, weight = torch_rows(torch, x, target, options)
        if reduction == "none":
            return rows
        divisor = options.get("normalizer", weight if reduction == "mean" else 1.0)
        return rows.sum() / divisor

    want = peer_gradient(torch, peer, logits, upstream)
    got = ll.cross_entropy_value_and_grad(logits, target, **options, reduction=reduction, upstream=upstream)
    close(got[0], want[0])
    close(got[1], want[1])


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("ignore", [None, -1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("normalizer", [None, 4.5])
@pytest.mark.parametrize("loss", ["bce", "focal"])
def test_all_options_of_binary_losses_against_autograd(
    loss, normalizer, weighted, ignore, smoothing, reduction, torch, rng
):
    if reduction == "none" and normalizer is not None:
        pytest.skip("a normalizer divides a sum")
    logits, target = 3 * rng.standard_normal((6, 4)), rng.choice([0.0, 1.0, 0.3], (6, 4))
    kept = np.ones((6, 4))
    if ignore is not None:
        target[1] = ignore
        kept[1] = 0
    weight, pos_weight = rng.uniform(0.2, 2, (6, 1)), rng.uniform(0.2, 4, 4)
    upstream = rng.standard_normal((6, 4) if reduction == "none" else ())

    def peer(x):
        t = torch.as_tensor(np.where(kept, target, 0.0) * (1 - smoothing) + smoothing / 2)
        if loss == "bce":
            factors = {"pos_weight": torch.as_tensor(pos_weight)} if weighted else {}
            elements = torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none", **factors)
        else:
            entropy = torch.nn.functional.binary_cross_entropy_with_logits(x, t, reduction="none")
            p = torch.sigmoid(x)
            elements = (0.3 * t + 0.7 * (1 - t)) * (1 - (p * t + (1 - p) * (1 - t))) ** 1.8 * entropy
        elements = elements * torch.as_tensor(kept * weight if weighted else kept)
        divisor = normalizer or (kept.sum() if reduction == "mean" else 1.0)
        return elements if reduction == "none" else elements.sum() / divisor

    function = ll.bce_with_logits_value_and_grad if loss == "bce" else ll.sigmoid_focal_loss_value_and_grad
    options = {"label_smoothing": smoothing, "ignore_value": ignore, "normalizer": normalizer, "reduction": reduction}
    options |= {"alpha": 0.3, "gamma": 1.8} if loss == "focal" else {"pos_weight": pos_weight} if weighted else {}
    want = peer_gradient(torch, peer, logits, upstream)
    got = function(logits, target, weight=weight if weighted else None, upstream=upstream, **options)
    close(got[0], want[0])
    close(got[1], want[1])


NAN, INF = np.nan, np.inf
TORCH_DIFFERENCES = {  # as the page "coming from" lists them: logits, target, options; our loss and gradient, PyTorch's
    "confident": ([[40.0, 0.0]], [0], {}, np.exp(-40), [[-np.exp(-40), np.exp(-40)]], 0, [[0, np.exp(-40)]]),
    "mask": ([[0.0, -INF]], [[1.0, 0.0]], {}, 0, [[0, 0]], NAN, [[0, 0]]),
    "ignored NaN": ([[NAN, 0.0]], [-100], {"reduction": "sum"}, 0, [[0, 0]], 0, [[NAN, NAN]]),
    "+inf elsewhere": ([[INF, 0.0]], [1], {}, INF, [[NAN, NAN]], NAN, [[NAN, NAN]]),
    "all ignored": ([[1.0, 0.0]], [-100], {}, NAN, [[0, 0]], NAN, [[0, 0]]),
    "no weight": ([[1.0, 0.0]], [0], {"weight": [0.0, 1.0]}, NAN, [[0, 0]], NAN, [[NAN, NAN]]),
    "smoothed mask": ([[0.0, -INF]], [0], {"label_smoothing": 0.5}, INF, [[0.25, -0.25]], INF, [[0.25, -0.25]]),
    "smoothed mask of weight 0": (
        *([[0.0, -INF]], [0], {"label_smoothing": 0.5, "weight": [1.0, 0.0]}),
        *(0, [[0, 0]], NAN, [[0, 0]]),
    ),
    "smoothed +inf": ([[INF, 0.0]], [1], {"label_smoothing": 0.5}, NAN, [[NAN, NAN]], NAN, [[NAN, NAN]]),
}


@pytest.mark.parametrize("what", TORCH_DIFFERENCES)
def test_where_torch_differs(what, torch):
    logits, target, options, loss, grad, their_loss, their_grad = TORCH_DIFFERENCES[what]
    names = {"weight": "class_weight"}
    got = ll.cross_entropy_value_and_grad(logits, target, **{names.get(k, k): v for k, v in options.items()})
    np.testing.assert_allclose(got[0], loss, rtol=1e-14)
    np.testing.assert_allclose(got[1], grad, rtol=1e-14)
    given = {k: torch.tensor(v, dtype=torch.float64) if k == "weight" else v for k, v in options.items()}
    theirs = peer_gradient(
        torch,
        lambda x: torch.nn.functional.cross_entropy(
            x, torch.as_tensor(target).double() if np.ndim(target) == 2 else torch.as_tensor(target), **given
        ),
        logits,
    )
    np.testing.assert_allclose(theirs[0], their_loss)
    np.testing.assert_allclose(theirs[1], their_grad, rtol=1e-9)


def test_where_torch_differs_in_binary_losses(torch):
    logits, target = [INF, -INF, INF, 0.0, -40.0], [1.0, 0.0, 0.0, 1.0, 0.0]
    want = [0, 0, INF, np.log(2), np.exp(-40)]
    got = ll.bce_with_logits_value_and_grad(logits, target, reduction="none")
    np.testing.assert_allclose(got[0], want, rtol=1e-14)
    np.testing.assert_allclose(got[1], [0, 0, 1, -0.5, np.exp(-40)], rtol=1e-14)
    theirs, _ = peer_gradient(
        torch,
        lambda x: torch.nn.functional.binary_cross_entropy_with_logits(
            x, torch.tensor(target).double(), reduction="none"
        ),
        logits,
    )
    np.testing.assert_allclose(theirs, [NAN, NAN, INF, np.log(2), 0])


def test_where_torch_differs_beside_plus_infinity(torch):
    row = [INF, 0.0, -INF]
    np.testing.assert_equal(ll.log_softmax(row), [NAN, -INF, -INF])
    np.testing.assert_equal(torch.log_softmax(torch.tensor(row), 0).numpy(), [NAN, NAN, NAN])
    value, grad = ll.logsumexp_value_and_grad(row)
    np.testing.assert_equal([value, *grad], [INF, NAN, NAN, NAN])
    theirs = peer_gradient(torch, lambda x: torch.logsumexp(x, 0), row)
    np.testing.assert_equal([theirs[0], *theirs[1]], [INF, NAN, 0, 0])


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("full", [False, True])
def test_torch_poisson(full, reduction, torch, rng):
    log_rate, target = 2 * rng.standard_normal((6, 4)), rng.integers(0, 9, (6, 4)).astype(float)
    target[0] = [0.5, 1, 1.5, 2]
    want = peer_gradient(
        torch,
        lambda x: torch.nn.functional.poisson_nll_loss(x, torch.as_tensor(target), full=full, reduction=reduction),
        log_rate,
    )
    got = ll.poisson_nll_value_and_grad(log_rate, target, full=full, reduction=reduction)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_torch_softmaxes_and_their_gradients(axis, torch, rng):
    x, dy = rng.standard_normal((3, 4, 5)), rng.standard_normal((3, 4, 5))
    for ours, vjp, theirs in (
        (ll.softmax, ll.softmax_vjp, torch.softmax),
        (ll.log_softmax, ll.log_softmax_vjp, torch.log_softmax),
    ):
        want, want_grad = peer_gradient(torch, lambda t, f=theirs: f(t, axis), x, dy)
        y = ours(x, axis=axis)
        close(y, want)
        close(vjp(y, dy, axis), want_grad)
    value, grad = peer_gradient(torch, lambda t: torch.logsumexp(t, axis), x)
    got = ll.logsumexp_value_and_grad(x, axis)
    close(got[0], value)
    close(got[1], grad)


# ------------------------------------------------------------------------------------------------------ scikit-learn


def sklearn_results(peer, target, logits, weight):
    """Loss and gradient by all three methods, which must agree among themselves."""
    given = {"y_true": target, "raw_prediction": logits, "sample_weight": weight}
    loss, grad = peer.loss_gradient(**given)
    tolerance = 1e-5 if logits.dtype == np.float32 else 1e-11
    np.testing.assert_allclose(peer.loss(**given), loss, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(peer.gradient(**given), grad, rtol=tolerance, atol=tolerance)
    return loss, grad


every_sklearn_size = pytest.mark.parametrize("rows", [1, 7, 1000])
every_sklearn_weight = pytest.mark.parametrize("weighted", [False, True])
every_sklearn_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])


@every_sklearn_dtype
@every_sklearn_weight
@every_sklearn_size
@pytest.mark.parametrize("classes", [2, 3, 6, 40, 300])
def test_sklearn_multinomial_loss(classes, rows, weighted, dtype, rng):
    losses = pytest.importorskip("sklearn._loss")
    logits, target = (2 * rng.standard_normal((rows, classes))).astype(dtype), rng.integers(0, classes, rows)
    weight = rng.uniform(0.5, 2, rows).astype(dtype) if weighted else None
    peer = losses.HalfMultinomialLoss(n_classes=classes)
    want, want_grad = sklearn_results(peer, target.astype(dtype), logits, weight)
    got, grad = ll.cross_entropy_value_and_grad(logits, target, sample_weight=weight, reduction="none")
    assert got.dtype == want.dtype == grad.dtype == want_grad.dtype == dtype
    tolerance = {"rtol": 2e-5, "atol": 2e-6} if dtype is np.float32 else {"rtol": RTOL, "atol": 1e-13}
    np.testing.assert_allclose(got, want, **tolerance)
    np.testing.assert_allclose(grad, want_grad, **tolerance)
    np.testing.assert_allclose(
        ll.cross_entropy(logits, target, sample_weight=weight), peer(target.astype(dtype), logits, weight), rtol=1e-5
    )


@every_sklearn_dtype
@every_sklearn_weight
@every_sklearn_size
@pytest.mark.parametrize("hard", [False, True])
def test_sklearn_binomial_loss(hard, rows, weighted, dtype, rng):
    losses = pytest.importorskip("sklearn._loss")
    logits = (3 * rng.standard_normal(rows)).astype(dtype)
    target = (rng.integers(0, 2, rows) if hard else rng.random(rows)).astype(dtype)
    weight = rng.uniform(0.5, 2, rows).astype(dtype) if weighted else None
    want, want_grad = sklearn_results(losses.HalfBinomialLoss(), target, logits, weight)
    got, grad = ll.bce_with_logits_value_and_grad(logits, target, weight=weight, reduction="none")
    assert got.dtype == want.dtype == grad.dtype == want_grad.dtype == dtype
    tolerance = {"rtol": 2e-5, "atol": 2e-6} if dtype is np.float32 else {"rtol": 1e-9, "atol": 1e-13}
    np.testing.assert_allclose(got, want, **tolerance)
    np.testing.assert_allclose(grad, want_grad, **tolerance)


def test_sklearn_log_loss(rng):
    metrics = pytest.importorskip("sklearn.metrics")
    logits, target = rng.standard_normal((40, 3)), rng.integers(0, 3, 40)
    want = metrics.log_loss(target, ll.softmax(logits, axis=1), labels=range(3))
    close(ll.cross_entropy(logits, target), want)


# -------------------------------------------------------------------------------------------------------------- SciPy


SCIPY_AXES = [None, 0, 1, 2, -1, -3, (0, 1), (2, 0), (-1, 0), (-2,), (0, 1, 2), ()]


@pytest.mark.parametrize("axis", SCIPY_AXES, ids=str)
@pytest.mark.parametrize("shape", [(4, 3, 5), (1, 6, 1), (2, 300, 3)], ids=str)
def test_scipy(shape, axis, rng):
    special = pytest.importorskip("scipy.special")
    x = 5 * rng.standard_normal(shape)
    close(ll.logsumexp(x, axis=axis), special.logsumexp(x, axis=axis))
    close(ll.softmax(x, axis=axis), special.softmax(x, axis=axis))
    np.testing.assert_allclose(ll.log_softmax(x, axis=axis), special.log_softmax(x, axis=axis), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("axis", SCIPY_AXES, ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("weights", [None, (3, 4, 5), (4, 1), (5,), (), (2, 1, 1, 1)], ids=str)
def test_scipy_logsumexp_with_all_arguments(weights, keepdims, axis, rng):
    special = pytest.importorskip("scipy.special")
    a = 4 * rng.standard_normal((3, 4, 5))
    b = None if weights is None else rng.choice([-1.0, 0.0, 0.5, 2.0], weights)
    if b is not None and b.ndim > a.ndim and isinstance(axis, (int, tuple)):
        axis = tuple(i + 1 for i in np.atleast_1d(axis) % 3)
    with np.errstate(all="ignore"):
        want, want_sign = special.logsumexp(a, axis=axis, b=b, keepdims=keepdims, return_sign=True)
        want_alone = special.logsumexp(a, axis=axis, b=b, keepdims=keepdims)
    got, sign = ll.logsumexp(a, axis=axis, b=b, keepdims=keepdims, return_sign=True)
    np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-12)
    np.testing.assert_array_equal(sign, want_sign)
    np.testing.assert_allclose(ll.logsumexp(a, axis=axis, b=b, keepdims=keepdims), want_alone, rtol=1e-11, atol=1e-12)


SCIPY_ENDS = [
    [-np.inf, -np.inf],
    [np.inf, 1.0],
    [np.inf, np.inf],
    [np.inf, -np.inf],
    [np.nan, 1.0],
    [-np.inf, 1.0],
    [1e300, -1e300],
    [5.0],
]


@pytest.mark.parametrize("row", SCIPY_ENDS, ids=str)
def test_scipy_at_infinity(row):
    special = pytest.importorskip("scipy.special")
    with np.errstate(all="ignore"):
        for name in ("logsumexp", "softmax", "log_softmax"):
            np.testing.assert_array_equal(getattr(ll, name)(row), getattr(special, name)(row))


SCIPY_DIFFERENCES = [  # as the page "coming from" lists them: arguments, ours, SciPy's or the error that it raises
    ("logsumexp", ([np.nan, np.inf],), {"b": [0, 0]}, -np.inf, np.nan),
    ("logsumexp", ([-np.inf, 2.0],), {"b": [np.inf, 1]}, 2.0, np.nan),
    ("logsumexp", ([-1000.0, 2.0],), {"b": [np.inf, 1]}, np.inf, np.nan),
    ("logsumexp", ([1e308, 1e308],), {"b": [1, -1]}, -np.inf, np.nan),
    ("logsumexp", (np.zeros((2, 3)),), {"axis": [0, 1]}, np.log(6), TypeError),
    ("logsumexp", ([1j, 0],), {}, TypeError, np.log(np.exp(1j) + 1)),
    ("softmax", (np.zeros((2, 0)),), {"axis": 1}, np.zeros((2, 0)), ValueError),
    ("log_softmax", (np.zeros((2, 0)),), {"axis": 1}, np.zeros((2, 0)), ValueError),
]


def outcome(function, args, options):
    """What comes out, the kind of an error included."""
    with np.errstate(all="ignore"):
        try:
            return function(*args, **options)
        except (TypeError, ValueError) as error:
            return type(error)


@pytest.mark.parametrize(("name", "args", "options", "ours", "theirs"), SCIPY_DIFFERENCES, ids=str)
def test_where_scipy_differs(name, args, options, ours, theirs):
    special = pytest.importorskip("scipy", "1.17").special
    for module, want in ((ll, ours), (special, theirs)):
        got = outcome(getattr(module, name), args, options)
        if isinstance(want, type):
            assert got is want
        else:
            np.testing.assert_allclose(got, want, rtol=1e-14)


def test_where_dtypes_and_shapes_differ_from_scipy():
    special = pytest.importorskip("scipy", "1.17").special
    halves, ones = np.ones(3, np.float16), np.ones(3, np.float32)
    assert (ll.logsumexp(halves).dtype, special.logsumexp(halves).dtype) == (np.float32, np.float16)
    assert (ll.logsumexp(1, b=ones).dtype, special.logsumexp(1, b=ones).dtype) == (np.float64, np.float32)
    assert (np.shape(ll.logsumexp(1.0, keepdims=True)), np.shape(special.logsumexp(1.0, keepdims=True))) == ((), (1,))
    nothing = np.empty((2, 0))
    np.testing.assert_array_equal(ll.logsumexp(nothing, axis=1, return_sign=True)[1], [0, 0])
    assert not np.any(special.logsumexp(nothing, axis=1, return_sign=True)[1] == 0)


@pytest.mark.parametrize(("shape", "axis"), [((), None), ((), 0), ((), -1), ((0,), None), ((3, 0), 1), ((0, 3), 0)])
def test_scipy_on_nothing_and_on_one_number(shape, axis, rng):
    special = pytest.importorskip("scipy.special")
    a = rng.standard_normal(shape)
    try:
        want = special.logsumexp(a, axis=axis)
    except ValueError:
        pytest.skip("before SciPy 1.15 there is no sum over nothing")
    got = ll.logsumexp(a, axis=axis)
    assert np.shape(got) == np.shape(want)
    close(got, want)
    if shape == ():
        assert ll.softmax(a, axis=axis) == special.softmax(a, axis=axis) == 1
        assert ll.log_softmax(a, axis=axis) == special.log_softmax(a, axis=axis) == 0


# ---------------------------------------------------------------------------------------------------------------- JAX


@pytest.mark.parametrize("axis", [0, 1])
def test_jax_and_its_gradients(axis, rng):
    jax = pytest.importorskip("jax")
    x, b, dy = (rng.standard_normal((5, 7)).astype(np.float32) for _ in range(3))
    want = jax.scipy.special.logsumexp(x, axis, b=b, return_sign=True)
    for got, peer in zip(ll.logsumexp(x, axis, b=b, return_sign=True), want, strict=True):
        np.testing.assert_allclose(got, peer, rtol=1e-4, atol=1e-6)
    for ours, vjp, theirs in (
        (ll.softmax, ll.softmax_vjp, jax.nn.softmax),
        (ll.log_softmax, ll.log_softmax_vjp, jax.nn.log_softmax),
    ):
        y, pull = jax.vjp(lambda v, f=theirs: f(v, axis=axis), x)
        np.testing.assert_allclose(ours(x, axis=axis), y, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(vjp(ours(x, axis=axis), dy, axis), pull(dy)[0], rtol=1e-4, atol=1e-6)


# -------------------------------------------------------------------------------------------------------------- optax


@pytest.fixture(scope="module")
def optax():
    """In float64, for this module's tests of it only."""
    jax = pytest.importorskip("jax")
    module = pytest.importorskip("optax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield module
    jax.config.update("jax_enable_x64", before)


def optax_results(function, logits):
    """The peer's losses, and the gradient of their sum."""
    import jax

    grad = np.asarray(jax.grad(lambda x: function(x).sum())(logits))
    assert grad.dtype == np.float64
    return np.asarray(function(logits)), grad


every_optax_shape = pytest.mark.parametrize("shape", [(1, 2), (9, 4), (3, 5, 7), (2, 300)], ids=str)


@every_optax_shape
@pytest.mark.parametrize("smoothing", [0.0, 0.2, 1.0])
def test_optax_cross_entropy(smoothing, shape, optax, rng):
    logits, labels = 3 * rng.standard_normal(shape), rng.integers(0, shape[-1], shape[:-1])
    soft = rng.dirichlet(np.ones(shape[-1]), shape[:-1])
    options = {"label_smoothing": smoothing, "reduction": "none"}
    for target, one_hot in ((labels, np.eye(shape[-1])[labels]), (soft, soft)):
        smooth = optax.smooth_labels(one_hot, smoothing)
        want = optax_results(lambda x, t=smooth: optax.softmax_cross_entropy(x, t), logits)
        got = ll.cross_entropy_value_and_grad(logits, target, **options)
        close(got[0], want[0])
        np.testing.assert_allclose(got[1], want[1], rtol=1e-10, atol=1e-14)
    if smoothing == 0:
        want = optax_results(lambda x: optax.softmax_cross_entropy_with_integer_labels(x, labels), logits)
        got = ll.cross_entropy_value_and_grad(logits, labels, **options)
        close(got[0], want[0])
        np.testing.assert_allclose(got[1], want[1], rtol=1e-10, atol=1e-14)


@every_optax_shape
@pytest.mark.parametrize("axis", [0, -1])
def test_optax_cross_entropy_along_an_axis_with_masks(axis, shape, optax, rng):
    logits = 3 * rng.standard_normal(shape)
    classes = shape[axis]
    labels = rng.integers(0, classes, np.delete(shape, axis))
    want = optax_results(
        lambda x: optax.softmax_cross_entropy_with_integer_labels(x, labels, axis=axis), np.asarray(logits)
    )
    got = ll.cross_entropy_value_and_grad(logits, labels, axis=axis, reduction="none")
    close(got[0], want[0])
    np.testing.assert_allclose(got[1], want[1], rtol=1e-10, atol=1e-14)
    masked = np.where(np.arange(shape[-1]) == 0, -np.inf, logits)
    target = rng.random(shape) * (np.arange(shape[-1]) != 0)
    want = optax_results(lambda x: optax.safe_softmax_cross_entropy(x, target), masked)
    got = ll.cross_entropy_value_and_grad(masked, target, reduction="none")
    close(got[0], want[0])
    np.testing.assert_allclose(got[1], want[1], rtol=1e-10, atol=1e-14)


@every_optax_shape
@pytest.mark.parametrize("hard", [False, True])
def test_optax_binary_losses(hard, shape, optax, rng):
    logits = 4 * rng.standard_normal(shape)
    labels = rng.integers(0, 2, shape).astype(float) if hard else rng.random(shape)
    want = optax_results(lambda x: optax.sigmoid_binary_cross_entropy(x, labels), logits)
    got = ll.bce_with_logits_value_and_grad(logits, labels, reduction="none")
    np.testing.assert_allclose(got[0], want[0], rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(got[1], want[1], rtol=1e-10, atol=1e-14)
    for alpha, gamma in itertools.product((None, 0.25, 0.9), (0.5, 1.0, 2.0, 3.5)):
        want = optax_results(lambda x, a=alpha, g=gamma: optax.sigmoid_focal_loss(x, labels, alpha=a, gamma=g), logits)
        got = ll.sigmoid_focal_loss_value_and_grad(logits, labels, alpha=alpha, gamma=gamma, reduction="none")
        np.testing.assert_allclose(got[0], want[0], rtol=1e-9, atol=1e-13)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-9, atol=1e-13)


@every_optax_shape
def test_optax_kl_divergence(shape, optax, rng):
    p, q = (rng.dirichlet(np.ones(shape[-1]), shape[:-1]) for _ in range(2))
    close(ll.kl_divergence(p, q), optax.kl_divergence(np.log(q), p))
    p[..., 0] = 0
    close(ll.kl_divergence(p, q), optax.kl_divergence(np.log(q), p))
