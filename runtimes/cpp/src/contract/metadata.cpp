// The contract out of flat string keys, as docs/spec.md defines them.

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <utility>

#include "deploykit/error.hpp"
#include "deploykit/spec.hpp"
#include "contract/limits.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

using Metadata = std::map<std::string, std::string>;

constexpr std::string_view kPrefix = "deploykit.";
constexpr std::string_view kFormat = "1";

template <class E>
using Choices = std::vector<std::pair<const char*, E>>;

template <class T>
T parse(const std::string& key, const std::string& text, std::string_view item);

[[noreturn]] void refuse_numbers(const std::string& key, const char* kind, const std::string& text) {
  throw ModelError("Metadata " + key + " wants " + kind + " values, found " + quoted(text) + ".");
}

template <>
std::int64_t parse<std::int64_t>(const std::string& key, const std::string& text, std::string_view item) {
  if (item.size() > 1 && item.front() == '+') item.remove_prefix(1);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), value);
  if (error != std::errc() || end != item.data() + item.size() || value > limits::kInteger || value < -limits::kInteger) {
    refuse_numbers(key, "int", text);
  }
  return value;
}

// Of a number that no double holds: whether it is too small rather than too large.
bool is_tiny(std::string_view item) {
  if (item.front() == '-') item.remove_prefix(1);
  const std::size_t power = item.find_first_of("eE");
  if (power != std::string_view::npos) return power + 1 < item.size() && item[power + 1] == '-';
  return item.front() == '0' || item.front() == '.';
}

template <>
double parse<double>(const std::string& key, const std::string& text, std::string_view item) {
  if (item.size() > 1 && item.front() == '+') item.remove_prefix(1);
  double value = 0;
  const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), value);
  if (end != item.data() + item.size() || error == std::errc::invalid_argument) refuse_numbers(key, "float", text);
  if (error == std::errc::result_out_of_range) value = is_tiny(item) ? 0 : std::numeric_limits<double>::infinity();
  if (!std::isfinite(value)) {
    throw ModelError("Metadata " + key + " wants finite numbers, found " + quoted(text) + ".");
  }
  return value;
}

template <class T>
std::vector<T> numbers(const std::string& key, const std::string& text) {
  std::vector<T> found;
  for (const std::string& item : words(text)) found.push_back(parse<T>(key, text, item));
  return found;
}

// Reads the keys of one part, in the order in which its fields are declared.
class Part {
 public:
  Part(const Metadata& metadata, std::string prefix) : metadata_(metadata), prefix_(std::move(prefix)) {}

  bool exists() const {
    const auto found = metadata_.lower_bound(prefix_);
    return found != metadata_.end() && found->first.compare(0, prefix_.size(), prefix_) == 0;
  }

  Part& required() {
    required_ = true;
    return *this;
  }

  void read(const char* name, std::string& value) {
    if (const std::string* text = find(name)) value = *text;
  }

  void read(const char* name, std::int64_t& value) { read_one(name, value); }
  void read(const char* name, double& value) { read_one(name, value); }

  void read(const char* name, bool& value) {
    if (const std::string* text = find(name)) {
      const auto found = numbers<std::int64_t>(prefix_ + name, *text);
      value = found.size() == 1 && found[0] == 1;
    }
  }

  template <class T>
  void read(const char* name, std::vector<T>& values) {
    if (const std::string* text = find(name)) values = numbers<T>(prefix_ + name, *text);
  }

  void read_words(const char* name, std::vector<std::string>& values) {
    if (const std::string* text = find(name)) values = words(*text);
  }

  void read_lines(const char* name, std::vector<std::string>& values) {
    const std::string* text = find_any(name);
    if (text == nullptr) return;
    const auto lines = 1 + static_cast<std::int64_t>(std::count(text->begin(), text->end(), '\n'));
    if (lines > limits::kNames) {
      throw LimitError("Metadata " + prefix_ + name + " wants at most " + std::to_string(limits::kNames) +
                       " lines, found " + std::to_string(lines) + ".");
    }
    values = text->empty() ? std::vector<std::string>{} : split(*text, '\n');
  }

  // Two numbers, or nothing where the key is absent.
  std::optional<std::pair<std::int64_t, std::int64_t>> read_pair(const char* name) {
    const std::string* text = find(name);
    if (text == nullptr) return std::nullopt;
    const auto found = numbers<std::int64_t>(prefix_ + name, *text);
    if (found.size() != 2) {
      throw ModelError("Metadata " + prefix_ + name + " wants 2 values, found " + quoted(*text) + ".");
    }
    return std::make_pair(found[0], found[1]);
  }

  template <class E>
  void choose(const char* name, E& value, const Choices<E>& choices) {
    const std::string* text = find(name);
    if (text == nullptr) return;
    std::vector<std::string> names;
    for (const auto& [choice, meaning] : choices) {
      if (*text == choice) {
        value = meaning;
        return;
      }
      names.emplace_back(choice);
    }
    throw ModelError("Metadata " + prefix_ + name + " wants one of " + join(names, ", ") + ", found " + quoted(*text) +
                     ".");
  }

 private:
  const std::string* find(const char* name) {
    const std::string* text = find_any(name);
    if (text == nullptr || static_cast<std::int64_t>(text->size()) <= limits::kValue) return text;
    throw LimitError("Metadata " + prefix_ + name + " wants at most " + std::to_string(limits::kValue) +
                     " bytes, found " + std::to_string(text->size()) + ".");
  }

  const std::string* find_any(const char* name) {
    const bool required = std::exchange(required_, false);
    const auto found = metadata_.find(prefix_ + name);
    if (found != metadata_.end()) return &found->second;
    if (required) {
      throw ModelError("The model's metadata lacks " + prefix_ + name + ".",
                       "The file was altered: export the checkpoint again.");
    }
    return nullptr;
  }

  template <class T>
  void read_one(const char* name, T& value) {
    const std::string* text = find(name);
    if (text == nullptr) return;
    const auto found = numbers<T>(prefix_ + name, *text);
    if (found.size() != 1) {
      throw ModelError("Metadata " + prefix_ + name + " wants one number, found " + quoted(*text) + ".");
    }
    value = found[0];
  }

  const Metadata& metadata_;
  std::string prefix_;
  bool required_ = false;
};

AxisRange axis_range(const std::vector<std::int64_t>& bounds) {
  const AxisRange range{bounds[0], bounds[1], bounds[2]};
  if (!(0 < range.min && range.min <= range.max && range.step > 0)) {
    throw ModelError("A dynamic axis needs 0 < min <= max and step > 0, found " + to_string(range) + ".");
  }
  return range;
}

std::map<std::string, AxisRange> read_dynamic(const Metadata& metadata, const std::string& prefix) {
  std::map<std::string, AxisRange> ranges;
  for (auto entry = metadata.lower_bound(prefix); entry != metadata.end(); ++entry) {
    const auto& [key, text] = *entry;
    if (key.compare(0, prefix.size(), prefix) != 0) break;
    const auto bounds = numbers<std::int64_t>(key, text);
    if (bounds.size() != 3) {
      throw ModelError("Metadata " + key + " wants 'min max step', found " + quoted(text) + ".");
    }
    const std::string axis = key.substr(prefix.size());
    if (axis != "batch" && axis != "height" && axis != "width") {
      throw ModelError("Metadata " + key + ": dynamic axes are batch, height, width, found " + quoted(axis) + ".");
    }
    ranges[axis] = axis_range(bounds);
  }
  return ranges;
}

InputSpec read_input(const Metadata& metadata, const std::string& prefix) {
  InputSpec input;
  Part part(metadata, prefix);
  part.read("name", input.name);
  part.required().read("height", input.height);
  part.required().read("width", input.width);
  part.read("batch", input.batch);
  part.read("channels", input.channels);
  part.choose("layout", input.layout, {{"NCHW", Axes::nchw}, {"NHWC", Axes::nhwc}});
  part.read("dtype", input.dtype);
  input.dynamic = read_dynamic(metadata, prefix + "dynamic.");
  return input;
}

Preprocess read_preprocess(Part part) {
  Preprocess how;
  part.read("included", how.included);
  part.choose("color", how.color,
              {{"rgb", Color::rgb}, {"bgr", Color::bgr}, {"grey", Color::grey}, {"as_is", Color::as_is}});
  part.read("pre_crop", how.pre_crop);
  part.choose("pre_crop_offset", how.pre_crop_offset,
              {{"up", CropOffset::up}, {"down", CropOffset::down}, {"even", CropOffset::even}});
  part.choose("resize", how.resize,
              {{"none", Resize::none},
               {"stretch", Resize::stretch},
               {"short", Resize::short_edge},
               {"long", Resize::long_edge},
               {"cover", Resize::cover},
               {"letterbox", Resize::letterbox}});
  part.read("resize_to", how.resize_to);
  part.choose("rounding", how.rounding, {{"floor", Rounding::floor}, {"round", Rounding::round}});
  part.choose("interpolation", how.interpolation,
              {{"nearest", Interpolation::nearest},
               {"bilinear", Interpolation::bilinear},
               {"bicubic", Interpolation::bicubic},
               {"lanczos", Interpolation::lanczos},
               {"box", Interpolation::box},
               {"area", Interpolation::area}});
  part.choose("resampler", how.resampler, {{"pillow", Resampler::pillow}, {"opencv", Resampler::opencv}});
  if (const auto crop = part.read_pair("crop")) how.crop = Size{crop->first, crop->second};
  part.choose("crop_offset", how.crop_offset,
              {{"up", CropOffset::up}, {"down", CropOffset::down}, {"even", CropOffset::even}});
  part.read("pad_value", how.pad_value);
  part.choose("anchor", how.anchor, {{"center", Anchor::center}, {"top_left", Anchor::top_left}});
  part.read("scale_up", how.scale_up);
  part.read("stride", how.stride);
  part.read("scale", how.scale);
  part.read("mean", how.mean);
  part.read("std", how.std);
  return how;
}

OutputSpec read_output(Part part) {
  OutputSpec output;
  part.required().read_words("names", output.names);
  part.required().choose("layout", output.layout,
                         {{"logits", Layout::logits},
                          {"probabilities", Layout::probabilities},
                          {"features", Layout::features},
                          {"yolo", Layout::yolo},
                          {"yolov5", Layout::yolov5},
                          {"end2end", Layout::end2end},
                          {"end2end_flat", Layout::end2end_flat},
                          {"top_k", Layout::top_k},
                          {"detections", Layout::detections}});
  part.choose("activation", output.activation,
              {{"softmax", Activation::softmax}, {"sigmoid", Activation::sigmoid}, {"none", Activation::none}});
  part.read("decoded", output.decoded);
  part.read("nms", output.nms);
  part.read("conf", output.conf);
  part.read("iou", output.iou);
  part.read("max_det", output.max_det);
  part.read("class_agnostic", output.class_agnostic);
  part.read("top_k", output.top_k);
  part.read("runtime_thresholds", output.runtime_thresholds);
  if (const auto keypoints = part.read_pair("keypoints")) {
    std::tie(output.keypoints, output.keypoint_dims) = *keypoints;
  }
  part.read("mask_channels", output.mask_channels);
  part.read("strides", output.strides);
  return output;
}

ParityRecord read_parity(Part part) {
  ParityRecord parity;
  part.required().read("max_abs", parity.max_abs);
  part.required().read("max_rel", parity.max_rel);
  part.required().read("top1", parity.top1);
  part.required().read("tolerance", parity.tolerance);
  part.required().read_lines("shapes", parity.shapes);
  part.required().read_lines("inputs", parity.inputs);
  part.required().read("reference", parity.reference);
  part.required().read("engine", parity.engine);
  part.read("answers", parity.answers);
  part.read("answer_score", parity.answer_score);
  part.read("answer_box", parity.answer_box);
  part.read("answer_said", parity.answer_said);
  part.read("detections", parity.detections);
  part.read("masks", parity.masks);
  part.read("keypoints", parity.keypoints);
  part.read("exact_pixels", parity.exact_pixels);
  part.read("precision", parity.precision);
  part.read("witness", parity.witness);
  part.read("golden", parity.golden);
  part.read("golden_said", parity.golden_said);
  return parity;
}

PrecisionRecord read_precision(Part part) {
  PrecisionRecord precision;
  part.required().choose("compute", precision.compute, {{"fp16", std::string("fp16")}, {"int8", std::string("int8")}});
  part.read("target", precision.target);
  part.read_words("cpus", precision.cpus);
  part.read("data", precision.data);
  part.read("data_sha256", precision.data_sha256);
  part.read("images", precision.images);
  part.read("metric", precision.metric);
  part.read("budget", precision.budget);
  part.read("reference", precision.reference);
  part.read("accuracy", precision.accuracy);
  part.read("method", precision.method);
  part.read_lines("kept", precision.kept);
  return precision;
}

void read_model(Part part, Spec& spec) {
  part.required().choose("task", spec.task,
                         {{"classify", Task::classify},
                          {"detect", Task::detect},
                          {"segment", Task::segment},
                          {"pose", Task::pose},
                          {"obb", Task::obb},
                          {"features", Task::features}});
  part.required().read("family", spec.family);
  part.required().read("variant", spec.variant);
  part.required().read("origin", spec.origin);
  part.read_lines("classes", spec.classes);
  part.read("num_classes", spec.num_classes);
  part.read("source", spec.source);
  part.read("source_sha256", spec.source_sha256);
  part.read_lines("recognised", spec.recognised);
  part.read_lines("assumed", spec.assumed);
  part.read("exporter", spec.exporter);
}

}  // namespace

Spec spec_from_metadata(const Metadata& metadata) {
  const std::string prefix(kPrefix);
  const auto format = metadata.find(prefix + "format");
  const std::string version = format == metadata.end() ? "" : format->second;
  if (version != kFormat) {
    throw ModelError("The model's metadata has format " + quoted(version.empty() ? "none" : version) +
                         ", this version reads " + std::string(kFormat) + ".",
                     "Upgrade deploykit, or export the checkpoint again.");
  }
  Spec spec;
  spec.input = read_input(metadata, prefix + "input.");
  if (Part(metadata, prefix + "network.").exists()) spec.network = read_input(metadata, prefix + "network.");
  spec.preprocess = read_preprocess(Part(metadata, prefix + "preprocess."));
  spec.output = read_output(Part(metadata, prefix + "output."));
  if (Part(metadata, prefix + "parity.").exists()) spec.parity = read_parity(Part(metadata, prefix + "parity."));
  const Part precision(metadata, prefix + "precision.");
  if (precision.exists()) spec.precision = read_precision(precision);
  read_model(Part(metadata, prefix), spec);
  if (!spec.classes.empty() && spec.num_classes != 0 &&
      static_cast<std::int64_t>(spec.classes.size()) != spec.num_classes) {
    throw ModelError("The model has " + std::to_string(spec.num_classes) + " classes but " +
                         std::to_string(spec.classes.size()) + " class names.",
                     "Export the checkpoint again with as many names as it has classes: --labels FILE");
  }
  return spec;
}

const char* to_string(Task task) {
  static const std::array<const char*, 6> names{"classify", "detect", "segment", "pose", "obb", "features"};
  return names.at(static_cast<std::size_t>(task));
}

std::string to_string(const AxisRange& range) {
  std::string text = std::to_string(range.min) + ".." + std::to_string(range.max);
  if (range.step > 1) text += " in steps of " + std::to_string(range.step);
  return text;
}

}  // namespace deploykit
