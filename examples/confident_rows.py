"""What float32 loses of a row that is right and sure, and what is left of it here.

The loss of a row whose target leads by d is log(1 + (C-1) exp(-d)). Frameworks form it as the difference of two
numbers that agree in all their digits from a lead of about 17 on: the loss is 0, the gradient is 0, and the row has
stopped teaching. This program shows both computations

 - on rows of ten classes whose target leads by 0 to 100,
 - on the digits, learned by softmax regression until most of the images are sure.

    python examples/confident_rows.py

PyTorch's losses are drawn too if it is installed. The exit code is 0 if the usual formula lost rows and logitloss none.
"""

from __future__ import annotations

import sys

import numpy as np
from pictures import COLORS, argument_parser, draw
from sklearn.datasets import load_digits

import logitloss as ll

CLASSES = 10
STEPS = 500


def usual_formula(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Loss and gradient per row as most code computes them, in the dtype of the logits."""
    shifted = logits - logits.max(axis=-1, keepdims=True)
    log_softmax = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    rows = np.arange(len(target))
    grad = np.exp(log_softmax)
    grad[rows, target] -= 1
    return -log_softmax[rows, target], grad


def torch_formula(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    try:
        import torch
    except ImportError:
        return None
    z = torch.from_numpy(logits).requires_grad_()
    loss = torch.nn.functional.cross_entropy(z, torch.from_numpy(target), reduction="none")
    loss.sum().backward()
    return loss.detach().numpy(), z.grad.numpy()


def library(logits: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return ll.cross_entropy_value_and_grad(logits, target, reduction="none")


def rows_with_leads(leads: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    logits = np.zeros((leads.size, CLASSES), np.float32)
    logits[:, 0] = leads
    return logits, np.zeros(leads.size, np.int64)


def learn_digits() -> tuple[np.ndarray, np.ndarray]:
    """Logits of the digits after softmax regression by gradient descent, and their labels."""
    digits = load_digits()
    images = (digits.data / 4.0).astype(np.float32)
    weights = np.zeros((images.shape[1], CLASSES), np.float32)
    velocity = np.zeros_like(weights)
    for _ in range(STEPS):
        _, d_logits = ll.cross_entropy_value_and_grad(images @ weights, digits.target)
        velocity = 0.95 * velocity - 0.4 * images.T @ d_logits
        weights += velocity
    return images @ weights, digits.target


def plot(path, leads: np.ndarray, results: dict, digits_losses: dict[str, np.ndarray]) -> None:
    def fill(plt, axes):
        for column, title in enumerate(("loss", "size of the gradient at the target")):
            axis = axes[0, column]
            for width, style, color, (name, (loss, grad)) in zip(
                (5, 2.5, 1.5), ("-", "-", ":"), COLORS, results.items(), strict=False
            ):
                values = loss if column == 0 else -grad[:, 0]
                axis.plot(
                    leads[values > 0], values[values > 0], label=name, color=color, linewidth=width, linestyle=style
                )
            axis.set_yscale("log")
            axis.set_title(title)
            axis.set_xlabel("lead of the target")
        axes[0, 0].legend(frameon=False)
        axis = axes[0, 2]
        bins = np.linspace(-40, 1, 42)
        for color, (name, losses) in zip(COLORS, digits_losses.items(), strict=False):
            axis.hist(np.log10(losses[losses > 0]), bins, label=name, color=color, alpha=0.7)
        axis.set_title("the digits' losses that are not 0")
        axis.set_xlabel("log10 of the loss")
        axis.set_ylabel("digits")
        axis.legend(frameon=False, loc="upper left")

    draw(path, 1, 3, fill)


def main() -> int:
    path = argument_parser("Losses of confident rows in float32.", "confident_rows.png").parse_args().plot
    leads = np.linspace(0, 100, 401, dtype=np.float32)
    logits, target = rows_with_leads(leads)
    results = {"logitloss": library(logits, target), "usual formula": usual_formula(logits, target)}
    from_torch = torch_formula(logits, target)
    if from_torch is not None:
        results["PyTorch"] = from_torch
    for name, (loss, _) in results.items():
        lost = leads[loss == 0]
        print(f"{name}: " + (f"loss 0 from a lead of {lost[0]:g} on" if lost.size else "never 0"))

    z, labels = learn_digits()
    print(f"digits: accuracy {ll.accuracy(z, labels):.4f}")
    digits_losses = {"logitloss": library(z, labels)[0], "usual formula": usual_formula(z, labels)[0]}
    lost = {name: int(np.sum(losses == 0)) for name, losses in digits_losses.items()}
    here, formula = lost.values()
    print(f"digits: rows of {len(labels)} with loss 0: {here} here, {formula} by the formula")
    plot(path, leads, results, digits_losses)
    kept = here == 0 and np.all(results["logitloss"][0] > 0)
    return 0 if kept and formula > 100 else 1


if __name__ == "__main__":
    sys.exit(main())
