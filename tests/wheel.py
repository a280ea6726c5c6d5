"""What a release would upload: built twice, repaired, and used where nothing but NumPy is installed.

    python tests/wheel.py

Builds an sdist and from it a wheel, and both a second time elsewhere: the bytes must be the same. Then the wheel is
repaired (Linux: auditwheel puts libgomp inside), its size and contents are looked at, and it is installed into a fresh
environment, where it must compute and let the C++ example be built. Needs a git checkout and the `dev` extra.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from zipfile import ZipFile

ROOT = Path(__file__).resolve().parents[1]
MOST_BYTES = 3_000_000

BESIDE_PYTHON = {
    "py.typed",
    "include/logitloss/logitloss.hpp",
    "lib/liblogitloss.a",
    "lib/cmake/logitloss/logitlossConfig.cmake",
    "lib/pkgconfig/logitloss.pc",
}

# Prints what is installed and what is loaded, after a call that is large enough for threads.
PROBE = """
import sys
from importlib import metadata
import numpy as np
import logitloss as ll
loss, grad = ll.cross_entropy_value_and_grad(np.zeros((512, 1000), np.float32), np.zeros(512, np.int64))
assert abs(loss - np.log(1000.0)) < 1e-5 and abs(grad[0, 0] * 512 + 0.999) < 1e-5, (loss, grad[0, 0])
ll.show_config()
print("installed", *sorted(d.name for d in metadata.distributions()))
if sys.platform == "linux":
    print("openmp", *{line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line})
"""


def run(*command: str | Path, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd, env=os.environ | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def check(holds: bool, message: str) -> None:
    if not holds:
        sys.exit(f"FAILED: {message}")
    print(f"ok: {message}")


def copy_of_sources(folder: Path) -> Path:
    """What git knows, with times of its own."""
    for name in run("git", "ls-files", "-z", cwd=ROOT).split("\0")[:-1]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, folder / name)
    return folder


def build(source: Path, out: Path, *what: str) -> None:
    """By `python -m build`, which makes the sdist and from it the wheel unless told otherwise; not from a cache."""
    date = run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()
    no_cache = {"CMAKE_CXX_COMPILER_LAUNCHER": "", "SOURCE_DATE_EPOCH": date}
    run(sys.executable, "-m", "build", *what, "--outdir", out, source, cwd=source, **no_cache)


def repaired(wheel: Path, out: Path) -> Path:
    if sys.platform != "linux":
        return wheel
    date = run("git", "log", "-1", "--format=%ct", cwd=ROOT).strip()
    repair = (sys.executable, "-m", "auditwheel", "repair", "--zip-compression-level", "9", "--wheel-dir", out, wheel)
    run(*repair, cwd=out.parent, SOURCE_DATE_EPOCH=date)
    return only(out, "*.whl")


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def build_twice(folder: Path) -> tuple[Path, Path]:
    first, second = folder / "first", folder / "second time, elsewhere"
    sources = [copy_of_sources(folder / "sources"), copy_of_sources(second / "sources")]
    build(sources[0], first)
    build(sources[1], second, "--sdist")
    sdist, wheel = only(first, "*.tar.gz"), only(first, "*.whl")
    check(digest(sdist) == digest(only(second, "*.tar.gz")), f"two sdists of {sdist.stat().st_size} bytes are the same")
    shutil.unpack_archive(sdist, second)
    build(only(second, "logitloss-*/"), second, "--wheel")
    check(digest(wheel) == digest(only(second, "*.whl")), f"two wheels of {wheel.stat().st_size} bytes are the same")
    again = repaired(only(second, "*.whl"), second / "repaired")
    wheel = repaired(wheel, first / "repaired")
    check(digest(wheel) == digest(again), f"repaired, too: {wheel.name}, sha256 {digest(wheel)}")
    return sdist, wheel


def check_contents(wheel: Path, built_in: Path) -> None:
    check(wheel.stat().st_size < MOST_BYTES, f"{wheel.stat().st_size} bytes are less than {MOST_BYTES}")
    with ZipFile(wheel) as archive:
        files = {name: archive.read(name) for name in archive.namelist() if not name.endswith("/")}
    folders = {name.split("/")[0] for name in files}
    expected = {"logitloss", "logitloss.libs"} if sys.platform == "linux" else {"logitloss"}
    check({name for name in folders if not name.endswith(".dist-info")} == expected, f"it holds {sorted(folders)}")
    package = {name.removeprefix("logitloss/") for name in files if name.startswith("logitloss/")}
    modules = ROOT / "python" / "logitloss"
    sources = {str(path.relative_to(modules)) for path in modules.rglob("*.py*") if path.suffix in {".py", ".pyi"}}
    check(package >= BESIDE_PYTHON | sources, "the package has its modules, stubs, headers, library, CMake package")
    check(not any(re.search(r"\.(cpp|inl|o|pyc)$|^tests?/", name) for name in files), "and nothing that only builds it")
    here = [bytes(place) for place in (built_in, Path.home(), ROOT)]
    found = [name for name, data in files.items() for place in here if place != b"/" and place + b"/" in data]
    check(found == [], "no file names a folder of this machine")
    if sys.platform == "linux":
        libraries = [name for name in files if name.startswith("logitloss.libs/")]
        check([bool(re.search(r"/libgomp-\w+\.so", name)) for name in libraries] == [True], f"inside: {libraries}")


def check_clean_environment(wheel: Path, folder: Path) -> None:
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    python = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    run(python, "-m", "pip", "install", "-q", "numpy", cwd=folder)
    run(python, "-m", "pip", "install", "-q", "--no-index", wheel, cwd=folder)
    run(python, "-m", "pip", "check", cwd=folder)
    print(printed := run(python, "-I", "-c", PROBE, cwd=folder))
    (installed,) = re.findall("^installed (.*)$", printed, re.MULTILINE)
    check(set(installed.split()) <= {"logitloss", "numpy", "pip", "setuptools"}, f"beside it there are: {installed}")
    if sys.platform == "linux":
        (library,) = re.findall("^openmp (.*)$", printed, re.MULTILINE)
        check("/logitloss.libs/libgomp-" in library, f"its threads are those of {Path(library).name}")
    check_example(python, folder)


def check_example(python: Path, folder: Path) -> None:
    """The C++ package of the wheel, by way of the example."""
    example = shutil.copytree(ROOT / "examples" / "cpp", folder / "example")
    prefix = run(python, "-m", "logitloss", "--prefix", cwd=folder).strip()
    run("cmake", "-S.", "-Bbuild", f"-Dlogitloss_ROOT={prefix}", cwd=example)
    run("cmake", "--build", "build", cwd=example)
    printed = run(example / "build" / "softmax_regression", "iris.csv", cwd=example)
    check("test accuracy: 0.9" in printed, f"the C++ example learns: {printed.splitlines()[-1]}")


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="logitloss-") as temporary:
        folder = Path(temporary).resolve()
        _, wheel = build_twice(folder)
        check_contents(wheel, folder)
        check_clean_environment(wheel, folder)


if __name__ == "__main__":
    main()
