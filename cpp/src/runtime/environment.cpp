#include "runtime/environment.hpp"

#include <cstdlib>
#include <limits>
#include <string>

#include "logitloss/error.hpp"

namespace logitloss::detail {
namespace {

std::string variable(const char* name) {
    const char* value = std::getenv(name);
    return value == nullptr ? std::string() : std::string(value);
}

value_error refusal(const char* name, const std::string& got, const std::string& expected) {
    return value_error(std::string(name) + ": got '" + got + "', expected " + expected);
}

/// A number too large for Number counts as the largest.
template <class Number>
std::optional<Number> whole_number(const char* name, Number least) {
    const std::string text = variable(name);
    if (text.empty())
        return std::nullopt;
    constexpr Number most = std::numeric_limits<Number>::max();
    Number number = 0;
    for (const char c : text) {
        if (c < '0' || c > '9')
            throw refusal(name, text, "a whole number >= " + std::to_string(least));
        const auto digit = static_cast<Number>(c - '0');
        number = number > (most - digit) / 10 ? most : static_cast<Number>(10 * number + digit);
    }
    if (number < least)
        throw refusal(name, text, "a whole number >= " + std::to_string(least));
    return number;
}

bool is_on(const char* name) {
    const std::string text = variable(name);
    if (!text.empty() && text != "0" && text != "1")
        throw refusal(name, text, "0 or 1");
    return text == "1";
}

}  // namespace

const Environment& environment() {
    static const Environment read{whole_number<int>("LOGITLOSS_NUM_THREADS", 1),
                                  whole_number<std::uint64_t>("LOGITLOSS_STREAM_BYTES", 0),
                                  is_on("LOGITLOSS_OVERSUBSCRIBE")};
    return read;
}

}  // namespace logitloss::detail
