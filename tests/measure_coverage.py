"""Line and branch coverage of the C++ and Python sources, by the C++ suite and most of the Python suite.

    python tests/measure_coverage.py [arguments of pytest]

Builds everything with GCC's counters in build/coverage, which takes some minutes, runs the tests and prints a table by
folder; build/coverage/files.txt has the lines of each file that were not run. Needs the `test` extra, gcovr >= 8,
coverage and ninja. Tests that build again, need an installed package, measure memory or
run others per instruction set are left out.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pybind11

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "coverage"
LEFT_OUT = ("cpp_suite", "cpp_users", "every_isa", "memory", "packaging", "examples", "docs", "typing")
FLAGS = {
    "CMAKE_BUILD_TYPE": "Debug",
    "CMAKE_CXX_FLAGS": "--coverage -fprofile-update=atomic",
    "CMAKE_CXX_FLAGS_DEBUG": "-O1 -g1",
    "LOGITLOSS_PYTHON": "ON",
    "pybind11_DIR": pybind11.get_cmake_dir(),
}
GCOVR = [
    "--filter=cpp/",
    "--filter=python/bindings/",
    "--exclude-throw-branches",  # what the compiler adds to every call for the exceptions that it may throw
    "--exclude-unreachable-branches",
    "--merge-lines",  # of all instances of a template
    "--gcov-suspicious-hits-threshold=0",  # kernels do run thousands of millions of times
]


def run(*command: str | Path, **variables: str | Path) -> None:
    environment = os.environ | {name: str(value) for name, value in variables.items()}
    subprocess.run([str(word) for word in command], cwd=ROOT, env=environment, check=True)


def build() -> None:
    shutil.rmtree(BUILD, ignore_errors=True)
    run("cmake", "-G", "Ninja", "-S", ROOT, "-B", BUILD, *(f"-D{name}={value}" for name, value in FLAGS.items()))
    run("cmake", "--build", BUILD, "--parallel", "2")
    package = shutil.copytree(ROOT / "python" / "logitloss", BUILD / "package" / "logitloss")
    for module in (BUILD / "python" / "bindings").glob("_core*"):
        if module.is_file():
            shutil.copy(module, package)


def test(arguments: list[str]) -> None:
    run(BUILD / "tests" / "cpp" / "logitloss_tests", OMP_NUM_THREADS="5", LOGITLOSS_OVERSUBSCRIBE="1")
    measured = ["-m", "coverage", "run", "--branch", "--source=logitloss", f"--data-file={BUILD / '.coverage'}"]
    left_out = (f"--ignore=tests/python/test_{name}.py" for name in LEFT_OUT)
    tests = ["-m", "pytest", "-q", "tests/python", *left_out, *arguments]
    run(sys.executable, *measured, *tests, PYTHONPATH=BUILD / "package")


def add_cpp(table: defaultdict[str, list[int]]) -> None:
    summary = BUILD / "files.json"
    run("gcovr", "--root", ROOT, *GCOVR, "--json-summary", summary, "--txt", BUILD / "files.txt", BUILD)
    for file in json.loads(summary.read_text())["files"]:
        row = table[file["filename"].rpartition("/")[0]]
        for i, kind in enumerate(("line_covered", "line_total", "branch_covered", "branch_total")):
            row[i] += file[kind]


def add_python(table: defaultdict[str, list[int]]) -> None:
    summary = BUILD / "python.json"
    coverage = ["-m", "coverage", "json", f"--data-file={BUILD / '.coverage'}", "-o", summary]
    run(sys.executable, *coverage)
    totals = json.loads(summary.read_text())["totals"]
    row = table["python/logitloss"]
    for i, kind in enumerate(("covered_lines", "num_statements", "covered_branches", "num_branches")):
        row[i] += totals[kind]


def main() -> None:
    build()
    test(sys.argv[1:])
    table: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0, 0, 0])
    add_cpp(table)
    add_python(table)
    print("| Folder | Lines | Run | Branches | Taken |\n|---|---|---|---|---|")
    for folder, (lines_run, lines, taken, branches) in sorted(table.items()):
        print(f"| `{folder}` | {lines} | {lines_run / lines:.1%} | {branches} | {taken / max(branches, 1):.1%} |")


if __name__ == "__main__":
    main()
