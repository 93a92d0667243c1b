// What the outputs of a file can mean that another exporter wrote, by the names that --outputs takes.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "deploykit/spec.hpp"
#include "deploykit/tensor.hpp"

namespace deploykit {

// One meaning of a graph's outputs.
struct OutputReading {
  const char* name;
  Task task;
  Layout layout;
  const char* shape;  // in words
  bool decoded = true;
  Activation activation = Activation::none;

  bool is_yolox() const;
};

const std::vector<OutputReading>& readings();
// Null if no reading has this name.
const OutputReading* find_reading(const std::string& name);
// The reading that a contract has; null for finished answers, which no reading is.
const OutputReading* reading_of(const Spec& spec);

// What --outputs says: a reading, and the keypoints of "yolo-pose:17x3".
struct Declared {
  const OutputReading* reading = nullptr;
  std::int64_t keypoints = 0;
  std::int64_t keypoint_dims = 0;
};

// Throws OptionError: there is no such reading.
Declared parse_outputs(const std::string& text);

// What is known of a model, 0 if nothing is.
struct Known {
  std::int64_t classes = 0;
  std::int64_t keypoints = 0;
  std::int64_t keypoint_dims = 0;
  std::string batch;  // the name of its axis
};

// exact: the sizes are those of such a head; open: the file leaves them open; odd: no head of these sizes is
// known, though an unusual one may have them.
enum class Match { exact, open, odd };

// A reading that the shapes do not contradict.
struct Fit {
  const OutputReading* reading = nullptr;
  Match match = Match::open;
  std::int64_t classes = 0;
  std::int64_t keypoints = 0;
  std::int64_t keypoint_dims = 0;
  std::int64_t mask_channels = 0;
};

std::string to_string(const Fit& fit);  // "yolo (80 classes)"

// "output0 float32 [1, 84, 8400]; output1 float32 [1, 32, 160, 160]"
std::string shapes_text(const std::vector<TensorInfo>& outputs);
// "a, b or c"
std::string either(const std::vector<std::string>& texts);

// Throws ModelError where it is not known what the outputs mean.
void refuse_unclear(const Spec& spec, const std::vector<TensorInfo>& outputs);

}  // namespace deploykit
