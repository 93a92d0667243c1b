// The contract that follows from what a foreign file's outputs mean: pre-processing, thresholds, assumptions.
#pragma once

#include <string>
#include <vector>

#include "contract/exporter_metadata.hpp"
#include "contract/readings.hpp"

namespace deploykit {

// `image` has what is known of its size; `meaning` says why the outputs mean that, where it is an assumption.
Spec contract(const Fit& found, InputSpec image, const std::vector<TensorInfo>& outputs, const Told& told,
              const std::string& meaning = "");

}  // namespace deploykit
