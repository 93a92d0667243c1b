// What a model file may ask for: the table of Python's limits.py, with the reasons in SECURITY.md.
#pragma once

#include <cstdint>
#include <string>

#include "deploykit/error.hpp"

namespace deploykit {

namespace limits {

constexpr std::int64_t kMetadata = 16 << 20;    // bytes of all metadata
constexpr std::int64_t kEntries = 4096;         // keys of the metadata
constexpr std::int64_t kNames = 1000000;        // names in one list
constexpr std::int64_t kValue = 65536;          // bytes of one value that is not a list of names
constexpr std::int64_t kLiteral = 1 << 20;      // bytes of one value that is a Python literal
constexpr std::int64_t kInteger = 2147483647;   // largest integer, with either sign
constexpr std::int64_t kText = 64 << 20;        // bytes of names and comments in a graph
constexpr std::int64_t kNodes = 32768;          // nodes, those of functions once for each call
constexpr std::int64_t kParts = 1 << 20;        // fields of a file, as protocol buffers count them
constexpr std::int64_t kStored = 32768;         // weights and constants
constexpr std::int64_t kPorts = 256;            // inputs, and outputs
constexpr std::int64_t kAxes = 64;              // axes of a tensor
constexpr std::int64_t kNesting = 32;           // graphs in attributes and functions, one within another
constexpr std::int64_t kMade = 1 << 26;         // values that a graph makes out of constants
constexpr std::int64_t kTensor = 2147483648;    // values of one tensor
constexpr std::int64_t kSide = 16384;           // pixels of a side that the contract names
constexpr std::int64_t kChannels = 65536;       // channels, images of a fixed batch, keypoints, coefficients
constexpr std::int64_t kImage = 1 << 26;        // values of one image
constexpr std::int64_t kFeed = 1 << 28;         // values of a fixed batch, pixels of a resized image

}  // namespace limits

// A model file asks for more than the table allows; the engine is never asked.
class LimitError : public ModelError {
 public:
  using ModelError::ModelError;
};

}  // namespace deploykit
