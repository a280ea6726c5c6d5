"""Train a small network on handwritten digits: the model in NumPy, its loss and gradient from logitloss.

The network is the one of the Keras tutorials, Dense(84, relu) and Dense(10), trained with Adam in batches of 256 on
scikit-learn's 1,797 images of 8x8 pixels. A framework would differentiate all of it. Here only the loss, the part
that is hard to get right in floating point, comes from a library: it returns the gradient with respect to the logits,
and the chain rule through two matrix products is the six lines of `Network.backward`.

    python examples/digits.py                    train, print what Keras prints, save digits.png
    python examples/digits.py --compare-torch    train again with PyTorch's cross-entropy and compare the losses

The exit code is 0 if at least 95 % of the test images are recognised (and PyTorch, if asked for, agrees).
"""

from __future__ import annotations

import argparse
import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from tqdm import tqdm

import logitloss as ll

BATCH = 256
HIDDEN = 84
CLASSES = 10
REQUIRED_ACCURACY = 0.95


def load_data(seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Images scaled to [0, 1] and labels: 360 to test with, an eighth of the rest to validate, the others to train."""
    digits = load_digits()
    images = (digits.data / 16.0).astype(np.float32)
    rest, test, rest_labels, test_labels = train_test_split(
        images, digits.target, test_size=0.2, stratify=digits.target, random_state=seed
    )
    train, validation, train_labels, validation_labels = train_test_split(
        rest, rest_labels, test_size=0.125, stratify=rest_labels, random_state=seed
    )
    return {
        "train": (train, train_labels),
        "validation": (validation, validation_labels),
        "test": (test, test_labels),
    }


class Network:
    """images (n, 64) -> hidden (n, 84) -> logits (n, 10)."""

    def __init__(self, inputs: int, rng: np.random.Generator):
        self.parameters = [
            glorot_uniform(inputs, HIDDEN, rng),
            np.zeros(HIDDEN, np.float32),
            glorot_uniform(HIDDEN, CLASSES, rng),
            np.zeros(CLASSES, np.float32),
        ]

    def forward(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        w1, b1, w2, b2 = self.parameters
        hidden = np.maximum(images @ w1 + b1, 0.0)
        return hidden, hidden @ w2 + b2

    def backward(self, images: np.ndarray, hidden: np.ndarray, d_logits: np.ndarray) -> list[np.ndarray]:
        """Gradients of the loss with respect to the parameters, from its gradient with respect to the logits."""
        w2 = self.parameters[2]
        d_hidden = d_logits @ w2.T
        d_hidden[hidden == 0.0] = 0.0  # ReLU passes no gradient where it was off
        return [images.T @ d_hidden, d_hidden.sum(axis=0), hidden.T @ d_logits, d_logits.sum(axis=0)]


def glorot_uniform(inputs: int, outputs: int, rng: np.random.Generator) -> np.ndarray:
    """Initial weights as Keras draws them (Glorot and Bengio, 2010)."""
    limit = np.sqrt(6.0 / (inputs + outputs))
    return rng.uniform(-limit, limit, (inputs, outputs)).astype(np.float32)


class Adam:
    """Kingma and Ba (2015), with the settings of Keras."""

    def __init__(self, parameters: list[np.ndarray], rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-7):
        self.rate, self.beta1, self.beta2, self.epsilon = rate, beta1, beta2, epsilon
        self.mean = [np.zeros_like(p) for p in parameters]
        self.square = [np.zeros_like(p) for p in parameters]
        self.step = 0

    def update(self, parameters: list[np.ndarray], gradients: list[np.ndarray]) -> None:
        self.step += 1
        rate = self.rate * np.sqrt(1.0 - self.beta2**self.step) / (1.0 - self.beta1**self.step)
        for p, g, mean, square in zip(parameters, gradients, self.mean, self.square, strict=True):
            mean += (1.0 - self.beta1) * (g - mean)
            square += (1.0 - self.beta2) * (g * g - square)
            p -= np.float32(rate) * mean / (np.sqrt(square) + self.epsilon)


def torch_cross_entropy_value_and_grad(logits: np.ndarray, labels: np.ndarray) -> tuple[float, np.ndarray]:
    """What `logitloss.cross_entropy_value_and_grad` computes, by PyTorch."""
    import torch

    logits = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(labels))
    loss.backward()
    return loss.item(), logits.grad.numpy()


def evaluate(network: Network, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    """Mean loss, and share of the images whose largest logit is the right one."""
    _, logits = network.forward(images)
    return float(ll.cross_entropy(logits, labels)), float(np.mean(logits.argmax(axis=1) == labels))


def train(data, epochs: int, seed: int, loss_and_gradient=ll.cross_entropy_value_and_grad, verbose=True):
    """Train a new network; return it, its curves (one value an epoch) and the loss of every step."""
    rng = np.random.default_rng(seed)
    images, labels = data["train"]
    network = Network(images.shape[1], rng)
    adam = Adam(network.parameters)
    curves = {"loss": [], "accuracy": [], "val_loss": [], "val_accuracy": []}
    step_losses = []

    for epoch in range(epochs):
        if verbose:
            print(f"Epoch {epoch + 1}/{epochs}")
        order = rng.permutation(len(images))
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        loss_sum = correct = 0.0
        with tqdm(
            total=len(batches),
            bar_format="{n_fmt}/{total_fmt} [{bar:30}] - {elapsed}{desc}",
            ascii=" =",
            file=sys.stdout,
            disable=not verbose,
        ) as bar:
            for batch in batches:
                x, y = images[batch], labels[batch]
                hidden, logits = network.forward(x)
                loss, d_logits = loss_and_gradient(logits, y)
                adam.update(network.parameters, network.backward(x, hidden, d_logits))

                step_losses.append(float(loss))
                loss_sum += float(loss) * len(batch)
                correct += np.count_nonzero(logits.argmax(axis=1) == y)
                bar.update()
            val_loss, val_accuracy = evaluate(network, *data["validation"])
            numbers = (loss_sum / len(images), correct / len(images), val_loss, val_accuracy)
            for curve, number in zip(curves.values(), numbers, strict=True):
                curve.append(number)
            latest = "".join(f" - {name}: {curve[-1]:.4f}" for name, curve in curves.items())
            bar.set_description_str(latest, refresh=False)  # closing the bar draws it
    return network, curves, step_losses


def compare_with_torch(data, epochs: int, seed: int, step_losses: list[float]) -> bool:
    """Repeat the training with PyTorch's loss and gradient: the same losses, step by step, to 1e-6?"""
    _, _, torch_losses = train(data, epochs, seed, torch_cross_entropy_value_and_grad, verbose=False)
    difference = max(abs(ours - theirs) for ours, theirs in zip(step_losses, torch_losses, strict=True))
    print(f"PyTorch's cross-entropy: largest difference of a loss over {len(step_losses)} steps is {difference:.1e}")
    return difference <= 1e-6


def save_curves(curves: dict[str, list[float]], path: str) -> None:
    """Loss and accuracy over the epochs, as a picture."""
    try:
        import matplotlib
    except ImportError:
        print(f"matplotlib is not installed: {path} was not drawn (pip install matplotlib)")
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
    epochs = range(1, len(curves["loss"]) + 1)
    for panel, name in zip(panels, ("loss", "accuracy"), strict=True):
        panel.plot(epochs, curves[name], label="training")
        panel.plot(epochs, curves["val_" + name], label="validation")
        panel.set(title=name, xlabel="epoch")
        panel.grid(alpha=0.3)
        panel.legend()
    figure.savefig(path, dpi=120)
    plt.close(figure)
    print(f"Curves saved to {path}")


def main() -> int:
    parser = argparse.ArgumentParser(description="Train a small network on handwritten digits.")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--plot", metavar="PATH", default="digits.png", help="where to save the curves")
    parser.add_argument("--compare-torch", action="store_true", help="train again with PyTorch's loss and compare")
    arguments = parser.parse_args()

    data = load_data(arguments.seed)
    network, curves, step_losses = train(data, arguments.epochs, arguments.seed)
    save_curves(curves, arguments.plot)
    agrees = not arguments.compare_torch or compare_with_torch(data, arguments.epochs, arguments.seed, step_losses)

    test_loss, test_accuracy = evaluate(network, *data["test"])
    print(f"Test loss: {test_loss:.4f} - test accuracy: {test_accuracy:.4f} (required: {REQUIRED_ACCURACY})")
    return 0 if test_accuracy >= REQUIRED_ACCURACY and agrees else 1


if __name__ == "__main__":
    sys.exit(main())
