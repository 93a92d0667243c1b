// Instance masks from the prototypes and coefficients of a YOLO segmentation head.
#pragma once

#include <cstdint>
#include <vector>

#include "pixels/geometry.hpp"

namespace deploykit {

struct Prototypes {
  const float* values = nullptr;  // [channels, height, width]
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
};

struct MaskScratch {
  struct Axis {
    std::vector<std::int64_t> pixels;
    std::vector<std::int64_t> before;
    std::vector<std::int64_t> after;
    std::vector<float> share;

    void clear();
    void add(std::int64_t pixel, std::int64_t before_, std::int64_t after_, float share_);
    std::size_t size() const { return pixels.size(); }
  };
  Axis rows;
  Axis columns;
  std::vector<float> logits;
  std::vector<float> lines;
  std::vector<float> inside;
};

// Writes one mask, 0 or 1, at the resolution of the original image into zeroed memory [H, W].
//
// As Ultralytics' predict does it: the logits are enlarged to the size of the tensor (bilinear,
// half-pixel centres), cut at 0 and cropped to the box; that mask is then carried over to the image,
// bilinear again and cut at one half. Returns whether the mask has a pixel in the tensor; the image may show
// none of it.
bool decode_mask(const Prototypes& prototypes, const float* coefficients, const float* box, const Geometry& geometry,
                 std::uint8_t* mask, MaskScratch& scratch);

}  // namespace deploykit
