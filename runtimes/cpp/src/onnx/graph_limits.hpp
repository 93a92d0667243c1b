// Whether a graph asks for more than contract/limits.hpp allows, found without running it.
#pragma once

#include <string_view>

namespace deploykit {

// Of the bytes of an ONNX file. The nodes are walked in their order, with functions put in place of their calls, and
// the sizes that follow from constants are worked out. Sizes that depend on what a caller feeds count as 1.
// Throws LimitError, whose problem says what there is too much of; std::invalid_argument: it is not an ONNX model.
void check_graph_limits(std::string_view model);

}  // namespace deploykit
