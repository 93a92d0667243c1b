// The spec of a file that another exporter wrote: inferred, and marked as such.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "deploykit/spec.hpp"
#include "deploykit/tensor.hpp"

namespace deploykit {

// What an image model takes and returns, from its shapes and Ultralytics' metadata.
// Throws ModelError: the graph does not take one image tensor [N, C, H, W].
Spec infer_spec(const std::vector<TensorInfo>& inputs, const std::vector<TensorInfo>& outputs,
                const std::map<std::string, std::string>& metadata);

}  // namespace deploykit
