// The spec of a file that another exporter wrote: told by its metadata, declared by the caller, or inferred.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "deploykit/spec.hpp"
#include "deploykit/tensor.hpp"

namespace deploykit {

// What an image model takes and returns. What the metadata says wins over shapes, and what the caller declares
// over both; `declared` is what --outputs takes, empty for nothing; `makers` are the operators that compute the
// outputs, where they are known. What neither tells is only taken where one
// reading fits, and listed in `assumed`; where several do, `readings` names them.
// Throws ModelError: the metadata is damaged or contradicts the outputs, or the graph does not take one image.
// Throws OptionError: what is declared is not a reading, or does not fit.
Spec infer_spec(const std::vector<TensorInfo>& inputs, const std::vector<TensorInfo>& outputs,
                const std::map<std::string, std::string>& metadata, const std::string& declared = "",
                const std::map<std::string, std::string>& makers = {});

}  // namespace deploykit
