// An image into the model's input tensor, exactly as its training code does it.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "deploykit/image.hpp"
#include "geometry.hpp"
#include "resample.hpp"

namespace deploykit {

struct PreprocessScratch {
  ResampleScratch resample;
  std::vector<std::uint8_t> pixels;
};

// Value of every pixel value, per channel in the order of the tensor.
struct Normalisation {
  std::array<std::array<float, 256>, 3> values{};
  std::array<float, 3> padding{};
};

// Throws ModelError where the standard deviation is 0 or the values are not three.
Normalisation normalisation_of(const Preprocess& how);

// Throws InputError where the view is not an image.
Pixels pixels_of(const ImageView& image);

// Writes float32 [3, H, W], or [H, W, 3] where channels_last, of the size that the geometry plans.
void render(const Pixels& image, const Geometry& geometry, const Preprocess& how, const Normalisation& normalisation,
            bool channels_last, float* out, PreprocessScratch& scratch);

}  // namespace deploykit
