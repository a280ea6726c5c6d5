// How rows of few classes get from memory to the vectors of few_classes.inl and back. Up to 10 classes whose rows follow
// one another without gaps stay in registers, by a template on their number; any other layout goes through an array.

/// Rows `step` apart.
template <class T>
struct EvenRows {
    T* first;
    std::ptrdiff_t step;

    LOGITLOSS_INLINE T* operator[](std::size_t i) const { return first + static_cast<std::ptrdiff_t>(i) * step; }
};

/// The last rows, fewer than a vector has lanes, and in the place of those that it lacks `instead`.
template <class T>
struct LastRows {
    T* rows[Vec<float>::lanes];

    LOGITLOSS_INLINE LastRows(const EvenRows<T>& all, std::size_t count, T* instead) {
        for (std::size_t i = 0; i < Vec<float>::lanes; ++i)
            rows[i] = i < count ? all[i] : instead;
    }
    LOGITLOSS_INLINE T* operator[](std::size_t i) const { return rows[i]; }
};

/// Bytes between a row and the row that is fetched while it is computed.
constexpr std::ptrdiff_t few_ahead = 4096;
/// Such bytes for rows `step` apart: at least as many as a vector's rows fill, so that none of these is fetched.
LOGITLOSS_INLINE std::ptrdiff_t ahead_of_rows(std::ptrdiff_t step) {
    const std::ptrdiff_t next = step * static_cast<std::ptrdiff_t>(Vec<float>::lanes * sizeof(float));
    return next > few_ahead ? next : few_ahead;
}

/// Rows of two or three classes: element by element, or, if the compiler knows how many and they have no gaps, by vectors.
template <class Rows>
LOGITLOSS_INLINE void load_short_rows(const Rows& rows, std::size_t classes, Vec<float>* v) {
    float column[Vec<float>::lanes];
    for (std::size_t j = 0; j < classes; ++j) {
        for (std::size_t i = 0; i < Vec<float>::lanes; ++i)
            column[i] = rows[i][j];
        v[j] = load(column);
    }
}
template <class Rows>
LOGITLOSS_INLINE void store_short_rows(const Vec<float>* v, std::size_t classes, const Rows& rows) {
    float column[Vec<float>::lanes];
    for (std::size_t j = 0; j < classes; ++j) {
        store(column, v[j]);
        for (std::size_t i = 0; i < Vec<float>::lanes; ++i)
            rows[i][j] = column[i];
    }
}
#if defined(LOGITLOSS_ROWS_IN_REGISTERS)
template <std::size_t classes>
LOGITLOSS_INLINE void load_short_rows(const EvenRows<const float>& rows, KnownClasses<classes>, Vec<float>* v) {
    if constexpr (classes < 4) {
        Vec<float> column[classes];
        load_rows(rows.first, column);
        LOGITLOSS_UNROLL
        for (std::size_t j = 0; j < classes; ++j)
            v[j] = column[j];
    }
}
template <std::size_t classes>
LOGITLOSS_INLINE void store_short_rows(const Vec<float>* v, KnownClasses<classes>, const EvenRows<float>& rows) {
    if constexpr (classes < 4) {
        Vec<float> column[classes];
        LOGITLOSS_UNROLL
        for (std::size_t j = 0; j < classes; ++j)
            column[j] = v[j];
        store_rows(column, rows.first);
    }
}
#endif

/// fetch(j) asks for class j of rows to come.
template <class Rows, class Classes, class Fetch>
LOGITLOSS_INLINE void load_few_rows(const Rows& rows, Classes classes, Vec<float>* v, const Fetch& fetch) {
    if (classes < 4)
        return load_short_rows(rows, classes, v);
    each_class<4>(0, classes, [&](std::size_t first) LOGITLOSS_INLINE_LAMBDA {
        const std::size_t j = first + 4 <= classes ? first : classes - 4;  // the last four may overlap
        fetch(j);
        Vec<float> quad[4];
        load_transposed(rows, j, quad);
        v[j] = quad[0];
        v[j + 1] = quad[1];
        v[j + 2] = quad[2];
        v[j + 3] = quad[3];
    });
}
template <class Rows, class Classes, class Fetch>
LOGITLOSS_INLINE void store_few_rows(const Vec<float>* v, Classes classes, const Rows& rows, const Fetch& fetch) {
    if (classes < 4)
        return store_short_rows(v, classes, rows);
    each_class<4>(0, classes, [&](std::size_t first) LOGITLOSS_INLINE_LAMBDA {
        const std::size_t j = first + 4 <= classes ? first : classes - 4;
        fetch(j);
        const Vec<float> quad[4] = {v[j], v[j + 1], v[j + 2], v[j + 3]};
        store_transposed(quad, rows, j);
    });
}

/// Any number of classes, in any layout: columns, or rows wherever they begin. The classes of a vector's rows.
LOGITLOSS_INLINE void load_few(const FewClasses& in, std::size_t lane, Vec<float>* v) {
    if (in.class_step != 1) {
        const std::uintptr_t next = in.next.start + lane * static_cast<std::uintptr_t>(in.next.lane_step);
        const bool next_line = lane % (64 / sizeof(float)) == 0;
        for (std::size_t j = 0; j < in.classes; ++j) {
            v[j] = load(in.x + static_cast<std::ptrdiff_t>(j) * in.class_step + lane);
            if (next_line)
                // NOLINTNEXTLINE(performance-no-int-to-ptr): nothing is read there
                prefetch_near(reinterpret_cast<const void*>(next + j * in.next.class_step), 0);
        }
        return;
    }
    const EvenRows<const float> rows{in.x + static_cast<std::ptrdiff_t>(lane) * in.row_step, in.row_step};
    const std::ptrdiff_t ahead = ahead_of_rows(in.row_step);
    const auto fetch = [&](std::size_t j) {
        for (std::size_t i = 0; j % 16 == 0 && i < Vec<float>::lanes; ++i)
            prefetch_near(rows[i] + j, ahead);
    };
    if (lane + Vec<float>::lanes <= in.rows)
        load_few_rows(rows, in.classes, v, fetch);
    else
        load_few_rows(LastRows<const float>(rows, in.rows - lane, rows[0]), in.classes, v, [](std::size_t) {});
}
LOGITLOSS_INLINE void store_few(const FewClasses& in, std::size_t lane, const Vec<float>* v) {
    if (in.out_class_step != 1) {
        for (std::size_t j = 0; j < in.classes; ++j)
            store(in.out + static_cast<std::ptrdiff_t>(j) * in.out_class_step + lane, v[j]);
        return;
    }
    const EvenRows<float> rows{in.out + static_cast<std::ptrdiff_t>(lane) * in.out_row_step, in.out_row_step};
    const std::ptrdiff_t ahead = ahead_of_rows(in.out_row_step);
    const auto fetch = [&](std::size_t j) {
        for (std::size_t i = 0; in.out != in.x && j % 16 == 0 && i < Vec<float>::lanes; ++i)
            prefetch_store(rows[i] + j, ahead);
    };
    float beyond[most_few_classes];
    if (lane + Vec<float>::lanes <= in.rows)
        store_few_rows(v, in.classes, rows, fetch);
    else
        store_few_rows(v, in.classes, LastRows<float>(rows, in.rows - lane, beyond), [](std::size_t) {});
}

/// Rows from `first` on. Returns whether one is odd. An odd row's logits are written unchanged.
template <FewClassTask task>
bool few_classes_anywhere(const FewClasses& in, std::size_t first) {
    Vec<float> v[most_few_classes];
    Vec<float> any_odd = splat(0.0f);
    for (std::size_t lane = first; lane < in.rows; lane += Vec<float>::lanes) {
        load_few(in, lane, v);
        const Vec<float> odd = few_classes_step<task>(in, lane, v, in.classes);
        store(in.odd + lane, odd);
        any_odd = any_odd + odd;
        if constexpr (few_writes(task)) {
            if (const Mask<float> unchanged = less(splat(0.0f), odd); any(unchanged)) {
                Vec<float> logits[most_few_classes];
                load_few(in, lane, logits);
                each_class(0, in.classes, [&](std::size_t j) { v[j] = select(unchanged, logits[j], v[j]); });
            }
            store_few(in, lane, v);
        }
    }
    return any(less(splat(0.0f), any_odd));
}

#if defined(LOGITLOSS_ROWS_IN_REGISTERS)
/// Rows of a known number of classes that follow one another without a gap. From the first rare row on, and for the last
/// rows, few_classes_anywhere takes over.
template <FewClassTask task, std::size_t classes>
bool few_classes_known(const FewClasses& in) {
    constexpr std::size_t lanes = Vec<float>::lanes;
    constexpr std::size_t line = 64 / sizeof(float);
    const auto nothing = [](std::size_t) {};
    std::size_t lane = 0;
    for (; lane + lanes <= in.rows; lane += lanes) {
        const float* x = in.x + lane * classes;
        LOGITLOSS_UNROLL
        for (std::size_t i = 0; i < lanes * classes; i += line) {
            prefetch_near(x + i, few_ahead);
            if constexpr (few_writes(task))
                if (in.out != in.x)
                    prefetch_store(in.out + lane * classes + i, few_ahead);
        }
        Vec<float> v[classes];
        load_few_rows(EvenRows<const float>{x, classes}, KnownClasses<classes>(), v, nothing);
        const Vec<float> odd = few_classes_step<task>(in, lane, v, KnownClasses<classes>());
        if (any(less(splat(0.0f), odd)))
            break;
        store(in.odd + lane, odd);
        if constexpr (few_writes(task))
            store_few_rows(v, KnownClasses<classes>(), EvenRows<float>{in.out + lane * classes, classes}, nothing);
    }
    return lane < in.rows && few_classes_anywhere<task>(in, lane);
}

/// More classes gain little by registers, for much code.
constexpr std::size_t most_classes_in_registers = 10;

template <FewClassTask task>
constexpr bool (*few_classes_by_number[])(const FewClasses&) = {
    few_classes_known<task, 2>, few_classes_known<task, 3>, few_classes_known<task, 4>,
    few_classes_known<task, 5>, few_classes_known<task, 6>, few_classes_known<task, 7>,
    few_classes_known<task, 8>, few_classes_known<task, 9>, few_classes_known<task, most_classes_in_registers>};
#endif

template <FewClassTask task>
bool few_classes_of(const FewClasses& in) {
#if defined(LOGITLOSS_ROWS_IN_REGISTERS)
    const auto step = static_cast<std::ptrdiff_t>(in.classes);
    const bool no_gaps = in.class_step == 1 && in.row_step == step;
    const bool out_alike = !few_writes(task) || (in.out_class_step == 1 && in.out_row_step == step);
    if constexpr (task == FewClassTask::largest) {  // so little arithmetic that only short rows gain much
        if (in.classes < 4 && no_gaps)
            return in.classes == 2 ? few_classes_known<task, 2>(in) : few_classes_known<task, 3>(in);
    } else if constexpr (task != FewClassTask::log_sum_exp_gradient)  // rarely called, and the largest
        if (in.classes <= most_classes_in_registers && no_gaps && out_alike && in.spread == 0.0f)
            return few_classes_by_number<task>[in.classes - 2](in);
#endif
    return few_classes_anywhere<task>(in, 0);
}

/// KernelTable::few_classes.
bool few_classes(const FewClasses& in, FewClassTask task) {
    using Task = FewClassTask;
    switch (task) {
    case Task::log_sum_exp:
        return few_classes_of<Task::log_sum_exp>(in);
    case Task::log_sum_exp_gradient:
        return few_classes_of<Task::log_sum_exp_gradient>(in);
    case Task::softmax:
        return few_classes_of<Task::softmax>(in);
    case Task::log_softmax:
        return few_classes_of<Task::log_softmax>(in);
    case Task::cross_entropy:
        return few_classes_of<Task::cross_entropy>(in);
    case Task::largest:
        return few_classes_of<Task::largest>(in);
    default:
        return few_classes_of<Task::cross_entropy_gradient>(in);
    }
}
