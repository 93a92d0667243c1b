#include "deploykit/printable.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>

#include "text/escapes.hpp"

namespace deploykit {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Control characters, what is never seen (soft hyphen, fillers, zero-width space, tags), what turns the direction
// of writing, line and paragraph separators, surrogates, private use and noncharacters. In order.
constexpr std::array<Range, 28> kHidden{
    {{0x00, 0x1f},       {0x7f, 0x9f},       {0xad, 0xad},       {0x34f, 0x34f},     {0x61c, 0x61c},
     {0x115f, 0x1160},   {0x17b4, 0x17b5},   {0x180e, 0x180e},   {0x200b, 0x200b},   {0x200e, 0x200f},
     {0x2028, 0x202e},   {0x2060, 0x206f},   {0x3164, 0x3164},   {0xd800, 0xf8ff},   {0xfdd0, 0xfdef},
     {0xfeff, 0xfeff},   {0xffa0, 0xffa0},   {0xfff0, 0xfffb},   {0xfffe, 0xffff},   {0x1bca0, 0x1bca3},
     {0x1d173, 0x1d17a}, {0x1fffe, 0x1ffff}, {0x2fffe, 0x2ffff}, {0x3fffe, 0x3ffff}, {0x4fffe, 0x4ffff},
     {0x5fffe, 0x5ffff}, {0xe0000, 0xe00ff}, {0xe01f0, 0x10ffff}}};
constexpr std::size_t kLongestEscape = 12;

bool in(char32_t c, char32_t first, char32_t last) { return first <= c && c <= last; }

bool hidden(char32_t c) {
  if (c >= 0x10000 && (c & 0xfffe) == 0xfffe) return true;
  const auto* const range =
      std::lower_bound(kHidden.begin(), kHidden.end(), c, [](const Range& r, char32_t code) { return r.last < code; });
  return range != kHidden.end() && range->first <= c;
}

// Invisible too, but at home between letters that are not ASCII.
bool joiner(char32_t c) { return c == 0x200c || c == 0x200d; }

// Selects the form of the sign before.
bool selector(char32_t c) {
  return in(c, 0x180b, 0x180d) || c == 0x180f || in(c, 0xfe00, 0xfe0f) || in(c, 0xe0100, 0xe01ef);
}

bool suspect(char32_t c) { return hidden(c) || joiner(c) || selector(c); }

// How many characters the flag of a part of a country has at a place; 0: there is none.
std::size_t flag_at(std::u32string_view text, std::size_t at) {
  if (text[at] != 0x1f3f4) return 0;
  std::size_t end = at + 1;
  while (end < text.size() && (in(text[end], 0xe0030, 0xe0039) || in(text[end], 0xe0061, 0xe007a))) ++end;
  const std::size_t tags = end - at - 1;
  return in(static_cast<char32_t>(tags), 3, 6) && end < text.size() && text[end] == 0xe007f ? tags + 2 : 0;
}

// The end of signs that are seen, with what selects the form of the last one; where there are none, their start.
std::size_t seen_until(std::u32string_view text, std::size_t at) {
  const std::size_t start = at;
  while (at < text.size()) {
    const std::size_t flag = flag_at(text, at);
    if (flag == 0 && (text[at] < 0x80 || suspect(text[at]))) break;
    at += flag == 0 ? 1 : flag;
  }
  return at > start && at < text.size() && selector(text[at]) ? at + 1 : at;
}

// The end of what stays at a place although characters in it are suspect; where nothing does, the place itself.
std::size_t kept_until(std::u32string_view text, std::size_t at) {
  const char32_t c = text[at];
  const bool on_key = in(c, '0', '9') || c == '#' || c == '*';
  if (on_key && at + 2 < text.size() && text[at + 1] == 0xfe0f && text[at + 2] == 0x20e3) return at + 3;
  std::size_t end = seen_until(text, at);
  while (end > at && end + 1 < text.size() && joiner(text[end])) {
    const std::size_t next = seen_until(text, end + 1);
    if (next == end + 1) break;
    end = next;
  }
  return end;
}

char32_t next(std::string_view text, std::size_t& at) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned first = byte(at++);
  if (first < 0x80) return first;
  const std::size_t more = first >= 0xf0 ? 3 : first >= 0xe0 ? 2 : 1;
  constexpr std::array<char32_t, 4> least{0, 0x80, 0x800, 0x10000};
  char32_t code = first & (0x3fU >> more);
  std::size_t end = at;
  for (; end < std::min(at + more, text.size()) && (byte(end) & 0xc0U) == 0x80; ++end) {
    code = code << 6 | (byte(end) & 0x3fU);
  }
  const bool valid = in(first, 0xc2, 0xf4) && end == at + more && code >= least[more] && code <= 0x10ffff &&
                     !in(code, 0xd800, 0xdfff);
  if (!valid) return 0xdc00 + first;
  at = end;
  return code;
}

std::string utf8(std::u32string_view text) {
  std::string out;
  for (const char32_t c : text) append_utf8(out, c);
  return out;
}

// 1234567: "1,234,567"
std::string grouped(std::size_t number) {
  std::string digits = std::to_string(number);
  for (std::size_t at = digits.size(); at > 3; at -= 3) digits.insert(at - 3, ",");
  return digits;
}

}  // namespace

std::string python_escape(char32_t character) {
  if (character == '\n') return "\\n";
  if (character == '\r') return "\\r";
  if (character == '\t') return "\\t";
  std::array<char, kLongestEscape> text{};
  const char* const form = character < 0x100 ? "\\x%02x" : character < 0x10000 ? "\\u%04x" : "\\U%08x";
  std::snprintf(text.data(), text.size(), form, static_cast<unsigned>(character));
  return text.data();
}

std::u32string decoded(std::string_view text) {
  std::u32string out;
  for (std::size_t at = 0; at < text.size();) out += next(text, at);
  return out;
}

void append_utf8(std::string& out, char32_t character) {
  const auto add = [&](unsigned byte) { out += static_cast<char>(byte); };
  const unsigned code = character;
  if (code < 0x80) return add(code);
  if (code >= 0x10000) {
    add(0xf0U | code >> 18);
    add(0x80U | (code >> 12 & 0x3fU));
  } else if (code >= 0x800) {
    add(0xe0U | code >> 12);
  }
  add(code < 0x800 ? 0xc0U | code >> 6 : 0x80U | (code >> 6 & 0x3fU));
  add(0x80U | (code & 0x3fU));
}

bool repr_escapes(char32_t c) {
  const bool space = c == 0xa0 || c == 0x1680 || in(c, 0x2000, 0x200a) || c == 0x202f || c == 0x205f || c == 0x3000;
  const bool sign_of_numbers = in(c, 0x600, 0x605) || c == 0x6dd || c == 0x70f || in(c, 0x890, 0x891) || c == 0x8e2 ||
                               c == 0x110bd || c == 0x110cd || in(c, 0x13430, 0x1343f);
  return hidden(c) || joiner(c) || space || sign_of_numbers;
}

std::u32string escaped(std::u32string_view text, Escape escape) {
  std::u32string out;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = kept_until(text, at);
    if (end == at && suspect(text[at])) {
      for (const char c : escape(text[at])) out += static_cast<char32_t>(c);
      ++at;
    } else {
      out.append(text.substr(at, std::max<std::size_t>(end - at, 1)));
      at = std::max(end, at + 1);
    }
  }
  return out;
}

std::string escaped(std::string_view text, Escape escape) {
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c >= 0x20 && c < 0x7f; });
  return plain ? std::string(text) : utf8(escaped(decoded(text), escape));
}

std::string printable(std::string_view text, std::size_t most) {
  std::size_t length = 0;
  for (std::size_t at = 0; at < text.size(); ++length) next(text, at);
  std::u32string head;
  std::u32string tail;
  if (length <= most) {
    head = tail = escaped(decoded(text), python_escape);
    if (head.size() <= most) return utf8(head);
  } else {
    std::size_t place = 0;
    for (std::size_t at = 0; at < text.size(); ++place) {
      const char32_t character = next(text, at);
      if (place < most) head += character;
      if (place >= length - most) tail += character;
    }
    head = escaped(head, python_escape);
    tail = escaped(tail, python_escape);
  }
  const std::string told = " ... (" + grouped(length) + " characters) ... ";
  const std::size_t room = most > told.size() ? most - told.size() : 0;
  const std::size_t last = room / 4;
  head.resize(room - last);
  tail.erase(0, tail.size() - last);
  // What a cut leaves of a sequence.
  while (!head.empty() && suspect(head.back())) head.pop_back();
  while (!tail.empty() && suspect(tail.front())) tail.erase(0, 1);
  return utf8(head) + told + utf8(tail);
}

}  // namespace deploykit
