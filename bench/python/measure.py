"""The measurement: validate, calibrate, then interleave the contestants round by round."""

from __future__ import annotations

import fnmatch
import sys
import tempfile
from dataclasses import asdict
from types import ModuleType

import numpy as np
import problems
from agreement import disagreement, first_line, sampled
from arithmetic import Arithmetic
from bandwidth import LEAST_BYTES, Bandwidth, peak_flops
from cells import OPERATIONS, Cell, all_cells, with_fewer_rows
from runner import Runner, interleave
from settings import title
from tqdm import tqdm

import logitloss as ll


class Measurement:
    def __init__(self, modules: list[ModuleType], task: dict):
        self.modules, self.task = modules, task
        self.missing: dict[str, str] = {}
        self.cells = self.possible(select(all_cells(), task["only"]))
        if not self.cells:
            raise SystemExit(f"--only {task['only']}: no cell has such a name")
        if task["quick"]:
            self.cells = with_fewer_rows(self.cells)
        most = max(cell.elements * (8 if cell.dtype == "float64" else 4) for cell in self.cells)
        self.bandwidth = Bandwidth(task["threads"], most_read=2 * most, most_written=most)

    def possible(self, cells: list[Cell]) -> list[Cell]:
        """Cells that this version of logitloss and the installed packages allow; the others' reasons in `missing`."""
        if not problems.HAVE_BFLOAT16:
            self.missing["bfloat16"] = "its cells need ml_dtypes"
            cells = [cell for cell in cells if cell.dtype != "bfloat16"]
        for cell in cells:
            if not hasattr(ll, cell.operation):
                self.missing[f"logitloss.{cell.operation}"] = f"not in version {ll.__version__}"
        return [cell for cell in cells if hasattr(ll, cell.operation)]

    def run(self) -> dict:
        peak = peak_flops(self.task["threads"])
        with tempfile.TemporaryDirectory() as directory:
            self.arithmetic = Arithmetic(self.task["threads"], self.task["isa"], directory)
        if not self.arithmetic.libraries:
            self.missing["the arithmetic bound"] = "no C++ compiler that compiles it"
        bar = tqdm(self.cells, desc=title(self.task), file=sys.stderr, disable=None)
        cells = []
        for cell in bar:
            bar.set_postfix_str(cell.name)
            cells.append(self.measure(cell))
        return {"peak_flops": peak, "cells": cells, "missing": self.missing}

    def measure(self, cell: Cell) -> dict:
        problem = problems.build(cell)
        read, write = problem.traffic()
        excluded: dict[str, str] = {}
        runners = self.valid_runners(problem, excluded)
        bounds: dict = {}
        contestants: dict = {}
        if any(name.startswith("logitloss") for name in runners):  # else there is nothing to compare with
            bounds = self.bounds(cell, runners, read, write)
            contestants = {**runners, **bounds}
            self.calibrate(contestants, excluded)
        times = interleave(contestants, self.task["rounds"])
        return {
            **asdict(cell),
            "name": cell.name,
            "elements": cell.elements,
            "flops": OPERATIONS[cell.operation].flops * cell.elements,
            "read": read,
            "write": write,
            "seconds": times,
            "in_place": [name for name, runner in runners.items() if runner.in_place],
            "loops": {name: bound.loops for name, bound in bounds.items()},
            "excluded": excluded,
        }

    def valid_runners(self, problem: problems.Problem, excluded: dict[str, str]) -> dict[str, Runner]:
        """Those that run the problem and agree with logitloss's fresh result; reasons for the others in `excluded`."""
        valid: dict[str, Runner] = {}
        expected = None
        for module in self.modules:
            try:
                runners = module.runners(problem)
            except Exception as error:  # a peer may refuse in any way; the report says how
                excluded[module.NAME] = f"refused: {first_line(error)}"
                continue
            for name, runner in runners.items():
                try:
                    result = [sampled(part) for part in runner.first_result()]
                except Exception as error:
                    excluded[name] = f"refused: {first_line(error)}"
                    continue
                expected = expected or result
                wrong = disagreement(result, expected, problem.dtype)
                if wrong:
                    excluded[name] = f"WRONG: {wrong}"
                else:
                    valid[name] = runner
        return valid

    def bounds(self, cell: Cell, runners: dict[str, Runner], read: int, write: int) -> dict:
        if read + write < LEAST_BYTES:
            return {}
        bounds = {"bound": self.bandwidth.bound(read, write, in_place=False)}
        if any(runner.in_place for runner in runners.values()):
            bounds["bound in place"] = self.bandwidth.bound(read, write, in_place=True)
        arithmetic = self.arithmetic.bound(cell.arithmetic, cell.dtype, cell.elements)
        if arithmetic is not None:
            bounds["bound of arithmetic"] = arithmetic
        return bounds

    def calibrate(self, contestants: dict, excluded: dict[str, str]) -> None:
        """Set the calls per sample, and leave out who is so slow that only patience would be measured."""
        fastest = np.inf
        for name, runner in list(contestants.items()):
            runner.calibrate(self.task["sample"])
            if isinstance(runner, Runner):
                fastest = min(fastest, runner.seconds)
                if runner.seconds > max(self.task["patience"], 20 * fastest):
                    excluded[name] = f"slow: one call took {runner.seconds:.2f} s"
                    del contestants[name]


def select(cells: list[Cell], patterns: list[str]) -> list[Cell]:
    """Cells of which a word of "family: name" begins one of the patterns (shell wildcards allowed); all without."""
    if not patterns:
        return cells

    def matches(cell: Cell) -> bool:
        text = f" {cell.family}: {cell.name}".lower()
        return any(fnmatch.fnmatchcase(text, f"* {pattern.lower()}*") for pattern in patterns)

    return [cell for cell in cells if matches(cell)]
