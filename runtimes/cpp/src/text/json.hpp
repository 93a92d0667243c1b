// JSON as `deploykit predict --json` writes it: valid UTF-8, in which what a terminal could obey is escaped.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "deploykit/result.hpp"

namespace deploykit {

struct Placement;

class JsonWriter {
 public:
  void begin_object() { open('{'); }
  void end_object() { close('}'); }
  void begin_array() { open('['); }
  void end_array() { close(']'); }
  void key(std::string_view name);

  void value(std::string_view text);
  void value(const char* text) { value(std::string_view(text)); }
  void value(bool truth);
  void value(std::int64_t number);
  void value(double number);  // NaN and infinities become null
  void value(float number) { value(static_cast<double>(number)); }

  template <class T>
  void member(std::string_view name, const T& item) {
    key(name);
    value(item);
  }

  // What another writer wrote, indented to this one's depth.
  void raw(std::string_view written);

  const std::string& text() const { return text_; }

 private:
  void open(char bracket);
  void close(char bracket);
  void before_value();
  void quote(std::string_view text);
  void new_line();

  std::string text_;
  std::size_t depth_ = 0;
  bool first_ = true;       // nothing is in the innermost object or array yet
  bool after_key_ = false;  // the next value follows its key
};

// A text as json.dumps() writes it: with quotes, and only ASCII characters.
std::string json_ascii(std::string_view text);

// The keys of the result's object, without its braces.
void write_members(JsonWriter& json, const Result& result);

// The object of Python's Placement.to_dict().
void write_placement(JsonWriter& json, const Placement& placement);

}  // namespace deploykit
