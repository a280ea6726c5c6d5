"""Train the network of digits.py in JAX, once with the loss of optax and once with that of logitloss.

One import makes the difference: `cross_entropy` is `optax.softmax_cross_entropy_with_integer_labels` or
`logitloss.jax.cross_entropy`. Both networks start alike and see the same batches, so their curves lie on each other.
Then a step is timed with either loss: of this network, and of one with 32,000 classes, as language models have.

    python examples/jax_digits.py        train, compare, time, save jax_digits.png

The exit code is 0 if both recognise 95 % of the test images and their losses agree to 1e-4. Needs jax and optax, and
says so where they are missing.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import numpy as np
from digits import BATCH, CLASSES, HIDDEN, REQUIRED_ACCURACY, glorot_uniform, load_data
from pictures import COLORS, argument_parser, draw

try:
    import jax
    import jax.numpy as jnp
    import optax

    from logitloss.jax import cross_entropy
except ImportError as error:
    print(f"nothing to compare: {error} (pip install 'logitloss[jax]' optax)")
    sys.exit(0)

LOSSES = {"logitloss": cross_entropy, "optax": optax.softmax_cross_entropy_with_integer_labels}
EPOCHS = 100


def network(parameters, images):
    """images (n, 64) -> hidden (n, 84) -> logits (n, 10)."""
    w1, b1, w2, b2 = parameters
    return jax.nn.relu(images @ w1 + b1) @ w2 + b2


class Training:
    """The step of one loss, and what it has learned."""

    def __init__(self, loss: Callable, inputs: int, classes: int = CLASSES):
        rng = np.random.default_rng(0)
        layers = (inputs, HIDDEN), (HIDDEN, classes)
        self.parameters = [
            jnp.asarray(part)
            for shape in layers
            for part in (glorot_uniform(*shape, rng), np.zeros(shape[1], np.float32))
        ]
        optimizer = optax.adam(0.001, eps=1e-7)
        self.state = optimizer.init(self.parameters)

        def mean_loss(parameters, images, labels):
            return loss(network(parameters, images), labels).mean()

        @jax.jit
        def step(parameters, state, images, labels):
            value, gradients = jax.value_and_grad(mean_loss)(parameters, images, labels)
            updates, state = optimizer.update(gradients, state)
            return optax.apply_updates(parameters, updates), state, value

        self.compiled = step

    def step(self, images, labels) -> float:
        self.parameters, self.state, loss = self.compiled(self.parameters, self.state, images, labels)
        return float(loss)

    def accuracy(self, images, labels) -> float:
        return float(np.mean(np.argmax(network(self.parameters, images), axis=1) == labels))


def train(trainings: dict[str, Training], images, labels) -> dict[str, list[float]]:
    """The mean loss of every epoch."""
    rng = np.random.default_rng(1)
    curves: dict[str, list[float]] = {name: [] for name in trainings}
    for _ in range(EPOCHS):
        order = rng.permutation(len(images))[: len(images) // BATCH * BATCH]
        for name, training in trainings.items():
            losses = [training.step(images[batch], labels[batch]) for batch in order.reshape(-1, BATCH)]
            curves[name].append(float(np.mean(losses)))
    return curves


def step_times(images, classes: int, rounds: int) -> dict[str, float]:
    """Milliseconds of a step: the median, the losses taking turns."""
    labels = np.arange(len(images)) % classes
    trainings = {name: Training(loss, images.shape[1], classes) for name, loss in LOSSES.items()}
    times: dict[str, list[float]] = {name: [] for name in trainings}
    for turn in range(rounds + 2):
        for name, training in trainings.items():
            start = time.perf_counter()
            training.step(images, labels)
            if turn >= 2:  # compiled, and warm
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: median(of_one) for name, of_one in times.items()}


def main() -> int:
    arguments = argument_parser("Train the digits in JAX with two losses.", "jax_digits.png").parse_args()
    data = load_data(seed=0)
    images, labels = data["train"]
    trainings = {name: Training(loss, images.shape[1]) for name, loss in LOSSES.items()}
    curves = train(trainings, images, labels)
    difference = float(np.max(np.abs(np.subtract(*curves.values()))))
    accuracies = {name: training.accuracy(*data["test"]) for name, training in trainings.items()}
    for name, accuracy in accuracies.items():
        print(f"{name}: loss {curves[name][-1]:.4f} - test accuracy: {accuracy:.4f} (required: {REQUIRED_ACCURACY})")
    print(f"largest difference of an epoch's loss: {difference:.1e}")

    times = {classes: step_times(images[:BATCH], classes, rounds) for classes, rounds in ((CLASSES, 100), (32000, 5))}
    for classes, of_losses in times.items():
        print(f"a step with {classes} classes: " + ", ".join(f"{name} {ms:.2f} ms" for name, ms in of_losses.items()))

    def fill(plt, axes):
        curve, *bars = axes[0]
        for name, color, style in zip(LOSSES, COLORS, ("-", "--"), strict=False):
            curve.semilogy(range(1, EPOCHS + 1), curves[name], style, color=color, label=name)
        curve.set(title="one import changed", xlabel="epoch", ylabel="training loss")
        curve.legend(frameon=False)
        for panel, (classes, of_losses) in zip(bars, times.items(), strict=True):
            panel.bar(list(of_losses), list(of_losses.values()), color=COLORS[:2])
            panel.set(title=f"a step with {classes:,} classes", ylabel="ms")

    draw(arguments.plot, 1, 3, fill)
    agree = difference <= 1e-4 and min(accuracies.values()) >= REQUIRED_ACCURACY
    return 0 if agree else 1


if __name__ == "__main__":
    sys.exit(main())
