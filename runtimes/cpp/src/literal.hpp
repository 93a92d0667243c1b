// Python literals, in which Ultralytics writes its metadata: {0: 'person', 1: "it's"}, [640, 640], 32.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace deploykit {

// A number, a text, a list or tuple of numbers, or a dict from numbers to texts.
struct Literal {
  enum class Kind { number, text, list, dict };

  Kind kind = Kind::number;
  std::int64_t number = 0;
  std::string text;
  std::vector<std::int64_t> list;
  std::map<std::int64_t, std::string> dict;
};

// Throws ModelError, which names the key.
Literal parse_literal(const std::string& key, std::string_view source);

}  // namespace deploykit
