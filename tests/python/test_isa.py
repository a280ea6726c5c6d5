"""The choice of the instruction set, and that it changes no bit of any result."""

from __future__ import annotations

import platform

import pytest
from child import run_python, start_python

import logitloss as ll

ISAS = ll.available_isas()
ALL_ISAS = ("scalar", "avx2", "avx512", "neon")

# Prints a digest of many results. Sizes lie around the vector widths, the 64 lanes and the 4,096-element blocks, and
# the last ones are large enough for several threads.
DIGEST = """
import hashlib
import numpy as np
import logitloss as ll

digest = hashlib.sha256()

def add(results):
    for result in results if isinstance(results, tuple) else (results,):
        result = np.asarray(result)
        # Any NaN is as good as any other: the sign of a NaN is no part of a result.
        digest.update(np.where(np.isnan(result), np.nan, result).astype(result.dtype).tobytes())

SHAPES = [(3, 1), (17, 2), (33, 3), (5, 15), (9, 64), (7, 65), (3, 129), (2, 4095), (3, 4097), (40, 3000), (3, 70000)]
rng = np.random.default_rng(20240607)
for dtype in (np.float32, np.float64):
    for shape in SHAPES:
        logits = (rng.standard_normal(shape) * rng.choice([0.1, 3, 60])).astype(dtype)
        logits[0, 0] = -np.inf
        labels = rng.integers(0, shape[1], shape[0])
        soft = rng.random(shape).astype(dtype)
        add(ll.logsumexp(logits, axis=-1))
        add(ll.logsumexp(logits, axis=0))
        add(ll.logsumexp_value_and_grad(logits))
        y = ll.softmax(logits, axis=-1)
        add(y)
        add(ll.softmax_vjp(y, soft))
        z = ll.log_softmax(logits, axis=-1)
        add(z)
        add(ll.log_softmax_vjp(z, soft))
        add(ll.cross_entropy(logits, labels))
        for reduction in ("none", "mean"):
            add(ll.cross_entropy_value_and_grad(logits, labels, reduction=reduction))
        finite = np.where(np.isinf(logits), 0, logits)
        add(ll.cross_entropy_value_and_grad(finite, soft))
        add(ll.bce_with_logits(finite, soft))
        add(ll.bce_with_logits_value_and_grad(finite, soft > 0.5))
print(ll.isa(), digest.hexdigest())
"""


def digest(isa: str, threads: int) -> str:
    """Digest of the results on `isa`, having checked that it was `isa` that ran."""
    printed = run_python(
        DIGEST, LOGITLOSS_ISA=isa, OMP_NUM_THREADS=str(threads), LOGITLOSS_OVERSUBSCRIBE="1", timeout=300
    )
    ran, hexdigest = printed.split()
    assert ran == isa
    return hexdigest


@pytest.fixture(scope="module")
def scalar_digest() -> str:
    return digest("scalar", 1)


@pytest.mark.parametrize(("isa", "threads"), [(isa, n) for isa in ISAS for n in (1, 2, 5) if (isa, n) != ("scalar", 1)])
def test_every_instruction_set_and_thread_count_gives_the_same_bits(isa, threads, scalar_digest):
    assert digest(isa, threads) == scalar_digest


def test_the_best_is_the_default():
    assert run_python("import logitloss as ll; print(ll.isa())") == ISAS[0]
    assert run_python("import logitloss as ll; print(ll.isa())", LOGITLOSS_ISA="") == ISAS[0]


def test_scalar_is_the_last_resort():
    assert ISAS[-1] == "scalar"
    assert len(set(ISAS)) == len(ISAS)
    assert set(ISAS) <= set(ALL_ISAS)


@pytest.mark.skipif(platform.machine() != "x86_64", reason="x86-64 only")
def test_vector_code_is_used_where_the_cpu_has_it():
    with open("/proc/cpuinfo") as file:
        flags = file.read().split()
    assert ("avx2" in ISAS) == ({"avx2", "fma", "f16c"} <= set(flags))
    assert ("avx512" in ISAS) <= ({"avx512f", "avx512bw", "avx512dq", "avx512vl"} <= set(flags))


@pytest.mark.parametrize("name", ["avx1024", "AVX2", "best", *(isa for isa in ALL_ISAS if isa not in ISAS)])
def test_a_name_that_cannot_run_is_an_import_error_naming_the_choices(name):
    done = start_python("-c", "import logitloss", LOGITLOSS_ISA=name)
    assert done.returncode == 1
    message = done.stderr.strip().splitlines()[-1]
    assert message.startswith("ImportError")
    assert repr(name) in message
    assert ", ".join(ISAS) in message
