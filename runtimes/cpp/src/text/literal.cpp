#include "text/literal.hpp"

#include <charconv>
#include <cmath>
#include <utility>

#include "deploykit/error.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

constexpr int kDeepest = 32;
constexpr double kLargest = 1e18;  // a whole number fits into 64 bits

struct Malformed {};

class Parser {
 public:
  explicit Parser(std::string_view source) : rest_(source) {}

  Literal parse() {
    Literal found = parse_value(0);
    skip_space();
    if (!rest_.empty()) throw Malformed{};
    return found;
  }

 private:
  char peek() const { return rest_.empty() ? '\0' : rest_.front(); }

  char take() {
    if (rest_.empty()) throw Malformed{};
    const char c = rest_.front();
    rest_.remove_prefix(1);
    return c;
  }

  void skip_space() {
    while (!rest_.empty() && std::string_view(" \t\r\n").find(rest_.front()) != std::string_view::npos) take();
  }

  bool take_if(char wanted) {
    skip_space();
    if (peek() != wanted) return false;
    take();
    return true;
  }

  void expect(char wanted) {
    if (!take_if(wanted)) throw Malformed{};
  }

  bool take_word(std::string_view word) {
    if (rest_.substr(0, word.size()) != word) return false;
    rest_.remove_prefix(word.size());
    return true;
  }

  Literal parse_value(int depth) {
    if (depth > kDeepest) throw Malformed{};
    skip_space();
    Literal found;
    const char first = peek();
    if (first == '{') {
      parse_dict(found, depth);
    } else if (first == '[' || first == '(') {
      parse_list(found, depth);
    } else if (first == '\'' || first == '"') {
      found.kind = Literal::Kind::text;
      found.text = parse_text();
    } else if (take_word("None")) {
      found.kind = Literal::Kind::none;
    } else if (take_word("True")) {
      found.kind = Literal::Kind::boolean;
      found.boolean = true;
    } else if (take_word("False")) {
      found.kind = Literal::Kind::boolean;
    } else {
      parse_number(found);
    }
    return found;
  }

  void parse_number(Literal& found) {
    found.kind = Literal::Kind::number;
    if (peek() == '+') take();
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), found.number);
    const std::string_view written(rest_.data(), static_cast<std::size_t>(end - rest_.data()));
    const bool digits = written.find_first_of("0123456789") != std::string_view::npos;  // no nan, no inf
    if (error != std::errc() || !digits || !(std::abs(found.number) < kLargest)) throw Malformed{};
    const bool whole = written.find_first_of(".eE") == std::string_view::npos;
    found.text = whole ? std::to_string(static_cast<std::int64_t>(found.number)) : number_text(found.number);
    rest_.remove_prefix(written.size());
  }

  std::string parse_text() {
    const char quote = take();
    std::string text;
    for (char c = take(); c != quote; c = take()) {
      if (c == '\\') {
        parse_escape(text);
      } else {
        text += c;
      }
    }
    return text;
  }

  void parse_escape(std::string& text) {
    const char escaped = take();
    static constexpr std::string_view letters = "ntr0";
    static constexpr std::string_view meanings{"\n\t\r\0", 4};
    const std::size_t place = letters.find(escaped);
    if (escaped == 'x') {
      add_utf8(text, parse_hexadecimal(2));
    } else if (escaped == 'u') {
      add_utf8(text, parse_hexadecimal(4));
    } else if (escaped == 'U') {
      add_utf8(text, parse_hexadecimal(8));
    } else if (place != std::string_view::npos) {
      text += meanings[place];
    } else {
      text += escaped;
    }
  }

  unsigned parse_hexadecimal(std::size_t digits) {
    if (rest_.size() < digits) throw Malformed{};
    unsigned value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + digits, value, 16);
    if (error != std::errc() || end != rest_.data() + digits || value > 0x10FFFF) throw Malformed{};
    rest_.remove_prefix(digits);
    return value;
  }

  static void add_utf8(std::string& text, unsigned code) {
    const auto more = [&](unsigned shift) { text += static_cast<char>(0x80U | ((code >> shift) & 0x3FU)); };
    if (code < 0x80) {
      text += static_cast<char>(code);
    } else if (code < 0x800) {
      text += static_cast<char>(0xC0U | (code >> 6U));
      more(0);
    } else if (code < 0x10000) {
      text += static_cast<char>(0xE0U | (code >> 12U));
      more(6);
      more(0);
    } else {
      text += static_cast<char>(0xF0U | (code >> 18U));
      more(12);
      more(6);
      more(0);
    }
  }

  void parse_list(Literal& found, int depth) {
    const char closing = take() == '[' ? ']' : ')';
    found.kind = Literal::Kind::list;
    bool comma = false;
    while (!take_if(closing)) {
      found.items.push_back(parse_value(depth + 1));
      comma = take_if(',');
      if (comma) continue;
      expect(closing);
      break;
    }
    // (1) is a number in brackets.
    if (closing == ')' && !comma && found.items.size() == 1) {
      Literal inner = std::move(found.items.front());
      found = std::move(inner);
    }
  }

  void parse_dict(Literal& found, int depth) {
    expect('{');
    found.kind = Literal::Kind::dict;
    while (!take_if('}')) {
      found.keys.push_back(parse_value(depth + 1));
      expect(':');
      found.items.push_back(parse_value(depth + 1));
      if (take_if('}')) return;
      expect(',');
    }
  }

  std::string_view rest_;
};

}  // namespace

const Literal* Literal::find(std::string_view key) const {
  for (std::size_t i = 0; i < keys.size(); ++i) {
    if (keys[i].is(Kind::text) && keys[i].text == key) return &items[i];
  }
  return nullptr;
}

std::optional<std::string> Literal::as_text() const {
  switch (kind) {
    case Kind::boolean: return boolean ? "True" : "False";
    case Kind::number:
    case Kind::text: return text;
    default: return std::nullopt;
  }
}

Literal parse_literal(const std::string& key, std::string_view source) {
  try {
    return Parser(source).parse();
  } catch (const Malformed&) {
    throw ModelError("Metadata " + key + " cannot be read: " + quoted(source.substr(0, 80)) + ".",
                     "The file was altered: export it again.");
  }
}

}  // namespace deploykit
