// Signed activations become unsigned: a rewrite of INT8 files for ONNX Runtime on x86 processors. Python has the
// same one, byte for byte (ort/unsigned.py, which says why).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace deploykit {

// Quantise activations to uint8 around 128 where the file says int8 around 0. Not set: it has no such activations,
// or is not a valid ONNX file, which the engine will refuse itself.
std::optional<std::string> make_unsigned(std::string_view model);

}  // namespace deploykit
