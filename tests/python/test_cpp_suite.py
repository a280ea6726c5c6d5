"""Builds and runs the C++ suite, where CMake, a compiler and GoogleTest are installed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from child import program

ROOT = Path(__file__).parents[2]


def run(*command: str | Path, timeout: float) -> str:
    done = subprocess.run(
        [str(word) for word in command], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-20000:]}\n{done.stderr[-20000:]}"
    return done.stdout


def test_cpp_suite():
    for name in ("cmake", "ctest", "c++"):
        if program(name) is None:
            pytest.skip(f"the C++ suite was not run: {name} is not installed")
    build = ROOT / "build" / "pytest"
    configured = run(program("cmake"), "-S", ROOT, "-B", build, "-DCMAKE_BUILD_TYPE=Release", timeout=300)
    if "GoogleTest was not found" in configured:
        pytest.skip(
            "the C++ suite was not run: GoogleTest is not installed (Debian, Ubuntu: apt-get install libgtest-dev)"
        )
    run(program("cmake"), "--build", build, "--parallel", "2", timeout=1800)
    summary = run(program("ctest"), "--test-dir", build, "--output-on-failure", "--parallel", "2", timeout=1800)
    assert re.search(r"100% tests passed.* \d+", summary), summary[-2000:]
