#include "ort/rewrites/saturation.hpp"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "machine/cpu.hpp"
#include "onnx/protobuf.hpp"
#include "onnx/edits/quantised.hpp"

namespace deploykit {
namespace {

constexpr std::uint64_t kModelGraph = 7;
// 2 * 255 * 64 fits into 16 bits.
constexpr int kLeast = -64;
constexpr int kMost = 64;
constexpr std::array<std::string_view, 4> kProducts{"Conv", "ConvTranspose", "Gemm", "MatMul"};
constexpr std::size_t kInside = static_cast<std::size_t>(-1);  // where a body of a node reads

struct Reader {
  const Node* node;
  std::size_t index;
};
using Readers = std::unordered_map<std::string_view, std::vector<Reader>>;

// Whether sums of two products of these weights may leave 16 bits. Those in another file may.
bool goes_beyond(const Stored& tensor) {
  if (tensor.type != kInt8 || tensor.shape.size() < 2) return false;  // zero points have one axis at most
  const std::string_view values = tensor.bytes();
  return tensor.beside || std::any_of(values.begin(), values.end(), [](char value) {
    const int number = static_cast<signed char>(value);
    return number < kLeast || number > kMost;
  });
}

// Whether a DequantizeLinear reads uint8 values.
bool is_unsigned(const Node& node, const QuantisedGraph& graph) {
  const auto point = graph.stored.find(node.inputs.size() > 2 ? node.inputs[2] : std::string_view());
  return point != graph.stored.end() && point->second.type == kUint8;
}

Readers readers_of(const QuantisedGraph& graph) {
  Readers found;
  for (const Node& node : graph.nodes) {
    for (std::size_t i = 0; i < node.inputs.size(); ++i) found[node.inputs[i]].push_back({&node, i});
    for (const std::string_view name : node.inside) found[name].push_back({&node, kInside});
  }
  return found;
}

std::optional<std::string> widened(std::string_view message) {
  QuantisedGraph graph = read_quantised(message);
  std::unordered_map<std::string_view, const Node*> restored;
  for (const Node& node : graph.nodes) {
    if (dequantises(node)) restored[first_of(node.outputs)] = &node;
  }
  const Readers readers = readers_of(graph);
  static const std::vector<Reader> none;
  const auto read_by = [&](std::string_view name) -> const std::vector<Reader>& {
    const auto found = readers.find(name);
    return found == readers.end() ? none : found->second;
  };
  // Whether a node multiplies signed activations by this: no kernel takes unsigned weights there.
  const auto meets_signed = [&](const Reader& reader) {
    const Node& node = *reader.node;
    const bool multiplies = std::find(kProducts.begin(), kProducts.end(), node.kind) != kProducts.end();
    if (!multiplies || reader.index != 1) return false;
    const auto other = restored.find(node.inputs.front());
    return other != restored.end() && !is_unsigned(*other->second, graph);
  };
  const auto may_change = [&](std::string_view name) {
    for (const Reader& reader : read_by(name)) {
      const Node& node = *reader.node;
      if (!dequantises(node) || reader.index != 0 || !graph.zero(node) || is_in_blocks(node)) return false;
    }
    for (const Reader& reader : read_by(name)) {
      const std::vector<Reader>& behind = read_by(first_of(reader.node->outputs));
      if (std::any_of(behind.begin(), behind.end(), meets_signed)) return false;
    }
    return true;
  };
  std::unordered_set<std::string_view> chosen;
  for (const auto& [name, tensor] : graph.stored) {
    if (graph.inputs.count(name) > 0 || graph.outputs.count(name) > 0) continue;
    if (!tensor.bytes().empty() && goes_beyond(tensor) && may_change(name)) chosen.insert(name);
  }
  return shift(graph, chosen);
}

}  // namespace

bool processor_saturates() { return cpu_class() == "no-vnni"; }

std::optional<std::string> widen_products(std::string_view model) { return edit_graph(model, widened); }

bool keeps_signed(std::string_view model) {
  bool found = false;
  protobuf::each_field(model, [&](const protobuf::Field& field) {
    if (field.number != kModelGraph || field.is_number || found) return;
    const QuantisedGraph graph = read_quantised(field.bytes);
    const bool is_signed = std::any_of(graph.nodes.begin(), graph.nodes.end(), [&](const Node& node) {
      return quantises(node) && makes_signed(node, graph);
    });
    found = is_signed && std::any_of(graph.stored.begin(), graph.stored.end(),
                                     [](const auto& item) { return goes_beyond(item.second); });
  });
  return found;
}

}  // namespace deploykit
