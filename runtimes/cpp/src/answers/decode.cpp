#include "answers/decode.hpp"

#include <algorithm>
#include <cmath>

#include "ort/half.hpp"
#include "text/text.hpp"
#include "answers/value_checks.hpp"

namespace deploykit {
namespace {

[[noreturn]] void not_finite() {
  throw ModelError("The model's class scores hold NaN or infinity.",
                   "Run `deploykit verify` against the checkpoint; half precision can overflow.");
}

// Class scores in 0..1. A head of one output is a sigmoid, never a softmax.
void activate(const float* logits, std::size_t count, const OutputSpec& output, std::vector<float>& scores) {
  scores.assign(logits, logits + count);
  if (!std::all_of(scores.begin(), scores.end(), [](float score) { return std::isfinite(score); })) not_finite();
  if (output.layout == Layout::probabilities || output.activation == Activation::none) return;
  if (output.activation == Activation::sigmoid || count == 1) {
    // tanh takes any size without overflow.
    for (float& score : scores) score = (std::tanh(score / 2) + 1) / 2;
    return;
  }
  const float highest = *std::max_element(scores.begin(), scores.end());
  double total = 0;
  for (float& score : scores) {
    score = std::exp(score - highest);
    total += static_cast<double>(score);
  }
  for (float& score : scores) score /= static_cast<float>(total);
}

void classify(const Reading& reading) {
  const FloatView logits = reading.floats(std::size_t{0});
  if (logits.axes() != 2 || logits.size(0) <= reading.image || logits.size(1) < 1) {
    throw ModelError("Wanted class scores [N, C], the graph gave " + list_text(*logits.shape) + ".");
  }
  if (reading.spec().inferred) {
    check_class_scores({logits.values, logits.size(0), logits.size(1), logits.size(1)}, reading.spec());
  }
  const auto count = static_cast<std::size_t>(logits.size(1));
  std::vector<float>& scores = reading.scratch.scores;
  activate(logits.values + static_cast<std::size_t>(reading.image) * count, count, reading.spec().output, scores);
  std::vector<std::size_t>& order = reading.scratch.order;
  order.resize(count);
  for (std::size_t i = 0; i < count; ++i) order[i] = i;
  const std::size_t wanted = std::min(count, static_cast<std::size_t>(reading.thresholds.top_k));
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(wanted), order.end(),
                    [&](std::size_t left, std::size_t right) {
                      return scores[left] != scores[right] ? scores[left] > scores[right] : left < right;
                    });
  for (std::size_t i = 0; i < wanted; ++i) {
    const auto class_id = static_cast<std::int64_t>(order[i]);
    reading.result.top.push_back({class_id, reading.class_name(class_id), scores[order[i]]});
  }
}

void read_top_k(const Reading& reading) {
  const FloatView scores = reading.floats("probabilities");
  const Outputs::View& classes = reading.view("classes");
  if (scores.axes() != 2 || classes.shape != *scores.shape || classes.dtype != DType::int64 ||
      scores.size(0) <= reading.image) {
    throw ModelError("Finished classes want probabilities [N, K] and classes [N, K], the graph gave " +
                     list_text(*scores.shape) + " and " + list_text(classes.shape) + ".");
  }
  const std::int64_t count = std::min(scores.size(1), reading.thresholds.top_k);
  const std::int64_t start = reading.image * scores.size(1);
  for (std::int64_t i = start; i < start + count; ++i) {
    if (!std::isfinite(scores.values[i])) not_finite();
    const std::int64_t class_id = classes.integers()[i];
    reading.result.top.push_back({class_id, reading.class_name(class_id), scores.values[i]});
  }
}

// Points into the engine's memory where that is float32 already.
void read_features(const Reading& reading) {
  for (std::size_t i = 0; i < reading.table.size(); ++i) {
    const FloatView values = reading.floats(i);
    if (values.axes() < 1 || values.size(0) <= reading.image) {
      throw ModelError("Wanted feature maps [N, ...], the graph gave " + list_text(*values.shape) + ".");
    }
    FeatureMap map;
    map.name = reading.spec().output.names[i];
    map.shape.assign(values.shape->begin() + 1, values.shape->end());
    std::size_t count = 1;
    for (const std::int64_t n : map.shape) count *= static_cast<std::size_t>(n);
    map.values = values.values + static_cast<std::size_t>(reading.image) * count;
    map.owner = reading.outputs;
    if (reading.view(i).dtype != DType::float32) {
      const auto copy = std::make_shared<std::vector<float>>(map.values, map.values + count);
      map.values = copy->data();
      map.owner = copy;
    }
    reading.result.maps.push_back(std::move(map));
  }
}

template <class T>
void convert(const Outputs::View& view, std::vector<float>& out) {
  const auto* values = static_cast<const T*>(view.data);
  out.resize(view.size());
  std::transform(values, values + out.size(), out.begin(), [](T value) { return static_cast<float>(value); });
}

}  // namespace

OutputTable::OutputTable(const Spec& spec, const std::vector<TensorInfo>& outputs) : names_(spec.output.names) {
  std::vector<std::string> given;
  for (const TensorInfo& info : outputs) given.push_back(info.name);
  for (const std::string& name : names_) {
    const auto found = std::find(given.begin(), given.end(), name);
    places_.push_back(static_cast<std::size_t>(found - given.begin()));
    if (found != given.end() || !problem_.empty()) continue;
    std::sort(given.begin(), given.end());
    problem_ = "The contract names the output " + quoted(name) + ", the graph gives " + list_text(given) + ".";
  }
  if (names_.empty()) problem_ = "The contract names no output.";
}

void OutputTable::require_all() const {
  if (!problem_.empty()) throw ModelError(problem_);
}

std::size_t OutputTable::find(const char* name) const {
  return static_cast<std::size_t>(std::find(names_.begin(), names_.end(), name) - names_.begin());
}

const Outputs::View& Reading::view(const char* name) const {
  const std::size_t index = table.find(name);
  if (index == table.size()) throw ModelError("The contract names no output " + quoted(name) + ".");
  return view(index);
}

FloatView Reading::floats(const char* name) const {
  view(name);
  return floats(table.find(name));
}

FloatView Reading::floats(std::size_t index) const {
  const Outputs::View& output = view(index);
  if (output.dtype == DType::float32) return {output.floats(), &output.shape};
  if (scratch.converted.size() < table.size()) scratch.converted.resize(table.size());
  std::vector<float>& out = scratch.converted[index];
  switch (output.dtype) {
    case DType::float64: convert<double>(output, out); break;
    case DType::int64: convert<std::int64_t>(output, out); break;
    case DType::int32: convert<std::int32_t>(output, out); break;
    case DType::uint8: convert<std::uint8_t>(output, out); break;
    case DType::float16: {
      const auto* halves = static_cast<const std::uint16_t*>(output.data);
      out.resize(output.size());
      std::transform(halves, halves + out.size(), out.begin(), from_half);
      break;
    }
    default: throw ModelError("The graph gives an output of the type " + std::string(to_string(output.dtype)) + ".");
  }
  return {out.data(), &output.shape};
}

void decode(const Reading& reading) {
  reading.table.require_all();
  Result& result = reading.result;
  result.task = reading.spec().task;
  result.image_size = {reading.geometry.image_size[0], reading.geometry.image_size[1]};
  result.top.clear();
  result.detections.clear();
  result.masks.clear();
  result.keypoints.clear();
  result.rotated.clear();
  result.corners.clear();
  result.maps.clear();
  switch (reading.spec().output.layout) {
    case Layout::logits:
    case Layout::probabilities: return classify(reading);
    case Layout::features: return read_features(reading);
    case Layout::top_k: return read_top_k(reading);
    case Layout::detections: return read_postprocessed(reading);
    case Layout::yolo:
    case Layout::yolov5:
    case Layout::end2end:
    case Layout::end2end_flat: return read_detections(reading);
  }
}

}  // namespace deploykit
