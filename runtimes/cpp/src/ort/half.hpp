// IEEE half precision, stored as 16 bits.
#pragma once

#include <cstdint>

namespace deploykit {

float from_half(std::uint16_t bits);
// To the nearest, half to even.
std::uint16_t to_half(float value);

}  // namespace deploykit
