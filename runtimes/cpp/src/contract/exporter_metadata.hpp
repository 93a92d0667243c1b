// What other exporters write about a model into its file: Ultralytics, and the repository of YOLOv5.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "deploykit/spec.hpp"

namespace deploykit {

struct Told {
  std::string origin = "foreign";  // or "ultralytics", "yolov5"
  std::optional<Task> task;        // nothing where only the shapes tell
  std::vector<std::string> classes;
  std::optional<Size> size;
  std::int64_t stride = 32;
  std::int64_t keypoints = 0;
  std::int64_t keypoint_dims = 0;
  std::string finished;   // the key that tells whether boxes are finished; empty: none does
  bool rows = false;      // whether they are, one in a row
  std::int64_t most = 0;  // images of one run, where the graph handles each by nodes of its own; 0: any
  bool shares = false;    // boxes are shares of the image, as those of RT-DETR
};

// Throws ModelError: a value cannot be used, or the task is not one that deploykit answers.
Told read_exporter_metadata(const std::map<std::string, std::string>& metadata);

}  // namespace deploykit
