// NEON on 64-bit Arm: 4 lanes of float32, 2 of float64. HACKING.md, "The vector layer", says what each verb means.
// Every such CPU has it, so no target region is needed.
#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "kernels/kernel_table.hpp"

namespace logitloss::detail::neon {
namespace {

bool supported() { return true; }

#define LOGITLOSS_INLINE inline __attribute__((always_inline))
#define LOGITLOSS_INLINE_LAMBDA __attribute__((always_inline))

template <class T>
struct Vec;
template <class T>
struct Bits;
template <class T>
struct Mask;

template <>
struct Vec<float> {
    static constexpr std::size_t lanes = 4;
    float32x4_t v;
};
template <>
struct Bits<float> {
    uint32x4_t v;
};
template <>
struct Mask<float> {
    uint32x4_t v;
};
template <>
struct Vec<double> {
    static constexpr std::size_t lanes = 2;
    float64x2_t v;
};
template <>
struct Bits<double> {
    uint64x2_t v;
};
template <>
struct Mask<double> {
    uint64x2_t v;
};

using VecF = Vec<float>;
using VecD = Vec<double>;

LOGITLOSS_INLINE VecF load(const float* p) { return {vld1q_f32(p)}; }
LOGITLOSS_INLINE VecD load(const double* p) { return {vld1q_f64(p)}; }
LOGITLOSS_INLINE VecF load_first(const float* p, std::size_t n, float fill) {
    float32x4_t a = vdupq_n_f32(fill);
    a = n > 0 ? vld1q_lane_f32(p, a, 0) : a;
    a = n > 1 ? vld1q_lane_f32(p + 1, a, 1) : a;
    a = n > 2 ? vld1q_lane_f32(p + 2, a, 2) : a;
    return {n > 3 ? vld1q_f32(p) : a};
}
LOGITLOSS_INLINE VecD load_first(const double* p, std::size_t n, double fill) {
    const float64x2_t a = vdupq_n_f64(fill);
    return {n > 1 ? vld1q_f64(p) : n > 0 ? vld1q_lane_f64(p, a, 0) : a};
}
LOGITLOSS_INLINE VecF load_where(const float* p, const unsigned char* where, float fill) {
    float32x4_t a = vdupq_n_f32(fill);
    a = where[0] != 0 ? vld1q_lane_f32(p, a, 0) : a;
    a = where[1] != 0 ? vld1q_lane_f32(p + 1, a, 1) : a;
    a = where[2] != 0 ? vld1q_lane_f32(p + 2, a, 2) : a;
    return {where[3] != 0 ? vld1q_lane_f32(p + 3, a, 3) : a};
}
LOGITLOSS_INLINE VecD load_where(const double* p, const unsigned char* where, double fill) {
    float64x2_t a = vdupq_n_f64(fill);
    a = where[0] != 0 ? vld1q_lane_f64(p, a, 0) : a;
    return {where[1] != 0 ? vld1q_lane_f64(p + 1, a, 1) : a};
}
LOGITLOSS_INLINE void store(float* p, VecF a) { vst1q_f32(p, a.v); }
LOGITLOSS_INLINE void store(double* p, VecD a) { vst1q_f64(p, a.v); }
// Compilers offer no portable non-temporal store here: streaming is plain storing.
LOGITLOSS_INLINE void stream(float* p, VecF a) { store(p, a); }
LOGITLOSS_INLINE void stream(double* p, VecD a) { store(p, a); }
LOGITLOSS_INLINE void stream_fence() {}
LOGITLOSS_INLINE VecF splat(float a) { return {vdupq_n_f32(a)}; }
LOGITLOSS_INLINE VecD splat(double a) { return {vdupq_n_f64(a)}; }

// Of what is only prefetched: a pointer may not be moved out of its array, an integer may.
LOGITLOSS_INLINE const char* far_from(const void* p, std::ptrdiff_t bytes) {
    // NOLINTNEXTLINE(performance-no-int-to-ptr): nothing is read there
    return reinterpret_cast<const char*>(reinterpret_cast<std::uintptr_t>(p) + static_cast<std::uintptr_t>(bytes));
}
// In assembly, because GCC drops calls of a function that does nothing but prefetch.
LOGITLOSS_INLINE void prefetch_near(const void* p, std::ptrdiff_t bytes) {
    asm volatile("prfm pldl1keep, %a0" : : "p"(far_from(p, bytes)));
}
LOGITLOSS_INLINE void prefetch_far(const void* p, std::ptrdiff_t bytes) {
    asm volatile("prfm pldl2keep, %a0" : : "p"(far_from(p, bytes)));
}
LOGITLOSS_INLINE void prefetch_store(const void* p, std::ptrdiff_t bytes) {
    asm volatile("prfm pstl1keep, %a0" : : "p"(far_from(p, bytes)));
}

LOGITLOSS_INLINE VecF operator+(VecF a, VecF b) { return {vaddq_f32(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator+(VecD a, VecD b) { return {vaddq_f64(a.v, b.v)}; }
LOGITLOSS_INLINE VecF operator-(VecF a, VecF b) { return {vsubq_f32(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator-(VecD a, VecD b) { return {vsubq_f64(a.v, b.v)}; }
LOGITLOSS_INLINE VecF operator*(VecF a, VecF b) { return {vmulq_f32(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator*(VecD a, VecD b) { return {vmulq_f64(a.v, b.v)}; }
LOGITLOSS_INLINE VecF operator/(VecF a, VecF b) { return {vdivq_f32(a.v, b.v)}; }
LOGITLOSS_INLINE VecD operator/(VecD a, VecD b) { return {vdivq_f64(a.v, b.v)}; }
LOGITLOSS_INLINE VecF fma(VecF a, VecF b, VecF c) { return {vfmaq_f32(c.v, a.v, b.v)}; }
LOGITLOSS_INLINE VecD fma(VecD a, VecD b, VecD c) { return {vfmaq_f64(c.v, a.v, b.v)}; }
LOGITLOSS_INLINE VecF neg_fma(VecF a, VecF b, VecF c) { return {vfmsq_f32(c.v, a.v, b.v)}; }
LOGITLOSS_INLINE VecD neg_fma(VecD a, VecD b, VecD c) { return {vfmsq_f64(c.v, a.v, b.v)}; }
// Not fmax and fmin: those return a NaN from either side and order the zeros.
LOGITLOSS_INLINE VecF max(VecF a, VecF b) { return {vbslq_f32(vcgtq_f32(a.v, b.v), a.v, b.v)}; }
LOGITLOSS_INLINE VecD max(VecD a, VecD b) { return {vbslq_f64(vcgtq_f64(a.v, b.v), a.v, b.v)}; }
LOGITLOSS_INLINE VecF min(VecF a, VecF b) { return {vbslq_f32(vcltq_f32(a.v, b.v), a.v, b.v)}; }
LOGITLOSS_INLINE VecD min(VecD a, VecD b) { return {vbslq_f64(vcltq_f64(a.v, b.v), a.v, b.v)}; }
LOGITLOSS_INLINE VecF abs(VecF a) { return {vabsq_f32(a.v)}; }
LOGITLOSS_INLINE VecD abs(VecD a) { return {vabsq_f64(a.v)}; }

LOGITLOSS_INLINE Mask<float> less(VecF a, VecF b) { return {vcltq_f32(a.v, b.v)}; }
LOGITLOSS_INLINE Mask<double> less(VecD a, VecD b) { return {vcltq_f64(a.v, b.v)}; }
LOGITLOSS_INLINE Mask<float> equal(VecF a, VecF b) { return {vceqq_f32(a.v, b.v)}; }
LOGITLOSS_INLINE Mask<double> equal(VecD a, VecD b) { return {vceqq_f64(a.v, b.v)}; }
LOGITLOSS_INLINE Mask<float> operator|(Mask<float> a, Mask<float> b) { return {vorrq_u32(a.v, b.v)}; }
LOGITLOSS_INLINE Mask<double> operator|(Mask<double> a, Mask<double> b) { return {vorrq_u64(a.v, b.v)}; }
LOGITLOSS_INLINE VecF select(Mask<float> m, VecF a, VecF b) { return {vbslq_f32(m.v, a.v, b.v)}; }
LOGITLOSS_INLINE VecD select(Mask<double> m, VecD a, VecD b) { return {vbslq_f64(m.v, a.v, b.v)}; }
LOGITLOSS_INLINE bool any(Mask<float> m) { return vmaxvq_u32(m.v) != 0; }
LOGITLOSS_INLINE bool any(Mask<double> m) { return vmaxvq_u32(vreinterpretq_u32_u64(m.v)) != 0; }

LOGITLOSS_INLINE float largest_lane(VecF a) {
    const VecF two = max({vextq_f32(a.v, a.v, 2)}, a);
    return vgetq_lane_f32(max({vdupq_laneq_f32(two.v, 1)}, two).v, 0);
}
LOGITLOSS_INLINE double largest_lane(VecD a) { return vgetq_lane_f64(max({vdupq_laneq_f64(a.v, 1)}, a).v, 0); }

LOGITLOSS_INLINE Bits<float> bits(VecF a) { return {vreinterpretq_u32_f32(a.v)}; }
LOGITLOSS_INLINE Bits<double> bits(VecD a) { return {vreinterpretq_u64_f64(a.v)}; }
LOGITLOSS_INLINE VecF from_bits(Bits<float> a) { return {vreinterpretq_f32_u32(a.v)}; }
LOGITLOSS_INLINE VecD from_bits(Bits<double> a) { return {vreinterpretq_f64_u64(a.v)}; }
LOGITLOSS_INLINE Bits<float> splat_bits(std::uint32_t a) { return {vdupq_n_u32(a)}; }
LOGITLOSS_INLINE Bits<double> splat_bits(std::uint64_t a) { return {vdupq_n_u64(a)}; }
LOGITLOSS_INLINE Bits<float> operator+(Bits<float> a, Bits<float> b) { return {vaddq_u32(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<double> operator+(Bits<double> a, Bits<double> b) { return {vaddq_u64(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<float> operator-(Bits<float> a, Bits<float> b) { return {vsubq_u32(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<double> operator-(Bits<double> a, Bits<double> b) { return {vsubq_u64(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<float> operator|(Bits<float> a, Bits<float> b) { return {vorrq_u32(a.v, b.v)}; }
LOGITLOSS_INLINE Bits<double> operator|(Bits<double> a, Bits<double> b) { return {vorrq_u64(a.v, b.v)}; }
template <int count>
LOGITLOSS_INLINE Bits<float> shift_left(Bits<float> a) {
    return {vshlq_n_u32(a.v, count)};
}
template <int count>
LOGITLOSS_INLINE Bits<double> shift_left(Bits<double> a) {
    return {vshlq_n_u64(a.v, count)};
}
template <int count>
LOGITLOSS_INLINE Bits<float> shift_right(Bits<float> a) {
    return {vshrq_n_u32(a.v, count)};
}
template <int count>
LOGITLOSS_INLINE Bits<double> shift_right(Bits<double> a) {
    return {vshrq_n_u64(a.v, count)};
}

template <int half>
LOGITLOSS_INLINE VecD widen(VecF a) {
    return {half == 0 ? vcvt_f64_f32(vget_low_f32(a.v)) : vcvt_high_f64_f32(a.v)};
}
LOGITLOSS_INLINE VecF narrow(VecD lower, VecD upper) { return {vcvt_high_f32_f64(vcvt_f32_f64(lower.v), upper.v)}; }

// Halves may lie at odd addresses, which only bytes are loaded from and stored to.
LOGITLOSS_INLINE uint16x4_t load_half_vector(const void* p) {
    return vreinterpret_u16_u8(vld1_u8(static_cast<const std::uint8_t*>(p)));
}
LOGITLOSS_INLINE VecF load(const Float16* p) { return {vcvt_f32_f16(vreinterpret_f16_u16(load_half_vector(p)))}; }
LOGITLOSS_INLINE VecF load(const BFloat16* p) { return {vreinterpretq_f32_u32(vshll_n_u16(load_half_vector(p), 16))}; }
LOGITLOSS_INLINE uint16x8_t rounded_to(const Float16*, VecF lower, VecF upper) {
    return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(lower.v), upper.v));
}
// Half an ulp is added, or a little less where bit 16, the last that stays, is even.
LOGITLOSS_INLINE uint32x4_t rounded_to_16_bits(VecF a) {
    const Bits<float> u = bits(a);
    return (u + splat_bits(0x7fffu) + shift_right<31>(shift_left<15>(u))).v;
}
LOGITLOSS_INLINE uint16x8_t rounded_to(const BFloat16*, VecF lower, VecF upper) {
    return vshrn_high_n_u32(vshrn_n_u32(rounded_to_16_bits(lower), 16), rounded_to_16_bits(upper), 16);
}
template <class Half>
LOGITLOSS_INLINE void store(Half* p, VecF lower, VecF upper) {
    vst1q_u8(reinterpret_cast<std::uint8_t*>(p), vreinterpretq_u8_u16(rounded_to(p, lower, upper)));
}
template <class Half>
LOGITLOSS_INLINE void stream(Half* p, VecF lower, VecF upper) {
    store(p, lower, upper);
}

LOGITLOSS_INLINE void transpose(VecF (&q)[4]) {
    const float64x2_t low01 = vreinterpretq_f64_f32(vzip1q_f32(q[0].v, q[1].v));
    const float64x2_t high01 = vreinterpretq_f64_f32(vzip2q_f32(q[0].v, q[1].v));
    const float64x2_t low23 = vreinterpretq_f64_f32(vzip1q_f32(q[2].v, q[3].v));
    const float64x2_t high23 = vreinterpretq_f64_f32(vzip2q_f32(q[2].v, q[3].v));
    q[0] = {vreinterpretq_f32_f64(vzip1q_f64(low01, low23))};
    q[1] = {vreinterpretq_f32_f64(vzip2q_f64(low01, low23))};
    q[2] = {vreinterpretq_f32_f64(vzip1q_f64(high01, high23))};
    q[3] = {vreinterpretq_f32_f64(vzip2q_f64(high01, high23))};
}
LOGITLOSS_INLINE void transpose(VecD (&q)[2]) {
    const float64x2_t low = vzip1q_f64(q[0].v, q[1].v);
    q[1] = {vzip2q_f64(q[0].v, q[1].v)};
    q[0] = {low};
}
template <class T, class Rows>
LOGITLOSS_INLINE void load_transposed(const Rows& rows, std::size_t offset, Vec<T> (&out)[16 / sizeof(T)]) {
    for (std::size_t i = 0; i < 16 / sizeof(T); ++i)
        out[i] = load(rows[i] + offset);
    transpose(out);
}
template <class T, class Rows>
LOGITLOSS_INLINE void store_transposed(const Vec<T> (&in)[16 / sizeof(T)], const Rows& rows, std::size_t offset) {
    Vec<T> q[16 / sizeof(T)];
    for (std::size_t i = 0; i < 16 / sizeof(T); ++i)
        q[i] = in[i];
    transpose(q);
    for (std::size_t i = 0; i < 16 / sizeof(T); ++i)
        store(rows[i] + offset, q[i]);
}

LOGITLOSS_INLINE void load_rows(const float* p, VecF (&out)[2]) {
    const float32x4x2_t columns = vld2q_f32(p);
    for (int j = 0; j < 2; ++j)
        out[j] = {columns.val[j]};
}
LOGITLOSS_INLINE void load_rows(const float* p, VecF (&out)[3]) {
    const float32x4x3_t columns = vld3q_f32(p);
    for (int j = 0; j < 3; ++j)
        out[j] = {columns.val[j]};
}
// Clang's are macros, whose arguments may not have commas of their own.
LOGITLOSS_INLINE void store_rows(const VecF (&in)[2], float* p) {
    const float32x4x2_t rows{{in[0].v, in[1].v}};
    vst2q_f32(p, rows);
}
LOGITLOSS_INLINE void store_rows(const VecF (&in)[3], float* p) {
    const float32x4x3_t rows{{in[0].v, in[1].v, in[2].v}};
    vst3q_f32(p, rows);
}

#include "kernels/kernels.inl"

}  // namespace
}  // namespace logitloss::detail::neon

namespace logitloss::detail {
extern const KernelTable neon_kernels;
constexpr KernelTable neon_kernels = neon::make_table("neon", neon::supported);
}  // namespace logitloss::detail
