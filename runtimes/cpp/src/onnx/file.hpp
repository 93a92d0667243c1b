// What an ONNX file says about itself, read without an engine.
//
// Only the small fields are read; weights are skipped over in a memory map. Field numbers are those of
// onnx.proto (https://github.com/onnx/onnx/blob/main/onnx/onnx.proto), the encoding is that of protocol
// buffers (https://protobuf.dev/programming-guides/encoding/).
#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "deploykit/spec.hpp"
#include "deploykit/tensor.hpp"

namespace deploykit {

struct OnnxFile {
  std::map<std::string, std::string> metadata;
  // Of the graph, without inputs that have a stored value.
  std::vector<TensorInfo> inputs;
  std::vector<TensorInfo> outputs;
  // Stored values by their type, in numpy's names, of tensors with two axes or more: what products take.
  std::vector<std::pair<std::string, double>> weights;
  // Files with weights beside the model, as it names them.
  std::vector<std::string> external;
  // The operator that computes each output, seen through those that leave its values as they are.
  std::map<std::string, std::string> makers;
};

// Throws ModelError: not an ONNX model. Throws LimitError: it asks for more than contract/limits.hpp allows.
OnnxFile read_onnx(const std::string& path);
// The same of the bytes of a file. Throws std::invalid_argument with the reason, and LimitError.
OnnxFile parse_onnx(std::string_view bytes);

// The contract of a file, inferred where another exporter wrote it; `declared` is Options::outputs, `makers` as in
// OnnxFile.
// Throws ModelError; OptionError where what is declared does not fit.
Spec spec_of(const std::vector<TensorInfo>& inputs, const std::vector<TensorInfo>& outputs,
             const std::map<std::string, std::string>& metadata, const std::string& declared = "",
             const std::map<std::string, std::string>& makers = {});

}  // namespace deploykit
