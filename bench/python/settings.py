"""The settings that a measurement repeats, and the environment variables that make them."""

from __future__ import annotations

# What a user of the peers can do against page faults on large temporaries: let glibc keep and reuse what was freed
# instead of returning it to the system, and back it with huge pages.
ALLOCATORS = {
    "default": {},
    "tuned": {
        "MALLOC_MMAP_MAX_": "0",
        "MALLOC_TRIM_THRESHOLD_": str(2**46),
        "MALLOC_TOP_PAD_": str(2**26),
        "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1",
        "THP_MEM_ALLOC_ENABLE": "1",
    },
}

# A processor with AVX2 and FMA and nothing later, as far as each library can be told: logitloss; PyTorch's own kernels,
# its oneDNN and MKL; XLA; NumPy; the C library, whose memcpy and memchr are the bound; OpenBLAS.
# NumPy's names differ from version to version, and it ignores those that it does not have.
INSTRUCTION_SETS = {
    "native": {},
    "avx2": {
        "LOGITLOSS_ISA": "avx2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "XLA_FLAGS": "--xla_cpu_max_isa=AVX2",
        "NPY_DISABLE_CPU_FEATURES": "X86_V4 AVX512F AVX512CD AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR",
        "GLIBC_TUNABLES": "glibc.cpu.hwcaps=-AVX512F,-AVX512VL,-AVX512BW",
        "OPENBLAS_CORETYPE": "Haswell",
    },
}

SEPARATORS = {"GLIBC_TUNABLES": ":", "XLA_FLAGS": " "}  # of variables that hold several things; others are replaced


def environment(threads: int, allocator: str, isa: str, inherited: dict[str, str]) -> dict[str, str]:
    """`inherited` with the variables of this setting."""
    result = {
        **inherited,
        "OMP_NUM_THREADS": str(threads),
        "LOGITLOSS_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": "1",  # the bound calls BLAS from its own threads
        "JAX_PLATFORMS": "cpu",
    }
    for variables in (ALLOCATORS[allocator], INSTRUCTION_SETS[isa]):
        for name, value in variables.items():
            separator = SEPARATORS.get(name)
            result[name] = separator.join(filter(None, [result.get(name), value])) if separator else value
    return result


def title(setting: dict) -> str:
    words = [f"{setting['threads']} thread(s)", f"{setting['allocator']} allocator"]
    if setting.get("isa", "native") != "native":
        words.append(f"everybody limited to {setting['isa']}")
    return ", ".join(words)
