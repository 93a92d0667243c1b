// Where the pixels of an image lie in the input tensor, and the way back.
#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "deploykit/result.hpp"
#include "deploykit/spec.hpp"

namespace deploykit {

// All pairs are (vertical, horizontal) pixels. A region of the image is resized and put at `offset` in
// the tensor: padding where it does not reach, cropping where `offset` is negative or the tensor ends.
struct Geometry {
  std::array<std::int64_t, 2> image_size{};
  std::array<std::int64_t, 2> input_size{};
  std::array<std::int64_t, 4> region{};  // top, left, height, width
  std::array<std::int64_t, 2> resized{};
  std::array<std::int64_t, 2> offset{};

  // Tensor pixels per image pixel; the two differ where a side was rounded.
  double gain(std::size_t axis) const {
    return static_cast<double>(resized[axis]) / static_cast<double>(region[axis + 2]);
  }
  // The geometry of a graph whose coordinates are those of the image already.
  Geometry of_image() const;
  Box box_to_tensor(const Box& box) const;
  // Clipped to the image.
  Box box_to_image(const Box& box) const;
  Point point_to_image(Point point) const;
  // Not clipped.
  RotatedBox rotated_to_image(const RotatedBox& box) const;

 private:
  float unmapped(float value, std::size_t axis) const;
};

// Decide every size of the pre-processing of one image, without touching a pixel.
// Throws InputError: the image is empty, or the tensor size does not fit the model.
Geometry plan_geometry(Size image, const Preprocess& how, const InputSpec& tensor, const std::optional<Size>& imgsz);
// Refuse an image whose resize would take more memory than one is given.
// Throws InputError: one of its sides is many times the other.
void check_resized(const Geometry& plan);

}  // namespace deploykit
