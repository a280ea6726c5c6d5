"""Softmax cross-entropy and its gradient."""

from __future__ import annotations

from numpy.typing import ArrayLike

from . import _core
from ._types import Array, ArrayOrScalar, Reduction


def cross_entropy(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    margin: float = 0.0,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
) -> ArrayOrScalar:
    """Softmax cross-entropy between logits and class indices or class probabilities, in nats.

    With ``L = log(sum_j exp(z_j))`` of a row of C logits, ``e`` the smoothing and ``w`` the class weights, the loss
    of a row is, for a class index y,

        ``(1-e) w_y (L - z_y) + (e/C) sum_j w_j (L - z_j)``

    and for class probabilities t

        ``sum_j w_j t'_j (L - z_j)``,  ``t' = (1-e) t + e/C``,

    times the sample weight. It keeps its relative accuracy for confident rows: a target that leads by 40 has loss
    4e-18 and not 0.

    Parameters
    ----------
    logits : array_like
        Any shape; float16, bfloat16, float32 and float64 are read where they lie.
    target : array_like
        Class indices of an integer dtype and of the shape of `logits` without `axis`, or class probabilities of any
        real dtype and of the shape of `logits`; these need not sum to 1.
    axis : int
        Class axis of `logits`.
    class_weight : array_like, optional
        w, one per class. May be negative.
    sample_weight : array_like, optional
        Multiplies the loss of each row; broadcasts to the shape of `logits` without `axis`. A row of weight 0 is not
        read.
    ignore_index : int or None
        Class index of rows that are not read and count as 0. None: no row is ignored.
    label_smoothing : float
        e, in [0, 1]. It puts e/C on masked classes too, so a row with a logit of ``-inf`` costs ``+inf`` then, as in
        PyTorch, and one with a logit of ``+inf`` NaN, unless that class has the weight 0.
    z_loss : float
        c: adds ``c L^2`` to each row, before the weights (``w_y`` of the row's class index, or 1).
    softcap : float, optional
        s > 0: logits z become ``s tanh(z / s)``. One of ``+inf`` becomes s, one of ``-inf`` stays a masked class, and
        where it is the target's, the loss is ``+inf`` and its gradient -1 (times `scale`) as without a cap. An s
        beyond the largest number of the logits' dtype caps nothing; a `margin` or `scale` beyond it counts as that
        number, and a logit that overflows by them is infinite.
    margin : float
        Subtracted from the target's logit, after `softcap`; class indices only (AM-Softmax).
    scale : float
        > 0: multiplies the logits, last (an inverse temperature).
    reduction : {"mean", "sum", "none"}
        The mean divides by the sum over rows that are not ignored of ``sample_weight * w_y`` (probabilities: of
        ``sample_weight``); NaN if that is 0.
    normalizer : float, optional
        > 0: divides the sum instead, as for gradient accumulation. Not with "none".
    out : ndarray, optional
        Where to write the loss: its shape and dtype.
    num_threads : int, optional
        At most this many threads.

    Returns
    -------
    NumPy scalar or ndarray
        The loss, float64 for float64 logits and float32 otherwise; per row, of the shape of `logits` without `axis`,
        for "none". Target at a logit of ``-inf``: ``+inf``.

    Raises
    ------
    TypeError
        For class indices that are no integers, and for masked, complex, longdouble, object and text arrays.
    ValueError
        For a label outside [0, C) that is not `ignore_index`, naming the first; for shapes and option values that do
        not fit; if `out` overlaps another argument.
    numpy.exceptions.AxisError
        If `axis` is out of range.

    Notes
    -----
    Weights, smoothing and the mean are those of `torch.nn.functional.cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    >>> print(ll.cross_entropy(logits, [0, 1], reduction="none"))
    [0.35667494 0.22314355]
    >>> print(ll.cross_entropy(logits, [[1, 0, 0], [0, 1, 0]]))  # one-hot
    0.28990924762647113
    >>> print(ll.cross_entropy([[40.0, 0.0]], [0]))
    4.248354255291589e-18
    """
    return _core.cross_entropy(
        z_loss,
        softcap,
        margin,
        scale,
        logits,
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


def cross_entropy_value_and_grad(
    logits: ArrayLike,
    target: ArrayLike,
    *,
    axis: int = -1,
    class_weight: ArrayLike | None = None,
    sample_weight: ArrayLike | None = None,
    ignore_index: int | None = -100,
    label_smoothing: float = 0.0,
    z_loss: float = 0.0,
    softcap: float | None = None,
    margin: float = 0.0,
    scale: float = 1.0,
    reduction: Reduction = "mean",
    normalizer: float | None = None,
    out: Array | None = None,
    num_threads: int | None = None,
    upstream: ArrayLike | None = None,
    grad_out: Array | None = None,
) -> tuple[ArrayOrScalar, Array]:
    """Softmax cross-entropy and its gradient with respect to the logits, in one pass over memory.

    The gradient of a row is ``p - y`` with p the softmax and y the target, with the options' weights. It keeps its
    relative accuracy for confident rows, at the target too.

    Parameters
    ----------
    logits, target, axis, class_weight, sample_weight, ignore_index, label_smoothing, z_loss, softcap, margin, scale, \
reduction, normalizer, out, num_threads
        As for `cross_entropy`.
    upstream : array_like, optional
        Multiplies the gradient: a scalar, or for reduction "none" an array that broadcasts to the loss's shape.
    grad_out : ndarray, optional
        Where to write the gradient: shape and dtype of `logits`. It may be `logits` itself: no second array is needed.

    Returns
    -------
    loss : NumPy scalar or ndarray
        As from `cross_entropy`.
    grad : ndarray
        d loss / d logits, shape and dtype of `logits`; for reduction "none" of each row's own loss. Exactly 0 in
        rows that are ignored, and at logits of ``-inf`` unless the target lies there.

    Raises
    ------
    TypeError, ValueError, numpy.exceptions.AxisError
        As `cross_entropy`. Nothing is written if anything is raised.

    Notes
    -----
    The gradient of a mean whose weights sum to 0 is 0, where `torch.nn.functional.cross_entropy` has NaN.

    Examples
    --------
    >>> import numpy as np
    >>> import logitloss as ll
    >>> logits = np.log([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1]])
    >>> loss, grad = ll.cross_entropy_value_and_grad(logits, [0, 1], reduction="sum")
    >>> print(grad)
    [[-0.3  0.2  0.1]
     [ 0.1 -0.2  0.1]]
    """
    return _core.cross_entropy_value_and_grad(
        upstream,
        grad_out,
        z_loss,
        softcap,
        margin,
        scale,
        logits,
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
