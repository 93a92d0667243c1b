// Products of bytes that saturate, and how INT8 files have right answers on x86 processors without VNNI. Python has the
// same, byte for byte (ort/saturation.py, which says why).
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace deploykit {

// Whether this processor adds products of bytes in 16 bits.
bool processor_saturates();

// Make weights beyond [-64, 64] unsigned where they are multiplied with unsigned activations. Not set: the model has no
// such weights, or is not a valid ONNX file.
std::optional<std::string> widen_products(std::string_view model);

// Whether a model quantises activations to int8 and has weights beyond [-64, 64]. Throws std::invalid_argument: it is
// not a valid protobuf message.
bool keeps_signed(std::string_view model);

}  // namespace deploykit
