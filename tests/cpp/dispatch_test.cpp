// The choice of the instruction set: the default, LOGITLOSS_ISA, and names that do not exist.
#include "runtime/dispatch.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "kernels/kernel_table.hpp"
#include "logitloss/error.hpp"
#include "logitloss/runtime.hpp"
#include "public_functions.hpp"

namespace logitloss {
namespace {

TEST(Dispatch, ScalarIsAlwaysThereAndLast) {
    ASSERT_FALSE(available_isas().empty());
    EXPECT_EQ(available_isas().back(), "scalar");
}

TEST(Dispatch, NamesAreFoundAndUnique) {
    std::vector<std::string> names = available_isas();
    for (const std::string& name : names) {
        const detail::KernelTable* table = detail::kernels_named(name.c_str());
        ASSERT_NE(table, nullptr) << name;
        EXPECT_EQ(table->name, name);
        EXPECT_TRUE(table->supported());
    }
    std::sort(names.begin(), names.end());
    EXPECT_EQ(std::adjacent_find(names.begin(), names.end()), names.end());
}

TEST(Dispatch, UnknownNamesGiveNoTable) {
    for (const char* name : {"", "AVX2", "scalar ", "avx1024", "sse"})
        EXPECT_EQ(detail::kernels_named(name), nullptr) << name;
}

TEST(Dispatch, TheChosenTableIsTheForcedOneOrTheBest) {
    const char* forced = std::getenv("LOGITLOSS_ISA");
    const std::string expected = forced != nullptr && *forced != '\0' ? forced : available_isas().front();
    EXPECT_EQ(isa(), expected);
    EXPECT_EQ(&detail::kernels(), detail::kernels_named(expected.c_str()));
}

// The choice is made once per process: each of these runs in a process of its own.
class DispatchDeathTest : public testing::Test {
protected:
    void SetUp() override { testing::FLAGS_gtest_death_test_style = "threadsafe"; }
};

TEST_F(DispatchDeathTest, VariableForcesEachInstructionSet) {
    for (const std::string& name : available_isas())
        EXPECT_EXIT(
            {
                setenv("LOGITLOSS_ISA", name.c_str(), 1);
                std::_Exit(isa() == name && detail::kernels().name == name ? 0 : 1);
            },
            testing::ExitedWithCode(0), "")
            << name;
}

TEST_F(DispatchDeathTest, EmptyVariableIsNoVariable) {
    EXPECT_EXIT(
        {
            setenv("LOGITLOSS_ISA", "", 1);
            std::_Exit(isa() == available_isas().front() ? 0 : 1);
        },
        testing::ExitedWithCode(0), "");
}

TEST_F(DispatchDeathTest, UnknownNameIsAnErrorNamingTheChoices) {
    EXPECT_EXIT(
        {
            setenv("LOGITLOSS_ISA", "avx1024", 1);
            try {
                isa();
            } catch (const value_error& error) {
                std::fputs(error.what(), stderr);
                std::_Exit(0);
            }
            std::_Exit(1);
        },
        testing::ExitedWithCode(0), "LOGITLOSS_ISA: got 'avx1024'.*scalar");
}

/// Ends the process: with status 0 if `call`, the first one of the process, refuses what a variable says.
[[noreturn]] void call_with_variable(const char* name, const char* value, public_functions::Call call) {
    setenv(name, value, 1);
    try {
        call();
    } catch (const value_error& error) {
        std::fputs(error.what(), stderr);
        std::_Exit(0);
    }
    std::_Exit(1);
}

TEST_F(DispatchDeathTest, ABadVariableIsAnErrorOfAnyFunctionThatIsCalledFirst) {
    unsetenv("LOGITLOSS_ISA");  // so that each of them is the only bad one
    for (const auto& function : public_functions::all()) {
        EXPECT_EXIT(call_with_variable("LOGITLOSS_ISA", "avx1024", function.second), testing::ExitedWithCode(0),
                    "LOGITLOSS_ISA: got 'avx1024'.*scalar")
            << function.first;
        EXPECT_EXIT(call_with_variable("LOGITLOSS_STREAM_BYTES", "many", function.second), testing::ExitedWithCode(0),
                    "LOGITLOSS_STREAM_BYTES: got 'many'")
            << function.first;
    }
}

/// Names of the functions that the public headers declare, but those whose bodies are there.
std::set<std::string> declared_functions() {
    const std::string here = __FILE__;
    const std::string headers = here.substr(0, here.find_last_of('/')) + "/../../cpp/include/logitloss";
    const std::regex declaration(
        R"(^(?!constexpr|using|struct|class|enum|namespace)[a-zA-Z_][\w:<>*& ]* \*?(\w+)\(.*)");
    std::set<std::string> names;
    for (const auto& header : std::filesystem::directory_iterator(headers)) {
        std::ifstream file(header.path());
        for (std::string line; std::getline(file, line);) {
            std::smatch found;
            if (std::regex_match(line, found, declaration))
                names.insert(found[1]);
        }
    }
    return names;
}

TEST(PublicFunctions, AllThatComputeAreInTheTable) {
    std::set<std::string> expected = {"isa",
                                      "available_isas",
                                      "set_num_threads",
                                      "get_num_threads",  // compute nothing
                                      "compiler",
                                      "version",
                                      "name",
                                      "threading_backend",
                                      "take_thread_refusal"};
    for (const auto& function : public_functions::all())
        expected.insert(function.first);
    EXPECT_EQ(declared_functions(), expected);
}

TEST(BuildInfo, SaysWhatTheBuildSystemSaid) {
    const std::string digits = version();
    EXPECT_EQ(std::count(digits.begin(), digits.end(), '.'), 2);
    EXPECT_NE(std::string(compiler()).find(' '), std::string::npos);
}

}  // namespace
}  // namespace logitloss
