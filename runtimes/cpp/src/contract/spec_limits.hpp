// Whether the sizes that a contract names can be meant; see contract/limits.hpp.
#pragma once

#include "deploykit/spec.hpp"

namespace deploykit {

// Throws LimitError: names the key, what it may be and what was found.
void check_spec_limits(const Spec& spec);

}  // namespace deploykit
