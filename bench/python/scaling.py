"""Time per element against the number of classes and of rows, of logitloss alone: is there a cliff?

    python bench/python/scaling.py                        with one thread and with all CPUs
    python bench/python/scaling.py --quick                fewer sizes, few elements
    python bench/python/scaling.py --render scaling.json  picture and steps of an earlier run

Log-sum-exp, and cross-entropy with its gradient in place, both float32. One sweep keeps the number of elements and
varies the classes, the others keep the classes and vary the rows. All sizes of a sweep take turns, round by round.
LOGITLOSS_ISA=avx2 before the command measures that instruction set.
"""

from __future__ import annotations

import argparse
import json
import sys
from functools import partial
from pathlib import Path
from statistics import median

import environment
import numpy as np
from contestants import logitloss as contestant
from run import available_cpus
from runner import Runner, interleave
from tqdm import tqdm

import logitloss as ll

OPERATIONS = ("log-sum-exp", "CE loss+grad in place")
CLASSES = [
    *(1, 2, 3, 4, 5, 7, 8, 10, 15, 16, 17, 24, 31, 32, 33, 48, 63, 64, 65, 80, 100, 112, 120),
    *(127, 128, 129, 130, 136, 150, 191, 192, 193, 200, 255, 256, 257, 300, 400, 511, 512, 513, 700),
    *(1000, 1023, 1024, 1025, 1500, 2047, 2048, 2049, 3000, 4095, 4096, 4097, 4160, 5000, 6000, 8191, 8192, 8193),
    *(10_000, 12_289, 16_384, 20_000, 24_577, 32_767, 32_768, 32_769, 50_000, 65_536, 100_000, 131_073, 200_000),
    *(262_144, 500_000, 524_289, 1_000_000),
]
FIXED_CLASSES = (3, 10, 100, 1000)
ROWS = [
    *(1, 2, 3, 4, 5, 7, 8, 9, 12, 15, 16, 17, 24, 31, 32, 33, 47, 48, 49, 63, 64, 65, 100, 127, 128, 129, 200),
    *(256, 400, 512, 655, 656, 700, 1000, 1024, 1500, 2000, 3000, 4096, 6000, 6553, 6554, 8192, 10_000, 16_384),
    *(21_845, 21_846, 30_000, 50_000, 65_536, 100_000, 200_000, 400_000, 1_000_000),
]
COMPARED_ROWS = 1000


def main() -> int:
    arguments = parse()
    output = Path(arguments.output)
    results = json.loads(Path(arguments.render).read_text()) if arguments.render else measure(arguments)
    output.mkdir(parents=True, exist_ok=True)
    if not arguments.render:
        (output / "scaling.json").write_text(json.dumps(results, indent=1))
    print("\n".join(summary(results)))
    try:
        import pictures
    except ImportError as error:
        print(f"No picture: {error}")
    else:
        pictures.draw_scaling(results, output / "scaling.png")
    print(f"Saved to {output}")
    return 0


def parse() -> argparse.Namespace:
    every = sorted({1, available_cpus()})
    parser = argparse.ArgumentParser(description="Time per element against the number of classes and of rows.")
    parser.add_argument("--quick", action="store_true", help="every fifth size, at most 2^16 elements")
    parser.add_argument("--threads", default=",".join(map(str, every)), help="one number or several: 1,2")
    parser.add_argument("--elements", type=int, default=2**20, help="of the sweep over classes")
    parser.add_argument("--most-elements", type=int, default=2**26, help="rows end there, for 1000 classes at 67,000")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--sample", type=float, default=0.002, metavar="SECONDS", help="least time of one sample")
    parser.add_argument("--output", default="bench-results", metavar="DIRECTORY")
    parser.add_argument("--render", metavar="JSON", help="measure nothing, render these results")
    arguments = parser.parse_args()
    arguments.threads = [int(n) for n in arguments.threads.split(",")]
    if arguments.quick:
        arguments.elements = arguments.most_elements = 2**16
    return arguments


def measure(arguments: argparse.Namespace) -> dict:
    thin = 5 if arguments.quick else 1
    by_classes = [(max(1, arguments.elements // classes), classes) for classes in CLASSES[::thin]]
    sweeps = {"classes": by_classes} | {
        f"rows of {classes} classes": [(n, classes) for n in ROWS[::thin] if n * classes <= arguments.most_elements]
        for classes in FIXED_CLASSES
    }
    most = max(rows * classes for sizes in sweeps.values() for rows, classes in sizes)
    inputs = Inputs(most, most_rows=max(rows for sizes in sweeps.values() for rows, _ in sizes))
    curves = []
    todo = [
        (threads, sweep, operation) for threads in arguments.threads for sweep in sweeps for operation in OPERATIONS
    ]
    for threads, sweep, operation in tqdm(todo, file=sys.stderr, disable=None):
        ll.set_num_threads(threads)
        runners = {size: inputs.runner(operation, *size) for size in sweeps[sweep]}
        for runner in runners.values():
            runner.calibrate(arguments.sample)
        points = [
            {
                "rows": rows,
                "classes": classes,
                "seconds": times,
                "nanoseconds per element": 1e9 * median(times) / (rows * classes),
            }
            for (rows, classes), times in interleave(runners, arguments.rounds).items()
        ]
        curves.append({"threads": threads, "sweep": sweep, "operation": operation, "points": points})
    return {"environment": environment.describe([contestant]), "curves": curves}


class Inputs:
    """Arrays as large as the largest size takes; the smaller ones use their beginning."""

    def __init__(self, most_elements: int, most_rows: int):
        rng = np.random.default_rng(1)
        self.logits = 3 * rng.standard_normal(most_elements, dtype=np.float32)
        self.overwritten = np.empty_like(self.logits)
        self.lse = np.empty(most_rows, np.float32)
        self.labels = rng.integers(2**31, size=most_rows)

    def runner(self, operation: str, rows: int, classes: int) -> Runner:
        """The call on this size, once its result is found right."""
        logits = self.logits[: rows * classes].reshape(rows, classes)
        labels = self.labels[:rows] % classes
        expected, softmax = reference(logits[:COMPARED_ROWS])
        if operation == "log-sum-exp":
            lse = self.lse[:rows]
            call = partial(ll.logsumexp, logits, -1, out=lse)
            call()
            np.testing.assert_allclose(lse[:COMPARED_ROWS], expected, rtol=1e-6, atol=1e-6)
            return Runner(call)
        overwritten = self.overwritten[: rows * classes].reshape(rows, classes)
        restore = partial(np.copyto, overwritten, logits)
        call = partial(ll.cross_entropy_value_and_grad, overwritten, labels, grad_out=overwritten)
        restore()
        call()
        softmax[np.arange(len(softmax)), labels[:COMPARED_ROWS]] -= 1
        np.testing.assert_allclose(overwritten[:COMPARED_ROWS] * rows, softmax, rtol=1e-5, atol=1e-6)
        return Runner(call, restore=restore, in_place=True)


def reference(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-sum-exp and softmax of rows, by NumPy in float64."""
    exponentials = np.exp(logits.astype(np.float64))
    total = exponentials.sum(axis=1, keepdims=True)
    return np.log(total[:, 0]), exponentials / total


def summary(results: dict) -> list[str]:
    lines = [f"{name}: {value}" for name, value in results["environment"].items()]
    for curve in results["curves"]:
        costs = [point["nanoseconds per element"] for point in curve["points"]]
        lines.append(
            f"{curve['threads']} thread(s), {curve['operation']} by {curve['sweep']}: "
            f"{min(costs):.3g} to {max(costs):.3g} ns per element; steepest: {', '.join(cliffs(curve)) or 'none'}"
        )
    return lines


def cliffs(curve: dict, shown: int = 3) -> list[str]:
    """Where the larger of two neighbouring sizes costs more per element, or the smaller one more altogether."""
    by = "classes" if curve["sweep"] == "classes" else "rows"
    found = []
    for small, large in zip(curve["points"], curve["points"][1:], strict=False):
        dearer = large["nanoseconds per element"] / small["nanoseconds per element"]
        cheaper = small[by] / (large[by] * dearer)  # of a row, if the classes vary, and of a call if the rows do
        sizes = f"{small[by]} and {large[by]}"
        found += [(dearer, f"{dearer:.2f}x per element, {sizes}"), (cheaper, f"{cheaper:.2f}x in all, {sizes}")]
    return [text for ratio, text in sorted(found, reverse=True)[:shown] if ratio > 1]


if __name__ == "__main__":
    sys.exit(main())
