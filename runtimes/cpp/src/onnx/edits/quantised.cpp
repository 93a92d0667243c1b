#include "onnx/edits/quantised.hpp"

#include <algorithm>
#include <stdexcept>

#include "onnx/protobuf.hpp"

namespace deploykit {
namespace {

constexpr std::uint64_t kModelGraph = 7;
enum GraphField : std::uint64_t { kNode = 1, kInitializer = 5, kInput = 11, kOutput = 12, kValueInfo = 13 };

constexpr const char* kOutputType = "output_dtype";
constexpr char kShift = '\x80';

// The node with another zero point, as a field of the graph.
std::string around(const Node& node, std::string_view zero) {
  std::string content;
  for (std::size_t i = 0; i < std::min<std::size_t>(2, node.inputs.size()); ++i) {
    protobuf::append_bytes(content, kNodeInput, node.inputs[i]);
  }
  protobuf::append_bytes(content, kNodeInput, zero);
  for (const std::string_view name : node.outputs) protobuf::append_bytes(content, kNodeOutput, name);
  protobuf::each_piece(node.encoded, [&](const protobuf::Field& field, std::string_view piece) {
    if (field.number == kNodeInput || field.number == kNodeOutput) return;
    const bool is_attribute = field.number == kNodeAttribute && !field.is_number && !field.is_fixed;
    if (is_attribute && name_of(field.bytes) == kOutputType) return;  // the zero point tells it
    content += piece;
  });
  std::string encoded;
  protobuf::append_bytes(encoded, kNode, content);
  return encoded;
}

std::string stored_field(std::string_view name, const Shape& shape, std::string_view values) {
  std::string encoded;
  protobuf::append_bytes(encoded, kInitializer, encode_stored(name, shape, kUint8, values));
  return encoded;
}

std::string zero_name(const Shape& shape) {
  return "deploykit.unsigned/zero" + (shape.empty() ? std::string() : std::to_string(shape.front()));
}

}  // namespace

const std::optional<Shape>& QuantisedGraph::zero(const Node& node) {
  const auto at = [&](std::size_t i) { return i < node.inputs.size() ? node.inputs[i] : std::string_view(); };
  const auto key = std::make_pair(at(1), at(2));
  const auto known = zeros_.find(key);
  return known != zeros_.end() ? known->second : zeros_.emplace(key, find_zero(at(1), at(2))).first->second;
}

// Where it is 0 it may be left out, and has the shape of the scale then.
std::optional<Shape> QuantisedGraph::find_zero(std::string_view scale, std::string_view point) const {
  const auto found = stored.find(point.empty() ? scale : point);
  if (found == stored.end() || inputs.count(found->first) > 0) return {};
  const Stored& tensor = found->second;
  if (tensor.size() > tensor.encoded.size()) return {};
  if (!point.empty()) {
    const std::string_view values = tensor.type == kInt8 ? tensor.bytes() : std::string_view();
    if (values.empty() || values.find_first_not_of('\0') != std::string_view::npos) return {};
  }
  if (tensor.shape.size() > 1 || tensor.size() == 0) return {};
  return tensor.shape;
}

QuantisedGraph read_quantised(std::string_view message) {
  QuantisedGraph graph;
  protobuf::each_piece(message, [&](const protobuf::Field& field, std::string_view piece) {
    const std::size_t place = graph.parts.size();
    graph.parts.push_back(piece);
    if (field.is_number || field.is_fixed) return;
    if (field.number == kNode) {
      graph.nodes.push_back(read_node(place, field.bytes));
    } else if (field.number == kInitializer) {
      Stored tensor = read_stored(place, field.bytes);
      const std::string_view name = tensor.name;
      graph.stored[name] = std::move(tensor);
    } else if (field.number == kValueInfo) {
      graph.infos[name_of(field.bytes)] = place;
    } else if (field.number == kInput) {
      graph.inputs.insert(name_of(field.bytes));
    } else if (field.number == kOutput) {
      graph.outputs.insert(name_of(field.bytes));
    }
  });
  return graph;
}

bool quantises(const Node& node) { return node.is("QuantizeLinear"); }

bool dequantises(const Node& node) { return node.is("DequantizeLinear"); }

bool makes_signed(const Node& node, const QuantisedGraph& graph) {
  const auto point = graph.stored.find(node.inputs.size() > 2 ? node.inputs[2] : std::string_view());
  const bool is_signed = point != graph.stored.end() && point->second.type == kInt8;
  return is_signed || read_attributes(node).number(kOutputType) == kInt8;
}

bool is_in_blocks(const Node& node) { return read_attributes(node).is_set("block_size"); }

std::string_view first_of(const std::vector<std::string_view>& names) {
  if (names.empty()) throw std::invalid_argument("a node lacks inputs or outputs");
  return names.front();
}

std::optional<std::string> shift(QuantisedGraph& graph, const std::unordered_set<std::string_view>& tensors) {
  std::map<std::size_t, std::string> replaced;  // by place
  std::unordered_set<std::string> known;
  std::string added;
  for (const Node& node : graph.nodes) {
    const bool makes = quantises(node) && tensors.count(first_of(node.outputs)) > 0;
    if (!makes && !(dequantises(node) && tensors.count(first_of(node.inputs)) > 0)) continue;
    const std::optional<Shape>& shape = graph.zero(node);
    if (!shape) continue;
    const std::string name = zero_name(*shape);
    // Another rewrite may have written the zero point of this shape already.
    if (known.insert(name).second && graph.stored.count(name) == 0) {
      added += stored_field(name, *shape, std::string(shape->empty() ? 1 : shape->front(), kShift));
    }
    replaced[node.place] = around(node, name);
  }
  if (known.empty()) return {};
  for (const std::string_view name : tensors) {
    const auto info = graph.infos.find(name);
    if (info != graph.infos.end()) replaced[info->second] = "";  // it tells the type that was
    const auto constant = graph.stored.find(name);
    if (constant == graph.stored.end()) continue;
    std::string values(constant->second.bytes());
    for (char& value : values) value = static_cast<char>(value ^ kShift);
    replaced[constant->second.place] = stored_field(name, constant->second.shape, values);
  }
  std::size_t size = added.size();
  for (const std::string_view part : graph.parts) size += part.size();
  std::string out;
  out.reserve(size + size / 8);
  for (std::size_t i = 0; i < graph.parts.size(); ++i) {
    const auto other = replaced.find(i);
    out += other == replaced.end() ? graph.parts[i] : std::string_view(other->second);
  }
  return out + added;
}

std::optional<std::string> edit_graph(std::string_view model,
                                      std::optional<std::string> (*edit)(std::string_view graph)) {
  try {
    std::string out;
    bool has_changed = false;
    protobuf::each_piece(model, [&](const protobuf::Field& field, std::string_view piece) {
      const bool is_graph = field.number == kModelGraph && !field.is_number && !field.is_fixed;
      const auto graph = is_graph ? edit(field.bytes) : std::nullopt;
      has_changed = has_changed || graph.has_value();
      if (graph) {
        protobuf::append_bytes(out, kModelGraph, *graph);
      } else {
        out += piece;
      }
    });
    if (has_changed) return out;
  } catch (const std::invalid_argument&) {
    return {};
  }
  return {};
}

}  // namespace deploykit
