"""Log-sum-exp, softmax, log-softmax and their gradients."""

from __future__ import annotations

from typing import Any

from numpy.typing import ArrayLike

from . import _core
from ._types import Array, ArrayOrScalar, Axes


def logsumexp(
    a: ArrayLike,
    axis: Axes = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    return_sign: bool = False,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> Any:
    """Logarithm of a sum of exponentials, ``log(sum_j exp(a_j))``, in nats.

    Parameters
    ----------
    a : array_like
        Any shape. float16, bfloat16, float32 and float64 are read where they lie; integers and booleans become
        float64.
    axis : int, tuple of int or None
        Axes to sum over; None, the default, is all of them.
    b : array_like, optional
        Weights, ``log(sum_j b_j exp(a_j))``; `a` and `b` broadcast against each other and are promoted together. A
        weight of 0 removes its element, even NaN or infinity. An element at ``-inf`` adds nothing, also with an
        infinite weight; other elements with one make an infinite sum of the weight's sign, infinite terms of both signs
        make NaN, and so does a weight of NaN.
    keepdims : bool
        Keep the reduced axes with length 1.
    return_sign : bool
        Return the pair ``(log(abs(sum)), sign)``. Without it a negative sum is NaN.
    out : ndarray, optional
        Where to write the result: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray or NumPy scalar
        float64 for float64 input, otherwise float32. Within 1 ulp (float32) or 1.5 ulp (float64) of the true value
        where that is at least 1 in magnitude. All ``-inf``, or nothing: ``-inf``. With ``+inf``: ``+inf``. With NaN:
        NaN.

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        If `a` and `b` do not broadcast against each other, `out` does not fit or overlaps `a` or `b`, or an axis is
        named twice.
    numpy.exceptions.AxisError
        If an axis is out of range.

    Notes
    -----
    Arguments and meaning are those of `scipy.special.logsumexp`.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> print(ll.logsumexp(np.log([1.0, 2.0, 3.0])))  # log 6
    1.791759469228055
    >>> print(ll.logsumexp([1000.0, 1000.0]))  # 1000 + log 2
    1000.6931471805599
    """
    return _core.logsumexp(a, axis, b, keepdims, return_sign, out, num_threads)


def logsumexp_value_and_grad(
    a: ArrayLike,
    axis: Axes = -1,
    *,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
    num_threads: int | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]:
    """Log-sum-exp and its gradient ``upstream * softmax(a)``, in one pass over memory.

    Parameters
    ----------
    a : array_like
        As for `logsumexp`.
    axis : int, tuple of int or None
        Axes to sum over.
    upstream : array_like, optional
        Multiplies the gradient; broadcasts to the value's shape.
    grad_out : ndarray, optional
        Where to write the gradient: shape and dtype of `a`; may be `a` itself.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    value : ndarray or NumPy scalar
        As from `logsumexp`.
    grad : ndarray
        Shape and dtype of `a`. Exactly 0 at ``-inf``; NaN in a row of only ``-inf``, or with ``+inf`` or NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `logsumexp`.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> value, grad = ll.logsumexp_value_and_grad(np.log([1.0, 1.0, 2.0]))
    >>> print(value, grad)
    1.3862943611198906 [0.25 0.25 0.5 ]
    """
    return _core.logsumexp_value_and_grad(a, axis, upstream, grad_out, num_threads)


def softmax(
    x: ArrayLike,
    axis: Axes = None,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Softmax, ``exp(x_j) / sum_k exp(x_k)``.

    Parameters
    ----------
    x : array_like
        Any shape; integers and booleans become float64.
    axis : int, tuple of int or None
        Class axes; None, the default, is all of them.
    out : ndarray, optional
        Where to write the result; may be `x` itself.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray
        Shape and dtype of `x`. ``-inf`` gives exactly 0; rows of only ``-inf``, or with ``+inf`` or NaN, are NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `logsumexp`.

    Notes
    -----
    Arguments and meaning are those of `scipy.special.softmax`.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> print(ll.softmax(np.log([1.0, 1.0, 2.0])))
    [0.25 0.25 0.5 ]
    """
    return _core.softmax(x, axis, out, num_threads)


def log_softmax(
    x: ArrayLike,
    axis: Axes = None,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Logarithm of softmax, ``x_j - log(sum_k exp(x_k))``, in nats.

    Parameters
    ----------
    x : array_like
        Any shape; integers and booleans become float64.
    axis : int, tuple of int or None
        Class axes; None, the default, is all of them.
    out : ndarray, optional
        Where to write the result; may be `x` itself.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray
        Shape and dtype of `x`. A class that outweighs all others keeps its relative accuracy: where it leads by 20,
        the result is -2e-09 per other class and not 0.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `logsumexp`.

    Notes
    -----
    Arguments and meaning are those of `scipy.special.log_softmax`.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.log_softmax([40.0, 0.0]))
    [-4.24835426e-18 -4.00000000e+01]
    """
    return _core.log_softmax(x, axis, out, num_threads)


def softmax_vjp(
    y: ArrayLike,
    dy: ArrayLike,
    axis: Axes = -1,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Vector-Jacobian product of softmax, ``y_j (dy_j - sum_k y_k dy_k)``.

    Parameters
    ----------
    y : array_like
        What `softmax` returned.
    dy : array_like
        Gradient with respect to `y`: its shape, any real dtype.
    axis : int, tuple of int or None
        The axes that `softmax` was called with.
    out : ndarray, optional
        Where to write the result; may be `y` or `dy` itself.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray
        Shape and dtype of `y`; 0 at a masked class, whose `y` is 0, whatever `dy` holds there.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `logsumexp`; ValueError also if `dy` has another shape than `y`.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.softmax_vjp([0.25, 0.25, 0.5], [1.0, 0.0, 0.0]))
    [ 0.1875 -0.0625 -0.125 ]
    """
    return _core.softmax_vjp(y, dy, axis, out, num_threads)


def log_softmax_vjp(
    y: ArrayLike,
    dy: ArrayLike,
    axis: Axes = -1,
    *,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Vector-Jacobian product of log-softmax, ``dy_j - exp(y_j) sum_k dy_k``.

    Parameters
    ----------
    y : array_like
        What `log_softmax` returned.
    dy : array_like
        Gradient with respect to `y`: its shape, any real dtype.
    axis : int, tuple of int or None
        The axes that `log_softmax` was called with.
    out : ndarray, optional
        Where to write the result; may be `y` or `dy` itself.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray
        Shape and dtype of `y`; 0 at a masked class, whose `y` is ``-inf``.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `softmax_vjp`.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> print(ll.log_softmax_vjp(np.log([0.25, 0.25, 0.5]), [1.0, 0.0, 0.0]))
    [ 0.75 -0.25 -0.5 ]
    """
    return _core.log_softmax_vjp(y, dy, axis, out, num_threads)
