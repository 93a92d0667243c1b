// Where a model runs, and in what precision.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace deploykit {

// What really ran.
struct Placement {
  std::string engine;
  std::string version;
  std::string device;
  std::map<std::string, std::int64_t> providers;  // nodes per execution provider
  std::string precision;
};

}  // namespace deploykit
