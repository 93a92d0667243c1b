// A model in an ONNX Runtime session. The one file that knows devices; safe to call from many threads.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ort/api/bound_calls.hpp"
#include "deploykit/model.hpp"
#include "ort/api/library.hpp"

namespace deploykit {

struct Form;
struct OnnxFile;

// Outputs of one run, in the engine's memory. Shared by every result that still points into them.
class Outputs {
 public:
  explicit Outputs(std::size_t count) : values_(count) {}

  struct View {
    DType dtype = DType::other;
    std::vector<std::int64_t> shape;
    const void* data = nullptr;

    std::size_t size() const;
    const float* floats() const { return static_cast<const float*>(data); }
    const std::int64_t* integers() const { return static_cast<const std::int64_t*>(data); }
  };

  const View& operator[](std::size_t index) const { return views_[index]; }
  std::size_t size() const { return views_.size(); }

 private:
  friend class Engine;

  std::vector<ort::OwnedValue> values_;
  std::vector<ort::Value*> raw_;
  std::vector<View> views_;
};

class Engine {
 public:
  // Throws ModelError, RuntimeUnavailableError, DependencyError, OptionError.
  Engine(const std::string& path, const Options& options);

  const std::vector<TensorInfo>& inputs() const { return inputs_; }
  const std::vector<TensorInfo>& outputs() const { return outputs_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }
  // See OnnxFile.
  const std::map<std::string, std::string>& makers() const { return makers_; }
  Placement placement() const;

  // The caller's memory as an input; it must stay there as long as the value is used.
  ort::OwnedValue wrap(const void* data, std::size_t bytes, DType dtype, const std::int64_t* shape,
                       std::size_t axes) const;
  // Inputs in the order of inputs(). The outputs' memory is used again where it is the caller's alone.
  void run(const ort::Value* const* inputs, Outputs& outputs) const;

 private:
  void run_session(const ort::Value* const* inputs, Outputs& outputs) const;
  void open(const std::string& path, const Options& options);
  void start(const std::string& path, const Options& options, const Form& form, const std::string& cache,
             const InputSpec& image);
  void keep(OnnxFile file);
  void refuse_strays() const;

  ort::OwnedSession session_;
  mutable std::atomic<bool> is_fresh_{true};  // it never ran
  std::unique_ptr<BoundCalls> calls_;  // where a CUDA graph is recorded
  std::string device_;
  std::string precision_;
  std::vector<std::string> rewrites_;
  std::map<std::string, std::string> settings_;  // because of the file
  std::vector<TensorInfo> inputs_;
  std::vector<TensorInfo> outputs_;
  std::vector<const char*> input_names_;
  std::vector<const char*> output_names_;
  std::map<std::string, std::string> metadata_;
  std::map<std::string, std::string> makers_;
};

// Refuse feeds that the model does not declare, before the engine sees them. Throws InputError.
void check_feeds(const Spec& spec, const std::vector<TensorInfo>& inputs, const std::vector<Feed>& feeds);

}  // namespace deploykit
