// How far an engine's outputs are from what a golden case kept.
#pragma once

#include <string>
#include <vector>

#include "deploykit/self_test.hpp"
#include "deploykit/spec.hpp"
#include "deploykit/tensor.hpp"
#include "selftest/cases.hpp"

namespace deploykit::selftest {

// Judges one output of a case by its tolerances for a precision, which it must have.
Difference difference(const std::vector<Tensor>& outputs, const Kept& kept, const Spec& spec,
                      const std::string& precision);

}  // namespace deploykit::selftest
