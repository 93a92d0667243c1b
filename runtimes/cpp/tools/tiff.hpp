// TIFF files of several channels a pixel, or of a grey page for each channel.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "images.hpp"

namespace tool {

// Whether a file starts as TIFF files do.
bool is_tiff(const std::vector<std::uint8_t>& file);

// The channels of the file as they are. Throws deploykit::InputError: it is damaged, has another number of channels
// than are wanted, or not 8 bits a channel; and where deploykit-run was built without libtiff.
//
// opencv: the training code reads with OpenCV, which takes the upper byte of 16 bits, and multiplies the colours of
// RGB with one more channel by that channel, which is refused.
Image read_tiff(const std::string& path, const std::vector<std::uint8_t>& file, std::int64_t wanted, bool opencv);

}  // namespace tool
