#include "pixels/pixel_format.hpp"

#include <algorithm>
#include <string>

#include "deploykit/error.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

// ITU-R BT.601 in the integers of Pillow's convert("L") and of OpenCV's cvtColor.
struct Weights {
  std::uint32_t red;
  std::uint32_t green;
  std::uint32_t blue;
  int bits;
};

constexpr Weights kPillow{19595, 38470, 7471, 16};
constexpr Weights kOpenCV{9798, 19235, 3735, 15};

void mix(const Pixels& source, Resampler library, std::uint8_t* out) {
  const Weights weights = library == Resampler::pillow ? kPillow : kOpenCV;
  const auto [red, green, blue] = source.rgb;
  const std::uint32_t half = 1U << (weights.bits - 1);
  for (std::int64_t y = 0; y < source.height; ++y) {
    const std::uint8_t* pixel = source.row(y);
    for (std::int64_t x = 0; x < source.width; ++x, pixel += source.pixel_bytes) {
      const std::uint32_t sum =
          pixel[red] * weights.red + pixel[green] * weights.green + pixel[blue] * weights.blue + half;
      *out++ = static_cast<std::uint8_t>(sum >> weights.bits);
    }
  }
}

std::string shapes_text(const PixelFormat& format) {
  if (format.is_colour()) return "[H, W, 3] (or [H, W, 4], [H, W])";
  if (format.color == Color::grey) return "[H, W] or [H, W, 1] (or RGB [H, W, 3])";
  return "[H, W, " + std::to_string(format.channels) + "]" + (format.channels == 1 ? " or [H, W]" : "");
}

const char* name_of(Color color) {
  switch (color) {
    case Color::rgb: return "rgb";
    case Color::bgr: return "bgr";
    case Color::grey: return "grey";
    case Color::as_is: break;
  }
  return "as_is";
}

}  // namespace

PixelFormat format_of(const Spec& spec) {
  const PixelFormat format{spec.preprocess.color, spec.input.channels, spec.preprocess.resampler};
  const std::int64_t wanted = format.is_colour() ? 3 : format.color == Color::grey ? 1 : format.channels;
  if (format.channels != wanted || format.channels < 1) {
    throw ModelError("The model takes " + std::to_string(format.channels) +
                         " channels, but its pre-processing makes " + name_of(format.color) + " images of " +
                         std::to_string(wanted) + ".",
                     "Export the checkpoint again, or prepare the tensor yourself and call runner.infer().");
  }
  return format;
}

Pixels pixels_of(const ImageView& image, const PixelFormat& format) {
  const std::int64_t channels = image.channels;
  const bool as_is = format.color == Color::as_is;
  const bool known = as_is ? channels == format.channels : channels == 1 || channels == 3 || channels == 4;
  if (!known || image.height < 1 || image.width < 1) {
    throw InputError("Wanted an array of shape " + shapes_text(format) + ", found " +
                     list_text(std::vector<std::int64_t>{image.height, image.width, channels}) + ".");
  }
  if (image.pixels == nullptr) throw InputError("Wanted an image with pixels, found a null pointer.");
  const std::int64_t tight = image.width * channels;
  if (image.row_bytes != 0 && std::abs(image.row_bytes) < tight) {
    throw InputError("Rows of " + std::to_string(image.width) + " pixels have " + std::to_string(tight) +
                     " bytes or more, found row_bytes=" + std::to_string(image.row_bytes) + ".");
  }
  Pixels pixels;
  pixels.first = image.pixels;
  pixels.height = image.height;
  pixels.width = image.width;
  pixels.row_bytes = image.row_bytes == 0 ? tight : image.row_bytes;
  pixels.pixel_bytes = channels;
  if (as_is) {
    pixels.channels = static_cast<std::size_t>(channels);
  } else if (channels == 1) {
    pixels.channels = format.color == Color::grey ? 1 : 3;
    pixels.rgb = {0, 0, 0};
  } else if (image.order == ColorOrder::bgr) {
    pixels.rgb = {2, 1, 0};
  }
  return pixels;
}

Pixels grey_pixels(const Pixels& source, Resampler library, std::vector<std::uint8_t>& memory) {
  if (source.channels == 1) return source;
  memory.resize(static_cast<std::size_t>(source.height * source.width));
  mix(source, library, memory.data());
  Pixels grey;
  grey.first = memory.data();
  grey.height = source.height;
  grey.width = source.width;
  grey.row_bytes = source.width;
  grey.pixel_bytes = 1;
  grey.channels = 1;
  grey.rgb = {0, 0, 0};
  return grey;
}

void copy_image(const Pixels& source, const PixelFormat& format, std::uint8_t* out) {
  if (format.color == Color::grey && source.channels == 3) return mix(source, format.library, out);
  if (format.color != Color::as_is) return copy_pixels(source, {0, 0, source.height, source.width}, out);
  for (std::int64_t y = 0; y < source.height; ++y) {
    out = std::copy_n(source.row(y), source.width * source.pixel_bytes, out);
  }
}

}  // namespace deploykit
