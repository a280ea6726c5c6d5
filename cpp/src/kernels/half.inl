// float16 and bfloat16: stored, and never computed with. Blocks of them are widened before a kernel reads them, but for
// the sums of a row, and rounded after it has written; in between everything is float32.

/// Lines of `size` halves that are converted a block from now: conversion, too, is arithmetic that misses would stall.
template <std::size_t size, class Half, class Fetch>
LOGITLOSS_INLINE void fetch_halves(const Half* halves, const Fetch& fetch) {
    constexpr std::size_t line = 64 / sizeof(Half);
    if constexpr (size % line == 0) {
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < size; i += line)
            fetch(halves + i);
    }
}

/// Halves to floats: any whole number of vectors at a time, at least one.
template <class Half>
struct Widening {
    using From = Half;
    using To = float;
    static constexpr std::size_t least = Vec<float>::lanes;

    template <std::size_t size>
    static LOGITLOSS_INLINE void step(const Half* from, float* to) {
        constexpr std::size_t block_bytes = block_size * sizeof(Half);
        fetch_halves<size>(from, [](const Half* line) {
            prefetch_far(line, 3 * block_bytes);
            prefetch_near(line, block_bytes);
        });
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < size; i += least)
            store(to + i, load(from + i));
    }
};

/// Floats to halves, of which two vectors fill one.
template <class Half, bool streamed>
struct Rounding {
    using From = float;
    using To = Half;
    static constexpr std::size_t least = 2 * Vec<float>::lanes;

    template <std::size_t size>
    static LOGITLOSS_INLINE void step(const float* from, Half* to) {
        if constexpr (!streamed)
            fetch_halves<size>(to, [](const Half* line) { prefetch_store(line, 4096); });
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < size; i += least) {
            const Vec<float> lower = with_one_nan(load(from + i));
            const Vec<float> upper = with_one_nan(load(from + i + least / 2));
            if constexpr (streamed)
                stream(to + i, lower, upper);
            else
                store(to + i, lower, upper);
        }
    }
};

/// At least `size` elements. The last ones, if they are no whole step, overlap those before and are converted twice:
/// by `Last`, since their place in the output is aligned to nothing.
template <class Conversion, class Last, std::size_t size>
LOGITLOSS_INLINE void convert_in_steps(const typename Conversion::From* from, std::size_t n,
                                       typename Conversion::To* to) {
    for (std::size_t i = 0; i + size <= n; i += size)
        Conversion::template step<size>(from + i, to + i);
    if (n % size != 0)
        Last::template step<size>(from + n - size, to + n - size);
}

/// Fewer elements than the least step takes: on copies, of which the rest is 0.
template <class Conversion>
__attribute__((noinline)) void convert_few(const typename Conversion::From* from, std::size_t n,
                                           typename Conversion::To* to) {
    using From = typename Conversion::From;
    using To = typename Conversion::To;
    constexpr std::size_t size = Conversion::least;
    asm("" : "+r"(n));  // a compiler that knows n to be small copies by rep movs, which takes long to start
    From copy[size];
    To converted[size];
    __builtin_memcpy(copy, from, n * sizeof(From));
    __builtin_memset(copy + n, 0, (size - n) * sizeof(From));
    Conversion::template step<size>(copy, converted);
    __builtin_memcpy(to, converted, n * sizeof(To));
}

template <class Conversion>
LOGITLOSS_INLINE void convert(const typename Conversion::From* from, std::size_t n, typename Conversion::To* to) {
    if (n >= group_size<float>)
        convert_in_steps<Conversion, Conversion, group_size<float>>(from, n, to);
    else if (n >= Conversion::least)
        convert_in_steps<Conversion, Conversion, Conversion::least>(from, n, to);
    else if (n != 0)
        convert_few<Conversion>(from, n, to);
}

/// HalfKernels::widen.
template <class Half>
void widen_halves(const Half* in, std::size_t n, float* out) {
    convert<Widening<Half>>(in, n, out);
}

/// HalfKernels::narrow.
template <class Half>
void narrow_to_halves(const float* in, std::size_t n, StoreMode mode, Half* out) {
    if (mode != StoreMode::streaming || n < group_size<float>)
        return convert<Rounding<Half, false>>(in, n, out);
    convert_in_steps<Rounding<Half, true>, Rounding<Half, false>, group_size<float>>(in, n, out);
    stream_fence();
}

template <class Half>
constexpr Half minus_infinity;
template <>
constexpr Float16 minus_infinity<Float16>{{0x00, 0xfc}};
template <>
constexpr BFloat16 minus_infinity<BFloat16>{{0x80, 0xff}};

/// As AsideReader of -inf: halves that are widened where they are read.
template <class Half>
class AsideHalfReader {
public:
    LOGITLOSS_INLINE AsideHalfReader(const Half* x, std::size_t n, std::size_t aside)
        : x_(x), whole_(n / group_size<float>), tail_(x), aside_group_(no_index) {
        if (n % group_size<float> != 0)
            pad(n % group_size<float>);
        if (aside < n)
            take_out(aside);
    }
    AsideHalfReader(const AsideHalfReader&) = delete;
    AsideHalfReader& operator=(const AsideHalfReader&) = delete;

    LOGITLOSS_INLINE const Half* at(std::size_t group) const {
        if (group == aside_group_)
            return patched_;
        return group < whole_ ? x_ + group * group_size<float> : tail_;
    }

private:
    __attribute__((noinline)) void pad(std::size_t rest) {
        for (Half& half : padded_)
            half = minus_infinity<Half>;
        __builtin_memcpy(padded_, x_ + whole_ * group_size<float>, rest * sizeof(Half));
        tail_ = padded_;
    }
    __attribute__((noinline)) void take_out(std::size_t aside) {
        __builtin_memcpy(patched_, at(aside / group_size<float>), sizeof patched_);
        patched_[aside % group_size<float>] = minus_infinity<Half>;
        aside_group_ = aside / group_size<float>;
    }

    const Half* x_;
    std::size_t whole_;
    const Half* tail_;
    std::size_t aside_group_;
    alignas(64) Half padded_[group_size<float>];
    alignas(64) Half patched_[group_size<float>];
};

/// HalfKernels::block_state.
template <class Half>
void half_block_state(const Half* x, std::size_t n, std::size_t aside, BlockState* state, float* exponentials,
                      const PendingRow<float>* pending) {
    state_of_block<float>(AsideHalfReader<Half>(x, n, aside), x, n, state, exponentials, pending);
}

/// HalfKernels::block_gaps.
template <class Half>
void half_block_gaps(const Half* x, std::size_t n, std::size_t aside, float value, BlockState* state, BlockGaps* gaps) {
    gaps_of_block<float>(AsideHalfReader<Half>(x, n, aside), x, n, value, state, gaps);
}
