#include "ort/rewrites/unsigned.hpp"

#include <algorithm>
#include <array>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "onnx/edits/quantised.hpp"

namespace deploykit {
namespace {

// Operators that give values of their first input: moved, repeated, or the largest of some.
constexpr std::array<std::string_view, 13> kMoves{
    "DepthToSpace", "Expand",       "Flatten", "Gather", "Identity",  "MaxPool",  "Reshape",
    "Slice",        "SpaceToDepth", "Squeeze", "Tile",   "Transpose", "Unsqueeze"};
// Operators whose quantised form takes inputs of one type: a constant there is no weight.
constexpr std::array<std::string_view, 8> kPairs{"Add", "Concat", "Div", "Max", "Min", "Mul", "Sub", "Where"};
// Operators whose first input is an activation, constant or not.
constexpr std::array<std::string_view, 3> kProducts{"Conv", "Gemm", "MatMul"};

template <class List>
bool is_in(const List& list, std::string_view name) {
  return std::find(list.begin(), list.end(), name) != list.end();
}

// Tensors of int8 values, in groups that change together.
class Groups {
 public:
  bool has(std::string_view name) const { return ids_.count(name) > 0; }

  void add(std::string_view name) {
    if (!ids_.emplace(name, above_.size()).second) return;
    above_.push_back(above_.size());
    spoilt_.push_back(false);
  }

  // The group of a tensor stays as it is.
  void spoil(std::string_view name) {
    const auto found = ids_.find(name);
    if (found != ids_.end()) spoilt_[found->second] = true;
  }

  void join(std::string_view one, std::string_view other) { above_[of(other)] = of(one); }

  // The number of the group of a tensor.
  std::size_t of(std::string_view name) { return of(ids_.at(name)); }

  // By the number of a group: whether it stays as it is.
  std::vector<bool> spoilt() {
    std::vector<bool> found(above_.size(), false);
    for (std::size_t id = 0; id < above_.size(); ++id) {
      if (spoilt_[id]) found[of(id)] = true;
    }
    return found;
  }

  std::size_t count() const { return above_.size(); }
  const std::unordered_map<std::string_view, std::size_t>& names() const { return ids_; }

 private:
  std::size_t of(std::size_t id) {
    while (above_[id] != id) {
      above_[id] = above_[above_[id]];
      id = above_[id];
    }
    return id;
  }

  std::unordered_map<std::string_view, std::size_t> ids_;
  std::vector<std::size_t> above_;
  std::vector<bool> spoilt_;
};

// Whether a node gives the values of an input as they are.
bool moves(const Node& node, std::size_t index) {
  if (!node.domain.empty()) return false;
  if (node.kind == "Concat") return true;
  if (node.kind == "Where") return index > 0;
  if (node.kind == "Resize" && index == 0) {
    const Attributes told = read_attributes(node);
    return told.text("mode", "nearest") == "nearest" &&
           told.text("coordinate_transformation_mode", "") != "tf_crop_and_resize";
  }
  return index == 0 && (is_in(kMoves, node.kind) || node.kind == "Split");
}

// Add what a node gives, if that is int8 values.
void follow(const Node& node, QuantisedGraph& graph, Groups& groups) {
  if (quantises(node)) {
    if (!makes_signed(node, graph)) return;
    const std::string_view name = first_of(node.outputs);
    groups.add(name);
    if (!graph.zero(node) || is_in_blocks(node)) groups.spoil(name);
    return;
  }
  std::vector<std::string_view> given;
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    if (!node.inputs[i].empty() && moves(node, i)) given.push_back(node.inputs[i]);
  }
  if (std::none_of(given.begin(), given.end(), [&](std::string_view name) { return groups.has(name); })) return;
  for (const std::string_view name : given) {
    if (groups.has(name)) continue;
    groups.add(name);
    groups.spoil(name);  // nobody knows what made it
  }
  const bool spreads = node.kind == "Concat" || node.kind == "Split";
  const std::size_t taken = spreads ? node.outputs.size() : std::min<std::size_t>(1, node.outputs.size());
  for (std::size_t i = 0; i < taken; ++i) {
    groups.add(node.outputs[i]);
    given.push_back(node.outputs[i]);
  }
  for (const std::string_view name : given) groups.join(given.front(), name);
}

// What is read by anything but moves and a DequantizeLinear around 0 stays as it is.
void spoil_other_uses(const Node& node, QuantisedGraph& graph, Groups& groups) {
  for (std::size_t i = 0; i < node.inputs.size(); ++i) {
    if (!groups.has(node.inputs[i]) || moves(node, i)) continue;
    const bool restores = i == 0 && dequantises(node) && graph.zero(node).has_value();
    if (!restores || is_in_blocks(node)) groups.spoil(node.inputs[i]);
  }
  for (const std::string_view name : node.inside) groups.spoil(name);
}

// By the number of a group: whether it changes. What is quantised, and constants that only stand beside it.
std::vector<bool> chosen_groups(const QuantisedGraph& graph, Groups& groups) {
  // What is read, and whether all that reads it takes it for an activation.
  std::unordered_map<std::string_view, bool> beside;
  for (const Node& node : graph.nodes) {
    for (std::size_t i = 0; i < node.inputs.size(); ++i) {
      const bool here = is_in(kPairs, node.kind) || (i == 0 && is_in(kProducts, node.kind));
      bool& all = beside.emplace(node.inputs[i], true).first->second;
      all = all && here && node.domain.empty();
    }
  }
  std::vector<bool> made(groups.count(), false);
  std::vector<bool> weights(groups.count(), false);
  for (const Node& node : graph.nodes) {
    if (quantises(node)) {
      if (groups.has(first_of(node.outputs))) made[groups.of(node.outputs.front())] = true;
    } else if (dequantises(node) && groups.has(first_of(node.inputs))) {
      const auto found = beside.find(first_of(node.outputs));
      if (found == beside.end() || !found->second) weights[groups.of(node.inputs.front())] = true;
    }
  }
  std::vector<bool> chosen = groups.spoilt();
  for (std::size_t i = 0; i < chosen.size(); ++i) chosen[i] = !chosen[i] && (made[i] || !weights[i]);
  return chosen;
}

std::optional<std::string> rewrite_graph(std::string_view message) {
  QuantisedGraph graph = read_quantised(message);
  if (std::none_of(graph.nodes.begin(), graph.nodes.end(), quantises)) {
    return {};
  }
  Groups groups;
  for (const auto& [name, tensor] : graph.stored) {
    if (tensor.type == kInt8 && !tensor.bytes().empty()) groups.add(name);
  }
  for (const Node& node : graph.nodes) follow(node, graph, groups);
  for (const Node& node : graph.nodes) spoil_other_uses(node, graph, groups);
  for (const std::string_view name : graph.outputs) groups.spoil(name);
  for (const std::string_view name : graph.inputs) groups.spoil(name);
  const std::vector<bool> chosen = chosen_groups(graph, groups);
  std::unordered_set<std::string_view> tensors;
  for (const auto& [name, id] : groups.names()) {
    if (chosen[groups.of(name)]) tensors.insert(name);
  }
  return shift(graph, tensors);
}

}  // namespace

std::optional<std::string> make_unsigned(std::string_view model) {
  return edit_graph(model, rewrite_graph);
}

}  // namespace deploykit
