"""The same values in other memory: every layout, any axis, other dtypes of every argument, things that are no arrays.

Another memory layout may be summed in another order, so results agree to a few roundings, not to the bit.
"""

import itertools

import ml_dtypes
import numpy as np
import pytest
from checks import DTYPES
from losses import LOSSES

import logitloss as ll

every_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
CLASS_AXIS_LOSSES = [loss for loss in LOSSES if not loss.elementwise]


def close(got, want, dtype):
    rtol = 2e-6 if dtype == np.float32 else 2e-14
    np.testing.assert_allclose(got, want, rtol=rtol, atol=rtol / 100)


def unaligned(a):
    memory = np.zeros(a.nbytes + 1, np.uint8)[1:]
    moved = memory.view(a.dtype).reshape(a.shape)
    moved[...] = a
    assert a.itemsize == 1 or a.size == 0 or not moved.flags.aligned
    return moved


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def every_other(a):
    wide = np.full((*a.shape[:-1], 2 * a.shape[-1]), 99, a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


def in_records(a):
    """A field of a structured array: strides that are no multiple of the item size."""
    records = np.zeros(a.shape, [("other", np.int8), ("value", a.dtype), ("more", np.int16)])
    records["value"] = a
    return records["value"]


LAYOUTS = {
    "read-only": read_only,
    "unaligned": unaligned,
    "fortran": np.asfortranarray,
    "negative": lambda a: np.flip(np.flip(a).copy()),
    "negative-classes": lambda a: a[..., ::-1].copy()[..., ::-1],
    "every-other": every_other,
    "records": in_records,
    "byteswapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "byteswapped-unaligned": lambda a: unaligned(a.astype(a.dtype.newbyteorder())),
    "middle-axis-strided": lambda a: np.repeat(a, 2, axis=0)[::2],
    "subclass": lambda a: a.view(type("Subclass", (np.ndarray,), {})),
}


@every_loss
@every_dtype
def test_layouts_of_the_logits(loss, dtype, rng):
    for lay, shape in itertools.product(LAYOUTS.values(), ((7, 5), (4, 3, 70), (3, 200), (2, 4100))):
        given = loss.inputs(rng, shape, dtype)
        value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
        logits = lay(given.logits)
        np.testing.assert_array_equal(logits, given.logits)
        before = logits.tobytes()
        got_value, got_grad = loss.value_and_grad(logits, *given.targets, **given.options)
        close(got_value, value, dtype)
        close(got_grad, grad, dtype)
        assert got_grad.dtype == dtype
        assert got_grad.dtype.isnative
        assert type(got_grad) is np.ndarray
        assert logits.tobytes() == before


@every_loss
@every_dtype
def test_layouts_of_the_other_arguments(loss, dtype, rng):
    for lay in LAYOUTS.values():
        given = loss.inputs(rng, (6, 5), dtype)
        value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
        targets = [lay(t) for t in given.targets]
        options = {k: lay(v) if np.ndim(v) else v for k, v in given.options.items()}
        got_value, got_grad = loss.value_and_grad(given.logits, *targets, **options)
        np.testing.assert_array_equal(got_value, value)
        np.testing.assert_array_equal(got_grad, grad)


@pytest.mark.parametrize("loss", CLASS_AXIS_LOSSES, ids=str)
@every_dtype
@pytest.mark.parametrize("shape", [(5, 4, 6), (3, 2, 70), (4, 7, 150)])
def test_class_axis_anywhere(loss, shape, dtype, rng):
    given = loss.inputs(rng, shape, dtype)
    value, grad = loss.value_and_grad(given.logits, *given.targets, **given.options)
    for axis in (0, 1, 2, -1, -2, -3):
        for make in (np.ascontiguousarray, np.asarray, np.asfortranarray):
            logits = make(np.moveaxis(given.logits, -1, axis))
            # probabilities have the class axis where the logits have it
            targets = [make(np.moveaxis(t, -1, axis)) if t.ndim == 3 else t for t in given.targets]
            got_value, got_grad = loss.value_and_grad(logits, *targets, axis=axis, **given.options)
            close(got_value, value, dtype)
            close(np.moveaxis(got_grad, axis, -1), grad, dtype)


@every_dtype
def test_softmaxes_along_any_axis(dtype, rng):
    for shape in ((3, 4, 5), (2, 70, 3), (150, 2, 4), (2, 3, 4200)):
        x = (3 * rng.standard_normal(shape)).astype(dtype)
        dy = rng.standard_normal(shape).astype(dtype)
        for axis in range(-3, 3):
            for make in (np.ascontiguousarray, np.asfortranarray, unaligned, lambda a: a[:, ::-1].copy()[:, ::-1]):
                last = np.ascontiguousarray(np.moveaxis(x, axis, -1))
                p, log_p = ll.softmax(last, axis=-1), ll.log_softmax(last, axis=-1)
                close(np.moveaxis(ll.softmax(make(x), axis=axis), axis, -1), p, dtype)
                close(np.moveaxis(ll.log_softmax(make(x), axis=axis), axis, -1), log_p, dtype)
                close(ll.logsumexp(make(x), axis=axis), ll.logsumexp(last, axis=-1), dtype)
                dy_last = np.ascontiguousarray(np.moveaxis(dy, axis, -1))
                y = np.moveaxis(p, -1, axis)
                got = ll.softmax_vjp(make(y), make(dy), axis)
                np.testing.assert_allclose(np.moveaxis(got, axis, -1), ll.softmax_vjp(p, dy_last), atol=2e-6)
                got = ll.log_softmax_vjp(make(np.moveaxis(log_p, -1, axis)), dy, axis)
                np.testing.assert_allclose(np.moveaxis(got, axis, -1), ll.log_softmax_vjp(log_p, dy_last), atol=2e-5)


@every_dtype
def test_zero_strides(dtype, rng):
    row = rng.standard_normal(9).astype(dtype)
    logits, target = np.broadcast_to(row, (4, 9)), np.broadcast_to(3, 4)
    loss, grad = ll.cross_entropy_value_and_grad(logits, target, reduction="none")
    want_loss, want_grad = ll.cross_entropy_value_and_grad(row, 3, reduction="none")
    np.testing.assert_array_equal(loss, np.full(4, want_loss))
    np.testing.assert_array_equal(grad, np.tile(want_grad, (4, 1)))
    along = np.broadcast_to(rng.standard_normal((5, 1)).astype(dtype), (5, 100))
    np.testing.assert_allclose(ll.logsumexp(along, axis=-1), along[:, 0] + np.log(100), rtol=1e-6)
    np.testing.assert_allclose(ll.softmax(along, axis=-1), 0.01, rtol=1e-6)
    np.testing.assert_allclose(ll.bce_with_logits(np.broadcast_to(dtype(0), (3, 4)), np.ones((3, 4))), np.log(2))


@every_dtype
def test_memory_mapped_files(dtype, rng, tmp_path):
    x, target = rng.standard_normal((50, 20)).astype(dtype), rng.integers(0, 20, 50)
    np.save(tmp_path / "logits.npy", x)
    np.save(tmp_path / "target.npy", target)
    mapped = np.load(tmp_path / "logits.npy", mmap_mode="r")
    labels = np.load(tmp_path / "target.npy", mmap_mode="r")
    loss, grad = ll.cross_entropy_value_and_grad(mapped, labels)
    want_loss, want_grad = ll.cross_entropy_value_and_grad(x, target)
    assert loss == want_loss
    np.testing.assert_array_equal(grad, want_grad)
    into = np.lib.format.open_memmap(tmp_path / "grad.npy", mode="w+", dtype=dtype, shape=x.shape)
    ll.cross_entropy_value_and_grad(mapped, labels, grad_out=into)
    np.testing.assert_array_equal(into, want_grad)


# ------------------------------------------------------------------------------------------------------ other dtypes


INTEGERS = [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]


@pytest.mark.parametrize("label_dtype", INTEGERS, ids=lambda d: np.dtype(d).name)
@every_dtype
def test_labels_of_any_integer_dtype(label_dtype, dtype, rng):
    logits, target = rng.standard_normal((40, 11)).astype(dtype), rng.integers(0, 11, 40)
    want = ll.cross_entropy_value_and_grad(logits, target)
    for make in (
        np.asarray,
        unaligned,
        every_other,
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: a[::-1].copy()[::-1],
    ):
        got = ll.cross_entropy_value_and_grad(logits, make(target.astype(label_dtype)))
        assert got[0] == want[0]
        np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("label_dtype", INTEGERS, ids=lambda d: np.dtype(d).name)
def test_ignore_index_of_any_integer_dtype(label_dtype, rng):
    logits, target = rng.standard_normal((30, 4)), rng.integers(0, 4, 30).astype(label_dtype)
    for ignored in {int(np.iinfo(label_dtype).max), int(np.iinfo(label_dtype).min), 2} - {2**64 - 1}:
        some = target.copy()
        some[::3] = ignored
        kept = some != ignored
        loss, grad = ll.cross_entropy_value_and_grad(logits, some, ignore_index=ignored)
        want, want_grad = ll.cross_entropy_value_and_grad(logits[kept], some[kept])
        np.testing.assert_allclose(loss, want, rtol=1e-14)
        np.testing.assert_allclose(grad[kept], want_grad, rtol=1e-14)
        assert np.all(grad[~kept] == 0)


REALS = [bool, *INTEGERS, np.float16, np.float32, np.float64]


@pytest.mark.parametrize("target_dtype", REALS, ids=lambda d: np.dtype(d).name)
@every_dtype
def test_targets_and_weights_of_any_real_dtype(target_dtype, dtype, rng):
    logits = rng.standard_normal((9, 6)).astype(dtype)
    hard = rng.integers(0, 2, (9, 6))
    factor = rng.integers(0, 2, (9, 6))
    for function, weights in (
        (ll.bce_with_logits_value_and_grad, {"weight": factor, "pos_weight": factor[0]}),
        (ll.cross_entropy_value_and_grad, {"class_weight": 1 - factor[0], "sample_weight": 1 - factor[:, 0]}),
    ):
        for given in ({}, weights):
            want = function(logits, hard.astype(np.float64), reduction="sum", **given)
            other = {k: v.astype(target_dtype) for k, v in given.items()}
            got = function(logits, hard.astype(target_dtype), reduction="sum", **other)
            assert got[0] == want[0]
            np.testing.assert_array_equal(got[1], want[1])


@pytest.mark.parametrize("kind", [bool, np.int8, np.uint16, np.int64, np.uint64], ids=lambda d: np.dtype(d).name)
def test_integers_become_float64(kind, rng):
    x = rng.integers(0, 2, (5, 4)).astype(kind)
    wide = x.astype(np.float64)
    target = rng.integers(0, 4, 5)
    for got, want in (
        (ll.logsumexp(x, axis=1), ll.logsumexp(wide, axis=1)),
        (ll.softmax(x, axis=0), ll.softmax(wide, axis=0)),
        (ll.cross_entropy_value_and_grad(x, target)[1], ll.cross_entropy_value_and_grad(wide, target)[1]),
        (ll.bce_with_logits(x, wide), ll.bce_with_logits(wide, wide)),
    ):
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got, want)


def test_sequences_and_scalars():
    loss = ll.cross_entropy([[1.0, 2.0], [3, 4]], [0, 1])
    assert type(loss) is np.float64
    np.testing.assert_allclose(loss, (np.log1p(np.e) + np.log1p(1 / np.e)) / 2, rtol=1e-15)
    np.testing.assert_allclose(ll.logsumexp([0, 0]), np.log(2), rtol=1e-15)
    np.testing.assert_allclose(ll.bce_with_logits(0.0, 1), np.log(2), rtol=1e-15)
    assert type(ll.logsumexp(np.float32([1, 2]))) is np.float32
    np.testing.assert_allclose(ll.cross_entropy(((0.0, 0.0),), (1,), class_weight=[1, 3]), np.log(2), rtol=1e-15)


class ArrayLike:
    """A tensor of another library, as far as NumPy knows."""

    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return self.a if dtype is None else self.a.astype(dtype)


def test_array_protocol(rng):
    x, target = rng.standard_normal((4, 3)), rng.integers(0, 3, 4)
    want = ll.cross_entropy_value_and_grad(x, target)
    got = ll.cross_entropy_value_and_grad(ArrayLike(x), ArrayLike(target), sample_weight=ArrayLike(np.ones(4)))
    assert got[0] == want[0]
    np.testing.assert_array_equal(got[1], want[1])
    np.testing.assert_array_equal(ll.softmax(ArrayLike(x), axis=1), ll.softmax(x, axis=1))


def test_tensors_of_torch(rng):
    torch = pytest.importorskip("torch")
    x, target = rng.standard_normal((4, 3)).astype(np.float32), rng.integers(0, 3, 4)
    want = ll.cross_entropy_value_and_grad(x, target)
    tensor, labels = torch.from_numpy(x), torch.from_numpy(target)
    strided = torch.from_numpy(np.repeat(x, 2, axis=1))[:, ::2]
    for logits in (tensor, tensor.clone().requires_grad_(), tensor.t().contiguous().t(), strided):
        got = ll.cross_entropy_value_and_grad(logits, labels)
        np.testing.assert_allclose(got[0], want[0], rtol=1e-6)
        np.testing.assert_allclose(got[1], want[1], rtol=1e-6)
    p = ll.softmax(x, axis=1)
    ll.softmax(tensor, axis=1, out=tensor.numpy())  # the array shares the tensor's memory: in place
    np.testing.assert_array_equal(tensor.numpy(), p)


@pytest.mark.parametrize("requires_grad", [False, True])
def test_bfloat16_tensors_of_torch(requires_grad, rng):
    torch = pytest.importorskip("torch")
    x, target = rng.standard_normal((6, 9)).astype(ml_dtypes.bfloat16), rng.integers(0, 9, 6)
    tensor = torch.from_numpy(x.view(np.int16)).view(torch.bfloat16)
    shared = tensor.detach()
    if requires_grad:
        tensor = tensor.clone().requires_grad_()
    for axis, make in ((1, lambda t: t), (0, lambda t: t.t()), (1, lambda t: t.flip(1))):
        array = np.flip(x, 1) if make(shared)[0, 0] != shared[0, 0] else x if axis == 1 else x.T
        got, grad = ll.cross_entropy_value_and_grad(make(tensor), target, axis=axis)
        want, want_grad = ll.cross_entropy_value_and_grad(array, target, axis=axis)
        assert got.dtype == np.float32
        assert got == want
        assert grad.dtype == ml_dtypes.bfloat16
        np.testing.assert_array_equal(grad, want_grad)
    soft = torch.from_numpy(rng.random((6, 9)).astype(np.float32)).to(torch.bfloat16)
    got = ll.bce_with_logits(tensor, soft, weight=soft)
    as_arrays = soft.float().numpy()
    np.testing.assert_allclose(got, ll.bce_with_logits(x, as_arrays, weight=as_arrays), rtol=1e-6)


def test_tensors_that_are_no_cpu_arrays_are_type_errors():
    torch = pytest.importorskip("torch")
    for tensor, why in (
        (torch.eye(3).to_sparse(), "parse"),
        (torch.empty((2, 3), device="meta"), "meta"),
        (torch.zeros((2, 3), dtype=torch.complex64), "complex64"),
    ):
        with pytest.raises(TypeError, match=rf"^a: .*{why}"):
            ll.logsumexp(tensor)


class OnlyDLPack:
    """A tensor that NumPy does not know, but that exports its memory."""

    def __init__(self, a, device=None):
        self.a = a
        self.device = device

    def __dlpack__(self, **options):
        if self.device:
            raise BufferError("not on the CPU")
        return self.a.__dlpack__()

    def __dlpack_device__(self):
        return self.device or self.a.__dlpack_device__()


@every_dtype
def test_dlpack(dtype, rng):
    x, target = rng.standard_normal((4, 3)).astype(dtype), rng.integers(0, 3, 4)
    want = ll.cross_entropy_value_and_grad(x, target)
    got = ll.cross_entropy_value_and_grad(OnlyDLPack(x), OnlyDLPack(target))
    assert got[0] == want[0]
    np.testing.assert_array_equal(got[1], want[1])
    np.testing.assert_array_equal(ll.softmax(OnlyDLPack(x.T), axis=0), ll.softmax(x.T, axis=0))
    with pytest.raises(TypeError, match=r"^x: got OnlyDLPack"):
        ll.softmax(OnlyDLPack(x, device=(2, 0)))


def test_jax_arrays(rng):
    jax = pytest.importorskip("jax")
    x, target = rng.standard_normal((4, 3)).astype(np.float32), rng.integers(0, 3, 4)
    want = ll.cross_entropy_value_and_grad(x, target)
    got = ll.cross_entropy_value_and_grad(jax.numpy.asarray(x), jax.numpy.asarray(target))
    assert got[0] == want[0]
    np.testing.assert_array_equal(got[1], want[1])
    half = jax.numpy.asarray(x).astype("bfloat16")
    assert ll.softmax(half, axis=1).dtype == ml_dtypes.bfloat16


@every_dtype
def test_results_for_subclasses_are_plain_arrays(dtype, rng):
    x = rng.standard_normal((4, 3)).astype(dtype)
    records = x.view(np.recarray)
    for got in (ll.softmax(records, axis=1), ll.logsumexp(records, axis=1), ll.log_softmax_vjp(records, records)):
        assert type(got) is np.ndarray
    np.testing.assert_array_equal(ll.softmax(records, axis=1), ll.softmax(x, axis=1))


# ----------------------------------------------------------------------------------------------- weights that broadcast


@every_dtype
def test_weights_broadcast(dtype, rng):
    logits = rng.standard_normal((3, 4, 5)).astype(dtype)
    target = rng.random((3, 4, 5))
    for shape in ((), (1,), (5,), (4, 1), (4, 5), (3, 1, 1), (1, 4, 5), (3, 4, 5)):
        weight = rng.uniform(0.5, 2, shape)
        full = np.broadcast_to(weight, logits.shape).copy()
        for name in ("weight", "pos_weight"):
            got = ll.bce_with_logits_value_and_grad(logits, target, **{name: weight})
            want = ll.bce_with_logits_value_and_grad(logits, target, **{name: full})
            assert got[0] == want[0]
            np.testing.assert_array_equal(got[1], want[1])
    labels = rng.integers(0, 5, (3, 4))
    for shape in ((), (1,), (4,), (3, 1), (1, 4), (3, 4)):
        weight = rng.uniform(0.5, 2, shape)
        got = ll.cross_entropy_value_and_grad(logits, labels, sample_weight=weight)
        want = ll.cross_entropy_value_and_grad(logits, labels, sample_weight=np.broadcast_to(weight, (3, 4)).copy())
        assert got[0] == want[0]
        np.testing.assert_array_equal(got[1], want[1])
