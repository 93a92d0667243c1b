// Every golden case of a model file on an engine, judged by the precision that it runs in.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "deploykit/self_test.hpp"
#include "deploykit/spec.hpp"
#include "deploykit/tensor.hpp"

namespace deploykit::selftest {

// What the test needs of an engine.
struct Subject {
  const Spec& spec;
  const std::map<std::string, std::string>& metadata;
  Placement placement;
  std::function<std::vector<Tensor>(const std::vector<Feed>&)> infer;
};

// Throws ModelError: the file carries no golden cases, they are damaged, or none has tolerances for the precision
// that the engine runs in.
SelfTest self_test(const Subject& subject);

}  // namespace deploykit::selftest
