// The encoding of protocol buffers (https://protobuf.dev/programming-guides/encoding/), as far as ONNX files need it.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

namespace deploykit {
namespace protobuf {

constexpr const char* kNoModel = "it is not encoded as one";
constexpr const char* kCut = "it ends in the middle";

inline std::uint64_t read_varint(std::string_view message, std::size_t& position) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64; shift += 7) {
    if (position >= message.size()) throw std::invalid_argument(kCut);
    const auto byte = static_cast<std::uint8_t>(message[position++]);
    value |= std::uint64_t{byte & 0x7FU} << shift;
    if (byte < 0x80) return value;
  }
  throw std::invalid_argument(kNoModel);
}

// A field of a message: a number, or the bytes of a text or of another message.
struct Field {
  std::uint64_t number = 0;
  std::uint64_t value = 0;
  std::string_view bytes{};
  bool is_number = false;
  bool is_fixed = false;

  std::string_view message() const {
    if (is_number) throw std::invalid_argument("a number is where a message belongs");
    return bytes;
  }
};

// Every field with the bytes that it takes; those of fixed width too, as fields without a value.
// Throws std::invalid_argument with the reason: it is not a valid protobuf message.
template <class Visit>
void each_piece(std::string_view message, Visit visit) {
  for (std::size_t position = 0; position < message.size();) {
    const std::size_t start = position;
    const std::uint64_t key = read_varint(message, position);
    Field field;
    field.number = key >> 3;
    switch (key & 7) {
      case 0:
        field.is_number = true;
        field.value = read_varint(message, position);
        break;
      case 2: {
        const std::uint64_t length = read_varint(message, position);
        if (field.number == 0 || length > message.size() - position) throw std::invalid_argument(kCut);
        field.bytes = message.substr(position, static_cast<std::size_t>(length));
        position += static_cast<std::size_t>(length);
        break;
      }
      case 1:
        field.is_fixed = true;
        position += 8;
        break;
      case 5:
        field.is_fixed = true;
        position += 4;
        break;
      default: throw std::invalid_argument(kNoModel);
    }
    visit(field, message.substr(start, position - start));
  }
}

// Every field but those of fixed width. Throws std::invalid_argument as each_piece.
template <class Visit>
void each_field(std::string_view message, Visit visit) {
  each_piece(message, [&visit](const Field& field, std::string_view) {
    if (!field.is_fixed) visit(field);
  });
}

// A repeated number: one, or packed.
template <class Visit>
void each_number(const Field& field, Visit visit) {
  if (field.is_number) return visit(field.value);
  for (std::size_t position = 0; position < field.bytes.size();) visit(read_varint(field.bytes, position));
}

inline void append_varint(std::string& out, std::uint64_t value) {
  for (; value > 0x7F; value >>= 7) out += static_cast<char>((value & 0x7F) | 0x80);
  out += static_cast<char>(value);
}

// A field that holds a number.
inline void append_number(std::string& out, std::uint64_t number, std::uint64_t value) {
  append_varint(out, number << 3);
  append_varint(out, value);
}

// A field that holds a message, a text or bytes.
inline void append_bytes(std::string& out, std::uint64_t number, std::string_view bytes) {
  append_varint(out, number << 3 | 2);
  append_varint(out, bytes.size());
  out += bytes;
}

}  // namespace protobuf
}  // namespace deploykit
