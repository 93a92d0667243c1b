// The class of a processor: how it multiplies bytes, which INT8 models depend on.
#pragma once

#include <string>
#include <string_view>

namespace deploykit {

// "vnni": x86 with instructions that add products of bytes in 32 bits. "no-vnni": x86 where they are added in pairs
// in 16 bits, which saturate, or where nobody tells the flags. "arm-dot": Arm with dot products. "arm": Arm without.
// "other".
std::string cpu_class();
// Of an architecture, as uname names it, and what /proc/cpuinfo says.
std::string cpu_class(std::string_view architecture, std::string_view cpuinfo);
bool is_x86();

}  // namespace deploykit
