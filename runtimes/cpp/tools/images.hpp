// Image files for the command line: decoded by stb_image, turned upright by their EXIF orientation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <deploykit/image.hpp>

namespace tool {

struct Image {
  std::vector<std::uint8_t> pixels;  // RGB [height, width, 3]
  std::int64_t height = 0;
  std::int64_t width = 0;

  deploykit::ImageView view() const { return {pixels.data(), height, width}; }
};

// Throws deploykit::InputError: the file is missing, no image, or damaged.
Image read_image(const std::string& path);

// The EXIF orientation of a JPEG file, 1 to 8; 1 where it says nothing.
int exif_orientation(const std::vector<std::uint8_t>& file);

}  // namespace tool
