"""Logistic regression on the breast-cancer data, written out: loss and gradient from logitloss, the rest in NumPy.

Minimises what scikit-learn's LogisticRegression(C=1) minimises,

    mean_i BCE(x_i w + b, y_i) + |w|^2 / (2 C n),

by full-batch gradient descent with Nesterov's momentum, and then compares coefficients, intercept and log-loss with
scikit-learn's. The exit code is 0 if they agree.

    python examples/logistic_regression.py
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.model_selection import train_test_split

import logitloss as ll

C = 1.0


def load_data(seed: int):
    """Standardised features and labels (True: benign), 455 to train and 114 to test with."""
    data = load_breast_cancer()
    train, test, train_labels, test_labels = train_test_split(
        data.data, data.target == 1, test_size=0.2, stratify=data.target, random_state=seed
    )
    mean, deviation = train.mean(axis=0), train.std(axis=0)
    return (train - mean) / deviation, train_labels, (test - mean) / deviation, test_labels


def objective(w: np.ndarray, b: float, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray, float]:
    """The penalised loss and its gradients with respect to w and b."""
    loss, d_logits = ll.bce_with_logits_value_and_grad(x @ w + b, y)
    penalty = 1.0 / (C * len(x))
    return loss + 0.5 * penalty * (w @ w), x.T @ d_logits + penalty * w, d_logits.sum()


def fit(x: np.ndarray, y: np.ndarray, steps: int) -> tuple[np.ndarray, float]:
    """Accelerated gradient descent for a smooth, strongly convex function (Nesterov 2004, section 2.2.1)."""
    with_intercept = np.column_stack([x, np.ones(len(x))])
    # The second derivative of BCE is at most 1/4, which bounds the curvature of the objective.
    convexity = 1.0 / (C * len(x))
    smoothness = np.linalg.norm(with_intercept, ord=2) ** 2 / (4 * len(x)) + convexity
    root = np.sqrt(convexity / smoothness)
    momentum = (1 - root) / (1 + root)

    w = ahead_w = np.zeros(x.shape[1])
    b = ahead_b = 0.0
    for step in range(steps + 1):
        loss, d_w, d_b = objective(ahead_w, ahead_b, x, y)
        if step % (steps // 10) == 0:
            accuracy = np.mean((x @ ahead_w + ahead_b > 0) == y)
            print(f"Step {step:5d} - loss: {loss:.6f} - accuracy: {accuracy:.4f}")
        next_w, next_b = ahead_w - d_w / smoothness, ahead_b - d_b / smoothness
        ahead_w, ahead_b = next_w + momentum * (next_w - w), next_b + momentum * (next_b - b)
        w, b = next_w, next_b
    return w, b


def agrees_with_sklearn(w, b, x, y, test_x, test_y) -> bool:
    """Coefficients to 1e-5 and the test set's log-loss to 1e-6 of scikit-learn's."""
    peer = LogisticRegression(C=C, tol=1e-10, max_iter=10_000).fit(x, y)
    coefficients = max(np.abs(w - peer.coef_[0]).max(), abs(b - peer.intercept_[0]))
    our_loss = float(ll.bce_with_logits(test_x @ w + b, test_y))
    their_loss = log_loss(test_y, peer.predict_proba(test_x))
    print(f"Test loss: {our_loss:.6f} - test accuracy: {np.mean((test_x @ w + b > 0) == test_y):.4f}")
    print(f"scikit-learn: log-loss {their_loss:.6f}, largest difference of a coefficient {coefficients:.1e}")
    return coefficients <= 1e-5 and abs(our_loss - their_loss) <= 1e-6


def main() -> int:
    parser = argparse.ArgumentParser(description="Logistic regression on the breast-cancer data.")
    parser.add_argument("--steps", type=int, default=1000, help="at least 10")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.steps < 10:
        parser.error(f"--steps: got {arguments.steps}, expected at least 10")

    x, y, test_x, test_y = load_data(arguments.seed)
    w, b = fit(x, y, arguments.steps)
    return 0 if agrees_with_sklearn(w, b, x, y, test_x, test_y) else 1


if __name__ == "__main__":
    sys.exit(main())
