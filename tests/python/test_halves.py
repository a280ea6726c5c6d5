"""float16 and bfloat16: read as they are, computed in float32, rounded once.

Losses are float32 and meet float32's tolerance. A gradient is the correctly rounded value of the float32 result, to
within 0.51 ulp of the 16-bit format.
"""

import numpy as np
import pytest
import reference
from checks import GRADIENT_TOLERANCE, HALVES, LOSS_TOLERANCE, assert_same_bits, assert_within, floor, half_spacing
from losses import LOSSES
from test_layouts import in_records, unaligned

import logitloss as ll

every_half = pytest.mark.parametrize("half", HALVES, ids=lambda d: np.dtype(d).name)
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
F32 = np.dtype(np.float32)
SHAPES = [(1, 1), (40, 2), (37, 3), (33, 10), (17, 31), (9, 64), (9, 128), (7, 129), (5, 1000), (3, 4100), (2, 8195)]


def assert_rounded(got, want, magnitude, relative):
    """Within 0.51 ulp of the 16-bit format, and what float32 may err or flush to 0; infinite beyond the format."""
    want = np.asarray(want, np.float64)
    with np.errstate(over="ignore", under="ignore"):
        beyond = np.isinf(want.astype(got.dtype))
    assert np.array_equal(got[beyond], np.sign(want[beyond]) * np.inf)
    got, want, magnitude = got[~beyond], want[~beyond], np.broadcast_to(magnitude, want.shape)[~beyond]
    allowed = 0.51 * half_spacing(want, got.dtype) + relative * np.asarray(magnitude, np.float64) + floor(np.float32)
    error = np.abs(got.astype(np.float64) - want)
    assert np.all(error <= allowed), f"{np.nanmax(error / allowed)} of what is allowed"


@every_half
@every_loss
def test_every_loss(loss, half, rng):
    for shape in SHAPES:
        for spread in (1, 8):
            given = loss.inputs(rng, shape, half, spread)
            wide = given.logits.astype(np.float32)
            want = loss.reference(wide, *given.targets, **given.options)
            value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
            assert np.asarray(value).dtype == np.float32
            assert grad.dtype == half
            as_float32 = loss.inputs(rng, shape, np.float32, spread)
            sensitive = loss.loss_tolerance(as_float32) - LOSS_TOLERANCE[F32]
            assert_within(value, want.loss, LOSS_TOLERANCE[F32] + 2 * sensitive, want.loss_magnitude, 1e-37)
            assert_rounded(grad, want.grad, want.grad_magnitude, GRADIENT_TOLERANCE[F32] + 2 * sensitive)
            assert_same_bits(loss.value(given.logits, *given.targets, **given.options), value)


@every_half
@every_loss
def test_in_place_and_into_given_outputs(loss, half, rng):
    for shape in SHAPES[1:]:
        given = loss.inputs(rng, shape, half)
        value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
        out, logits = np.full_like(grad, 77), given.logits.copy()
        for into, x in ((out, given.logits), (logits, logits)):
            got_value, got = loss.value_and_grad(x, *given.targets, **given.options, grad_out=into)
            assert got is into
            assert_same_bits(got_value, value)
            assert_same_bits(got, grad)


@every_half
@pytest.mark.parametrize("classes", [1, 2, 3, 10, 64, 128, 129, 1000, 4097])
def test_softmaxes_and_their_products(classes, half, rng):
    x = (3 * rng.standard_normal((21, classes))).astype(half)
    dy = rng.standard_normal((21, classes)).astype(half)
    wide = x.astype(np.float64)
    lse = ll.logsumexp(x, axis=-1)
    assert lse.dtype == np.float32
    assert_within(lse, reference.log_sum_exp(wide), 1.2e-7, 1 + np.abs(lse))
    p, log_p = ll.softmax(x, axis=-1), ll.log_softmax(x, axis=-1)
    assert p.dtype == log_p.dtype == half
    assert_rounded(p, reference.softmax(wide), reference.softmax(wide), 1e-6)
    assert_rounded(log_p, reference.log_softmax(wide), np.abs(reference.log_softmax(wide)), 1e-6)
    for vjp, y in (("softmax_vjp", p), ("log_softmax_vjp", log_p)):
        got = getattr(ll, vjp)(y, dy)
        assert got.dtype == half
        assert_rounded(got, *getattr(reference, vjp)(y.astype(np.float64), dy.astype(np.float64)), 1e-6)


def with_gaps(x):
    """The same rows, further apart."""
    return np.concatenate([x, x[..., :1]], axis=-1)[..., :-1]


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "with gaps": with_gaps,
    "unaligned": unaligned,
    "backwards": lambda x: np.flip(np.flip(x).copy()),
    "every other": lambda x: np.repeat(x, 2, axis=-1)[..., ::2],
    "fortran": np.asfortranarray,
}


@every_half
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [*SHAPES, (70, 3), (200, 10), (130, 100), (3, 200, 5)], ids=str)
def test_results_are_those_of_float32_rounded_once(shape, layout, half, rng):
    """To the bit: blocks, tiles and elements, however they are gathered and scattered."""
    x = (3 * rng.standard_normal(shape)).astype(half)
    x[rng.random(shape) < 0.01] = -np.inf
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    binary = rng.integers(0, 2, shape)
    make = LAYOUTS[layout]
    calls = [
        lambda z: ll.cross_entropy_value_and_grad(z, target, axis=1, reduction="none", label_smoothing=0.1),
        lambda z: (ll.logsumexp(z, axis=1), ll.softmax(z, axis=1)),
        lambda z: ll.bce_with_logits_value_and_grad(z, binary, reduction="none"),
        lambda z: ll.mean_squared_error_value_and_grad(z, binary.astype(z.dtype), reduction="none"),
    ]
    for call in calls:
        (loss, grad), (wide_loss, wide_grad) = call(make(x)), call(make(x.astype(np.float32)))
        assert_same_bits(loss, wide_loss)
        assert_same_bits(grad, wide_grad.astype(half))


@every_half
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_any_axis_and_layout(axis, half, rng):
    for shape in ((5, 4, 6), (3, 70, 5), (130, 3, 4)):
        x = rng.standard_normal(shape).astype(half)
        target = rng.integers(0, shape[axis], np.delete(shape, axis))
        want = reference.cross_entropy(x.astype(np.float64), target, axis=axis)
        makers = [np.ascontiguousarray, np.asfortranarray, unaligned, in_records, lambda a: np.flip(np.flip(a).copy())]
        if half is np.float16:
            makers.append(lambda a: a.astype(a.dtype.newbyteorder()))
        for make in makers:
            loss, grad = ll.cross_entropy_value_and_grad(make(x), target, axis=axis)
            assert_within(loss, want.loss, LOSS_TOLERANCE[F32])
            assert_rounded(grad.astype(half), want.grad, want.grad_magnitude, 1e-6)


@every_half
@pytest.mark.parametrize("classes", [2, 10, 64, 129, 5000])
def test_not_finite(classes, half, rng):
    x = rng.standard_normal((16, classes)).astype(half)
    target = np.zeros(16, int)
    x[1, 1], x[3, -1], x[5, 0], x[7] = -np.inf, np.nan, np.inf, -np.inf
    loss, grad = ll.cross_entropy_value_and_grad(x, target, reduction="none")
    want = reference.cross_entropy(x.astype(np.float64), target, reduction="none")
    assert_within(loss, want.loss, LOSS_TOLERANCE[F32])
    nan_rows = np.isnan(want.grad).any(axis=1)
    np.testing.assert_array_equal(np.flatnonzero(nan_rows), [3, 5, 7])
    assert np.isnan(grad[nan_rows].astype(np.float32)).all()
    assert_rounded(grad[~nan_rows], want.grad[~nan_rows], want.grad_magnitude[~nan_rows], 1e-6)
    assert grad[1, 1] == 0


@every_half
def test_every_finite_number_is_read_exactly(half):
    numbers = np.arange(2**16, dtype=np.uint16).view(half)
    numbers = numbers[np.isfinite(numbers.astype(np.float32))]
    wide = numbers.astype(np.float32)
    np.testing.assert_array_equal(ll.logsumexp(numbers[:, None], axis=1), wide)
    target = np.zeros(len(numbers), np.uint8)
    for g, w in zip(
        ll.bce_with_logits_value_and_grad(numbers, target, reduction="none"),
        ll.bce_with_logits_value_and_grad(wide, target, reduction="none"),
        strict=True,
    ):
        assert_same_bits(g, w.astype(g.dtype))


@every_half
def test_gradients_round_to_nearest_even_and_keep_subnormals(half, rng):
    """A gradient in float32 is an upstream times 1/2; every 16-bit number and every midpoint is asked for."""
    numbers = np.arange(2**15, dtype=np.uint16).view(half).astype(np.float32)
    numbers = numbers[np.isfinite(numbers)]
    midpoints = (numbers[:-1].astype(np.float64) + numbers[1:].astype(np.float64)) / 2
    for wanted in (numbers.astype(np.float64), midpoints, np.nextafter(midpoints, 0), np.nextafter(midpoints, np.inf)):
        wanted = wanted[2 * wanted <= np.finfo(np.float32).max]
        upstream = (2 * wanted).astype(np.float32)
        logits = np.zeros(upstream.shape, half)
        _, grad = ll.bce_with_logits_value_and_grad(
            logits, np.zeros(upstream.shape), reduction="none", upstream=upstream
        )
        assert_same_bits(grad, (upstream / np.float32(2)).astype(half))


@every_half
def test_targets_and_weights_in_half_precision(half, rng):
    logits = rng.standard_normal((9, 6))
    soft, weight = rng.random((9, 6)).astype(half), rng.random(6).astype(half)
    for function, name in (
        (ll.cross_entropy_value_and_grad, "class_weight"),
        (ll.bce_with_logits_value_and_grad, "weight"),
    ):
        got = function(logits, soft, **{name: weight})
        want = function(logits, soft.astype(np.float64), **{name: weight.astype(np.float64)})
        assert got[0] == want[0]
        np.testing.assert_array_equal(got[1], want[1])


@every_half
@pytest.mark.parametrize("classes", [3, 10, 40])
def test_gradients_of_short_rows_with_gaps_between_them(classes, half, rng):
    logits = rng.standard_normal((100, classes)).astype(half)
    target = rng.integers(0, classes, 100)
    _, want = ll.cross_entropy_value_and_grad(logits, target)
    around = np.full((100, classes + 5), 7, half)
    _, got = ll.cross_entropy_value_and_grad(logits, target, grad_out=around[:, 2:-3])
    assert_same_bits(got, want)
    assert np.all(around[:, :2] == 7)
    assert np.all(around[:, -3:] == 7)
