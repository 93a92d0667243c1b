#include "ort/engine.hpp"

#include <algorithm>

#include "contract/limits.hpp"
#include "machine/folders/engine_cache.hpp"
#include "ort/api/errors.hpp"
#include "machine/memory_limit.hpp"
#include "onnx/model_file.hpp"
#include "onnx/file.hpp"
#include "ort/providers.hpp"
#include "ort/api/session_info.hpp"
#include "ort/rewrites/rewrite.hpp"
#include "ort/settings.hpp"

namespace deploykit {
namespace {

ort::OwnedSessionOptions session_options(const Options& options, const Settings& of_file, const Settings& tensorrt) {
  const ort::Functions& f = ort::library().functions;
  ort::SessionOptions* raw = nullptr;
  ort::check(f.CreateSessionOptions(&raw));
  ort::OwnedSessionOptions session(raw);
  ort::check(f.SetSessionLogSeverityLevel(raw, ort::kLogFatal));
  ort::check(f.SetIntraOpNumThreads(raw, threads_of(options)));
  for (const auto& [key, value] : session_settings(options)) {
    ort::check(f.AddSessionConfigEntry(raw, key.c_str(), value.c_str()));
  }
  for (const auto& [key, value] : of_file) ort::check(f.AddSessionConfigEntry(raw, key.c_str(), value.c_str()));
  append_providers(raw, options, tensorrt);
  return session;
}

// Nothing is changed in a file that is not ONNX: ONNX Runtime refuses it, in the same words as in Python.
Form rewrite_readable(const std::string& path, const Options& options) {
  if (options.device != "cpu") return {};
  try {
    return rewrite(path, options, read_onnx(path));
  } catch (const LimitError&) {
    throw;
  } catch (const ModelError&) {
    return {};
  }
}

std::uint64_t count_values(const ort::Value* const* values, std::size_t count) {
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < count; ++i) {
    DType dtype{};
    std::vector<std::int64_t> shape;
    describe_value(values[i], dtype, shape);
    std::uint64_t size = 1;
    for (const std::int64_t n : shape) size *= static_cast<std::uint64_t>(n);
    total += size;
  }
  return total;
}

}  // namespace

std::size_t Outputs::View::size() const {
  std::size_t count = 1;
  for (const std::int64_t n : shape) count *= static_cast<std::size_t>(n);
  return count;
}

Engine::Engine(const std::string& path, const Options& options) : device_(options.device) {
  check_options(options);
  provider_of(device_);
  check_model_file(path, device_);
  check_files_beside(path);
  require_provider(device_);
  open(path, options);
  inputs_ = session_tensors(session_.get(), false);
  outputs_ = session_tensors(session_.get(), true);
  for (const TensorInfo& info : inputs_) input_names_.push_back(info.name.c_str());
  for (const TensorInfo& info : outputs_) output_names_.push_back(info.name.c_str());
  if (options.cuda_graph && device_ != "cpu") {
    calls_ = std::make_unique<BoundCalls>(session_.get(), input_names_, output_names_, options.gpu);
  }
  if (options.strict) refuse_strays();
}

void Engine::open(const std::string& path, const Options& options) {
  if (device_ != "tensorrt") {
    const Form form = rewrite_readable(path, options);
    start(path, options, form, "", {});
    OnnxFile file = read_onnx(path);
    rewrites_ = form.rewrites;
    settings_ = {form.settings.begin(), form.settings.end()};
    precision_ = working_precision(file.weights, options);
    keep(std::move(file));
    return;
  }
  OnnxFile file = read_onnx(path);
  const InputSpec image = spec_of(file.inputs, file.outputs, file.metadata, options.outputs).input;
  CacheFolder cache(options.cache.empty() ? default_cache() : options.cache,
                    key_text(engine_key(path, image, options)));
  start(path, options, {}, cache.path(), image);
  cache.publish();
  precision_ = working_precision(file.weights, options);
  keep(std::move(file));
}

void Engine::keep(OnnxFile file) {
  makers_ = std::move(file.makers);
  // Not the session's: it ends a text at its first zero byte.
  metadata_ = std::move(file.metadata);
}

void Engine::start(const std::string& path, const Options& options, const Form& form, const std::string& cache,
                   const InputSpec& image) {
  const ort::Library& ort = ort::library();
  // What a GPU's driver asks for is not memory of the process.
  const MemoryLimit limit = device_ == "cpu" ? MemoryLimit::loading(model_bytes(path)) : MemoryLimit();
  try {
    const auto tensorrt = cache.empty() ? Settings{} : tensorrt_settings(image, options, cache);
    const auto settings = session_options(options, form.settings, tensorrt);
    ort::Session* raw = nullptr;
    const std::string& model = form.model;
    ort::check(model.empty()
                   ? ort.functions.CreateSession(ort.env, path.c_str(), settings.get(), &raw)
                   : ort.functions.CreateSessionFromArray(ort.env, model.data(), model.size(), settings.get(), &raw));
    session_.reset(raw);
  } catch (const ort::Failure& failure) {
    throw_load_error(failure, path, device_, limit.allowed());
  }
}

Placement Engine::placement() const {
  return {"onnxruntime", ort::library().version, device_, session_nodes(session_.get()), precision_, rewrites_, settings_};
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
  const bool limited = device_ == "cpu" && is_fresh_.exchange(false);
  const MemoryLimit limit = limited ? MemoryLimit::first_run(count_values(inputs, inputs_.size())) : MemoryLimit();
  try {
    run_session(inputs, outputs);
  } catch (const ort::Failure& failure) {
    throw_run_error(failure, limit.allowed());
  }
}

void Engine::run_session(const ort::Value* const* inputs, Outputs& outputs) const {
  const ort::Functions& f = ort::library().functions;
  const std::size_t count = outputs_.size();
  outputs.values_.resize(count);
  outputs.views_.resize(count);
  outputs.raw_.assign(count, nullptr);
  for (ort::OwnedValue& value : outputs.values_) value.reset();
  if (calls_ != nullptr) {
    calls_->run(inputs, outputs.values_);
    for (std::size_t i = 0; i < count; ++i) outputs.raw_[i] = outputs.values_[i].get();
  } else {
    ort::Status* status = f.Run(session_.get(), nullptr, input_names_.data(), inputs, input_names_.size(),
                                output_names_.data(), count, outputs.raw_.data());
    for (std::size_t i = 0; i < count; ++i) outputs.values_[i].reset(outputs.raw_[i]);
    ort::check(status);
  }
  for (std::size_t i = 0; i < count; ++i) {
    Outputs::View& view = outputs.views_[i];
    describe_value(outputs.raw_[i], view.dtype, view.shape);
    void* data = nullptr;
    ort::check(f.GetTensorMutableData(outputs.raw_[i], &data));
    view.data = data;
  }
}

}  // namespace deploykit
