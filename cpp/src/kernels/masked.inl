// Elements that a mask keeps: what the others hold is not read.

/// RowKernels::keep.
template <class T>
void keep(const T* x, const unsigned char* where, std::size_t n, T fill, T* out) {
    constexpr std::size_t lanes = Vec<T>::lanes;
    std::size_t i = 0;
    for (; i + lanes <= n; i += lanes) {
        prefetch_far(x + i, block_size * sizeof(float));
        prefetch_near(x + i, 4096);
        store(out + i, load_where(x + i, where + i, fill));
    }
    if (i == n)
        return;
    unsigned char kept[lanes] = {};
    T last[lanes];
    __builtin_memcpy(kept, where + i, n - i);
    store(last, load_where(x + i, kept, fill));
    __builtin_memcpy(out + i, last, (n - i) * sizeof(T));
}
