// The rule behind printable(): which characters are escaped, by what. The same as text/printable.py.
#pragma once

#include <string>
#include <string_view>

namespace deploykit {

// How a character that must not be printed is written.
using Escape = std::string (*)(char32_t);

// \x1b, \u202e, \U000e0001, and \n, \r, \t
std::string python_escape(char32_t character);
// The characters of UTF-8; a byte that belongs to none stands as Python's surrogateescape has it, 0xdc00 + byte.
std::u32string decoded(std::string_view text);
// A character that is not a surrogate.
void append_utf8(std::string& out, char32_t character);
// Whether repr() escapes it: what is escaped everywhere, joiners, white space other than a space, and signs that
// stand around numbers.
bool repr_escapes(char32_t character);
// The text as valid UTF-8, with every character that must not be printed escaped.
std::string escaped(std::string_view text, Escape escape);
std::u32string escaped(std::u32string_view text, Escape escape);

}  // namespace deploykit
