// What is kept of an output: sampled values, means along each axis, rows of answers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "deploykit/spec.hpp"
#include "deploykit/tensor.hpp"
#include "selftest/cases.hpp"

namespace deploykit::selftest {

// A tensor's values as float64.
struct Values {
  std::vector<std::int64_t> shape;
  std::vector<double> flat;

  // The length of the first axis; 0 of a scalar.
  std::size_t images() const { return shape.empty() ? 0 : static_cast<std::size_t>(shape[0]); }
};

// A slice of the outputs, its logarithm where part.log.
// Throws ModelError: there is no such output, no such slice of it, or it holds no numbers.
Values sliced(const std::vector<Tensor>& outputs, const Slice& part);

// The means along each axis that is longer than 1, one after the other. For an axis of up to 1024 that is a mean for
// each index; of a longer one for each of 64 equal stretches, and the same again with each index multiplied by 1 or
// -1: plain means are blind to what changes places within a stretch. The sign is that of random_number(1, index): -1
// where the number is odd.
std::vector<double> means(const Values& values);

// The answers of a batch.
struct Rows {
  std::size_t box = 0;                                   // columns that are coordinates
  std::size_t extra = 0;                                 // columns after them
  std::vector<std::vector<std::vector<double>>> images;  // of each its rows: class, logarithm of the score, the rest
};

// Throws ModelError: an output that the layout has is not there, or of another shape.
Rows rows_of(const std::vector<Tensor>& outputs, const Spec& spec);

// How far `boxes` of rotated detections are from the upright boxes around `rotated_boxes`, which rows hold; 0
// elsewhere, infinite where they have another shape. Throws ModelError, as above.
double upright_gap(const std::vector<Tensor>& outputs, const Spec& spec, const Rows& rows);

}  // namespace deploykit::selftest
