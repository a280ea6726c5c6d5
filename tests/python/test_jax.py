"""logitloss.jax: the values and derivatives of optax, by handlers that are called through XLA's own structs."""

import ctypes
import importlib
import itertools
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import logitloss as ll
from logitloss import _core

pytest.importorskip("jax", reason="logitloss.jax needs jax", exc_type=ImportError)
optax = pytest.importorskip("optax", reason="what logitloss.jax is compared with")

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402

from logitloss import jax as lj  # noqa: E402

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def float64():
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


def of_indices(logits, labels, **options):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels, **options)


def smoothed(labels, smoothing):
    return optax.smooth_labels(labels, smoothing)


# -------------------------------------------------------------------------------------- values and derivatives of optax

LABELS = np.array([0, 3, 1, -1])
STACKED = np.array([[0, 5, 2], [11, 7, -3]])


def arrays():
    rng = np.random.default_rng(7)
    mask = rng.uniform(size=(4, 5)) < 0.6
    mask[2] = False  # a row of which nothing counts
    mask[0, 0], mask[1, 3] = True, False  # labels that count and that do not
    return {
        "z": 3 * rng.standard_normal((4, 5)),
        "t": rng.dirichlet(np.ones(5), 4),
        "u": rng.uniform(size=(4, 5)),
        "mask": mask,
        "stack": rng.standard_normal((2, 3, 3, 4)),
        "shares": rng.dirichlet(np.ones(12), (2, 3)).reshape(2, 3, 3, 4),
    }


A = arrays()
MASK, ROWS = A["mask"], np.array([True, False, True, True])

# What is called here, what of optax, and with what; both are differentiated with respect to all of it.
CASES = {
    "indices": (lambda z: lj.cross_entropy(z, LABELS), lambda z: of_indices(z, LABELS), "z"),
    "indices, axis 0": (
        lambda z: lj.cross_entropy(z, LABELS[[0, 1, 2, 3, 2]], axis=0),
        lambda z: of_indices(z, LABELS[[0, 1, 2, 3, 2]], axis=0),
        "z",
    ),
    "indices, two axes": (
        lambda z: lj.cross_entropy(z, STACKED, axis=(2, 3)),
        lambda z: of_indices(z, STACKED, axis=(2, 3)),
        "stack",
    ),
    "indices, axes in another order": (
        lambda z: lj.cross_entropy(z, STACKED % 9, axis=(-1, 1)),
        lambda z: of_indices(z, STACKED % 9, axis=(-1, 1)),
        "stack",
    ),
    "indices, smoothed": (
        lambda z: lj.cross_entropy(z, LABELS, label_smoothing=0.1),
        lambda z: optax.softmax_cross_entropy(z, smoothed(jax.nn.one_hot(LABELS % 5, 5), 0.1)),
        "z",
    ),
    "indices, no classes": (
        lambda z: jnp.nan_to_num(lj.cross_entropy(z, LABELS + 3)),
        lambda z: jnp.nan_to_num(of_indices(z, LABELS + 3)),
        "z",
    ),
    "indices, masked": (
        lambda z: lj.cross_entropy(z, LABELS, where=MASK),
        lambda z: of_indices(z, LABELS, where=MASK),
        "z",
    ),
    "indices, masked classes": (
        lambda z: lj.cross_entropy(z, LABELS, where=MASK[:1]),
        lambda z: of_indices(z, LABELS, where=np.broadcast_to(MASK[:1], (4, 5))),
        "z",
    ),
    "indices, masked and smoothed": (
        lambda z: lj.cross_entropy(z, LABELS, where=MASK, label_smoothing=0.1),
        lambda z: optax.softmax_cross_entropy(z, smoothed(jax.nn.one_hot(LABELS % 5, 5), 0.1), where=MASK),
        "z",
    ),
    "indices, masked rows": (
        lambda z: lj.cross_entropy(z, LABELS, where=ROWS),
        lambda z: of_indices(z, LABELS, where=ROWS),
        "z",
    ),
    "probabilities": (lj.cross_entropy, optax.softmax_cross_entropy, "z t"),
    "probabilities that add up to anything, smoothed": (
        lambda z, t: lj.cross_entropy(z, t, label_smoothing=0.2),
        lambda z, t: optax.softmax_cross_entropy(z, smoothed(t, 0.2)),
        "z u",
    ),
    "probabilities, masked": (
        lambda z, t: lj.cross_entropy(z, t, where=MASK),
        lambda z, t: optax.softmax_cross_entropy(z, t, where=MASK),
        "z t",
    ),
    "probabilities, one row of them": (
        lambda z, t: lj.cross_entropy(z, t[:1]),
        lambda z, t: optax.softmax_cross_entropy(z, t[:1]),
        "z t",
    ),
    "probabilities, two axes": (
        lambda z, t: lj.cross_entropy(z, t, axis=(-2, -1)),
        lambda z, t: optax.softmax_cross_entropy(z, t, axis=(-2, -1)),
        "stack shares",
    ),
    "binary": (lj.binary_cross_entropy, optax.sigmoid_binary_cross_entropy, "z u"),
    "binary, broadcast": (
        lambda z, t: lj.binary_cross_entropy(z[:, :1], t),
        lambda z, t: optax.sigmoid_binary_cross_entropy(z[:, :1], t),
        "z u",
    ),
    "logsumexp": (lj.logsumexp, jax.nn.logsumexp, "z"),
    "logsumexp, rows": (lambda z: lj.logsumexp(z, -1), lambda z: jax.nn.logsumexp(z, -1), "z"),
    "logsumexp, axes": (
        lambda z: lj.logsumexp(z, (0, -2), keepdims=True),
        lambda z: jax.nn.logsumexp(z, (0, -2), keepdims=True),
        "stack",
    ),
    "logsumexp, no axes": (lambda z: lj.logsumexp(z, ()), lambda z: jax.nn.logsumexp(z, ()), "z"),
    "logsumexp, masked": (
        lambda z: lj.logsumexp(z, 0, where=MASK[:, :1]),
        lambda z: jax.nn.logsumexp(z, 0, where=MASK[:, :1]),
        "z",
    ),
    "logsumexp, weighted": (lambda z, b: lj.logsumexp(z, 1, b), lambda z, b: jax.nn.logsumexp(z, 1, b), "z u"),
}


def derivatives(function, arguments, both_ways):
    """The value, its gradient under cotangents of many sizes, and the Hessian of a sum of squares."""

    def derived(*arguments):
        value, pull_back = jax.vjp(function, *arguments)
        cotangent = jnp.linspace(-2.0, 3.0, value.size).reshape(value.shape)
        which = tuple(range(len(arguments)))

        def scalar(*arguments):
            return jnp.sum(function(*arguments) ** 2 * (1 + cotangent**2))

        hessian = jax.hessian(scalar, which)(*arguments)  # forward mode over reverse mode
        reverse = jax.jacrev(jax.grad(scalar, which), which)(*arguments) if both_ways else None
        return value, pull_back(cotangent), hessian, reverse

    return jax.tree.map(np.asarray, jax.jit(derived)(*arguments))


@pytest.mark.parametrize("name", CASES)
def test_values_gradients_and_hessians_are_optaxs(name):
    ours, theirs, which = CASES[name]
    arguments = [A[one] for one in which.split()]
    got, want = (derivatives(function, arguments, "," not in name) for function in (ours, theirs))
    assert any(np.any(part) for part in jax.tree.leaves(want[2]))  # a Hessian of zeros would show nothing
    for mine, right in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        assert (mine.shape, mine.dtype) == (right.shape, right.dtype)
        assert not np.isnan(mine).any()
        if name == "probabilities, masked":  # optax: 0 times infinity, in derivatives with respect to masked labels
            mine, right = mine[~np.isnan(right)], right[~np.isnan(right)]
        # Sums of numbers up to 100, whose cancellation is optax's as well.
        np.testing.assert_allclose(mine, right, rtol=1e-11, atol=1e-12)


def test_a_third_derivative():
    def third(function):
        return jax.jit(jax.jacrev(jax.hessian(lambda z: jnp.sum(function(z) ** 2))))(A["z"][:2, :3])

    ours = third(lambda z: lj.cross_entropy(z, LABELS[:2] % 3))
    np.testing.assert_allclose(ours, third(lambda z: of_indices(z, LABELS[:2] % 3)), rtol=1e-10, atol=1e-12)


def test_labels_that_are_no_class_are_nan_as_in_optax():
    labels = np.array([5, -6, 2**31 - 1, 4])
    for dtype in (np.int32, np.int64, np.uint32, np.uint64):
        own = np.abs(labels).astype(dtype)
        theirs = jax.jit(of_indices)(A["z"], own)
        np.testing.assert_array_equal(np.isnan(lj.cross_entropy(A["z"], own)), np.isnan(theirs))
    assert np.isnan(lj.cross_entropy(A["z"], labels)).tolist() == [True, True, True, False]
    for dtype in (np.int8, np.uint8, np.int16):  # more classes than the dtype can count
        many = np.zeros((3, 300))
        np.testing.assert_array_equal(lj.cross_entropy(many, np.array([1, 2, 100], dtype)), np.log(300.0))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtypes_are_optaxs_and_bits_are_numpys(dtype):
    rng = np.random.default_rng(3)
    logits = jnp.asarray(4 * rng.standard_normal((6, 130)), dtype)
    labels, hard = rng.integers(0, 130, 6), rng.integers(0, 2, (6, 130))
    soft = jnp.asarray(rng.dirichlet(np.ones(130), 6), dtype)
    up = np.asarray(rng.uniform(0.5, 2, 6), np.float32)
    plain, options = np.asarray(logits), {"reduction": "none", "upstream": np.asarray(jnp.asarray(up, dtype))}
    whole = np.broadcast_to(options["upstream"][:, None], plain.shape)
    for ours, theirs, cotangent, numpys in (
        (
            lambda z: lj.cross_entropy(z, labels),
            lambda z: of_indices(z, labels),
            up,
            ll.cross_entropy_value_and_grad(plain, labels, **options),
        ),
        (
            lambda z: lj.cross_entropy(z, soft),
            lambda z: optax.softmax_cross_entropy(z, soft),
            up,
            ll.cross_entropy_value_and_grad(plain, np.asarray(soft), **options),
        ),
        (
            lambda z: lj.binary_cross_entropy(z, hard),
            lambda z: optax.sigmoid_binary_cross_entropy(z, hard),
            np.broadcast_to(up[:, None], plain.shape),
            ll.bce_with_logits_value_and_grad(plain, hard, reduction="none", upstream=whole),
        ),
        (
            lambda z: lj.logsumexp(z, -1),
            lambda z: jax.nn.logsumexp(z, -1),
            up,
            ll.logsumexp_value_and_grad(plain, -1, upstream=options["upstream"]),
        ),
    ):
        value, pull_back = jax.vjp(jax.jit(ours), logits)
        (gradient,) = pull_back(jnp.asarray(cotangent, value.dtype))
        assert value.dtype == jax.eval_shape(theirs, logits).dtype
        assert gradient.dtype == logits.dtype
        np.testing.assert_array_equal(np.asarray(value), np.asarray(numpys[0]).astype(value.dtype))
        np.testing.assert_array_equal(np.asarray(gradient), numpys[1])

    def kind(function, *arguments):
        return jax.eval_shape(function, *arguments).dtype

    for labels in (soft.astype(jnp.float64), soft.astype(jnp.float16), hard):
        assert kind(lj.cross_entropy, logits, labels) == kind(optax.softmax_cross_entropy, logits, labels)
    assert kind(lj.logsumexp, hard) == kind(jax.nn.logsumexp, hard)


def test_a_large_call_has_numpys_bits_in_every_thread():
    rng = np.random.default_rng(5)
    logits, labels = rng.standard_normal((40, 20000), np.float32), rng.integers(0, 20000, 40)
    want = ll.cross_entropy_value_and_grad(logits, labels, reduction="sum")[1]
    gradient = jax.jit(jax.grad(lambda z: jnp.sum(lj.cross_entropy(z, labels))))
    on_device = jnp.asarray(logits)
    with ThreadPoolExecutor(4) as pool:
        for got in pool.map(gradient, [on_device] * 8):
            np.testing.assert_array_equal(got, want)
    np.testing.assert_array_equal(on_device, logits)  # which nobody has written


def test_confident_rows_keep_loss_and_gradient():
    logits, labels = np.array([[40.0, 0.0, 0.0]], np.float32), np.array([0])
    loss, gradient = jax.value_and_grad(lambda z: jnp.sum(lj.cross_entropy(z, labels)))(logits)
    np.testing.assert_allclose(loss, 2 * np.exp(-40.0), rtol=1e-6)
    np.testing.assert_allclose(gradient[0], np.exp(-40.0) * np.array([-2, 1, 1]), rtol=1e-6)
    np.testing.assert_allclose(
        lj.binary_cross_entropy(np.float32([-40, 40]), np.array([0, 1])), np.exp(-40.0), rtol=1e-6
    )


def test_rows_that_do_not_count_are_zero_whatever_they_hold():
    logits = np.array([[1.0, 2, 3], [np.nan, 0, 0], [np.inf, 0, 0], [-np.inf] * 3])
    labels, where = np.array([2, -100, 1, 0]), np.array([True, False, False, False])
    loss, pull_back = jax.vjp(lambda z: lj.cross_entropy(z, labels, where=where), logits)
    (gradient,) = pull_back(jnp.ones(4))
    assert loss[0] > 0
    np.testing.assert_array_equal(loss[1:], 0)
    np.testing.assert_array_equal(gradient[1:], 0)
    np.testing.assert_allclose(gradient[0], ll.softmax(logits[0]) - np.array([0, 0, 1]), rtol=1e-12)


# ------------------------------------------------------------------------------------------------------ transformations


def test_vmap_over_any_axes():
    rng = np.random.default_rng(11)
    logits, labels = rng.standard_normal((3, 4, 5)), rng.integers(0, 5, (3, 4))
    mask = rng.uniform(size=(4, 5)) < 0.7
    for ours, theirs, arguments, axes in (
        (lj.cross_entropy, of_indices, (logits, labels), (0, 0)),
        (lj.cross_entropy, of_indices, (logits, labels[:, 0]), (1, None)),
        (lj.cross_entropy, of_indices, (logits[0], labels), (None, 0)),
        (lj.cross_entropy, optax.softmax_cross_entropy, (logits, np.abs(logits)), (2, 2)),
        (
            lambda z, m: lj.cross_entropy(z, labels[0], where=m),
            lambda z, m: of_indices(z, labels[0], where=m),
            (logits, mask),
            (0, None),
        ),
        (
            lambda z, m: lj.logsumexp(z, 0, where=m),
            lambda z, m: jax.nn.logsumexp(z, 0, where=m),
            (logits, mask),
            (0, None),
        ),
        (
            lambda z, m: lj.logsumexp(z, 0, where=m),
            lambda z, m: jax.nn.logsumexp(z, 0, where=m),
            (logits, mask[0]),
            (1, None),
        ),
        (lj.binary_cross_entropy, optax.sigmoid_binary_cross_entropy, (logits, mask), (0, None)),
    ):
        results = []
        for function in (ours, theirs):

            def total(*others, function=function):
                return jnp.sum(function(*others) ** 2)

            mapped = jax.vmap(lambda *others, f=function, t=total: (f(*others), jax.grad(t)(*others)), axes)
            results.append(jax.jit(mapped)(*arguments))
        for got, want in zip(*results, strict=True):
            np.testing.assert_allclose(got, want, rtol=1e-11, atol=1e-13)


def test_inside_scan_and_checkpoint():
    def loss(z, function):
        step = jax.checkpoint(lambda total, row: (total + function(row[None], np.array([1]))[0], None))
        return jax.lax.scan(step, 0.0, z)[0]

    ours, theirs = (jax.jit(jax.grad(lambda z, f=f: loss(z, f)))(A["z"]) for f in (lj.cross_entropy, of_indices))
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_forward_mode_is_refused():
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda z: lj.logsumexp(z), (A["z"],), (A["z"],))


def test_what_is_not_asked_for_is_not_computed():
    def calls(function, *arguments):
        return jax.jit(function).lower(*arguments).compile().as_text().count("custom_call_target=")

    def loss(z, t):
        return jnp.sum(lj.cross_entropy(z, t))

    assert calls(jax.grad(loss), A["z"], A["t"]) == 1  # the gradient alone
    assert calls(jax.value_and_grad(loss), A["z"], A["t"]) == 2
    assert calls(jax.grad(loss, 1), A["z"], A["t"]) == 0  # minus the log-softmax, which XLA computes


def test_a_gradient_takes_no_memory_but_its_own():
    shape, labels = (64, 4096), jnp.zeros(64, jnp.int32)

    def temporary(function, dtype, *others):
        step = jax.jit(jax.value_and_grad(lambda z, *others: jnp.mean(function(z, *others)).astype(jnp.float32)))
        compiled = step.lower(jax.ShapeDtypeStruct(shape, dtype), *others).compile()
        return compiled.memory_analysis().temp_size_in_bytes

    array = 4 * shape[0] * shape[1]
    assert temporary(lj.cross_entropy, jnp.float32, labels) < array / 100
    for dtype, size, theirs, others in (
        (jnp.bfloat16, array / 2, of_indices, labels),
        (jnp.float32, array, optax.softmax_cross_entropy, jax.ShapeDtypeStruct(shape, jnp.float32)),
    ):
        assert temporary(lj.cross_entropy, dtype, others) < array / 100
        assert temporary(theirs, dtype, others) >= size


SHARDED = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax, jax.numpy as jnp, numpy as np
from jax.sharding import Mesh, PartitionSpec as P
from logitloss.jax import binary_cross_entropy, cross_entropy, logsumexp
shard_map = getattr(jax, "shard_map", None)
if shard_map is None:
    from functools import partial
    from jax.experimental.shard_map import shard_map
    shard_map = partial(shard_map, check_rep=False)
mesh = Mesh(np.array(jax.devices()), ("batch",))
assert mesh.size == 2
rng = np.random.default_rng(1)
z, y = rng.standard_normal((8, 16), np.float32), rng.integers(0, 16, 8)
some = np.zeros(4, int)
rows, whole = P("batch"), P()

def check(function, others=(), specs=(), result=rows):
    mapped = jax.jit(shard_map(function, mesh=mesh, in_specs=(rows, *specs), out_specs=result))
    text = mapped.lower(z, *others).compile().as_text()
    assert "custom-call" in text and "all-gather" not in text, text
    return np.asarray(mapped(z, *others))

same = np.testing.assert_array_equal
gradient = lambda z, y: jax.grad(lambda z: jnp.sum(cross_entropy(z, y)))(z)
same(check(gradient, (y,), (rows,)), jax.jit(gradient)(z, y))
same(check(lambda z: gradient(z, some)), jax.jit(gradient)(z, np.tile(some, 2)))  # labels that are everywhere
same(check(lambda z: logsumexp(z, -1)), logsumexp(z, -1))
same(check(lambda z: jax.grad(lambda z: jnp.sum(binary_cross_entropy(z, z > 0)))(z)),
     jax.grad(lambda z: jnp.sum(binary_cross_entropy(z, z > 0)))(z))
mean = lambda z, y: jax.lax.pmean(jnp.mean(cross_entropy(z, y)), "batch")
np.testing.assert_allclose(check(mean, (y,), (rows,), whole), jnp.mean(cross_entropy(z, y)), rtol=1e-6)
step = jax.jit(jax.grad(shard_map(mean, mesh=mesh, in_specs=(rows, rows), out_specs=whole)))
assert "all-gather" not in step.lower(z, y).compile().as_text()
np.testing.assert_allclose(step(z, y), jax.grad(lambda z: jnp.mean(cross_entropy(z, y)))(z), rtol=1e-6, atol=1e-9)
print("fine")
"""


def child(program):
    return subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, timeout=300, env=os.environ | {"JAX_PLATFORMS": "cpu"},
    )  # fmt: skip


def test_shard_map_gathers_nothing():
    done = child(SHARDED)
    assert done.stdout == "fine\n", done.stderr


# -------------------------------------------------------------------------------------------------- errors and the seam


def test_arguments_that_do_not_fit():
    z, integers = A["z"], np.arange(4)
    for call, kind, message in (
        (lambda: lj.cross_entropy(integers[None], integers[:1]), TypeError, "logits: got dtype int64"),
        (lambda: lj.binary_cross_entropy(integers, integers), TypeError, "logits: got dtype int64"),
        (lambda: lj.cross_entropy(z, integers * 1.0), TypeError, "labels: got float64 of shape"),
        (lambda: lj.cross_entropy(z, integers[:3]), ValueError, r"labels: got shape \(3,\), expected \(4,\)"),
        (lambda: lj.cross_entropy(z, z[:, :3]), ValueError, r"labels: got shape \(4, 3\)"),
        (lambda: lj.cross_entropy(z, integers, axis=2), ValueError, "axis: got 2"),
        (lambda: lj.cross_entropy(z, integers, axis=(0, -2)), ValueError, "every axis once"),
        (lambda: lj.cross_entropy(z, integers, label_smoothing=1.5), ValueError, "label_smoothing: got 1.5"),
        (lambda: lj.cross_entropy(z, integers, where=z[None] > 0), ValueError, "where: got shape"),
        (lambda: lj.logsumexp(z, -3), ValueError, "axis: got -3"),
    ):
        with pytest.raises(kind, match=message):
            call()
        with pytest.raises(kind, match=message):
            jax.jit(call)()


def test_a_handler_that_is_called_wrongly_says_so():
    result = jax.ShapeDtypeStruct((4,), np.float64)
    call = jax.ffi.ffi_call("logitloss_cross_entropy", result)
    right = {"axis": np.int64(-1), "label_smoothing": np.float64(0)}
    labels = np.zeros(4, np.int32)
    np.testing.assert_array_equal(call(A["z"], labels, **right), lj.cross_entropy(A["z"], labels))
    for arguments, attributes, message in (
        ((A["z"],), right, "wrong number of operands"),
        ((A["z"], labels), {}, "no attribute axis"),
        ((A["z"], labels), right | {"axis": np.float64(-0.5)}, "no attribute axis of the right kind"),
        ((A["z"], labels), right | {"axis": np.int64(5)}, "axis: got 5"),
        ((A["z"], labels), right | {"label_smoothing": np.float64(2)}, "label_smoothing"),
        ((A["z"], labels.astype(np.int64)), right, "not of int32"),
        ((A["z"], np.full(4, 9, np.int32)), right, r"target\[0\]"),
        ((A["z"], labels[:3]), right, "shape"),
        ((A["z"].astype(complex), labels), right, "dtype"),
    ):
        with pytest.raises(Exception, match=f"logitloss.jax: .*{message}"):
            jax.block_until_ready(call(*arguments, **attributes))


def test_another_platform_is_refused_with_a_reason():
    jax.ffi.register_ffi_target("test_other_platform", _core.jax_handlers()["other_platform"], platform="cpu")
    with pytest.raises(Exception, match=r"CPU devices only.*device_put"):
        jax.block_until_ready(jax.ffi.ffi_call("test_other_platform", jax.ShapeDtypeStruct((), np.float32))())


def test_a_mask_makes_rows_of_one_row_whatever_the_labels():
    logits, where = jnp.array([[1.0, 2.0, 0.5]]), jnp.array([[True, True, False], [True, True, True]])
    for labels, theirs in (
        (jnp.array([1]), optax.softmax_cross_entropy_with_integer_labels),
        (jnp.array([[0.0, 1.0, 0.0]]), optax.softmax_cross_entropy),
    ):
        np.testing.assert_allclose(
            lj.cross_entropy(logits, labels, where=where), theirs(logits, labels, where=where), rtol=1e-6
        )
    with pytest.raises(ValueError, match=r"where: got shape \(4,\)"):
        lj.cross_entropy(jnp.zeros((2, 3)), jnp.array([0, 1]), where=jnp.ones(4, bool))


def test_dtypes_that_no_kernel_reads_are_named_or_converted():
    with pytest.raises(TypeError, match="logits: got dtype float8_e5m2"):
        lj.cross_entropy(jnp.zeros((2, 3), jnp.float8_e5m2), jnp.array([0, 1]))
    with pytest.raises(TypeError, match="labels: got dtype float8_e5m2"):
        lj.binary_cross_entropy(jnp.zeros(3), jnp.zeros(3, jnp.float8_e5m2))
    small = jnp.array([1, 0, 1], jnp.uint4)
    np.testing.assert_array_equal(
        lj.binary_cross_entropy(jnp.ones(3), small), lj.binary_cross_entropy(jnp.ones(3), small.astype(int))
    )


@pytest.fixture
def fresh_module():
    """Forgets logitloss.jax, and puts it back."""
    kept = sys.modules.pop("logitloss.jax")
    yield
    sys.modules["logitloss.jax"] = ll.jax = kept


def test_a_jax_that_is_missing_or_too_old_is_named(fresh_module, monkeypatch):
    monkeypatch.setattr(jax, "__version_info__", (0, 4, 35))
    with pytest.raises(ImportError, match=r"needs jax 0\.5\.0 or later"):
        importlib.import_module("logitloss.jax")
    monkeypatch.setitem(sys.modules, "jax", None)
    with pytest.raises(ImportError, match="needs jax: pip install"):
        importlib.import_module("logitloss.jax")


def test_import_logitloss_imports_no_jax():
    done = child("import sys, logitloss; print('jax' in sys.modules, 'logitloss.jax' in sys.modules)")
    assert done.stdout.split() == ["False", "False"], done.stderr


def test_the_handlers_are_symbols_of_the_extension():
    library = ctypes.CDLL(_core.__file__)
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    for name, capsule in _core.jax_handlers().items():
        symbol = ctypes.cast(getattr(library, f"logitloss_jax_{name}"), ctypes.c_void_p)
        assert symbol.value == pointer(capsule, None)


# Struct here, struct of XLA's header, and the pairs of their fields.
STRUCTS = {
    ("Extension", "Extension_Base"): "struct_size type next",
    ("Version", "Api_Version"): "struct_size extensions=extension_start major=major_version minor=minor_version",
    ("ErrorArguments", "Error_Create_Args"): "struct_size extensions=extension_start message code=errc",
    ("Buffer", "Buffer"): "struct_size extensions=extension_start type=dtype data rank lengths=dims",
    ("Operands", "Args"): "struct_size extensions=extension_start size kinds=types values=args",
    ("Operands", "Rets"): "struct_size extensions=extension_start size kinds=types values=rets",
    ("Text", "ByteSpan"): "data=ptr size=len",
    ("Scalar", "Scalar"): "type=dtype value",
    ("Attributes", "Attrs"): "struct_size extensions=extension_start size kinds=types names values=attrs",
    ("CallFrame", "CallFrame"): (
        "struct_size extensions=extension_start api context=ctx stage arguments=args results=rets attributes=attrs"
    ),
    ("Metadata", "Metadata"): "struct_size version=api_version traits",
    ("MetadataExtension", "Metadata_Extension"): "base=extension_base metadata",
    ("Api", "Api"): (
        "struct_size extensions=extension_start version=api_version internals=internal_api "
        "create_error=XLA_FFI_Error_Create"
    ),
}
WHOLE = {"Extension", "Version", "ErrorArguments", "Buffer", "Operands", "Text", "Scalar", "Attributes"}
NUMBERS = {
    "metadata_extension": "Extension_Metadata",
    "invalid_argument": "Error_Code_INVALID_ARGUMENT",
    "internal": "Error_Code_INTERNAL",
    "is_buffer": "ArgType_BUFFER",
    "is_scalar": "AttrType_SCALAR",
    "execute_stage": "ExecutionStage_EXECUTE",
    "Type::boolean": "DataType_PRED",
    "Type::float16": "DataType_F16",
    "Type::bfloat16": "DataType_BF16",
    "Type::float32": "DataType_F32",
    "Type::float64": "DataType_F64",
    **{
        f"Type::{sign}int{bits}": f"DataType_{letter}{bits}"
        for (sign, letter), bits in itertools.product((("", "S"), ("u", "U")), (8, 16, 32, 64))
    },
}


def test_the_structs_are_those_of_the_installed_header(tmp_path):
    compiler = shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no C++ compiler")
    lines = ['#include "xla_ffi.hpp"', '#include "xla/ffi/api/c_api.h"', "using namespace logitloss::xla;"]

    def equal(mine, theirs):
        lines.append(f'static_assert({mine} == {theirs}, "{mine}");')

    for (mine, theirs), fields in STRUCTS.items():
        for field in fields.split():
            own, _, other = field.partition("=")
            other = other or own
            equal(f"offsetof({mine}, {own})", f"offsetof(XLA_FFI_{theirs}, {other})")
            equal(f"sizeof({mine}::{own})", f"sizeof(XLA_FFI_{theirs}::{other})")
        if mine in WHOLE:
            equal(f"sizeof({mine})", f"sizeof(XLA_FFI_{theirs})")
    for mine, theirs in NUMBERS.items():
        equal(f"static_cast<int>({mine})", f"static_cast<int>(XLA_FFI_{theirs})")
    equal("major_version", "XLA_FFI_API_MAJOR")
    lines.append("static_assert(oldest_minor_version <= XLA_FFI_API_MINOR);")
    source = tmp_path / "layouts.cpp"
    source.write_text("\n".join(lines) + "\n")
    includes = [f"-I{ROOT / 'python' / 'bindings'}", f"-I{jax.ffi.include_dir()}"]
    command = [compiler, "-std=c++17", "-Wno-invalid-offsetof", "-fsyntax-only", *includes, str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    source.write_text("\n".join(lines).replace("offsetof(Buffer, data)", "offsetof(Buffer, rank)"))
    assert subprocess.run(command, capture_output=True).returncode != 0  # it can fail
