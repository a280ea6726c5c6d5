"""Properties that hold for whatever arrays hypothesis thinks of."""

import numpy as np
import reference
from checks import assert_within, floor
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import logitloss as ll

settings.register_profile("steady", deadline=None, max_examples=150, derandomize=True)
settings.load_profile("steady")

SHAPES = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=40).filter(lambda s: np.prod(s) <= 5000)


def logits(limit: float = 200.0, specials: bool = False):
    finite = st.floats(-limit, limit, width=32)
    elements = finite | st.sampled_from([-np.inf]) if specials else finite
    return st.sampled_from([np.float32, np.float64]).flatmap(
        lambda dtype: SHAPES.flatmap(lambda shape: hnp.arrays(dtype, shape, elements=elements))
    )


@st.composite
def laid_out(draw, arrays):
    """An array with its axes permuted, some reversed, and a class axis."""
    a = draw(arrays)
    a = a.transpose(draw(st.permutations(range(a.ndim))))
    a = a[tuple(slice(None, None, draw(st.sampled_from([1, -1]))) for _ in range(a.ndim))]
    return a, draw(st.integers(-a.ndim, a.ndim - 1))


@st.composite
def with_labels(draw, arrays):
    a, axis = draw(laid_out(arrays))
    shape = np.delete(a.shape, axis).tolist()
    labels = draw(hnp.arrays(np.int64, tuple(shape), elements=st.integers(0, a.shape[axis] - 1)))
    return a, axis, labels


def relative(dtype, f32, f64):
    return f32 if dtype == np.float32 else f64


@given(laid_out(logits(specials=True)))
def test_log_sum_exp(case):
    a, axis = case
    want = reference.log_sum_exp(a, axis, reference.EXTENDED)
    got = ll.logsumexp(a, axis=axis)
    assert_within(got, want, relative(a.dtype, 1.2e-7, 3.4e-16), np.maximum(np.abs(want), 1))


@given(laid_out(logits()))
def test_log_sum_exp_lies_between_its_bounds(case):
    a, axis = case
    lse, top = ll.logsumexp(a, axis=axis), a.max(axis=axis)
    assert np.all(lse >= top)
    assert np.all(lse <= top + np.log(a.shape[axis]) + 2 * np.spacing(np.abs(lse)))


@given(laid_out(logits(specials=True)))
def test_softmax(case):
    x, axis = case
    assume(not np.any(np.all(x == -np.inf, axis=axis)))
    p = ll.softmax(x, axis=axis)
    assert np.all(p >= 0)
    assert np.all(p <= 1)
    assert np.all(p[x == -np.inf] == 0)
    sizes = np.abs(p.sum(axis=axis, dtype=np.float64) - 1)
    assert np.all(sizes <= relative(x.dtype, 1e-6, 1e-14))
    assert np.all(ll.log_softmax(x, axis=axis) <= 0)


@given(with_labels(logits()))
def test_cross_entropy(case):
    x, axis, labels = case
    want = reference.cross_entropy(x, labels, axis=axis, reduction="none", arithmetic=reference.EXTENDED)
    loss, grad = ll.cross_entropy_value_and_grad(x, labels, axis=axis, reduction="none")
    assert np.all(loss >= 0)
    assert_within(loss, want.loss, relative(x.dtype, 4e-7, 1e-14), floor=floor(x.dtype))
    assert_within(grad, want.grad, relative(x.dtype, 1e-6, 1e-14), floor=floor(x.dtype))


@given(
    with_labels(logits(30)),
    st.floats(0, 1),
    st.none() | st.floats(1, 50),
    st.floats(0.25, 4),
    st.floats(-1, 1),
    st.floats(0, 0.5),
    st.sampled_from(["none", "sum", "mean"]),
    st.none() | st.floats(0.5, 100),
    st.data(),
)
def test_options_of_cross_entropy_together(case, smoothing, softcap, scale, margin, z_loss, reduction, divisor, data):
    x, axis, labels = case
    classes, rows = x.shape[axis], labels.shape
    weights = st.floats(0, 4, width=16)
    options = {
        "label_smoothing": smoothing,
        "softcap": softcap,
        "scale": scale,
        "margin": margin,
        "z_loss": z_loss,
        "reduction": reduction,
        "normalizer": divisor if reduction == "mean" else None,
        "ignore_index": data.draw(st.none() | st.integers(-1, classes)),
        "class_weight": data.draw(st.none() | hnp.arrays(np.float32, classes, elements=weights)),
        "sample_weight": data.draw(st.none() | hnp.arrays(np.float64, rows, elements=weights)),
    }
    want = reference.cross_entropy(x, labels, axis=axis, **options)
    loss, grad = ll.cross_entropy_value_and_grad(x, labels, axis=axis, **options)
    tolerance = (1e-6 if x.dtype == np.float32 else 1e-12) + 8 * np.finfo(x.dtype).eps * scale * 31
    assert_within(loss, want.loss, tolerance, want.loss_magnitude, 1e-30)
    assert_within(grad, want.grad, tolerance, want.grad_magnitude, 1e-30)


@given(laid_out(logits(specials=True)), st.data())
def test_bce(case, data):
    x, _ = case
    target = data.draw(hnp.arrays(np.float32, x.shape, elements=st.floats(0, 1, width=32)))
    want = reference.bce_with_logits(x, target, reduction="none", arithmetic=reference.EXTENDED)
    loss, grad = ll.bce_with_logits_value_and_grad(x, target, reduction="none")
    tolerance = relative(x.dtype, 4e-7, 1e-14)
    assert_within(loss, want.loss, tolerance, want.loss_magnitude, floor(x.dtype))
    assert_within(grad, want.grad, tolerance, want.grad_magnitude, floor(x.dtype))


@given(with_labels(logits()), st.sampled_from([2.0**10, -(2.0**12)]))
def test_a_common_offset_changes_nothing(case, offset):
    x, axis, labels = case
    shifted = x + x.dtype.type(offset)
    assume(np.all(shifted - x.dtype.type(offset) == x))
    want = ll.cross_entropy(x, labels, axis=axis, reduction="none")
    got = ll.cross_entropy(shifted, labels, axis=axis, reduction="none")
    assert_within(got, want, relative(x.dtype, 8e-7, 2e-14), floor=floor(x.dtype))
