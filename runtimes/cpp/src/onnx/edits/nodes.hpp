// Nodes of an ONNX graph, as far as rewrites read them. Field numbers are those of onnx.proto.
#pragma once

#include <cstdint>
#include <map>
#include <string_view>
#include <vector>

namespace deploykit {

enum NodeField : std::uint64_t {
  kNodeInput = 1,
  kNodeOutput = 2,
  kNodeOperator = 4,
  kNodeAttribute = 5,
  kNodeDomain = 7
};

struct Node {
  std::size_t place = 0;     // which field of the graph it is
  std::string_view encoded;  // the message
  std::string_view kind;
  std::string_view domain;  // empty: ONNX's own
  std::vector<std::string_view> inputs;
  std::vector<std::string_view> outputs;
  std::vector<std::string_view> inside;  // what the bodies of a loop or a branch read

  bool is(std::string_view name) const { return kind == name && domain.empty(); }
};

// The attributes of a node that are a number or a text.
class Attributes {
 public:
  // 0 where there is none.
  std::uint64_t number(std::string_view name) const;
  std::string_view text(std::string_view name, std::string_view otherwise) const;
  // Whether it is there, and neither 0 nor empty.
  bool is_set(std::string_view name) const { return number(name) != 0 || !text(name, "").empty(); }

 private:
  friend Attributes read_attributes(const Node& node);

  struct Value {
    bool is_number;
    std::uint64_t number;
    std::string_view text;
  };
  std::map<std::string_view, Value> values_;
};

// These throw std::invalid_argument: it is not a valid protobuf message.
Node read_node(std::size_t place, std::string_view encoded);
Attributes read_attributes(const Node& node);
// Of an input or output of a graph, a value info or an attribute.
std::string_view name_of(std::string_view message);

}  // namespace deploykit
