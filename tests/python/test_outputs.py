"""Given outputs: any layout of theirs, in place, what they return, and what no call may write."""

import numpy as np
import pytest
from checks import DTYPES
from losses import LOSSES
from test_layouts import close, every_other, in_records, unaligned

import logitloss as ll

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)

OUTPUTS = {
    "contiguous": lambda a: a,
    "fortran": np.asfortranarray,
    "unaligned": unaligned,
    "negative": lambda a: a[::-1].copy()[::-1],
    "every-other": every_other,
    "records": in_records,
}


@every_loss
@every_dtype
@pytest.mark.parametrize("output", OUTPUTS)
def test_gradients_into_any_layout(output, loss, dtype, rng):
    for shape in ((7, 5), (3, 2, 70), (3, 200), (2, 4100)):
        given = loss.inputs(rng, shape, dtype)
        value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
        out = OUTPUTS[output](np.full_like(grad, 77))
        got_value, got = loss.value_and_grad(given.logits, *given.targets, **given.options, grad_out=out)
        assert got is out
        close(got, grad, dtype)
        close(got_value, value, dtype)


@every_loss
@every_dtype
@pytest.mark.parametrize("output", OUTPUTS)
def test_in_place_in_any_layout(output, loss, dtype, rng):
    for shape in ((7, 5), (3, 2, 70), (3, 200), (2, 4100)):
        given = loss.inputs(rng, shape, dtype)
        value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
        logits = OUTPUTS[output](given.logits.copy())
        got_value, got = loss.value_and_grad(logits, *given.targets, **given.options, grad_out=logits)
        assert got is logits
        close(got, grad, dtype)
        close(got_value, value, dtype)


@every_loss
@every_dtype
def test_losses_into_given_outputs(loss, dtype, rng):
    given = loss.inputs(rng, (6, 5), dtype)
    want = np.asarray(loss.value(given.logits, *given.targets, **given.options))
    makers = [np.copy] if want.ndim == 0 else [np.copy, unaligned, every_other, lambda a: a[::-1].copy()[::-1]]
    for make in makers:
        out = make(np.full_like(want, 77))
        got = loss.value(given.logits, *given.targets, **given.options, out=out)
        assert got is out
        np.testing.assert_array_equal(out, want)
        if loss.target is not None:
            out = make(np.full_like(want, 77))
            got, _ = loss.value_and_grad(given.logits, *given.targets, **given.options, out=out)
            assert got is out
            np.testing.assert_array_equal(out, want)


@every_loss
@every_dtype
def test_only_the_outputs_are_written(loss, dtype, rng):
    """Elements around an output, and between those of a strided one, keep their bytes; inputs too."""
    for shape in ((5, 3), (4, 33), (3, 130), (2, 4099)):
        given = loss.inputs(rng, shape, dtype)
        frame = np.full((shape[0] + 2, shape[1] + 2), 77, dtype)
        inside = frame[1:-1, 1:-1]
        before = [a.tobytes() for a in (given.logits, *given.targets)]
        loss.value_and_grad(given.logits, *given.targets, **given.options, grad_out=inside)
        assert [a.tobytes() for a in (given.logits, *given.targets)] == before
        assert not np.any(inside == 77)
        inside[...] = 77
        assert np.all(frame == 77)
        line = np.full(given.logits.size + 16, 77, dtype)
        out = line[8:-8].reshape(shape)
        loss.value_and_grad(given.logits, *given.targets, **given.options, grad_out=out)
        assert np.all(line[:8] == 77)
        assert np.all(line[-8:] == 77)


@every_dtype
@pytest.mark.parametrize("shape", [(6, 3), (5, 33), (3, 130), (2, 4099), (3, 2, 7)])
@pytest.mark.parametrize("axis", [-1, 0])
def test_softmaxes_in_place(axis, shape, dtype, rng):
    x, dy = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    for function in (ll.softmax, ll.log_softmax):
        want = function(x, axis=axis)
        into, out = x.copy(), np.full_like(x, 77)
        assert function(x, axis=axis, out=out) is out
        assert function(into, axis=axis, out=into) is into
        np.testing.assert_array_equal(out, want)
        np.testing.assert_array_equal(into, want)
    for forward, vjp in ((ll.softmax, ll.softmax_vjp), (ll.log_softmax, ll.log_softmax_vjp)):
        y = forward(x, axis=axis)
        want = vjp(y, dy, axis)
        into, over_y = dy.copy(), y.copy()
        assert vjp(y, into, axis, out=into) is into
        assert vjp(over_y, dy, axis, out=over_y) is over_y
        np.testing.assert_array_equal(into, want)
        np.testing.assert_array_equal(over_y, want)


@every_dtype
def test_scalars_and_arrays(dtype, rng):
    logits, target = rng.standard_normal((4, 3)).astype(dtype), rng.integers(0, 3, 4)
    assert type(ll.cross_entropy(logits, target)) is dtype
    assert type(ll.cross_entropy(logits[0], target[0], reduction="none")) is dtype
    assert type(ll.cross_entropy_value_and_grad(logits, target)[0]) is dtype
    assert type(ll.logsumexp(logits)) is dtype
    assert type(ll.logsumexp(logits[0], axis=0)) is dtype
    assert type(ll.bce_with_logits(logits, logits > 0)) is dtype
    assert type(ll.logsumexp(logits, axis=0)) is np.ndarray
    assert type(ll.cross_entropy(logits, target, reduction="none")) is np.ndarray


@every_dtype
def test_outputs_may_be_neighbours_of_inputs(dtype, rng):
    memory = rng.standard_normal((8, 5)).astype(dtype)
    kept = memory[:4].copy()
    target = rng.integers(0, 5, 4)
    want = ll.cross_entropy_value_and_grad(kept, target)[1]
    ll.cross_entropy_value_and_grad(memory[:4], target, grad_out=memory[4:])
    np.testing.assert_array_equal(memory[:4], kept)
    np.testing.assert_array_equal(memory[4:], want)
    interleaved = np.zeros((4, 10), dtype)
    interleaved[:, ::2] = kept
    ll.cross_entropy_value_and_grad(interleaved[:, ::2], target, grad_out=interleaved[:, 1::2])
    np.testing.assert_allclose(interleaved[:, 1::2], want, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(interleaved[:, ::2], kept)
