// AVX2 with FMA and F16C: 8 lanes of float32, 4 of float64. HACKING.md, "The vector layer", says what each verb means.
#include <cpuid.h>
#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/kernel_table.hpp"

namespace logitloss::detail {
namespace avx2 {
namespace {
// The features that the target string below lets the compiler use, and that the operating system saves.
bool supported() {
    __builtin_cpu_init();
    unsigned eax, ebx, ecx, edx;
    // Older compilers do not know "f16c" by name.
    const bool f16c = __get_cpuid(1, &eax, &ebx, &ecx, &edx) != 0 && (ecx & bit_F16C) != 0;
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
}
}  // namespace
}  // namespace avx2
}  // namespace logitloss::detail

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma,f16c")
#endif

namespace logitloss::detail::avx2 {
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
    static constexpr std::size_t lanes = 8;
    __m256 v;
};
template <>
struct Bits<float> {
    __m256i v;
};
template <>
struct Mask<float> {
    __m256 v;
};
template <>
struct Vec<double> {
    static constexpr std::size_t lanes = 4;
    __m256d v;
};
template <>
struct Bits<double> {
    __m256i v;
};
template <>
struct Mask<double> {
    __m256d v;
};

using VecF = Vec<float>;
using VecD = Vec<double>;

LOGITLOSS_INLINE VecF load(const float* p) { return {_mm256_loadu_ps(p)}; }
LOGITLOSS_INLINE VecD load(const double* p) { return {_mm256_loadu_pd(p)}; }
alignas(32) constexpr std::int32_t ones_and_zeros[16] = {-1, -1, -1, -1, -1, -1, -1, -1};  // from 8 - n on: n ones
LOGITLOSS_INLINE VecF load_first(const float* p, std::size_t n, float fill) {
    const std::int32_t* from = ones_and_zeros + (n >= 8 ? 0 : 8 - n);
    const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return {_mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, first), _mm256_castsi256_ps(first))};
}
LOGITLOSS_INLINE VecD load_first(const double* p, std::size_t n, double fill) {
    const std::int32_t* from = ones_and_zeros + (n >= 4 ? 0 : 8 - 2 * n);
    const __m256i first = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return {_mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(p, first), _mm256_castsi256_pd(first))};
}
LOGITLOSS_INLINE VecF load_where(const float* p, const unsigned char* where, float fill) {
    const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(where));
    const __m256i kept = _mm256_cmpgt_epi32(_mm256_cvtepu8_epi32(bytes), _mm256_setzero_si256());
    return {_mm256_blendv_ps(_mm256_set1_ps(fill), _mm256_maskload_ps(p, kept), _mm256_castsi256_ps(kept))};
}
LOGITLOSS_INLINE VecD load_where(const double* p, const unsigned char* where, double fill) {
    int bytes;
    __builtin_memcpy(&bytes, where, sizeof bytes);
    const __m256i kept = _mm256_cmpgt_epi64(_mm256_cvtepu8_epi64(_mm_cvtsi32_si128(bytes)), _mm256_setzero_si256());
    return {_mm256_blendv_pd(_mm256_set1_pd(fill), _mm256_maskload_pd(p, kept), _mm256_castsi256_pd(kept))};
}
LOGITLOSS_INLINE void store(float* p, VecF a) { _mm256_storeu_ps(p, a.v); }
LOGITLOSS_INLINE void store(double* p, VecD a) { _mm256_storeu_pd(p, a.v); }
LOGITLOSS_INLINE void stream(float* p, VecF a) { _mm256_stream_ps(p, a.v); }
LOGITLOSS_INLINE void stream(double* p, VecD a) { _mm256_stream_pd(p, a.v); }
LOGITLOSS_INLINE void stream_fence() { _mm_sfence(); }
LOGITLOSS_INLINE VecF splat(float a) { return {_mm256_set1_ps(a)}; }
LOGITLOSS_INLINE VecD splat(double a) { return {_mm256_set1_pd(a)}; }

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

LOGITLOSS_INLINE VecF operator+(VecF a, VecF b) { return {_mm256_add_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator+(VecD a, VecD b) { return {_mm256_add_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF operator-(VecF a, VecF b) { return {_mm256_sub_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator-(VecD a, VecD b) { return {_mm256_sub_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF operator*(VecF a, VecF b) { return {_mm256_mul_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator*(VecD a, VecD b) { return {_mm256_mul_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF operator/(VecF a, VecF b) { return {_mm256_div_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator/(VecD a, VecD b) { return {_mm256_div_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF fma(VecF a, VecF b, VecF c) { return {_mm256_fmadd_ps(a.v, b.v, c.v)}; }
LOGITLOSS_INLINE VecD fma(VecD a, VecD b, VecD c) { return {_mm256_fmadd_pd(a.v, b.v, c.v)}; }
LOGITLOSS_INLINE VecF neg_fma(VecF a, VecF b, VecF c) { return {_mm256_fnmadd_ps(a.v, b.v, c.v)}; }
LOGITLOSS_INLINE VecD neg_fma(VecD a, VecD b, VecD c) { return {_mm256_fnmadd_pd(a.v, b.v, c.v)}; }
LOGITLOSS_INLINE VecF max(VecF a, VecF b) { return {_mm256_max_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD max(VecD a, VecD b) { return {_mm256_max_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF min(VecF a, VecF b) { return {_mm256_min_ps(a.v, b.v)}; }
LOGITLOSS_INLINE VecD min(VecD a, VecD b) { return {_mm256_min_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF abs(VecF a) { return {_mm256_andnot_ps(_mm256_set1_ps(-0.0f), a.v)}; }
LOGITLOSS_INLINE VecD abs(VecD a) { return {_mm256_andnot_pd(_mm256_set1_pd(-0.0), a.v)}; }

LOGITLOSS_INLINE Mask<float> less(VecF a, VecF b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_LT_OQ)}; }
LOGITLOSS_INLINE Mask<double> less(VecD a, VecD b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_LT_OQ)}; }
LOGITLOSS_INLINE Mask<float> equal(VecF a, VecF b) { return {_mm256_cmp_ps(a.v, b.v, _CMP_EQ_OQ)}; }
LOGITLOSS_INLINE Mask<double> equal(VecD a, VecD b) { return {_mm256_cmp_pd(a.v, b.v, _CMP_EQ_OQ)}; }
LOGITLOSS_INLINE Mask<float> operator|(Mask<float> a, Mask<float> b) { return {_mm256_or_ps(a.v, b.v)}; }
LOGITLOSS_INLINE Mask<double> operator|(Mask<double> a, Mask<double> b) { return {_mm256_or_pd(a.v, b.v)}; }
LOGITLOSS_INLINE VecF select(Mask<float> m, VecF a, VecF b) { return {_mm256_blendv_ps(b.v, a.v, m.v)}; }
LOGITLOSS_INLINE VecD select(Mask<double> m, VecD a, VecD b) { return {_mm256_blendv_pd(b.v, a.v, m.v)}; }
LOGITLOSS_INLINE bool any(Mask<float> m) { return _mm256_movemask_ps(m.v) != 0; }
LOGITLOSS_INLINE bool any(Mask<double> m) { return _mm256_movemask_pd(m.v) != 0; }

LOGITLOSS_INLINE float largest_lane(VecF a) {
    const __m128 four = _mm_max_ps(_mm256_extractf128_ps(a.v, 1), _mm256_castps256_ps128(a.v));
    const __m128 two = _mm_max_ps(_mm_movehl_ps(four, four), four);
    return _mm_cvtss_f32(_mm_max_ss(_mm_movehdup_ps(two), two));
}
LOGITLOSS_INLINE double largest_lane(VecD a) {
    const __m128d two = _mm_max_pd(_mm256_extractf128_pd(a.v, 1), _mm256_castpd256_pd128(a.v));
    return _mm_cvtsd_f64(_mm_max_sd(_mm_unpackhi_pd(two, two), two));
}

LOGITLOSS_INLINE Bits<float> bits(VecF a) { return {_mm256_castps_si256(a.v)}; }
LOGITLOSS_INLINE Bits<double> bits(VecD a) { return {_mm256_castpd_si256(a.v)}; }
LOGITLOSS_INLINE VecF from_bits(Bits<float> a) { return {_mm256_castsi256_ps(a.v)}; }
LOGITLOSS_INLINE VecD from_bits(Bits<double> a) { return {_mm256_castsi256_pd(a.v)}; }
LOGITLOSS_INLINE Bits<float> splat_bits(std::uint32_t a) { return {_mm256_set1_epi32(static_cast<int>(a))}; }
LOGITLOSS_INLINE Bits<double> splat_bits(std::uint64_t a) { return {_mm256_set1_epi64x(static_cast<long long>(a))}; }
LOGITLOSS_INLINE Bits<float> operator+(Bits<float> a, Bits<float> b) { return {_mm256_add_epi32(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<double> operator+(Bits<double> a, Bits<double> b) { return {_mm256_add_epi64(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<float> operator-(Bits<float> a, Bits<float> b) { return {_mm256_sub_epi32(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<double> operator-(Bits<double> a, Bits<double> b) { return {_mm256_sub_epi64(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<float> operator|(Bits<float> a, Bits<float> b) { return {_mm256_or_si256(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<double> operator|(Bits<double> a, Bits<double> b) { return {_mm256_or_si256(a.v, b.v)}; }
template <int count>
LOGITLOSS_INLINE Bits<float> shift_left(Bits<float> a) {
    return {_mm256_slli_epi32(a.v, count)};
}
template <int count>
LOGITLOSS_INLINE Bits<double> shift_left(Bits<double> a) {
    return {_mm256_slli_epi64(a.v, count)};
}
template <int count>
LOGITLOSS_INLINE Bits<float> shift_right(Bits<float> a) {
    return {_mm256_srli_epi32(a.v, count)};
}
template <int count>
LOGITLOSS_INLINE Bits<double> shift_right(Bits<double> a) {
    return {_mm256_srli_epi64(a.v, count)};
}

template <int half>
LOGITLOSS_INLINE VecD widen(VecF a) {
    return {_mm256_cvtps_pd(half == 0 ? _mm256_castps256_ps128(a.v) : _mm256_extractf128_ps(a.v, 1))};
}
LOGITLOSS_INLINE VecF narrow(VecD lower, VecD upper) {
    return {_mm256_set_m128(_mm256_cvtpd_ps(upper.v), _mm256_cvtpd_ps(lower.v))};
}

LOGITLOSS_INLINE __m128i load_half_vector(const void* p) { return _mm_loadu_si128(static_cast<const __m128i*>(p)); }
LOGITLOSS_INLINE VecF load(const Float16* p) { return {_mm256_cvtph_ps(load_half_vector(p))}; }
LOGITLOSS_INLINE VecF load(const BFloat16* p) {
    return from_bits(shift_left<16>(Bits<float>{_mm256_cvtepu16_epi32(load_half_vector(p))}));
}
LOGITLOSS_INLINE __m256i rounded_to(const Float16*, VecF lower, VecF upper) {
    return _mm256_set_m128i(_mm256_cvtps_ph(upper.v, _MM_FROUND_TO_NEAREST_INT),
                            _mm256_cvtps_ph(lower.v, _MM_FROUND_TO_NEAREST_INT));
}
// Half an ulp is added, or a little less where bit 16, the last that stays, is even.
LOGITLOSS_INLINE Bits<float> rounded_to_16_bits(VecF a) {
    const Bits<float> u = bits(a);
    return shift_right<16>(u + splat_bits(0x7fffu) + shift_right<31>(shift_left<15>(u)));
}
LOGITLOSS_INLINE __m256i rounded_to(const BFloat16*, VecF lower, VecF upper) {
    // Packing works inside 128-bit parts: quarters 0 and 2 are the lower vector's.
    const __m256i packed = _mm256_packus_epi32(rounded_to_16_bits(lower).v, rounded_to_16_bits(upper).v);
    return _mm256_permute4x64_epi64(packed, 0xd8);
}
template <class Half>
LOGITLOSS_INLINE void store(Half* p, VecF lower, VecF upper) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), rounded_to(p, lower, upper));
}
template <class Half>
LOGITLOSS_INLINE void stream(Half* p, VecF lower, VecF upper) {
    _mm256_stream_si256(reinterpret_cast<__m256i*>(p), rounded_to(p, lower, upper));
}

// A 128-bit part of vector i comes from row i, or i + the part's rows: transposing inside the parts is then enough.
LOGITLOSS_INLINE void transpose_parts(VecF (&q)[4]) {
    const __m256 low01 = _mm256_unpacklo_ps(q[0].v, q[1].v);
    const __m256 high01 = _mm256_unpackhi_ps(q[0].v, q[1].v);
    const __m256 low23 = _mm256_unpacklo_ps(q[2].v, q[3].v);
    const __m256 high23 = _mm256_unpackhi_ps(q[2].v, q[3].v);
    q[0] = {_mm256_shuffle_ps(low01, low23, 0x44)};
    q[1] = {_mm256_shuffle_ps(low01, low23, 0xee)};
    q[2] = {_mm256_shuffle_ps(high01, high23, 0x44)};
    q[3] = {_mm256_shuffle_ps(high01, high23, 0xee)};
}
LOGITLOSS_INLINE void transpose_parts(VecD (&q)[2]) {
    const __m256d low = _mm256_unpacklo_pd(q[0].v, q[1].v);
    q[1] = {_mm256_unpackhi_pd(q[0].v, q[1].v)};
    q[0] = {low};
}
// Unrolled by hand: the addresses of a vector's rows are then a part of each instruction.
template <class Rows>
LOGITLOSS_INLINE VecF every_fourth_row(const Rows& rows, std::size_t i, std::size_t offset) {
    return {_mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(rows[i] + offset)),
                                 _mm_loadu_ps(rows[4 + i] + offset), 1)};
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
LOGITLOSS_INLINE void load_transposed(const Rows& rows, std::size_t offset, VecD (&out)[2]) {
    for (std::size_t i = 0; i < 2; ++i)
        out[i] = {_mm256_insertf128_pd(_mm256_castpd128_pd256(_mm_loadu_pd(rows[i] + offset)),
                                       _mm_loadu_pd(rows[2 + i] + offset), 1)};
    transpose_parts(out);
}
template <class Rows>
LOGITLOSS_INLINE void store_every_fourth_row(VecF q, const Rows& rows, std::size_t i, std::size_t offset) {
    _mm_storeu_ps(rows[i] + offset, _mm256_castps256_ps128(q.v));
    _mm_storeu_ps(rows[4 + i] + offset, _mm256_extractf128_ps(q.v, 1));
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
LOGITLOSS_INLINE void store_transposed(const VecD (&in)[2], const Rows& rows, std::size_t offset) {
    VecD q[2] = {in[0], in[1]};
    transpose_parts(q);
    for (std::size_t i = 0; i < 2; ++i) {
        _mm_storeu_pd(rows[i] + offset, _mm256_castpd256_pd128(q[i].v));
        _mm_storeu_pd(rows[2 + i] + offset, _mm256_extractf128_pd(q[i].v, 1));
    }
}

LOGITLOSS_INLINE void load_rows(const float* p, VecF (&out)[2]) {
    const __m256 lower = _mm256_loadu_ps(p);
    const __m256 upper = _mm256_loadu_ps(p + 8);
    // Pairs come from inside 128-bit parts.
    const __m256d even = _mm256_castps_pd(_mm256_shuffle_ps(lower, upper, 0x88));
    const __m256d odd = _mm256_castps_pd(_mm256_shuffle_ps(lower, upper, 0xdd));
    out[0] = {_mm256_castpd_ps(_mm256_permute4x64_pd(even, 0xd8))};
    out[1] = {_mm256_castpd_ps(_mm256_permute4x64_pd(odd, 0xd8))};
}
LOGITLOSS_INLINE void store_rows(const VecF (&in)[2], float* p) {
    const __m256 low = _mm256_unpacklo_ps(in[0].v, in[1].v);
    const __m256 high = _mm256_unpackhi_ps(in[0].v, in[1].v);
    _mm256_storeu_ps(p, _mm256_permute2f128_ps(low, high, 0x20));
    _mm256_storeu_ps(p + 8, _mm256_permute2f128_ps(low, high, 0x31));
}
// Numbers that are three apart fall on eight different lanes of three vectors: those of a column are blended into one
// vector and then put in order. 0x49, 0x92, 0x24 are lanes 0, 3, 6; 1, 4, 7; and 2, 5.
LOGITLOSS_INLINE void load_rows(const float* p, VecF (&out)[3]) {
    const __m256 first = _mm256_loadu_ps(p);
    const __m256 second = _mm256_loadu_ps(p + 8);
    const __m256 third = _mm256_loadu_ps(p + 16);
    const __m256 column0 = _mm256_blend_ps(_mm256_blend_ps(first, second, 0x92), third, 0x24);
    const __m256 column1 = _mm256_blend_ps(_mm256_blend_ps(first, second, 0x24), third, 0x49);
    const __m256 column2 = _mm256_blend_ps(_mm256_blend_ps(first, second, 0x49), third, 0x92);
    out[0] = {_mm256_permutevar8x32_ps(column0, _mm256_setr_epi32(0, 3, 6, 1, 4, 7, 2, 5))};
    out[1] = {_mm256_permutevar8x32_ps(column1, _mm256_setr_epi32(1, 4, 7, 2, 5, 0, 3, 6))};
    out[2] = {_mm256_permutevar8x32_ps(column2, _mm256_setr_epi32(2, 5, 0, 3, 6, 1, 4, 7))};
}
LOGITLOSS_INLINE void store_rows(const VecF (&in)[3], float* p) {
    const __m256 column0 = _mm256_permutevar8x32_ps(in[0].v, _mm256_setr_epi32(0, 3, 6, 1, 4, 7, 2, 5));
    const __m256 column1 = _mm256_permutevar8x32_ps(in[1].v, _mm256_setr_epi32(5, 0, 3, 6, 1, 4, 7, 2));
    const __m256 column2 = _mm256_permutevar8x32_ps(in[2].v, _mm256_setr_epi32(2, 5, 0, 3, 6, 1, 4, 7));
    _mm256_storeu_ps(p, _mm256_blend_ps(_mm256_blend_ps(column0, column1, 0x92), column2, 0x24));
    _mm256_storeu_ps(p + 8, _mm256_blend_ps(_mm256_blend_ps(column0, column1, 0x24), column2, 0x49));
    _mm256_storeu_ps(p + 16, _mm256_blend_ps(_mm256_blend_ps(column0, column1, 0x49), column2, 0x92));
}

#include "kernels/kernels.inl"

}  // namespace
}  // namespace logitloss::detail::avx2

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

namespace logitloss::detail {
extern const KernelTable avx2_kernels;
constexpr KernelTable avx2_kernels = avx2::make_table("avx2", avx2::supported);
}  // namespace logitloss::detail
