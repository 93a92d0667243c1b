// Graphs with QuantizeLinear and DequantizeLinear nodes, as far as rewrites of INT8 files need them.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "onnx/edits/nodes.hpp"
#include "onnx/edits/stored.hpp"

namespace deploykit {

using Shape = std::vector<std::uint64_t>;

struct QuantisedGraph {
  std::vector<std::string_view> parts;  // its fields, as they are in the file
  std::vector<Node> nodes;
  std::unordered_map<std::string_view, Stored> stored;
  std::unordered_map<std::string_view, std::size_t> infos;  // where the type of a tensor is stated
  std::unordered_set<std::string_view> inputs;
  std::unordered_set<std::string_view> outputs;

  // The shape of the zero point of a QuantizeLinear or DequantizeLinear; not set: it is not int8 0.
  const std::optional<Shape>& zero(const Node& node);

 private:
  std::optional<Shape> find_zero(std::string_view scale, std::string_view point) const;

  std::map<std::pair<std::string_view, std::string_view>, std::optional<Shape>> zeros_;
};

// These throw std::invalid_argument: it is not a valid protobuf message.
QuantisedGraph read_quantised(std::string_view graph);
bool quantises(const Node& node);
bool dequantises(const Node& node);
// Whether a QuantizeLinear gives int8 values.
bool makes_signed(const Node& node, const QuantisedGraph& graph);
// Whether there is a scale for every block of values along an axis.
bool is_in_blocks(const Node& node);
// Of the inputs or outputs of a node. Throws std::invalid_argument: there are none.
std::string_view first_of(const std::vector<std::string_view>& names);

// The graph in which int8 tensors around 0 are uint8 around 128: what QuantizeLinear nodes make and DequantizeLinear
// nodes read, and constants. Not set: no node makes or reads one of them.
std::optional<std::string> shift(QuantisedGraph& graph, const std::unordered_set<std::string_view>& tensors);

// The model with its graphs as `edit` returns them; not set: it changed none, or this is not an ONNX file, which the
// engine will refuse itself.
std::optional<std::string> edit_graph(std::string_view model,
                                      std::optional<std::string> (*edit)(std::string_view graph));

}  // namespace deploykit
