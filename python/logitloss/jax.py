"""Cross-entropy, binary cross-entropy and log-sum-exp for JAX on a CPU, with the meanings of optax and ``jax.nn``.

They are called inside ``jax.jit``, ``jax.grad``, ``jax.vmap`` and ``jax.shard_map`` like the functions whose names they
have, in place of ``optax.softmax_cross_entropy_with_integer_labels``, ``optax.softmax_cross_entropy``,
``optax.sigmoid_binary_cross_entropy`` and ``jax.nn.logsumexp``::

    from logitloss.jax import cross_entropy

    @jax.jit
    def loss(parameters, images, labels):
        return cross_entropy(network(parameters, images), labels).mean()

Values and gradients come from the kernels of this library, by custom calls of XLA. The gradient may be differentiated
again; forward mode (``jax.jvp`` of these functions themselves) is refused, as of any ``jax.custom_vjp``. JAX is
imported by this module and by no other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from . import _core

try:
    import jax
    import jax.numpy as jnp
except ModuleNotFoundError as _missing:
    raise ModuleNotFoundError("logitloss.jax needs jax: pip install 'logitloss[jax]'") from _missing
if jax.__version_info__ < (0, 5, 0):
    raise ImportError(f"logitloss.jax needs jax 0.5.0 or later, for jax.ffi; this is {jax.__version__}")
import jax.ffi

__all__ = ["binary_cross_entropy", "cross_entropy", "logsumexp"]

# jax.Array, a tracer, or what jnp.asarray takes.
Array: TypeAlias = Any
ArrayLike: TypeAlias = Any

_NO_CLASS = -1


def _register() -> None:
    handlers = _core.jax_handlers()
    refusal = handlers.pop("other_platform")
    for name, handler in handlers.items():
        jax.ffi.register_ffi_target(f"logitloss_{name}", handler, platform="cpu")
        for platform in ("CUDA", "ROCM"):
            jax.ffi.register_ffi_target(f"logitloss_{name}", refusal, platform=platform)


_register()


def _call(name: str, results: Sequence[tuple[tuple[int, ...], Any]], *operands: Array, **options: Any) -> Any:
    """Results of a handler, of these shapes and dtypes."""
    shapes = [jax.ShapeDtypeStruct(*result) for result in results]
    call = jax.ffi.ffi_call(f"logitloss_{name}", shapes, vmap_method="broadcast_all")
    varying = frozenset().union(*map(_varying, operands))
    return [_varied(result, varying) for result in call(*(_varied(one, varying) for one in operands), **options)]


def _varying(array: Array) -> frozenset[str]:
    """Inside shard_map: the axes of the mesh along which an array may differ, where this version of JAX tracks them."""
    kind = jax.typeof(array) if hasattr(jax, "typeof") else None
    kind = getattr(kind, "manual_axis_type", kind)
    axes: frozenset[str] = getattr(kind, "varying", getattr(kind, "vma", frozenset()))
    return axes


def _varied(array: Array, axes: frozenset[str]) -> Array:
    missing = tuple(axes - _varying(array))
    if not missing:
        return array
    lax: Any = jax.lax  # which of the two it has depends on its version
    return lax.pcast(array, missing, to="varying") if hasattr(lax, "pcast") else lax.pvary(array, missing)


def _wide(dtype: Any) -> Any:
    """The dtype of the kernels' losses."""
    return jnp.promote_types(dtype, jnp.float32)


# ------------------------------------------------------------------------------------- derivatives of any of the losses
#
# A loss is a function of logits x, differentiable, and of something beside them: labels, or a mask, or None. Its
# gradient is a kernel too. What is below makes derivatives of any order of the two.


class _Loss:
    """What a loss is: a value, its gradient, and the derivatives of both that no kernel has."""

    def value(self, x: Array, beside: Array) -> Array:
        raise NotImplementedError

    def gradient(self, x: Array, beside: Array, upstream: Array) -> Array:
        raise NotImplementedError

    def slope(self, x: Array, beside: Array) -> Array:
        """Derivative of an element's contribution with respect to its label."""
        raise NotImplementedError

    def second(self, x: Array, beside: Array, upstream: Array, dx: Array, dbeside: Array) -> Array:
        """How the gradient changes with x and the labels; either change may be None."""
        raise NotImplementedError

    def total(self, elements: Array) -> Array:
        """Elements to losses."""
        raise NotImplementedError

    def spread(self, losses: Array) -> Array:
        """Losses to elements."""
        raise NotImplementedError


def _change(tangent: Any) -> Any:
    """A tangent, or None where it is zero."""
    zero = tangent is None or isinstance(tangent, _SymbolicZero) or tangent.dtype == jax.dtypes.float0
    return None if zero else tangent


_SymbolicZero: Any = jax.custom_derivatives.SymbolicZero


def _value_of(loss: _Loss, x: Array, beside: Array) -> Array:
    return loss.value(x, beside)


def _gradient_of(loss: _Loss, x: Array, beside: Array, upstream: Array) -> Array:
    return loss.gradient(x, beside, upstream)


_value: Any = jax.custom_jvp(_value_of, nondiff_argnums=(0,))
_gradient: Any = jax.custom_jvp(_gradient_of, nondiff_argnums=(0,))


def _value_jvp(loss: _Loss, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, beside = primals
    dx, dbeside = map(_change, tangents)
    value = _value(loss, x, beside)
    change = jnp.zeros_like(value)
    if dx is not None:
        change += loss.total(_gradient(loss, x, beside, jnp.ones_like(value)) * dx).astype(value.dtype)
    if dbeside is not None:
        change += loss.total(loss.slope(x, beside) * dbeside).astype(value.dtype)
    return value, change


def _gradient_jvp(loss: _Loss, primals: Any, tangents: Any) -> tuple[Array, Array]:
    x, beside, upstream = primals
    dx, dbeside, dupstream = map(_change, tangents)
    gradient = _gradient(loss, x, beside, upstream)
    change = jnp.zeros_like(gradient)
    if dupstream is not None:
        unit = _gradient(loss, x, beside, jnp.ones_like(upstream))
        change += (loss.spread(dupstream) * unit).astype(gradient.dtype)
    if dx is not None or dbeside is not None:
        change += loss.second(x, beside, upstream, dx, dbeside).astype(gradient.dtype)
    return gradient, change


_value.defjvp(_value_jvp, symbolic_zeros=True)
_gradient.defjvp(_gradient_jvp, symbolic_zeros=True)

# The value with a backward pass that is the kernel of the gradient and keeps nothing but the arguments. From the jvp
# JAX would make one that keeps a gradient and multiplies it.
_loss_of: Any = jax.custom_vjp(_value_of, nondiff_argnums=(0,))


def _forward(loss: _Loss, x: Array, beside: Array) -> tuple[Array, Any]:
    return _value(loss, x, beside), (x, beside)


def _backward(loss: _Loss, saved: Any, upstream: Array) -> tuple[Array, Any]:
    x, beside = saved
    dx = _gradient(loss, x, beside, upstream)
    if beside is None or not jnp.issubdtype(beside.dtype, jnp.floating):
        return dx, None
    # Which XLA leaves out if nobody asked for it.
    return dx, (loss.spread(upstream) * loss.slope(x, beside)).astype(beside.dtype)


_loss_of.defvjp(_forward, _backward)


# ---------------------------------------------------------------------------------------------------------- the losses


@dataclass(frozen=True)
class _CrossEntropy(_Loss):
    """Labels are probabilities of the shape of x, or class indices of int32: -1 has log-sum-exp for a loss."""

    axis: int  # from the end, so that axes may come before
    smoothing: float

    def _options(self) -> dict[str, Any]:
        return {"axis": np.int64(self.axis), "label_smoothing": np.float64(self.smoothing)}

    def _losses(self, x: Array) -> tuple[tuple[int, ...], Any]:
        return _without(x.shape, self.axis), _wide(x.dtype)

    def value(self, x: Array, beside: Array) -> Array:
        (losses,) = _call("cross_entropy", [self._losses(x)], x, beside, **self._options())
        of_indices = beside.ndim != x.ndim
        return losses.astype(x.dtype if of_indices else jnp.promote_types(x.dtype, beside.dtype))

    def gradient(self, x: Array, beside: Array, upstream: Array) -> Array:
        results = [self._losses(x), (x.shape, x.dtype)]
        return _call("cross_entropy_gradient", results, x, beside, upstream, **self._options())[1]

    def slope(self, x: Array, beside: Array) -> Array:
        # A class at -inf is masked: 0 there, and not the infinity that a factor of 0 would turn into NaN.
        masked = x == -jnp.inf
        finite = jnp.where(jnp.all(masked, self.axis, keepdims=True), 0, x)
        return jnp.where(masked, 0, -(1 - self.smoothing) * jax.nn.log_softmax(finite, self.axis))

    def second(self, x: Array, beside: Array, upstream: Array, dx: Array, dbeside: Array) -> Array:
        # Of upstream (p T - t'), T the sum of the row's smoothed labels t'.
        x, upstream = x.astype(_wide(x.dtype)), self.spread(upstream)
        p = _gradient(_LogSumExp((self.axis,)), x, None, jnp.ones(_without(x.shape, self.axis), x.dtype))
        kept = 1 - self.smoothing
        change = jnp.zeros_like(x)
        if dx is not None:
            weight = 1 if beside.ndim != x.ndim else kept * self.spread(self.total(beside)) + self.smoothing
            change += weight * p * (dx - self.spread(self.total(p * dx)))
        if dbeside is not None:
            change += kept * (p * self.spread(self.total(dbeside)) - dbeside)
        return upstream * change

    def total(self, elements: Array) -> Array:
        return jnp.sum(elements, self.axis)

    def spread(self, losses: Array) -> Array:
        return jnp.expand_dims(losses, self.axis)


@dataclass(frozen=True)
class _BinaryCrossEntropy(_Loss):
    """Labels have the shape of x."""

    def value(self, x: Array, beside: Array) -> Array:
        (losses,) = _call("binary_cross_entropy", [(x.shape, _wide(x.dtype))], x, beside)
        return losses.astype(x.dtype)

    def gradient(self, x: Array, beside: Array, upstream: Array) -> Array:
        (gradient,) = _call("binary_cross_entropy_gradient", [(x.shape, x.dtype)], x, beside, upstream)
        return gradient

    def slope(self, x: Array, beside: Array) -> Array:
        return -x

    def second(self, x: Array, beside: Array, upstream: Array, dx: Array, dbeside: Array) -> Array:
        change = jnp.zeros_like(x)
        if dx is not None:
            change += jax.nn.sigmoid(x) * jax.nn.sigmoid(-x) * dx
        if dbeside is not None:
            change -= dbeside
        return upstream * change

    def total(self, elements: Array) -> Array:
        return elements

    def spread(self, losses: Array) -> Array:
        return losses


@dataclass(frozen=True)
class _LogSumExp(_Loss):
    """Beside x is a mask of as many axes, or None."""

    axes: tuple[int, ...]  # from the end

    def _call(self, name: str, results: Any, *operands: Array) -> Any:
        bits = sum(1 << (-axis - 1) for axis in self.axes)
        operands = tuple(operand for operand in operands if operand is not None)
        return _call(name, results, *operands, axes=np.int64(bits))

    def _values(self, x: Array) -> tuple[tuple[int, ...], Any]:
        return _without(x.shape, *self.axes), _wide(x.dtype)

    def value(self, x: Array, beside: Array) -> Array:
        (values,) = self._call("logsumexp", [self._values(x)], x, beside)
        return values.astype(x.dtype)

    def gradient(self, x: Array, beside: Array, upstream: Array) -> Array:
        if beside is not None:  # of a row that is masked out altogether it is 0, as in JAX
            upstream = jnp.where(jnp.any(jnp.broadcast_to(beside, x.shape), self.axes), upstream, 0)
        results = [self._values(x), (x.shape, x.dtype)]
        return self._call("logsumexp_gradient", results, x, upstream, beside)[1]

    def second(self, x: Array, beside: Array, upstream: Array, dx: Array, dbeside: Array) -> Array:
        p = _gradient(self, x, beside, jnp.ones_like(upstream))
        return self.spread(upstream) * p * (dx - self.spread(self.total(p * dx)))

    def total(self, elements: Array) -> Array:
        return jnp.sum(elements, self.axes)

    def spread(self, losses: Array) -> Array:
        return jnp.expand_dims(losses, sorted(self.axes))


def _without(shape: tuple[int, ...], *axes: int) -> tuple[int, ...]:
    dropped = {axis % len(shape) for axis in axes}
    return tuple(length for axis, length in enumerate(shape) if axis not in dropped)


# ----------------------------------------------------------------------------------------------------------- arguments


_FLOATS: tuple[np.dtype[Any], ...] = tuple(map(jnp.dtype, (jnp.float16, jnp.bfloat16, jnp.float32, jnp.float64)))


def _floating(x: ArrayLike, name: str) -> Array:
    x = jnp.asarray(x)
    if x.dtype not in _FLOATS:
        raise TypeError(f"{name}: got dtype {x.dtype}, expected float16, bfloat16, float32 or float64")
    return x


def _labels(labels: ArrayLike) -> Array:
    """Of a dtype that the kernels read: integers of less than a byte become int8 or uint8."""
    labels = jnp.asarray(labels)
    if jnp.issubdtype(labels.dtype, jnp.integer) and jnp.iinfo(labels.dtype).bits < 8:
        return labels.astype(jnp.int8 if jnp.issubdtype(labels.dtype, jnp.signedinteger) else jnp.uint8)
    return _floating(labels, "labels") if jnp.issubdtype(labels.dtype, jnp.floating) else labels


def _check_mask(mask: Array, logits: Array, axes: tuple[int, ...]) -> None:
    """Of classes, with as many axes as the logits, or of rows."""
    for shape in (logits.shape, _without(logits.shape, *axes)):
        if mask.ndim == len(shape) and all(n == m or 1 in (n, m) for n, m in zip(mask.shape, shape, strict=True)):
            return
    raise ValueError(
        f"where: got shape {mask.shape}, expected one that broadcasts with {logits.shape}, "
        "or with that without the class axes"
    )


def _from_end(axis: Any, ndim: int) -> tuple[int, ...]:
    """Axes counted from the end, each once; None: all."""
    axes = tuple(range(ndim)) if axis is None else tuple(axis) if isinstance(axis, Sequence) else (axis,)
    for one in axes:
        if not -ndim <= one < ndim:
            raise ValueError(f"axis: got {one} for an array with {ndim} dimensions")
    found = tuple(int(one) - ndim if one >= 0 else int(one) for one in axes)
    if len(set(found)) != len(found):
        raise ValueError(f"axis: got {axis}, expected every axis once")
    return found


def _fitting(logits: Array, labels: Array, axis: int | None) -> tuple[Array, Array]:
    """Both in the shape that they broadcast to; labels without `axis` if one is given."""
    wanted = logits.shape if axis is None else _without(logits.shape, axis)
    if wanted == labels.shape:
        return logits, labels
    try:
        shape = np.broadcast_shapes(wanted, labels.shape)
    except ValueError:
        raise ValueError(f"labels: got shape {labels.shape}, expected {wanted}") from None
    labels = jnp.broadcast_to(labels, shape)
    if axis is not None:
        place = len(shape) + 1 + axis
        shape = (*shape[:place], logits.shape[axis], *shape[place:])
    return jnp.broadcast_to(logits, shape), labels


def _class_indices(labels: Array, classes: int) -> tuple[Array, Array]:
    """Labels of int32 as the kernels take them, and which of them are classes. Negative ones count from the end."""
    if labels.dtype.itemsize < 4:
        labels = labels.astype(jnp.int32)
    labels = jnp.where(labels < 0, labels + classes, labels)
    valid = (labels >= 0) & (labels < classes)
    return jnp.where(valid, labels.astype(jnp.int32), _NO_CLASS), valid


def _one_class_axis(array: Array, shape: tuple[int, ...], axes: tuple[int, ...]) -> Array:
    """The array in `shape`, with those axes made one, the last."""
    others = [axis for axis in range(-len(shape), 0) if axis not in axes]
    moved = jnp.transpose(jnp.broadcast_to(array, shape), (*others, *axes))
    return moved.reshape(*moved.shape[: len(others)], -1)


def _take(array: Array, indices: Array, axis: int) -> Array:
    """One element a row; NaN where the index is none."""
    return jnp.take_along_axis(array, jnp.expand_dims(indices, axis), axis, mode="fill").squeeze(axis)


def _row_losses(axis: int, smoothing: float, logits: Array, labels: Array, mask: Array) -> Array:
    """Cross-entropy of rows, without its value for rows of which nothing is left."""
    classes = logits.shape[axis]
    if labels.ndim != logits.ndim:
        logits, labels = _fitting(logits, labels, axis)
        labels, valid = _class_indices(labels, classes)
        if mask is None:
            return _loss_of(_CrossEntropy(axis, smoothing), logits, labels) - jnp.where(valid, 0.0, jnp.nan)
        mask = jnp.broadcast_to(mask, logits.shape)
        places = jnp.where(valid, labels, classes)
        if smoothing == 0:
            # A class that is masked out is no part of the sum, but its own logit still counts.
            kept = valid & _take(mask.astype(jnp.float32), places, axis).astype(bool)
            losses = _loss_of(
                _CrossEntropy(axis, 0.0), jnp.where(mask, logits, -jnp.inf), jnp.where(kept, labels, _NO_CLASS)
            )
            return losses - jnp.where(kept, 0, _take(logits, places, axis))
        labels = jax.nn.one_hot(places, classes, dtype=logits.dtype, axis=axis)
        labels = jnp.where(jnp.expand_dims(valid, axis), labels, jnp.nan)
    logits, labels = _fitting(logits, labels, None)
    if mask is not None:
        if smoothing != 0:
            labels = (1 - smoothing) * labels.astype(_wide(logits.dtype)) + smoothing / classes
        logits, labels, smoothing = jnp.where(mask, logits, -jnp.inf), jnp.where(mask, labels, 0), 0.0
    return _loss_of(_CrossEntropy(axis, smoothing), logits, labels)


def _cross_entropy_of(axes: tuple[int, ...], smoothing: float, logits: Array, labels: Array, where: Array) -> Array:
    of_indices = labels.ndim != logits.ndim
    dtype = logits.dtype if of_indices else jnp.promote_types(logits.dtype, labels.dtype)
    if where is not None and where.ndim != logits.ndim:
        where = jnp.expand_dims(where, axes)
    if len(axes) != 1:
        shape = logits.shape
        logits = _one_class_axis(logits, shape, axes)
        labels = labels if of_indices else _one_class_axis(labels, shape, axes)
        where = None if where is None else _one_class_axis(where, shape, axes)
        axes = (-1,)
    (axis,) = axes
    of_rows = where is not None and where.shape[axis] == 1
    losses = _row_losses(axis, smoothing, logits, labels, None if of_rows else where).astype(dtype)
    return losses if where is None else jnp.where(jnp.any(where, axis), losses, 0)


def _binary_cross_entropy_of(logits: Array, labels: Array) -> Array:
    if jnp.issubdtype(labels.dtype, jnp.floating):
        labels = labels.astype(logits.dtype)
    return _loss_of(_BinaryCrossEntropy(), *_fitting(logits, labels, None))


def _logsumexp_of(axes: tuple[int, ...], keepdims: bool, a: Array, where: Array | None) -> Array:
    if where is not None:
        shape = np.broadcast_shapes(a.shape, where.shape)
        a = jnp.broadcast_to(a, shape)
        where = where.reshape((1,) * (a.ndim - where.ndim) + where.shape)
    values = _loss_of(_LogSumExp(axes), a, where)
    return jnp.expand_dims(values, sorted(axes)) if keepdims else values


# One compiled call each, where nobody compiles a larger function around it.
_cross_entropy: Any = jax.jit(_cross_entropy_of, static_argnums=(0, 1), inline=True)
_binary_cross_entropy: Any = jax.jit(_binary_cross_entropy_of, inline=True)
_logsumexp: Any = jax.jit(_logsumexp_of, static_argnums=(0, 1), inline=True)


# ----------------------------------------------------------------------------------------------------- public functions


def cross_entropy(
    logits: ArrayLike,
    labels: ArrayLike,
    *,
    axis: int | tuple[int, ...] | None = -1,
    where: ArrayLike | None = None,
    label_smoothing: float = 0.0,
) -> Array:
    """Softmax cross-entropy of each row, in nats, from class indices or probabilities.

    With L the log-sum-exp of a row of C logits z and e the smoothing:

        class indices        (1-e) (L - z_y) + (e/C) sum_j (L - z_j)
        class probabilities  sum_j ((1-e) t_j + e/C) (L - z_j)

    The first is ``optax.softmax_cross_entropy_with_integer_labels``, the second ``optax.softmax_cross_entropy``, whose
    labels ``optax.smooth_labels`` may have made. Rows that are all but certain keep a loss and a gradient: a target
    that leads by 40 costs 4e-18, not 0.

    Parameters
    ----------
    logits : array of floats
        Rows of logits along `axis`.
    labels : array
        Class indices: integers, of the shape of `logits` without `axis`. Negative ones count from the end; one that is
        still no class gives NaN. Or probabilities of any real dtype, with as many axes as `logits`.
    axis : int, tuple of ints or None
        The class axis. Several are taken together; an index counts through them, the last running fastest. None: all.
    where : array of bools, optional
        What counts: classes, with as many axes as `logits`; or rows, without the class axis. A class that does not
        count is no part of the sum, and the loss of a row without any is 0. The logit of a class index counts always.
    label_smoothing : float
        e in [0, 1]; a Python number.

    Returns
    -------
    jax.Array
        One loss a row, of the dtype of `logits` (probabilities: of what it and theirs promote to).

    Raises
    ------
    TypeError
        Logits that are no floats; labels that are neither of the two.
    ValueError
        Shapes, an axis or a smoothing that do not fit.

    Notes
    -----
    Differentiable with respect to `logits` and probabilities, in reverse mode, to any order. `where` with classes makes
    a copy of the logits, with rows it makes none.

    Examples
    --------
    >>> import jax
    >>> import jax.numpy as jnp
    >>> from logitloss.jax import cross_entropy
    >>> logits, labels = jnp.array([[2.0, 1.0, 0.0], [0.0, 30.0, 0.0]]), jnp.array([0, 1])
    >>> print(cross_entropy(logits, labels))
    [4.0760595e-01 1.8715247e-13]
    >>> print(jax.jit(jax.grad(lambda z: cross_entropy(z, labels).mean()))(logits))
    [[-1.6737951e-01  1.2236423e-01  4.5015287e-02]
     [ 4.6788118e-14 -9.3576236e-14  4.6788118e-14]]
    """
    logits, labels = _floating(logits, "logits"), _labels(labels)
    axes = _from_end(axis, logits.ndim)
    if labels.ndim != logits.ndim and not (
        labels.ndim == logits.ndim - len(axes) and jnp.issubdtype(labels.dtype, jnp.integer)
    ):
        raise TypeError(
            f"labels: got {labels.dtype} of shape {labels.shape} for logits of shape {logits.shape}, expected class "
            "indices, integers without the class axis, or probabilities of as many dimensions as the logits"
        )
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing: got {label_smoothing}, expected a number in [0, 1]")
    mask = _mask(where)
    if mask is not None:
        _check_mask(mask, logits, axes)
        if mask.ndim == logits.ndim:  # logits that a mask makes larger
            logits = jnp.broadcast_to(logits, np.broadcast_shapes(mask.shape, logits.shape))
    return _cross_entropy(axes, float(label_smoothing), logits, labels, mask)


def binary_cross_entropy(logits: ArrayLike, labels: ArrayLike) -> Array:
    """Binary cross-entropy of each logit, in nats: ``optax.sigmoid_binary_cross_entropy``.

    For logits x and labels t in [0, 1]:

        t softplus(-x) + (1-t) softplus(x)

    Both ends keep a loss and a gradient: x = -40 and t = 0 give 4.2e-18.

    Parameters
    ----------
    logits : array of floats
    labels : array
        Of any real dtype; broadcasts with `logits`.

    Returns
    -------
    jax.Array
        One loss an element, of the dtype of `logits`.

    Raises
    ------
    TypeError
        Logits that are no floats.
    ValueError
        Shapes that do not broadcast.

    Notes
    -----
    Differentiable with respect to both, in reverse mode, to any order.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from logitloss.jax import binary_cross_entropy
    >>> print(binary_cross_entropy(jnp.array([0.0, -40.0]), jnp.array([1, 0])))
    [6.931472e-01 4.248354e-18]
    """
    return _binary_cross_entropy(_floating(logits, "logits"), _labels(labels))


def logsumexp(
    a: ArrayLike,
    axis: int | Sequence[int] | None = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
    where: ArrayLike | None = None,
) -> Any:
    """Logarithm of the sum of exponentials, ``log sum_j exp(a_j)``: ``jax.nn.logsumexp``.

    Parameters
    ----------
    a : array
        Integers and bools become floats.
    axis : int, sequence of ints or None
        What is summed over. None: everything.
    b : array, optional
        Weights of the exponentials. With them, with `return_sign` or with complex numbers this is JAX's own function.
    keepdims : bool
        Whether the axes that are summed over stay, with length 1.
    return_sign : bool
        Whether the result is a pair, with the sign of the sum.
    where : array of bools, optional
        What is part of the sum; broadcasts with `a`.

    Returns
    -------
    jax.Array
        Of the dtype of `a`; -inf where nothing is summed.

    Raises
    ------
    ValueError
        An axis or a shape that does not fit.

    Notes
    -----
    Differentiable with respect to `a`, in reverse mode, to any order.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> from logitloss.jax import logsumexp
    >>> print(logsumexp(jnp.array([[1.0, 2.0], [0.0, -jnp.inf]]), axis=-1))
    [2.3132617 0.       ]
    """
    a = jnp.asarray(a)
    if b is not None or return_sign or jnp.issubdtype(a.dtype, jnp.complexfloating):
        return jax.nn.logsumexp(a, axis, b, keepdims, return_sign, where)
    if not jnp.issubdtype(a.dtype, jnp.floating):
        a = a.astype(jnp.result_type(a, 1.0))
    return _logsumexp(_from_end(axis, a.ndim), bool(keepdims), a, _mask(where))


def _mask(where: ArrayLike | None) -> Array | None:
    return None if where is None else jnp.asarray(where, bool)
