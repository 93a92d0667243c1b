// The sizes of tensors that follow from constants: one rule for each operator that can make something large.
#pragma once

#include <map>
#include <optional>
#include <string_view>
#include <vector>

namespace deploykit {

// Values of a constant that are kept: a shape has no more.
constexpr std::size_t kFew = 64;

// What is known of a tensor. Sizes are doubles, which cannot overflow: those that matter are far from exact.
struct Fact {
  using Numbers = std::vector<double>;

  std::optional<Numbers> shape{};   // the least size of each axis
  bool exact = false;               // whether `shape` is the shape itself
  double least = 0;                 // how many values there are at least, where there is no `shape`
  std::optional<Numbers> values{};  // in their order, where they follow from constants and are few
  bool constant = false;            // whether it follows from constants alone

  // The number of its values, or the least that it can be.
  double amount() const;
};

// One call of an operator: what is known of its inputs, and its attributes by name.
struct Step {
  std::vector<Fact> inputs{};
  std::map<std::string_view, Fact::Numbers> ints{};
  std::map<std::string_view, Fact> tensors{};

  // In place of an input that is left out.
  static const Fact& absent();
  const Fact& input(std::size_t index) const;
  // Of an input, or of the attribute that older operators had in its place.
  const Fact::Numbers* values(std::size_t index, std::string_view attribute = {}) const;
};

// What is known of the first output of a node.
Fact infer(std::string_view kind, const Step& step);

}  // namespace deploykit
