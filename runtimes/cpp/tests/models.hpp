// The golden models, for the tests of the public side.
#pragma once

#include <deploykit/deploykit.hpp>
#include <string>

#include "check.hpp"

// The path of a golden model; ends the program as skipped where ONNX Runtime cannot be loaded.
inline std::string model_path(const std::string& name) {
  try {
    deploykit::onnxruntime_version();
  } catch (const deploykit::DependencyError& error) {
    check::skip(error.problem());
  }
  return check::golden() + "/cpp/" + name;
}
