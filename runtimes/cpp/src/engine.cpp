#include "engine.hpp"

#include <dlfcn.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <thread>

#include "model_file.hpp"
#include "session_info.hpp"
#include "text.hpp"

namespace deploykit {
namespace {

constexpr const char* kDoctor = "`deploykit doctor` tells what this machine can run.";

std::string provider_of(const std::string& device) {
  if (device == "cpu") return "CPUExecutionProvider";
  if (device == "cuda") return "CUDAExecutionProvider";
  if (device == "tensorrt") return "TensorrtExecutionProvider";
  throw OptionError("Device " + quoted(device) + " is not one of cpu, cuda, tensorrt.");
}

// Cores that this process may run on, which can be fewer than the machine has.
int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

bool has_nvidia_driver() {
  void* handle = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
  if (handle == nullptr) return false;
  dlclose(handle);
  return true;
}

void require_provider(const std::string& device) {
  const std::string wanted = provider_of(device);
  const auto available = available_providers();
  if (std::find(available.begin(), available.end(), wanted) == available.end()) {
    throw RuntimeUnavailableError(
        wanted + " was asked for, but the installed onnxruntime " + ort::library().version + " was built without it.",
        "Replace the wheel: pip uninstall -y onnxruntime && pip install 'deploykit[gpu]'");
  }
  if (device != "cpu" && !has_nvidia_driver()) {
    throw RuntimeUnavailableError(
        wanted + " was asked for, but no NVIDIA driver is installed (libcuda.so.1 is missing).",
        "Install the NVIDIA driver, or run on the CPU with --runtime ort-cpu.");
  }
}

bool is_broken_model(int code) {
  return code == ort::kInvalidProtobuf || code == ort::kInvalidGraph || code == ort::kInvalidArgument ||
         code == ort::kNoModel || code == ort::kNoSuchFile;
}

}  // namespace

std::size_t Outputs::View::size() const {
  std::size_t count = 1;
  for (const std::int64_t n : shape) count *= static_cast<std::size_t>(n);
  return count;
}

Engine::Engine(const std::string& path, const Options& options) : device_(options.device) {
  if (options.threads < 0) {
    throw OptionError("Wanted at least one thread, found " + std::to_string(options.threads) + ".");
  }
  if (options.gpu < 0) throw OptionError("GPUs are counted from 0, found " + std::to_string(options.gpu) + ".");
  provider_of(device_);
  check_model_file(path, device_);
  require_provider(device_);
  open(path, options);
  inputs_ = session_tensors(session_.get(), false);
  outputs_ = session_tensors(session_.get(), true);
  metadata_ = session_metadata(session_.get());
  for (const TensorInfo& info : inputs_) input_names_.push_back(info.name.c_str());
  for (const TensorInfo& info : outputs_) output_names_.push_back(info.name.c_str());
  if (options.strict) refuse_strays();
}

ort::OwnedSessionOptions Engine::session_options(const Options& options) const {
  const ort::Functions& f = ort::library().functions;
  ort::SessionOptions* raw = nullptr;
  ort::check(f.CreateSessionOptions(&raw));
  ort::OwnedSessionOptions settings(raw);
  constexpr int kLogErrors = 3;
  ort::check(f.SetSessionLogSeverityLevel(raw, kLogErrors));
  ort::check(f.SetIntraOpNumThreads(raw, options.threads > 0 ? options.threads : usable_cores()));
  // Spinning this long before sleeping is as fast as spinning for ever, at half the CPU use.
  ort::check(f.AddSessionConfigEntry(raw, "session.intra_op.spin_duration_us", "100"));
  ort::check(f.AddSessionConfigEntry(raw, "session.record_ep_graph_assignment_info", "1"));
  append_providers(raw, options);
  return settings;
}

void Engine::append_providers(ort::SessionOptions* settings, const Options& options) const {
  if (options.device == "cpu") return;
  const ort::Functions& f = ort::library().functions;
  const std::string gpu = std::to_string(options.gpu);
  if (options.device == "tensorrt") {
    ort::TensorRtOptions* raw = nullptr;
    ort::check(f.CreateTensorRTProviderOptions(&raw));
    const ort::OwnedTensorRtOptions provider(raw);
    std::vector<const char*> keys{"device_id"};
    std::vector<const char*> values{gpu.c_str()};
    if (!options.cache.empty()) {
      keys.insert(keys.end(), {"trt_engine_cache_enable", "trt_engine_cache_path", "trt_timing_cache_enable"});
      values.insert(values.end(), {"1", options.cache.c_str(), "1"});
    }
    ort::check(f.UpdateTensorRTProviderOptions(raw, keys.data(), values.data(), keys.size()));
    ort::check(f.SessionOptionsAppendExecutionProvider_TensorRT_V2(settings, raw));
  }
  // What TensorRT cannot take runs on CUDA rather than on the CPU.
  ort::CudaOptions* raw = nullptr;
  ort::check(f.CreateCUDAProviderOptions(&raw));
  const ort::OwnedCudaOptions provider(raw);
  // TF32 would break the proof's tolerance; the default algorithm search stalls at every new shape.
  // Doubling the arena at each growth is how memory runs out with varying shapes.
  const std::array<const char*, 4> keys{"device_id", "use_tf32", "cudnn_conv_algo_search", "arena_extend_strategy"};
  const std::array<const char*, 4> values{gpu.c_str(), "0", "HEURISTIC", "kSameAsRequested"};
  ort::check(f.UpdateCUDAProviderOptions(raw, keys.data(), values.data(), keys.size()));
  ort::check(f.SessionOptionsAppendExecutionProvider_CUDA_V2(settings, raw));
}

void Engine::open(const std::string& path, const Options& options) {
  const ort::Library& ort = ort::library();
  try {
    const auto settings = session_options(options);
    ort::Session* raw = nullptr;
    ort::check(ort.functions.CreateSession(ort.env, path.c_str(), settings.get(), &raw));
    session_.reset(raw);
  } catch (const ort::Failure& failure) {
    if (is_broken_model(failure.status())) {
      throw ModelError(path + " is not a valid ONNX model: " + failure.line(),
                       "If it is a checkpoint, export it first: deploykit export CHECKPOINT");
    }
    throw RuntimeUnavailableError(
        "ONNX Runtime " + ort.version + " cannot run " + path + " on " + device_ + ": " + failure.line(), kDoctor);
  }
}

Placement Engine::placement() const {
  Placement found;
  found.engine = "onnxruntime";
  found.version = ort::library().version;
  found.device = device_;
  found.providers = session_nodes(session_.get());
#if defined(__x86_64__) || defined(__i386__)
  // ONNX Runtime has no half-precision kernels for x86: it converts and computes in FP32.
  const bool converts = device_ == "cpu";
#else
  const bool converts = false;
#endif
  const bool half =
      std::any_of(inputs_.begin(), inputs_.end(), [](const TensorInfo& info) { return info.dtype == DType::float16; });
  found.precision = half && !converts ? "fp16" : "fp32";
  return found;
}

void Engine::refuse_strays() const {
  const std::string wanted = provider_of(device_);
  const auto providers = session_nodes(session_.get());
  std::string strays;
  for (const auto& [name, count] : providers) {
    if (name != wanted) strays += (strays.empty() ? "" : ", ") + std::to_string(count) + " on " + name;
  }
  if (strays.empty() && !providers.empty()) return;
  throw RuntimeUnavailableError(
      "--strict wants every node on " + wanted + ", found " + (strays.empty() ? "no record of any node" : strays) + ".",
      "Drop --strict to accept a mixed placement, or export with a fixed size.");
}

ort::OwnedValue Engine::wrap(const void* data, std::size_t bytes, DType dtype, const std::int64_t* shape,
                             std::size_t axes) const {
  const ort::Library& ort = ort::library();
  ort::Value* raw = nullptr;
  // The engine reads inputs only, its signature does not say so.
  ort::check(ort.functions.CreateTensorWithDataAsOrtValue(ort.cpu_memory, const_cast<void*>(data), bytes, shape, axes,
                                                          onnx_type_of(dtype), &raw));
  return ort::OwnedValue(raw);
}

void Engine::run(const ort::Value* const* inputs, Outputs& outputs) const {
  const ort::Functions& f = ort::library().functions;
  const std::size_t count = outputs_.size();
  outputs.values_.resize(count);
  outputs.views_.resize(count);
  outputs.raw_.assign(count, nullptr);
  for (ort::OwnedValue& value : outputs.values_) value.reset();
  ort::Status* status = f.Run(session_.get(), nullptr, input_names_.data(), inputs, input_names_.size(),
                              output_names_.data(), count, outputs.raw_.data());
  for (std::size_t i = 0; i < count; ++i) outputs.values_[i].reset(outputs.raw_[i]);
  ort::check(status);
  for (std::size_t i = 0; i < count; ++i) {
    Outputs::View& view = outputs.views_[i];
    describe_value(outputs.raw_[i], view.dtype, view.shape);
    void* data = nullptr;
    ort::check(f.GetTensorMutableData(outputs.raw_[i], &data));
    view.data = data;
  }
}

}  // namespace deploykit
