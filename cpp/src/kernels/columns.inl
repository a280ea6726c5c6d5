// Columns: rows side by side, one in each lane, so that nothing is ever reduced across a vector. For rows of
// few classes, which are transposed into such a tile, and for arrays whose class axis is strided, which lie so already.

/// Classes that load_transposed brings at once.
template <class T>
constexpr std::size_t transposed_classes = 16 / sizeof(T);

/// Whether the rows of one vector's lanes follow one another without a gap.
template <class T>
LOGITLOSS_INLINE bool rows_are_one_array(const T* const* rows, std::size_t classes) {
    bool all = true;
    for (std::size_t r = 1; r < Vec<T>::lanes; ++r)
        all &= rows[r] == rows[0] + r * classes;
    return all;
}

/// Rows shorter than what load_transposed brings at once: two or three float32.
template <std::size_t classes>
LOGITLOSS_INLINE void transpose_short_rows(const float* const* rows, std::size_t lanes, float* columns) {
    for (std::size_t lane = 0; lane < lanes; lane += Vec<float>::lanes) {
        if (rows_are_one_array(rows + lane, classes)) {
            Vec<float> column[classes];
            load_rows(rows[lane], column);
            LOGITLOSS_UNROLL
            for (std::size_t j = 0; j < classes; ++j)
                store(columns + j * lanes + lane, column[j]);
            continue;
        }
        for (std::size_t r = lane; r < lane + Vec<float>::lanes; ++r)
            for (std::size_t j = 0; j < classes; ++j)
                columns[j * lanes + r] = rows[r][j];
    }
}
template <std::size_t classes>
LOGITLOSS_INLINE void transpose_short_columns(const float* columns, std::size_t lanes, float* const* rows) {
    for (std::size_t lane = 0; lane < lanes; lane += Vec<float>::lanes) {
        if (rows_are_one_array(rows + lane, classes)) {
            Vec<float> column[classes];
            LOGITLOSS_UNROLL
            for (std::size_t j = 0; j < classes; ++j)
                column[j] = load(columns + j * lanes + lane);
            store_rows(column, rows[lane]);
            continue;
        }
        for (std::size_t r = lane; r < lane + Vec<float>::lanes; ++r)
            for (std::size_t j = 0; j < classes; ++j)
                rows[r][j] = columns[j * lanes + r];
    }
}

/// KernelTable::transpose_rows.
template <class T>
void transpose_rows(const T* const* rows, TileShape shape, T* columns) {
    const std::size_t classes = shape.classes;
    constexpr std::size_t step = transposed_classes<T>;
    if constexpr (sizeof(T) == sizeof(float))
        if (classes < step)
            return classes == 2 ? transpose_short_rows<2>(rows, shape.lanes, columns)
                                : transpose_short_rows<3>(rows, shape.lanes, columns);
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes)
        for (std::size_t done = 0; done < classes; done += step) {
            const std::size_t j = done + step <= classes ? done : classes - step;  // the last ones overlap
            Vec<T> quad[step];
            load_transposed(rows + lane, j, quad);
            LOGITLOSS_UNROLL
            for (std::size_t i = 0; i < step; ++i)
                store(columns + (j + i) * shape.lanes + lane, quad[i]);
        }
}

/// KernelTable::transpose_columns.
template <class T>
void transpose_columns(const T* columns, TileShape shape, T* const* rows) {
    const std::size_t classes = shape.classes;
    constexpr std::size_t step = transposed_classes<T>;
    const auto address = [](const T* p) {
        return reinterpret_cast<std::uintptr_t>(p);
    };  // they need not be of one array
    const std::uintptr_t ahead = 16 * (address(rows[1]) - address(rows[0]));  // bytes to the rows of steps to come
    if constexpr (sizeof(T) == sizeof(float))
        if (classes < step)
            return classes == 2 ? transpose_short_columns<2>(columns, shape.lanes, rows)
                                : transpose_short_columns<3>(columns, shape.lanes, rows);
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes)
        for (std::size_t done = 0; done < classes; done += step) {
            const std::size_t j = done + step <= classes ? done : classes - step;
            if (done * sizeof(T) % 64 == 0)
                for (std::size_t r = 0; r < Vec<T>::lanes; ++r)
                    prefetch_store(rows[lane + r], j * sizeof(T) + ahead);
            Vec<T> quad[step];
            LOGITLOSS_UNROLL
            for (std::size_t i = 0; i < step; ++i)
                quad[i] = load(columns + (j + i) * shape.lanes + lane);
            store_transposed(quad, rows + lane, j);
        }
}

LOGITLOSS_INLINE void store_widened(double* p, Vec<float> a) {
    store(p, widen<0>(a));
    store(p + Vec<double>::lanes, widen<1>(a));
}
LOGITLOSS_INLINE void store_widened(double* p, Vec<double> a) { store(p, a); }

/// Sums of one vector of columns over the classes: strided sums, class j going to sum j mod 8 (float64: 4), and a tree.
template <class T>
class ColumnSum;

/// float32 terms, each widened before it is added: where one class outweighs the rest, an addition in float32 may round
/// half an ulp of the whole sum away.
template <>
class ColumnSum<float> {
public:
    static constexpr std::size_t classes_per_flush = 8;

    /// term(j, sum) returns the sum with the term of class j added.
    template <class Term>
    LOGITLOSS_INLINE ColumnSum(std::size_t classes, const Term& term) : lower_(splat(0.0)), upper_(splat(0.0)) {
        for (std::size_t first = 0; first < classes; first += classes_per_flush)
            flush(first, classes - first < classes_per_flush ? classes : first + classes_per_flush, term);
    }
    LOGITLOSS_INLINE void store_to(double* p) const {
        store(p, lower_);
        store(p + Vec<double>::lanes, upper_);
    }

private:
    template <class Term>
    LOGITLOSS_INLINE void flush(std::size_t first, std::size_t last, const Term& term) {
        Vec<float> s[8];
        LOGITLOSS_UNROLL
        for (Vec<float>& sum : s)
            sum = splat(0.0f);
        std::size_t j = first;
        for (; j + 8 <= last; j += 8) {
            LOGITLOSS_UNROLL
            for (std::size_t i = 0; i < 8; ++i)
                s[i] = term(j + i, s[i]);
        }
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < 7; ++i)
            if (j + i < last)
                s[i] = term(j + i, s[i]);
        lower_ = lower_ + tree<0>(s, last - first);
        upper_ = upper_ + tree<1>(s, last - first);
    }
    /// Sums that no class went to are 0 and need not be added.
    template <int half>
    static LOGITLOSS_INLINE Vec<double> tree(const Vec<float> (&s)[8], std::size_t classes) {
        const Vec<double> first = widen<half>(s[0]) + widen<half>(s[1]);
        if (classes <= 2)
            return first;
        const Vec<double> half_of = first + (widen<half>(s[2]) + widen<half>(s[3]));
        if (classes <= 4)
            return half_of;
        return half_of + ((widen<half>(s[4]) + widen<half>(s[5])) + (widen<half>(s[6]) + widen<half>(s[7])));
    }

    Vec<double> lower_, upper_;
};

/// float64 terms: four compensated sums.
template <>
class ColumnSum<double> {
public:
    template <class Term>
    LOGITLOSS_INLINE ColumnSum(std::size_t classes, const Term& term) {
        Vec<double> s[4], lost[4];
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < 4; ++i)
            s[i] = lost[i] = splat(0.0);
        std::size_t j = 0;
        for (; j + 4 <= classes; j += 4) {
            LOGITLOSS_UNROLL
            for (std::size_t i = 0; i < 4; ++i)
                add(s[i], lost[i], term(j + i, splat(0.0)));
        }
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < 3; ++i)
            if (j + i < classes)
                add(s[i], lost[i], term(j + i, splat(0.0)));
        join(s[0], lost[0], s[1], lost[1]);
        join(s[2], lost[2], s[3], lost[3]);
        join(s[0], lost[0], s[2], lost[2]);
        const Vec<double> finite = s[0] + lost[0];
        total_ = select(equal(lost[0] - lost[0], splat(0.0)), finite, s[0]);  // of infinities and NaN: the sum itself
    }
    LOGITLOSS_INLINE void store_to(double* p) const { store(p, total_); }

private:
    static LOGITLOSS_INLINE void add(Vec<double>& sum, Vec<double>& lost, Vec<double> term) {
        const TwoSum two(sum, term);
        sum = two.sum;
        lost = lost + two.lost;
    }
    static LOGITLOSS_INLINE void join(Vec<double>& sum, Vec<double>& lost, Vec<double> other, Vec<double> other_lost) {
        const TwoSum two(sum, other);
        sum = two.sum;
        lost = (lost + other_lost) + two.lost;
    }

    Vec<double> total_;
};

/// Classes as numbers, beside the lanes' own class numbers.
template <class T>
LOGITLOSS_INLINE Vec<T> class_number(std::size_t j) {
    return splat(static_cast<T>(j));
}

/// The largest logit of each lane but the class `aside`; NaNs do not count.
template <class T, bool sets_aside>
LOGITLOSS_INLINE Vec<T> column_max(const T* x, std::ptrdiff_t stride, std::size_t classes, Vec<T> aside) {
    const Vec<T> nothing = splat(T(-__builtin_inf()));
    Vec<T> top[4] = {nothing, nothing, nothing, nothing};
    const auto take = [&](std::size_t j, Vec<T>& largest) {
        Vec<T> logit = load(x + static_cast<std::ptrdiff_t>(j) * stride);
        if constexpr (sets_aside)
            logit = select(equal(class_number<T>(j), aside), nothing, logit);
        largest = max(logit, largest);
    };
    std::size_t j = 0;
    for (; j + 4 <= classes; j += 4) {
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < 4; ++i)
            take(j + i, top[i]);
    }
    LOGITLOSS_UNROLL
    for (std::size_t i = 0; i < 3; ++i)
        if (j + i < classes)
            take(j + i, top[i]);
    return max(max(top[0], top[1]), max(top[2], top[3]));
}

/// Whether |x| <= exponent_limit: the lanes whose exponentials the fast kernels sum.
template <class T>
LOGITLOSS_INLINE Mask<T> within_limit(Vec<T> x) {
    const T just_above = Constants<T>::exponent_limit * (T(1) + (sizeof(T) == 4 ? T(0x1p-23) : T(0x1p-52)));
    return less(abs(x), splat(just_above));
}

template <class T, bool sets_aside, bool keep>
bool column_states(const T* x, std::ptrdiff_t stride, TileShape shape, const ColumnStates<T>& states, T* kept) {
    using C = Constants<T>;
    const Vec<T> zero = splat(T(0));
    const Vec<T> nothing = splat(T(-__builtin_inf()));
    Vec<T> all_normal = splat(T(1));
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes) {
        const Vec<T> aside = sets_aside ? load(states.aside + lane) : zero;
        const Vec<T> top = column_max<T, sets_aside>(x + lane, stride, shape.classes, aside);
        const Mask<T> normal = within_limit(top);
        all_normal = select(normal, all_normal, zero);
        const Vec<T> exponent = fma(select(normal, top, zero), splat(C::log2e), splat(C::magic)) - splat(C::magic);
        store(states.max + lane, top);
        store_widened(states.exponent + lane, select(normal, exponent, splat(T(no_exponent))));
        const ExpShift<T> shift(exponent);
        Vec<T> logit = zero;  // of the class aside
        const std::uintptr_t next = states.next.start + lane * static_cast<std::uintptr_t>(states.next.lane_step);
        const bool next_line = lane % (64 / sizeof(T)) == 0;
        const auto term = [&](std::size_t j, Vec<T> sum) {
            if (next_line)  // spread over the arithmetic: all at once they would wait for each other
                // NOLINTNEXTLINE(performance-no-int-to-ptr): nothing is read there
                prefetch_near(reinterpret_cast<const void*>(next + j * states.next.class_step), 0);
            Vec<T> here = load(x + static_cast<std::ptrdiff_t>(j) * stride + lane);
            if constexpr (sets_aside) {
                const Mask<T> out = equal(class_number<T>(j), aside);
                logit = select(out, here, logit);
                here = select(out, nothing, here);
            }
            const ExpParts<T> e = exp_parts(here, shift);
            if constexpr (keep)
                store(kept + j * shape.lanes + lane, e.mantissa * e.scale);
            return fma(e.mantissa, e.scale, sum);
        };
        const ColumnSum<T> sum(shape.classes, term);
        sum.store_to(states.sum + lane);
        if constexpr (sets_aside) {
            store(states.logit + lane, logit);
            all_normal = select(within_limit(logit), all_normal, zero);
        }
    }
    return !any(equal(all_normal, zero));
}

/// KernelTable::column_states.
template <class T>
bool column_states(const T* x, std::ptrdiff_t stride, TileShape shape, const ColumnStates<T>& states, T* kept) {
    if (states.aside != nullptr)
        return kept == nullptr ? column_states<T, true, false>(x, stride, shape, states, kept)
                               : column_states<T, true, true>(x, stride, shape, states, kept);
    return kept == nullptr ? column_states<T, false, false>(x, stride, shape, states, kept)
                           : column_states<T, false, true>(x, stride, shape, states, kept);
}

/// KernelTable::column_largest.
template <class T>
void column_largest(const T* x, std::ptrdiff_t stride, TileShape shape, T* found) {
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes) {
        Vec<T> top = splat(T(-__builtin_inf()));
        Vec<T> where = splat(T(-1));
        for (std::size_t j = 0; j < shape.classes; ++j) {
            const Vec<T> logit = load(x + static_cast<std::ptrdiff_t>(j) * stride + lane);
            where = select(less(top, logit), class_number<T>(j), where);
            top = max(logit, top);
        }
        store(found + lane, where);
    }
}

/// KernelTable::column_gaps.
template <class T>
void column_gaps(const T* x, std::ptrdiff_t stride, const T* q, TileShape shape, const T* reference, double* gaps) {
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes) {
        const Vec<T> top = load(reference + lane);
        const auto gap = [&](std::size_t j) { return top - load(x + static_cast<std::ptrdiff_t>(j) * stride + lane); };
        if (q == nullptr) {
            ColumnSum<T>(shape.classes, [&](std::size_t j, Vec<T> sum) { return sum + gap(j); }).store_to(gaps + lane);
            continue;
        }
        const auto weighted = [&](std::size_t j, Vec<T> sum) {
            const Vec<T> weight = load(q + j * shape.lanes + lane);
            return select(equal(weight, splat(T(0))), sum, fma(weight, gap(j), sum));
        };
        ColumnSum<T>(shape.classes, weighted).store_to(gaps + lane);
    }
}

/// KernelTable::column_sum.
template <class T>
void column_sum(const T* x, std::ptrdiff_t stride, TileShape shape, const T* aside, double* sums) {
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes) {
        const Vec<T> out = aside == nullptr ? splat(T(-1)) : load(aside + lane);
        const auto term = [&](std::size_t j, Vec<T> sum) {
            const Vec<T> value = load(x + static_cast<std::ptrdiff_t>(j) * stride + lane);
            return select(equal(class_number<T>(j), out), sum, sum + value);
        };
        ColumnSum<T>(shape.classes, term).store_to(sums + lane);
    }
}

/// KernelTable::column_dot.
template <class T>
void column_dot(const T* y, std::ptrdiff_t y_stride, const T* dy, std::ptrdiff_t dy_stride, TileShape shape,
                double* sums) {
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes) {
        const auto term = [&](std::size_t j, Vec<T> sum) {
            const Vec<T> value = load(y + static_cast<std::ptrdiff_t>(j) * y_stride + lane);
            const Vec<T> cotangent = load(dy + static_cast<std::ptrdiff_t>(j) * dy_stride + lane);
            return select(equal(value, splat(T(0))), sum, fma(value, cotangent, sum));
        };
        ColumnSum<T>(shape.classes, term).store_to(sums + lane);
    }
}

/// Columns are written class by class; the lines that the next rows will need are asked for ahead.
template <class T, bool kept, LinearTerm linear_term>
void scaled_columns(const ColumnInputs<T>& in, TileShape shape, const ColumnScales<T>& rows, std::ptrdiff_t out_stride,
                    T* out) {
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes) {
        const ExpShift<T> shift(load(rows.exponent + lane));
        const Vec<T> scale = load(rows.scale + lane);
        const Vec<T> linear = load(rows.linear + lane);
        const Vec<T> patched = load(rows.patched + lane);
        const Vec<T> value = load(rows.value + lane);
        for (std::size_t j = 0; j < shape.classes; ++j) {
            const auto at = static_cast<std::ptrdiff_t>(j);
            Vec<T> term;
            if constexpr (kept) {
                term = load(in.exponentials + j * shape.lanes + lane);
            } else {
                const ExpParts<T> e = exp_parts(load(in.x + at * in.stride + lane), shift);
                term = e.mantissa * e.scale;
            }
            term = term * scale;
            if constexpr (linear_term == LinearTerm::uniform)
                term = term + linear;
            if constexpr (linear_term == LinearTerm::weighted)
                term = fma(linear, load(in.coefficients + j * shape.lanes + lane), term);
            store(out + at * out_stride + lane, select(equal(class_number<T>(j), patched), value, term));
        }
    }
}

template <class T, bool kept>
void scaled_columns_of(const ColumnInputs<T>& in, TileShape shape, bool linear, const ColumnScales<T>& rows,
                       std::ptrdiff_t out_stride, T* out) {
    if (!linear)
        scaled_columns<T, kept, LinearTerm::none>(in, shape, rows, out_stride, out);
    else if (in.coefficients == nullptr)
        scaled_columns<T, kept, LinearTerm::uniform>(in, shape, rows, out_stride, out);
    else
        scaled_columns<T, kept, LinearTerm::weighted>(in, shape, rows, out_stride, out);
}

/// KernelTable::write_columns.
template <class T>
void write_columns(const ColumnInputs<T>& in, TileShape shape, bool linear, const ColumnScales<T>& rows,
                   std::ptrdiff_t out_stride, T* out) {
    if (in.exponentials != nullptr)
        scaled_columns_of<T, true>(in, shape, linear, rows, out_stride, out);
    else
        scaled_columns_of<T, false>(in, shape, linear, rows, out_stride, out);
}

/// KernelTable::column_log_softmax.
template <class T>
void column_log_softmax(const T* x, std::ptrdiff_t stride, TileShape shape, const T* max_logit, const T* above_max,
                        std::ptrdiff_t out_stride, T* out) {
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes) {
        const Vec<T> top = load(max_logit + lane);
        const Vec<T> above = load(above_max + lane);
        for (std::size_t j = 0; j < shape.classes; ++j) {
            const auto at = static_cast<std::ptrdiff_t>(j);
            store(out + at * out_stride + lane, (load(x + at * stride + lane) - top) - above);
        }
    }
}

/// KernelTable::column_softmax_vjp, KernelTable::column_log_softmax_vjp.
template <class T, Vec<T> (*step)(Vec<T>, Vec<T>, Vec<T>)>
void column_vjp(const T* y, std::ptrdiff_t y_stride, const T* dy, std::ptrdiff_t dy_stride, TileShape shape,
                const T* reduced, std::ptrdiff_t out_stride, T* out) {
    for (std::size_t lane = 0; lane < shape.lanes; lane += Vec<T>::lanes) {
        const Vec<T> sum = load(reduced + lane);
        for (std::size_t j = 0; j < shape.classes; ++j) {
            const auto at = static_cast<std::ptrdiff_t>(j);
            const Vec<T> gradient = step(load(y + at * y_stride + lane), load(dy + at * dy_stride + lane), sum);
            store(out + at * out_stride + lane, gradient);
        }
    }
}
