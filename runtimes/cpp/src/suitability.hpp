// Whether a file of low precision runs where it was made for, in the sentence that Python says (suitability.py).
#pragma once

#include <string>

#include "deploykit/placement.hpp"
#include "deploykit/spec.hpp"

namespace deploykit {

// What speaks against running a file on what runs it, and on a processor of a class (see cpu_class); empty: nothing.
std::string advice_of(const PrecisionRecord& record, const Placement& placement, const std::string& cpu);

}  // namespace deploykit
