// The least arithmetic of a loss, on data in L1, as plain loops for arithmetic.py. Nothing of logitloss is in here.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace {

constexpr std::size_t lanes = 64;  // independent chains, whatever the compiler makes a vector of

template <class T>
struct Numbers;

/// Chebyshev interpolants: exp(t) for |t| <= ln2 / 2, and log(1 + e) / e for e in [0, 1], to half an ulp.
template <>
struct Numbers<float> {
    using Word = std::int32_t;
    static constexpr int digits = 23, bias = 127;
    static constexpr float exp[] = {1.0F,          1.00000004F,   0.500000005F,  0.166664155F,
                                    0.0416663529F, 0.0083751264F, 0.00139411084F};
    static constexpr float log1p[] = {0.999999995F,  -0.499998926F, 0.333297105F,   -0.249516163F, 0.196632743F,
                                      -0.152696671F, 0.105436238F,  -0.0563736128F, 0.0195425273F, -0.00317605702F};
};
template <>
struct Numbers<double> {
    using Word = std::int64_t;
    static constexpr int digits = 52, bias = 1023;
    static constexpr double exp[] = {1.0,
                                     1.0,
                                     0.50000000000000189,
                                     0.1666666666666668,
                                     0.041666666666488099,
                                     0.0083333333333196011,
                                     0.0013888888952314775,
                                     0.00019841269890047113,
                                     2.4801485482328494e-05,
                                     2.755724091857897e-06,
                                     2.7632639639041029e-07,
                                     2.5110037605963777e-08};
    static constexpr double log1p[] = {1.0,
                                       -0.49999999999999833,
                                       0.33333333333306459,
                                       -0.2499999999826481,
                                       0.19999999940349814,
                                       -0.16666665403691092,
                                       0.14285696309567308,
                                       -0.12499817769513955,
                                       0.11109740896460193,
                                       -0.099921278217600162,
                                       0.090555675155907331,
                                       -0.082071636804374293,
                                       0.073290152555349541,
                                       -0.062887546707831463,
                                       0.050077423953917038,
                                       -0.035530525401441249,
                                       0.021511022653356974,
                                       -0.01061469636358553,
                                       0.0040478098934675121,
                                       -0.0011093809681700342,
                                       0.00019330794553431145,
                                       -1.6020216725538194e-05};
};

/// The functions of the C library, which compilers replace by their vectors' own.
struct Library {
    template <class T>
    static T exp(T x) {
        return std::exp(x);
    }
    template <class T>
    static T log(T x) {
        return std::log(x);
    }
    template <class T>
    static T log1p_of_unit(T e) {
        return std::log1p(e);
    }
};

/// The textbook's reductions, for finite numbers whose results are normal.
struct Polynomial {
    template <class T>
    static T exp(T x) {
        using Word = typename Numbers<T>::Word;
        const T n = std::rint(x * T(1.4426950408889634));
        const T t = x - n * T(0.69314718055994531);
        const Word word = (static_cast<Word>(static_cast<std::int32_t>(n)) + Numbers<T>::bias) << Numbers<T>::digits;
        return horner(t, Numbers<T>::exp) * from_bits<T>(word);
    }
    template <class T>
    static T log(T x) {
        using Word = typename Numbers<T>::Word;
        constexpr Word one = static_cast<Word>(Numbers<T>::bias) << Numbers<T>::digits;
        Word word;
        std::memcpy(&word, &x, sizeof word);
        const auto k = static_cast<std::int32_t>((word - one) >> Numbers<T>::digits);
        const T mantissa = from_bits<T>((word & ((Word(1) << Numbers<T>::digits) - 1)) | one);
        return static_cast<T>(k) * T(0.69314718055994531) + log1p_of_unit(mantissa - T(1));
    }
    template <class T>
    static T log1p_of_unit(T e) {
        return e * horner(e, Numbers<T>::log1p);
    }

private:
    template <class T, std::size_t terms>
    static T horner(T t, const T (&c)[terms]) {
        T sum = c[terms - 1];
#pragma GCC unroll 32
        for (std::size_t i = terms - 1; i > 0; --i)
            sum = sum * t + c[i - 1];
        return sum;
    }
    template <class T>
    static T from_bits(typename Numbers<T>::Word word) {
        T x;
        std::memcpy(&x, &word, sizeof x);
        return x;
    }
};

template <class T, class Term>
T sum(const T* x, std::size_t n, const Term& term) {
    T sums[lanes] = {};
    for (std::size_t i = 0; i < n; i += lanes)
        for (std::size_t lane = 0; lane < lanes; ++lane)
            sums[lane] += term(x[i + lane]);
    T total = 0;
    for (const T s : sums)
        total += s;
    return total;
}

template <class T>
T largest(const T* x, std::size_t n) {
    T most[lanes];
    std::memcpy(most, x, sizeof most);
    for (std::size_t i = lanes; i < n; i += lanes)
        for (std::size_t lane = 0; lane < lanes; ++lane)
            most[lane] = x[i + lane] > most[lane] ? x[i + lane] : most[lane];
    for (std::size_t lane = 1; lane < lanes; ++lane)
        most[0] = most[lane] > most[0] ? most[lane] : most[0];
    return most[0];
}

template <class Math, class T>
T loop(int number, const T* x, std::size_t n) {
    switch (number) {
    case 0:
        return sum(x, n, [](T value) { return Math::exp(value); });
    case 1: {  // softmax and its kin: the maximum, and exponentials of differences
        const T most = largest(x, n);
        return sum(x, n, [=](T value) { return Math::exp(value - most); });
    }
    case 2:  // softplus
        return sum(x, n, [](T value) {
            return (value > T(0) ? value : T(0)) + Math::log1p_of_unit(Math::exp(-std::fabs(value)));
        });
    case 3:  // softplus and a sigmoid
        return sum(x, n, [](T value) {
            const T e = Math::exp(-std::fabs(value));
            return (value > T(0) ? value : T(0)) + Math::log1p_of_unit(e) + T(1) / (T(1) + e);
        });
    case 4:
        return sum(x, n, [](T value) { return Math::log(std::fabs(value)); });
    default:
        return sum(x, n, [](T value) { return Math::log(std::fabs(value)) + T(1) / (T(4) + value); });
    }
}

template <class T>
T repeated(int number, bool polynomial, const T* x, std::size_t n, std::size_t repeats) {
    T result = 0;
    for (std::size_t i = 0; i < repeats; ++i) {
        asm volatile("" : "+r"(x) : : "memory");  // or one pass would do for all
        result = polynomial ? loop<Polynomial>(number, x, n) : loop<Library>(number, x, n);
        asm volatile("" : : "m"(result));
    }
    return result;
}

}  // namespace

/// Passes of loop `number` over the n elements, a multiple of 64 in [-4, 4] without 0; its sum.
extern "C" float run_float32(int number, int polynomial, const float* x, std::size_t n, std::size_t repeats) {
    return repeated(number, polynomial != 0, x, n, repeats);
}
extern "C" double run_float64(int number, int polynomial, const double* x, std::size_t n, std::size_t repeats) {
    return repeated(number, polynomial != 0, x, n, repeats);
}
