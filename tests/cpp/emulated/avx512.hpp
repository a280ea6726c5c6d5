// Forced in front of isa/x86/avx512.cpp (-include) to build a table that runs without AVX-512: every AVX-512 intrinsic
// becomes SIMDe's function made of AVX2, so that the equality tests see what avx512.cpp says, operation by operation.
#pragma once

#include <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

// SIMDe names its vectors apart from the compiler's own, which exist without AVX-512 too.
#define __m512 simde__m512
#define __m512d simde__m512d
#define __m512i simde__m512i

// What SIMDe 0.7 lacks. Streaming stores become aligned ones, which want the same pointers.
#define _mm512_stream_ps(p, a) simde_mm512_store_ps(p, a)
#define _mm512_stream_pd(p, a) simde_mm512_store_pd(p, a)
#define _mm512_stream_si512(p, a) simde_mm512_store_si512(p, a)
#define _mm512_extractf32x8_ps(a, half) _mm256_castpd_ps(simde_mm512_extractf64x4_pd(simde_mm512_castps_pd(a), half))
#define _mm512_cvtps_pd(a) widen_to_512(a)
#define _mm512_cvtpd_ps(a) narrow_from_512(a)
static inline simde__m512d widen_to_512(__m256 a) {
    return simde_mm512_insertf64x4(simde_mm512_castpd256_pd512(_mm256_cvtps_pd(_mm256_castps256_ps128(a))),
                                   _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)), 1);
}
static inline __m256 narrow_from_512(simde__m512d a) {
    return _mm256_set_m128(_mm256_cvtpd_ps(simde_mm512_extractf64x4_pd(a, 1)),
                           _mm256_cvtpd_ps(simde_mm512_extractf64x4_pd(a, 0)));
}

#define _mm512_mask_loadu_ps(others, mask, p) load_selected(others, mask, p)
#define _mm512_mask_loadu_pd(others, mask, p) load_selected(others, mask, p)
static inline simde__m512 load_selected(simde__m512 others, unsigned mask, const float* p) {
    alignas(64) float lanes[16];
    simde_mm512_store_ps(lanes, others);
    for (int i = 0; i < 16; ++i)
        if ((mask >> i & 1) != 0)
            lanes[i] = p[i];
    return simde_mm512_load_ps(lanes);
}
static inline simde__m512d load_selected(simde__m512d others, unsigned mask, const double* p) {
    alignas(64) double lanes[8];
    simde_mm512_store_pd(lanes, others);
    for (int i = 0; i < 8; ++i)
        if ((mask >> i & 1) != 0)
            lanes[i] = p[i];
    return simde_mm512_load_pd(lanes);
}

#undef _mm_test_epi8_mask
#define _mm_test_epi8_mask(a, b) common_bytes(a, b)
static inline unsigned short common_bytes(__m128i a, __m128i b) {
    const int none = _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_and_si128(a, b), _mm_setzero_si128()));
    return static_cast<unsigned short>(0xffff ^ none);
}

#define _mm512_cvtepu16_epi32(a) widen_words_to_512(a)
#define _mm512_cvtph_ps(a) widen_halves_to_512(a)
#define _mm512_cvtps_ph(a, rounding) narrow_halves_from_512(a)
static inline simde__m512i widen_words_to_512(__m256i a) {
    return simde_mm512_inserti64x4(simde_mm512_castsi256_si512(_mm256_cvtepu16_epi32(_mm256_castsi256_si128(a))),
                                   _mm256_cvtepu16_epi32(_mm256_extracti128_si256(a, 1)), 1);
}
static inline simde__m512 widen_halves_to_512(__m256i a) {
    const __m256 lower = _mm256_cvtph_ps(_mm256_castsi256_si128(a));
    const __m256 upper = _mm256_cvtph_ps(_mm256_extracti128_si256(a, 1));
    return simde_mm512_castpd_ps(
        simde_mm512_insertf64x4(simde_mm512_castpd256_pd512(_mm256_castps_pd(lower)), _mm256_castps_pd(upper), 1));
}
static inline __m256i narrow_halves_from_512(simde__m512 a) {
    const simde__m512d both = simde_mm512_castps_pd(a);
    const __m256 lower = _mm256_castpd_ps(simde_mm512_extractf64x4_pd(both, 0));
    const __m256 upper = _mm256_castpd_ps(simde_mm512_extractf64x4_pd(both, 1));
    return _mm256_set_m128i(_mm256_cvtps_ph(upper, _MM_FROUND_TO_NEAREST_INT),
                            _mm256_cvtps_ph(lower, _MM_FROUND_TO_NEAREST_INT));
}

// The file's target region must stay shut, or the emulation would itself become AVX-512. GCC passes over a region
// that is written for Clang.
#define __clang__ 1
