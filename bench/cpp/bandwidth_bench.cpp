// What the memory gives: loops that do nothing but read, copy or update, on the library's own threads.
#include <atomic>
#include <cstring>
#include <memory>

#include "cells.hpp"
#include "runtime/threads.hpp"

namespace bench {
namespace {

constexpr std::size_t block_bytes = 1 << 16;
constexpr std::size_t words = block_bytes / sizeof(std::uint64_t);

using Block = void (*)(std::uint64_t* source, std::uint64_t* sink, std::uint64_t& seen);

void read_block(std::uint64_t* source, std::uint64_t*, std::uint64_t& seen) {
    std::uint64_t lanes[32] = {};  // independent chains, whatever the compiler makes a vector of
    for (std::size_t i = 0; i < words; i += 32)
        for (std::size_t lane = 0; lane < 32; ++lane)
            lanes[lane] ^= source[i + lane];
    for (const std::uint64_t lane : lanes)
        seen ^= lane;
}

void copy_block(std::uint64_t* source, std::uint64_t* sink, std::uint64_t&) { std::memcpy(sink, source, block_bytes); }

void update_block(std::uint64_t* source, std::uint64_t*, std::uint64_t&) {
    for (std::size_t i = 0; i < words; ++i)
        source[i] ^= 1;
}

void add_loop(const std::string& name, Block block, std::size_t streams, std::size_t bytes) {
    add("bandwidth_" + name + "/" + std::to_string(bytes >> 20) + "MiB", [=](int threads) {
        const std::vector<std::ptrdiff_t> shape{static_cast<std::ptrdiff_t>(bytes)};
        auto source = std::make_shared<Array>(DType::uint8, shape);
        auto sink = block == copy_block ? std::make_shared<Array>(DType::uint8, shape) : source;
        const auto call = [=] {
            std::atomic<std::uint64_t> total{0};
            const int workers = logitloss::detail::plan_threads(bytes, threads);
            logitloss::detail::parallel_for(bytes / block_bytes, 4, workers, [&](auto first, auto last, int) {
                std::uint64_t seen = 0;
                for (auto i = first; i < last; ++i)
                    block(source->as<std::uint64_t>() + i * words, sink->as<std::uint64_t>() + i * words, seen);
                total ^= seen;
            });
            benchmark::DoNotOptimize(total.load());
            benchmark::ClobberMemory();
        };
        return Measured{call, streams * bytes, bytes / sizeof(float)};
    });
}

}  // namespace

void add_bandwidth() {
    for (const std::size_t mebibytes : {1, 16, 256}) {
        add_loop("read", read_block, 1, mebibytes << 20);
        add_loop("copy", copy_block, 2, mebibytes << 20);
        add_loop("update", update_block, 2, mebibytes << 20);
    }
}

}  // namespace bench
