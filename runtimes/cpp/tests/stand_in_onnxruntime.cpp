// ONNX Runtime with CUDA and TensorRT providers that only write down what they are given; everything else
// is the real library, which the variable STAND_IN_FOR names. Sessions run on the CPU.

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <string>

#include "ort/api/abi.hpp"

namespace {

namespace ort = deploykit::ort;

std::string record;
std::array<void*, 410> table;

ort::Status* available(char*** names, int* count) noexcept {
  static const char* all[] = {"TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"};
  *names = const_cast<char**>(all);
  *count = 3;
  return nullptr;
}

ort::Status* release_available(char**, int) noexcept { return nullptr; }

template <class T>
ort::Status* create(T** options) noexcept {
  static char place;
  *options = reinterpret_cast<T*>(&place);
  return nullptr;
}

template <class T>
void release(T*) noexcept {}

template <class T>
ort::Status* append(ort::SessionOptions*, const T*) noexcept {
  return nullptr;
}

template <class T>
ort::Status* update(T*, const char* const* keys, const char* const* values, std::size_t count) noexcept {
  for (std::size_t i = 0; i < count; ++i) {
    record += (i == 0 ? "" : " ") + std::string(keys[i]) + "=" + values[i];
  }
  record += "\n";
  return nullptr;
}

template <class F>
void* address(F* function) {
  return reinterpret_cast<void*>(function);
}

const ort::ApiBase* real() {
  const char* path = std::getenv("STAND_IN_FOR");
  void* handle = path == nullptr ? nullptr : dlopen(path, RTLD_NOW | RTLD_LOCAL);
  void* symbol = handle == nullptr ? nullptr : dlsym(handle, "OrtGetApiBase");
  return symbol == nullptr ? nullptr : reinterpret_cast<const ort::ApiBase* (*)()>(symbol)();
}

const void* get_api(std::uint32_t version) noexcept {
  const auto* functions = static_cast<void* const*>(real()->get_api(version));
  if (functions == nullptr) return nullptr;
  // Older tables are shorter.
  const std::size_t count = version >= ort::kPlacementApiVersion ? table.size() : 209;
  std::copy_n(functions, count, table.begin());
  table[125] = address(available);
  table[126] = address(release_available);
  table[170] = address(append<ort::TensorRtOptions>);
  table[171] = address(create<ort::TensorRtOptions>);
  table[172] = address(update<ort::TensorRtOptions>);
  table[174] = address(release<ort::TensorRtOptions>);
  table[204] = address(append<ort::CudaOptions>);
  table[205] = address(create<ort::CudaOptions>);
  table[206] = address(update<ort::CudaOptions>);
  table[208] = address(release<ort::CudaOptions>);
  return table.data();
}

const char* get_version() noexcept { return real()->get_version_string(); }

}  // namespace

extern "C" {
__attribute__((visibility("default"))) const ort::ApiBase* OrtGetApiBase() noexcept {
  static const ort::ApiBase base{get_api, get_version};
  return real() == nullptr ? nullptr : &base;
}

// What the providers were given since the last call, one line each.
__attribute__((visibility("default"))) const char* stand_in_record() {
  static std::string last;
  last.swap(record);
  record.clear();
  return last.c_str();
}
}
