"""Why a sigmoid learns slowly from squared errors: a neuron that is sure and wrong, taught by two losses.

A single neuron looks at the breast-cancer data. Its weights start as those of a good classifier with the opposite
sign: it is sure of nearly every answer, and wrong. With p = sigmoid(x),

    cross-entropy:  dL/dx = p - t                 as large as the mistake
    squared error:  dL/dx = 2 (p - t) p (1 - p)   nearly 0 where p is nearly 0 or 1, right or wrong

so the same steps of gradient descent turn the one around at once, and leave the other where it is for long.

    python examples/mse_or_cross_entropy.py

The exit code is 0 if cross-entropy has learned, while squared errors took at least three times as many steps.
"""

from __future__ import annotations

import sys

import numpy as np
from pictures import COLORS, argument_parser, draw
from sklearn.datasets import load_breast_cancer

import logitloss as ll

STEPS = 300
RATE = 0.5
LEARNED = 0.9  # accuracy


def load_data() -> tuple[np.ndarray, np.ndarray]:
    data = load_breast_cancer()
    features = (data.data - data.data.mean(axis=0)) / data.data.std(axis=0)
    return features, data.target.astype(np.float64)


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    return ll.bce_with_logits_value_and_grad(logits, target)


def squared_error(logits: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    """The error of p = sigmoid(x), and the chain rule through the sigmoid, whose slope is p (1 - p)."""
    both = ll.softmax(np.stack([logits, np.zeros_like(logits)], axis=-1), axis=-1)  # p and 1 - p, to relative accuracy
    loss, d_probability = ll.mean_squared_error_value_and_grad(both[:, 0], target)
    return loss, d_probability * both[:, 0] * both[:, 1]


def train(loss_function, features: np.ndarray, target: np.ndarray, weights: np.ndarray) -> dict[str, list[float]]:
    """Gradient descent; of every step the loss, the length of the gradient, one weight and the accuracy."""
    weights = weights.copy()
    history: dict[str, list[float]] = {"loss": [], "gradient": [], "weight": [], "accuracy": []}
    for _ in range(STEPS):
        logits = features @ weights
        loss, d_logits = loss_function(logits, target)
        gradient = features.T @ d_logits
        history["loss"].append(float(loss))
        history["gradient"].append(float(np.linalg.norm(gradient)))
        history["weight"].append(float(weights[0]))
        history["accuracy"].append(float(ll.accuracy(np.stack([-logits, logits], axis=-1), target.astype(int))))
        weights -= RATE * gradient
    return history


def steps_to_learn(history: dict[str, list[float]]) -> int:
    """The first step at which the accuracy is there; STEPS if it never is."""
    there = np.flatnonzero(np.array(history["accuracy"]) >= LEARNED)
    return int(there[0]) if there.size else STEPS


def plot(path, histories: dict[str, dict[str, list[float]]]) -> None:
    def fill(plt, axes):
        for axis, (name, title) in zip(
            axes.flat,
            {
                "loss": "loss",
                "gradient": "length of the gradient",
                "weight": "weight of the first feature",
                "accuracy": "accuracy",
            }.items(),
            strict=True,
        ):
            for color, (label, history) in zip(COLORS, histories.items(), strict=False):
                axis.plot(history[name], label=label, color=color)
            axis.set_title(title)
            axis.set_xlabel("step")
        axes[0, 1].set_yscale("log")
        axes[0, 0].legend(frameon=False)

    draw(path, 2, 2, fill)


def main() -> int:
    arguments = argument_parser("A sigmoid taught by squared errors and by cross-entropy.", "mse_or_cross_entropy.png")
    path = arguments.parse_args().plot
    features, target = load_data()
    direction = features[target == 1].mean(axis=0) - features[target == 0].mean(axis=0)
    wrong = -direction / np.abs(direction).max()

    histories = {
        "cross-entropy": train(cross_entropy, features, target, wrong),
        "squared error": train(squared_error, features, target, wrong),
    }
    for name, history in histories.items():
        print(
            f"{name}: first gradient {history['gradient'][0]:.4f} - accuracy {history['accuracy'][0]:.3f} at first, "
            f"{history['accuracy'][-1]:.3f} after {STEPS} steps - {LEARNED:.0%} at step {steps_to_learn(history)}"
        )
    plot(path, histories)
    fast, slow = (steps_to_learn(history) for history in histories.values())
    return 0 if fast < STEPS and slow >= 3 * fast else 1


if __name__ == "__main__":
    sys.exit(main())
