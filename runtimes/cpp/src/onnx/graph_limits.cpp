#include "onnx/graph_limits.hpp"

#include <cstring>
#include <set>
#include <string>
#include <unordered_map>
#include <utility>

#include "contract/limits.hpp"
#include "onnx/protobuf.hpp"
#include "onnx/tensor_sizes.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

using protobuf::each_field;
using protobuf::each_number;
using protobuf::Field;

enum ModelField : std::uint64_t { kGraph = 7, kMetadata = 14, kFunction = 25 };
enum GraphField : std::uint64_t { kNode = 1, kInitializer = 5, kInput = 11, kOutput = 12, kSparse = 15 };
enum NodeField : std::uint64_t { kNodeInput = 1, kNodeOutput = 2, kNodeKind = 4, kAttribute = 5, kNodeDomain = 7 };
enum FunctionField : std::uint64_t { kName = 1, kFrom = 4, kTo = 5, kBody = 7, kDomain = 10 };
enum AttributeField : std::uint64_t {
  kAttributeName = 1,
  kInt = 3,
  kTensorValue = 5,
  kGraphValue = 6,
  kInts = 8,
  kGraphs = 11,
  kSparseValue = 22
};
enum TensorField : std::uint64_t {
  kDims = 1,
  kType = 2,
  kFloats = 4,
  kInt32s = 5,
  kInt64s = 7,
  kTensorName = 8,
  kRaw = 9,
  kDoubles = 10
};
constexpr std::uint64_t kSparseDims = 3;

void check_limit(const char* what, double found, std::int64_t limit, const std::string& where = "") {
  if (!(found > static_cast<double>(limit))) return;
  throw LimitError("more than " + std::to_string(limit) + " " + what + (where.empty() ? "" : ": ") + where);
}

double signed_number(std::uint64_t n) { return static_cast<double>(static_cast<std::int64_t>(n)); }

// Of an axis; one that is negative or open counts as 1.
double size_of(std::uint64_t n) { return n >> 63 == 0 ? static_cast<double>(n) : 1; }

template <class T>
void unpack(std::string_view bytes, Fact::Numbers& out) {
  for (std::size_t i = 0; i + sizeof(T) <= bytes.size(); i += sizeof(T)) {
    T value;
    std::memcpy(&value, bytes.data() + i, sizeof(T));
    out.push_back(static_cast<double>(value));
  }
}

void unpack(std::string_view bytes, std::uint64_t type, Fact::Numbers& out) {
  if (bytes.size() > 8 * kFew) return;
  switch (type) {
    case 1: return unpack<float>(bytes, out);
    case 6: return unpack<std::int32_t>(bytes, out);
    case 7: return unpack<std::int64_t>(bytes, out);
    case 11: return unpack<double>(bytes, out);
    default: return;
  }
}

void unpack_numbers(const Field& field, Fact::Numbers& out) {
  if (!field.is_number && field.bytes.size() > 10 * kFew) return;
  if (out.size() > kFew) return;
  each_number(field, [&](std::uint64_t n) { out.push_back(signed_number(n)); });
}

// What is known of the tensors of a graph, and of those around it.
struct Scope {
  explicit Scope(const Scope* around) : outer(around) {}

  Fact find(std::string_view name) const {
    if (name.empty()) return Step::absent();
    for (const Scope* scope = this; scope != nullptr; scope = scope->outer) {
      const auto found = scope->facts.find(name);
      if (found != scope->facts.end()) return found->second;
    }
    return {};
  }

  std::unordered_map<std::string_view, Fact> facts{};
  const Scope* outer;
};

struct Function {
  std::vector<std::string_view> inputs{};
  std::vector<std::string_view> outputs{};
  std::vector<std::string_view> nodes{};
};

// One walk over a model, with one budget for all of its parts.
class Walk {
 public:
  void model(std::string_view message) {
    std::vector<std::string_view> graphs;
    double entries = 0;
    double metadata = 0;
    each(message, [&](const Field& field) {
      if (field.number == kGraph) {
        graphs.push_back(field.message());
      } else if (field.number == kMetadata) {
        metadata += static_cast<double>(field.bytes.size());
        check_limit("keys of metadata", ++entries, limits::kEntries);
        check_limit("bytes of metadata", metadata, limits::kMetadata);
        each(field.message(), [](const Field&) {});
      } else if (field.number == kFunction) {
        check_limit("functions", ++functions_read_, limits::kNodes);
        function(field.message());
      } else {
        count_text_of(field);
      }
    });
    for (const std::string_view graph_message : graphs) graph(graph_message, nullptr, 0);
  }

 private:
  // Every field that is read is counted.
  template <class Visit>
  void each(std::string_view message, Visit visit) {
    each_field(message, [&](const Field& field) {
      check_limit("fields", ++parts_, limits::kParts);
      visit(field);
    });
  }

  // Name of a stored tensor, and what is known of it.
  std::pair<std::string_view, Fact> read_tensor(std::string_view message) {
    std::string_view name;
    std::string_view raw;
    std::uint64_t type = 0;
    Fact fact;
    fact.shape.emplace();
    fact.exact = fact.constant = true;
    Fact::Numbers values;
    each(message, [&](const Field& field) {
      switch (field.number) {
        case kDims:
          return each_number(field, [&](std::uint64_t n) {
            fact.shape->push_back(size_of(n));
            check_limit("axes of a tensor", static_cast<double>(fact.shape->size()), limits::kAxes);
          });
        case kType: type = field.value; return;
        case kTensorName: name = field.bytes; return;
        case kRaw: raw = field.bytes; return;
        case kFloats: return unpack(field.bytes, 1, values);
        case kDoubles: return unpack(field.bytes, 11, values);
        case kInt32s:
        case kInt64s: return unpack_numbers(field, values);
        default: return;
      }
    });
    const double amount = fact.amount();
    check_limit("values in a tensor", amount, limits::kTensor, count_text(amount) + " are to be stored");
    if (!raw.empty()) {
      values.clear();
      unpack(raw, type, values);
    }
    if (static_cast<double>(values.size()) == amount) fact.values = std::move(values);
    return {name, std::move(fact)};
  }

  // Name and shape of an input or output of a graph.
  std::pair<std::string_view, Fact> read_port(std::string_view message) {
    std::string_view name;
    Fact::Numbers shape;
    bool exact = true;
    const auto read_axis = [&](std::string_view axis) {
      bool known = false;
      std::uint64_t size = 1;
      each(axis, [&](const Field& field) {
        if (field.number == 1) std::tie(known, size) = std::make_pair(field.is_number, field.value);
      });
      exact = exact && known && size >> 63 == 0;
      shape.push_back(known ? size_of(size) : 1);
      check_limit("axes of a tensor", static_cast<double>(shape.size()), limits::kAxes);
    };
    each(message, [&](const Field& field) {
      if (field.number == 1) name = field.bytes;
      if (field.number != 2) return;
      each(field.message(), [&](const Field& kind) {
        if (kind.number != 1) return;
        each(kind.message(), [&](const Field& dims) {
          if (dims.number != 2) return;
          each(dims.message(), [&](const Field& axis) {
            if (axis.number == 1) read_axis(axis.message());
          });
        });
      });
    });
    Fact fact;
    fact.exact = exact && !shape.empty();
    if (!shape.empty()) fact.shape = std::move(shape);
    return {name, std::move(fact)};
  }

  void count_text_of(const Field& field) {
    text_ += static_cast<double>(field.bytes.size());
    check_limit("bytes of names and comments", text_, limits::kText);
  }

  void count_stored() { check_limit("stored tensors", ++stored_, limits::kStored); }

  void count_made(double more, const std::string& maker) {
    made_ += more;
    check_limit("values made of constants", made_, limits::kMade, maker + " makes " + count_text(more) + " of them");
  }

  void function(std::string_view message) {
    Function found;
    std::string_view name;
    std::string_view domain;
    each(message, [&](const Field& field) {
      if (field.number == kBody) {
        found.nodes.push_back(field.message());
        check_limit("nodes", ++bodies_, limits::kNodes);
        return;
      }
      count_text_of(field);
      if (field.number == kName) name = field.bytes;
      if (field.number == kDomain) domain = field.bytes;
      if (field.number == kFrom) found.inputs.push_back(field.bytes);
      if (field.number == kTo) found.outputs.push_back(field.bytes);
    });
    functions_[{domain, name}] = std::move(found);
  }

  void graph(std::string_view message, const Scope* outer, std::int64_t depth) {
    check_limit("graphs within one another", static_cast<double>(depth), limits::kNesting);
    Scope scope(outer);
    std::vector<std::string_view> nodes;
    double inputs = 0;
    double outputs = 0;
    each(message, [&](const Field& field) {
      switch (field.number) {
        case kNode:
          nodes.push_back(field.message());
          return check_limit("nodes", nodes_ + static_cast<double>(nodes.size()), limits::kNodes);
        case kInitializer: {
          count_stored();
          auto [name, fact] = read_tensor(field.message());
          scope.facts[name] = std::move(fact);
          return;
        }
        case kSparse: count_stored(); return sparse(field.message());
        case kInput: {
          check_limit("inputs", ++inputs, limits::kPorts);
          auto [name, fact] = read_port(field.message());
          scope.facts.emplace(name, std::move(fact));
          return;
        }
        case kOutput:
          check_limit("outputs", ++outputs, limits::kPorts);
          read_port(field.message());
          return;
        default: return count_text_of(field);
      }
    });
    run(nodes, scope, depth);
  }

  void run(const std::vector<std::string_view>& nodes, Scope& scope, std::int64_t depth) {
    for (const std::string_view message : nodes) {
      check_limit("nodes", ++nodes_, limits::kNodes);
      node(message, scope, depth);
    }
  }

  void node(std::string_view message, Scope& scope, std::int64_t depth) {
    Step step;
    std::vector<std::string_view> outputs;
    std::vector<std::string_view> graphs;
    std::string_view kind;
    std::string_view domain;
    std::set<std::string_view> names;
    double given = 0;  // values of the inputs, each once
    each(message, [&](const Field& field) {
      if (field.number == kAttribute) {
        return attribute(field.message(), step, graphs);
      }
      count_text_of(field);
      if (field.number == kNodeInput) {
        step.inputs.push_back(scope.find(field.bytes));
        if (names.insert(field.bytes).second) given += step.inputs.back().amount();
      }
      if (field.number == kNodeOutput) outputs.push_back(field.bytes);
      if (field.number == kNodeKind) kind = field.bytes;
      if (field.number == kNodeDomain) domain = field.bytes;
    });
    for (const std::string_view inner : graphs) graph(inner, &scope, depth + 1);
    const auto called = functions_.find({domain, kind});
    std::vector<Fact> found;
    if (called != functions_.end()) {
      found = call(called->second, step.inputs, depth);
    } else {
      found.push_back(infer(kind, step));
      check_made(kind, given, found.front());
    }
    for (std::size_t i = 0; i < outputs.size() && i < found.size(); ++i) {
      scope.facts[outputs[i]] = std::move(found[i]);
    }
  }

  std::vector<Fact> call(const Function& function, const std::vector<Fact>& inputs, std::int64_t depth) {
    check_limit("graphs within one another", static_cast<double>(depth + 1), limits::kNesting);
    Scope scope(nullptr);
    for (std::size_t i = 0; i < inputs.size() && i < function.inputs.size(); ++i) {
      scope.facts[function.inputs[i]] = inputs[i];
    }
    run(function.nodes, scope, depth + 1);
    std::vector<Fact> found;
    for (const std::string_view name : function.outputs) found.push_back(scope.find(name));
    return found;
  }

  void check_made(std::string_view kind, double given, const Fact& fact) {
    double more = fact.amount();
    const std::string maker(more > 0 ? kind : "");
    check_limit("values in a tensor", more, limits::kTensor, maker + " makes " + count_text(more));
    if (!fact.constant) return;
    more -= given;
    if (more > 0) count_made(more, maker);
  }

  // A sparse tensor is laid out in full when it is loaded.
  void sparse(std::string_view message) {
    double count = 1;
    double axes = 0;
    each(message, [&](const Field& field) {
      if (field.number != kSparseDims) return;
      each_number(field, [&](std::uint64_t n) {
        check_limit("axes of a tensor", ++axes, limits::kAxes);
        count *= size_of(n);
      });
    });
    count_made(count, "a sparse tensor");
  }

  void attribute(std::string_view message, Step& step, std::vector<std::string_view>& graphs) {
    std::string_view name;
    Fact::Numbers ints;
    std::optional<Fact> tensor;
    each(message, [&](const Field& field) {
      switch (field.number) {
        case kAttributeName: name = field.bytes; return;
        case kInt:
        case kInts: return unpack_numbers(field, ints);
        case kTensorValue:
          count_stored();
          tensor = read_tensor(field.message()).second;
          return;
        case kGraphValue:
        case kGraphs: graphs.push_back(field.message()); return;
        case kSparseValue: return sparse(field.message());
        default: return;
      }
    });
    if (tensor) step.tensors[name] = std::move(*tensor);
    if (!ints.empty() && ints.size() <= kFew) step.ints[name] = std::move(ints);
  }

  std::map<std::pair<std::string_view, std::string_view>, Function> functions_{};
  double functions_read_ = 0;
  double bodies_ = 0;
  double nodes_ = 0;
  double stored_ = 0;
  double text_ = 0;
  double parts_ = 0;
  double made_ = 0;
};

}  // namespace

void check_graph_limits(std::string_view model) { Walk().model(model); }

}  // namespace deploykit
