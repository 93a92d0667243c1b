// Arrays of pixels in .npy files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "images.hpp"

namespace tool {

// Whether a path ends so.
bool is_npy(const std::string& path);

// uint8 [H, W] or [H, W, C]. Throws deploykit::InputError: it is damaged, or holds something else.
Image read_npy(const std::string& path, const std::vector<std::uint8_t>& file);

}  // namespace tool
