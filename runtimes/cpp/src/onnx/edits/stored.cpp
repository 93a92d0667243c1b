#include "onnx/edits/stored.hpp"

#include <limits>
#include <stdexcept>

#include "onnx/protobuf.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

enum TensorField : std::uint64_t { kDims = 1, kType = 2, kInt32s = 5, kName = 8, kRaw = 9, kPlace = 14 };

}  // namespace

std::string_view checked_text(std::string_view text) {
  if (!is_utf8(text)) throw std::invalid_argument("a text in it is not UTF-8");
  return text;
}

std::uint64_t Stored::size() const {
  std::uint64_t total = 1;
  for (const std::uint64_t n : shape) {
    if (n == 0) return 0;
  }
  for (const std::uint64_t n : shape) {
    if (total > std::numeric_limits<std::uint64_t>::max() / n) return std::numeric_limits<std::uint64_t>::max();
    total *= n;
  }
  return total;
}

std::string_view Stored::bytes() const {
  if (beside || (type != kInt8 && type != kUint8)) return {};
  const std::string_view found = raw.empty() ? std::string_view(listed) : raw;
  return found.size() == size() ? found : std::string_view();
}

Stored read_stored(std::size_t place, std::string_view encoded) {
  Stored found;
  found.place = place;
  found.encoded = encoded;
  std::vector<protobuf::Field> numbers;
  protobuf::each_field(encoded, [&](const protobuf::Field& field) {
    if (field.number == kDims) {
      protobuf::each_number(field, [&](std::uint64_t n) { found.shape.push_back(n); });
    } else if (field.number == kInt32s) {
      numbers.push_back(field);
    } else if (field.number == kName) {
      found.name = checked_text(field.bytes);
    } else if (!field.is_number) {
      if (field.number == kRaw) found.raw = field.bytes;
    } else if (field.number == kType) {
      found.type = field.value;
    } else if (field.number == kPlace) {
      found.beside = field.value == 1;
    }
  });
  if (found.beside || (found.type != kInt8 && found.type != kUint8) || !found.raw.empty()) return found;
  for (const protobuf::Field& field : numbers) {
    protobuf::each_number(field, [&](std::uint64_t n) { found.listed += static_cast<char>(n & 0xFF); });
  }
  return found;
}

std::string encode_stored(std::string_view name, const std::vector<std::uint64_t>& shape, std::uint64_t type,
                          std::string_view raw) {
  std::string out;
  out.reserve(raw.size() + name.size() + 64);
  for (const std::uint64_t n : shape) protobuf::append_number(out, kDims, n);
  protobuf::append_number(out, kType, type);
  protobuf::append_bytes(out, kName, name);
  protobuf::append_bytes(out, kRaw, raw);
  return out;
}

}  // namespace deploykit
