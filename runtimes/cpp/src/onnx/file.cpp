#include "onnx/file.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <stdexcept>
#include <utility>

#include "deploykit/error.hpp"
#include "contract/inferred_spec.hpp"
#include "onnx/graph_limits.hpp"
#include "contract/limits.hpp"
#include "onnx/mapping.hpp"
#include "onnx/protobuf.hpp"
#include "contract/readings.hpp"
#include "ort/api/session_info.hpp"
#include "contract/spec_limits.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

enum ModelField : std::uint64_t { kGraph = 7, kMetadata = 14, kFunction = 25 };
enum FunctionField : std::uint64_t { kFunctionNode = 7 };
enum GraphField : std::uint64_t { kNode = 1, kInitializer = 5, kInput = 11, kOutput = 12, kSparse = 15 };
enum NodeField : std::uint64_t { kNodeInput = 1, kNodeOutput = 2, kNodeOperator = 4, kNodeAttribute = 5 };
enum AttributeField : std::uint64_t {
  kTensor = 5,
  kOneGraph = 6,
  kTensors = 10,
  kGraphs = 11,
  kOneSparse = 22,
  kSparses = 23
};
enum TensorField : std::uint64_t { kDims = 1, kType = 2, kName = 8, kExternal = 13, kPlace = 14 };
enum SparseField : std::uint64_t { kValues = 1, kIndices = 2 };
constexpr std::string_view kLocation = "location";
constexpr std::size_t kSmall = 4096;  // bytes
constexpr int kBfloat16 = 16;

using protobuf::each_field;
using protobuf::each_number;
using protobuf::Field;

std::string type_name(std::uint64_t type) {
  if (type == kBfloat16) return "bfloat16";
  const DType known = type < kBfloat16 ? dtype_of(static_cast<int>(type)) : DType::other;
  return known == DType::other ? "type " + std::to_string(type) : to_string(known);
}

struct Initializer {
  std::string name;
  std::uint64_t type = 0;
  double count = 1;
  std::size_t axes = 0;
};

std::pair<std::string, std::string> read_entry(std::string_view message) {
  std::pair<std::string, std::string> entry;
  each_field(message, [&](const Field& part) {
    if (part.number == 1) entry.first = std::string(part.bytes);
    if (part.number == 2) entry.second = std::string(part.bytes);
  });
  return entry;
}

Initializer read_initializer(std::string_view message) {
  Initializer found;
  each_field(message, [&](const Field& field) {
    if (field.number == kName) {
      found.name = std::string(field.bytes);
    } else if (field.number == kType && field.is_number) {
      found.type = field.value;
    } else if (field.number == kDims) {
      each_number(field, [&](std::uint64_t n) {
        found.count *= static_cast<double>(n);
        ++found.axes;
      });
    }
  });
  return found;
}

using Names = std::vector<std::string>;

// The file that holds a tensor, where it is another one.
void add_location(std::string_view tensor, Names& found) {
  std::string location;
  bool elsewhere = false;
  each_field(tensor, [&](const Field& field) {
    if (field.number == kPlace) elsewhere = field.is_number && field.value == 1;
    if (field.number != kExternal) return;
    const auto [key, value] = read_entry(field.message());
    if (key == kLocation) location = value;
  });
  const bool known = std::find(found.begin(), found.end(), location) != found.end();
  if (elsewhere && !location.empty() && !known) found.push_back(location);
}

void add_locations_of_sparse(std::string_view tensor, Names& found) {
  each_field(tensor, [&](const Field& part) {
    if (part.number == kValues || part.number == kIndices) add_location(part.message(), found);
  });
}

// The files in which a node keeps its tensors; the graphs inside of it join those that wait.
void add_locations_of_node(std::string_view node, Names& found, std::vector<std::string_view>& graphs) {
  if (node.size() < kSmall && node.find(kLocation) == std::string_view::npos) return;
  each_field(node, [&](const Field& attribute) {
    if (attribute.number != kNodeAttribute) return;
    each_field(attribute.message(), [&](const Field& part) {
      if (part.number == kTensor || part.number == kTensors) add_location(part.message(), found);
      if (part.number == kOneSparse || part.number == kSparses) add_locations_of_sparse(part.message(), found);
      if (part.number == kOneGraph || part.number == kGraphs) graphs.push_back(part.message());
    });
  });
}

void add_locations_of_graphs(std::vector<std::string_view> graphs, Names& found) {
  while (!graphs.empty()) {
    const std::string_view graph = graphs.back();
    graphs.pop_back();
    each_field(graph, [&](const Field& field) {
      if (field.number == kNode) add_locations_of_node(field.message(), found, graphs);
      if (field.number == kInitializer) add_location(field.message(), found);
      if (field.number == kSparse) add_locations_of_sparse(field.message(), found);
    });
  }
}

void add_locations_of_function(std::string_view function, Names& found) {
  std::vector<std::string_view> graphs;
  each_field(function, [&](const Field& field) {
    if (field.number == kFunctionNode) add_locations_of_node(field.message(), found, graphs);
  });
  add_locations_of_graphs(std::move(graphs), found);
}

void read_dimension(std::string_view message, TensorInfo& info) {
  std::int64_t size = -1;
  std::string name;
  each_field(message, [&](const Field& field) {
    // Above are negative numbers: "any size" to some writers.
    if (field.number == 1 && field.is_number && field.value >> 63 == 0) size = static_cast<std::int64_t>(field.value);
    if (field.number == 2) name = std::string(field.bytes);
  });
  info.shape.push_back(size);
  info.axes.push_back(size < 0 ? name : "");
}

void read_tensor_type(std::string_view message, TensorInfo& info) {
  each_field(message, [&](const Field& field) {
    if (field.number == 1 && field.is_number) {
      info.dtype_name = type_name(field.value);
      info.dtype = field.value < kBfloat16 ? dtype_of(static_cast<int>(field.value)) : DType::other;
    } else if (field.number == 2) {
      info.shape.clear();
      info.axes.clear();
      each_field(field.message(), [&](const Field& axis) {
        if (axis.number == 1) read_dimension(axis.message(), info);
      });
    }
  });
}

TensorInfo read_tensor_info(std::string_view message) {
  TensorInfo info;
  each_field(message, [&](const Field& field) {
    if (field.number == 1) info.name = std::string(field.bytes);
    if (field.number != 2) return;
    each_field(field.message(), [&](const Field& kind) {
      if (kind.number == 1) read_tensor_type(kind.message(), info);
    });
  });
  return info;
}

struct Node {
  std::string_view kind;
  std::string_view source;  // its first input
};

using Nodes = std::map<std::string_view, Node>;  // by what they compute

void read_node(std::string_view message, Nodes& nodes) {
  Node node;
  std::vector<std::string_view> outputs;
  each_field(message, [&](const Field& field) {
    if (field.number == kNodeInput && node.source.empty()) node.source = field.bytes;
    if (field.number == kNodeOutput) outputs.push_back(field.bytes);
    if (field.number == kNodeOperator) node.kind = field.bytes;
  });
  for (const std::string_view output : outputs) nodes[output] = node;
}

std::string maker_of(const std::string& output, const Nodes& nodes) {
  constexpr std::array<std::string_view, 5> same{"Cast", "Flatten", "Identity", "Reshape", "Squeeze"};
  auto found = nodes.find(output);
  if (found == nodes.end()) return "";
  for (std::size_t step = 0; step < nodes.size(); ++step) {
    const auto before = nodes.find(found->second.source);
    if (std::find(same.begin(), same.end(), found->second.kind) == same.end() || before == nodes.end()) break;
    found = before;
  }
  return std::string(found->second.kind);
}

void read_graph(std::string_view message, OnnxFile& file, std::set<std::string>& stored) {
  Nodes nodes;
  each_field(message, [&](const Field& field) {
    if (field.number == kNode) read_node(field.message(), nodes);
    if (field.number == kInput) file.inputs.push_back(read_tensor_info(field.message()));
    if (field.number == kOutput) file.outputs.push_back(read_tensor_info(field.message()));
    if (field.number != kInitializer) return;
    const Initializer weight = read_initializer(field.message());
    stored.insert(weight.name);
    if (weight.axes < 2) return;
    const std::string type = type_name(weight.type);
    const auto known =
        std::find_if(file.weights.begin(), file.weights.end(), [&](const auto& item) { return item.first == type; });
    if (known != file.weights.end()) {
      known->second += weight.count;
    } else {
      file.weights.emplace_back(type, weight.count);
    }
  });
  for (const TensorInfo& info : file.outputs) file.makers[info.name] = maker_of(info.name, nodes);
}

}  // namespace

OnnxFile parse_onnx(std::string_view bytes) {
  if (bytes.empty()) throw std::invalid_argument("it is empty");
  check_graph_limits(bytes);
  OnnxFile file;
  std::set<std::string> stored;
  bool has_graph = false;
  each_field(bytes, [&](const Field& field) {
    if (field.number == kMetadata) {
      const auto [key, value] = read_entry(field.message());
      if (!is_utf8(key) || !is_utf8(value)) throw std::invalid_argument("a text in it is not UTF-8");
      file.metadata[key] = value;
    } else if (field.number == kFunction) {
      add_locations_of_function(field.message(), file.external);
    } else if (field.number == kGraph) {
      has_graph = true;
      add_locations_of_graphs({field.message()}, file.external);
      read_graph(field.message(), file, stored);
    }
  });
  if (!has_graph) throw std::invalid_argument("it holds no graph");
  const auto rest = std::remove_if(file.inputs.begin(), file.inputs.end(),
                                   [&](const TensorInfo& info) { return stored.count(info.name) != 0; });
  file.inputs.erase(rest, file.inputs.end());
  return file;
}

OnnxFile read_onnx(const std::string& path) {
  try {
    return parse_onnx(Mapping(path).bytes());
  } catch (const LimitError& error) {
    throw LimitError(path + " asks for more than deploykit allows a model: " + error.problem() + ".",
                     "The file is damaged, or made to exhaust memory: SECURITY.md says what is allowed.");
  } catch (const std::invalid_argument& error) {
    throw ModelError(path + " is not a valid ONNX model: " + error.what() + ".",
                     "If it is a checkpoint, export it first: deploykit export CHECKPOINT");
  }
}

Spec spec_of(const std::vector<TensorInfo>& inputs, const std::vector<TensorInfo>& outputs,
             const std::map<std::string, std::string>& metadata, const std::string& declared,
             const std::map<std::string, std::string>& makers) {
  const bool own_words = metadata.count("deploykit.format") != 0;
  Spec spec = own_words ? spec_from_metadata(metadata) : infer_spec(inputs, outputs, metadata, declared, makers);
  check_spec_limits(spec);
  if (!own_words || declared.empty()) return spec;
  const OutputReading* own = reading_of(spec);
  if (parse_outputs(declared).reading != own) {
    throw OptionError("--outputs " + declared + " contradicts the model's own metadata, which says " +
                          (own == nullptr ? metadata.at("deploykit.output.layout") : own->name) + " (" +
                          to_string(spec.task) + ").",
                      "Leave it out: deploykit wrote this file, and it says itself what its outputs mean.");
  }
  return spec;
}

}  // namespace deploykit
