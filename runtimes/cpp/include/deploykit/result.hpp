// What a model found in one image. Coordinates are pixels of the image.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "deploykit/spec.hpp"

namespace deploykit {

struct ClassScore {
  std::int64_t class_id = 0;
  std::string_view name;  // valid as long as a result or the model lives
  float score = 0;        // 0..1
};

struct Box {
  float x1 = 0, y1 = 0, x2 = 0, y2 = 0;
};

struct Point {
  float x = 0, y = 0;
};

struct Detection {
  Box box;  // clipped to the image; of a rotated one, the upright box around it, not clipped
  float score = 0;
  std::int64_t class_id = 0;
  std::string_view name;
};

// Angle in radians, clockwise, as y points down. Not clipped.
struct RotatedBox {
  float x = 0, y = 0, width = 0, height = 0, angle = 0;
};

// A feature map [C, H, W], or tokens [T, C], in the engine's own memory.
struct FeatureMap {
  std::string_view name;
  std::vector<std::int64_t> shape;
  const float* values = nullptr;
  std::shared_ptr<const void> owner;
};

// The vectors that a task does not fill are empty. Row i of every vector belongs to detections[i].
struct DEPLOYKIT_API Result {
  Task task = Task::features;
  Size image_size;
  std::vector<ClassScore> top;                // classify: best first
  std::vector<Detection> detections;          // detect, segment, pose, obb: best first
  std::vector<std::uint8_t> masks;            // segment: 0 or 1, [n, image height, image width]
  std::vector<float> keypoints;               // pose: [n, keypoint_count, keypoint_dims]
  std::vector<RotatedBox> rotated;            // obb
  std::vector<std::array<Point, 4>> corners;  // obb: in order around the box
  std::vector<FeatureMap> maps;               // features
  std::size_t keypoint_count = 0;
  std::size_t keypoint_dims = 0;
  std::shared_ptr<const Spec> spec;  // keeps the class names

  // The mask of one detection, [image height, image width].
  const std::uint8_t* mask(std::size_t index) const {
    return masks.data() + index * static_cast<std::size_t>(image_size.height * image_size.width);
  }
};

// The same document as Python's Result.to_dict().
DEPLOYKIT_API std::string to_json(const Result& result);

}  // namespace deploykit
