// The execution providers of ONNX Runtime: which one a device means, whether it can start, how it is set.
#pragma once

#include <string>

#include "deploykit/model.hpp"
#include "machine/folders/engine_cache.hpp"
#include "ort/api/library.hpp"
#include "ort/settings.hpp"

namespace deploykit {

// "CUDAExecutionProvider". Throws OptionError: there is no such device.
std::string provider_of(const std::string& device);
// Refuse a provider that the library was built without, or that lacks its driver or libraries.
// Throws RuntimeUnavailableError: says which, and the line that fixes it.
void require_provider(const std::string& device);
// Everything that an engine of the TensorRT provider depends on.
// Throws RuntimeUnavailableError: there is no such GPU.
EngineKey engine_key(const std::string& path, const InputSpec& image, const Options& options);
// What the device's provider cannot take runs on CUDA rather than on the CPU.
void append_providers(ort::SessionOptions* session, const Options& options, const Settings& tensorrt);

}  // namespace deploykit
