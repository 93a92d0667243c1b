// The golden cases of a model file, out of the metadata keys that hold them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "selftest/bits.hpp"

namespace deploykit::selftest {

// By precision: the largest difference of each part.
using Tolerances = std::map<std::string, std::vector<double>>;

// Part of an output that is compared against a scale of its own.
struct Slice {
  std::string output;
  std::int64_t axis = -1;  // -1: the whole output
  std::int64_t start = 0;
  std::int64_t stop = 0;
  bool log = false;   // probabilities, compared by the logarithm of p + 1e-3, so that small ones count too
  bool best = false;  // the index of the largest value of each image is compared as well
};

// What a case keeps of a slice.
struct KeptValues {
  Slice part;
  std::vector<float> samples;      // at positions() of the flattened slice
  std::vector<float> means;        // along each axis, see means()
  std::vector<std::int64_t> best;  // of each image: the index of its largest value
  std::vector<float> margins;      // by how much that is larger than the next one
  Tolerances tolerances;           // of a sample, of a mean

  std::string name() const;  // "logits", "output0[4:84]"
};

// What a case keeps of answers that come as rows in the order of their scores.
struct KeptRows {
  std::int64_t box = 0;     // columns that are coordinates
  std::int64_t extra = 0;   // columns after them
  std::vector<float> rows;  // [R, 3 + box + extra]: the image, the class, the logarithm of the score, the rest
  std::vector<float> cuts;  // of each image, the logarithm of the score below which rows may be missing
  Tolerances tolerances;    // of a score (logarithm), a coordinate, the rest

  std::string name() const { return "answers"; }
  std::size_t width() const { return static_cast<std::size_t>(3 + box + extra); }
};

using Kept = std::variant<KeptValues, KeptRows>;

std::string name_of(const Kept& kept);
const Tolerances& tolerances_of(const Kept& kept);

// image: pre-processed as predict does it, or fed as it is where that is in the graph; tensor: of the size of the
// tensor, normalised only.
enum class Stage { image, tensor };

struct Case {
  std::shared_ptr<const Picture> picture;  // what its images are views of; null: noise
  std::uint64_t seed = 0;                  // of the noise
  std::int64_t batch = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  Stage stage = Stage::image;
  std::int64_t soft = 0;  // how many times the contrast is halved
  std::vector<Kept> kept;

  std::string title() const;  // "photo 3x224x224"
};

// Empty where the file has none. Throws ModelError: a key is missing or malformed.
std::vector<Case> cases_from_keys(const std::map<std::string, std::string>& metadata);

}  // namespace deploykit::selftest
