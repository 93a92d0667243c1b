#include "ort/providers.hpp"

#include <algorithm>
#include <vector>

#include "machine/elf.hpp"
#include "machine/nvidia.hpp"
#include "ort/api/session_info.hpp"
#include "onnx/model_file.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

std::string library_of(const std::string& device) { return "libonnxruntime_providers_" + device + ".so"; }

void refuse_missing_libraries(const std::string& device, const std::string& wanted) {
  const ort::Library& ort = ort::library();
  std::vector<std::string> devices{"cuda"};
  if (device != "cuda") devices.push_back(device);
  for (const std::string& name : devices) {
    const auto missing = missing_libraries(ort.folder, library_of(name));
    if (missing.empty()) continue;
    throw RuntimeUnavailableError(wanted + " was asked for, but " + library_of(name) + " of onnxruntime " +
                                      ort.version + " needs " + join(missing, ", ") + ", not found.",
                                  library_fix(missing) + "; --runtime ort-cpu runs on the CPU.");
  }
}

std::string linked_tensorrt() {
  const std::string& folder = ort::library().folder;
  for (const std::string& name : needed_libraries(folder + "/" + library_of("tensorrt"))) {
    if (name.rfind("libnvinfer.so", 0) != 0) continue;
    const std::string wheel = find_in_wheels(folder, name);
    return tensorrt_version(wheel.empty() ? name : wheel);
  }
  return "";
}

// Both kinds of options are lists of texts behind one opaque type each.
template <class T>
void update(ort::Status* (*function)(T*, const char* const*, const char* const*, std::size_t) noexcept, T* options,
            const Settings& settings) {
  std::vector<const char*> keys;
  std::vector<const char*> values;
  for (const auto& [key, value] : settings) {
    keys.push_back(key.c_str());
    values.push_back(value.c_str());
  }
  ort::check(function(options, keys.data(), values.data(), keys.size()));
}

}  // namespace

std::string provider_of(const std::string& device) {
  if (device == "cpu") return "CPUExecutionProvider";
  if (device == "cuda") return "CUDAExecutionProvider";
  if (device == "tensorrt") return "TensorrtExecutionProvider";
  throw OptionError("Device " + quoted(device) + " is not one of cpu, cuda, tensorrt.");
}

void require_provider(const std::string& device) {
  const std::string wanted = provider_of(device);
  const auto available = available_providers();
  if (std::find(available.begin(), available.end(), wanted) == available.end()) {
    throw RuntimeUnavailableError(
        wanted + " was asked for, but the installed onnxruntime " + ort::library().version + " was built without it.",
        has_nvidia_driver() ? "Replace the wheel: pip uninstall -y onnxruntime && pip install 'deploykit[gpu]'"
                            : "No NVIDIA driver is installed here: --runtime ort-cpu runs on the CPU. "
                              "With a GPU, install its driver first.");
  }
  if (device == "cpu") return;
  if (!has_nvidia_driver()) {
    throw RuntimeUnavailableError(
        wanted + " was asked for, but no NVIDIA driver is installed (libcuda.so.1 is missing).",
        "Install the NVIDIA driver, or run on the CPU with --runtime ort-cpu.");
  }
  refuse_missing_libraries(device, wanted);
}

EngineKey engine_key(const std::string& path, const InputSpec& image, const Options& options) {
  const Gpu gpu = read_gpu(options.gpu);
  return {hash_model(path), ort::library().version, linked_tensorrt(), gpu.name, gpu.capability,
          gpu.driver,       profile_shapes(image),  options.cuda_graph};
}

void append_providers(ort::SessionOptions* session, const Options& options, const Settings& tensorrt) {
  if (options.device == "cpu") return;
  const ort::Functions& f = ort::library().functions;
  if (options.device == "tensorrt") {
    ort::TensorRtOptions* raw = nullptr;
    ort::check(f.CreateTensorRTProviderOptions(&raw));
    const ort::OwnedTensorRtOptions provider(raw);
    update(f.UpdateTensorRTProviderOptions, raw, tensorrt);
    ort::check(f.SessionOptionsAppendExecutionProvider_TensorRT_V2(session, raw));
  }
  ort::CudaOptions* raw = nullptr;
  ort::check(f.CreateCUDAProviderOptions(&raw));
  const ort::OwnedCudaOptions provider(raw);
  update(f.UpdateCUDAProviderOptions, raw, cuda_settings(options));
  ort::check(f.SessionOptionsAppendExecutionProvider_CUDA_V2(session, raw));
}

}  // namespace deploykit
