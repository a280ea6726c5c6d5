"""How a loss arranges classes: label smoothing, temperature, focal loss and AM-Softmax on the digits.

A small network maps the images to directions in eight dimensions, and the logits are the cosines between an image's
direction and those of the ten classes. The same network is trained with

    softmax        scale 10
    temperature    scale 2: a hot softmax is never content, and keeps pulling
    smoothing      scale 10, label_smoothing 0.2
    focal          sigmoid_focal_loss of every class against the others, logits 10 cos - 5
    AM-Softmax     scale 10, margin 0.35: the target must win by the margin (Wang et al. 2018, arXiv:1801.05599)

and then asked, for images it has not seen, how far they are from their own class and from the nearest other one.

    python examples/class_separation.py

The exit code is 0 if the margin has pulled the images closer to their classes than plain softmax, and all have learned.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
from pictures import COLORS, argument_parser, draw
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

import logitloss as ll

HIDDEN, FEATURES, CLASSES = 64, 8, 10
STEPS = 150
REQUIRED_ACCURACY = 0.9

LossFunction = Callable[[np.ndarray, np.ndarray], tuple[float, np.ndarray]]


def load_data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Images to train and to test with, in [0, 1], and their labels."""
    digits = load_digits()
    images = (digits.data / 16.0).astype(np.float32)
    train, test, labels, test_labels = train_test_split(
        images, digits.target, test_size=0.25, stratify=digits.target, random_state=0
    )
    return train, labels, test, test_labels


def unit(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows divided by their length, and the lengths."""
    length = np.linalg.norm(x, axis=-1, keepdims=True)
    return x / length, length


def through_unit(direction: np.ndarray, length: np.ndarray, d_direction: np.ndarray) -> np.ndarray:
    """The gradient with respect to x, from that with respect to its direction."""
    along = np.sum(direction * d_direction, axis=-1, keepdims=True)
    return (d_direction - direction * along) / length


class Embedding:
    """images (n, 64) -> hidden (n, 64) -> features (n, 8); and a vector for every class (10, 8)."""

    def __init__(self, seed: int = 0):
        rng = np.random.default_rng(seed)

        def initial(rows: int, columns: int) -> np.ndarray:
            return (rng.standard_normal((rows, columns)) / np.sqrt(rows)).astype(np.float32)

        self.parameters = [initial(64, HIDDEN), initial(HIDDEN, FEATURES), initial(FEATURES, CLASSES).T.copy()]
        self._mean = [np.zeros_like(p) for p in self.parameters]
        self._square = [np.zeros_like(p) for p in self.parameters]
        self._steps = 0

    @property
    def class_vectors(self) -> np.ndarray:
        return self.parameters[2]

    def features(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hidden = np.tanh(images @ self.parameters[0])
        return hidden, hidden @ self.parameters[1]

    def step(self, images: np.ndarray, hidden: np.ndarray, d_features: np.ndarray, d_vectors: np.ndarray) -> None:
        """Adam, on the gradients with respect to features and class vectors."""
        d_hidden = (d_features @ self.parameters[1].T) * (1 - hidden**2)
        gradients = (images.T @ d_hidden, hidden.T @ d_features, d_vectors)
        self._steps += 1
        for p, m, v, g in zip(self.parameters, self._mean, self._square, gradients, strict=True):
            m += 0.1 * (g - m)
            v += 0.001 * (g * g - v)
            p -= 0.02 * (m / (1 - 0.9**self._steps)) / (np.sqrt(v / (1 - 0.999**self._steps)) + 1e-7)


def train_on_cosines(loss: LossFunction, images: np.ndarray, labels: np.ndarray) -> Embedding:
    model = Embedding()
    for _ in range(STEPS):
        hidden, features = model.features(images)
        directions, lengths = unit(features)
        classes, class_lengths = unit(model.class_vectors)
        _, d_cosines = loss(directions @ classes.T, labels)
        model.step(
            images,
            hidden,
            through_unit(directions, lengths, d_cosines @ classes),
            through_unit(classes, class_lengths, d_cosines.T @ directions),
        )
    return model


def focal(cosines: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    one_hot = np.arange(CLASSES) == labels[:, None]
    loss, grad = ll.sigmoid_focal_loss_value_and_grad(10 * cosines - 5, one_hot, normalizer=len(labels))
    return loss, 10 * grad


def softmax(**options) -> LossFunction:
    return lambda cosines, labels: ll.cross_entropy_value_and_grad(cosines, labels, **options)


LOSSES: dict[str, LossFunction] = {
    "softmax": softmax(scale=10.0),
    "temperature": softmax(scale=2.0),
    "smoothing": softmax(scale=10.0, label_smoothing=0.2),
    "focal": focal,
    "AM-Softmax": softmax(scale=10.0, margin=0.35),
}


def angles(model: Embedding, images: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Of each image, in degrees: to its own class, to the nearest other one. And the accuracy."""
    cosines = unit(model.features(images)[1])[0] @ unit(model.class_vectors)[0].T
    degrees = np.degrees(np.arccos(np.clip(cosines, -1, 1)))
    rows = np.arange(len(labels))
    own = degrees[rows, labels].copy()
    degrees[rows, labels] = 180
    return own, degrees.min(axis=-1), float(ll.accuracy(cosines, labels))


def report(name: str, own: np.ndarray, other: np.ndarray, accuracy: float) -> None:
    print(
        f"{name:12} test accuracy {accuracy:.3f} - own class at {own.mean():4.1f} degrees, the next at "
        f"{other.mean():4.1f} - ratio {other.mean() / own.mean():.2f}"
    )


def plot(path, found: dict[str, tuple[np.ndarray, np.ndarray, float]]) -> None:
    def fill(plt, axes):
        bins = np.linspace(0, 120, 61)
        for axis, (name, (own, other, accuracy)) in zip(axes.flat, found.items(), strict=False):
            axis.hist(own, bins, color=COLORS[0], alpha=0.8, label="own class")
            axis.hist(other, bins, color=COLORS[1], alpha=0.6, label="nearest other")
            axis.set_title(f"{name}: {accuracy:.1%}")
            axis.set_xlabel("angle in degrees")
            axis.set_ylabel("unseen images")
        axes.flat[0].legend(frameon=False)
        for axis in list(axes.flat)[len(found) :]:
            axis.set_axis_off()

    draw(path, (len(found) + 2) // 3, min(3, len(found)), fill)


def main() -> int:
    path = argument_parser("Losses and the separation of classes.", "class_separation.png").parse_args().plot
    images, labels, test_images, test_labels = load_data()
    found = {}
    for name, loss in LOSSES.items():
        found[name] = angles(train_on_cosines(loss, images, labels), test_images, test_labels)
        report(name, *found[name])
    plot(path, found)
    learned = all(accuracy >= REQUIRED_ACCURACY for _, _, accuracy in found.values())
    closer = found["AM-Softmax"][0].mean() < found["softmax"][0].mean()
    return 0 if learned and closer else 1


if __name__ == "__main__":
    sys.exit(main())
