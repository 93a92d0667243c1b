// The command line of deploykit-run: the options of `deploykit predict`.
#pragma once

#include <string>
#include <vector>

#include <deploykit/model.hpp>

namespace tool {

struct Arguments {
  std::string model;
  std::vector<std::string> images;
  deploykit::Options engine;
  deploykit::PredictOptions predict;
  bool help = false;
  bool self_test = false;
  bool json = false;
};

extern const char* const kUsage;

// Throws deploykit::OptionError.
Arguments parse(int argc, char** argv);

}  // namespace tool
