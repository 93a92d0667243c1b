// Raw tensors, in and out.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "deploykit/config.h"

namespace deploykit {

enum class DType {
  float32,
  float16,
  float64,
  uint8,
  int8,
  uint16,
  int16,
  int32,
  int64,
  uint32,
  uint64,
  boolean,
  other
};

DEPLOYKIT_API const char* to_string(DType dtype);  // numpy's names
DEPLOYKIT_API std::size_t size_of(DType dtype);    // bytes of one element; 0 for `other`

// A graph input or output. A dynamic axis is -1, its name is in `axes`.
struct TensorInfo {
  std::string name;
  DType dtype = DType::other;
  std::string dtype_name;
  std::vector<std::int64_t> shape;
  std::vector<std::string> axes;
};

DEPLOYKIT_API std::string to_string(const TensorInfo& info);  // "images float32 [batch, 3, 224, 224]"

// What is fed: the caller's own memory, read in place, contiguous in C order.
struct Feed {
  std::string name;
  DType dtype = DType::float32;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;
};

// What came out: the engine's own memory, kept alive by `owner`.
struct Tensor {
  std::string name;
  DType dtype = DType::other;
  std::vector<std::int64_t> shape;
  const void* data = nullptr;
  std::shared_ptr<const void> owner;

  template <class T>
  const T* as() const {
    return static_cast<const T*>(data);
  }
};

}  // namespace deploykit
