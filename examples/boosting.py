"""Gradient boosting with objectives of this library: the digits in XGBoost and LightGBM, and a rare class.

On the digits each package runs twice, with its own softmax objective and with `logitloss.boosting.softmax`, from the
same start: the margins are the same. Then XGBoost learns to find the threes among all digits, of which only every
fourth is kept, with the logistic objective and with focal losses.

    python examples/boosting.py

Packages that are not installed are left out. The exit code is 0 if the margins agree and the focal loss has learned.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from pictures import COLORS, argument_parser, draw
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from sklearn.model_selection import train_test_split

from logitloss import boosting

try:
    import xgboost
except ImportError:
    xgboost = None
try:
    import lightgbm
except ImportError:
    lightgbm = None

ROUNDS, CLASSES, RARE = 30, 10, 3
TOLERANCE = 1e-5
REQUIRED_PRECISION = 0.8

Curve = list[float]


def load_data() -> list[np.ndarray]:
    """Images to train and to test with, and their labels."""
    digits = load_digits()
    return train_test_split(digits.data, digits.target, test_size=0.25, stratify=digits.target, random_state=0)


def run_xgboost(train: np.ndarray, labels: np.ndarray, ours: bool) -> tuple[np.ndarray, Curve]:
    """Margins after the last round, and the loss after each."""
    data = xgboost.DMatrix(train, labels)
    objective = boosting.softmax()
    options = {"num_class": CLASSES, "max_depth": 3, "base_score": [1 / CLASSES] * CLASSES}
    history: dict[str, dict[str, Curve]] = {}
    given = {"obj": objective, "custom_metric": objective.metric} if ours else {}
    options |= (
        {"disable_default_eval_metric": 1} if ours else {"objective": "multi:softprob", "eval_metric": "mlogloss"}
    )
    booster = xgboost.train(
        options, data, ROUNDS, evals=[(data, "train")], evals_result=history, verbose_eval=False, **given
    )
    return booster.predict(data, output_margin=True), next(iter(history["train"].values()))


def run_lightgbm(train: np.ndarray, labels: np.ndarray, ours: bool) -> tuple[np.ndarray, Curve]:
    """The same."""
    data = lightgbm.Dataset(train, labels)
    objective = boosting.softmax(hessian="friedman")
    options = {"num_class": CLASSES, "num_leaves": 7, "boost_from_average": False, "verbose": -1}
    options |= {"objective": objective, "metric": "None"} if ours else {"objective": "multiclass"}
    history: dict[str, dict[str, Curve]] = {}
    booster = lightgbm.train(
        options,
        data,
        ROUNDS,
        valid_sets=[data],
        feval=objective.metric if ours else None,
        callbacks=[lightgbm.record_evaluation(history)],
    )
    return booster.predict(train, raw_score=True), next(iter(next(iter(history.values())).values()))


def compare(
    name: str, run: Callable[..., tuple[np.ndarray, Curve]], data: list[np.ndarray]
) -> tuple[float, list[Curve]]:
    """Largest difference of the margins, relative to the largest of them; and both curves."""
    train, _, labels, _ = data
    (own, own_curve), (ours, our_curve) = (run(train, labels, ours) for ours in (False, True))
    difference = float(np.max(np.abs(ours - own)) / np.max(np.abs(own)))
    print(f"{name}: margins differ by {difference:.1e}; loss {own_curve[-1]:.6f} and {our_curve[-1]:.6f}")
    return difference, [own_curve, our_curve]


def find_the_rare(data: list[np.ndarray]) -> dict[str, float]:
    """Average precision on unseen images, of which few are positive, by objective."""
    train, test, labels, test_labels = data
    positives = np.flatnonzero(labels == RARE)
    kept = np.setdiff1d(np.arange(len(labels)), np.delete(positives, np.s_[::4]))
    training = xgboost.DMatrix(train[kept], labels[kept] == RARE)
    precisions = {}
    for name, objective in {
        "logistic": boosting.logistic(),
        "focal, gamma 1": boosting.focal(gamma=1.0),
        "focal, gamma 2": boosting.focal(gamma=2.0),
    }.items():
        options = {"max_depth": 3, "base_score": 0.0, "disable_default_eval_metric": 1}
        booster = xgboost.train(options, training, ROUNDS, obj=objective)
        margin = booster.predict(xgboost.DMatrix(test), output_margin=True)
        precisions[name] = float(average_precision_score(test_labels == RARE, margin))
        print(f"{name}: average precision {precisions[name]:.4f}")
    return precisions


def main() -> int:
    arguments = argument_parser(__doc__.splitlines()[0], "boosting.png").parse_args()
    data = load_data()
    differences, curves, precisions = [], {}, {}
    for name, package, run in (("XGBoost", xgboost, run_xgboost), ("LightGBM", lightgbm, run_lightgbm)):
        if package is None:
            print(f"{name} is not installed")
            continue
        difference, curves[name] = compare(name, run, data)
        differences.append(difference)
    if xgboost is not None:
        precisions = find_the_rare(data)

    def fill(_: object, axes: np.ndarray) -> None:
        for axis, (name, (own, ours)) in zip(axes[0], curves.items(), strict=False):
            axis.plot(own, color=COLORS[0], linewidth=5, alpha=0.3, label="its own objective")
            axis.plot(ours, color=COLORS[1], label="logitloss.boosting")
            axis.set(title=name, xlabel="round", ylabel="loss", yscale="log")
            axis.legend()
        axes[0, 2].barh(list(precisions), list(precisions.values()), color=COLORS[2])
        axes[0, 2].set(title=f"finding a rare {RARE}", xlabel="average precision", xlim=(0.5, 1))

    draw(arguments.plot, 1, 3, fill)
    learned = all(precision > REQUIRED_PRECISION for precision in precisions.values())
    return 0 if learned and all(difference <= TOLERANCE for difference in differences) else 1


if __name__ == "__main__":
    sys.exit(main())
