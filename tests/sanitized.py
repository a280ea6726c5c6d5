"""Python tests over the library compiled with AddressSanitizer and UndefinedBehaviorSanitizer.

    python tests/sanitized.py tests/python/test_sizes.py ... [arguments of pytest]

Builds in build/sanitized, which takes some minutes, and runs pytest with the runtimes loaded first; Linux and GCC.
Needs the `test` extra and ninja. Tests with PyTorch and JAX are left out: the runtimes watch those libraries too.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pybind11

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "sanitized"
FLAGS = {
    "BUILD_TESTING": "OFF",
    "CMAKE_BUILD_TYPE": "RelWithDebInfo",
    "CMAKE_CXX_COMPILER": "g++",
    "CMAKE_CXX_FLAGS": "-fsanitize=address,undefined -fno-sanitize-recover=all",
    "CMAKE_CXX_FLAGS_RELWITHDEBINFO": "-O1 -g1 -fno-var-tracking",
    "LOGITLOSS_PYTHON": "ON",
    "pybind11_DIR": pybind11.get_cmake_dir(),
}


def run(*command: str | Path, **variables: str) -> None:
    done = subprocess.run([str(word) for word in command], cwd=ROOT, env=os.environ | variables, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)


def runtime(name: str) -> str:
    found = subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    return found.stdout.strip()


def main() -> None:
    run("cmake", "-G", "Ninja", "-S", ROOT, "-B", BUILD, *(f"-D{name}={value}" for name, value in FLAGS.items()))
    run("cmake", "--build", BUILD, "--parallel", "2")
    package = BUILD / "package" / "logitloss"
    shutil.copytree(ROOT / "python" / "logitloss", package, dirs_exist_ok=True)
    for module in (BUILD / "python" / "bindings").glob("_core*.so"):
        shutil.copy(module, package)
    run(
        sys.executable, "-m", "pytest", "-k", "not torch and not jax", *(sys.argv[1:] or ["tests/python"]),
        ASAN_OPTIONS="detect_leaks=0",  # Python itself leaves objects behind
        LD_PRELOAD=f"{runtime('libasan.so')} {runtime('libubsan.so')}",
        PYTHONPATH=str(BUILD / "package"),
    )  # fmt: skip


if __name__ == "__main__":
    main()
