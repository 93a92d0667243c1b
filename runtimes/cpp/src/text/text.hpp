// Values in words, as Python writes them, so that both runtimes tell the same errors.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace deploykit {

// repr() of a text: 'float32'
std::string quoted(std::string_view text);
bool is_utf8(std::string_view text);
// repr() of a float: 1e-05, 0.25, 3.0
std::string number_text(double value);
// format(value, "g"): 0.25, 0.7, 1e-05
std::string short_number(double value);
// A count that may be far too large: 17179869184, or 2e+25 where the digits say nothing
std::string count_text(double count);
// "1x3x224x224", or "a scalar"
std::string shape_text(const std::vector<std::int64_t>& shape);
// "[1, 3, 224, 224]"
std::string list_text(const std::vector<std::int64_t>& values);
// "['a', 'b']"
std::string list_text(const std::vector<std::string>& texts);
std::string join(const std::vector<std::string>& texts, const char* separator);
std::vector<std::string> split(std::string_view text, char separator);
// At any white space; empty items do not exist.
std::vector<std::string> words(std::string_view text);

}  // namespace deploykit
