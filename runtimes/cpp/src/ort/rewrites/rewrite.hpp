// What becomes of a file at load on ONNX Runtime's CPU provider, and what the session is asked for because of it. Python
// applies more rewrites, of which none changes an answer.
#pragma once

#include <string>
#include <vector>

#include "deploykit/model.hpp"
#include "onnx/file.hpp"
#include "ort/settings.hpp"

namespace deploykit {

struct Form {
  std::string model;                  // the bytes to open; empty: the file as it is
  std::vector<std::string> rewrites;  // what was applied, in order
  Settings settings;                  // see Placement
};

// Left as they are: all files with Options::exact; files with weights beside them, or of more than 256 MiB; and files by
// other exporters, but for weights whose products would saturate. What an INT8 file in TensorRT's form loses by that is
// time: settings keep its answers right.
Form rewrite(const std::string& path, const Options& options, const OnnxFile& file);

}  // namespace deploykit
