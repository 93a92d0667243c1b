#include "pixels/preprocess.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "deploykit/error.hpp"
#include "pixels/pixel_format.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

double channel_value(const std::vector<double>& values, std::size_t channel) {
  return values[values.size() == 1 ? 0 : channel];
}

// As Python writes a tuple.
std::string numbers_text(const std::vector<double>& values) {
  std::vector<std::string> texts;
  for (const double value : values) texts.push_back(number_text(value));
  return "(" + join(texts, ", ") + (texts.size() == 1 ? ",)" : ")");
}

// The visible part of the resized region.
void resample(const Pixels& region, const Geometry& geometry, const Preprocess& how, const Window& visible,
              PreprocessScratch& scratch) {
  const auto [height, width] = geometry.resized;
  scratch.pixels.resize(visible.pixels() * region.channels);
  std::uint8_t* out = scratch.pixels.data();
  if (region.height == height && region.width == width) {
    copy_pixels(region, visible, out);
  } else if (how.resampler == Resampler::opencv) {
    resize_opencv(region, height, width, how.interpolation, visible, out, scratch.resample);
  } else {
    resize_pillow(region, height, width, how.interpolation, visible, out, scratch.resample);
  }
}

}  // namespace

Normalisation normalisation_of(const Preprocess& how, std::int64_t channels) {
  Normalisation out;
  for (const std::vector<double>* values : {&how.mean, &how.std}) {
    if (values->size() != 1 && static_cast<std::int64_t>(values->size()) != channels) {
      throw ModelError("The model's pre-processing wants a mean and std of " + std::to_string(channels) +
                       " channels, found " + std::to_string(values->size()) + " values.");
    }
  }
  const std::size_t tables = std::max(how.mean.size(), how.std.size());
  out.values.resize(tables);
  out.padding.resize(tables);
  for (std::size_t channel = 0; channel < tables; ++channel) {
    const double std = channel_value(how.std, channel);
    if (std == 0.0) throw ModelError("The model's pre-processing divides by a standard deviation of 0.");
    // One multiply and one add in float32, as in Python.
    const auto gain = static_cast<float>(how.scale / std);
    const auto bias = static_cast<float>(-channel_value(how.mean, channel) / std);
    if (!std::isfinite(gain) || !std::isfinite(bias)) {
      throw ModelError("The model's pre-processing wants finite numbers, found scale " + number_text(how.scale) +
                       ", mean " + numbers_text(how.mean) + ", std " + numbers_text(how.std) + ".");
    }
    for (std::size_t value = 0; value < 256; ++value) {
      out.values[channel][value] = static_cast<float>(value) * gain + bias;
    }
    out.padding[channel] = static_cast<float>(how.pad_value) * gain + bias;
  }
  return out;
}

void render(const Pixels& image, const Geometry& geometry, const Preprocess& how, const Normalisation& normalisation,
            bool channels_last, float* out, PreprocessScratch& scratch) {
  const auto [height, width] = geometry.input_size;
  const auto [first_row, first_column] = geometry.offset;
  const std::int64_t top = std::max<std::int64_t>(0, first_row);
  const std::int64_t left = std::max<std::int64_t>(0, first_column);
  const std::int64_t bottom = std::min(height, first_row + geometry.resized[0]);
  const std::int64_t right = std::min(width, first_column + geometry.resized[1]);
  const Window visible{top - first_row, left - first_column, bottom - first_row, right - first_column};

  Pixels region = image;
  region.first += geometry.region[0] * image.row_bytes + geometry.region[1] * image.pixel_bytes;
  region.height = geometry.region[2];
  region.width = geometry.region[3];
  if (how.color == Color::grey) region = grey_pixels(region, how.resampler, scratch.grey);

  // Colours are resized together, other channels each by itself.
  const bool colour = how.color == Color::rgb || how.color == Color::bgr;
  const std::size_t total = region.channels;
  const std::size_t together = colour ? 3 : 1;
  const std::int64_t pixel_step = channels_last ? static_cast<std::int64_t>(total) : 1;
  const bool padded = visible.height() != height || visible.width() != width;
  for (std::size_t channel = 0; channel < total; ++channel) {
    if (channel % together == 0) {
      Pixels part = region;
      if (!colour) {
        part.first += channel;
        part.channels = 1;
        part.rgb = {0, 0, 0};
      }
      resample(part, geometry, how, visible, scratch);
    }
    float* plane = out + static_cast<std::int64_t>(channel) * (channels_last ? 1 : height * width);
    if (padded) {
      const float padding = normalisation.padding_of(channel);
      for (std::int64_t i = 0; i < height * width; ++i) plane[i * pixel_step] = padding;
    }
    const std::array<float, 256>& values = normalisation.values_of(channel);
    const std::size_t byte = channel % together;
    const std::uint8_t* pixel = scratch.pixels.data() + (how.color == Color::bgr ? 2 - byte : byte);
    for (std::int64_t y = top; y < bottom; ++y) {
      float* target = plane + (y * width + left) * pixel_step;
      for (std::int64_t x = left; x < right; ++x, pixel += together, target += pixel_step) *target = values[*pixel];
    }
  }
}

}  // namespace deploykit
