// Plain C++ with the standard fused multiply-add: runs on every CPU, and is the oracle that every other instruction set must equal bit for
// bit. It also is the definition of the vector layer: each verb says here, in a loop over lanes, what it means.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "kernels/kernel_table.hpp"
#include "layout/half.hpp"

namespace logitloss::detail::scalar {
namespace {

#define LOGITLOSS_INLINE inline
#define LOGITLOSS_INLINE_LAMBDA
#define LOGITLOSS_UNROLL  // the last resort may be slow, and is in every wheel twice

template <class T>
struct Word;
template <>
struct Word<float> {
    using type = std::uint32_t;
};
template <>
struct Word<double> {
    using type = std::uint64_t;
};

/// A vector of floating-point lanes. A vector of float has twice the lanes of a vector of double.
template <class T>
struct Vec {
    static constexpr std::size_t lanes = 32 / sizeof(T);
    T v[lanes];
};
/// The lanes as unsigned integers of the same width.
template <class T>
struct Bits {
    typename Word<T>::type v[Vec<T>::lanes];
};
/// One truth value a lane.
template <class T>
struct Mask {
    bool v[Vec<T>::lanes];
};

template <class T, class Fn>
LOGITLOSS_INLINE Vec<T> per_lane(Fn fn) {
    Vec<T> result;
    for (std::size_t i = 0; i < Vec<T>::lanes; ++i)
        result.v[i] = fn(i);
    return result;
}
template <class T, class Fn>
LOGITLOSS_INLINE Bits<T> per_word(Fn fn) {
    Bits<T> result;
    for (std::size_t i = 0; i < Vec<T>::lanes; ++i)
        result.v[i] = fn(i);
    return result;
}
template <class T, class Fn>
LOGITLOSS_INLINE Mask<T> per_truth(Fn fn) {
    Mask<T> result;
    for (std::size_t i = 0; i < Vec<T>::lanes; ++i)
        result.v[i] = fn(i);
    return result;
}

// Memory: consecutive elements, at any alignment; `stream` bypasses the caches where the CPU can and needs a pointer
// aligned to the vector, and `stream_fence` after the last one.
template <class T>
LOGITLOSS_INLINE Vec<T> load(const T* p) {
    Vec<T> result;
    std::memcpy(result.v, p, sizeof result.v);
    return result;
}
/// The first n elements, `fill` in the other lanes: memory behind them is not touched.
template <class T>
LOGITLOSS_INLINE Vec<T> load_first(const T* p, std::size_t n, T fill) {
    return per_lane<T>([&](std::size_t i) { return i < n ? p[i] : fill; });
}
/// The elements where `where` is not 0, `fill` in the other lanes: memory there is not touched.
template <class T>
LOGITLOSS_INLINE Vec<T> load_where(const T* p, const unsigned char* where, T fill) {
    return per_lane<T>([&](std::size_t i) { return where[i] != 0 ? p[i] : fill; });
}
template <class T>
LOGITLOSS_INLINE void store(T* p, Vec<T> a) {
    std::memcpy(p, a.v, sizeof a.v);
}
template <class T>
LOGITLOSS_INLINE void stream(T* p, Vec<T> a) {
    store(p, a);
}
LOGITLOSS_INLINE void stream_fence() {}
template <class T>
LOGITLOSS_INLINE Vec<T> splat(T a) {
    return per_lane<T>([=](std::size_t) { return a; });
}

// Hints that memory some bytes from an address will be read soon, read later, or written soon. They never fault, and
// need not lie in an array.
LOGITLOSS_INLINE void prefetch_near(const void*, std::ptrdiff_t) {}
LOGITLOSS_INLINE void prefetch_far(const void*, std::ptrdiff_t) {}
LOGITLOSS_INLINE void prefetch_store(const void*, std::ptrdiff_t) {}

template <class T>
LOGITLOSS_INLINE Vec<T> operator+(Vec<T> a, Vec<T> b) {
    return per_lane<T>([&](std::size_t i) { return a.v[i] + b.v[i]; });
}
template <class T>
LOGITLOSS_INLINE Vec<T> operator-(Vec<T> a, Vec<T> b) {
    return per_lane<T>([&](std::size_t i) { return a.v[i] - b.v[i]; });
}
template <class T>
LOGITLOSS_INLINE Vec<T> operator*(Vec<T> a, Vec<T> b) {
    return per_lane<T>([&](std::size_t i) { return a.v[i] * b.v[i]; });
}
template <class T>
LOGITLOSS_INLINE Vec<T> operator/(Vec<T> a, Vec<T> b) {
    return per_lane<T>([&](std::size_t i) { return a.v[i] / b.v[i]; });
}
LOGITLOSS_INLINE float fused(float a, float b, float c) { return __builtin_fmaf(a, b, c); }
LOGITLOSS_INLINE double fused(double a, double b, double c) { return __builtin_fma(a, b, c); }
/// a b + c, rounded once.
template <class T>
LOGITLOSS_INLINE Vec<T> fma(Vec<T> a, Vec<T> b, Vec<T> c) {
    return per_lane<T>([&](std::size_t i) { return fused(a.v[i], b.v[i], c.v[i]); });
}
/// c - a b, rounded once.
template <class T>
LOGITLOSS_INLINE Vec<T> neg_fma(Vec<T> a, Vec<T> b, Vec<T> c) {
    return per_lane<T>([&](std::size_t i) { return fused(-a.v[i], b.v[i], c.v[i]); });
}
/// a where a > b, otherwise b: b also where either is NaN, and b of two zeros.
template <class T>
LOGITLOSS_INLINE Vec<T> max(Vec<T> a, Vec<T> b) {
    return per_lane<T>([&](std::size_t i) { return a.v[i] > b.v[i] ? a.v[i] : b.v[i]; });
}
/// a where a < b, otherwise b: b also where either is NaN, and b of two zeros.
template <class T>
LOGITLOSS_INLINE Vec<T> min(Vec<T> a, Vec<T> b) {
    return per_lane<T>([&](std::size_t i) { return a.v[i] < b.v[i] ? a.v[i] : b.v[i]; });
}

/// a < b; false where either is NaN.
template <class T>
LOGITLOSS_INLINE Mask<T> less(Vec<T> a, Vec<T> b) {
    return per_truth<T>([&](std::size_t i) { return a.v[i] < b.v[i]; });
}
/// a == b; false where either is NaN.
template <class T>
LOGITLOSS_INLINE Mask<T> equal(Vec<T> a, Vec<T> b) {
    return per_truth<T>([&](std::size_t i) { return a.v[i] == b.v[i]; });
}
template <class T>
LOGITLOSS_INLINE Mask<T> operator|(Mask<T> a, Mask<T> b) {
    return per_truth<T>([&](std::size_t i) { return a.v[i] || b.v[i]; });
}
/// a where the mask is true, b elsewhere.
template <class T>
LOGITLOSS_INLINE Vec<T> select(Mask<T> m, Vec<T> a, Vec<T> b) {
    return per_lane<T>([&](std::size_t i) { return m.v[i] ? a.v[i] : b.v[i]; });
}
template <class T>
LOGITLOSS_INLINE bool any(Mask<T> m) {
    bool result = false;
    for (bool truth : m.v)
        result |= truth;
    return result;
}

/// The largest lane: halves of the vector are compared, the upper before the lower as in max, until one lane is left.
template <class T>
LOGITLOSS_INLINE T largest_lane(Vec<T> a) {
    for (std::size_t half = Vec<T>::lanes / 2; half > 0; half /= 2)
        for (std::size_t i = 0; i < half; ++i)
            a.v[i] = a.v[i + half] > a.v[i] ? a.v[i + half] : a.v[i];
    return a.v[0];
}

template <class T>
LOGITLOSS_INLINE Bits<T> bits(Vec<T> a) {
    Bits<T> result;
    std::memcpy(result.v, a.v, sizeof a.v);
    return result;
}
template <class T>
LOGITLOSS_INLINE Vec<T> from_bits(Bits<T> a) {
    Vec<T> result;
    std::memcpy(result.v, a.v, sizeof a.v);
    return result;
}
LOGITLOSS_INLINE Bits<float> splat_bits(std::uint32_t a) {
    return per_word<float>([=](std::size_t) { return a; });
}
LOGITLOSS_INLINE Bits<double> splat_bits(std::uint64_t a) {
    return per_word<double>([=](std::size_t) { return a; });
}
template <class T>
LOGITLOSS_INLINE Bits<T> operator+(Bits<T> a, Bits<T> b) {
    return per_word<T>([&](std::size_t i) { return a.v[i] + b.v[i]; });
}
template <class T>
LOGITLOSS_INLINE Bits<T> operator-(Bits<T> a, Bits<T> b) {
    return per_word<T>([&](std::size_t i) { return a.v[i] - b.v[i]; });
}
template <class T>
LOGITLOSS_INLINE Bits<T> operator|(Bits<T> a, Bits<T> b) {
    return per_word<T>([&](std::size_t i) { return a.v[i] | b.v[i]; });
}
template <int count, class T>
LOGITLOSS_INLINE Bits<T> shift_left(Bits<T> a) {
    return per_word<T>([&](std::size_t i) { return a.v[i] << count; });
}
/// Zeros come in from the left.
template <int count, class T>
LOGITLOSS_INLINE Bits<T> shift_right(Bits<T> a) {
    return per_word<T>([&](std::size_t i) { return a.v[i] >> count; });
}
/// Absolute value: the sign bit is cleared, of a NaN too.
template <class T>
LOGITLOSS_INLINE Vec<T> abs(Vec<T> a) {
    return from_bits(shift_right<1>(shift_left<1>(bits(a))));
}

/// The lower (half 0) or upper (half 1) half of the lanes, exactly.
template <int half>
LOGITLOSS_INLINE Vec<double> widen(Vec<float> a) {
    return per_lane<double>([&](std::size_t i) { return a.v[half * Vec<double>::lanes + i]; });
}
/// Both halves, each lane rounded to nearest even.
LOGITLOSS_INLINE Vec<float> narrow(Vec<double> lower, Vec<double> upper) {
    return per_lane<float>([&](std::size_t i) {
        return static_cast<float>(i < Vec<double>::lanes ? lower.v[i] : upper.v[i - Vec<double>::lanes]);
    });
}

// Halves: consecutive ones at any address as the floats that they are, and two vectors of floats rounded to nearest even.
// Of NaNs only the positive quiet one may be stored. `stream` needs an address aligned to the vector.
LOGITLOSS_INLINE Vec<float> load(const Float16* p) {
    return per_lane<float>([=](std::size_t i) { return to_float(p[i]); });
}
LOGITLOSS_INLINE Vec<float> load(const BFloat16* p) {
    return per_lane<float>([=](std::size_t i) { return to_float(p[i]); });
}
template <class Half>
LOGITLOSS_INLINE void store(Half* p, Vec<float> lower, Vec<float> upper) {
    for (std::size_t i = 0; i < Vec<float>::lanes; ++i) {
        p[i] = to_half<Half>(lower.v[i]);
        p[Vec<float>::lanes + i] = to_half<Half>(upper.v[i]);
    }
}
template <class Half>
LOGITLOSS_INLINE void stream(Half* p, Vec<float> lower, Vec<float> upper) {
    store(p, lower, upper);
}

bool supported() { return true; }

// Rows and columns: element `offset` + i of row r to lane r of out[i], and back. rows[r] points to row r; 16 bytes of
// each row are read or written.
template <class T, class Rows>
LOGITLOSS_INLINE void load_transposed(const Rows& rows, std::size_t offset, Vec<T> (&out)[16 / sizeof(T)]) {
    for (std::size_t i = 0; i < 16 / sizeof(T); ++i)
        out[i] = per_lane<T>([&](std::size_t r) { return rows[r][offset + i]; });
}
template <class T, class Rows>
LOGITLOSS_INLINE void store_transposed(const Vec<T> (&in)[16 / sizeof(T)], const Rows& rows, std::size_t offset) {
    for (std::size_t r = 0; r < Vec<T>::lanes; ++r)
        for (std::size_t i = 0; i < 16 / sizeof(T); ++i)
            rows[r][offset + i] = in[i].v[r];
}

/// As many rows of `n` numbers as a vector has lanes, one behind the other: number j of row r to lane r of out[j]; and
/// back.
template <std::size_t n>
LOGITLOSS_INLINE void load_rows(const float* p, Vec<float> (&out)[n]) {
    for (std::size_t j = 0; j < n; ++j)
        out[j] = per_lane<float>([&](std::size_t r) { return p[r * n + j]; });
}
template <std::size_t n>
LOGITLOSS_INLINE void store_rows(const Vec<float> (&in)[n], float* p) {
    for (std::size_t r = 0; r < Vec<float>::lanes; ++r)
        for (std::size_t j = 0; j < n; ++j)
            p[r * n + j] = in[j].v[r];
}

#include "kernels/kernels.inl"

}  // namespace
}  // namespace logitloss::detail::scalar

namespace logitloss::detail {
extern const KernelTable scalar_kernels;
constexpr KernelTable scalar_kernels = scalar::make_table("scalar", scalar::supported);
}  // namespace logitloss::detail
