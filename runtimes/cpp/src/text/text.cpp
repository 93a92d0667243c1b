#include "text/text.hpp"

#include <array>
#include <charconv>
#include <cmath>

#include "text/escapes.hpp"

namespace deploykit {

std::string quoted(std::string_view text) {
  const bool has_single = text.find('\'') != std::string_view::npos;
  const bool has_double = text.find('"') != std::string_view::npos;
  const char quote = has_single && !has_double ? '"' : '\'';
  std::string out(1, quote);
  for (const char32_t c : decoded(text)) {
    if (repr_escapes(c)) {
      out += python_escape(c);
      continue;
    }
    if (c == static_cast<char32_t>(quote) || c == '\\') out += '\\';
    append_utf8(out, c);
  }
  return out += quote;
}

bool is_utf8(std::string_view text) {
  for (std::size_t i = 0; i < text.size();) {
    const auto byte = [&](std::size_t at) { return at < text.size() ? static_cast<unsigned char>(text[at]) : 0U; };
    const unsigned first = byte(i);
    const std::size_t more = first < 0x80 ? 0 : first < 0xc2 ? 4 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (more == 4 || first > 0xf4) return false;
    // Not longer than needed, no half of a surrogate pair, not above U+10FFFF.
    const unsigned low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    const unsigned high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    for (std::size_t k = 1; k <= more; ++k) {
      const unsigned next = byte(i + k);
      if (next < (k == 1 ? low : 0x80U) || next > (k == 1 ? high : 0xbfU)) return false;
    }
    i += more + 1;
  }
  return true;
}

std::string number_text(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  std::array<char, 40> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::scientific).ptr;
  const std::string_view shortest(buffer.data(), static_cast<std::size_t>(end - buffer.data()));
  const std::size_t e = shortest.find('e');
  int exponent = 0;
  const char* digits_of_exponent = shortest.data() + e + 1;
  if (*digits_of_exponent == '+') ++digits_of_exponent;
  std::from_chars(digits_of_exponent, end, exponent);
  const bool negative = shortest.front() == '-';
  std::string digits;
  for (const char c : shortest.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  std::string out = negative ? "-" : "";
  // Python's rule: plain notation for exponents of -4 to 15.
  if (exponent < -4 || exponent >= 16) {
    out += digits.substr(0, 1);
    if (digits.size() > 1) out += "." + digits.substr(1);
    const std::string power = std::to_string(std::abs(exponent));
    return out + (exponent < 0 ? "e-" : "e+") + (power.size() < 2 ? "0" : "") + power;
  }
  if (exponent < 0) return out + "0." + std::string(static_cast<std::size_t>(-exponent - 1), '0') + digits;
  const auto whole = static_cast<std::size_t>(exponent) + 1;
  if (digits.size() <= whole) return out + digits + std::string(whole - digits.size(), '0') + ".0";
  return out + digits.substr(0, whole) + "." + digits.substr(whole);
}

std::string short_number(double value) {
  // Not printf: its decimal point follows the program's locale.
  std::array<char, 40> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), value, std::chars_format::general, 6).ptr;
  return std::string(buffer.data(), end);
}

std::string count_text(double count) {
  if (count < 1e15) return std::to_string(static_cast<std::int64_t>(count));
  std::array<char, 40> buffer{};
  const auto end =
      std::to_chars(buffer.data(), buffer.data() + buffer.size(), count, std::chars_format::scientific, 0).ptr;
  return std::string(buffer.data(), end);
}

std::string shape_text(const std::vector<std::int64_t>& shape) {
  std::string out;
  for (const std::int64_t n : shape) out += (out.empty() ? "" : "x") + std::to_string(n);
  return out.empty() ? "a scalar" : out;
}

std::string list_text(const std::vector<std::int64_t>& values) {
  std::string out = "[";
  for (const std::int64_t value : values) out += (out.size() > 1 ? ", " : "") + std::to_string(value);
  return out + "]";
}

std::string list_text(const std::vector<std::string>& texts) {
  std::string out = "[";
  for (const std::string& text : texts) out += (out.size() > 1 ? ", " : "") + quoted(text);
  return out + "]";
}

std::string join(const std::vector<std::string>& texts, const char* separator) {
  std::string out;
  for (std::size_t i = 0; i < texts.size(); ++i) out += (i == 0 ? "" : separator) + texts[i];
  return out;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::size_t start = 0;
  for (std::size_t stop = 0; (stop = text.find(separator, start)) != std::string_view::npos; start = stop + 1) {
    parts.emplace_back(text.substr(start, stop - start));
  }
  parts.emplace_back(text.substr(start));
  return parts;
}

std::vector<std::string> words(std::string_view text) {
  constexpr std::string_view space = " \t\n\r\f\v";
  std::vector<std::string> found;
  for (std::size_t start = text.find_first_not_of(space); start != std::string_view::npos;) {
    const std::size_t stop = text.find_first_of(space, start);
    found.emplace_back(text.substr(start, stop - start));
    start = stop == std::string_view::npos ? stop : text.find_first_not_of(space, stop);
  }
  return found;
}

}  // namespace deploykit
