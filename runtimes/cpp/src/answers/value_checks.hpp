// Whether values are what a reading says that was inferred or declared: the proof that other files lack; and whether
// scores of any file are numbers. A wrong reading takes coordinates for scores, and scores for class numbers. Both show
// in the values.
#pragma once

#include <cstdint>

#include "deploykit/spec.hpp"

namespace deploykit {

// `rows` times `columns` values, of rows that begin `stride` apart.
struct Values {
  const float* first;
  std::int64_t rows;
  std::int64_t columns;
  std::int64_t stride;
};

// Refuse scores outside `least`..1; -1 where rows may be padded with it. Throws ModelError.
void check_scores(const Values& scores, const Spec& spec, float least = 0);
// Refuse NaN among the scores of detections: below every threshold, it would count as nothing found. Throws
// ModelError.
void check_numbers(const Values& scores);
// Refuse numbers of classes or images that are not whole. Throws ModelError.
void check_whole(const Values& numbers, const Spec& spec, const char* what);
// Refuse class scores [N, C] that are probabilities where logits are wanted, or the other way round.
void check_class_scores(const Values& scores, const Spec& spec);

}  // namespace deploykit
