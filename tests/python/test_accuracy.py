"""Errors against references that are exact for the purpose, in the library's own terms: ulps and relative errors.

float32 is compared with float64 or longdouble, float64 with longdouble (64 bits or more), whose errors are below a
hundredth of the tolerance; spot rows are compared with 50 digits. Where longdouble is no wider than float64, the
vectorised float64 comparisons are skipped and the spot rows remain.
"""

import itertools

import ml_dtypes
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
from losses import LOSSES, one_hot_classes, soft_classes
from reference import EXACT, EXTENDED, to_extended

import logitloss as ll

ULP_LIMIT = {np.float32: 1.0, np.float64: 1.5}  # of a log-sum-exp of magnitude 1 or more
ABSOLUTE_LIMIT = {np.float32: 1.2e-7, np.float64: 3.4e-16}  # below: an ulp (and a half) of 1
CLASSES = [1, 2, 3, 4, 5, 7, 8, 10, 16, 17, 31, 64, 65, 100, 127, 128, 129, 200, 1000, 4095, 4096, 4097, 8193, 32768]
MANY_CLASSES = [70001, 131072, 262144]

every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)


@pytest.fixture(autouse=True)
def _needs_extended_precision(request):
    needs = request.node.get_closest_marker("parametrize") and request.node.callspec.params.get("dtype") is np.float64
    if needs and np.finfo(np.longdouble).eps > 2e-19 and "digits" not in request.node.name:
        pytest.skip("longdouble is float64 here")


def distributions(rng, rows, classes, dtype):
    """Logits of different characters, each of shape (rows, classes)."""
    normal = rng.standard_normal((rows, classes))
    ramp = np.linspace(-40, 40, classes) + rng.standard_normal((rows, 1))
    dominated = np.where(np.arange(classes) == rng.integers(0, classes, (rows, 1)), 30.0, normal)
    masked = np.where(rng.random((rows, classes)) < 0.5, -np.inf, normal)
    masked[:, rng.integers(classes)] = 0.5
    return {
        "normal": normal.astype(dtype),
        "wide": (20 * normal).astype(dtype),
        "narrow": (1e-3 * normal).astype(dtype),
        "shifted": (normal + 1000.25).astype(dtype),
        "far": (normal - 90000).astype(dtype),
        "huge": (1e6 * normal).astype(dtype),
        "equal": np.broadcast_to(rng.standard_normal((rows, 1)).astype(dtype), (rows, classes)).copy(),
        "ramp": ramp.astype(dtype),
        "dominated": dominated.astype(dtype),
        "masked": masked.astype(dtype),
        "near-zero": (0.5 * normal - np.log(classes)).astype(dtype),
        "cancelling": with_log_sum_exp(3 * normal, 1.25).astype(dtype),
        "cancelling below 1": with_log_sum_exp(3 * normal, -0.5).astype(dtype),
    }


def with_log_sum_exp(logits, value):
    """The logits moved so that their log-sum-exp is about `value`: the errors of large ones show in a small result."""
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)) + value


def assert_log_sum_exp(got, exact, dtype):
    exact = to_extended(exact)
    large = np.abs(exact) >= 1
    assert np.all(ulps(got, exact)[large] <= ULP_LIMIT[dtype])
    assert np.all(np.abs(got.astype(np.longdouble) - exact)[~large] <= ABSOLUTE_LIMIT[dtype])


# ------------------------------------------------------------------------------------------------------ log-sum-exp


@every_dtype
@pytest.mark.parametrize("classes", CLASSES + MANY_CLASSES)
def test_log_sum_exp(classes, dtype, rng):
    rows = max(2, min(64, 40000 // classes))
    for name, logits in distributions(rng, rows, classes, dtype).items():
        exact = reference.log_sum_exp(logits, arithmetic=arithmetic_for(dtype))
        assert np.isfinite(exact).all(), name
        assert_log_sum_exp(ll.logsumexp(logits, axis=-1), exact, dtype)


@every_dtype
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 64, 129, 1000])
def test_log_sum_exp_against_50_digits(classes, dtype, rng):
    for logits in distributions(rng, 2, classes, dtype).values():
        assert_log_sum_exp(ll.logsumexp(logits, axis=-1), reference.log_sum_exp(logits, arithmetic=EXACT), dtype)


@every_dtype
@pytest.mark.parametrize("classes", [2, 10, 130, 5000])
def test_log_sum_exp_along_a_strided_axis(classes, dtype, rng):
    logits = 5 * rng.standard_normal((3, classes, 21)).astype(dtype)
    exact = reference.log_sum_exp(logits, axis=1, arithmetic=arithmetic_for(dtype))
    assert_log_sum_exp(ll.logsumexp(logits, axis=1), exact, dtype)


# ---------------------------------------------------------------------------------------------------------- softmax


@every_dtype
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 64, 128, 129, 1000, 4097, 40000])
def test_softmax_and_log_softmax(classes, dtype, rng):
    rows = max(2, min(33, 20000 // classes))
    for name, logits in distributions(rng, rows, classes, dtype).items():
        p = reference.softmax(logits, arithmetic=arithmetic_for(dtype))
        assert_within(ll.softmax(logits, axis=-1), p, GRADIENT_TOLERANCE[np.dtype(dtype)], floor=floor(dtype))
        log_p = reference.log_softmax(logits, arithmetic=arithmetic_for(dtype))
        assert np.all(log_p <= 0), name
        assert_within(ll.log_softmax(logits, axis=-1), log_p, LOSS_TOLERANCE[np.dtype(dtype)], floor=floor(dtype))


@every_dtype
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 64, 128, 129, 1000, 4097])
def test_vector_jacobian_products(classes, dtype, rng):
    arithmetic, tolerance = arithmetic_for(dtype), GRADIENT_TOLERANCE[np.dtype(dtype)]
    logits = 4 * rng.standard_normal((21, classes))
    dy = rng.standard_normal((21, classes)).astype(dtype)
    y = reference.softmax(logits).astype(dtype)
    want, magnitude = reference.softmax_vjp(y, dy, arithmetic=arithmetic)
    assert_within(ll.softmax_vjp(y, dy), want, tolerance, magnitude, floor(dtype))
    y = reference.log_softmax(logits).astype(dtype)
    want, magnitude = reference.log_softmax_vjp(y, dy, arithmetic=arithmetic)
    assert_within(ll.log_softmax_vjp(y, dy), want, tolerance, magnitude, floor(dtype))


# --------------------------------------------------------------------------------------- cross-entropy: target leads


def rows_with_leads(rng, classes, dtype, largest_lead=80):
    """Rows whose target leads the largest other class by -80 to 80, to within the noise of the others."""
    leads = np.concatenate([np.linspace(-largest_lead, largest_lead, 129), rng.uniform(-20, 20, 64)])
    logits = rng.uniform(-2, 0, (leads.size, classes))
    target = rng.integers(0, classes, leads.size)
    logits[np.arange(leads.size), target] = leads
    shift = rng.choice([0.0, -3.5, 700.0], (leads.size, 1))
    return (logits + shift).astype(dtype), target


@every_dtype
@pytest.mark.parametrize("form", ["indices", "one-hot"])
@pytest.mark.parametrize("classes", [2, 3, 4, 7, 10, 64, 127, 128, 129, 1000, 4096, 5000, 40000])
def test_cross_entropy_of_every_lead(classes, form, dtype, rng):
    logits, labels = rows_with_leads(rng, classes, dtype)
    if classes > 4000:
        logits, labels = logits[::8], labels[::8]
    target = labels if form == "indices" else (np.arange(classes) == labels[:, None]).astype(np.float32)
    want = reference.cross_entropy(logits, target, reduction="none", arithmetic=arithmetic_for(dtype))
    assert want.loss.min() < 1e-30  # the smallest losses are there, and they are not 0
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none")
    at_target = np.arange(labels.size), labels
    assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(dtype)])
    assert_within(grad[at_target], want.grad[at_target], GRADIENT_TOLERANCE[np.dtype(dtype)])
    assert_within(grad, want.grad, GRADIENT_TOLERANCE[np.dtype(dtype)], floor=floor(dtype))


@every_dtype
def test_cross_entropy_of_every_lead_against_50_digits(dtype, rng):
    logits, labels = rows_with_leads(rng, 5, dtype)
    want = reference.cross_entropy(logits, labels, reduction="none", arithmetic=EXACT)
    loss, grad = ll.cross_entropy_value_and_grad(logits, labels, reduction="none")
    assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(dtype)])
    assert_within(grad, want.grad, GRADIENT_TOLERANCE[np.dtype(dtype)], floor=floor(dtype))


@pytest.mark.sampled
@every_dtype
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("classes", [2, 3, 10, 200, 5000])
@pytest.mark.parametrize("weights", ["one class", "of every size"])
def test_smoothing_with_class_weights_of_every_lead(weights, classes, order, dtype, rng):
    """Also where only the class that leads has a weight, so that nothing hides how it is cancelled."""
    logits = rng.uniform(-2, 0, (193, classes)).astype(dtype)
    logits[:, 0] = np.linspace(-60, 60, 193)
    labels = rng.integers(0, classes, 193)
    class_weight = np.eye(classes)[0] if weights == "one class" else 10 ** rng.uniform(-20, 0, classes)
    options = {"class_weight": class_weight, "label_smoothing": 0.1, "reduction": "none"}
    for more in ({}, {"z_loss": 0.01}):
        want = reference.cross_entropy(logits, labels, arithmetic=arithmetic_for(dtype), **options, **more)
        loss, grad = ll.cross_entropy_value_and_grad(np.asarray(logits, order=order), labels, **options, **more)
        assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(dtype)])
        assert_within(grad, want.grad, GRADIENT_TOLERANCE[np.dtype(dtype)], want.grad_magnitude, floor(dtype))


def rows_far_from_1(form, rng, rows, classes):
    """Targets and options whose coefficients leave float32, and sample weights that bring the losses back."""
    labels = rng.integers(0, classes, rows)
    one_hot = (np.arange(classes) == labels[:, None]).astype(float)
    row_size = 10 ** rng.choice([-60.0, -40.0, 0.0, 60.0], (rows, 1))
    options = {}
    if form.startswith("weighted"):
        options = {"class_weight": 10 ** rng.uniform(-60, 60, classes), "label_smoothing": 0.1}
        options["class_weight"][rng.integers(classes)] = 0.0
    target = row_size * rng.choice([0.0, 1e-90, 1.0, 0.3], (rows, classes)) * rng.random((rows, classes))
    if form == "one-hot":
        target = row_size * one_hot
    smoothing = options.get("label_smoothing", 0.0)
    shares = one_hot if form.endswith("indices") else target
    coefficients = options.get("class_weight", np.ones(classes)) * ((1 - smoothing) * shares + smoothing / classes)
    options["sample_weight"] = 1 / np.maximum(coefficients.max(axis=1), 1e-150)
    return labels if form.endswith("indices") else target, options | {"reduction": "none"}


@pytest.mark.parametrize("dtype", [np.float32, *HALVES], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("classes", [2, 10, 300, 5000])
@pytest.mark.parametrize("form", ["weighted indices", "one-hot", "probabilities", "weighted probabilities"])
def test_float64_class_weights_and_probabilities_may_leave_float32(form, classes, order, dtype, rng):
    logits = rng.uniform(-30, 30, (40, classes)).astype(dtype)
    target, options = rows_far_from_1(form, rng, 40, classes)
    if not form.startswith("weighted"):
        logits[::7, 0] = -np.inf
        target[::7, 0] = 0.0
    options |= {"scale": 0.5} if form == "one-hot" else {}
    want = reference.cross_entropy(logits.astype(np.float32), target, arithmetic=EXTENDED, **options)
    loss, grad = ll.cross_entropy_value_and_grad(np.asarray(logits, order=order), target, **options)
    assert np.sum(want.loss > 1e-5) > 8
    assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(np.float32)], want.loss_magnitude)
    tolerance = GRADIENT_TOLERANCE[np.dtype(np.float32)] if dtype is np.float32 else float(ml_dtypes.finfo(dtype).eps)
    smallest = float(ml_dtypes.finfo(dtype).tiny)
    assert_within(grad, want.grad, tolerance, want.grad_magnitude, smallest)
    assert_same_bits(ll.cross_entropy(np.asarray(logits, order=order), target, **options), loss)


def test_coefficients_in_float64_are_only_those_of_their_rows(rng):
    """What a row far from 1 needs changes no bit of the rows beside it, nor what a mean with such weights is."""
    for classes in (10, 300, 5000):
        logits = rng.standard_normal((30, classes)).astype(np.float32)
        target = rng.dirichlet(np.ones(classes), 30)
        target += 1e-12
        near = ll.cross_entropy_value_and_grad(logits, target, reduction="none")
        target[[3, 17]] *= 1e-50
        far = ll.cross_entropy_value_and_grad(logits, target, reduction="none", upstream=1.0)
        beside = np.delete(np.arange(30), [3, 17])
        for got, want in zip(far, near, strict=True):
            assert_same_bits(got[beside], want[beside])
        weight, labels = rng.uniform(0.5, 2, classes), rng.integers(0, classes, 30)
        for size, smoothing in itertools.product((1e-70, 1e70), (0.0, 0.1)):
            want = ll.cross_entropy_value_and_grad(logits, labels, class_weight=weight, label_smoothing=smoothing)
            scaled = {"class_weight": weight * size, "label_smoothing": smoothing}
            got = ll.cross_entropy_value_and_grad(logits, labels, **scaled)
            np.testing.assert_allclose(got[0], want[0], rtol=4e-7)
            np.testing.assert_allclose(got[1], want[1], rtol=1e-5, atol=1e-9)


def test_float64_cross_entropy_of_extreme_leads(rng):
    logits, labels = rows_with_leads(rng, 10, np.float64, largest_lead=690)
    want = reference.cross_entropy(logits, labels, reduction="none", arithmetic=EXTENDED)
    loss, grad = ll.cross_entropy_value_and_grad(logits, labels, reduction="none")
    assert_within(loss, want.loss, 1e-14)
    assert_within(grad, want.grad, 1e-14, floor=floor(np.float64))


@every_dtype
def test_a_common_offset_costs_nothing(dtype, rng):
    logits = rng.integers(-8, 8, (50, 10)) / np.array(8, dtype)  # exact sums with the offset
    labels = rng.integers(0, 10, 50)
    plain = ll.cross_entropy_value_and_grad(logits.astype(dtype), labels, reduction="none")
    shifted = ll.cross_entropy_value_and_grad((logits + 65536).astype(dtype), labels, reduction="none")
    for got, want in zip(shifted, plain, strict=True):
        assert_within(got, want, 2 * LOSS_TOLERANCE[np.dtype(dtype)])


# --------------------------------------------------------------------------------------------- binary cross-entropy


def bce_logits(rng, dtype):
    """Up to where exp(-|x|) leaves the normal numbers of float32."""
    grid = np.linspace(-87, 87, 1741)
    small = np.geomspace(1e-30, 1, 200)
    return np.concatenate([grid, small, -small, 3 * rng.standard_normal(3000), [0.0, -0.0]]).astype(dtype)


@every_dtype
@pytest.mark.parametrize("target", [0, 1, 0.5, 0.25, 1e-6, 1 - 2**-20])
@pytest.mark.parametrize("target_dtype", [np.float32, np.float64, np.uint8, bool])
def test_bce(target, target_dtype, dtype, rng):
    if np.dtype(target_dtype).kind != "f" and target not in (0, 1):
        pytest.skip("a soft target needs a floating dtype")
    logits = bce_logits(rng, dtype)
    targets = np.full(logits.shape, target, target_dtype)
    want = reference.bce_with_logits(logits, targets, reduction="none", arithmetic=arithmetic_for(dtype))
    loss, grad = ll.bce_with_logits_value_and_grad(logits, targets, reduction="none")
    assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(dtype)])
    assert_within(grad, want.grad, LOSS_TOLERANCE[np.dtype(dtype)], want.grad_magnitude)


@every_dtype
def test_bce_against_50_digits(dtype, rng):
    logits = rng.choice(bce_logits(rng, dtype), 200)
    for target in (0, 1, 0.375):
        targets = np.full(logits.shape, target)
        want = reference.bce_with_logits(logits, targets, reduction="none", arithmetic=EXACT)
        loss, grad = ll.bce_with_logits_value_and_grad(logits, targets, reduction="none")
        assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(dtype)])
        assert_within(grad, want.grad, LOSS_TOLERANCE[np.dtype(dtype)], want.grad_magnitude)


BINARY_CALLS = [
    ("bce_with_logits", {}),
    ("bce_with_logits", {"label_smoothing": 1e-9, "pos_weight": 1.1}),
    ("sigmoid_focal_loss", {"gamma": 7.0}),
    ("sigmoid_focal_loss", {"label_smoothing": 0.1}),
    ("binary_cross_entropy", {}),
    ("binary_cross_entropy", {"eps": 1e-3}),
]


def assert_binary(name, inputs, target, options):
    """Loss and gradient of a call on narrow logits are those of its arguments as they are, and do not need each other;
    returns both."""
    want = getattr(reference, name)(inputs.astype(np.float32), target, arithmetic=EXTENDED, **options)
    loss, grad = getattr(ll, name + "_value_and_grad")(inputs, target, **options)
    assert_same_bits(getattr(ll, name)(inputs, target, **options), loss)
    fits = want.loss_magnitude < np.finfo(np.float32).max
    tiny = floor(np.float32)
    assert_within(loss[fits], want.loss[fits], 4e-7, want.loss_magnitude[fits], tiny)
    assert np.all(np.isinf(loss[~fits]))
    if inputs.dtype == np.float32:
        fits = want.grad_magnitude < np.finfo(np.float32).max
        assert_within(grad[fits], want.grad[fits], 4e-7, want.grad_magnitude[fits], tiny)
    return loss, grad


@pytest.mark.parametrize("dtype", [np.float32, *HALVES], ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(("name", "options"), BINARY_CALLS)
def test_float64_targets_beside_narrower_logits_keep_their_digits(name, options, dtype, rng):
    logits = rng.uniform(-60, 60, 5000)
    inputs = (0.5 + 0.49 * np.tanh(0.05 * logits) if name == "binary_cross_entropy" else logits).astype(dtype)
    near_0 = 10 ** rng.uniform(-30, -1, 5000)
    for target in (1 - 10 ** rng.uniform(-14, -1, 5000), near_0, rng.choice([0, 1, 0.3, 0.999], 5000)):
        loss, grad = assert_binary(name, inputs, target, options | {"reduction": "none"})
        part = slice(4000, 4203)  # whatever stands beside an element
        again = getattr(ll, name + "_value_and_grad")(inputs[part], target[part], reduction="none", **options)
        assert_same_bits(again[0], loss[part])
        assert_same_bits(again[1], grad[part])


@pytest.mark.parametrize("name", ["bce_with_logits", "sigmoid_focal_loss", "binary_cross_entropy"])
def test_float64_weights_may_leave_float32(name, rng):
    logits = rng.uniform(0.01, 0.99, 5000).astype(np.float32)
    target = rng.choice([0, 1, 0.3], 5000)
    weight = np.where(rng.random(5000) < 0.2, 0, 10 ** rng.uniform(-60, 60, 5000))
    options = {"weight": weight, "ignore_value": 0.3}
    assert_binary(name, logits, target, options | {"reduction": "none"})
    tiny = options | {"weight": np.minimum(weight, 1e-39)}
    loss, _ = assert_binary(name, logits, target, tiny | {"reduction": "sum", "normalizer": 1e-42})
    assert loss > 1
    in_place = logits.copy()
    function = getattr(ll, name + "_value_and_grad")
    want = function(logits, target, **options)
    got = function(in_place, target, grad_out=in_place, **options)
    assert_same_bits(got[1], want[1])


def test_factors_of_the_gradient_may_leave_float32(rng):
    logits = rng.uniform(-80, -70, 500).astype(np.float32)
    target = np.zeros(500)
    for upstream in (1e40, 10 ** rng.uniform(30, 45, 500)):
        reduction = "sum" if np.ndim(upstream) == 0 else "none"
        loss, grad = ll.bce_with_logits_value_and_grad(logits, target, reduction=reduction, upstream=upstream)
        want = upstream * reference.bce_with_logits(logits, target, reduction="sum", arithmetic=EXTENDED).grad
        assert_same_bits(loss, ll.bce_with_logits(logits, target, reduction=reduction))
        assert_within(grad, want, 4e-7)


def test_float64_bce_of_extreme_logits():
    logits = np.linspace(-700, 700, 4001)
    for target in (0, 1):
        targets = np.full(logits.shape, target)
        want = reference.bce_with_logits(logits, targets, reduction="none", arithmetic=EXTENDED)
        loss, grad = ll.bce_with_logits_value_and_grad(logits, targets, reduction="none")
        assert_within(loss, want.loss, 1e-14)
        assert_within(grad, want.grad, 1e-14)


# ------------------------------------------------------------------------------------------------- the whole table


@pytest.mark.parametrize("loss", LOSSES, ids=str)
@every_dtype
@pytest.mark.parametrize("spread", [0.5, 3, 25])
def test_every_loss(loss, spread, dtype, rng):
    for shape in ((40, 2), (37, 3), (33, 10), (9, 64), (7, 129), (5, 1000), (3, 4100)):
        given = loss.inputs(rng, shape, dtype, spread)
        want = loss.reference(given.logits, *given.targets, arithmetic=arithmetic_for(dtype), **given.options)
        value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
        assert_within(value, want.loss, loss.loss_tolerance(given), want.loss_magnitude, floor(dtype))
        assert_within(grad, want.grad, loss.gradient_tolerance(given), want.grad_magnitude, floor(dtype))


@every_dtype
@pytest.mark.parametrize("make_target", [soft_classes, one_hot_classes], ids=["soft", "one-hot"])
def test_probability_targets_of_every_size(make_target, dtype, rng):
    for classes in CLASSES:
        logits = (6 * rng.standard_normal((max(2, 2000 // classes), classes))).astype(dtype)
        target = make_target(rng, logits.shape)
        want = reference.cross_entropy(logits, target, reduction="none", arithmetic=arithmetic_for(dtype))
        loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none")
        assert_within(loss, want.loss, LOSS_TOLERANCE[np.dtype(dtype)], want.loss_magnitude, floor(dtype))
        assert_within(grad, want.grad, GRADIENT_TOLERANCE[np.dtype(dtype)], want.grad_magnitude, floor(dtype))
