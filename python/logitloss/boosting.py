"""Objectives for gradient boosting: one object for XGBoost, LightGBM and CatBoost, none of which is imported.

An objective is the ``obj`` of ``xgboost.train``, the ``objective`` of ``XGBClassifier``, of ``lightgbm.train`` (in its
parameters) and of ``LGBMClassifier``, and, if it has one output, the ``loss_function`` of CatBoost. What it is called
with decides which of them calls: a data set that has labels, or arrays.

>>> import numpy as np
>>> from logitloss import boosting
>>> objective = boosting.softmax()
>>> grad, hess = objective(np.array([0, 2]), np.zeros((2, 3), np.float32))
>>> print(grad)
[[-0.6666667   0.33333334  0.33333334]
 [ 0.33333334  0.33333334 -0.6666667 ]]
>>> print(hess[0])
[0.44444445 0.44444445 0.44444445]
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ._arrays import as_array
from ._binary_cross_entropy import bce_with_logits
from ._cross_entropy import cross_entropy
from ._focal_loss import sigmoid_focal_loss
from ._hessian import bce_with_logits_grad_hess, cross_entropy_grad_hess, sigmoid_focal_loss_grad_hess
from ._softmax import softmax as probabilities
from ._types import Array

__all__ = ["Metric", "Objective", "focal", "logistic", "softmax"]


class Objective(ABC):
    """A loss as the boosting packages take it: `softmax`, `logistic` and `focal` make them. Picklable.

    Called as ``objective(margin, data)``, with data that have ``get_label()`` and ``get_weight()``
    (``xgboost.DMatrix``, ``lightgbm.Dataset``), or as ``objective(target, margin, sample_weight=None)``, it returns
    gradient and Hessian: arrays of the shape and memory order of the margins, of float32. Margins are read where they
    lie.
    """

    def __init__(self, name: str, metric_name: str, **options: Any) -> None:
        self._name, self._metric_name = name, metric_name
        self._options = options

    def __call__(self, first: Any, second: Any, sample_weight: ArrayLike | None = None) -> tuple[Array, Array]:
        """Gradient and Hessian of each row's own loss, in either convention."""
        if hasattr(second, "get_label"):
            margin, target, sample_weight = first, second.get_label(), second.get_weight()
        else:
            target, margin = first, second
        margin, target = as_array(margin, "margin"), as_array(target, "target")
        # Halves of one array, which more often is large enough for huge pages: faults of fresh pages would cost most.
        both = np.empty((2, margin.size), np.float32)
        order: Literal["C", "F"] = "F" if margin.flags.fnc else "C"
        grad, hess = (half.reshape(margin.shape, order=order) for half in both)
        self._derivatives(margin, target, _weights(sample_weight, target), grad, hess)
        return grad, hess

    @property
    def metric(self) -> Metric:
        """The mean of this loss as a metric of the same packages: of margins, with sample weights."""
        return Metric(self)

    @abstractmethod
    def predict_proba(self, margin: ArrayLike) -> Array:
        """Probabilities of the classes, one a column, from margins as the packages predict them (raw)."""

    @abstractmethod
    def _derivatives(self, margin: Array, target: Array, weight: Array | None, grad: Array, hess: Array) -> None: ...

    @abstractmethod
    def _losses(self, margin: Array, target: Array, weight: Array | None) -> Array: ...

    @abstractmethod
    def _row_weights(self, target: Array) -> NDArray[np.float64]: ...

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in self._options.items())
        return f"logitloss.boosting.{self._name}({options})"


class Metric:
    """The weighted mean of an objective's loss, as the boosting packages take metrics. Less is better.

    It is the ``custom_metric`` of ``xgboost.train``, the ``eval_metric`` of ``XGBClassifier`` and ``LGBMClassifier``,
    the ``feval`` of ``lightgbm.train`` and the ``eval_metric`` of CatBoost, and returns what the caller wants: a name
    and a value, a value, or a name, a value and False. It takes margins, which the packages hand over beside a custom
    objective. Picklable.

    >>> from logitloss import boosting
    >>> print(boosting.logistic().metric([0, 1], [0.0, 0.0]))
    0.6931471805599453
    """

    def __init__(self, objective: Objective) -> None:
        self.objective = objective
        self.__name__: str = objective._metric_name  # under which XGBoost reports it

    def __call__(self, first: Any, second: Any, *lightgbm: Any, sample_weight: ArrayLike | None = None) -> Any:
        """The mean loss of ``(margin, data)`` or ``(target, margin)``; LGBMClassifier adds a weight and a group."""
        if hasattr(second, "get_label"):
            value = self._mean(second.get_label(), first, second.get_weight())
            return (self.__name__, value, False) if hasattr(second, "get_field") else (self.__name__, value)
        if lightgbm:
            return self.__name__, self._mean(first, second, lightgbm[0]), False
        return self._mean(first, second, sample_weight)

    def _mean(self, target: ArrayLike, margin: ArrayLike, sample_weight: ArrayLike | None) -> float:
        total, weight = self._sums(as_array(target, "target"), as_array(margin, "margin"), sample_weight)
        return total / weight if weight != 0 else float("nan")

    def _sums(self, target: Array, margin: Array, sample_weight: ArrayLike | None) -> tuple[float, float]:
        weight = _weights(sample_weight, target)
        losses = self.objective._losses(margin, target, weight)
        of_rows = self.objective._row_weights(target)
        total = of_rows.sum() if weight is None else (of_rows * weight).sum()
        return float(losses.sum(dtype=np.float64)), float(total)

    # What CatBoost asks.
    def is_max_optimal(self) -> bool:
        """False: less is better."""
        return False

    def evaluate(self, approxes: Sequence[Any], target: Any, weight: Any) -> tuple[float, float]:
        """Sum of the weighted losses and of the weights; `approxes`: one sequence of margins an output."""
        margins = [_numbers(approx) for approx in approxes]
        margin = margins[0] if len(margins) == 1 else np.stack(margins, axis=1)
        return self._sums(_numbers(target), margin, None if weight is None else _numbers(weight))

    def get_final_error(self, error: float, weight: float) -> float:
        """The quotient of these sums."""
        return error / (weight + 1e-38)


def _weights(weight: Any, target: Array) -> Array | None:
    """One weight a target, of its shape; XGBoost has an array of size 0 in the place of None."""
    array = None if weight is None else as_array(weight, "sample_weight")
    if array is None or array.size == 0:
        return None
    if array.size != target.size:
        raise ValueError(f"sample_weight: got shape {array.shape}, expected one weight for each of {target.size} rows")
    return array.reshape(target.shape)


def _numbers(container: Any) -> NDArray[np.float64]:
    """CatBoost's containers have a length and numbers, and are no arrays."""
    return np.fromiter(container, np.float64, len(container))


class _Softmax(Objective):
    def predict_proba(self, margin: ArrayLike) -> Array:
        return np.asarray(probabilities(margin, axis=-1))

    def _derivatives(self, margin: Array, target: Array, weight: Array | None, grad: Array, hess: Array) -> None:
        options = self._options | {"sample_weight": weight, "ignore_index": None}
        cross_entropy_grad_hess(_matrix(margin), target, grad_out=grad, hess_out=hess, **options)

    def _losses(self, margin: Array, target: Array, weight: Array | None) -> Array:
        options = self._options | {"sample_weight": weight, "ignore_index": None, "reduction": "none"}
        del options["hessian"]
        return np.asarray(cross_entropy(_matrix(margin), _labels(target), **options))

    def _row_weights(self, target: Array) -> NDArray[np.float64]:
        class_weight = self._options["class_weight"]
        if class_weight is None:
            return np.ones(target.shape)
        return np.asarray(class_weight, dtype=np.float64)[_labels(target)]


def _labels(target: Array) -> Array:
    """Labels that may be stored as floats, as integers."""
    if target.dtype.kind != "f":
        return target
    labels = target.astype(np.float64)
    bad = np.flatnonzero(~(np.abs(labels) < 2.0**53) | (labels != np.floor(labels)))
    if bad.size:
        raise ValueError(f"target[{bad[0]}]: got label {labels.flat[bad[0]]}, expected an integer")
    return labels.astype(np.int64)


def _matrix(margin: Array) -> Array:
    if margin.ndim != 2:
        raise ValueError(f"margin: got shape {margin.shape}, expected one column a class")
    return margin


class _Binary(Objective):
    """What objectives of one output share. A margin may be a column."""

    def __init__(
        self,
        name: str,
        metric_name: str,
        loss: Callable[..., Any],
        grad_hess: Callable[..., tuple[Any, Any]],
        **options: Any,
    ) -> None:
        super().__init__(name, metric_name, **options)
        self._loss, self._grad_hess = loss, grad_hess

    def predict_proba(self, margin: ArrayLike) -> Array:
        logits = as_array(margin, "margin")
        if logits.ndim == 2 and logits.shape[1] == 1:
            logits = logits[:, 0]
        # The gradients at the hard targets: 1 - p keeps its digits, too.
        positive, _ = bce_with_logits_grad_hess(logits, np.zeros(logits.shape))
        negative, _ = bce_with_logits_grad_hess(logits, np.ones(logits.shape))
        return np.stack([0 - negative, positive], axis=-1)

    def calc_ders_range(self, approxes: Any, targets: Any, weights: Any) -> list[tuple[float, float]]:
        """First and second derivative of the negated loss of each object, as CatBoost asks for them."""
        target = _numbers(targets)
        weight = None if weights is None else _weights(_numbers(weights), target)
        grad, hess = self._grad_hess(_numbers(approxes), target, weight=weight, **self._options)
        return list(zip((-grad).tolist(), (-hess).tolist(), strict=True))

    def _derivatives(self, margin: Array, target: Array, weight: Array | None, grad: Array, hess: Array) -> None:
        shape = margin.shape
        self._grad_hess(
            margin,
            target.reshape(shape),
            weight=None if weight is None else weight.reshape(shape),
            grad_out=grad,
            hess_out=hess,
            **self._options,
        )

    def _losses(self, margin: Array, target: Array, weight: Array | None) -> Array:
        options = self._options | {"weight": weight, "reduction": "none"}
        return np.asarray(self._loss(margin.reshape(target.shape), target, **options))

    def _row_weights(self, target: Array) -> NDArray[np.float64]:
        return np.ones(target.shape)


def _checked(objective: Objective, margin: Array) -> Objective:
    """The objective; errors of its options are raised here, and not in the middle of a training."""
    objective(np.zeros(1), margin)
    return objective


def softmax(
    *,
    hessian: Literal["exact", "upper", "friedman", "abs"] = "upper",
    class_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
) -> Objective:
    """Softmax cross-entropy of margins with a column a class.

    Parameters
    ----------
    hessian : {"exact", "upper", "friedman", "abs"}
        As in `cross_entropy_grad_hess`. With "upper" the margins are those of XGBoost's ``multi:softprob``, with
        "friedman" those of LightGBM's ``multiclass``.
    class_weight : array_like, optional
        One number a class: multiplies the loss of its rows.
    label_smoothing : float
        In [0, 1].

    Returns
    -------
    Objective

    Notes
    -----
    The packages start from other margins beside a custom objective than beside their own. To get the same, start both
    from 0: ``base_score=[1 / K] * K`` for XGBoost with K classes, ``boost_from_average=False`` for LightGBM.

    Examples
    --------
    >>> import numpy as np
    >>> from logitloss import boosting
    >>> objective = boosting.softmax(hessian="friedman")
    >>> grad, hess = objective(np.array([0.0]), np.zeros((1, 2)), sample_weight=np.array([2.0]))
    >>> print(grad, hess)
    [[-1.  1.]] [[1. 1.]]
    """
    classes = 2 if class_weight is None else np.size(as_array(class_weight, "class_weight"))
    options = {"hessian": hessian, "class_weight": class_weight, "label_smoothing": label_smoothing}
    return _checked(_Softmax("softmax", "cross_entropy", **options), np.zeros((1, classes)))


def logistic(*, pos_weight: float | None = None, label_smoothing: float = 0.0) -> Objective:
    """Binary cross-entropy of one margin a row, with its exact Hessian.

    Parameters
    ----------
    pos_weight : float, optional
        Multiplies the loss of positives; XGBoost and LightGBM call it ``scale_pos_weight``.
    label_smoothing : float
        e in [0, 1]: targets t become ``(1-e) t + e/2``.

    Returns
    -------
    Objective
        Also the ``loss_function`` of CatBoost.

    Notes
    -----
    The margins are those of the packages' own logistic objectives, if both start from 0: for XGBoost ``base_score=0.5``
    beside its own objective (and ``XGBClassifier``) and 0 beside this one, for LightGBM and CatBoost
    ``boost_from_average=False``.

    Examples
    --------
    >>> import numpy as np
    >>> from logitloss import boosting
    >>> print(boosting.logistic()(np.array([1, 0]), np.zeros(2)))
    (array([-0.5,  0.5], dtype=float32), array([0.25, 0.25], dtype=float32))
    """
    grad_hess = partial(bce_with_logits_grad_hess, hessian="exact")
    options = {"pos_weight": pos_weight, "label_smoothing": label_smoothing}
    return _checked(_Binary("logistic", "binary_cross_entropy", bce_with_logits, grad_hess, **options), np.zeros(1))


def focal(*, gamma: float = 2.0, alpha: float | None = None) -> Objective:
    """Sigmoid focal loss of one margin a row, with its Hessian clipped at 0.

    Parameters
    ----------
    gamma : float
        >= 0: how much less the rows weigh that are classified well. With 0 it is `logistic`.
    alpha : float or None
        In [0, 1]: weight of positives, and ``1 - alpha`` of negatives. None: both 1.

    Returns
    -------
    Objective
        Also the ``loss_function`` of CatBoost.

    Examples
    --------
    >>> import numpy as np
    >>> from logitloss import boosting
    >>> grad, hess = boosting.focal()(np.array([1, 1]), np.array([4.0, -4.0]))
    >>> print(hess)
    [5.101136e-05 0.000000e+00]
    """
    grad_hess = partial(sigmoid_focal_loss_grad_hess, hessian="clipped")
    options = {"gamma": gamma, "alpha": alpha}
    return _checked(_Binary("focal", "focal_loss", sigmoid_focal_loss, grad_hess, **options), np.zeros(1))
