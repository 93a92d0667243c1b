// What a model takes of an image: how many channels, which colours, and whose arithmetic mixes them.
#pragma once

#include <cstdint>
#include <vector>

#include "deploykit/image.hpp"
#include "deploykit/spec.hpp"
#include "pixels/resample.hpp"

namespace deploykit {

struct PixelFormat {
  Color color = Color::rgb;
  std::int64_t channels = 3;
  Resampler library = Resampler::pillow;

  bool is_colour() const { return color == Color::rgb || color == Color::bgr; }
};

// Throws ModelError: the model's colours and its number of channels contradict each other.
PixelFormat format_of(const Spec& spec);

// Throws InputError: the view is not an image that the model takes. Channels: 3 in the order of the view's colours; 1;
// or all of an image that is taken as it is.
Pixels pixels_of(const ImageView& image, const PixelFormat& format = {});

// Colours as grey in memory of the caller's; grey pixels as they are.
Pixels grey_pixels(const Pixels& source, Resampler library, std::vector<std::uint8_t>& memory);

// Writes uint8 [height, width, channels] as a graph takes them that holds its pre-processing.
void copy_image(const Pixels& source, const PixelFormat& format, std::uint8_t* out);

}  // namespace deploykit
