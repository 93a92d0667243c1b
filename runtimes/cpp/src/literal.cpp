#include "literal.hpp"

#include <charconv>

#include "deploykit/error.hpp"
#include "text.hpp"

namespace deploykit {
namespace {

struct Malformed {};

class Parser {
 public:
  explicit Parser(std::string_view source) : rest_(source) {}

  Literal parse() {
    Literal found;
    skip_space();
    if (peek() == '{') {
      found.kind = Literal::Kind::dict;
      parse_dict(found.dict);
    } else if (peek() == '[' || peek() == '(') {
      found.kind = Literal::Kind::list;
      parse_list(found.list);
    } else if (peek() == '\'' || peek() == '"') {
      found.kind = Literal::Kind::text;
      found.text = parse_text();
    } else {
      found.number = parse_number();
    }
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

  // A float such as 640.0 counts as the whole number it holds.
  std::int64_t parse_number() {
    skip_space();
    std::int64_t value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), value);
    if (error != std::errc() || value > INT32_MAX || value < INT32_MIN) throw Malformed{};
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    if (peek() == '.') {
      take();
      while (peek() == '0') take();
    }
    return value;
  }

  std::string parse_text() {
    const char quote = take();
    if (quote != '\'' && quote != '"') throw Malformed{};
    std::string text;
    for (char c = take(); c != quote; c = take()) {
      if (c != '\\') {
        text += c;
        continue;
      }
      const char escaped = take();
      static constexpr std::string_view letters = "ntr0";
      static constexpr std::string_view meanings{"\n\t\r\0", 4};
      const std::size_t place = letters.find(escaped);
      if (escaped == 'x') {
        text += parse_hexadecimal();
      } else if (place != std::string_view::npos) {
        text += meanings[place];
      } else {
        text += escaped;
      }
    }
    return text;
  }

  char parse_hexadecimal() {
    if (rest_.size() < 2) throw Malformed{};
    unsigned value = 0;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + 2, value, 16);
    if (error != std::errc() || end != rest_.data() + 2) throw Malformed{};
    rest_.remove_prefix(2);
    return static_cast<char>(value);
  }

  void parse_list(std::vector<std::int64_t>& items) {
    const char closing = take() == '[' ? ']' : ')';
    while (!take_if(closing)) {
      items.push_back(parse_number());
      if (take_if(closing)) return;
      expect(',');
    }
  }

  void parse_dict(std::map<std::int64_t, std::string>& items) {
    expect('{');
    while (!take_if('}')) {
      const std::int64_t key = parse_number();
      expect(':');
      skip_space();
      items[key] = parse_text();
      if (take_if('}')) return;
      expect(',');
    }
  }

  std::string_view rest_;
};

}  // namespace

Literal parse_literal(const std::string& key, std::string_view source) {
  try {
    return Parser(source).parse();
  } catch (const Malformed&) {
    throw ModelError("Metadata " + key + " cannot be read: " + quoted(source.substr(0, 80)) + ".");
  }
}

}  // namespace deploykit
