#include "onnx/edits/nodes.hpp"

#include "onnx/protobuf.hpp"
#include "onnx/edits/stored.hpp"

namespace deploykit {
namespace {

using protobuf::each_field;
using protobuf::Field;

enum GraphField : std::uint64_t { kGraphNode = 1, kGraphOutput = 12 };
enum AttributeField : std::uint64_t { kNumber = 3, kText = 4, kBody = 6, kBodies = 11 };

// What graphs read, and the graphs inside of them.
void add_reads(std::vector<std::string_view> graphs, std::vector<std::string_view>& found) {
  while (!graphs.empty()) {
    const std::string_view graph = graphs.back();
    graphs.pop_back();
    each_field(graph, [&](const Field& field) {
      if (field.is_number) return;
      if (field.number == kGraphOutput) found.push_back(name_of(field.bytes));
      if (field.number != kGraphNode) return;
      each_field(field.bytes, [&](const Field& part) {
        if (part.number == kNodeInput) found.push_back(checked_text(part.bytes));
        if (part.number != kNodeAttribute) return;
        each_field(part.message(), [&](const Field& body) {
          if (body.number == kBody || body.number == kBodies) graphs.push_back(body.message());
        });
      });
    });
  }
}

}  // namespace

std::uint64_t Attributes::number(std::string_view name) const {
  const auto found = values_.find(name);
  return found != values_.end() && found->second.is_number ? found->second.number : 0;
}

std::string_view Attributes::text(std::string_view name, std::string_view otherwise) const {
  const auto found = values_.find(name);
  if (found == values_.end()) return otherwise;
  return found->second.is_number ? std::string_view() : found->second.text;
}

std::string_view name_of(std::string_view message) {
  std::string_view name;
  each_field(message, [&](const Field& field) {
    if (field.number == 1) name = field.bytes;
  });
  return checked_text(name);
}

Node read_node(std::size_t place, std::string_view encoded) {
  Node node;
  node.place = place;
  node.encoded = encoded;
  std::vector<std::string_view> bodies;
  each_field(encoded, [&](const Field& field) {
    if (field.number == kNodeInput) {
      node.inputs.push_back(checked_text(field.bytes));
    } else if (field.number == kNodeOutput) {
      node.outputs.push_back(checked_text(field.bytes));
    } else if (field.number == kNodeOperator) {
      node.kind = checked_text(field.bytes);
    } else if (field.number == kNodeDomain) {
      node.domain = checked_text(field.bytes);
    } else if (field.number == kNodeAttribute) {
      each_field(field.message(), [&](const Field& part) {
        if (part.number == kBody || part.number == kBodies) bodies.push_back(part.message());
      });
    }
  });
  if (node.domain == "ai.onnx") node.domain = {};
  add_reads(std::move(bodies), node.inside);
  return node;
}

Attributes read_attributes(const Node& node) {
  Attributes found;
  each_field(node.encoded, [&](const Field& field) {
    if (field.number != kNodeAttribute || field.is_number) return;
    each_field(field.bytes, [&](const Field& part) {
      const bool is_value = (part.number == kNumber && part.is_number) || (part.number == kText && !part.is_number);
      if (is_value) found.values_[name_of(field.bytes)] = {part.is_number, part.value, part.bytes};
    });
  });
  return found;
}

}  // namespace deploykit
