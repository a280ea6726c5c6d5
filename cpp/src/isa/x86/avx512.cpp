// AVX-512 (F, BW, DQ, VL): 16 lanes of float32, 8 of float64; a mask is a bit a lane, in a register of its own.
// HACKING.md, "The vector layer", says what each verb means.
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/kernel_table.hpp"

namespace logitloss::detail {
namespace avx512 {
namespace {
// The features that the target string below lets the compiler use, and that the operating system saves.
bool supported() {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
}
}  // namespace
}  // namespace avx512
}  // namespace logitloss::detail

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma")
// The vectors of "undefined" lanes in GCC 12's own headers, used where a full mask hides them.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif

namespace logitloss::detail::avx512 {
namespace {

#define LOGITLOSS_INLINE inline __attribute__((always_inline))
#define LOGITLOSS_INLINE_LAMBDA __attribute__((always_inline))
#if !defined(LOGITLOSS_NO_ROWS_IN_REGISTERS)  // which sanitizers take minutes to compile
#define LOGITLOSS_ROWS_IN_REGISTERS           // of up to 10 classes
#endif

template <class T>
struct Vec;
template <class T>
struct Bits;
template <class T>
struct Mask;

template <>
struct Vec<float> {
    static constexpr std::size_t lanes = 16;
    __m512 v;
};
template <>
struct Bits<float> {
    __m512i v;
};
template <>
struct Mask<float> {
    __mmask16 v;
};
template <>
struct Vec<double> {
    static constexpr std::size_t lanes = 8;
    __m512d v;
};
template <>
struct Bits<double> {
    __m512i v;
};
template <>
struct Mask<double> {
    __mmask8 v;
};

using VecF = Vec<float>;
using VecD = Vec<double>;

LOGITLOSS_INLINE VecF load(const float* p) { return {_mm512_loadu_ps(p)}; }
LOGITLOSS_INLINE VecD load(const double* p) { return {_mm512_loadu_pd(p)}; }
LOGITLOSS_INLINE VecF load_first(const float* p, std::size_t n, float fill) {
    const __mmask16 first = n >= 16 ? 0xffff : static_cast<__mmask16>((1u << n) - 1);
    return {_mm512_mask_loadu_ps(_mm512_set1_ps(fill), first, p)};
}
LOGITLOSS_INLINE VecD load_first(const double* p, std::size_t n, double fill) {
    const __mmask8 first = n >= 8 ? 0xff : static_cast<__mmask8>((1u << n) - 1);
    return {_mm512_mask_loadu_pd(_mm512_set1_pd(fill), first, p)};
}
LOGITLOSS_INLINE VecF load_where(const float* p, const unsigned char* where, float fill) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(where));
    return {_mm512_mask_loadu_ps(_mm512_set1_ps(fill), _mm_test_epi8_mask(bytes, bytes), p)};
}
LOGITLOSS_INLINE VecD load_where(const double* p, const unsigned char* where, double fill) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(where));
    const auto kept = static_cast<__mmask8>(_mm_test_epi8_mask(bytes, bytes));
    return {_mm512_mask_loadu_pd(_mm512_set1_pd(fill), kept, p)};
}
LOGITLOSS_INLINE void store(float* p, VecF a) { _mm512_storeu_ps(p, a.v); }
LOGITLOSS_INLINE void store(double* p, VecD a) { _mm512_storeu_pd(p, a.v); }
LOGITLOSS_INLINE void stream(float* p, VecF a) { _mm512_stream_ps(p, a.v); }
LOGITLOSS_INLINE void stream(double* p, VecD a) { _mm512_stream_pd(p, a.v); }
LOGITLOSS_INLINE void stream_fence() { _mm_sfence(); }
LOGITLOSS_INLINE VecF splat(float a) { return {_mm512_set1_ps(a)}; }
LOGITLOSS_INLINE VecD splat(double a) { return {_mm512_set1_pd(a)}; }

// Of what is only prefetched: a pointer may not be moved out of its array, an integer may.
LOGITLOSS_INLINE const char* far_from(const void* p, std::ptrdiff_t bytes) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): nothing is read there
    return reinterpret_cast<const char*>(reinterpret_cast<std::uintptr_t>(p) + static_cast<std::uintptr_t>(bytes));
}
// In assembly, because GCC drops calls of a function that does nothing but prefetch, and __builtin_prefetch for writing
// would emit the prefetch for reading. CPUs that lack PREFETCHW take its encoding for a no-op, so no feature bit is needed.
LOGITLOSS_INLINE void prefetch_near(const void* p, std::ptrdiff_t bytes) {
    asm volatile("prefetcht0 %0" : : "m"(*far_from(p, bytes)));
}
LOGITLOSS_INLINE void prefetch_far(const void* p, std::ptrdiff_t bytes) {
    asm volatile("prefetcht1 %0" : : "m"(*far_from(p, bytes)));
}
LOGITLOSS_INLINE void prefetch_store(const void* p, std::ptrdiff_t bytes) {
    asm volatile("prefetchw %0" : : "m"(*far_from(p, bytes)));
}

LOGITLOSS_INLINE VecF operator+(VecF a, VecF b) { return {_mm512_add_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator+(VecD a, VecD b) { return {_mm512_add_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF operator-(VecF a, VecF b) { return {_mm512_sub_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator-(VecD a, VecD b) { return {_mm512_sub_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF operator*(VecF a, VecF b) { return {_mm512_mul_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator*(VecD a, VecD b) { return {_mm512_mul_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF operator/(VecF a, VecF b) { return {_mm512_div_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator/(VecD a, VecD b) { return {_mm512_div_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF fma(VecF a, VecF b, VecF c) { return {_mm512_fmadd_ps(a.v, b.v, c.v)}; }
LOGITLOSS_INLINE VecD fma(VecD a, VecD b, VecD c) { return {_mm512_fmadd_pd(a.v, b.v, c.v)}; }
LOGITLOSS_INLINE VecF neg_fma(VecF a, VecF b, VecF c) { return {_mm512_fnmadd_ps(a.v, b.v, c.v)}; }
LOGITLOSS_INLINE VecD neg_fma(VecD a, VecD b, VecD c) { return {_mm512_fnmadd_pd(a.v, b.v, c.v)}; }
LOGITLOSS_INLINE VecF max(VecF a, VecF b) { return {_mm512_max_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD max(VecD a, VecD b) { return {_mm512_max_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF min(VecF a, VecF b) { return {_mm512_min_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD min(VecD a, VecD b) { return {_mm512_min_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF abs(VecF a) { return {_mm512_andnot_ps(_mm512_set1_ps(-0.0f), a.v)}; }
LOGITLOSS_INLINE VecD abs(VecD a) { return {_mm512_andnot_pd(_mm512_set1_pd(-0.0), a.v)}; }

LOGITLOSS_INLINE Mask<float> less(VecF a, VecF b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_LT_OQ)}; }
LOGITLOSS_INLINE Mask<double> less(VecD a, VecD b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_LT_OQ)}; }
LOGITLOSS_INLINE Mask<float> equal(VecF a, VecF b) { return {_mm512_cmp_ps_mask(a.v, b.v, _CMP_EQ_OQ)}; }
LOGITLOSS_INLINE Mask<double> equal(VecD a, VecD b) { return {_mm512_cmp_pd_mask(a.v, b.v, _CMP_EQ_OQ)}; }
LOGITLOSS_INLINE Mask<float> operator|(Mask<float> a, Mask<float> b) { return {static_cast<__mmask16>(a.v | b.v)}; }
LOGITLOSS_INLINE Mask<double> operator|(Mask<double> a, Mask<double> b) { return {static_cast<__mmask8>(a.v | b.v)}; }
LOGITLOSS_INLINE VecF select(Mask<float> m, VecF a, VecF b) { return {_mm512_mask_blend_ps(m.v, b.v, a.v)}; }
LOGITLOSS_INLINE VecD select(Mask<double> m, VecD a, VecD b) { return {_mm512_mask_blend_pd(m.v, b.v, a.v)}; }
LOGITLOSS_INLINE bool any(Mask<float> m) { return m.v != 0; }
LOGITLOSS_INLINE bool any(Mask<double> m) { return m.v != 0; }

LOGITLOSS_INLINE float largest_lane(VecF a) {
    const __m256 eight = _mm256_max_ps(_mm512_extractf32x8_ps(a.v, 1), _mm512_castps512_ps256(a.v));
    const __m128 four = _mm_max_ps(_mm256_extractf128_ps(eight, 1), _mm256_castps256_ps128(eight));
    const __m128 two = _mm_max_ps(_mm_movehl_ps(four, four), four);
    return _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(two), two));
}
LOGITLOSS_INLINE double largest_lane(VecD a) {
    const __m256d four = _mm256_max_pd(_mm512_extractf64x4_pd(a.v, 1), _mm512_castpd512_pd256(a.v));
    const __m128d two = _mm_max_pd(_mm256_extractf128_pd(four, 1), _mm256_castpd256_pd128(four));
    return _mm_cvtsd_f64(_mm_max_sd(_mm_unpackhi_pd(two, two), two));
}

LOGITLOSS_INLINE Bits<float> bits(VecF a) { return {_mm512_castps_si512(a.v)}; }
LOGITLOSS_INLINE Bits<double> bits(VecD a) { return {_mm512_castpd_si512(a.v)}; }
LOGITLOSS_INLINE VecF from_bits(Bits<float> a) { return {_mm512_castsi512_ps(a.v)}; }
LOGITLOSS_INLINE VecD from_bits(Bits<double> a) { return {_mm512_castsi512_pd(a.v)}; }
LOGITLOSS_INLINE Bits<float> splat_bits(std::uint32_t a) { return {_mm512_set1_epi32(static_cast<int>(a))}; }
LOGITLOSS_INLINE Bits<double> splat_bits(std::uint64_t a) { return {_mm512_set1_epi64(static_cast<long long>(a))}; }
LOGITLOSS_INLINE Bits<float> operator+(Bits<float> a, Bits<float> b) { return {_mm512_add_epi32(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<double> operator+(Bits<double> a, Bits<double> b) { return {_mm512_add_epi64(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<float> operator-(Bits<float> a, Bits<float> b) { return {_mm512_sub_epi32(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<double> operator-(Bits<double> a, Bits<double> b) { return {_mm512_sub_epi64(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<float> operator|(Bits<float> a, Bits<float> b) { return {_mm512_or_si512(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<double> operator|(Bits<double> a, Bits<double> b) { return {_mm512_or_si512(a.v, b.v)}; }
template <int count>
LOGITLOSS_INLINE Bits<float> shift_left(Bits<float> a) {
    return {_mm512_slli_epi32(a.v, count)};
}
template <int count>
LOGITLOSS_INLINE Bits<double> shift_left(Bits<double> a) {
    return {_mm512_slli_epi64(a.v, count)};
}
template <int count>
LOGITLOSS_INLINE Bits<float> shift_right(Bits<float> a) {
    return {_mm512_srli_epi32(a.v, count)};
}
template <int count>
LOGITLOSS_INLINE Bits<double> shift_right(Bits<double> a) {
    return {_mm512_srli_epi64(a.v, count)};
}

template <int half>
LOGITLOSS_INLINE VecD widen(VecF a) {
    return {_mm512_cvtps_pd(half == 0 ? _mm512_castps512_ps256(a.v) : _mm512_extractf32x8_ps(a.v, 1))};
}
LOGITLOSS_INLINE VecF narrow(VecD lower, VecD upper) {
    return {_mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(lower.v)), _mm512_cvtpd_ps(upper.v), 1)};
}

LOGITLOSS_INLINE __m256i load_half_vector(const void* p) { return _mm256_loadu_si256(static_cast<const __m256i*>(p)); }
LOGITLOSS_INLINE VecF load(const Float16* p) { return {_mm512_cvtph_ps(load_half_vector(p))}; }
LOGITLOSS_INLINE VecF load(const BFloat16* p) {
    return from_bits(shift_left<16>(Bits<float>{_mm512_cvtepu16_epi32(load_half_vector(p))}));
}
LOGITLOSS_INLINE __m512i rounded_to(const Float16*, VecF lower, VecF upper) {
    return _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(lower.v, _MM_FROUND_TO_NEAREST_INT)),
                              _mm512_cvtps_ph(upper.v, _MM_FROUND_TO_NEAREST_INT), 1);
}
// Half an ulp is added, or a little less where bit 16, the last that stays, is even. Not vcvtne2ps2bf16: it flushes
// subnormals (docs/adr/0019-halves.md).
LOGITLOSS_INLINE __m512i rounded_to_16_bits(VecF a) {
    const Bits<float> u = bits(a);
    const __mmask16 odd = _mm512_test_epi32_mask(u.v, splat_bits(0x10000u).v);
    return _mm512_mask_add_epi32((u + splat_bits(0x7fffu)).v, odd, u.v, splat_bits(0x8000u).v);
}
LOGITLOSS_INLINE __m512i rounded_to(const BFloat16*, VecF lower, VecF upper) {
    alignas(64) static constexpr std::int16_t upper_words[32] = {1,  3,  5,  7,  9,  11, 13, 15, 17, 19, 21,
                                                                 23, 25, 27, 29, 31, 33, 35, 37, 39, 41, 43,
                                                                 45, 47, 49, 51, 53, 55, 57, 59, 61, 63};
    return _mm512_permutex2var_epi16(rounded_to_16_bits(lower), _mm512_load_si512(upper_words),
                                     rounded_to_16_bits(upper));
}
template <class Half>
LOGITLOSS_INLINE void store(Half* p, VecF lower, VecF upper) {
    _mm512_storeu_si512(p, rounded_to(p, lower, upper));
}
template <class Half>
LOGITLOSS_INLINE void stream(Half* p, VecF lower, VecF upper) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(p), rounded_to(p, lower, upper));
}

// A 128-bit part of vector i comes from row i, or i + the parts before it: transposing inside the parts is then enough.
LOGITLOSS_INLINE void transpose_parts(VecF (&q)[4]) {
    const __m512 low01 = _mm512_unpacklo_ps(q[0].v, q[1].v);
    const __m512 high01 = _mm512_unpackhi_ps(q[0].v, q[1].v);
    const __m512 low23 = _mm512_unpacklo_ps(q[2].v, q[3].v);
    const __m512 high23 = _mm512_unpackhi_ps(q[2].v, q[3].v);
    q[0] = {_mm512_shuffle_ps(low01, low23, 0x44)};
    q[1] = {_mm512_shuffle_ps(low01, low23, 0xee)};
    q[2] = {_mm512_shuffle_ps(high01, high23, 0x44)};
    q[3] = {_mm512_shuffle_ps(high01, high23, 0xee)};
}
LOGITLOSS_INLINE void transpose_parts(VecD (&q)[2]) {
    const __m512d low = _mm512_unpacklo_pd(q[0].v, q[1].v);
    q[1] = {_mm512_unpackhi_pd(q[0].v, q[1].v)};
    q[0] = {low};
}
// Unrolled by hand: the addresses of a vector's rows are then a part of each instruction.
template <class Rows>
LOGITLOSS_INLINE VecF every_fourth_row(const Rows& rows, std::size_t i, std::size_t offset) {
    __m512 part = _mm512_castps128_ps512(_mm_loadu_ps(rows[i] + offset));
    part = _mm512_insertf32x4(part, _mm_loadu_ps(rows[4 + i] + offset), 1);
    part = _mm512_insertf32x4(part, _mm_loadu_ps(rows[8 + i] + offset), 2);
    return {_mm512_insertf32x4(part, _mm_loadu_ps(rows[12 + i] + offset), 3)};
}
template <class Rows>
LOGITLOSS_INLINE void load_transposed(const Rows& rows, std::size_t offset, VecF (&out)[4]) {
    out[0] = every_fourth_row(rows, 0, offset);
    out[1] = every_fourth_row(rows, 1, offset);
    out[2] = every_fourth_row(rows, 2, offset);
    out[3] = every_fourth_row(rows, 3, offset);
    transpose_parts(out);
}
template <class Rows>
LOGITLOSS_INLINE VecD every_second_row(const Rows& rows, std::size_t i, std::size_t offset) {
    __m512d part = _mm512_castpd128_pd512(_mm_loadu_pd(rows[i] + offset));
    part = _mm512_insertf64x2(part, _mm_loadu_pd(rows[2 + i] + offset), 1);
    part = _mm512_insertf64x2(part, _mm_loadu_pd(rows[4 + i] + offset), 2);
    return {_mm512_insertf64x2(part, _mm_loadu_pd(rows[6 + i] + offset), 3)};
}
template <class Rows>
LOGITLOSS_INLINE void load_transposed(const Rows& rows, std::size_t offset, VecD (&out)[2]) {
    out[0] = every_second_row(rows, 0, offset);
    out[1] = every_second_row(rows, 1, offset);
    transpose_parts(out);
}
template <class Rows>
LOGITLOSS_INLINE void store_every_fourth_row(VecF q, const Rows& rows, std::size_t i, std::size_t offset) {
    _mm_storeu_ps(rows[i] + offset, _mm512_castps512_ps128(q.v));
    _mm_storeu_ps(rows[4 + i] + offset, _mm512_extractf32x4_ps(q.v, 1));
    _mm_storeu_ps(rows[8 + i] + offset, _mm512_extractf32x4_ps(q.v, 2));
    _mm_storeu_ps(rows[12 + i] + offset, _mm512_extractf32x4_ps(q.v, 3));
}
template <class Rows>
LOGITLOSS_INLINE void store_transposed(const VecF (&in)[4], const Rows& rows, std::size_t offset) {
    VecF q[4] = {in[0], in[1], in[2], in[3]};
    transpose_parts(q);
    store_every_fourth_row(q[0], rows, 0, offset);
    store_every_fourth_row(q[1], rows, 1, offset);
    store_every_fourth_row(q[2], rows, 2, offset);
    store_every_fourth_row(q[3], rows, 3, offset);
}
template <class Rows>
LOGITLOSS_INLINE void store_every_second_row(VecD q, const Rows& rows, std::size_t i, std::size_t offset) {
    const __m512 floats = _mm512_castpd_ps(q.v);
    _mm_storeu_pd(rows[i] + offset, _mm512_castpd512_pd128(q.v));
    _mm_storeu_pd(rows[2 + i] + offset, _mm_castps_pd(_mm512_extractf32x4_ps(floats, 1)));
    _mm_storeu_pd(rows[4 + i] + offset, _mm_castps_pd(_mm512_extractf32x4_ps(floats, 2)));
    _mm_storeu_pd(rows[6 + i] + offset, _mm_castps_pd(_mm512_extractf32x4_ps(floats, 3)));
}
template <class Rows>
LOGITLOSS_INLINE void store_transposed(const VecD (&in)[2], const Rows& rows, std::size_t offset) {
    VecD q[2] = {in[0], in[1]};
    transpose_parts(q);
    store_every_second_row(q[0], rows, 0, offset);
    store_every_second_row(q[1], rows, 1, offset);
}

LOGITLOSS_INLINE void load_rows(const float* p, VecF (&out)[2]) {
    const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16, 14, 12, 10, 8, 6, 4, 2, 0);
    const __m512i odd = _mm512_set_epi32(31, 29, 27, 25, 23, 21, 19, 17, 15, 13, 11, 9, 7, 5, 3, 1);
    const __m512 lower = _mm512_loadu_ps(p);
    const __m512 upper = _mm512_loadu_ps(p + 16);
    out[0] = {_mm512_permutex2var_ps(lower, even, upper)};
    out[1] = {_mm512_permutex2var_ps(lower, odd, upper)};
}
LOGITLOSS_INLINE void store_rows(const VecF (&in)[2], float* p) {
    const __m512i lower = _mm512_set_epi32(23, 7, 22, 6, 21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    const __m512i upper = _mm512_set_epi32(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8);
    _mm512_storeu_ps(p, _mm512_permutex2var_ps(in[0].v, lower, in[1].v));
    _mm512_storeu_ps(p + 16, _mm512_permutex2var_ps(in[0].v, upper, in[1].v));
}
// Numbers that are three apart fall on 16 different lanes of three vectors, those of column 0 on lanes 0, 3, 6, ... of
// the first: they are blended into one vector and then put in order.
constexpr __mmask16 every_third[3] = {0x9249, 0x2492, 0x4924};
LOGITLOSS_INLINE void load_rows(const float* p, VecF (&out)[3]) {
    // lane r of column j is lane (3 r + j) mod 16
    const __m512i order[3] = {_mm512_set_epi32(13, 10, 7, 4, 1, 14, 11, 8, 5, 2, 15, 12, 9, 6, 3, 0),
                              _mm512_set_epi32(14, 11, 8, 5, 2, 15, 12, 9, 6, 3, 0, 13, 10, 7, 4, 1),
                              _mm512_set_epi32(15, 12, 9, 6, 3, 0, 13, 10, 7, 4, 1, 14, 11, 8, 5, 2)};
    const __m512 first = _mm512_loadu_ps(p);
    const __m512 second = _mm512_loadu_ps(p + 16);
    const __m512 third = _mm512_loadu_ps(p + 32);
    for (int j = 0; j < 3; ++j) {
        // the second vector starts with element 16, which is 1 more than a multiple of 3, the third with 32
        const __m512 two = _mm512_mask_blend_ps(every_third[(j + 2) % 3], first, second);
        out[j] = {_mm512_permutexvar_ps(order[j], _mm512_mask_blend_ps(every_third[(j + 1) % 3], two, third))};
    }
}
LOGITLOSS_INLINE void store_rows(const VecF (&in)[3], float* p) {
    // number 3 r + j goes to lane (3 r + j) mod 16: lane l comes from row 11 (l - j) mod 16, as 3 times 11 is 1 mod 16
    const __m512i order[3] = {_mm512_set_epi32(5, 10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11, 0),
                              _mm512_set_epi32(10, 15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11, 0, 5),
                              _mm512_set_epi32(15, 4, 9, 14, 3, 8, 13, 2, 7, 12, 1, 6, 11, 0, 5, 10)};
    __m512 spread[3];
    for (int j = 0; j < 3; ++j)
        spread[j] = _mm512_permutexvar_ps(order[j], in[j].v);
    for (int part = 0; part < 3; ++part) {
        const __m512 two = _mm512_mask_blend_ps(every_third[(4 - part) % 3], spread[0], spread[1]);
        _mm512_storeu_ps(p + 16 * part, _mm512_mask_blend_ps(every_third[(5 - part) % 3], two, spread[2]));
    }
}

#include "kernels/kernels.inl"

}  // namespace
}  // namespace logitloss::detail::avx512

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC diagnostic pop
#pragma GCC pop_options
#endif

namespace logitloss::detail {
extern const KernelTable avx512_kernels;
constexpr KernelTable avx512_kernels = avx512::make_table("avx512", avx512::supported);
}  // namespace logitloss::detail
