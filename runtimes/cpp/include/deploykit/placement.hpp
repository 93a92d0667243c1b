// Where a model runs, and in what precision.
#pragma once

#include "deploykit/config.h"

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace deploykit {

// What really ran.
struct Placement {
  std::string engine;
  std::string version;
  std::string device;
  std::map<std::string, std::int64_t> providers;  // nodes per execution provider
  std::string precision;
  std::vector<std::string> rewrites{};  // what was done to the file's graph at load; empty: it runs node for node
  // What the engine was asked for, in its own names, without which this file has other answers on this machine than
  // elsewhere.
  std::map<std::string, std::string> settings{};
};

// The document that Python prints.
DEPLOYKIT_API std::string to_json(const Placement& placement);

}  // namespace deploykit
