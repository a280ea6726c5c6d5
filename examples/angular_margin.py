"""L-Softmax's angular margin, built on the public functions.

Large-margin softmax (Liu et al. 2016, arXiv:1612.02295) asks the target to win at m times its angle: of the logits
|w_j| |x| cos(t_j), that of the target becomes |w_y| |x| psi(t_y) with

    psi(t) = (-1)^k cos(m t) - 2 k,   k = floor(m t / pi),

which falls monotonically from 1 to 1 - 2m. It is no option of `cross_entropy`, and need not be: what enters the loss
are logits, and what it returns is the gradient with respect to them, which the chain rule takes back to x and w. As in
the paper, psi is mixed with the plain cosine by a weight that falls during the training.

    python examples/angular_margin.py

The exit code is 0 if the margin has pulled the images closer to their classes than plain softmax, and both learned.
"""

from __future__ import annotations

import sys

import numpy as np
from class_separation import REQUIRED_ACCURACY, STEPS, Embedding, angles, load_data, plot, report, unit
from numpy.polynomial import Chebyshev
from pictures import argument_parser

import logitloss as ll


def psi(cosine: np.ndarray, m: int) -> tuple[np.ndarray, np.ndarray]:
    """psi and its derivative, both as functions of the cosine: cos(m t) is the m-th Chebyshev polynomial of it."""
    polynomial = Chebyshev.basis(m)
    k = np.minimum(np.floor(m * np.arccos(cosine) / np.pi), m - 1)
    sign = np.where(k % 2 == 0, 1.0, -1.0)
    return sign * polynomial(cosine) - 2 * k, sign * polynomial.deriv()(cosine)


def large_margin_loss(
    features: np.ndarray, class_vectors: np.ndarray, labels: np.ndarray, m: int, plain: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Loss, and its gradients with respect to features (n, d) and class vectors (C, d). `plain` is the weight of the
    cosine beside that of psi, which is 1."""
    rows = np.arange(len(labels))
    x, x_length = unit(features)
    w, w_length = unit(class_vectors[labels])
    cosine = np.clip(np.sum(x * w, axis=-1), -1, 1)
    bent, slope = psi(cosine, m)
    bent, slope = (plain * cosine + bent) / (1 + plain), (plain + slope) / (1 + plain)

    logits = features @ class_vectors.T
    logits[rows, labels] = (x_length * w_length)[:, 0] * bent
    loss, d_logits = ll.cross_entropy_value_and_grad(logits, labels)

    d_target = d_logits[rows, labels][:, None].copy()
    d_logits[rows, labels] = 0
    d_features = d_logits @ class_vectors
    d_vectors = d_logits.T @ features
    # The target's logit is |x| |w| psi(cos): along x its slope is |w| psi, across it psi'.
    bent, slope, cosine = bent[:, None], slope[:, None], cosine[:, None]
    d_features += d_target * w_length * (bent * x + slope * (w - cosine * x))
    np.add.at(d_vectors, labels, d_target * x_length * (bent * w + slope * (x - cosine * w)))
    return float(loss), d_features, d_vectors


def train(m: int, images: np.ndarray, labels: np.ndarray) -> Embedding:
    model = Embedding()
    for step in range(STEPS):
        hidden, features = model.features(images)
        plain = 0.0 if m == 1 else max(0.5, 50 * 0.95**step)
        _, d_features, d_vectors = large_margin_loss(features, model.class_vectors, labels, m, plain)
        model.step(images, hidden, d_features.astype(np.float32), d_vectors.astype(np.float32))
    return model


def largest_error_of_the_gradient() -> float:
    """Against differences of the loss, in float64."""
    rng = np.random.default_rng(1)
    features, vectors, labels = rng.standard_normal((6, 3)), rng.standard_normal((4, 3)), rng.integers(0, 4, 6)
    _, d_features, d_vectors = large_margin_loss(features, vectors, labels, 4, 0.7)
    worst = 0.0
    for array, gradient in ((features, d_features), (vectors, d_vectors)):
        for position in np.ndindex(array.shape):
            kept, losses = array[position], []
            for shift in (-1e-6, 1e-6):
                array[position] = kept + shift
                losses.append(large_margin_loss(features, vectors, labels, 4, 0.7)[0])
            array[position] = kept
            worst = max(worst, abs((losses[1] - losses[0]) / 2e-6 - gradient[position]))
    return worst


def main() -> int:
    path = argument_parser("L-Softmax on the digits.", "angular_margin.png").parse_args().plot
    error = largest_error_of_the_gradient()
    print(f"largest error of the gradient against differences: {error:.1e}")
    images, labels, test_images, test_labels = load_data()
    found = {}
    for name, m in (("softmax", 1), ("L-Softmax, m = 2", 2), ("L-Softmax, m = 4", 4)):
        found[name] = angles(train(m, images, labels), test_images, test_labels)
        report(name, *found[name])
    plot(path, found)
    own = [own.mean() for own, _, _ in found.values()]
    learned = all(accuracy >= REQUIRED_ACCURACY for _, _, accuracy in found.values())
    return 0 if error < 1e-6 and learned and own[1] < own[0] else 1


if __name__ == "__main__":
    sys.exit(main())
