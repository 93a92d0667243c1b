// Python literals, in which other exporters write their metadata: {0: 'person', 1: "it's"}, [640, 640], 32, None.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace deploykit {

struct Literal {
  enum class Kind { none, boolean, number, text, list, dict };

  Kind kind = Kind::none;
  bool boolean = false;
  double number = 0;
  std::string text;            // of a text, and of a number as it was written
  std::vector<Literal> keys;   // of a dict
  std::vector<Literal> items;  // of a list or tuple, or the values of a dict

  bool is(Kind wanted) const { return kind == wanted; }
  // The value of a text key of a dict; null where there is none.
  const Literal* find(std::string_view key) const;
  // str() of a number, text or truth value; nothing for the others.
  std::optional<std::string> as_text() const;
};

// Throws ModelError, which names the key.
Literal parse_literal(const std::string& key, std::string_view source);

}  // namespace deploykit
