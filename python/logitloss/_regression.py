"""Losses of regression and their gradients: squared, absolute and root mean squared error, Poisson loss of counts."""

from __future__ import annotations

from numpy.typing import ArrayLike

from . import _core
from ._types import Array, ArrayOrScalar, Reduction


def mean_squared_error(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Mean squared error of predictions.

        ``sum_i w_i (pred_i - target_i)^2 / sum_i w_i``

    In the square of the unit of `pred`. Differences and squares are float64, so a float32 loss is rounded once.

    Parameters
    ----------
    pred : array_like
        Predictions, any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        Shape of `pred`, any real dtype.
    weight : array_like, optional
        w; broadcasts to `pred` without a copy. An element of weight 0 counts as 0, whatever it holds.
    reduction : {"mean", "sum", "none"}
        The mean divides by the sum of the weights, or by the number of elements without them; NaN if that is 0.
    out : ndarray, optional
        Where to write the loss: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    NumPy scalar or ndarray
        The loss, float64 for float64 predictions and float32 otherwise; of the shape of `pred` for "none".

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        For shapes and option values that do not fit; if `out` overlaps another argument.

    Notes
    -----
    Weights and mean are those of `sklearn.metrics.mean_squared_error` and, since version 2.7, of
    `torch.nn.functional.mse_loss`.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.mean_squared_error([1.0, 0.0], [2, 3]))
    5.0
    >>> print(ll.mean_squared_error([1.0, 0.0], [2, 3], weight=[3, 1]))
    3.0
    """
    return _core.mean_squared_error(pred, target, weight, reduction, out, num_threads)


def mean_squared_error_value_and_grad(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    out: Array | None = None,
    num_threads: int | None = None,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]:
    """Mean squared error and its gradient with respect to the predictions, in one pass over memory.

    The gradient is ``2 w_i (pred_i - target_i) / sum_i w_i``.

    Parameters
    ----------
    pred, target, weight, reduction, out, num_threads
        As for `mean_squared_error`.
    upstream : array_like, optional
        Multiplies the gradient: a scalar, or for reduction "none" an array that broadcasts to the shape of the loss.
    grad_out : ndarray, optional
        Where to write the gradient: shape and dtype of `pred`. It may be `pred` itself.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `mean_squared_error`.
    grad : ndarray
        d loss / d pred, shape and dtype of `pred`; for reduction "none" of the loss of each element. 0 for a mean
        whose weights sum to 0.

    Raises
    ------
    TypeError, ValueError
        As `mean_squared_error`. Nothing is written if anything is raised.

    Examples
    --------
    >>> import logitloss as ll
    >>> loss, grad = ll.mean_squared_error_value_and_grad([1.0, 0.0], [2, 3])
    >>> print(loss, grad)
    5.0 [-1. -3.]
    """
    return _core.mean_squared_error_value_and_grad(
        upstream, grad_out, pred, target, weight, reduction, out, num_threads
    )


def mean_absolute_error(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Mean absolute error of predictions.

        ``sum_i w_i |pred_i - target_i| / sum_i w_i``

    In the unit of `pred`. Differences are float64, so a float32 loss is rounded once.

    Parameters
    ----------
    pred : array_like
        Predictions, any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        Shape of `pred`, any real dtype.
    weight : array_like, optional
        w; broadcasts to `pred` without a copy. An element of weight 0 counts as 0, whatever it holds.
    reduction : {"mean", "sum", "none"}
        The mean divides by the sum of the weights, or by the number of elements without them; NaN if that is 0.
    out : ndarray, optional
        Where to write the loss: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    NumPy scalar or ndarray
        The loss, float64 for float64 predictions and float32 otherwise; of the shape of `pred` for "none".

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        For shapes and option values that do not fit; if `out` overlaps another argument.

    Notes
    -----
    Weights and mean are those of `sklearn.metrics.mean_absolute_error`; without weights also
    `torch.nn.functional.l1_loss`.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.mean_absolute_error([1.0, 0.0], [2, 3]))
    2.0
    >>> print(ll.mean_absolute_error([1.0, 0.0], [2, 3], reduction="none"))
    [1. 3.]
    """
    return _core.mean_absolute_error(pred, target, weight, reduction, out, num_threads)


def mean_absolute_error_value_and_grad(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    out: Array | None = None,
    num_threads: int | None = None,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]:
    """Mean absolute error and its gradient with respect to the predictions, in one pass over memory.

    The gradient is ``w_i sign(pred_i - target_i) / sum_i w_i``; of an error of 0 it is 0.

    Parameters
    ----------
    pred, target, weight, reduction, out, num_threads
        As for `mean_absolute_error`.
    upstream : array_like, optional
        Multiplies the gradient: a scalar, or for reduction "none" an array that broadcasts to the shape of the loss.
    grad_out : ndarray, optional
        Where to write the gradient: shape and dtype of `pred`. It may be `pred` itself.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `mean_absolute_error`.
    grad : ndarray
        d loss / d pred, shape and dtype of `pred`; for reduction "none" of the loss of each element. 0 for a mean
        whose weights sum to 0.

    Raises
    ------
    TypeError, ValueError
        As `mean_absolute_error`. Nothing is written if anything is raised.

    Examples
    --------
    >>> import logitloss as ll
    >>> loss, grad = ll.mean_absolute_error_value_and_grad([1.0, 5.0, 0.0], [2, 5, -7], reduction="sum")
    >>> print(loss, grad)
    8.0 [-1.  0.  1.]
    """
    return _core.mean_absolute_error_value_and_grad(
        upstream, grad_out, pred, target, weight, reduction, out, num_threads
    )


def root_mean_squared_error(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Root mean squared error of predictions.

        ``sqrt(sum_i w_i (pred_i - target_i)^2 / sum_i w_i)``

    In the unit of `pred`. Squares that leave the range of float64 do no harm: errors of 1e-200 have a root mean
    square of 1e-200.

    Parameters
    ----------
    pred : array_like
        Predictions, any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        Shape of `pred`, any real dtype.
    weight : array_like, optional
        w; broadcasts to `pred` without a copy. An element of weight 0 counts as 0, whatever it holds.
    out : ndarray, optional
        Where to write the loss: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    NumPy scalar
        The loss, float64 for float64 predictions and float32 otherwise.

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        For shapes and option values that do not fit; if `out` overlaps another argument.

    Notes
    -----
    Weights and mean are those of `sklearn.metrics.root_mean_squared_error` for a single output.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.root_mean_squared_error([1.0, 0.0], [2, 7]))
    5.0
    >>> print(ll.root_mean_squared_error([4e-200, 0, 0, 0], [0, 0, 0, 0]))
    2e-200
    """
    return _core.root_mean_squared_error(pred, target, weight, "mean", out, num_threads)


def root_mean_squared_error_value_and_grad(
    pred: ArrayLike,
    target: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]:
    """Root mean squared error and its gradient with respect to the predictions, in two passes over memory.

    The gradient is ``w_i (pred_i - target_i) / (loss sum_i w_i)``; where the loss is 0 it is 0.

    Parameters
    ----------
    pred, target, weight, out, num_threads
        As for `root_mean_squared_error`.
    upstream : array_like, optional
        Multiplies the gradient: a scalar.
    grad_out : ndarray, optional
        Where to write the gradient: shape and dtype of `pred`. It may be `pred` itself.

    Returns
    -------
    loss : NumPy scalar
        As from `root_mean_squared_error`.
    grad : ndarray
        d loss / d pred, shape and dtype of `pred`. 0 for a mean whose weights sum to 0.

    Raises
    ------
    TypeError, ValueError
        As `root_mean_squared_error`. Nothing is written if anything is raised.

    Examples
    --------
    >>> import logitloss as ll
    >>> loss, grad = ll.root_mean_squared_error_value_and_grad([1.0, 0.0], [2, 7])
    >>> print(loss, grad)
    5.0 [-0.1 -0.7]
    """
    return _core.root_mean_squared_error_value_and_grad(
        upstream, grad_out, pred, target, weight, "mean", out, num_threads
    )


def poisson_nll(
    log_rate: ArrayLike,
    target: ArrayLike,
    *,
    full: bool = False,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Negative log-likelihood of counts under Poisson distributions, from the logarithms of their rates.

        ``sum_i w_i (exp(x_i) - t_i x_i) / sum_i w_i``

    In nats, for log-rates x and targets t. `full` adds Stirling's approximation of ``log(t!)``,
    ``t log(t) - t + log(2 pi t) / 2``, where t > 1. Computed in float64, so a float32 loss is rounded once.

    Parameters
    ----------
    log_rate : array_like
        x: logarithms of the rates, any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        t: counts, shape of `log_rate`, any real dtype. They need not be whole.
    full : bool, optional
        Whether to add the part of the likelihood that does not depend on the rate.
    weight : array_like, optional
        w; broadcasts to `log_rate` without a copy. An element of weight 0 counts as 0, whatever it holds.
    reduction : {"mean", "sum", "none"}
        The mean divides by the sum of the weights, or by the number of elements without them; NaN if that is 0.
    out : ndarray, optional
        Where to write the loss: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    NumPy scalar or ndarray
        The loss, float64 for float64 log-rates and float32 otherwise; of the shape of `log_rate` for "none". A log-rate
        of -inf has loss 0 beside a target of 0 and +inf beside any other.

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        For shapes and option values that do not fit; if `out` overlaps another argument; for a target that is negative,
        infinite or NaN and whose weight is not 0, by its index.

    Notes
    -----
    The meaning is that of `torch.nn.functional.poisson_nll_loss` with ``log_input=True``, which takes any target.
    scikit-learn's `PoissonRegressor` minimises the mean without `full`, and refuses negative targets, too.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.poisson_nll([0.0, 0.0], [1, 3]))
    1.0
    >>> print(ll.poisson_nll([0.0, 0.0], [1, 3], full=True, reduction="none"))
    [1.         2.76408154]
    """
    return _core.poisson_nll(full, log_rate, target, weight, reduction, out, num_threads)


def poisson_nll_value_and_grad(
    log_rate: ArrayLike,
    target: ArrayLike,
    *,
    full: bool = False,
    weight: ArrayLike | None = None,
    reduction: Reduction = "mean",
    out: Array | None = None,
    num_threads: int | None = None,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]:
    """Poisson negative log-likelihood and its gradient with respect to the log-rates, in one pass over memory.

    The gradient is ``w_i (exp(x_i) - t_i) / sum_i w_i``, with or without `full`.

    Parameters
    ----------
    log_rate, target, full, weight, reduction, out, num_threads
        As for `poisson_nll`.
    upstream : array_like, optional
        Multiplies the gradient: a scalar, or for reduction "none" an array that broadcasts to the shape of the loss.
    grad_out : ndarray, optional
        Where to write the gradient: shape and dtype of `log_rate`. It may be `log_rate` itself.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `poisson_nll`.
    grad : ndarray
        d loss / d log_rate, shape and dtype of `log_rate`; for reduction "none" of the loss of each element. 0 for a
        mean whose weights sum to 0.

    Raises
    ------
    TypeError, ValueError
        As `poisson_nll`. Nothing is written if anything is raised.

    Examples
    --------
    >>> import logitloss as ll
    >>> loss, grad = ll.poisson_nll_value_and_grad([0.0, 0.0], [1, 3])
    >>> print(loss, grad)
    1.0 [ 0. -1.]
    """
    return _core.poisson_nll_value_and_grad(
        upstream, grad_out, full, log_rate, target, weight, reduction, out, num_threads
    )
