"""Losses on probabilities: cross-entropy and binary cross-entropy after a softmax or sigmoid of the model's own."""

from __future__ import annotations

from numpy.typing import ArrayLike

from . import _core
from ._types import Array, ArrayOrScalar, Reduction


def cross_entropy_from_probs(
    probs: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    eps: float | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Cross-entropy between rows of probabilities p and class indices or class probabilities, in nats.

    The loss of a row of C classes is

        ``sum_j a_j (-log q_j)``,  ``a_j = w_j ((1-e) t_j + e/C)``,

    times the sample weight, with t one-hot for a class index, e the smoothing and w the class weights. Without `eps` q
    is p as it is given; with it, ``p / sum(p)`` clipped to ``[eps, 1-eps]``. Where the logits are at hand,
    `cross_entropy` is faster and keeps digits that a probability near 1 has lost.

    Parameters
    ----------
    probs : array_like
        Probabilities, any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        Class indices of an integer dtype and of the shape of `probs` without `axis`, or class probabilities of any
        real dtype and of the shape of `probs`; these need not sum to 1. A row whose coefficients a are all 0 counts as
        0, whatever its probabilities are.
    axis : int
        Class axis of `probs`.
    eps : float, optional
        In [0, 0.5): rows are divided by their sum, and clipped to ``[eps, 1-eps]`` in float32, in float64 for float64
        probabilities; Keras has 1e-7. None, the default: true values, infinities included.
    class_weight : array_like, optional
        w, one per class. May be negative. Without smoothing, a row whose class index has weight 0 is not read.
    sample_weight : array_like, optional
        Multiplies the loss of each row; broadcasts to the shape of `probs` without `axis`. A row of weight 0 is not
        read.
    ignore_index : int or None
        Class index of rows that are not read and count as 0. None: no row is ignored.
    label_smoothing : float
        e, in [0, 1].
    reduction : {"mean", "sum", "none"}
        The mean divides by the sum over rows that are not ignored of ``sample_weight * w_y`` (probabilities: of
        ``sample_weight``); NaN if that is 0.
    normalizer : float, optional
        > 0: divides the sum instead. Not with "none".
    out : ndarray, optional
        Where to write the loss: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    NumPy scalar or ndarray
        The loss, float64 for float64 probabilities and float32 otherwise; per row, of the shape of `probs` without
        `axis`, for "none". Without `eps` a target of probability 0 has loss ``+inf``.

    Raises
    ------
    TypeError
        For class indices that are no integers, and for masked, complex, longdouble, object and text arrays.
    ValueError
        Without `eps`, for a probability outside [0, 1] or NaN in a row that is read and has a coefficient that is not
        0, naming the first. For a label outside [0, C) that is not `ignore_index`; for shapes and option values that do
        not fit; if `out` overlaps another argument.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    With `eps` the meaning is that of Keras's `CategoricalCrossentropy` and `SparseCategoricalCrossentropy` with
    ``from_logits=False``; weights, smoothing and the mean are those of `cross_entropy`. A row whose probabilities sum
    to 0 has no quotients: NaN. In float64 with `eps` and class probabilities, ``-log q`` of a q that is all but 1 is
    exact to 1e-15 and not to a relative 1e-14.

    Examples
    --------
    >>> import logitloss as ll
    >>> probs = [[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]]
    >>> print(ll.cross_entropy_from_probs(probs, [0, 1], reduction="none"))
    [0.35667494 0.22314355]
    >>> print(ll.cross_entropy_from_probs(probs, [[1, 0, 0], [0, 1, 0]]))  # one-hot
    0.28990924762647...
    >>> print(ll.cross_entropy_from_probs([1.0, 0.0], 1), ll.cross_entropy_from_probs([1.0, 0.0], 1, eps=1e-7))
    inf 16.118095650958...
    """
    return _core.cross_entropy_from_probs(
        eps,
        probs,
        target,
        axis,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        reduction,
        normalizer,
        out,
        num_threads,
    )


def cross_entropy_from_probs_value_and_grad(
    probs: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    eps: float | None = None,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, Array]:
    """Cross-entropy of probabilities p and its gradient with respect to them.

    Without `eps` the gradient is ``-a_j / p_j``, with the a of `cross_entropy_from_probs`. With `eps` it goes through
    the renormalisation, ``A / sum(p) - a_j / p_j``, where the second term is 0 if the class is clipped, and A is the
    sum of a over the classes that are not.

    Parameters
    ----------
    probs, target, axis, eps, class_weight, sample_weight, ignore_index, label_smoothing
        As for `cross_entropy_from_probs`.
    reduction, normalizer, out, num_threads
        As for `cross_entropy_from_probs`.
    upstream : array_like, optional
        Multiplies the gradient: a scalar, or for reduction "none" an array that broadcasts to the loss's shape.
    grad_out : ndarray, optional
        Where to write the gradient: shape and dtype of `probs`. It may be `probs` itself.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `cross_entropy_from_probs`.
    grad : ndarray
        d loss / d probs, shape and dtype of `probs`; for reduction "none" of each row's own loss. Exactly 0 in rows
        that are ignored or that a factor of 0 removes. Infinite only where the result is beyond the dtype: a subnormal
        probability, whose reciprocal is, has an ordinary gradient if a weight or the mean brings it back.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy_from_probs`. Nothing is written if anything is raised.

    Examples
    --------
    >>> import logitloss as ll
    >>> loss, grad = ll.cross_entropy_from_probs_value_and_grad([0.5, 0.25, 0.25], 0)
    >>> print(loss, grad + 0)
    0.6931471805599453 [-2.  0.  0.]
    >>> loss, grad = ll.cross_entropy_from_probs_value_and_grad([0.5, 0.25, 0.25], 0, eps=1e-7)
    >>> print(loss, grad)
    0.6931471805599453 [-1.  1.  1.]
    """
    return _core.cross_entropy_from_probs_value_and_grad(
        upstream,
        grad_out,
        eps,
        probs,
        target,
        axis,
        class_weight,
        sample_weight,
        ignore_index,
        label_smoothing,
        reduction,
        normalizer,
        out,
        num_threads,
    )


def binary_cross_entropy(
    probs: ArrayLike,
    target: ArrayLike,
    *,
    eps: float | None = None,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Binary cross-entropy of probabilities p against targets t, element by element, in nats.

        ``weight * (-t log(p) - (1-t) log(1-p))``

    Where the logits are at hand, `bce_with_logits` is faster and keeps digits that a probability near 1 has lost.

    Parameters
    ----------
    probs : array_like
        Probabilities, any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        Shape of `probs`, any real dtype: booleans, integers and floats are read as they are. In [0, 1], hard or
        soft.
    eps : float, optional
        In [0, 0.5): probabilities are clipped to ``[eps, 1-eps]`` in float32, in float64 for float64 probabilities;
        Keras has 1e-7. None, the default: true values, infinities included.
    weight : array_like, optional
        Multiplies the loss of each element; broadcasts to `probs` without a copy.
    label_smoothing : float
        e in [0, 1]: targets become ``(1-e) t + e/2``.
    ignore_value : float, optional
        Elements with this target count as 0.
    reduction : {"mean", "sum", "none"}
        The mean divides by the number of elements that are not ignored, not by weights; NaN if there are none.
    normalizer : float, optional
        > 0: divides the sum instead. Not with "none".
    out : ndarray, optional
        Where to write the loss: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    NumPy scalar or ndarray
        The loss, float64 for float64 probabilities and float32 otherwise; of the shape of `probs` for "none". A
        factor of 0 makes its term 0, so that p = 0 has loss 0 for t = 0 and ``+inf`` otherwise.

    Raises
    ------
    TypeError
        For masked, complex, longdouble, object and text arrays.
    ValueError
        Without `eps`, for a probability outside [0, 1] or NaN that is neither ignored nor of weight 0, naming the
        first. For shapes and option values that do not fit; if `out` overlaps another argument.

    Notes
    -----
    With `eps` the meaning is that of Keras's `BinaryCrossentropy` with ``from_logits=False``. PyTorch's
    `binary_cross_entropy` limits the logarithms to -100 instead.

    Examples
    --------
    >>> import logitloss as ll
    >>> print(ll.binary_cross_entropy([0.8, 0.7, 0.1], [1, 1, 0], reduction="none"))
    [0.22314355 0.35667494 0.10536052]
    """
    return _core.binary_cross_entropy(
        eps, label_smoothing, ignore_value, normalizer, probs, target, weight, reduction, out, num_threads
    )


def binary_cross_entropy_value_and_grad(
    probs: ArrayLike,
    target: ArrayLike,
    *,
    eps: float | None = None,
    weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    ignore_value: float | None = None,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, ArrayOrScalar]:
    """Binary cross-entropy of probabilities and its gradient with respect to them, in one pass over memory.

    The gradient is ``weight * ((1-t) / (1-p) - t / p)``, and 0 where p is clipped.

    Parameters
    ----------
    probs, target, eps, weight, label_smoothing, ignore_value, reduction, normalizer, out, num_threads
        As for `binary_cross_entropy`.
    upstream : array_like, optional
        Multiplies the gradient: a scalar, or for reduction "none" an array that broadcasts to the loss's shape.
    grad_out : ndarray, optional
        Where to write the gradient: shape and dtype of `probs`. It may be `probs` itself.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `binary_cross_entropy`.
    grad : ndarray
        d loss / d probs, shape and dtype of `probs`; for reduction "none" of each element's own loss.

    Raises
    ------
    TypeError, ValueError
        As `binary_cross_entropy`. Nothing is written if anything is raised.

    Examples
    --------
    >>> import logitloss as ll
    >>> loss, grad = ll.binary_cross_entropy_value_and_grad([0.5, 0.75], [1, 0], reduction="none")
    >>> print(loss, grad)
    [0.69314718 1.38629436] [-2.  4.]
    """
    return _core.binary_cross_entropy_value_and_grad(
        upstream,
        grad_out,
        eps,
        label_smoothing,
        ignore_value,
        normalizer,
        probs,
        target,
        weight,
        reduction,
        out,
        num_threads,
    )
