#include "selftest/keys.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>

#include "deploykit/error.hpp"
#include "text/text.hpp"

namespace deploykit::selftest {
namespace {

constexpr std::size_t kValues = 1 << 16;  // most values that are kept of one output
constexpr std::size_t kShown = 200;       // most characters of a value that an error shows
constexpr const char* kHint = "The file was altered: export the checkpoint again.";

bool is_digit(char c) { return c >= '0' && c <= '9'; }

// Digits at the start, of which there must be 1 to `most`; they are taken off.
bool take_digits(std::string_view& text, std::size_t most) {
  std::size_t count = 0;
  while (count < text.size() && is_digit(text[count])) ++count;
  text.remove_prefix(count);
  return count > 0 && count <= most;
}

bool take(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// -?[0-9]{1,40}(\.[0-9]{1,40})?(e[+-]?[0-9]{1,3})?
std::optional<double> number(std::string_view word) {
  std::string_view rest = word;
  take(rest, "-");
  if (!take_digits(rest, 40)) return std::nullopt;
  if (take(rest, ".") && !take_digits(rest, 40)) return std::nullopt;
  bool small = false;
  if (take(rest, "e")) {
    small = !rest.empty() && rest.front() == '-';
    take(rest, "+-");
    if (!take_digits(rest, 3)) return std::nullopt;
  }
  if (!rest.empty()) return std::nullopt;
  double value = 0;
  const auto error = std::from_chars(word.data(), word.data() + word.size(), value).ec;
  if (error == std::errc::result_out_of_range) value = small ? 0 : std::numeric_limits<double>::infinity();
  return value;
}

bool is_precision(std::string_view name) {
  const auto known = [](char c) { return is_digit(c) || (c >= 'a' && c <= 'z'); };
  return !name.empty() && name.size() <= 16 && std::all_of(name.begin(), name.end(), known);
}

// The first characters of a text in UTF-8.
std::string_view beginning(std::string_view text, std::size_t characters) {
  std::size_t at = 0;
  for (; at < text.size(); ++at) {
    if ((static_cast<unsigned char>(text[at]) & 0xC0U) != 0x80U && characters-- == 0) break;
  }
  return text.substr(0, at);
}

constexpr std::uint32_t kNotBase64 = 64;

std::uint32_t base64_value(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<std::uint32_t>(c - 'A');
  if (c >= 'a' && c <= 'z') return static_cast<std::uint32_t>(c - 'a' + 26);
  if (is_digit(c)) return static_cast<std::uint32_t>(c - '0' + 52);
  return c == '+' ? 62 : c == '/' ? 63 : kNotBase64;
}

}  // namespace

std::optional<std::int64_t> whole_number(std::string_view word) {
  std::string_view rest = word;
  take(rest, "-");
  if (!take_digits(rest, 19) || !rest.empty()) return std::nullopt;
  std::int64_t value = 0;
  const auto error = std::from_chars(word.data(), word.data() + word.size(), value).ec;
  return error == std::errc() ? value : std::numeric_limits<std::int64_t>::min();
}

const std::string& Keys::text(const std::string& key) const {
  const auto found = metadata_.find(std::string(kGolden) + key);
  if (found == metadata_.end()) {
    throw ModelError("The model's golden cases lack " + std::string(kGolden) + key + ".", kHint);
  }
  return found->second;
}

std::vector<std::int64_t> Keys::integers(const std::string& key, std::size_t count, std::int64_t least,
                                         std::int64_t most) const {
  std::vector<std::int64_t> numbers;
  for (const std::string& word : words(text(key))) {
    const auto value = whole_number(word);
    if (value && *value >= least && *value <= most && numbers.size() < count) {
      numbers.push_back(*value);
      continue;
    }
    numbers.clear();
    break;
  }
  if (numbers.size() != count) {
    refuse(key, std::to_string(count) + " whole numbers in " + std::to_string(least) + ".." + std::to_string(most));
  }
  return numbers;
}

std::vector<float> Keys::floats(const std::string& key) const {
  const std::vector<std::uint8_t> content = decoded(text(key), key);
  if (content.size() % 4 != 0 || content.size() / 4 > kValues) {
    refuse(key, "float32 values, at most " + std::to_string(kValues), false);
  }
  std::vector<float> values(content.size() / 4);
  for (std::size_t i = 0; i < values.size(); ++i) {
    std::uint32_t bits = 0;
    for (std::size_t byte = 0; byte < 4; ++byte) {
      bits |= static_cast<std::uint32_t>(content[4 * i + byte]) << (8 * byte);  // little-endian
    }
    std::memcpy(&values[i], &bits, sizeof bits);
  }
  return values;
}

std::vector<std::uint8_t> Keys::decoded(std::string_view text, const std::string& key) const {
  if (text.size() % 4 != 0) refuse(key, "base64", false);
  std::size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  std::vector<std::uint8_t> bytes;
  bytes.reserve(text.size() / 4 * 3);
  for (std::size_t start = 0; start < text.size(); start += 4) {
    std::uint32_t bits = 0;
    for (std::size_t i = start; i < start + 4; ++i) {
      const bool padded = i >= text.size() - padding;
      const std::uint32_t value = padded ? 0 : base64_value(text[i]);
      if (value == kNotBase64) refuse(key, "base64", false);
      bits = bits << 6 | value;
    }
    for (const int shift : {16, 8, 0}) bytes.push_back(static_cast<std::uint8_t>(bits >> shift));
  }
  bytes.resize(bytes.size() - padding);
  return bytes;
}

std::map<std::string, std::vector<double>> Keys::tolerances(const std::string& prefix, std::size_t count) const {
  std::map<std::string, std::vector<double>> found;
  const std::string start = std::string(kGolden) + prefix + "tolerance.";
  for (auto entry = metadata_.lower_bound(start); entry != metadata_.end(); ++entry) {
    const auto& [name, value] = *entry;
    if (name.compare(0, start.size(), start) != 0) break;
    const std::string key = name.substr(kGolden.size());
    const std::string precision = name.substr(start.size());
    std::vector<double> numbers;
    const auto items = words(value);
    for (const std::string& word : items) {
      if (const auto read = number(word)) numbers.push_back(*read);
    }
    if (numbers.size() != count || items.size() != count || !is_precision(precision)) {
      refuse(key, std::to_string(count) + " numbers");
    }
    for (const double each : numbers) {
      if (!std::isfinite(each) || each < 0) refuse(key, "finite numbers from 0");
    }
    found[precision] = numbers;
  }
  return found;
}

void Keys::refuse(const std::string& key, const std::string& wanted, bool show) const {
  std::string found;
  if (show) {
    const auto entry = metadata_.find(std::string(kGolden) + key);
    const std::string value = entry == metadata_.end() ? "" : entry->second;
    found = ", found " + quoted(beginning(value, kShown));
  }
  throw ModelError("Metadata " + std::string(kGolden) + key + " wants " + wanted + found + ".", kHint);
}

}  // namespace deploykit::selftest
