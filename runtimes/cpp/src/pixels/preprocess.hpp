// An image into the model's input tensor, exactly as its training code does it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "deploykit/image.hpp"
#include "pixels/geometry.hpp"
#include "pixels/pixel_format.hpp"
#include "pixels/resample.hpp"

namespace deploykit {

struct PreprocessScratch {
  ResampleScratch resample;
  std::vector<std::uint8_t> pixels;
  std::vector<std::uint8_t> grey;
};

// Value of every pixel value, per channel in the order of the tensor; one table where all channels have the same.
struct Normalisation {
  std::vector<std::array<float, 256>> values;
  std::vector<float> padding;

  const std::array<float, 256>& values_of(std::size_t channel) const {
    return values[values.size() == 1 ? 0 : channel];
  }
  float padding_of(std::size_t channel) const { return padding[padding.size() == 1 ? 0 : channel]; }
};

// Throws ModelError where the standard deviation is 0, or there are other values than one for each channel, or for all.
Normalisation normalisation_of(const Preprocess& how, std::int64_t channels = 3);

// Writes float32 [C, H, W], or [H, W, C] where channels_last, of the size that the geometry plans.
void render(const Pixels& image, const Geometry& geometry, const Preprocess& how, const Normalisation& normalisation,
            bool channels_last, float* out, PreprocessScratch& scratch);

}  // namespace deploykit
