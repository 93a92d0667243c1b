// The rows of every detection head above a score.
#pragma once

#include <cstdint>
#include <vector>

#include "deploykit/spec.hpp"
#include "answers/nms.hpp"

namespace deploykit {

// An output as float32, whatever the graph's own type.
struct FloatView {
  const float* values = nullptr;
  const std::vector<std::int64_t>* shape = nullptr;

  std::int64_t size(std::size_t axis) const { return (*shape)[axis]; }
  std::size_t axes() const { return shape->size(); }
};

struct HeadScratch {
  std::vector<float> best;
  std::vector<std::int32_t> best_class;
};

// Rows of one image of the batch that score above `conf`, in pixels of the tensor.
// Throws ModelError: the output's shape contradicts the contract.
void read_candidates(const FloatView& output, std::int64_t image, const Spec& spec, Size input_size, float conf,
                     Candidates& found, HeadScratch& scratch);

// A float that a graph gave as a class number.
std::int64_t class_id_of(float value);

}  // namespace deploykit
