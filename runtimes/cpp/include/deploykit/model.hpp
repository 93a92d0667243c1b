// A loaded model: images in, results out, or tensors in and out.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "deploykit/config.h"
#include "deploykit/error.hpp"
#include "deploykit/image.hpp"
#include "deploykit/placement.hpp"
#include "deploykit/result.hpp"
#include "deploykit/self_test.hpp"
#include "deploykit/spec.hpp"
#include "deploykit/tensor.hpp"

namespace deploykit {

// How a model is opened. C++20: {.device = "cuda"}; C++17: Options{}.with_device("cuda").
struct Options {
  std::string device = "cpu";  // "cpu", "cuda", "tensorrt". There is no fall-back to another one.
  int threads = 0;             // inside one operator; 0: every core the process may use
  bool strict = false;         // refuse a model of which any node runs elsewhere
  int gpu = 0;                 // number of the GPU
  int workers = 1;             // threads that serve asynchronous calls
  std::string cache{};         // folder for TensorRT engines; empty: the user's cache folder
  // "latency": one call uses all threads. "throughput": several calls side by side, each with fewer.
  std::string goal = "latency";
  // "model": compute in the precision of the file. "auto": TF32 where the GPU is faster with it.
  std::string precision = "model";
  bool cuda_graph = false;  // record the GPU's work once per shape and replay it
  // What the outputs of another exporter's file mean, if the file does not say: "yolov5", "yolo-pose:17x3", ...;
  // docs/other-exporters.md lists them. Empty: what the file tells.
  std::string outputs{};
  bool exact = false;  // run the file's own graph, node for node; otherwise an INT8 file may run in a faster form

  Options& with_device(std::string value) { return device = std::move(value), *this; }
  Options& with_threads(int value) { return threads = value, *this; }
  Options& with_strict(bool value = true) { return strict = value, *this; }
  Options& with_gpu(int value) { return gpu = value, *this; }
  Options& with_workers(int value) { return workers = value, *this; }
  Options& with_cache(std::string value) { return cache = std::move(value), *this; }
  Options& with_goal(std::string value) { return goal = std::move(value), *this; }
  Options& with_precision(std::string value) { return precision = std::move(value), *this; }
  Options& with_outputs(std::string value) { return outputs = std::move(value), *this; }
  Options& with_exact(bool value = true) { return exact = value, *this; }
  Options& with_cuda_graph(bool value = true) { return cuda_graph = value, *this; }
};

// What to keep of the answers; the model's own defaults where nothing is given.
struct PredictOptions {
  std::optional<std::int64_t> top_k{};    // number of classes of a classification
  std::optional<double> conf{};           // lowest score of a detection, exclusive
  std::optional<double> iou{};            // overlap above which the worse of two boxes falls
  std::optional<std::int64_t> max_det{};  // most detections of one image
  std::optional<Size> imgsz{};            // instead of the model's own size; needs dynamic axes
  std::optional<std::int64_t> batch{};    // most images to run at once

  PredictOptions& with_top_k(std::int64_t value) { return top_k = value, *this; }
  PredictOptions& with_conf(double value) { return conf = value, *this; }
  PredictOptions& with_iou(double value) { return iou = value, *this; }
  PredictOptions& with_max_det(std::int64_t value) { return max_det = value, *this; }
  PredictOptions& with_imgsz(std::int64_t height, std::int64_t width) { return imgsz = Size{height, width}, *this; }
  PredictOptions& with_batch(std::int64_t value) { return batch = value, *this; }
};

// Where the time of a call went, in milliseconds, summed over its images.
struct Timings {
  double preprocess_ms = 0;
  double infer_ms = 0;
  double postprocess_ms = 0;
};

// Safe to call from many threads. Everything throws a deploykit::Error.
class DEPLOYKIT_API Model {
 public:
  explicit Model(const std::string& path, const Options& options = {});
  ~Model();
  Model(Model&&) noexcept;
  Model& operator=(Model&&) noexcept;

  const Spec& spec() const;
  const std::vector<TensorInfo>& inputs() const;
  const std::vector<TensorInfo>& outputs() const;
  // The file's own keys, those of deploykit and those of others.
  const std::map<std::string, std::string>& metadata() const;
  Placement placement() const;
  // What speaks against running this file here: it was made for another engine, or its accuracy was shown on other
  // processors. Empty: nothing.
  std::string advice() const;

  Result predict(const ImageView& image, const PredictOptions& options = {}) const;
  // Into a result whose memory is used again: such calls allocate nothing of their own.
  void predict(const ImageView& image, Result& result, const PredictOptions& options = {}) const;
  // Images are batched with those whose tensors have the same size; the order is kept.
  std::vector<Result> predict(const std::vector<ImageView>& images, const PredictOptions& options = {},
                              Timings* timings = nullptr) const;

  // Called once, from one of the model's workers, with a result or an error.
  using Callback = void (*)(void* user, Result* result, const Error* error);
  // Returns at once. The pixels must stay where they are until the callback. See async.hpp for futures.
  void submit(const ImageView& image, const PredictOptions& options, Callback done, void* user) const;

  // Run the graph on tensors. Feeds are not modified and not copied.
  std::vector<Tensor> infer(const std::vector<Feed>& feeds) const;

  // Runs the golden cases that the file carries, and compares with what its checkpoint answered.
  // Throws ModelError: the file has none, they are damaged, or none are for the precision that the engine runs in.
  SelfTest self_test() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

// Name ONNX Runtime's library file, before the first model is opened. Otherwise it is searched: the
// variable DEPLOYKIT_ONNXRUNTIME, the process itself, where CMake found it, the loader's path.
DEPLOYKIT_API void use_onnxruntime(const std::string& library);
// The version in use, "1.32.0". Throws DependencyError where there is none.
DEPLOYKIT_API std::string onnxruntime_version();
DEPLOYKIT_API const char* version();

}  // namespace deploykit
