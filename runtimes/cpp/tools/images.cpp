#include "images.hpp"

#include <stb_image.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <memory>

#include <deploykit/error.hpp>

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

Image upright(const std::uint8_t* pixels, std::int64_t height, std::int64_t width, int orientation) {
  const bool swap = orientation >= 5;
  const bool mirror_x = orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool mirror_y = orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;
  Image image;
  image.height = swap ? width : height;
  image.width = swap ? height : width;
  image.pixels.resize(static_cast<std::size_t>(3 * height * width));
  std::uint8_t* out = image.pixels.data();
  for (std::int64_t y = 0; y < image.height; ++y) {
    for (std::int64_t x = 0; x < image.width; ++x) {
      std::int64_t from_x = swap ? y : x;
      std::int64_t from_y = swap ? x : y;
      if (mirror_x) from_x = width - 1 - from_x;
      if (mirror_y) from_y = height - 1 - from_y;
      const std::uint8_t* pixel = pixels + 3 * (from_y * width + from_x);
      for (int c = 0; c < 3; ++c) *out++ = pixel[c];
    }
  }
  return image;
}

}  // namespace

int exif_orientation(const Bytes& file) {
  if (file.size() < 4 || file[0] != 0xff || file[1] != 0xd8) return 1;
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
  int width = 0;
  int height = 0;
  int channels = 0;
  const int bytes = static_cast<int>(file.size());
  if (stbi_info_from_memory(file.data(), bytes, &width, &height, &channels) == 0) {
    throw deploykit::InputError("Image " + path + " is not an image of a known format.", "stb_image was to read it.");
  }
  const std::unique_ptr<std::uint8_t, void (*)(void*)> pixels(
      stbi_load_from_memory(file.data(), bytes, &width, &height, &channels, 3), stbi_image_free);
  if (pixels == nullptr || lacks_end(file)) {
    const char* reason = pixels == nullptr ? stbi_failure_reason() : "image file is truncated";
    throw deploykit::InputError("Image " + path + " is damaged or truncated.",
                                std::string("Its decoder says: ") + reason + ".");
  }
  return upright(pixels.get(), height, width, exif_orientation(file));
}

}  // namespace tool
