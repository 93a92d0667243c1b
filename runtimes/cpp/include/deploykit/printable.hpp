// Text of strangers for a terminal or a log: names in a model file are what its author chose.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "deploykit/config.h"

namespace deploykit {

// The text in one line that a terminal shows as it is: control characters, what is hidden and what is not
// UTF-8 are escaped (\x1b, \u202e), honest text of any language stays. A longer one than `most` characters loses its
// middle and tells its length. What is printable already comes back unchanged. Texts of errors are so already.
DEPLOYKIT_API std::string printable(std::string_view text, std::size_t most = 4000);

}  // namespace deploykit
