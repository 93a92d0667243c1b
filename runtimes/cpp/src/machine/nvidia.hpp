// The NVIDIA driver, asked directly: no CUDA toolkit is needed for it.
//
// Names and numbers are those of the CUDA driver API
// (https://docs.nvidia.com/cuda/cuda-driver-api/group__CUDA__DEVICE.html).
#pragma once

#include <string>
#include <vector>

namespace deploykit {

// A GPU as far as an engine built for it depends on it.
struct Gpu {
  std::string name;        // "NVIDIA L4"
  std::string capability;  // compute capability: "8.9"
  std::string driver;      // newest CUDA version that the driver runs: "13.0"
};

bool has_nvidia_driver();
// Throws RuntimeUnavailableError: there is no driver, or no such GPU.
Gpu read_gpu(int index);
// The version that a TensorRT library ("libnvinfer.so.10") reports; empty where it cannot load.
std::string tensorrt_version(const std::string& library);
// "10.16.1" of 101601; before version 10 minor and patch had one digit less: 8601 is "8.6.1".
std::string tensorrt_version_text(int number);
// The line that installs missing libraries of CUDA, cuDNN or TensorRT.
std::string library_fix(const std::vector<std::string>& missing);

}  // namespace deploykit
