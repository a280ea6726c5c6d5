"""The compiler flags of a careless environment change no bit of a result and no mode of the process.

    python tests/fast_math.py

Builds the extension module in a temporary folder with CXXFLAGS and LDFLAGS that hold -ffast-math and more, and compares
its results with tests/golden/hashes.json. Then it is looked up, for each flag alone, that CMake passes none of them on
without undoing it. Needs a compiler, CMake, pybind11 and what tests/python/support/corpus.py needs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pybind11

ROOT = Path(__file__).resolve().parents[1]
CARELESS = "-O3 -ffast-math -march=native -flto"
BAD_FLAGS = (
    "-ffast-math",
    "-Ofast",
    "-funsafe-math-optimizations",
    "-fassociative-math",
    "-ffinite-math-only",
    "-freciprocal-math",
    "-fno-signed-zeros",
    "-fsingle-precision-constant",
)
UNDO = ("-fno-fast-math", "-fno-unsafe-math-optimizations", "-ffp-contract=off")

# Subnormal numbers are computed with after the import, as before; prints the hashes of the corpus.
PROBE = """
import sys
import numpy as np
tiny, half = np.full(4, 2.0**-1022), np.full(4, 0.5)
before = (tiny * half).tobytes()
import corpus, json
import logitloss as ll
assert (tiny * half).tobytes() == before != bytes(32), "subnormal numbers are flushed"
assert ll.cross_entropy([[40.0, 0.0]], [0]) == 4.248354255291589e-18
json.dump(corpus.hashes((1, 5)), sys.stdout)
"""


def run(*command: str | Path, cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd, env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done


def configure(build: Path, flags: str) -> str:
    """Configures a build under these flags, and returns what CMake warned of."""
    options = {
        "CMAKE_BUILD_TYPE": "Release",
        "CMAKE_EXPORT_COMPILE_COMMANDS": "ON",
        "BUILD_TESTING": "OFF",
        "LOGITLOSS_PYTHON": "ON",
        "Python_EXECUTABLE": sys.executable,
        "pybind11_DIR": pybind11.get_cmake_dir(),
    }
    defined = [f"-D{name}={value}" for name, value in options.items()]
    return run("cmake", "-S", ROOT, "-B", build, *defined, CXXFLAGS=flags, LDFLAGS=flags).stderr


def check_that_flags_are_undone(folder: Path) -> None:
    for flag in BAD_FLAGS:
        build = folder / flag
        warned = configure(build, f"-O2 {flag} -g")
        assert f"without {flag}" in warned or f"of {flag}" in warned, f"{flag}: no warning:\n{warned}"
        for entry in json.loads((build / "compile_commands.json").read_text()):
            words = entry["command"].split()
            assert flag not in words, entry["command"]
            assert "-g" in words, entry["command"]
            undone = UNDO if "/cpp/src/" in entry["file"] else UNDO[:1]
            assert set(undone) <= set(words), entry["command"]
        for script in build.rglob("link.txt"):
            assert flag not in script.read_text().split(), script.read_text()
        print(f"{flag}: taken out, with a warning")


def check_results(folder: Path) -> None:
    build, package = folder / "build", folder / "logitloss"
    assert "-ffast-math" in configure(build, CARELESS)
    run("cmake", "--build", build, "--parallel", "2")
    shutil.copytree(ROOT / "python/logitloss", package, ignore=shutil.ignore_patterns("_core*.so", "__pycache__"))
    (extension,) = build.glob("python/bindings/_core*.so")
    shutil.copy(extension, package)
    path = os.pathsep.join([str(folder), str(ROOT / "tests/python/support")])
    probe = run(sys.executable, "-c", PROBE, cwd=folder, PYTHONPATH=path, LOGITLOSS_OVERSUBSCRIBE="1")
    committed = json.loads((ROOT / "tests/golden/hashes.json").read_text())
    for threads, hashes in json.loads(probe.stdout).items():
        different = [name for name in committed if hashes.get(name) != committed[name]]
        assert not different, f"{threads} threads: {len(different)} of {len(committed)} differ: {different[:5]}"
    print(f"{CARELESS}: {len(committed)} hashes are the committed ones, and subnormal numbers are kept")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_that_flags_are_undone(Path(folder))
        check_results(Path(folder))


if __name__ == "__main__":
    main()
