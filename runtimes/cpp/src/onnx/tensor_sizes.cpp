#include "onnx/tensor_sizes.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace deploykit {
namespace {

using Numbers = Fact::Numbers;
using Rule = Fact (*)(const Step&);

double product(const Numbers& numbers) {
  return std::accumulate(numbers.begin(), numbers.end(), 1.0, [](double a, double b) { return a * b; });
}

Fact sized(Numbers sizes) {
  for (double& n : sizes) n = std::max(n, 0.0);
  Fact fact;
  fact.shape = std::move(sizes);
  return fact;
}

Fact at_least(double count) {
  Fact fact;
  fact.least = count;
  return fact;
}

Fact list(Numbers values) {
  Fact fact = sized({static_cast<double>(values.size())});
  fact.values = std::move(values);
  return fact;
}

Fact same(const Step& step) { return step.input(0); }

Fact shape_kept(const Step& step) {
  Fact fact = step.input(0);
  fact.values.reset();
  return fact;
}

template <class Function>
Fact each(const Step& step, Function function) {
  Fact fact = step.input(0);
  if (fact.values) {
    for (double& n : *fact.values) n = function(n);
  }
  return fact;
}

Fact negative(const Step& step) {
  return each(step, [](double n) { return -n; });
}
Fact floor_of(const Step& step) {
  return each(step, [](double n) { return std::floor(n); });
}
Fact ceiling_of(const Step& step) {
  return each(step, [](double n) { return std::ceil(n); });
}

Fact constant(const Step& step) {
  const auto tensor = step.tensors.find("value");
  if (tensor != step.tensors.end()) return tensor->second;
  const auto number = step.ints.find("value_int");
  if (number != step.ints.end()) {
    Fact fact = sized({});
    fact.values = number->second;
    return fact;
  }
  const auto numbers = step.ints.find("value_ints");
  return numbers == step.ints.end() ? Fact{} : list(numbers->second);
}

Numbers broadcast(const Numbers& left, const Numbers& right) {
  Numbers found(std::max(left.size(), right.size()), 1.0);
  for (std::size_t i = 0; i < found.size(); ++i) {
    const double a = i < left.size() ? left[left.size() - 1 - i] : 1;
    const double b = i < right.size() ? right[right.size() - 1 - i] : 1;
    found[found.size() - 1 - i] = a == 1 ? b : b == 1 ? a : std::max(a, b);
  }
  return found;
}

// Of inputs that are brought to one shape.
Fact together(const std::vector<Fact>& given) {
  const bool known = std::all_of(given.begin(), given.end(), [](const Fact& one) { return one.shape.has_value(); });
  Numbers shape;
  double most = 0;
  for (const Fact& one : given) {
    most = std::max(most, one.amount());
    if (known) shape = broadcast(shape, *one.shape);
  }
  return known ? sized(std::move(shape)) : at_least(most);
}

Fact pointwise(const Step& step) { return step.inputs.empty() ? Fact{} : together(step.inputs); }

template <class Function>
Fact computed(const Step& step, Function function) {
  Fact fact = pointwise(step);
  if (step.inputs.size() != 2 || !step.inputs[0].values || !step.inputs[1].values) return fact;
  const Numbers& left = *step.inputs[0].values;
  const Numbers& right = *step.inputs[1].values;
  const bool fits = left.size() == right.size() || left.size() == 1 || right.size() == 1;
  if (left.empty() || right.empty() || !fits) return fact;
  Numbers values(std::max(left.size(), right.size()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = function(left[left.size() == 1 ? 0 : i], right[right.size() == 1 ? 0 : i]);
  }
  fact.values = std::move(values);
  return fact;
}

bool is_whole(double n) { return std::trunc(n) == n; }

// Of whole numbers; others are divided for the scales of a resize, which no limit depends on.
double quotient(double a, double b) {
  const double found = b != 0 ? a / b : std::numeric_limits<double>::quiet_NaN();
  return is_whole(a) && is_whole(b) && std::isfinite(found) ? std::trunc(found) : found;
}

Fact sum(const Step& step) {
  return computed(step, [](double a, double b) { return a + b; });
}
Fact difference(const Step& step) {
  return computed(step, [](double a, double b) { return a - b; });
}
Fact times(const Step& step) {
  return computed(step, [](double a, double b) { return a * b; });
}
Fact divided(const Step& step) { return computed(step, quotient); }
Fact largest(const Step& step) {
  return computed(step, [](double a, double b) { return std::max(a, b); });
}
Fact smallest(const Step& step) {
  return computed(step, [](double a, double b) { return std::min(a, b); });
}

Fact concatenated(const Step& step) {
  const std::vector<Fact>& given = step.inputs;
  double amount = 0;
  bool values = !given.empty();
  bool shapes = !given.empty();
  for (const Fact& one : given) {
    amount += one.amount();
    values = values && one.values;
    shapes = shapes && one.shape && !one.shape->empty() && one.shape->size() == given[0].shape->size();
  }
  if (values) {
    Numbers joined;
    for (const Fact& one : given) {
      joined.insert(joined.end(), one.values->begin(), one.values->end());
      if (joined.size() > kFew) return at_least(amount);
    }
    return list(std::move(joined));
  }
  const auto attribute = step.ints.find("axis");
  double axis = attribute == step.ints.end() || attribute->second.empty() ? 0 : attribute->second[0];
  const double axes = shapes ? static_cast<double>(given[0].shape->size()) : 0;
  if (axis < 0) axis += axes;
  if (!(axis >= 0 && axis < axes)) return at_least(amount);
  const auto joint = static_cast<std::size_t>(axis);
  Numbers total = *given[0].shape;
  for (std::size_t i = 1; i < given.size(); ++i) {
    for (std::size_t k = 0; k < total.size(); ++k) {
      const double n = (*given[i].shape)[k];
      total[k] = k == joint ? total[k] + n : std::max(total[k], n);
    }
  }
  return sized(std::move(total));
}

Fact shape_of(const Step& step) {
  const Fact& given = step.input(0);
  const bool part = step.ints.count("start") + step.ints.count("end") != 0;
  return given.shape && given.exact && !part ? list(*given.shape) : Fact{};
}

Fact size_of(const Step& step) {
  const Fact& given = step.input(0);
  if (!given.shape || !given.exact) return {};
  Fact fact = sized({});
  fact.values = Numbers{given.amount()};
  return fact;
}

// The same values on other axes.
Fact reshaped(const Step& step) {
  Fact fact = at_least(step.input(0).amount());
  fact.values = step.input(0).values;
  return fact;
}

Fact transposed(const Step& step) { return at_least(step.input(0).amount()); }

Fact gathered(const Step& step) {
  const Numbers* values = step.values(0);
  const Numbers* places = step.values(1);
  if (values == nullptr || places == nullptr) return {};
  const auto count = static_cast<double>(values->size());
  Fact fact;
  fact.shape = step.input(1).shape;
  fact.values.emplace();
  for (const double place : *places) {
    if (!(place >= -count && place < count)) return {};
    fact.values->push_back((*values)[static_cast<std::size_t>(place < 0 ? place + count : place)]);
  }
  return fact;
}

// Along the first axis, as Python slices.
Fact sliced(const Step& step) {
  const Numbers* values = step.values(0);
  const Numbers* starts = step.values(1, "starts");
  const Numbers* ends = step.values(2, "ends");
  const Numbers* steps = step.values(4);
  const double by = steps == nullptr || steps->empty() ? 1 : std::clamp((*steps)[0], -1e9, 1e9);
  if (values == nullptr || starts == nullptr || ends == nullptr || starts->empty() || ends->empty()) return {};
  if (!is_whole(by) || by == 0) return {};
  const auto count = static_cast<double>(values->size());
  const auto place = [&](double n) {
    if (n < 0) n += count;
    return by > 0 ? std::clamp(n, 0.0, count) : std::clamp(n, -1.0, count - 1);
  };
  const double stop = place((*ends)[0]);
  Numbers part;
  for (double at = place((*starts)[0]); by > 0 ? at < stop : at > stop; at += by) {
    part.push_back((*values)[static_cast<std::size_t>(at)]);
  }
  return list(std::move(part));
}

Fact product_of(const Step& step) {
  if (!step.input(0).values) return {};
  Fact fact = at_least(1);
  fact.values = Numbers{product(*step.input(0).values)};
  return fact;
}

Fact of_shape(const Step& step) {
  const Numbers* values = step.values(0, "shape");
  return values == nullptr ? Fact{} : sized(*values);
}

Fact expanded(const Step& step) {
  const Numbers* target = step.values(1);
  if (target == nullptr) return at_least(step.input(0).amount());
  Numbers shape = *target;
  for (double& n : shape) n = std::max(n, 1.0);
  return together({sized(std::move(shape)), step.input(0)});
}

Fact tiled(const Step& step) {
  const Fact& given = step.input(0);
  const Numbers* repeats = step.values(1);
  if (repeats == nullptr) return {};
  Numbers shape = *repeats;
  for (double& n : shape) n = std::max(n, 0.0);
  if (!given.shape || given.shape->size() != shape.size()) {
    return at_least(std::max(given.amount(), 1.0) * product(shape));
  }
  for (std::size_t i = 0; i < shape.size(); ++i) shape[i] *= (*given.shape)[i];
  return sized(std::move(shape));
}

Fact range(const Step& step) {
  const Numbers* bounds[3] = {step.values(0), step.values(1), step.values(2)};
  for (const Numbers* one : bounds) {
    if (one == nullptr || one->empty()) return {};
  }
  const double delta = bounds[2]->front();
  return delta == 0 ? Fact{} : sized({(bounds[1]->front() - bounds[0]->front()) / delta});
}

// Inputs of Resize: image, region, scales, sizes; of Upsample, and of those before opset 11: image, scales.
Fact resized(const Step& step) {
  const Fact& given = step.input(0);
  const Numbers* sizes = step.values(3);
  const Numbers* scales = step.inputs.size() > 2 ? step.values(2) : step.values(1);
  if (sizes != nullptr && !sizes->empty() && step.ints.count("axes") == 0) return sized(*sizes);
  if (scales == nullptr || scales->empty() || !given.shape || given.shape->size() != scales->size()) return {};
  Numbers shape = *given.shape;
  for (std::size_t i = 0; i < shape.size(); ++i) shape[i] *= (*scales)[i];
  return sized(std::move(shape));
}

Fact padded(const Step& step) {
  const Fact& given = step.input(0);
  const Numbers* pads = step.values(1, "pads");
  if (pads == nullptr || !given.shape || pads->size() != 2 * given.shape->size()) return {};
  if (pads->empty() || step.inputs.size() > 3) return {};
  Numbers shape = *given.shape;
  for (std::size_t i = 0; i < shape.size(); ++i) shape[i] += (*pads)[i] + (*pads)[i + shape.size()];
  return sized(std::move(shape));
}

Fact one_hot(const Step& step) {
  const Numbers* depth = step.values(1);
  if (depth == nullptr || depth->empty()) return {};
  return at_least(std::max(step.input(0).amount(), 1.0) * depth->front());
}

const std::map<std::string_view, Rule>& rules() {
  static const std::map<std::string_view, Rule> table = [] {
    std::map<std::string_view, Rule> rules{
        {"Identity", same},          {"Cast", same},          {"Neg", negative},        {"Floor", floor_of},
        {"Ceil", ceiling_of},        {"Constant", constant},  {"Add", sum},             {"Sub", difference},
        {"Mul", times},              {"Div", divided},        {"Max", largest},         {"Min", smallest},
        {"Concat", concatenated},    {"Shape", shape_of},     {"Size", size_of},        {"Transpose", transposed},
        {"Gather", gathered},        {"Slice", sliced},       {"ReduceProd", product_of},
        {"ConstantOfShape", of_shape}, {"RandomUniform", of_shape}, {"RandomNormal", of_shape},
        {"Expand", expanded},        {"Tile", tiled},         {"Range", range},         {"Resize", resized},
        {"Upsample", resized},       {"Pad", padded},         {"OneHot", one_hot}};
    for (const char* name :
         {"Relu",        "Abs",         "Sqrt",   "Exp",  "Sigmoid",    "Tanh", "Erf",  "Softmax",
          "Dropout",     "Clip",        "LeakyRelu", "Log", "HardSigmoid", "HardSwish", "Mish", "Elu",
          "Gelu",        "Reciprocal",  "Not",    "Sin",  "Cos",        "CumSum", "Trilu", "DequantizeLinear",
          "QuantizeLinear", "LayerNormalization", "BatchNormalization", "InstanceNormalization",
          "RandomNormalLike", "RandomUniformLike", "Bernoulli", "EyeLike"}) {
      rules[name] = shape_kept;
    }
    for (const char* name : {"Pow", "Equal", "Greater", "Less", "And", "Or", "Where", "Sum", "Mean", "Mod"}) {
      rules[name] = pointwise;
    }
    for (const char* name : {"Squeeze", "Unsqueeze", "Reshape", "Flatten"}) rules[name] = reshaped;
    return rules;
  }();
  return table;
}

}  // namespace

double Fact::amount() const { return shape ? product(*shape) : least; }

const Fact& Step::absent() {
  static const Fact fact = [] {
    Fact none;
    none.exact = none.constant = true;
    return none;
  }();
  return fact;
}

const Fact& Step::input(std::size_t index) const { return index < inputs.size() ? inputs[index] : absent(); }

const Fact::Numbers* Step::values(std::size_t index, std::string_view attribute) const {
  const Fact& given = input(index);
  if (given.values && !given.values->empty()) return &*given.values;
  const auto found = ints.find(attribute);
  if (found != ints.end()) return &found->second;
  return given.values ? &*given.values : nullptr;
}

Fact infer(std::string_view kind, const Step& step) {
  const auto rule = rules().find(kind);
  if (rule == rules().end()) return {};
  Fact fact = rule->second(step);
  fact.exact = fact.shape.has_value();
  fact.constant = true;
  for (const Fact& given : step.inputs) {
    fact.exact = fact.exact && given.exact;
    fact.constant = fact.constant && (given.constant || given.values);
  }
  if (fact.values && fact.values->size() > kFew) fact.values.reset();
  return fact;
}

}  // namespace deploykit
