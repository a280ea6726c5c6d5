"""What is measured: one cell is an operation on one shape, dtype and set of options."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

ROWS = [
    (512, 128256),
    (64, 128256),
    (4096, 1000),
    (65536, 64),
    (1_000_000, 2),
    (1_000_000, 3),
    (1_000_000, 10),
    (1_000_000, 16),
    (1_000_000, 32),
    (1, 10_000_000),
    (256, 10),
]
IMAGES = (32, 64, 56, 56)

# Floating-point operations per logit of the arithmetic that NUMERICS of such losses needs (an exponential is 20, a
# logarithm or a division in the middle of a row too), for the roofline. Nominal: everybody is credited with the same.
FLOPS_PER_LOGIT = {
    "logsumexp": 22,
    "softmax": 44,
    "log_softmax": 23,
    "softmax_vjp": 5,
    "log_softmax_vjp": 23,
    "cross_entropy": 22,
    "cross_entropy_value_and_grad": 44,
    "bce_with_logits": 45,
    "bce_with_logits_value_and_grad": 55,
    "sigmoid_focal_loss": 90,
    "sigmoid_focal_loss_value_and_grad": 120,
}

LABELS = {
    "logsumexp": "log-sum-exp",
    "softmax": "softmax",
    "log_softmax": "log-softmax",
    "softmax_vjp": "softmax vjp",
    "log_softmax_vjp": "log-softmax vjp",
    "cross_entropy": "CE loss",
    "cross_entropy_value_and_grad": "CE loss+grad",
    "bce_with_logits": "BCE loss",
    "bce_with_logits_value_and_grad": "BCE loss+grad",
    "sigmoid_focal_loss": "focal loss",
    "sigmoid_focal_loss_value_and_grad": "focal loss+grad",
}


@dataclass(frozen=True)
class Cell:
    family: str
    operation: str  # name of the function in logitloss
    shape: tuple[int, ...]
    axis: int = -1
    dtype: str = "float32"
    target: str = ""  # "index", "soft" or a dtype
    options: dict = field(default_factory=dict)  # label_smoothing: a number; class_weight, pos_weight: True

    @property
    def name(self) -> str:
        words = [LABELS[self.operation], "x".join(map(str, self.shape)), self.dtype]
        if len(self.shape) > 2:
            words.append(f"axis {self.axis}")
        if self.target not in ("", "index", "float32"):
            words.append(f"{self.target} targets")
        words += [option.replace("_", " ") for option in self.options]
        return " ".join(words)

    @property
    def elements(self) -> int:
        return math.prod(self.shape)


def all_cells() -> list[Cell]:
    return log_sum_exp_cells() + cross_entropy_cells() + softmax_cells() + binary_cells() + small_calls()


def log_sum_exp_cells() -> list[Cell]:
    plain = Cell("log-sum-exp", "logsumexp", ())
    return [
        *(replace(plain, shape=shape) for shape in ROWS),
        *(replace(plain, shape=IMAGES, axis=axis) for axis in (0, 1)),
        replace(plain, shape=(4096, 1000), dtype="float64"),
        replace(plain, shape=(1, 1_000_000), dtype="float64"),
        replace(plain, shape=(4096, 1000), dtype="bfloat16"),
        replace(plain, shape=(512, 128256), dtype="bfloat16"),
    ]


def cross_entropy_cells() -> list[Cell]:
    cells = []
    for operation in ("cross_entropy", "cross_entropy_value_and_grad"):
        plain = Cell("cross-entropy", operation, (4096, 1000), target="index")
        cells += [
            *(replace(plain, shape=shape) for shape in ROWS),
            *(replace(plain, shape=IMAGES, axis=axis) for axis in (0, 1)),
            replace(plain, options={"label_smoothing": 0.1}),
            replace(plain, options={"class_weight": True}),
            replace(plain, target="soft"),
            replace(plain, dtype="float64"),
            replace(plain, shape=(512, 128256), dtype="bfloat16"),
            replace(plain, shape=(512, 128256), dtype="float16"),
        ]
    return cells


def softmax_cells() -> list[Cell]:
    operations = ("softmax", "log_softmax", "softmax_vjp", "log_softmax_vjp")
    shapes = ((4096, 1000), (512, 128256), (1_000_000, 10))
    return [Cell("softmax", operation, shape) for operation in operations for shape in shapes]


def binary_cells() -> list[Cell]:
    cells = []
    for suffix in ("", "_value_and_grad"):
        plain = Cell("BCE", "bce_with_logits" + suffix, (4096, 1000), target="float32")
        for shape in ((10_000_000,), (4096, 1000)):
            cells += [replace(plain, shape=shape, target=target) for target in ("float32", "uint8")]
        cells.append(replace(plain, options={"pos_weight": True}))
        cells.append(replace(plain, shape=(10_000_000,), operation="sigmoid_focal_loss" + suffix))
    return cells


def small_calls() -> list[Cell]:
    """Ten elements: the price of a call."""
    cells = []
    for operation in LABELS:
        binary = operation.startswith(("bce", "sigmoid"))
        target = "float32" if binary else "index" if operation.startswith("cross") else ""
        cells.append(Cell("call", operation, (10,) if binary else (1, 10), target=target))
    return cells


def with_fewer_rows(cells: list[Cell], most_elements: int = 2**17) -> list[Cell]:
    """The same cells with smaller shapes; those that become equal are kept once."""
    cells = [replace(cell, shape=_shrink(cell.shape, cell.axis, most_elements)) for cell in cells]
    return list({cell.name: cell for cell in cells}.values())


def _shrink(shape: tuple[int, ...], axis: int, most_elements: int) -> tuple[int, ...]:
    sizes = list(shape)
    axis %= len(sizes)
    while math.prod(sizes) > most_elements:
        others = [i for i in range(len(sizes)) if i != axis and sizes[i] > 1]
        largest = max(others, key=lambda i: sizes[i], default=axis)
        sizes[largest] = max(1, sizes[largest] // 2)
    return tuple(sizes)
