#include "images.hpp"

#include <stb_image.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>
#include <utility>

#include <deploykit/error.hpp>

#include "npy.hpp"
#include "tiff.hpp"

namespace tool {
namespace {

using Bytes = std::vector<std::uint8_t>;

Bytes read_file(const std::string& path) {
  struct stat status {};
  const bool exists = stat(path.c_str(), &status) == 0;
  if (!exists || !S_ISREG(status.st_mode)) {
    if (exists && S_ISDIR(status.st_mode)) {
      throw deploykit::InputError("Wanted an image, " + path + " is a folder.", "Give the images in it, one by one.");
    }
    throw deploykit::InputError("Image " + path + " does not exist.");
  }
  std::ifstream file(path, std::ios::binary);
  return Bytes(std::istreambuf_iterator<char>(file), {});
}

// stb_image fills what is missing of a JPEG file with grey instead of refusing it.
bool lacks_end(const Bytes& file) {
  if (file.size() < 4 || file[0] != 0xff || file[1] != 0xd8) return false;
  for (std::size_t i = file.size() - 1; i > 2; --i) {
    if (file[i] == 0xd9 && file[i - 1] == 0xff) return false;
  }
  return true;
}

std::uint32_t number(const Bytes& file, std::size_t at, std::size_t bytes, bool big_endian) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < bytes; ++i) {
    const std::size_t place = big_endian ? at + i : at + bytes - 1 - i;
    value = value << 8 | file[place];
  }
  return value;
}

// The tag 0x112 of the first directory of a TIFF structure between start and stop.
int tiff_orientation(const Bytes& file, std::size_t start, std::size_t stop) {
  if (stop - start < 8) return 1;
  const bool big_endian = file[start] == 'M';
  const std::size_t directory = start + number(file, start + 4, 4, big_endian);
  if (directory + 2 > stop) return 1;
  const std::uint32_t entries = number(file, directory, 2, big_endian);
  for (std::uint32_t i = 0; i < entries; ++i) {
    const std::size_t entry = directory + 2 + std::size_t{12} * i;
    if (entry + 12 > stop) return 1;
    if (number(file, entry, 2, big_endian) != 0x112) continue;
    const std::uint32_t value = number(file, entry + 8, 2, big_endian);
    return value >= 1 && value <= 8 ? static_cast<int>(value) : 1;
  }
  return 1;
}

Image upright(const std::uint8_t* pixels, std::int64_t height, std::int64_t width, std::int64_t channels,
              int orientation) {
  const bool swap = orientation >= 5;
  const bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image image;
  image.height = swap ? width : height;
  image.width = swap ? height : width;
  image.channels = channels;
  image.pixels.resize(static_cast<std::size_t>(channels * height * width));
  std::uint8_t* out = image.pixels.data();
  for (std::int64_t y = 0; y < image.height; ++y) {
    for (std::int64_t x = 0; x < image.width; ++x) {
      std::int64_t from_x = swap ? y : x;
      std::int64_t from_y = swap ? x : y;
      if (mirror_x) from_x = width - 1 - from_x;
      if (mirror_y) from_y = height - 1 - from_y;
      const std::uint8_t* pixel = pixels + channels * (from_y * width + from_x);
      for (std::int64_t c = 0; c < channels; ++c) *out++ = pixel[c];
    }
  }
  return image;
}

using Decoded = std::unique_ptr<std::uint8_t, void (*)(void*)>;

bool is_jpeg(const Bytes& file) { return file.size() > 1 && file[0] == 0xff && file[1] == 0xd8; }

// The number of channels that the header tells.
int channels_of(const std::string& path, const Bytes& file) {
  int width = 0;
  int height = 0;
  int channels = 0;
  if (stbi_info_from_memory(file.data(), static_cast<int>(file.size()), &width, &height, &channels) == 0) {
    const char* hint = is_tiff(file) ? "It is a TIFF file, which deploykit-run reads for models of 2, 4 or more "
                                       "channels only: convert it to PNG."
                                     : "stb_image tried to read it.";
    throw deploykit::InputError("Image " + path + " is not an image of a known format.", hint);
  }
  return channels;
}

// With as many channels as are asked for.
Image decode(const std::string& path, const Bytes& file, int channels, int orientation) {
  channels_of(path, file);
  int width = 0;
  int height = 0;
  int own = 0;
  const Decoded pixels(
      stbi_load_from_memory(file.data(), static_cast<int>(file.size()), &width, &height, &own, channels),
      stbi_image_free);
  if (pixels == nullptr || lacks_end(file)) {
    const char* reason = pixels == nullptr ? stbi_failure_reason() : "image file is truncated";
    throw deploykit::InputError("Image " + path + " is damaged or truncated.",
                                std::string("Its decoder says: ") + reason + ".");
  }
  return upright(pixels.get(), height, width, channels, orientation);
}

void refuse_16_bits(const std::string& path, const Bytes& file) {
  if (stbi_is_16_bit_from_memory(file.data(), static_cast<int>(file.size())) == 0) return;
  throw deploykit::InputError(
      "Image " + path + " has 16 bits per pixel, wanted 8: the training code clips values at 255.",
      "Scale the pixels to 0..255 first.");
}

// As OpenCV's decoders do it: the luma of JPEG files, libpng's 15 bits cut off, 14 bits rounded of others.
Image decode_grey(const std::string& path, const Bytes& file) {
  if (is_jpeg(file)) return decode(path, file, 1, exif_orientation(file));
  Image image = decode(path, file, 3, 1);
  const bool png = file[0] == 0x89;
  for (std::size_t i = 0; i < image.pixels.size() / 3; ++i) {
    const std::uint8_t* rgb = image.pixels.data() + 3 * i;
    const unsigned sum = png ? rgb[0] * 9797U + rgb[1] * 19234U + rgb[2] * 3737U
                             : rgb[0] * 4899U + rgb[1] * 9617U + rgb[2] * 1868U + (1U << 13);
    image.pixels[i] = static_cast<std::uint8_t>(sum >> (png ? 15 : 14));
  }
  image.pixels.resize(image.pixels.size() / 3);
  image.channels = 1;
  return image;
}

// The channels of the file. OpenCV has the colours of an RGBA image in the order blue, green, red.
Image decode_as_is(const std::string& path, const Bytes& file, std::int64_t wanted, bool opencv) {
  const int channels = channels_of(path, file);
  if (channels != wanted) {
    const std::string count = std::to_string(wanted);
    throw deploykit::InputError("The model takes images of " + count + " channels, Image " + path + " has " +
                                    std::to_string(channels) + ".",
                                "Give a .npy file of a uint8 array [H, W, " + count + "].");
  }
  Image image = decode(path, file, channels, 1);
  for (std::size_t i = 0; opencv && channels == 4 && i < image.pixels.size(); i += 4) {
    std::swap(image.pixels[i], image.pixels[i + 2]);
  }
  return image;
}

}  // namespace

int exif_orientation(const Bytes& file) {
  if (file.size() < 4 || !is_jpeg(file)) return 1;
  std::size_t at = 2;
  while (at + 4 <= file.size() && file[at] == 0xff && file[at + 1] != 0xda) {
    const std::size_t length = number(file, at + 2, 2, true);
    const std::size_t stop = at + 2 + length;
    if (length < 2 || stop > file.size()) return 1;
    static constexpr std::uint8_t name[6] = {'E', 'x', 'i', 'f', 0, 0};
    const bool exif = file[at + 1] == 0xe1 && length >= 8 &&
                      std::equal(name, name + 6, file.begin() + static_cast<std::ptrdiff_t>(at + 4));
    if (exif) return tiff_orientation(file, at + 10, stop);
    at = stop;
  }
  return 1;
}

Image read_image(const std::string& path) {
  const Bytes file = read_file(path);
  if (is_npy(path)) return read_npy(path, file);
  return decode(path, file, 3, exif_orientation(file));
}

Image read_image(const std::string& path, const deploykit::Spec& spec) {
  const deploykit::Preprocess& how = spec.preprocess;
  const bool grey = how.color == deploykit::Color::grey;
  if (is_npy(path) || !(grey || how.color == deploykit::Color::as_is)) return read_image(path);
  const bool opencv = how.resampler == deploykit::Resampler::opencv;
  const Bytes file = read_file(path);
  if (!grey && is_tiff(file)) return read_tiff(path, file, spec.input.channels, opencv);
  if (!opencv) refuse_16_bits(path, file);
  if (!grey) return decode_as_is(path, file, spec.input.channels, opencv);
  return opencv ? decode_grey(path, file) : decode(path, file, 3, exif_orientation(file));
}

}  // namespace tool
