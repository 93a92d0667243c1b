// Tensors that are stored in an ONNX file: their shapes, and the bytes of those of 8 bits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace deploykit {

constexpr std::uint64_t kUint8 = 2;
constexpr std::uint64_t kInt8 = 3;

// A text of a message. Throws std::invalid_argument: it is not UTF-8.
std::string_view checked_text(std::string_view text);

struct Stored {
  std::size_t place = 0;     // which field of its graph it is
  std::string_view encoded;  // the message
  std::string_view name;
  std::vector<std::uint64_t> shape;
  std::uint64_t type = 0;  // a number of ONNX
  std::string_view raw;    // its values as bytes, where they are stored so
  std::string listed;      // the lowest bytes of its values, where they are stored as numbers
  bool beside = false;     // another file holds them

  // Number of values; as many as fit where there are more.
  std::uint64_t size() const;
  // The values of a tensor of int8 or uint8; empty where they are not all here.
  std::string_view bytes() const;
};

// Throws std::invalid_argument: it is not a valid protobuf message.
Stored read_stored(std::size_t place, std::string_view encoded);

// The message of a tensor of these values.
std::string encode_stored(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint64_t type,
                          std::string_view raw);

}  // namespace deploykit
