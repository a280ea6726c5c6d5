"""Gradients and Hessian diagonals: values against exact arithmetic, what removes rows, layouts, dtypes and errors."""

import mpmath
import numpy as np
import pytest
from checks import assert_within, floor
from child import run_python

import logitloss as ll

KINDS = ["exact", "upper", "friedman", "abs"]
FLOATS = [np.float32, np.float64]


def assert_relative(got, want, tolerance, dtype):
    assert_within(got, want, tolerance, floor=floor(dtype))


def rtol(dtype):
    return 4e-7 if dtype == np.float32 else 2e-14


def exact_row(logits, q, kind, weight=1.0, scale=1.0):
    """Gradient and Hessian of one row with coefficients q, in 60 digits."""
    with mpmath.workdps(60):
        z = [mpmath.mpf(float(x)) * scale for x in logits]
        top = max(z)
        e = [mpmath.exp(x - top) for x in z]
        total, mass = mpmath.fsum(e), mpmath.fsum(map(mpmath.mpf, q))
        grad = [weight * scale * (mass * a / total - b) for a, b in zip(e, map(mpmath.mpf, q), strict=True)]
        curvature = [weight * scale**2 * mass * a / total * (total - a) / total for a in e]
        classes = len(z)
        hess = {
            "exact": curvature,
            "upper": [max(2 * c, mpmath.mpf(1e-16)) for c in curvature],
            "friedman": [c * classes / max(classes - 1, 1) for c in curvature],
            "abs": [abs(g) * scale for g in grad],
        }[kind]
        return [float(g) for g in grad], [float(h) for h in hess]


def exact_rows(logits, coefficients, kind, weight=None, scale=1.0):
    weights = np.ones(len(logits)) if weight is None else weight
    rows = [exact_row(z, q, kind, w, scale) for z, q, w in zip(logits, coefficients, weights, strict=True)]
    return np.array([r[0] for r in rows]), np.array([r[1] for r in rows])


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(20, 2), (17, 10), (5, 300), (1, 9000)])
def test_hard_targets_to_relative_accuracy(shape, kind, dtype, rng):
    logits = (8 * rng.standard_normal(shape)).astype(dtype)
    labels = rng.integers(0, shape[1], shape[0])
    logits[0, labels[0]] += 60  # a confident row
    logits[-1] += 1e4  # a common offset
    grad, hess = ll.cross_entropy_grad_hess(logits, labels, hessian=kind)
    wants = exact_rows(logits, np.eye(shape[1])[labels], kind)
    assert_relative(grad, wants[0], rtol(dtype), dtype)
    assert_relative(hess, wants[1], rtol(dtype), dtype)


@pytest.mark.sampled
@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("classes", [3, 700])
@pytest.mark.parametrize("soft", [False, True])
def test_every_option(soft, classes, kind, dtype, rng):
    n, smoothing, scale = 12, 0.1, 0.5
    logits = (6 * rng.standard_normal((n, classes))).astype(dtype)
    class_weight, sample_weight = rng.uniform(0.2, 2, classes), rng.uniform(0.2, 2, n)
    if soft:
        target = rng.dirichlet(np.ones(classes), n)
        q = class_weight * ((1 - smoothing) * target + smoothing / classes)
    else:
        target = rng.integers(0, classes, n)
        q = np.tile(smoothing / classes * class_weight, (n, 1))
        q[np.arange(n), target] += (1 - smoothing) * class_weight[target]
    grad, hess = ll.cross_entropy_grad_hess(
        logits,
        target,
        hessian=kind,
        class_weight=class_weight,
        sample_weight=sample_weight,
        label_smoothing=smoothing,
        scale=scale,
    )
    wants = exact_rows(logits, q, kind, sample_weight, scale)
    # A gradient, and its magnitude, may pass through 0, where it is as exact as its terms.
    terms = (sample_weight * scale * q.sum(axis=1))[:, None]
    tolerance = rtol(dtype) * 5
    np.testing.assert_array_less(np.abs(grad - wants[0]), np.broadcast_to(tolerance * terms, grad.shape))
    if kind == "abs":
        np.testing.assert_array_less(np.abs(hess - wants[1]), np.broadcast_to(tolerance * terms, grad.shape))
    else:
        assert_relative(hess, wants[1], tolerance, dtype)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_gradient_is_that_of_the_loss(dtype, rng):
    logits = rng.standard_normal((40, 10)).astype(dtype)
    labels = rng.integers(0, 10, 40)
    options = {"label_smoothing": 0.1, "class_weight": rng.uniform(0.5, 2, 10), "scale": 2.0}
    _, want = ll.cross_entropy_value_and_grad(logits, labels, reduction="none", **options)
    grad, _ = ll.cross_entropy_grad_hess(logits, labels, **options)
    np.testing.assert_allclose(grad, want, rtol=0, atol=2e-6 if dtype == np.float32 else 1e-14)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(6, 4), (6, 300)])
def test_what_removes_a_row(shape, dtype, rng):
    logits = rng.standard_normal(shape).astype(dtype)
    logits[1:4] = np.nan
    labels = np.array([0, -100, 1, 2, 3, 0])
    sample_weight = np.array([1, 1, 0, 1, 1, 1.0])
    class_weight = np.ones(shape[1])
    class_weight[2] = 0
    options = {"sample_weight": sample_weight, "class_weight": class_weight}
    for result in ll.cross_entropy_grad_hess(logits, labels, hessian="upper", **options):
        assert np.all(result[1:4] == 0)
        assert np.all(result[[0, 4, 5]] != 0)
    target = np.eye(shape[1])[np.abs(labels) % shape[1]]
    target[1:4] = 0
    for result in ll.cross_entropy_grad_hess(logits, target):
        assert np.all(result[1:4] == 0)
        assert not np.any(np.isnan(result))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("classes", [3, 200, 5000])
def test_masked_and_not_finite(classes, dtype):
    logits = np.zeros((5, classes), dtype)
    logits[0, 1] = logits[1, 0] = -np.inf  # masked; the second at its target
    logits[2, 1] = np.inf
    logits[3, 2] = np.nan
    logits[4] = -np.inf
    grad, hess = ll.cross_entropy_grad_hess(logits, np.zeros(5, int))
    assert (grad[0, 1], hess[0, 1]) == (0, 0)
    assert (grad[1, 0], hess[1, 0]) == (-1, 0)
    assert np.all(np.isfinite(grad[:2]))
    assert np.all(np.isfinite(hess[:2]))
    assert np.all(np.isnan(grad[2:]))
    assert np.all(np.isnan(hess[2:]))


def test_one_class():
    for kind in KINDS:
        grad, hess = ll.cross_entropy_grad_hess([[3.0], [-2.0]], [0, 0], hessian=kind)
        assert not grad.any()
        np.testing.assert_array_equal(hess, np.full((2, 1), 1e-16 if kind == "upper" else 0.0))


@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_order_and_narrow_outputs(order, rng):
    logits = np.asarray(rng.standard_normal((150, 7)), order=order)
    labels = rng.integers(0, 7, 150)
    wide = ll.cross_entropy_grad_hess(logits, labels)
    narrow = np.empty_like(logits, dtype=np.float32), np.empty_like(logits, dtype=np.float32)
    got = ll.cross_entropy_grad_hess(logits, labels, grad_out=narrow[0], hess_out=narrow[1])
    beside = ll.cross_entropy_grad_hess(logits, labels, hess_out=np.empty_like(narrow[1]))
    for a, b, c, out in zip(wide, got, beside, narrow, strict=True):
        assert b is out
        assert a.flags.f_contiguous == (order == "F")
        assert c.dtype == np.float32
        assert c.flags.f_contiguous == (order == "F")
        np.testing.assert_array_equal(a.astype(np.float32), b)
        np.testing.assert_array_equal(b, c)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_any_layout_gives_the_same(dtype, rng):
    logits = rng.standard_normal((6, 30, 5)).astype(dtype)
    labels = rng.integers(0, 30, (6, 5))
    want = [np.moveaxis(r, -1, 1) for r in ll.cross_entropy_grad_hess(np.moveaxis(logits, 1, -1).copy(), labels)]
    doubled = np.zeros((12, 30, 10), dtype)
    doubled[::2, :, ::2] = logits
    swapped = logits.astype(logits.dtype.newbyteorder())
    for x in (logits, doubled[::2, :, ::2], swapped):
        for a, b in zip(ll.cross_entropy_grad_hess(x, labels, axis=1), want, strict=True):
            assert a.dtype == dtype
            np.testing.assert_allclose(a, b, rtol=2e-3 if dtype == np.float16 else 1e-6, atol=1e-12)
    in_place = logits.copy()
    grad, hess = ll.cross_entropy_grad_hess(in_place, labels, axis=1, grad_out=in_place)
    assert grad is in_place
    np.testing.assert_allclose(hess, want[1], rtol=2e-3 if dtype == np.float16 else 1e-6, atol=1e-12)


def test_labels_may_be_integral_floats(rng):
    logits = rng.standard_normal((5, 3))
    labels = np.array([0, 2, 1, -100, 1])
    want = ll.cross_entropy_grad_hess(logits, labels)
    for dtype in (np.float16, np.float32, np.float64):
        got = ll.cross_entropy_grad_hess(logits, labels.astype(dtype))
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("bad", [1.5, 3.0, -1.0, np.nan, np.inf, 1e300])
def test_the_first_bad_float_label_is_named(bad):
    labels = np.array([0.0, 1.0, bad, bad])
    grad = np.full((4, 3), 7.0)
    with pytest.raises(ValueError, match=r"target\[2\]: got label .*expected a class in \[0, 3\)"):
        ll.cross_entropy_grad_hess(np.zeros((4, 3)), labels, grad_out=grad)
    assert np.all(grad == 7)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"hessian": "clipped"}, ValueError, "hessian: got 'clipped', expected 'exact'"),
        ({"hessian": "newton"}, ValueError, "hessian: got 'newton'"),
        ({"hessian": 2}, TypeError, "hessian"),
        ({"hess_out": np.zeros((2, 4))}, ValueError, "hess_out: got shape"),
        ({"hess_out": np.zeros((2, 3), np.float16)}, ValueError, "grad_out: got dtype float16|hess_out: got dtype"),
        ({"hess_out": np.zeros((2, 3)), "grad_out": np.zeros((2, 3), np.float32)}, ValueError, "hess_out: got dtype"),
        ({"scale": 0.0}, ValueError, "scale"),
    ],
)
def test_errors(options, error, message):
    with pytest.raises(error, match=message):
        ll.cross_entropy_grad_hess(np.zeros((2, 3)), [0, 1], **options)


def test_outputs_must_not_overlap():
    x = np.zeros((2, 3))
    for options in ({"hess_out": x}, {"grad_out": np.broadcast_to(np.zeros(3), (2, 3)).copy()[:, ::-1], "hess_out": x}):
        with pytest.raises(ValueError, match="hess_out: got an array that overlaps logits"):
            ll.cross_entropy_grad_hess(x, [0, 1], **options)
    out = np.zeros((2, 3))
    with pytest.raises(ValueError, match="hess_out: got an array that overlaps grad_out"):
        ll.cross_entropy_grad_hess(x, [0, 1], grad_out=out, hess_out=out)


# ------------------------------------------------------------------------------------------------------------ binary


def exact_binary(x, t, gamma=0.0, alpha=None, pos_weight=1.0):
    """First and second derivative of the loss of one element, by differentiating it in 60 digits."""
    with mpmath.workdps(60):
        x, t = mpmath.mpf(float(x)), mpmath.mpf(float(t))

        def loss(z):
            p = 1 / (1 + mpmath.exp(-z))
            entropy = pos_weight * t * mpmath.log1p(mpmath.exp(-z)) + (1 - t) * mpmath.log1p(mpmath.exp(z))
            missed = (1 - t) * p + t / (1 + mpmath.exp(z))
            weight = 1 if alpha is None else alpha * t + (1 - alpha) * (1 - t)
            return weight * missed**gamma * entropy

        with mpmath.workdps(160):
            return float(mpmath.diff(loss, x, 1)), float(mpmath.diff(loss, x, 2))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("target", [0, 1, 0.3])
def test_binary_derivatives(target, dtype, rng):
    x = np.concatenate([rng.uniform(-30, 30, 20), [0, -60, 60]]).astype(dtype)
    t = np.full(x.shape, target)
    grad, hess = ll.bce_with_logits_grad_hess(x, t, pos_weight=1.5)
    wants = np.array([exact_binary(a, target, pos_weight=1.5) for a in x])
    tolerance = 4e-7 if dtype == np.float32 else 1e-13  # of a soft target's gradient near 0
    assert_relative(grad, wants[:, 0], tolerance, dtype)
    assert_relative(hess, wants[:, 1], rtol(dtype), dtype)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 7.0])
@pytest.mark.parametrize("target", [0, 1])
def test_focal_derivatives(target, gamma, dtype, rng):
    x = np.concatenate([rng.uniform(-20, 20, 20), [0, -12, 12]]).astype(dtype)
    grad, hess = ll.sigmoid_focal_loss_grad_hess(x, np.full(x.shape, target), gamma=gamma, alpha=0.3)
    wants = np.array([exact_binary(a, target, gamma, 0.3) for a in x])
    assert_relative(grad, wants[:, 0], rtol(dtype) * (1 + gamma), dtype)
    assert_relative(hess, wants[:, 1], rtol(dtype) * 20 * (1 + gamma), dtype)  # it passes through 0
    _, clipped = ll.sigmoid_focal_loss_grad_hess(x, np.full(x.shape, target), gamma=gamma, alpha=0.3, hessian="clipped")
    np.testing.assert_array_equal(clipped, np.maximum(hess, 0))
    if gamma > 0:
        assert np.any(hess < 0)


def test_focal_without_focus_is_bce(rng):
    x, t = 5 * rng.standard_normal(100), rng.random(100)
    got = ll.sigmoid_focal_loss_grad_hess(x, t, gamma=0.0, alpha=None)
    for a, b in zip(got, ll.bce_with_logits_grad_hess(x, t), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_binary_is_softmax_of_two_classes(kind, rng):
    x, t = 5 * rng.standard_normal(50), rng.integers(0, 2, 50)
    got = ll.bce_with_logits_grad_hess(x, t, hessian=kind)
    rows = ll.cross_entropy_grad_hess(np.stack([np.zeros(50), x], axis=1), t, hessian=kind)
    for a, b in zip(got, rows, strict=True):
        np.testing.assert_allclose(a, b[:, 1], rtol=1e-13)


def test_binary_options_that_remove():
    x = np.array([np.nan, np.nan, np.inf, -np.inf, 1.0])
    options = {"weight": [0, 1, 1, 1, 1], "ignore_value": -1}
    for call in (ll.bce_with_logits_grad_hess, ll.sigmoid_focal_loss_grad_hess):
        grad, hess = call(x, [1, -1, 0, 1, 1], **options)
        assert np.all(grad[:2] == 0)
        assert np.all(hess[:2] == 0)
        assert np.all(hess[2:4] == 0)
        assert np.all(np.isfinite(grad))
    np.testing.assert_array_equal(ll.bce_with_logits_grad_hess(x[2:4], [0, 1])[0], [1, -1])


# -------------------------------------------------------------------------------------------------------------- bits

BITS = """
import hashlib
import numpy as np
import logitloss as ll
from checks import spares

rng = np.random.default_rng(3)
threads = (2,) if spares(ll.isa()) else (1, 2, 5)
digest = hashlib.sha256()
for dtype in (np.float16, np.float32, np.float64):
    for shape in ((700, 10), (90, 33), (5, 4097), (2, 70000)):
        x = (9 * rng.standard_normal(shape)).astype(dtype)
        labels = rng.integers(0, shape[1], shape[0])
        soft = rng.random(shape)
        for order in "CF":
            z = np.asarray(x, order=order)
            for n in threads:
                results = [
                    *ll.cross_entropy_grad_hess(z, labels, hessian="upper", num_threads=n),
                    *ll.cross_entropy_grad_hess(z, labels, label_smoothing=0.1, scale=0.7, num_threads=n),
                    *ll.cross_entropy_grad_hess(z, soft, hessian="abs", num_threads=n),
                    *ll.bce_with_logits_grad_hess(z, soft, num_threads=n),
                    *ll.sigmoid_focal_loss_grad_hess(z, soft, num_threads=n),
                ]
                this = hashlib.sha256(b"".join(r.tobytes() for r in results)).hexdigest()
                first = this if n == threads[0] else first
                assert this == first, (dtype, shape, order, n)
            digest.update(this.encode())
print(digest.hexdigest())
"""


def test_the_same_bits_on_every_instruction_set_and_number_of_threads():
    environment = {"LOGITLOSS_OVERSUBSCRIBE": "1", "OMP_NUM_THREADS": "5"}
    digests = {isa: run_python(BITS, LOGITLOSS_ISA=isa, **environment) for isa in ll.available_isas()}
    assert len(set(digests.values())) == 1, digests
