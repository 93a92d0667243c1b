// Image files for the command line: decoded by stb_image, colours turned upright by their EXIF orientation.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <deploykit/image.hpp>
#include <deploykit/spec.hpp>

namespace tool {

struct Image {
  std::vector<std::uint8_t> pixels;  // [height, width, channels]
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 3;

  deploykit::ImageView view() const { return {pixels.data(), height, width, channels}; }
};

// RGB. Throws deploykit::InputError: the file is missing, no image, or damaged.
Image read_image(const std::string& path);

// As a model takes it: RGB, grey as its training code decodes files, or the channels of the file or of a .npy array.
// Throws deploykit::InputError also where these are not those of the model.
Image read_image(const std::string& path, const deploykit::Spec& spec);

// The EXIF orientation of a JPEG file, 1 to 8; 1 where it says nothing.
int exif_orientation(const std::vector<std::uint8_t>& file);

}  // namespace tool
