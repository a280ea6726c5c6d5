// What the kernel tests feed to kernels, and how they compare what comes back.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <new>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "logitloss/runtime.hpp"
#include "runtime/dispatch.hpp"

namespace logitloss::detail {

#if defined(LOGITLOSS_TEST_EMULATED_AVX512)
extern const KernelTable avx512_emulated_kernels;
#endif

/// A table under test. The name is not always the table's: the emulated AVX-512 one runs where the real one cannot.
struct NamedTable {
    std::string name;
    const KernelTable* table;
};
inline void PrintTo(const NamedTable& named, std::ostream* out) { *out << named.name; }

/// Every table that can run here; scalar, the oracle, is the last.
inline std::vector<NamedTable> tables_that_run_here() {
    std::vector<NamedTable> tables;
#if defined(LOGITLOSS_TEST_EMULATED_AVX512)
    if (kernels_named("avx2") != nullptr)  // what the emulation is made of
        tables.push_back({"avx512_emulated", &avx512_emulated_kernels});
#endif
    for (const std::string& name : available_isas())
        tables.push_back({name, kernels_named(name.c_str())});
    return tables;
}

inline std::string table_name(const NamedTable& named) { return named.name; }

template <class T>
constexpr T infinity = std::numeric_limits<T>::infinity();
template <class T>
constexpr T quiet_nan = std::numeric_limits<T>::quiet_NaN();

/// A reproducible stream of numbers.
class Random {
public:
    explicit Random(std::uint64_t seed) : engine_(seed) {}
    double uniform(double low, double high) {
        return low + (high - low) * (static_cast<double>(engine_() >> 11) * 0x1p-53);
    }
    std::size_t below(std::size_t bound) { return static_cast<std::size_t>(engine_() % bound); }
    /// Nearly normal: the sum of twelve uniforms.
    double normal() {
        double sum = -6.0;
        for (int i = 0; i < 12; ++i)
            sum += uniform(0.0, 1.0);
        return sum;
    }

private:
    std::mt19937_64 engine_;
};

/// A row of logits of each kind that has a path, or a trap, of its own.
template <class T>
struct RowKind {
    const char* name;
    void (*fill)(Random& random, std::vector<T>& row);
};

template <class T, class Fn>
void fill_each(std::vector<T>& row, Fn fn) {
    for (std::size_t i = 0; i < row.size(); ++i)
        row[i] = static_cast<T>(fn(i));
}
template <class T>
void put_somewhere(Random& random, std::vector<T>& row, T value) {
    if (!row.empty())
        row[random.below(row.size())] = value;
}

/// Rows of finite numbers, |x| at most 2^17: the kernels are exact on them to the stated bounds.
template <class T>
const std::vector<RowKind<T>>& ordinary_rows() {
    using Row = std::vector<T>;
    static const std::vector<RowKind<T>> kinds = {
        {"normal", [](Random& r, Row& x) { fill_each(x, [&](std::size_t) { return r.normal(); }); }},
        {"wide", [](Random& r, Row& x) { fill_each(x, [&](std::size_t) { return r.uniform(-200.0, 0.0); }); }},
        {"offset up", [](Random& r, Row& x) { fill_each(x, [&](std::size_t) { return 1e5 + 5 * r.normal(); }); }},
        {"offset down", [](Random& r, Row& x) { fill_each(x, [&](std::size_t) { return -1e5 + 5 * r.normal(); }); }},
        {"at the limit", [](Random& r, Row& x) { fill_each(x, [&](std::size_t) { return 131072.0 - r.below(4); }); }},
        {"subnormal",
         [](Random& r, Row& x) {
             fill_each(x, [&](std::size_t) { return r.normal() * std::numeric_limits<T>::min(); });
         }},
        {"zeros", [](Random& r, Row& x) { fill_each(x, [&](std::size_t) { return r.below(2) ? 0.0 : -0.0; }); }},
        {"equal",
         [](Random& r, Row& x) {
             const double value = r.normal();
             fill_each(x, [&](std::size_t) { return value; });
         }},
        {"ramp up", [](Random&, Row& x) { fill_each(x, [](std::size_t i) { return 0.37 * static_cast<double>(i); }); }},
        {"ramp down",
         [](Random&, Row& x) { fill_each(x, [](std::size_t i) { return -0.37 * static_cast<double>(i); }); }},
        {"dominated",
         [](Random& r, Row& x) {
             fill_each(x, [&](std::size_t) { return r.normal(); });
             put_somewhere(r, x, T(60));
         }},
        {"alternating",
         [](Random& r, Row& x) {
             fill_each(x, [&](std::size_t i) { return (i % 2 ? 87.0 : -87.0) + r.uniform(0.0, 1.0); });
         }},
    };
    return kinds;
}

/// Rows that hold something infinite, huge, or not a number.
template <class T>
const std::vector<RowKind<T>>& special_rows() {
    using Row = std::vector<T>;
    static const std::vector<RowKind<T>> kinds = {
        {"half masked",
         [](Random& r, Row& x) {
             fill_each(x, [&](std::size_t) { return r.below(2) ? static_cast<T>(r.normal()) : -infinity<T>; });
         }},
        {"padded",
         [](Random& r, Row& x) { fill_each(x, [&](std::size_t) { return r.below(3) ? r.normal() : -1e9; }); }},
        {"all masked", [](Random&, Row& x) { fill_each(x, [](std::size_t) { return -infinity<T>; }); }},
        {"lowest", [](Random&, Row& x) { fill_each(x, [](std::size_t) { return std::numeric_limits<T>::lowest(); }); }},
        {"deep", [](Random& r, Row& x) { fill_each(x, [&](std::size_t) { return -1e9 + 100 * r.normal(); }); }},
        {"huge", [](Random& r, Row& x) { fill_each(x, [&](std::size_t) { return 1e30 * r.normal(); }); }},
        {"with inf",
         [](Random& r, Row& x) {
             fill_each(x, [&](std::size_t) { return r.normal(); });
             put_somewhere(r, x, infinity<T>);
         }},
        {"with nan",
         [](Random& r, Row& x) {
             fill_each(x, [&](std::size_t) { return r.normal(); });
             put_somewhere(r, x, quiet_nan<T>);
         }},
        {"masked with nan",
         [](Random& r, Row& x) {
             fill_each(x, [](std::size_t) { return -infinity<T>; });
             put_somewhere(r, x, quiet_nan<T>);
         }},
        {"deep with nan",
         [](Random& r, Row& x) {
             fill_each(x, [](std::size_t) { return -1e9; });
             put_somewhere(r, x, quiet_nan<T>);
         }},
        {"inf and nan",
         [](Random& r, Row& x) {
             fill_each(x, [&](std::size_t i) { return i % 3 ? T(1) : infinity<T>; });
             put_somewhere(r, x, quiet_nan<T>);
             put_somewhere(r, x, -infinity<T>);
         }},
    };
    return kinds;
}

template <class T>
std::vector<RowKind<T>> all_rows() {
    std::vector<RowKind<T>> kinds = ordinary_rows<T>();
    kinds.insert(kinds.end(), special_rows<T>().begin(), special_rows<T>().end());
    return kinds;
}

/// 0 to beyond one float32 group four times, and both sides of a block's edges.
inline const std::vector<std::size_t>& row_sizes() {
    static const std::vector<std::size_t> sizes = [] {
        std::vector<std::size_t> all;
        for (std::size_t n = 0; n <= 300; n += n < 140 ? 1 : 7)
            all.push_back(n);
        for (std::size_t n : {1023u, 1024u, 1025u, 1088u, 4032u, 4095u, 4096u})
            all.push_back(n);
        return all;
    }();
    return sizes;
}

/// An array whose first element stands `shift` elements past a 64-byte boundary and whose last is the last of its
/// allocation, so that a sanitizer sees any read past it.
template <class T>
class Placed {
public:
    explicit Placed(const std::vector<T>& values, std::size_t shift = 0)
        : memory_(static_cast<T*>(::operator new((shift + values.size()) * sizeof(T), alignment))), shift_(shift) {
        if (!values.empty())
            std::memcpy(memory_.get() + shift_, values.data(), values.size() * sizeof(T));
    }
    const T* data() const { return memory_.get() + shift_; }

private:
    static constexpr std::align_val_t alignment{64};
    struct Free {
        void operator()(T* memory) const { ::operator delete(memory, alignment); }
    };
    std::unique_ptr<T, Free> memory_;
    std::size_t shift_;
};

/// An output between guards: `intact` tells whether anything around it was written.
template <class T>
class Guarded {
public:
    explicit Guarded(std::size_t n, std::size_t shift = 0)
        : n_(n), bytes_((2 * guard + shift + n) * sizeof(T) + 64, pattern) {
        const std::size_t to_boundary = (64 - reinterpret_cast<std::uintptr_t>(bytes_.data()) % 64) % 64;
        first_ = to_boundary + (guard + shift) * sizeof(T);
    }
    Guarded(const std::vector<T>& values, std::size_t shift = 0) : Guarded(values.size(), shift) {
        if (!values.empty())
            std::memcpy(data(), values.data(), n_ * sizeof(T));
    }
    T* data() { return reinterpret_cast<T*>(bytes_.data() + first_); }
    std::size_t size() const { return n_; }
    std::vector<T> values() { return std::vector<T>(data(), data() + n_); }
    bool intact() const {
        for (std::size_t i = 0; i < bytes_.size(); ++i)
            if ((i < first_ || i >= first_ + n_ * sizeof(T)) && bytes_[i] != pattern)
                return false;
        return true;
    }

private:
    static constexpr std::size_t guard = 512 / sizeof(T);
    static constexpr unsigned char pattern = 0xA5;
    std::size_t n_;
    std::size_t first_ = 0;
    std::vector<unsigned char> bytes_;
};

/// The bits of what a kernel gave, in order. All NaNs count as one: which of two NaNs an addition returns depends on
/// how a compiler orders its operands, and the library gives them all the same bits at its end.
class Outcome {
public:
    template <class T>
    void add(T value) {
        std::uint64_t word = 0;
        if (value != value)
            value = std::numeric_limits<T>::quiet_NaN();
        std::memcpy(&word, &value, sizeof value);
        words_.push_back(word);
    }
    template <class T>
    void add(const T* values, std::size_t n) {
        for (std::size_t i = 0; i < n; ++i)
            add(values[i]);
    }
    template <class T>
    void add(const std::vector<T>& values) {
        add(values.data(), values.size());
    }
    void add(const Outcome& other) { words_.insert(words_.end(), other.words_.begin(), other.words_.end()); }
    void add(const BlockState& state) {
        add(state.sum);
        add(state.exponent);
        add(state.max);
        add(static_cast<std::int32_t>(state.kind));
    }
    /// Where the first difference is, for a message.
    std::string first_difference(const Outcome& other) const {
        for (std::size_t i = 0; i < words_.size() && i < other.words_.size(); ++i)
            if (words_[i] != other.words_[i])
                return "value " + std::to_string(i) + ": " + hex(words_[i]) + " and " + hex(other.words_[i]);
        return "none in the first " + std::to_string(words_.size());
    }
    friend bool operator==(const Outcome& a, const Outcome& b) { return a.words_ == b.words_; }
    bool empty() const { return words_.empty(); }

private:
    static std::string hex(std::uint64_t word) {
        static const char digits[] = "0123456789abcdef";
        std::string text = "0x";
        for (int shift = 60; shift >= 0; shift -= 4)
            text += digits[(word >> shift) & 15];
        return text;
    }
    std::vector<std::uint64_t> words_;
};

}  // namespace logitloss::detail
