"""Break the arithmetic on purpose, build it, and see the tests fail:  python tests/mutations.py

In a copy of the tree: first the tests must pass as it is, then for each mutation at least one of the modules named
with it must fail. Needs CMake, a C++ compiler, pybind11 and the test extra; takes a few minutes.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pybind11

ROOT = Path(__file__).parents[1]
SOURCES = ("CMakeLists.txt", "pyproject.toml", "cmake", "cpp", "python", "tests")


@dataclass(frozen=True)
class Mutation:
    """`old` becomes `new` in `file`; every module of `caught_by` must notice."""

    name: str
    file: str
    old: str
    new: str
    caught_by: tuple[str, ...]


MUTATIONS = [
    Mutation(
        "a sloppy polynomial coefficient: 1/24 to three digits in the exponential",
        "cpp/src/kernels/exp_log.inl",
        "0x1.5558a4p-5f",
        "0.0417f",
        ("test_accuracy.py", "test_same_bits.py"),
    ),
    Mutation(
        "float64 sums without what their additions round away",
        "cpp/src/kernels/groups.inl",
        "compensated = sizeof(T) == sizeof(double);",
        "compensated = false;",
        ("test_same_bits.py",),
    ),
    Mutation(
        "a wrong reduction order: float32 lanes widened after four terms, not two",
        "cpp/src/kernels/groups.inl",
        "groups_per_flush = 2;",
        "groups_per_flush = 4;",
        ("test_same_bits.py",),
    ),
    Mutation(
        "a wrong reduction order of rows side by side: float32 sums of two terms, not one",
        "cpp/src/kernels/columns.inl",
        "classes_per_flush = 8;",
        "classes_per_flush = 16;",
        ("test_same_bits.py",),
    ),
]


def copy_of_the_tree(to: Path) -> None:
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__", ".pytest_cache"))
        else:
            shutil.copy(source, to / name)


def build(tree: Path) -> Path:
    """A folder from which the package can be imported."""
    folder = tree / "build"
    configure = [
        "cmake",
        f"-S{tree}",
        f"-B{folder}",
        "-DLOGITLOSS_PYTHON=ON",
        "-DBUILD_TESTING=OFF",
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
    ]
    for command in (configure, ["cmake", "--build", str(folder), "--parallel", str(os.cpu_count())]):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    packages = tree / "packages"
    shutil.rmtree(packages, ignore_errors=True)
    shutil.copytree(tree / "python" / "logitloss", packages / "logitloss")
    (extension,) = (folder / "python" / "bindings").glob("_core*.so")
    shutil.copy(extension, packages / "logitloss")
    return packages


def passes(tree: Path, packages: Path, module: str) -> bool:
    """Whether the tests of one module pass with the package in `packages`."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/python/{module}"]
    environment = os.environ | {"PYTHONPATH": str(packages)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):  # 1: tests failed; more: they did not run
        raise RuntimeError(done.stdout + done.stderr)
    print(f"    {module}: {done.stdout.strip().splitlines()[-1]}", flush=True)
    return done.returncode == 0


def main() -> int:
    survivors = []
    modules = sorted({module for mutation in MUTATIONS for module in mutation.caught_by})
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_of_the_tree(tree)
        print("unchanged", flush=True)
        packages = build(tree)
        if not all([passes(tree, packages, module) for module in modules]):
            print("the tests fail on the unchanged tree")
            return 2
        for mutation in MUTATIONS:
            print(mutation.name, flush=True)
            file = tree / mutation.file
            original = file.read_text()
            if original.count(mutation.old) != 1:
                raise RuntimeError(f"{mutation.file} does not hold what {mutation.name!r} replaces, exactly once")
            file.write_text(original.replace(mutation.old, mutation.new))
            packages = build(tree)
            survivors += [(mutation.name, module) for module in mutation.caught_by if passes(tree, packages, module)]
            file.write_text(original)
    for name, module in survivors:
        print(f"NOT CAUGHT by {module}: {name}")
    print(f"{len(MUTATIONS)} mutations, {len(survivors)} not caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main())
