"""Break the code on purpose, build it, and see the tests fail:  python tests/mutations.py [WORD ...]

Every mutation is tried, or those whose names hold one of the words.
In a copy of the tree: first the tests must pass as it is, then for each mutation every test named with it must fail.
Needs CMake, a C++ compiler, pybind11 and the test extra, and GoogleTest for those of C++ (without it they are left
out); takes a quarter of an hour.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
CPP_TESTS = Path("build", "tests", "cpp", "logitloss_tests")
SOURCES = ("CMakeLists.txt", "pyproject.toml", "cmake", "cpp", "python", "tests")


@dataclass(frozen=True)
class Mutation:
    """`old` becomes `new` in `file`; every test of `caught_by` must notice: a module of tests/python, or a filter of
    GoogleTest."""

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
    Mutation(
        "a wrong tree over the strided sums of rows side by side: one term twice, one not at all",
        "cpp/src/kernels/columns.inl",
        "(widen<half>(s[6]) + widen<half>(s[7]))",
        "(widen<half>(s[6]) + widen<half>(s[6]))",
        ("*ColumnKernels.AgreeWithTheRowKernels*",),
    ),
    Mutation(
        "another tree in the upper halves of vectors, so that bits depend on their width",
        "cpp/src/kernels/columns.inl",
        "first + (widen<half>(s[2]) + widen<half>(s[3]))",
        "half == 0 ? first + (widen<half>(s[2]) + widen<half>(s[3])) : (first + widen<half>(s[2])) + widen<half>(s[3])",
        ("*ColumnKernels.EqualScalar*",),
    ),
    Mutation(
        "the caller's floating-point modes stay (x86)",
        "cpp/src/runtime/float_environment.cpp",
        "_mm_setcsr(all_masked_to_nearest);",
        "(void)all_masked_to_nearest;",
        ("FloatModesDeathTest.ChangeNothingInAnyFunctionThatIsCalledFirst",),
    ),
    Mutation(
        "the last group is written whole: up to a group too far",
        "cpp/src/kernels/groups.inl",
        "(n_ - first) * sizeof(T)",
        "sizeof padded_",
        ("test_guard_pages.py",),
    ),
    Mutation(
        "NaNs of a gradient are written as they come",
        "cpp/src/losses/cross_entropy/cross_entropy_rows.hpp",
        "scratch.raw_logits, out);\n        kernels().canonical_nan(out, n);",
        "scratch.raw_logits, out);",
        ("test_one_nan.py",),
    ),
    Mutation(
        "pairs of float32 numbers without what their additions round away",
        "cpp/src/kernels/few_classes.inl",
        "low = low + two.lost;",
        "low = low + splat(0.0f) * two.lost;",
        ("test_same_bits.py",),
    ),
    Mutation(
        "a smoothed loss of few classes without the gaps of the other classes",
        "cpp/src/kernels/few_classes.inl",
        "rows.log_above_max(all, false).sum(), gaps)",
        "rows.log_above_max(all, false).sum(), splat(0.0f) * gaps)",
        ("test_accuracy.py", "test_offsets_and_extremes.py"),
    ),
    Mutation(
        "odd rows of few classes are written over",
        "cpp/src/kernels/few_class_rows.inl",
        "v[j] = select(unchanged, logits[j], v[j]);",
        "v[j] = select(unchanged, v[j], v[j]);",
        ("*FewClassKernels.OddRowsKeepTheirLogits*",),
    ),
    Mutation(
        "a vector of few rows is written whole, beyond the last row",
        "cpp/src/kernels/few_class_rows.inl",
        "rows[i] = i < count ? all[i] : instead;",
        "rows[i] = all[i];",
        ("test_guard_pages.py",),
    ),
    Mutation(
        "the class set aside is summed with the others, of halves",
        "cpp/src/kernels/half.inl",
        "        if (aside < n)\n            take_out(aside);",
        "",
        ("Halves/*.BlocksAreThoseOfFloats", "test_halves.py"),
    ),
    Mutation(
        "accuracy passes over what ties with the target before it",
        "cpp/src/kernels/metrics.inl",
        "select(less(load(lane_numbers<T>.values + lane), before), nan, v)",
        "v",
        ("test_metrics.py",),
    ),
    Mutation(
        "binary losses of the second group take the stages of the first",
        "cpp/src/kernels/elements.inl",
        "stages.log1p_e[first + i]",
        "stages.log1p_e[i]",
        ("test_accuracy.py",),
    ),
    Mutation(
        "a gradient of 0 has the sign of what made it",
        "cpp/src/kernels/row_terms.inl",
        "value[part] = fma(factor, terms.aside_gradient, zero);",
        "value[part] = factor * terms.aside_gradient;",
        ("test_factor_of_zero.py",),
    ),
    Mutation(
        "a row that is not read keeps a NaN under a softcap",
        "cpp/src/losses/cross_entropy/cross_entropy_few_rows.hpp",
        "if (!odd && rows.read[r] != 0.0f)",
        "if (!odd)",
        ("test_factor_of_zero.py",),
    ),
    Mutation(
        "an upstream gradient that is not finite changes a loss",
        "cpp/src/losses/cross_entropy/cross_entropy_rows.hpp",
        "if (!factors.of_loss_are_finite() ||",
        "if (!std::isfinite(factors.upstream) || !factors.of_loss_are_finite() ||",
        ("test_factor_of_zero.py",),
    ),
    Mutation(
        "a row that is odd for its gradient has another loss",
        "cpp/src/logits/few_class_rows.hpp",
        "losses[r] = loss[r];",
        "loss[r] = losses[r];",
        ("test_factor_of_zero.py",),
    ),
    Mutation(
        "a state goes on from another value than the call's",
        "cpp/src/logits/logit_rows.hpp",
        "sums.whole.lse[r] = static_cast<double>(scratch.known_lse[r]);",
        "sums.whole.above_max[r] = static_cast<double>(scratch.known_lse[r]);",
        ("test_logsumexp_state.py",),
    ),
    Mutation(
        "a Poisson loss forgets Stirling's term",
        "cpp/src/losses/regression/regression.cpp",
        "poisson.full = options.full;",
        "poisson.full = false;",
        ("test_poisson.py", "test_accuracy.py"),
    ),
    Mutation(
        "a Poisson loss subtracts what is nearly alike",
        "cpp/src/kernels/regression.inl",
        "select(terms.close, t * terms.above_tangent, neg_fma(t, factor, rate));",
        "neg_fma(t, factor, rate);",
        ("test_poisson.py",),
    ),
    Mutation(
        "masked logits: all of them count",
        "cpp/src/kernels/masked.inl",
        "store(out + i, load_where(x + i, where + i, fill));",
        "store(out + i, load(x + i));",
        ("test_where.py",),
    ),
    Mutation(
        "a Hessian whose largest class has 1 - p by subtraction",
        "cpp/src/kernels/curvature.inl",
        "select(largest, others, sum - e) * inverse",
        "(sum - e) * inverse",
        ("test_hessian.py",),
    ),
    Mutation(
        "a Hessian of a binary loss without its positive weight",
        "cpp/src/kernels/curvature.inl",
        "((positive + one_minus_t) * (parts.e * inverse)) * inverse",
        "(parts.e * inverse) * inverse",
        ("test_hessian.py",),
    ),
    Mutation(
        "an entropy that multiplies masked gaps",
        "cpp/src/kernels/token_rows.inl",
        "fma(e, top - max(lowest, x), gap_lanes[i])",
        "fma(e, top - x, gap_lanes[i])",
        ("test_token_logprobs.py",),
    ),
    Mutation(
        "the last of equal logits is the best",
        "cpp/src/losses/token_logprobs/top_classes.hpp",
        "(logit == other.logit && index < other.index)",
        "(logit == other.logit && index > other.index)",
        ("test_token_logprobs.py",),
    ),
    Mutation(
        "a mean of exponentials whose quotient loses its remainder",
        "cpp/src/kernels/paired.inl",
        "sum.low = (neg_fma(quotient, divisor, sum.high) + sum.low) / divisor;",
        "sum.low = sum.low / divisor;",
        ("test_logmeanexp.py",),
    ),
    Mutation(
        "the gradient of no error is -0",
        "cpp/src/kernels/regression.inl",
        "return fma(Error::slope(d), grad_factor, splat(0.0));",
        "return Error::slope(d) * grad_factor;",
        ("test_regression.py",),
    ),
    Mutation(
        "a metric of boosting whose mean forgets the weights",
        "python/logitloss/boosting.py",
        "(of_rows * weight).sum()",
        "of_rows.sum()",
        ("test_boosting.py",),
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
    import pybind11  # the list of mutations is tested without it

    folder = tree / "build"
    configure = [
        "cmake",
        f"-S{tree}",
        f"-B{folder}",
        "-DLOGITLOSS_PYTHON=ON",
        "-DBUILD_TESTING=ON",
        "-DSIMDE_INCLUDE_DIR=NO",  # the emulation of AVX-512 takes longest to compile and notices nothing of its own
        f"-DPython_EXECUTABLE={sys.executable}",
        f"-Dpybind11_DIR={pybind11.get_cmake_dir()}",
    ]
    for command in (configure, ["cmake", "--build", str(folder), "--parallel", str(os.cpu_count())]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
    packages = tree / "packages"
    shutil.rmtree(packages, ignore_errors=True)
    shutil.copytree(tree / "python" / "logitloss", packages / "logitloss")
    (extension,) = (folder / "python" / "bindings").glob("_core*.so")
    shutil.copy(extension, packages / "logitloss")
    return packages


def is_cpp(test: str) -> bool:
    return not test.endswith(".py")


def passes(tree: Path, packages: Path, test: str) -> bool:
    """Whether tests pass: those of one module with the package in `packages`, or some of the C++ suite."""
    if is_cpp(test):
        command = [str(tree / CPP_TESTS), f"--gtest_filter={test}"]
    else:
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/python/{test}"]
    environment = os.environ | {"PYTHONPATH": str(packages)}
    done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):  # 1: tests failed; more: they did not run
        raise RuntimeError(done.stdout + done.stderr)
    lines = done.stdout.strip().splitlines()
    if is_cpp(test):
        lines = [line for line in lines if re.match(r"\[  (PASSED|FAILED)  \] \d+ test", line)]
        if lines[-1].endswith(" 0 tests."):
            raise RuntimeError(f"{test}: there is no such test")
    print(f"    {test}: {lines[-1]}", flush=True)
    return done.returncode == 0


def main(words: list[str]) -> int:
    survivors = []
    mutations = [m for m in MUTATIONS if not words or any(word in m.name for word in words)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        copy_of_the_tree(tree)
        print("unchanged", flush=True)
        packages = build(tree)
        have_cpp = (tree / CPP_TESTS).exists()
        caught_by = {m: [test for test in m.caught_by if have_cpp or not is_cpp(test)] for m in mutations}
        every_test = sorted({test for tests in caught_by.values() for test in tests})
        if not all([passes(tree, packages, test) for test in every_test]):
            print("the tests fail on the unchanged tree")
            return 2
        for mutation, tests in caught_by.items():
            print(mutation.name if tests else f"not tried, without GoogleTest: {mutation.name}", flush=True)
            if not tests:
                continue
            file = tree / mutation.file
            original = file.read_text()
            if original.count(mutation.old) != 1:
                raise RuntimeError(f"{mutation.file} does not hold what {mutation.name!r} replaces, exactly once")
            file.write_text(original.replace(mutation.old, mutation.new))
            packages = build(tree)
            survivors += [(mutation.name, test) for test in tests if passes(tree, packages, test)]
            file.write_text(original)
    for name, test in survivors:
        print(f"NOT CAUGHT by {test}: {name}")
    print(f"{sum(map(bool, caught_by.values()))} mutations, {len(survivors)} not caught")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
