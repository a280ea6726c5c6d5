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
MATRICES = ((4096, 1000), (1_000_000, 10))  # rows in turn, and side by side
ELEMENTS = ((10_000_000,), (4096, 1000))  # for what knows no rows


@dataclass(frozen=True)
class Operation:
    """A function of logitloss; the cells name it as it is called there."""

    label: str
    # Floating-point operations per element of the arithmetic that the accuracy of such losses needs (an exponential is
    # 20, a logarithm or a division in the middle of a row too), for the roofline. Nominal: all are credited the same.
    flops: int
    target: str = ""  # what the second argument is, unless the cell says otherwise; see Cell
    elementwise: bool = False
    arithmetic: str = ""  # what an element cannot do without, one of arithmetic.LOOPS, unless the cell says otherwise


OPERATIONS = {
    "logsumexp": Operation("log-sum-exp", 22, arithmetic="max+exp"),
    "logsumexp_value_and_grad": Operation("log-sum-exp+grad", 44, arithmetic="max+exp"),
    "softmax": Operation("softmax", 44, arithmetic="max+exp"),
    "log_softmax": Operation("log-softmax", 23, arithmetic="max+exp"),
    "softmax_vjp": Operation("softmax vjp", 5),
    "log_softmax_vjp": Operation("log-softmax vjp", 23, arithmetic="exp"),
    "cross_entropy": Operation("CE loss", 22, "index", arithmetic="max+exp"),
    "cross_entropy_value_and_grad": Operation("CE loss+grad", 44, "index", arithmetic="max+exp"),
    "bce_with_logits": Operation("BCE loss", 45, "float32", elementwise=True, arithmetic="exp+log1p"),
    "bce_with_logits_value_and_grad": Operation(
        "BCE loss+grad", 55, "float32", elementwise=True, arithmetic="exp+log1p+division"
    ),
    "sigmoid_focal_loss": Operation("focal loss", 90, "float32", elementwise=True, arithmetic="exp+log1p+division"),
    "sigmoid_focal_loss_value_and_grad": Operation(
        "focal loss+grad", 120, "float32", elementwise=True, arithmetic="exp+log1p+division"
    ),
    "cross_entropy_from_probs": Operation("CE of probabilities", 25, "index"),
    "cross_entropy_from_probs_value_and_grad": Operation("CE of probabilities+grad", 46, "index"),
    "binary_cross_entropy": Operation("BCE of probabilities", 45, "float32", elementwise=True, arithmetic="log"),
    "binary_cross_entropy_value_and_grad": Operation(
        "BCE of probabilities+grad", 66, "float32", elementwise=True, arithmetic="log+division"
    ),
    "self_information": Operation("self-information", 20, elementwise=True, arithmetic="log"),
    "entropy": Operation("entropy", 22, arithmetic="log"),
    "entropy_from_logits": Operation("entropy from logits", 25, arithmetic="max+exp"),
    "kl_divergence": Operation("KL divergence", 42, "soft", arithmetic="log+division"),
    "cross_entropy_of": Operation("cross-entropy of p and q", 22, "soft", arithmetic="log"),
    "mean_squared_error": Operation("MSE", 3, "real", elementwise=True),
    "mean_squared_error_value_and_grad": Operation("MSE+grad", 4, "real", elementwise=True),
    "mean_absolute_error": Operation("MAE", 3, "real", elementwise=True),
    "mean_absolute_error_value_and_grad": Operation("MAE+grad", 5, "real", elementwise=True),
    "root_mean_squared_error": Operation("RMSE", 3, "real", elementwise=True),
    "root_mean_squared_error_value_and_grad": Operation("RMSE+grad", 4, "real", elementwise=True),
    "accuracy": Operation("accuracy", 2, "index"),
}


@dataclass(frozen=True)
class Cell:
    family: str
    operation: str  # a key of OPERATIONS
    shape: tuple[int, ...]
    axis: int = -1
    dtype: str = "float32"
    target: str = ""  # "index", "soft" (rows of probabilities), "real", or the dtype of hard binary targets
    options: dict = field(default_factory=dict)  # numbers; class_weight, pos_weight: True, they are drawn

    @property
    def name(self) -> str:
        words = [OPERATIONS[self.operation].label, "x".join(map(str, self.shape)), self.dtype]
        if len(self.shape) > 2:
            words.append(f"axis {self.axis}")
        if self.target != OPERATIONS[self.operation].target:
            words.append(f"{self.target} targets")
        for option, value in self.options.items():
            words.append(option.replace("_", " ") + ("" if value is True else f" {value:g}"))
        return " ".join(words)

    @property
    def elements(self) -> int:
        return math.prod(self.shape)

    @property
    def arithmetic(self) -> str:
        """Of probabilities against labels, which are added up, only the row's own needs a logarithm."""
        if self.operation.startswith("cross_entropy_from_probs") and self.target == "soft":
            return "log+division" if self.operation.endswith("grad") else "log"
        return OPERATIONS[self.operation].arithmetic


def cell(family: str, operation: str, shape: tuple[int, ...], **fields) -> Cell:
    return Cell(family, operation, shape, **{"target": OPERATIONS[operation].target, **fields})


def with_gradient(operation: str) -> tuple[str, str]:
    return operation, operation + "_value_and_grad"


def all_cells() -> list[Cell]:
    return [
        *log_sum_exp_cells(),
        *cross_entropy_cells(),
        *softmax_cells(),
        *binary_cells(),
        *probability_cells(),
        *information_cells(),
        *regression_cells(),
        *metric_cells(),
        *small_calls(),
    ]


def log_sum_exp_cells() -> list[Cell]:
    plain = cell("log-sum-exp", "logsumexp", (4096, 1000))
    return [
        *(replace(plain, shape=shape) for shape in ROWS),
        *(replace(plain, shape=IMAGES, axis=axis) for axis in (0, 1)),
        replace(plain, dtype="float64"),
        replace(plain, shape=(1, 1_000_000), dtype="float64"),
        replace(plain, dtype="bfloat16"),
        *(replace(plain, shape=(512, 128256), dtype=dtype) for dtype in ("bfloat16", "float16")),
        *(
            replace(plain, operation="logsumexp_value_and_grad", shape=shape)
            for shape in ((512, 128256), (4096, 1000), (1_000_000, 10))
        ),
    ]


def cross_entropy_cells() -> list[Cell]:
    cells = []
    for operation in with_gradient("cross_entropy"):
        plain = cell("cross-entropy", operation, (4096, 1000))
        cells += [
            *(replace(plain, shape=shape) for shape in ROWS),
            *(replace(plain, shape=IMAGES, axis=axis) for axis in (0, 1)),
            replace(plain, shape=(100_000, 10)),
        ]
        for shape in MATRICES:
            cells += [
                replace(plain, shape=shape, options={"label_smoothing": 0.1}),
                replace(plain, shape=shape, options={"class_weight": True}),
                replace(plain, shape=shape, target="soft"),
            ]
        cells += [
            replace(plain, dtype="float64"),
            replace(plain, shape=(1, 1_000_000), dtype="float64"),
            replace(plain, dtype="bfloat16"),
            replace(plain, shape=(512, 128256), dtype="bfloat16"),
            replace(plain, shape=(512, 128256), dtype="float16"),
        ]
    return cells


def softmax_cells() -> list[Cell]:
    operations = ("softmax", "log_softmax", "softmax_vjp", "log_softmax_vjp")
    shapes = ((4096, 1000), (512, 128256), (1_000_000, 10))
    return [cell("softmax", operation, shape) for operation in operations for shape in shapes]


def binary_cells() -> list[Cell]:
    cells = []
    for operation in with_gradient("bce_with_logits"):
        for shape in ELEMENTS:
            plain = cell("BCE", operation, shape)
            cells += [plain, replace(plain, target="uint8"), replace(plain, options={"pos_weight": True})]
        cells += [cell("BCE", operation, ELEMENTS[0], dtype=dtype) for dtype in ("float64", "bfloat16")]
    # No gradient: float16 has no number as small as that of a mean over ten million.
    cells.append(cell("BCE", "bce_with_logits", ELEMENTS[0], dtype="float16"))
    for operation in with_gradient("sigmoid_focal_loss"):
        cells += [cell("BCE", operation, shape) for shape in ELEMENTS]
    return cells


def probability_cells() -> list[Cell]:
    """Labels are measured with `eps`, which divides a row by its sum: without it others read one number of a row."""
    cells = []
    for operation in with_gradient("cross_entropy_from_probs"):
        for shape in MATRICES:
            plain = cell("probabilities", operation, shape)
            cells += [replace(plain, options={"eps": 1e-7}), replace(plain, target="soft")]
        cells.append(cell("probabilities", operation, MATRICES[0]))
    for operation in with_gradient("binary_cross_entropy"):
        cells += [cell("probabilities", operation, shape) for shape in ELEMENTS]
    return cells


def information_cells() -> list[Cell]:
    operations = ("entropy", "entropy_from_logits", "kl_divergence", "cross_entropy_of")
    return [
        *(cell("information", operation, shape) for operation in operations for shape in MATRICES),
        cell("information", "self_information", ELEMENTS[0]),
    ]


def regression_cells() -> list[Cell]:
    operations = (*with_gradient("mean_squared_error"), *with_gradient("mean_absolute_error"))
    cells = [cell("regression", operation, shape) for operation in operations for shape in ELEMENTS]
    cells += [cell("regression", operation, ELEMENTS[0]) for operation in with_gradient("root_mean_squared_error")]
    return cells


def metric_cells() -> list[Cell]:
    shapes = ((4096, 1000), (1_000_000, 10), (512, 128256))
    plain = [cell("metrics", "accuracy", shape) for shape in shapes]
    return plain + [replace(top_1, options={"top_k": 5}) for top_1 in plain]


def small_calls() -> list[Cell]:
    """Ten elements: the price of a call."""
    return [cell("call", name, (10,) if o.elementwise else (1, 10)) for name, o in OPERATIONS.items()]


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
