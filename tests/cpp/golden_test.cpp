// Hashes of the results on a fixed corpus, equal on every instruction set, architecture and number of threads.
//
// tests/python/support/corpus.py describes the corpus, and writes tests/golden/hashes.json; this file builds the same inputs in
// C++, so that the hashes can be checked where no Python runs, as in a cross build under an emulator.
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "golden_case.hpp"

namespace logitloss::golden {
namespace {

std::vector<std::string> split(const std::string& text, char separator) {
    std::vector<std::string> parts(1);
    for (char c : text) {
        if (c == separator)
            parts.emplace_back();
        else
            parts.back() += c;
    }
    return parts;
}

/// `name` is <function>/<dtype>/<values>/<layout>.
std::uint64_t hash_of_case(const std::string& name, int num_threads) {
    const std::vector<std::string> parts = split(name, '/');
    const bool strided = parts.at(3) == "strided";
    Hash hash;
    for (Size size : sizes_of(parts[2])) {
        const auto run = [&](auto element) {
            Case<decltype(element)>(name, parts[2], strided, size, num_threads).run(parts[0], hash);
        };
        if (parts[1] == "float64")
            run(double{});
        else if (parts[1] == "float32")
            run(float{});
        else if (parts[1] == "float16")
            run(Float16{});
        else
            run(BFloat16{});
    }
    return hash.state;
}

/// The committed hashes: a JSON object of strings, one to a line.
std::map<std::string, std::string> golden_hashes() {
    const std::string here = __FILE__;
    std::ifstream file(here.substr(0, here.find_last_of('/')) + "/../golden/hashes.json");
    std::map<std::string, std::string> hashes;
    for (std::string line; std::getline(file, line);) {
        const std::vector<std::string> quoted = split(line, '"');
        if (quoted.size() == 5)
            hashes[quoted[1]] = quoted[3];
    }
    return hashes;
}

/// The functions of the corpus: what stands before the first slash of a name.
std::vector<std::string> functions() {
    std::set<std::string> all;
    for (const auto& named : golden_hashes())
        all.insert(split(named.first, '/')[0]);
    return {all.begin(), all.end()};
}

TEST(GoldenHashes, AreThere) { ASSERT_GE(golden_hashes().size(), 400u) << "tests/golden/hashes.json"; }

/// A function and a number of threads: single tests, because under an emulator all together take an hour.
class Golden : public testing::TestWithParam<std::tuple<std::string, int>> {};

TEST_P(Golden, ResultsOnTheCorpusHaveTheCommittedBits) {
    const auto& [function, num_threads] = GetParam();
    for (const auto& [name, expected] : golden_hashes()) {
        if (split(name, '/')[0] != function)
            continue;
        char found[17];
        std::snprintf(found, sizeof found, "%016llx", static_cast<unsigned long long>(hash_of_case(name, num_threads)));
        EXPECT_EQ(found, expected) << name << " on " << isa() << " with " << num_threads << " threads";
    }
}

std::string test_name(const testing::TestParamInfo<std::tuple<std::string, int>>& info) {
    std::string name = std::get<0>(info.param) + "_" + std::to_string(std::get<1>(info.param));
    std::replace(name.begin(), name.end(), '-', '_');
    return name;
}

INSTANTIATE_TEST_SUITE_P(Threads, Golden, testing::Combine(testing::ValuesIn(functions()), testing::Values(1, 5)),
                         test_name);

}  // namespace
}  // namespace logitloss::golden
