#include "preprocess.hpp"

#include <algorithm>
#include <string>

#include "deploykit/error.hpp"
#include "text.hpp"

namespace deploykit {
namespace {

double channel_value(const std::vector<double>& values, std::size_t channel) {
  return values[values.size() == 1 ? 0 : channel];
}

// The visible part of the resized region.
void resample(const Pixels& region, const Geometry& geometry, const Preprocess& how, const Window& visible,
              PreprocessScratch& scratch) {
  const auto [height, width] = geometry.resized;
  scratch.pixels.resize(visible.bytes());
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

Normalisation normalisation_of(const Preprocess& how) {
  Normalisation out;
  for (const std::vector<double>* values : {&how.mean, &how.std}) {
    if (values->size() != 1 && values->size() != 3) {
      throw ModelError("The model's pre-processing wants a mean and std of 3 channels, found " +
                       std::to_string(values->size()) + " values.");
    }
  }
  for (std::size_t channel = 0; channel < 3; ++channel) {
    const double std = channel_value(how.std, channel);
    if (std == 0.0) throw ModelError("The model's pre-processing divides by a standard deviation of 0.");
    // One multiply and one add in float32, as in Python.
    const auto gain = static_cast<float>(how.scale / std);
    const auto bias = static_cast<float>(-channel_value(how.mean, channel) / std);
    for (std::size_t value = 0; value < 256; ++value) {
      out.values[channel][value] = static_cast<float>(value) * gain + bias;
    }
    out.padding[channel] = static_cast<float>(how.pad_value) * gain + bias;
  }
  return out;
}

Pixels pixels_of(const ImageView& image) {
  const bool known = image.channels == 1 || image.channels == 3 || image.channels == 4;
  if (!known || image.height < 1 || image.width < 1) {
    throw InputError("Wanted an array of shape [H, W, 3] (or [H, W, 4], [H, W]), found " +
                     list_text(std::vector<std::int64_t>{image.height, image.width, image.channels}) + ".");
  }
  if (image.pixels == nullptr) throw InputError("Wanted an image with pixels, found a null pointer.");
  const std::int64_t tight = image.width * image.channels;
  if (image.row_bytes != 0 && std::abs(image.row_bytes) < tight) {
    throw InputError("Rows of " + std::to_string(image.width) + " pixels have " + std::to_string(tight) +
                     " bytes or more, found row_bytes=" + std::to_string(image.row_bytes) + ".");
  }
  Pixels pixels;
  pixels.first = image.pixels;
  pixels.height = image.height;
  pixels.width = image.width;
  pixels.row_bytes = image.row_bytes == 0 ? tight : image.row_bytes;
  pixels.pixel_bytes = image.channels;
  if (image.channels == 1) {
    pixels.rgb = {0, 0, 0};
  } else if (image.order == ColorOrder::bgr) {
    pixels.rgb = {2, 1, 0};
  }
  return pixels;
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
  resample(region, geometry, how, visible, scratch);

  const std::int64_t pixel_step = channels_last ? 3 : 1;
  const bool padded = visible.height() != height || visible.width() != width;
  for (std::int64_t channel = 0; channel < 3; ++channel) {
    const auto index = static_cast<std::size_t>(channel);
    float* plane = out + (channels_last ? channel : channel * height * width);
    if (padded) {
      for (std::int64_t i = 0; i < height * width; ++i) plane[i * pixel_step] = normalisation.padding[index];
    }
    const std::array<float, 256>& values = normalisation.values[index];
    const std::uint8_t* pixel = scratch.pixels.data() + (how.color == ColorOrder::rgb ? channel : 2 - channel);
    for (std::int64_t y = top; y < bottom; ++y) {
      float* target = plane + (y * width + left) * pixel_step;
      for (std::int64_t x = left; x < right; ++x, pixel += 3, target += pixel_step) *target = values[*pixel];
    }
  }
}

}  // namespace deploykit
