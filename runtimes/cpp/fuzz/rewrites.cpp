// Hostile INT8 graphs: any wiring of quantised tensors, constants and moves is rewritten or left, within a bound of
// its size.

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

#include "onnx/edits/stored.hpp"
#include "onnx/protobuf.hpp"
#include "ort/rewrites/saturation.hpp"
#include "ort/rewrites/unsigned.hpp"

namespace {

using deploykit::protobuf::append_bytes;
using deploykit::protobuf::append_number;

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::size_t number(std::size_t below) { return size_ == 0 ? 0 : (--size_, *data_++ % below); }
  bool empty() const { return size_ == 0; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

constexpr std::array<const char*, 14> kKinds{"QuantizeLinear", "DequantizeLinear", "QuantizeLinear", "DequantizeLinear",
                                             "Concat",         "Split",            "Resize",         "Where",
                                             "Reshape",        "Conv",             "MatMul",         "Add",
                                             "If",             "Cast"};
constexpr std::array<const char*, 12> kNames{"a", "b", "c", "d", "e", "f", "s", "z", "w", "u", "", "v"};
constexpr std::array<std::uint64_t, 5> kTypes{1, 2, 3, 3, 7};

std::string node(Bytes& bytes) {
  std::string message;
  for (std::size_t i = bytes.number(5); i > 0; --i) append_bytes(message, 1, kNames[bytes.number(kNames.size())]);
  for (std::size_t i = bytes.number(3); i > 0; --i) append_bytes(message, 2, kNames[bytes.number(kNames.size())]);
  append_bytes(message, 4, kKinds[bytes.number(kKinds.size())]);
  if (bytes.number(8) == 0) append_bytes(message, 7, bytes.number(2) == 0 ? "other" : "ai.onnx");
  if (bytes.number(4) == 0) {
    constexpr std::array<const char*, 4> names{"output_dtype", "block_size", "mode", "body"};
    const std::size_t which = bytes.number(names.size());
    std::string attribute;
    append_bytes(attribute, 1, names[which]);
    if (which < 2) append_number(attribute, 3, bytes.number(5));
    if (which == 2) append_bytes(attribute, 4, bytes.number(2) == 0 ? "linear" : "nearest");
    std::string inner;
    if (which == 3) append_bytes(inner, 1, node(bytes));
    if (which == 3) append_bytes(attribute, 6, inner);
    append_bytes(message, 5, attribute);
  }
  return message;
}

std::string tensor(Bytes& bytes) {
  std::string message;
  std::size_t count = 1;
  for (std::size_t axes = bytes.number(4); axes > 0; --axes) {
    const std::size_t side = bytes.number(16) == 0 ? std::size_t{1} << 40 : bytes.number(5);
    append_number(message, 1, side);
    count *= side;
  }
  append_number(message, 2, kTypes[bytes.number(kTypes.size())]);
  append_bytes(message, 8, kNames[bytes.number(kNames.size())]);
  std::string values;
  for (std::size_t i = 0; i < count && i < 64; ++i) values += static_cast<char>(bytes.number(4) == 0 ? bytes.number(256) : 0);
  append_bytes(message, bytes.number(3) == 0 ? 5 : 9, values);
  if (bytes.number(16) == 0) append_number(message, 14, 1);
  return message;
}

void check(const std::optional<std::string>& found, std::string_view model) {
  if (found && found->size() > 2 * model.size() + 1000) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  std::string graph;
  while (!bytes.empty()) {
    switch (bytes.number(8)) {
      case 0: append_bytes(graph, 5, tensor(bytes)); break;
      case 1: {
        std::string port;
        append_bytes(port, 1, kNames[bytes.number(kNames.size())]);
        append_bytes(graph, 11 + bytes.number(3), port);
        break;
      }
      default: append_bytes(graph, 1, node(bytes));
    }
  }
  std::string model;
  append_bytes(model, 7, graph);
  const auto found = deploykit::make_unsigned(model);
  check(found, model);
  const std::string changed = found.value_or(model);
  const auto wide = deploykit::widen_products(changed);
  check(wide, changed);
  try {
    deploykit::keeps_signed(wide.value_or(changed));
  } catch (const std::invalid_argument&) {
    return 0;  // refused
  }
  return 0;
}
