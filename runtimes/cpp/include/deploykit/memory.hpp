// How much memory a model may take, in a program that runs models of strangers.
#pragma once

#include "deploykit/config.h"

namespace deploykit {

// Hold this process to the memory that the machine or its container has, from the first model on a CPU on. The loading
// of a model and its first run have limits of their own, which follow from its size and that of its inputs; a model that
// asks for more is refused with a ModelError. For programs whose memory models take nearly alone, as deploykit-run: the
// limit (RLIMIT_DATA) holds for everything in the process. DEPLOYKIT_MEMORY sets another limit instead, for any
// program, or "off". On Linux; elsewhere nothing is limited.
DEPLOYKIT_API void limit_memory();

}  // namespace deploykit
