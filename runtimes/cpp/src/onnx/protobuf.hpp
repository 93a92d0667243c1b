// The encoding of protocol buffers (https://protobuf.dev/programming-guides/encoding/), as far as ONNX files need it.
#pragma once

#include <cstdint>
#include <stdexcept>
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

  std::string_view message() const {
    if (is_number) throw std::invalid_argument("a number is where a message belongs");
    return bytes;
  }
};

// Throws std::invalid_argument with the reason: it is not a valid protobuf message.
template <class Visit>
void each_field(std::string_view message, Visit visit) {
  for (std::size_t position = 0; position < message.size();) {
    const std::uint64_t key = read_varint(message, position);
    Field field;
    field.number = key >> 3;
    switch (key & 7) {
      case 0:
        field.is_number = true;
        field.value = read_varint(message, position);
        visit(field);
        break;
      case 2: {
        const std::uint64_t length = read_varint(message, position);
        if (field.number == 0 || length > message.size() - position) throw std::invalid_argument(kCut);
        field.bytes = message.substr(position, static_cast<std::size_t>(length));
        visit(field);
        position += static_cast<std::size_t>(length);
        break;
      }
      case 1: position += 8; break;
      case 5: position += 4; break;
      default: throw std::invalid_argument(kNoModel);
    }
  }
}

// A repeated number: one, or packed.
template <class Visit>
void each_number(const Field& field, Visit visit) {
  if (field.is_number) return visit(field.value);
  for (std::size_t position = 0; position < field.bytes.size();) visit(read_varint(field.bytes, position));
}

}  // namespace protobuf
}  // namespace deploykit
