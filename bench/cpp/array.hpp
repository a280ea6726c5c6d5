// Arrays that a benchmark owns, and the views of them that the library takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <vector>

#include "logitloss/array.hpp"

namespace bench {

using logitloss::DType;

/// A contiguous array, aligned and padded like NumPy's large ones. Its pages are touched on construction: what a
/// benchmark times is no page fault.
class Array {
public:
    Array(DType dtype, std::vector<std::ptrdiff_t> shape) : dtype_(dtype), shape_(std::move(shape)), size_(1) {
        strides_.resize(shape_.size());
        auto stride = static_cast<std::ptrdiff_t>(logitloss::item_size(dtype));
        for (std::size_t i = shape_.size(); i-- > 0;) {
            strides_[i] = stride;
            stride *= shape_[i];
            size_ *= static_cast<std::size_t>(shape_[i]);
        }
        const std::size_t padded = (bytes() + alignment - 1) / alignment * alignment + alignment;
        data_.reset(::operator new(padded, std::align_val_t(alignment)));
        std::memset(data_.get(), 0, padded);
    }

    template <class T>
    T* as() {
        return static_cast<T*>(data_.get());
    }

    std::size_t size() const { return size_; }
    std::size_t bytes() const { return size_ * logitloss::item_size(dtype_); }

    logitloss::ArrayView view() const { return view_mutable(); }
    logitloss::MutableArrayView view_mutable() const {
        return {data_.get(), dtype_, static_cast<int>(shape_.size()), shape_.data(), strides_.data()};
    }

private:
    static constexpr std::size_t alignment = 4096;
    struct Free {
        void operator()(void* data) const { ::operator delete(data, std::align_val_t(alignment)); }
    };

    DType dtype_;
    std::vector<std::ptrdiff_t> shape_;
    std::vector<std::ptrdiff_t> strides_;
    std::size_t size_;
    std::unique_ptr<void, Free> data_;
};

/// SplitMix64 (Steele, Lea and Flood, 2014): cheap enough for arrays of 10^8 elements.
class Random {
public:
    explicit Random(std::uint64_t seed) : state_(seed) {}

    std::uint64_t bits() {
        std::uint64_t z = state_ += 0x9e3779b97f4a7c15U;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
        return z ^ (z >> 31);
    }

    std::uint64_t below(std::uint64_t limit) { return bits() % limit; }

    /// About normal, of deviation 3: a sum of four 16-bit uniforms.
    double logit() {
        const std::uint64_t b = bits();
        const auto sum = (b & 0xffff) + (b >> 16 & 0xffff) + (b >> 32 & 0xffff) + (b >> 48);
        return (static_cast<double>(sum) - 131070.0) * (3.0 / 37837.0);
    }

private:
    std::uint64_t state_;
};

/// Logits of a floating dtype (bfloat16 ones rounded towards 0). Another `seed`, others.
inline Array random_logits(DType dtype, std::vector<std::ptrdiff_t> shape, std::uint64_t seed = 0) {
    Array array(dtype, std::move(shape));
    Random random(array.size() + seed);
    for (std::size_t i = 0; i < array.size(); ++i) {
        const double logit = random.logit();
        if (dtype == DType::float64) {
            array.as<double>()[i] = logit;
        } else if (dtype == DType::float32) {
            array.as<float>()[i] = static_cast<float>(logit);
        } else {
            const auto wide = static_cast<float>(logit);
            std::uint32_t bits = 0;
            std::memcpy(&bits, &wide, sizeof bits);
            array.as<std::uint16_t>()[i] = static_cast<std::uint16_t>(bits >> 16);
        }
    }
    return array;
}

inline Array random_labels(std::ptrdiff_t rows, std::ptrdiff_t classes) {
    Array array(DType::int64, {rows});
    Random random(static_cast<std::uint64_t>(rows + classes));
    for (std::size_t i = 0; i < array.size(); ++i)
        array.as<std::int64_t>()[i] = static_cast<std::int64_t>(random.below(static_cast<std::uint64_t>(classes)));
    return array;
}

/// Targets of a binary loss, 0 or 1, as float32 or uint8.
inline Array random_targets(DType dtype, std::ptrdiff_t size) {
    Array array(dtype, {size});
    Random random(static_cast<std::uint64_t>(size));
    for (std::size_t i = 0; i < array.size(); ++i) {
        const bool target = random.below(10) < 3;
        if (dtype == DType::uint8)
            array.as<std::uint8_t>()[i] = target;
        else
            array.as<float>()[i] = target;
    }
    return array;
}

/// Numbers between 0 and 1, float32.
inline Array random_fractions(std::ptrdiff_t size) {
    Array array(DType::float32, {size});
    Random random(static_cast<std::uint64_t>(size));
    for (std::size_t i = 0; i < array.size(); ++i)
        array.as<float>()[i] = (static_cast<float>(random.below(1 << 20)) + 0.5f) / float(1 << 20);
    return array;
}

/// Rows that sum to 1, float32. Another `seed`, others.
inline Array random_probabilities(std::ptrdiff_t rows, std::ptrdiff_t classes, std::uint64_t seed) {
    Array array(DType::float32, {rows, classes});
    Random random(array.size() + seed);
    for (float *row = array.as<float>(), *end = row + array.size(); row != end; row += classes) {
        double total = 0;
        for (std::ptrdiff_t j = 0; j < classes; ++j)
            total += row[j] = static_cast<float>(1 + random.below(1000));
        for (std::ptrdiff_t j = 0; j < classes; ++j)
            row[j] = static_cast<float>(row[j] / total);
    }
    return array;
}

inline DType loss_dtype(DType logits) { return logits == DType::float64 ? DType::float64 : DType::float32; }

}  // namespace bench
