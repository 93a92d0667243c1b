#include "ort/api/bound_calls.hpp"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "machine/elf.hpp"
#include "ort/api/session_info.hpp"

namespace deploykit {
namespace {

// Sets of buffers kept; beyond that the one not used for longest is given back.
constexpr std::size_t kMaxShapes = 16;
constexpr int kDeviceAllocator = 0;
constexpr int kDefaultMemory = 0;
constexpr int kCopyDefault = 4;  // cudaMemcpyDefault: the addresses tell the direction

std::vector<std::int64_t> shape_of(const ort::Value* value) {
  DType dtype = DType::other;
  std::vector<std::int64_t> shape;
  describe_value(value, dtype, shape);
  return shape;
}

DType type_of(const ort::Value* value) {
  DType dtype = DType::other;
  std::vector<std::int64_t> shape;
  describe_value(value, dtype, shape);
  return dtype;
}

std::size_t bytes_of(DType dtype, const std::vector<std::int64_t>& shape) {
  std::size_t bytes = size_of(dtype);
  for (const std::int64_t n : shape) bytes *= static_cast<std::size_t>(n);
  return bytes;
}

void* data_of(const ort::Value* value) {
  void* data = nullptr;
  // The signature asks for a value that may be written; inputs are only read.
  ort::check(ort::library().functions.GetTensorMutableData(const_cast<ort::Value*>(value), &data));
  return data;
}

// The CUDA runtime that ONNX Runtime's provider has loaded.
void* cuda_runtime() {
  const std::string& folder = ort::library().folder;
  for (const std::string& name : needed_libraries(folder + "/libonnxruntime_providers_cuda.so")) {
    if (name.rfind("libcudart.so", 0) != 0) continue;
    if (void* handle = dlopen(name.c_str(), RTLD_LAZY | RTLD_NOLOAD)) return handle;
  }
  throw RuntimeUnavailableError("cuda_graph was asked for, but the CUDA runtime library (libcudart.so) is not loaded.",
                                "Leave cuda_graph out.");
}

template <class... Arguments>
void call(void* library, const char* name, Arguments... arguments) {
  void* const function = dlsym(library, name);
  constexpr int not_found = 500;  // cudaErrorSymbolNotFound
  const int code = function == nullptr ? not_found : reinterpret_cast<int (*)(Arguments...)>(function)(arguments...);
  if (code != 0) {
    throw RuntimeUnavailableError(std::string(name) + " failed with the CUDA error " + std::to_string(code) + ".");
  }
}

}  // namespace

DeviceMemory::DeviceMemory(const ort::Session* session, int gpu) : gpu_(gpu) {
  const ort::Functions& f = ort::library().functions;
  ort::MemoryInfo* info = nullptr;
  const bool is_cpu = gpu < 0;
  ort::check(f.CreateMemoryInfo(is_cpu ? "Cpu" : "Cuda", kDeviceAllocator, is_cpu ? 0 : gpu, kDefaultMemory, &info));
  info_.reset(info);
  ort::Allocator* allocator = nullptr;
  ort::check(f.CreateAllocator(session, info, &allocator));
  allocator_.reset(allocator);
  if (!is_cpu) cuda_ = cuda_runtime();
}

ort::OwnedValue DeviceMemory::make(int onnx_type, const std::vector<std::int64_t>& shape) const {
  ort::Value* value = nullptr;
  ort::check(
      ort::library().functions.CreateTensorAsOrtValue(allocator_.get(), shape.data(), shape.size(), onnx_type, &value));
  return ort::OwnedValue(value);
}

void DeviceMemory::copy(void* to, const void* from, std::size_t bytes) const {
  if (bytes == 0) return;
  if (cuda_ == nullptr) {
    std::memcpy(to, from, bytes);
    return;
  }
  call(cuda_, "cudaSetDevice", gpu_);
  call(cuda_, "cudaMemcpy", to, from, bytes, kCopyDefault);
}

void DeviceMemory::synchronise() const {
  if (cuda_ != nullptr) call(cuda_, "cudaDeviceSynchronize");
}

BoundCalls::BoundCalls(ort::Session* session, std::vector<const char*> inputs, std::vector<const char*> outputs,
                       int gpu)
    : session_(session),
      input_names_(std::move(inputs)),
      output_names_(std::move(outputs)),
      memory_(session, gpu),
      record_(gpu >= 0) {}

void BoundCalls::run(const ort::Value* const* inputs, std::vector<ort::OwnedValue>& outputs) {
  const ort::Library& ort = ort::library();
  const std::lock_guard<std::mutex> lock(mutex_);
  Bound& bound = bound_for(inputs);
  for (std::size_t i = 0; i < input_names_.size(); ++i) {
    memory_.copy(data_of(bound.inputs[i].get()), data_of(inputs[i]), bytes_of(type_of(inputs[i]), bound.shapes[i]));
  }
  memory_.synchronise();
  ort::check(ort.functions.RunWithBinding(session_, bound.options.get(), bound.binding.get()));
  ort::Value** raw = nullptr;
  std::size_t count = 0;
  ort::check(ort.functions.GetBoundOutputValues(bound.binding.get(), ort.allocator, &raw, &count));
  std::vector<ort::OwnedValue> found;
  for (std::size_t i = 0; i < count; ++i) found.emplace_back(raw[i]);
  if (raw != nullptr) ort::check(ort.functions.AllocatorFree(ort.allocator, raw));
  for (std::size_t i = 0; i < count; ++i) outputs[i] = on_host(found[i].get());
}

BoundCalls::Bound& BoundCalls::bound_for(const ort::Value* const* inputs) {
  std::vector<std::vector<std::int64_t>> shapes;
  for (std::size_t i = 0; i < input_names_.size(); ++i) shapes.push_back(shape_of(inputs[i]));
  const auto known =
      std::find_if(bound_.begin(), bound_.end(), [&](const Bound& bound) { return bound.shapes == shapes; });
  if (known != bound_.end()) {
    bound_.splice(bound_.begin(), bound_, known);
  } else {
    bound_.push_front(bind(inputs, std::move(shapes)));
    if (bound_.size() > kMaxShapes) bound_.pop_back();
  }
  return bound_.front();
}

BoundCalls::Bound BoundCalls::bind(const ort::Value* const* inputs, std::vector<std::vector<std::int64_t>> shapes) {
  const ort::Functions& f = ort::library().functions;
  Bound bound;
  ort::IoBinding* binding = nullptr;
  ort::check(f.CreateIoBinding(session_, &binding));
  bound.binding.reset(binding);
  for (std::size_t i = 0; i < input_names_.size(); ++i) {
    bound.inputs.push_back(memory_.make(onnx_type_of(type_of(inputs[i])), shapes[i]));
    ort::check(f.BindInput(binding, input_names_[i], bound.inputs.back().get()));
  }
  for (const char* name : output_names_) ort::check(f.BindOutputToDevice(binding, name, memory_.info()));
  if (record_) {
    ort::RunOptions* options = nullptr;
    ort::check(f.CreateRunOptions(&options));
    bound.options.reset(options);
    ort::check(f.AddRunConfigEntry(options, "gpu_graph_id", std::to_string(graphs_++).c_str()));
  }
  bound.shapes = std::move(shapes);
  return bound;
}

// A copy, because the next call overwrites the buffer.
ort::OwnedValue BoundCalls::on_host(ort::Value* value) const {
  const ort::Library& ort = ort::library();
  DType dtype = DType::other;
  std::vector<std::int64_t> shape;
  describe_value(value, dtype, shape);
  ort::Value* raw = nullptr;
  ort::check(
      ort.functions.CreateTensorAsOrtValue(ort.allocator, shape.data(), shape.size(), onnx_type_of(dtype), &raw));
  ort::OwnedValue copy(raw);
  memory_.copy(data_of(raw), data_of(value), bytes_of(dtype, shape));
  return copy;
}

}  // namespace deploykit
