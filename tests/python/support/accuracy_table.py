"""Measures the errors that docs/numerics.md quotes, and prints them as Markdown.

    python tests/python/support/accuracy_table.py

The reference is longdouble (64 bits of mantissa on x86), on the very numbers that the library was given.
"""

import sys

import numpy as np

import logitloss as ll

ELEMENTS = 400_000  # per cell and distribution
EXACT = np.longdouble


def log_sum_exp_others(x, target):
    """For each row: log of the sum of exp(x_j - x_target) over the other classes."""
    rows = np.arange(len(x))
    gaps = x.astype(EXACT) - x[rows, target].astype(EXACT)[:, None]
    gaps[rows, target] = -np.inf
    top = gaps.max(axis=1)
    top[np.isneginf(top)] = 0
    with np.errstate(divide="ignore"):  # one class: nothing to sum
        return top + np.log(np.exp(gaps - top[:, None]).sum(axis=1))


def relative(got, exact):
    """Largest relative error where `exact` is a normal number of got's dtype."""
    normal = np.abs(exact) >= np.finfo(got.dtype).tiny
    return float(np.max(np.abs(got.astype(EXACT) - exact)[normal] / np.abs(exact)[normal]))


def log_sum_exp_errors(rng, dtype, classes):
    """Largest error in ulp where |LSE| >= 1, and absolute elsewhere."""
    ulp, absolute = 0.0, 0.0
    normal = rng.standard_normal((max(1, ELEMENTS // classes), classes))
    for logits in (normal, 20 * normal, normal + 1000.25, normal - 90_000, 0.5 * normal - np.log(classes)):
        x = logits.astype(dtype)
        top = x.max(axis=1)
        exact = top.astype(EXACT) + np.log1p(np.exp(log_sum_exp_others(x, x.argmax(axis=1))))
        got = ll.logsumexp(x, axis=1)
        error = np.abs(got.astype(EXACT) - exact)
        large = np.abs(exact) >= 1
        if large.any():
            ulp = max(ulp, float(np.max(error[large] / np.spacing(np.abs(exact[large]).astype(dtype)))))
        if not large.all():
            absolute = max(absolute, float(np.max(error[~large])))
    return f"{ulp:.3f}", f"{absolute:.1e}"


def cross_entropy_errors(rng, dtype, classes):
    """Largest relative errors of the loss and of the target's gradient, target leads of -80 to 80."""
    rows = max(161, ELEMENTS // classes)
    x = rng.standard_normal((rows, classes))
    target = rng.integers(classes, size=rows)
    x[np.arange(rows), target] = x.max(axis=1) + np.linspace(-80, 80, rows)
    x = x.astype(dtype)
    others = np.exp(log_sum_exp_others(x, target))
    loss, grad = ll.cross_entropy_value_and_grad(x, target, reduction="none")
    loss_error = relative(loss, np.log1p(others))
    return f"{loss_error:.1e}", f"{relative(grad[np.arange(rows), target], -others / (1 + others)):.1e}"


def bce_errors(rng, dtype):
    """Largest relative errors of loss and gradient, logits of -80 to 80, hard targets."""
    x = rng.uniform(-80, 80, ELEMENTS).astype(dtype)
    t = rng.integers(2, size=ELEMENTS)
    loss, grad = ll.bce_with_logits_value_and_grad(x, t, reduction="none")
    wrong_way = np.where(t == 1, -x, x).astype(EXACT)
    exact = np.maximum(wrong_way, 0) + np.log1p(np.exp(-np.abs(wrong_way)))
    slope = np.where(t == 1, -1, 1) / (1 + np.exp(-wrong_way))
    return f"{relative(loss, exact):.1e}", f"{relative(grad, slope):.1e}"


def main():
    if np.finfo(EXACT).eps > 2e-19:
        sys.exit("longdouble is no wider than float64 here: nothing to measure against")
    print(f"{ll.isa()}, {ll.get_num_threads()} threads\n")
    print("| quantity | classes | float32 | float64 |\n|---|---|---|---|")
    for name, measure in (("log-sum-exp", log_sum_exp_errors), ("cross-entropy", cross_entropy_errors)):
        for classes in (1, 2, 10, 100, 1000, 4096, 32768, 262144):
            if classes == 1 and measure is cross_entropy_errors:
                continue
            cells = [
                " and ".join(measure(np.random.default_rng(classes), d, classes)) for d in (np.float32, np.float64)
            ]
            print(f"| {name} | {classes} | {cells[0]} | {cells[1]} |", flush=True)
    cells = [" and ".join(bce_errors(np.random.default_rng(1), dtype)) for dtype in (np.float32, np.float64)]
    print(f"| binary cross-entropy | | {cells[0]} | {cells[1]} |")


if __name__ == "__main__":
    main()
