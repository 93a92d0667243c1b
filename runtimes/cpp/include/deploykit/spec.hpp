// Everything an application must know to use a model file (docs/spec.md is normative).
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "deploykit/config.h"

namespace deploykit {

enum class Task { classify, detect, segment, pose, obb, features };
enum class ColorOrder { rgb, bgr };  // of the caller's pixels
enum class Color {
  rgb,
  bgr,
  grey,   // one channel
  as_is,  // the channels of the image, never converted
};
enum class Resize { none, stretch, short_edge, long_edge, cover, letterbox };
enum class Interpolation { nearest, bilinear, bicubic, lanczos, box, area };
enum class Resampler { pillow, opencv };
enum class Rounding { floor, round };
enum class CropOffset { up, down, even };
enum class Anchor { center, top_left };
enum class Axes { nchw, nhwc };
enum class Activation { softmax, sigmoid, none };
enum class Layout {
  logits,         // [N, C] raw class scores
  probabilities,  // [N, C] already activated
  features,       // one map [N, C, H, W], or tokens [N, T, C], per output
  yolo,           // [N, 4 + C + extra, A]
  yolov5,         // [N, A, 5 + C + extra]
  end2end,        // [N, K, 6 + extra]
  end2end_flat,   // [K, 7]
  top_k,          // finished answers
  detections,     // finished answers
};

struct Size {
  std::int64_t height = 0;
  std::int64_t width = 0;

  friend bool operator==(const Size& a, const Size& b) { return a.height == b.height && a.width == b.width; }
  friend bool operator!=(const Size& a, const Size& b) { return !(a == b); }
};

// Values that a dynamic axis accepts: min <= n <= max and n a multiple of step.
struct AxisRange {
  std::int64_t min = 1;
  std::int64_t max = 1;
  std::int64_t step = 1;

  bool contains(std::int64_t n) const { return min <= n && n <= max && n % step == 0; }
};

struct InputSpec {
  std::string name = "images";
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t batch = 1;
  std::int64_t channels = 3;
  Axes layout = Axes::nchw;
  std::string dtype = "float32";
  std::map<std::string, AxisRange> dynamic;  // among "batch", "height", "width"

  const AxisRange* range(const char* axis) const {
    const auto found = dynamic.find(axis);
    return found == dynamic.end() ? nullptr : &found->second;
  }
};

struct Preprocess {
  bool included = false;
  Color color = Color::rgb;
  double pre_crop = 0.0;
  CropOffset pre_crop_offset = CropOffset::up;
  Resize resize = Resize::none;
  std::vector<std::int64_t> resize_to;
  Rounding rounding = Rounding::floor;
  Interpolation interpolation = Interpolation::bilinear;
  Resampler resampler = Resampler::pillow;
  std::optional<Size> crop;
  CropOffset crop_offset = CropOffset::even;
  std::int64_t pad_value = 0;
  Anchor anchor = Anchor::center;
  bool scale_up = true;
  std::int64_t stride = 0;
  double scale = 1.0 / 255.0;
  std::vector<double> mean{0.0, 0.0, 0.0};
  std::vector<double> std{1.0, 1.0, 1.0};
};

struct OutputSpec {
  std::vector<std::string> names;
  Layout layout = Layout::logits;
  Activation activation = Activation::none;
  bool decoded = true;
  bool nms = false;
  double conf = 0.25;
  double iou = 0.7;
  std::int64_t max_det = 300;
  bool class_agnostic = false;
  std::int64_t top_k = 0;
  bool runtime_thresholds = false;
  std::int64_t keypoints = 0;      // of a pose head
  std::int64_t keypoint_dims = 0;  // 2: x, y; 3: x, y, visibility
  std::int64_t mask_channels = 0;
  std::vector<std::int64_t> strides;
};

struct ParityRecord {
  double max_abs = 0;
  double max_rel = 0;
  double top1 = 0;
  double tolerance = 0;
  std::vector<std::string> shapes;
  std::vector<std::string> inputs;
  std::string reference;
  std::string engine;
  std::int64_t answers = 0;
  double answer_score = 0;
  double answer_box = 0;
  std::string answer_said;
  std::int64_t detections = 0;
  std::int64_t masks = 0;
  std::int64_t keypoints = 0;
  double exact_pixels = 1;
  std::string precision;
  std::string witness;
  std::string golden;
  std::string golden_said;
};

// What a file computes in below float32, what it was made for and what that costs; see docs/spec.md.
struct PrecisionRecord {
  std::string compute;            // "fp16" or "int8"
  std::string target = "any";     // "ort-cpu", "trt", "ov" or "any"
  std::vector<std::string> cpus;  // classes of CPU for which the accuracy was shown
  std::string data;
  std::string data_sha256;
  std::int64_t images = 0;
  std::string metric;
  double budget = 0;
  double reference = 0;
  double accuracy = 0;
  std::string method;
  std::vector<std::string> kept;
};

struct DEPLOYKIT_API Spec {
  Task task = Task::features;
  std::string family;
  std::string variant;
  std::string origin;
  InputSpec input;
  Preprocess preprocess;
  OutputSpec output;
  std::optional<InputSpec> network;
  std::vector<std::string> classes;
  std::int64_t num_classes = 0;
  std::string source;
  std::string source_sha256;
  std::vector<std::string> recognised;
  std::vector<std::string> assumed;
  std::string exporter;
  std::optional<ParityRecord> parity;
  std::optional<PrecisionRecord> precision;  // what it computes in where that is less than float32
  bool inferred = false;  // the file carried no deploykit metadata
  // What the outputs may mean, where neither the file nor Options::outputs tells; empty: nothing that is known.
  // Then infer() runs, and predict() refuses the model. Not set: it is known.
  std::optional<std::vector<std::string>> readings;

  // What the network takes: the graph's input, or what its pre-processing makes of it.
  const InputSpec& tensor() const { return network ? *network : input; }
  // Whether the graph returns answers that need no more decoding.
  bool is_postprocessed() const { return output.layout == Layout::top_k || output.layout == Layout::detections; }
};

DEPLOYKIT_API const char* to_string(Task task);
// "1..64", "32..640 in steps of 32"
DEPLOYKIT_API std::string to_string(const AxisRange& range);

// Read the contract from a model's metadata. Unknown keys are ignored. Throws ModelError.
DEPLOYKIT_API Spec spec_from_metadata(const std::map<std::string, std::string>& metadata);

}  // namespace deploykit
