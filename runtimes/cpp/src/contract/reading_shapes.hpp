// Which readings fit the shapes of a graph's outputs.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "contract/readings.hpp"

namespace deploykit {

// What outputs may mean if nothing is known of them, by the axes of the last one that counts: prototypes have 4.
const std::vector<std::string>& maybe(std::size_t axes);

// Nothing where the reading cannot be.
std::optional<Fit> fit(const OutputReading& reading, const InputSpec& image, const std::vector<TensorInfo>& outputs,
                       const Known& known);
// Those of the readings that fit, the odd ones too.
std::vector<Fit> fitting(const std::vector<std::string>& names, const InputSpec& image,
                         const std::vector<TensorInfo>& outputs, const Known& known);

}  // namespace deploykit
