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
    where: ArrayLike | None = None,
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
    where : array_like of bool, optional
        Which elements are summed; broadcasts to the shape of `a` (with `b`: of both). The others are not read, and the
        result has the bits that it would have with ``-inf`` in their place, or with `b` a weight of 0.
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
        For masked, complex, longdouble, object and text arrays, and a `where` that is not of bools.
    ValueError
        If `a` and `b` do not broadcast against each other or `where` not to their shape, `out` does not fit or overlaps
        another argument, or an axis is named twice.
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
    >>> print(ll.logsumexp([0.0, 0.0, np.nan], where=[True, True, False]))  # log 2
    0.6931471805599453
    """
    return _core.logsumexp(a, axis, b, keepdims, return_sign, where, out, num_threads)


def logmeanexp(
    a: ArrayLike,
    axis: Axes = None,
    b: ArrayLike | None = None,
    keepdims: bool = False,
    *,
    where: ArrayLike | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Logarithm of a mean of exponentials, ``log(sum_j exp(a_j) / n)``, in nats.

    Parameters
    ----------
    a : array_like
        As for `logsumexp`.
    axis : int, tuple of int or None
        Axes to take the mean over; None, the default, is all of them.
    b : array_like, optional
        Weights, as in `logsumexp`: ``log(sum_j b_j exp(a_j) / n)``. The mean is that of ``b * exp(a)``, so n counts
        elements of any weight, those of 0 too. A negative mean is NaN.
    keepdims : bool
        Keep the reduced axes with length 1.
    where : array_like of bool, optional
        Which elements the mean is taken of, as in `logsumexp`; n is their number.
    out : ndarray, optional
        Where to write the result: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    ndarray or NumPy scalar
        float64 for float64 input, otherwise float32. With m the largest element, within 1 ulp (float32) or 1.5 ulp
        (float64) of the true value where that is at least 1 in magnitude, and elsewhere of the larger of its size and
        its distance from m: no difference of two logarithms is rounded, and equal elements give themselves. (With `b`
        it may be a few ulp where these are below 1e-13.) No element: NaN, as the mean of nothing is, but without a
        warning. All ``-inf``: ``-inf``. With ``+inf``: ``+inf``. With NaN: NaN.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `logsumexp`.

    Notes
    -----
    Arguments and meaning are those of `scipy.special.logsumexp` and, for `where`, of `numpy.mean`. It is
    ``logsumexp(a, b=1 / n)``.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.logmeanexp([1000.0, 1000.0]))
    1000.0
    >>> print(ll.logmeanexp([0.0, 1e-8]))
    5.0000000125e-09
    """
    return _core.logmeanexp(a, axis, b, keepdims, where, out, num_threads)


def logsumexp_value_and_grad(
    a: ArrayLike,
    axis: Axes = -1,
    *,
    where: ArrayLike | None = None,
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
    where : array_like of bool, optional
        Which elements count, as in `logsumexp`; the gradient of the others is 0, as at ``-inf``.
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
    return _core.logsumexp_value_and_grad(a, axis, where, upstream, grad_out, num_threads)


def softmax(
    x: ArrayLike,
    axis: Axes = None,
    *,
    where: ArrayLike | None = None,
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
    where : array_like of bool, optional
        Which classes there are; broadcasts to the shape of `x`. The others are not read, and the result has the bits
        that it would have with ``-inf`` in their place: 0 there.
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
    return _core.softmax(x, axis, where, out, num_threads)


def log_softmax(
    x: ArrayLike,
    axis: Axes = None,
    *,
    where: ArrayLike | None = None,
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
    where : array_like of bool, optional
        Which classes there are; broadcasts to the shape of `x`. The others are not read, and the result has the bits
        that it would have with ``-inf`` in their place: ``-inf`` there.
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
    return _core.log_softmax(x, axis, where, out, num_threads)


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
