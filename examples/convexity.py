"""The logistic loss has one valley, its squared error plateaus and ridges: both over the weights of two features.

On the breast-cancer data with a neuron of two weights w, p = sigmoid(x w),

    cross-entropy is convex in w: every second difference along every line is positive;
    squared error is not: far from the optimum it is flat, and it bends downwards on the way.

    python examples/convexity.py

Draws the contours, and gradient descent on both from the same corner. The exit code is 0 if the smallest curvature
found is positive for the one and negative for the other.
"""

from __future__ import annotations

import sys

import numpy as np
from pictures import COLORS, argument_parser, draw
from sklearn.datasets import load_breast_cancer

import logitloss as ll

SPAN = 12.0
POINTS = 61
FEATURES = ("mean radius", "mean texture")
START = np.array([10.0, 10.0])


def load_data() -> tuple[np.ndarray, np.ndarray]:
    data = load_breast_cancer()
    columns = [list(data.feature_names).index(name) for name in FEATURES]
    chosen = data.data[:, columns]
    return (chosen - chosen.mean(axis=0)) / chosen.std(axis=0), data.target


def cross_entropy(logits: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    return ll.bce_with_logits_value_and_grad(logits, target)


def squared_error(logits: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray]:
    both = ll.softmax(np.stack([logits, np.zeros_like(logits)], axis=-1), axis=-1)
    loss, d_probability = ll.mean_squared_error_value_and_grad(both[:, 0], target)
    return loss, d_probability * both[:, 0] * both[:, 1]


LOSSES = {"cross-entropy": cross_entropy, "squared error": squared_error}


def surface(loss_function, features: np.ndarray, target: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Loss at weights (grid[i], grid[j])."""
    return np.array([[loss_function(features @ np.array([a, b]), target)[0] for b in grid] for a in grid])


def least_curvature(losses: np.ndarray, spacing: float) -> float:
    """The smallest second difference along the axes and diagonals of the grid, per unit of length."""
    along = losses[:-2, :] - 2 * losses[1:-1, :] + losses[2:, :]
    across = losses[:, :-2] - 2 * losses[:, 1:-1] + losses[:, 2:]
    falling = (losses[:-2, :-2] - 2 * losses[1:-1, 1:-1] + losses[2:, 2:]) / 2
    rising = (losses[:-2, 2:] - 2 * losses[1:-1, 1:-1] + losses[2:, :-2]) / 2
    return min(float(d.min()) for d in (along, across, falling, rising)) / spacing**2


def descend(loss_function, features: np.ndarray, target: np.ndarray, steps: int = 60) -> np.ndarray:
    weights, path = START.copy(), []
    for _ in range(steps):
        path.append(weights.copy())
        _, d_logits = loss_function(features @ weights, target)
        weights -= 4.0 * features.T @ d_logits
    return np.array(path)


def plot(file, grid: np.ndarray, surfaces: dict[str, np.ndarray], paths: dict[str, np.ndarray]) -> None:
    def fill(plt, axes):
        for axis, (name, losses) in zip(axes.flat, surfaces.items(), strict=True):
            axis.contourf(grid, grid, losses.T, levels=24, cmap="Blues")
            axis.contour(grid, grid, losses.T, levels=24, colors="#335577", linewidths=0.4)
            axis.plot(*paths[name].T, ".-", color=COLORS[1], markersize=4, linewidth=1, label="gradient descent")
            axis.plot(*START, "o", color=COLORS[1], label="its start")
            axis.set_title(name)
            axis.set_xlabel("weight of the radius")
            axis.set_ylabel("weight of the texture")
        axes.flat[0].legend(loc="lower left")

    draw(file, 1, 2, fill)


def main() -> int:
    file = argument_parser("Contours of two losses of a sigmoid.", "convexity.png").parse_args().plot
    features, target = load_data()
    grid = np.linspace(-SPAN, SPAN, POINTS)
    surfaces = {name: surface(loss, features, target, grid) for name, loss in LOSSES.items()}
    paths = {name: descend(loss, features, target) for name, loss in LOSSES.items()}
    curvature = {name: least_curvature(losses, grid[1] - grid[0]) for name, losses in surfaces.items()}
    for name in LOSSES:
        moved = float(np.linalg.norm(paths[name][-1] - START))
        steps = len(paths[name])
        print(f"{name}: least curvature {curvature[name]:.2e} - {steps} steps moved the weights by {moved:.2f}")
    plot(file, grid, surfaces, paths)
    return 0 if curvature["cross-entropy"] > 0 > curvature["squared error"] else 1


if __name__ == "__main__":
    sys.exit(main())
