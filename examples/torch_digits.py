"""The digits again, this time by PyTorch, with one import changed: the same curves, and the time of a step.

The network, its data and its optimizer's settings are those of digits.py. Here PyTorch differentiates. The training
runs once with `torch.nn.functional.cross_entropy` and once with `logitloss.torch.cross_entropy`, from the same weights.
Then the loss alone is timed, forward and backward, in turns: for these ten classes, and for a vocabulary.

    python examples/torch_digits.py              train twice, print curves and times, draw torch_digits.png

The exit code is 0 if the losses of all steps agree to 1e-5 and at least 95 % of the test images are recognised.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from digits import BATCH, CLASSES, HIDDEN, REQUIRED_ACCURACY, load_data
from pictures import COLORS, argument_parser, draw
from torch.nn import functional as F

import logitloss.torch as lt  # the one import; F.cross_entropy becomes lt.cross_entropy

LOSSES = {"torch.nn.functional": F.cross_entropy, "logitloss.torch": lt.cross_entropy}
EPOCHS = 100
SHAPES = {"digits": (BATCH, CLASSES), "many rows": (100_000, 10), "vocabulary": (64, 32_000)}
ROUNDS = 15

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def train(data: dict[str, tuple[torch.Tensor, torch.Tensor]], loss_of: Loss) -> tuple[torch.nn.Module, list[float]]:
    """The trained network, and the loss of every step."""
    torch.manual_seed(0)
    images, labels = data["train"]
    network = torch.nn.Sequential(
        torch.nn.Linear(images.shape[1], HIDDEN), torch.nn.ReLU(), torch.nn.Linear(HIDDEN, CLASSES)
    )
    adam = torch.optim.Adam(network.parameters(), lr=0.001, eps=1e-7)
    step_losses = []
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(images)).split(BATCH):
            loss = loss_of(network(images[batch]), labels[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
            step_losses.append(loss.item())
    return network, step_losses


def seconds_of_a_step(shape: tuple[int, int]) -> dict[str, float]:
    """Forward and backward through the loss: medians of calls that take turns."""
    logits, labels = torch.randn(shape, requires_grad=True), torch.randint(0, shape[1], shape[:1])
    calls = max(1, 100_000 // logits.numel())
    seconds: dict[str, list[float]] = {name: [] for name in LOSSES}
    for _ in range(ROUNDS):
        for name, loss_of in LOSSES.items():
            start = time.perf_counter()
            for _ in range(calls):
                logits.grad = None
                loss_of(logits, labels).backward()
            seconds[name].append((time.perf_counter() - start) / calls)
    return {name: median(each) for name, each in seconds.items()}


def main() -> int:
    arguments = argument_parser("Train a network on digits with either cross-entropy.", "torch_digits.png").parse_args()
    arrays = load_data(seed=0)
    data = {part: (torch.from_numpy(x), torch.from_numpy(y)) for part, (x, y) in arrays.items()}

    curves = {}
    for name, loss_of in LOSSES.items():
        network, curves[name] = train(data, loss_of)
        with torch.no_grad():
            images, labels = data["test"]
            accuracy = (network(images).argmax(1) == labels).double().mean().item()
        print(f"{name}: last loss {curves[name][-1]:.6f} - test accuracy: {accuracy:.4f}")
    theirs, ours = curves.values()
    difference = max(abs(a - b) for a, b in zip(theirs, ours, strict=True))
    print(f"Largest difference of a loss over {len(ours)} steps: {difference:.1e}")

    times = {name: seconds_of_a_step(shape) for name, shape in SHAPES.items()}
    for name, seconds in times.items():
        rows, classes = SHAPES[name]
        each = ", ".join(f"{module} {1e6 * s:.0f} us" for module, s in seconds.items())
        print(f"{name}, {rows} x {classes}: {each}")

    def fill(plt, axes):
        losses, bars = axes[0]
        for (name, curve), color, width in zip(curves.items(), COLORS, (4, 1.5), strict=False):
            losses.plot(curve, label=name, color=color, linewidth=width)
        losses.set(title="loss of a batch", xlabel="step", yscale="log")
        losses.legend()
        slower = [seconds["torch.nn.functional"] / seconds["logitloss.torch"] for seconds in times.values()]
        bars.bar([f"{name}\n{a:,} x {b:,}" for name, (a, b) in SHAPES.items()], slower, color=COLORS[1])
        bars.axhline(1, color="black", linewidth=0.8)
        bars.set(title="times as fast as PyTorch")
        bars.tick_params(axis="x", labelsize=7)

    draw(arguments.plot, 1, 2, fill)
    return 0 if difference <= 1e-5 and accuracy >= REQUIRED_ACCURACY else 1


if __name__ == "__main__":
    sys.exit(main())
