#include "machine/nvidia.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <array>

#include "deploykit/error.hpp"

namespace deploykit {
namespace {

constexpr int kMajor = 75;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, _MINOR
constexpr int kMinor = 76;

// Never closed: ONNX Runtime keeps it too.
void* driver() {
  static void* const handle = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  return handle;
}

template <class... Arguments>
int call(const char* name, Arguments... arguments) {
  void* const function = dlsym(driver(), name);
  constexpr int not_found = 500;  // CUDA_ERROR_NOT_FOUND
  return function == nullptr ? not_found : reinterpret_cast<int (*)(Arguments...)>(function)(arguments...);
}

std::string attribute(int which, int device) {
  int value = 0;
  call("cuDeviceGetAttribute", &value, which, device);
  return std::to_string(value);
}

bool starts(const std::string& text, const char* with) { return text.rfind(with, 0) == 0; }

}  // namespace

bool has_nvidia_driver() { return driver() != nullptr; }

Gpu read_gpu(int index) {
  if (!has_nvidia_driver()) {
    throw RuntimeUnavailableError("A GPU was asked for, but no NVIDIA driver is installed (libcuda.so.1 is missing).",
                                  "Install the NVIDIA driver; in a container, start it with --gpus all.");
  }
  int count = 0;
  int code = call("cuInit", 0U);
  if (code == 0) code = call("cuDeviceGetCount", &count);
  if (code != 0 || index >= count) {
    throw RuntimeUnavailableError("GPU " + std::to_string(index) + " was asked for, the NVIDIA driver shows " +
                                      std::to_string(count) + " (code " + std::to_string(code) + ").",
                                  "GPUs are counted from 0; CUDA_VISIBLE_DEVICES hides those that it does not list.");
  }
  int device = 0;
  int version = 0;
  std::array<char, 256> name{};
  call("cuDeviceGet", &device, index);
  call("cuDeviceGetName", name.data(), static_cast<int>(name.size()), device);
  call("cuDriverGetVersion", &version);
  name.back() = '\0';
  return {name.data(), attribute(kMajor, device) + "." + attribute(kMinor, device),
          std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10)};
}

std::string tensorrt_version_text(int number) {
  const int base = number >= 10000 ? 100 : 10;
  const int minor = number / 100 % base;
  const int major = number / (base == 100 ? 10000 : 1000);
  return std::to_string(major) + "." + std::to_string(base == 100 ? minor : number / 100 % 10) + "." +
         std::to_string(number % 100);
}

std::string tensorrt_version(const std::string& library) {
  void* const handle = dlopen(library.c_str(), RTLD_LAZY | RTLD_LOCAL);
  void* const function = handle == nullptr ? nullptr : dlsym(handle, "getInferLibVersion");
  return function == nullptr ? "" : tensorrt_version_text(reinterpret_cast<int (*)()>(function)());
}

std::string library_fix(const std::vector<std::string>& missing) {
  std::string major;
  bool all_of_tensorrt = true;
  for (const std::string& name : missing) {
    all_of_tensorrt = all_of_tensorrt && starts(name, "libnv");
    if (!starts(name, "libnvinfer") && !starts(name, "libnvonnxparser")) continue;
    major = std::max(major, name.substr(name.rfind('.') + 1));
  }
  // TensorRT's major version is part of its library name, and the wheel must match it.
  if (!major.empty() && all_of_tensorrt) return "pip install 'tensorrt==" + major + ".*'";
  return "pip install 'onnxruntime-gpu[cuda,cudnn]'";
}

}  // namespace deploykit
