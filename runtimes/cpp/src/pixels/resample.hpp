// The resizes of Pillow and of OpenCV, to the bit.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "deploykit/image.hpp"

namespace deploykit {

// Where the red, green and blue byte of a pixel is, whatever the caller's format; or one byte of grey.
struct Pixels {
  const std::uint8_t* first = nullptr;  // of the region's top-left pixel
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::ptrdiff_t row_bytes = 0;
  std::ptrdiff_t pixel_bytes = 3;
  std::size_t channels = 3;  // that are read: 3, or the first of rgb alone
  std::array<std::ptrdiff_t, 3> rgb{0, 1, 2};

  const std::uint8_t* row(std::int64_t y) const { return first + y * row_bytes; }
};

// A part of the resized image.
struct Window {
  std::int64_t top = 0;
  std::int64_t left = 0;
  std::int64_t bottom = 0;
  std::int64_t right = 0;

  std::int64_t height() const { return bottom - top; }
  std::int64_t width() const { return right - left; }
  std::size_t pixels() const { return static_cast<std::size_t>(height() * width()); }
};

// For output positions along one axis: the first source position and the weights of each.
struct Taps {
  std::array<std::int64_t, 5> key{};  // what they were computed for
  std::size_t count = 0;              // weights per position
  std::vector<std::int32_t> first;
  std::vector<std::int32_t> length;
  std::vector<std::int32_t> weights;
  std::vector<double> exact;  // scratch
};

// Memory of a resize, kept for the next one.
struct ResampleScratch {
  Taps across;
  Taps down;
  std::vector<std::uint8_t> lines;
  std::vector<std::uint8_t> middle;  // between the passes
  std::vector<std::int32_t> sums;
  std::vector<float> floats;
};

// Both write the window of the resized image as uint8 [window height, window width, channels].
// Throw ModelError: the library has no such interpolation.
void resize_pillow(const Pixels& source, std::int64_t height, std::int64_t width, Interpolation interpolation,
                   const Window& window, std::uint8_t* out, ResampleScratch& scratch);
void resize_opencv(const Pixels& source, std::int64_t height, std::int64_t width, Interpolation interpolation,
                   const Window& window, std::uint8_t* out, ResampleScratch& scratch);
// The pixels as they are, cut to the window.
void copy_pixels(const Pixels& source, const Window& window, std::uint8_t* out);

// Names the interpolation as the metadata does.
const char* to_string(Interpolation interpolation);

}  // namespace deploykit
