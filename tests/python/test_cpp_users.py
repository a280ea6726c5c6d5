"""What C++ users do with an installation: builds here see the installed package, not the source tree."""

from __future__ import annotations

import ast
import importlib.util
import re
import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from child import printed_path, program

import logitloss as ll

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "cpp"


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [name for name in programs if program(name) is None]
    return pytest.mark.skipif(bool(missing), reason=f"needs {', '.join(missing)}")


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def run(*command: str | Path, cwd: Path, status: int = 0) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == status, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(folder: Path, *options: str) -> None:
    run(program("cmake"), "-S.", "-Bbuild", "-DCMAKE_BUILD_TYPE=Release", *options, cwd=folder)
    run(program("cmake"), "--build", "build", cwd=folder)


def pkg_config(folder: Path, pkgconfigdir: Path) -> list[str]:
    path = f"PKG_CONFIG_PATH={pkgconfigdir}"
    return run("env", path, "pkg-config", "--cflags", "--libs", "logitloss", cwd=folder).split()


# -------------------------------------------------------------------------------------------- finding what is installed

LOGITS = np.array([[0.5, -1.25, 30.0], [2.0, 2.0, -np.inf]], np.float32)
TARGET = np.array([2, 1], np.int64)

CONSUMER = r"""
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <logitloss/logitloss.hpp>

int main() {
    const float logits[] = {0.5f, -1.25f, 30.0f, 2.0f, 2.0f, -INFINITY};
    const std::int64_t target[] = {2, 1};
    float loss = 0.0f;
    float grad[6] = {};
    const std::ptrdiff_t shape[] = {2, 3}, strides[] = {12, 4};
    logitloss::cross_entropy_value_and_grad(
        {logits, logitloss::DType::float32, 2, shape},
        {target, logitloss::DType::int64, 1, shape}, {},
        {&loss, logitloss::DType::float32},
        {grad, logitloss::DType::float32, 2, shape, strides});
    std::printf("['%s', '%a'", logitloss::version(), static_cast<double>(loss));
    for (float g : grad)
        std::printf(", '%a'", static_cast<double>(g));
    std::printf("]\n");
}
"""

PROJECT = """
cmake_minimum_required(VERSION 3.21)
project(consumer LANGUAGES CXX)
find_package(logitloss 0.1 CONFIG REQUIRED)
add_executable(consumer main.cpp)
target_link_libraries(consumer PRIVATE logitloss::logitloss)
install(TARGETS consumer DESTINATION consumer)
"""

PYPROJECT = """
[build-system]
requires = ["scikit-build-core", "logitloss"]
build-backend = "scikit_build_core.build"

[project]
name = "consumer"
version = "1.0"
"""


@pytest.fixture
def consumer(tmp_path: Path) -> Path:
    folder = tmp_path / "consumer"
    folder.mkdir()
    (folder / "main.cpp").write_text(CONSUMER)
    (folder / "CMakeLists.txt").write_text(PROJECT)
    return folder


def check_consumer(printed: str) -> None:
    """The C++ program must have computed what the Python call computes, to the bit."""
    version, *numbers = ast.literal_eval(printed)
    loss, grad = ll.cross_entropy_value_and_grad(LOGITS, TARGET)
    assert version == ll.__version__
    assert [float.fromhex(number) for number in numbers] == [float(loss), *grad.ravel().tolist()]


@needs("cmake", "c++")
@pytest.mark.parametrize("hint", ["-Dlogitloss_ROOT={--prefix}", "-Dlogitloss_DIR={--cmakedir}"])
def test_find_package_works_from_the_installed_package(consumer, hint):
    option = re.search(r"{(.*)}", hint)[1]
    build(consumer, hint.replace(f"{{{option}}}", str(printed_path(option))))
    check_consumer(run("build/consumer", cwd=consumer))


def test_build_back_ends_find_the_cmake_package_by_entry_point():
    (entry,) = [entry for entry in metadata.entry_points(group="cmake.root") if entry.name == "logitloss"]
    assert entry.load() is ll


@needs("cmake", "c++")
@pytest.mark.skipif(not has("scikit_build_core"), reason="needs scikit-build-core")
def test_a_scikit_build_core_project_needs_no_path(consumer, tmp_path):
    (consumer / "pyproject.toml").write_text(PYPROJECT)
    command = "pip wheel --quiet --no-index --no-build-isolation --no-deps --wheel-dir ."
    run(sys.executable, "-m", *command.split(), "./consumer", cwd=tmp_path)
    (wheel,) = tmp_path.glob("consumer-1.0-*.whl")
    installed = Path(ZipFile(wheel).extract("consumer/consumer", tmp_path / "installed"))
    installed.chmod(0o755)
    check_consumer(run(installed, cwd=tmp_path))


@needs("pkg-config", "c++")
def test_pkg_config_works_from_the_installed_package(consumer):
    run("c++", "-std=c++17", "main.cpp", "-o", "consumer", *pkg_config(consumer, printed_path("--pkgconfigdir")),
        cwd=consumer)  # fmt: skip
    check_consumer(run("./consumer", cwd=consumer))


@needs("cmake", "c++", "pkg-config")
def test_cmake_install_makes_a_package_that_can_be_moved(consumer, tmp_path):
    built = ROOT / "build" / "pytest"  # by test_cpp_suite.py
    if not (built / "cmake_install.cmake").is_file() or not any(built.glob("liblogitloss.*")):
        pytest.skip("needs the build of the C++ suite")
    run(program("cmake"), "--install", built, "--prefix", tmp_path / "first", cwd=tmp_path)
    prefix = (tmp_path / "first").rename(tmp_path / "second")
    build(consumer, f"-Dlogitloss_ROOT={prefix}")
    check_consumer(run("build/consumer", cwd=consumer))
    (pc,) = prefix.glob("lib*/**/logitloss.pc")
    run("c++", "-std=c++17", "main.cpp", "-o", "by_pkg_config", *pkg_config(consumer, pc.parent), cwd=consumer)
    check_consumer(run("./by_pkg_config", cwd=consumer))


# --------------------------------------------------------------------------------------------------------- the headers

WARNINGS = ("all", "extra", "pedantic", "conversion", "sign-conversion", "shadow", "old-style-cast", "error")
STRICT = ["-std=c++17", *(f"-W{name}" for name in WARNINGS)]
COMPILERS = [pytest.param(name, marks=needs(name)) for name in ("g++", "clang++")]

OTHER_UNIT = """
#include <logitloss/logitloss.hpp>
std::size_t bytes_of_a_float();
std::size_t bytes_of_a_float() { return logitloss::item_size(logitloss::DType::float32); }
"""

MAIN_UNIT = """
#include <logitloss/logitloss.hpp>
std::size_t bytes_of_a_float();
int main() {
    const logitloss::LogSumExpState none;
    double value = 0.0;
    logitloss::logsumexp_of_states(&none, {&value, logitloss::DType::float64});
    return value < 0.0 && bytes_of_a_float() == logitloss::item_size(logitloss::DType::float32) ? 0 : 1;
}
"""


@pytest.mark.parametrize("compiler", COMPILERS)
def test_every_header_compiles_alone_without_a_warning(compiler, tmp_path):
    includes = printed_path("--includes")
    headers = sorted((includes / "logitloss").glob("*.hpp"))
    assert {header.name for header in headers} == {path.name for path in ROOT.glob("cpp/include/logitloss/*.hpp")}
    for header in headers:
        unit = tmp_path / f"{header.stem}.cpp"
        unit.write_text(f"#include <logitloss/{header.name}>\n#include <logitloss/{header.name}>\n")
        run(compiler, *STRICT, f"-I{includes}", "-fsyntax-only", unit, cwd=tmp_path)


@needs("pkg-config", "c++")
@pytest.mark.parametrize("compiler", COMPILERS)
def test_two_units_of_a_program_may_include_the_headers(compiler, tmp_path):
    for name, text in (("main", MAIN_UNIT), ("other", OTHER_UNIT)):
        (tmp_path / f"{name}.cpp").write_text(text)
        run(compiler, *STRICT, f"-I{printed_path('--includes')}", "-c", f"{name}.cpp", cwd=tmp_path)
    flags = pkg_config(tmp_path, printed_path("--pkgconfigdir"))
    run("c++", "main.o", "other.o", "-o", "program", *flags, cwd=tmp_path)
    run("./program", cwd=tmp_path)


def test_every_public_function_has_a_contract_at_its_declaration():
    declaration = re.compile(r"^(?!(?:struct|class|enum|namespace|using)\b)[\w:<>*& ]+?(\w+)\(", re.MULTILINE)
    functions = []
    for path in ROOT.glob("cpp/include/logitloss/*.hpp"):
        text = path.read_text()
        for found in declaration.finditer(text):
            functions.append(found[1])
            line_before = text[: found.start()].rstrip("\n").rsplit("\n", 1)[-1]
            assert line_before.lstrip().startswith("///"), f"{path.name}: {found[1]}"
    assert {"cross_entropy", "softmax", "merge", "item_size", "set_num_threads"} <= set(functions)


# --------------------------------------------------------------------------------------------------------- the example


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("example") / "cpp"
    shutil.copytree(EXAMPLE, folder)
    prefix = printed_path("--prefix")
    build(folder, f"-Dlogitloss_ROOT={prefix}")
    cache = (folder / "build" / "CMakeCache.txt").read_text()
    assert Path(re.search(r"logitloss_DIR:PATH=(.*)", cache)[1]).is_relative_to(prefix)
    return folder


def losses_and_accuracy(printed: str) -> tuple[list[float], float]:
    losses = [float(loss) for loss in re.findall(r"loss: ([0-9.]+)", printed)]
    return losses, float(re.search(r"test accuracy: ([0-9.]+) \((\w+)\)", printed)[1])


@needs("cmake", "c++")
def test_the_example_learns_irises(example):
    losses, accuracy = losses_and_accuracy(run("build/softmax_regression", "iris.csv", cwd=example))
    assert losses[0] == pytest.approx(np.log(3.0), abs=1e-6)  # all weights are 0
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.15
    assert accuracy >= 0.9


@needs("cmake", "c++")
@pytest.mark.skipif(not has("sklearn"), reason="needs scikit-learn's data")
def test_the_example_learns_digits(example):
    from sklearn.datasets import load_digits

    digits = load_digits()
    np.savetxt(example / "digits.csv", np.column_stack([digits.data, digits.target]), fmt="%g", delimiter=",")
    losses, accuracy = losses_and_accuracy(run("build/softmax_regression", "digits.csv", cwd=example))
    assert losses[0] == pytest.approx(np.log(10.0), abs=1e-6)
    assert losses == sorted(losses, reverse=True)
    assert accuracy >= 0.95


@needs("cmake", "c++")
def test_the_example_says_so_when_it_has_not_learned(example):
    assert losses_and_accuracy(run("build/softmax_regression", "iris.csv", "0", cwd=example, status=1))[1] < 0.9


@needs("cmake", "c++")
@pytest.mark.parametrize("text", ["1,2,0\n3,1\n", "1,2,-1\n", "", "0\n"])
def test_the_example_refuses_what_is_no_data(example, text, tmp_path):
    (tmp_path / "bad.csv").write_text(text)
    run(example / "build" / "softmax_regression", "bad.csv", cwd=tmp_path, status=2)


@needs("pkg-config", "c++")
def test_the_example_builds_by_pkg_config_as_its_readme_says(tmp_path):
    shutil.copytree(EXAMPLE, tmp_path / "cpp")
    command = re.search(r"^c\+\+ .*(?=\$\()", (EXAMPLE / "README.md").read_text(), re.MULTILINE)[0]
    run(*command.split(), *pkg_config(tmp_path, printed_path("--pkgconfigdir")), cwd=tmp_path / "cpp")
    run("./softmax_regression", "iris.csv", cwd=tmp_path / "cpp")
