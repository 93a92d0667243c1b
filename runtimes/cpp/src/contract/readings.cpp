#include "contract/readings.hpp"

#include <string_view>

#include "deploykit/error.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

std::string all_names() {
  std::vector<std::string> names;
  for (const OutputReading& reading : readings()) names.emplace_back(reading.name);
  return join(names, ", ");
}

// "17x3": up to 9999 keypoints of 2 or 3 values.
bool parse_keypoints(const std::string& text, Declared& found) {
  const std::size_t digits = text.find_first_not_of("0123456789");
  if (digits == 0 || digits > 4 || text[0] == '0' || text.size() != digits + 2 || text[digits] != 'x') return false;
  const char dims = text.back();
  if (dims != '2' && dims != '3') return false;
  found.keypoints = std::stoll(text.substr(0, digits));
  found.keypoint_dims = dims - '0';
  return true;
}

}  // namespace

bool OutputReading::is_yolox() const { return std::string_view(name).substr(0, 5) == "yolox"; }

const std::vector<OutputReading>& readings() {
  static const std::vector<OutputReading> all{
      {"logits", Task::classify, Layout::logits, "[N, C]", true, Activation::softmax},
      {"multilabel", Task::classify, Layout::logits, "[N, C]", true, Activation::sigmoid},
      {"probabilities", Task::classify, Layout::probabilities, "[N, C]"},
      {"features", Task::features, Layout::features, "[N, ...]"},
      {"yolo", Task::detect, Layout::yolo, "[N, 4 + C, A]"},
      {"yolo-segment", Task::segment, Layout::yolo, "[N, 4 + C + M, A] and [N, M, h, w]"},
      {"yolo-pose", Task::pose, Layout::yolo, "[N, 4 + C + J * D, A]"},
      {"yolo-obb", Task::obb, Layout::yolo, "[N, 4 + C + 1, A]"},
      {"yolov5", Task::detect, Layout::yolov5, "[N, A, 5 + C]"},
      {"yolov5-segment", Task::segment, Layout::yolov5, "[N, A, 5 + C + M] and [N, M, h, w]"},
      {"yolox", Task::detect, Layout::yolov5, "[N, A, 5 + C]", false},
      {"yolox-decoded", Task::detect, Layout::yolov5, "[N, A, 5 + C]"},
      {"yolov7-end2end", Task::detect, Layout::end2end_flat, "[K, 7]"},
      {"end2end", Task::detect, Layout::end2end, "[N, K, 6]"},
      {"end2end-segment", Task::segment, Layout::end2end, "[N, K, 6 + M] and [N, M, h, w]"},
      {"end2end-pose", Task::pose, Layout::end2end, "[N, K, 6 + J * D]"},
      {"end2end-obb", Task::obb, Layout::end2end, "[N, K, 7]"}};
  return all;
}

const OutputReading* find_reading(const std::string& name) {
  for (const OutputReading& reading : readings()) {
    if (reading.name == name) return &reading;
  }
  return nullptr;
}

const OutputReading* reading_of(const Spec& spec) {
  if (spec.output.layout == Layout::yolov5 && spec.output.decoded && spec.preprocess.color == Color::bgr) {
    return find_reading("yolox-decoded");
  }
  for (const OutputReading& reading : readings()) {
    const bool activated = spec.output.layout != Layout::logits || reading.activation == spec.output.activation;
    if (reading.task == spec.task && reading.layout == spec.output.layout && activated &&
        reading.decoded == spec.output.decoded) {
      return &reading;
    }
  }
  return nullptr;
}

Declared parse_outputs(const std::string& text) {
  const std::size_t colon = text.find(':');
  Declared found;
  found.reading = find_reading(text.substr(0, colon));
  if (found.reading == nullptr) {
    throw OptionError("--outputs is one of " + all_names() + ", found " + quoted(text) + ".");
  }
  if (colon == std::string::npos) return found;
  if (found.reading->task != Task::pose || !parse_keypoints(text.substr(colon + 1), found)) {
    throw OptionError("--outputs " + text + ": only poses take more, their keypoints and the values of each.",
                      "For instance: --outputs yolo-pose:17x3");
  }
  return found;
}

std::string to_string(const Fit& fit) {
  const std::string name = fit.reading->name;
  if (fit.reading->task == Task::pose && fit.keypoints == 0) return name + ":JxD (J keypoints of D values)";
  if (fit.classes == 0) return name;
  return name + " (" + std::to_string(fit.classes) + " class" + (fit.classes > 1 ? "es" : "") + ")";
}

std::string shapes_text(const std::vector<TensorInfo>& outputs) {
  std::vector<std::string> texts;
  for (const TensorInfo& info : outputs) texts.push_back(to_string(info));
  return texts.empty() ? "no outputs" : join(texts, "; ");
}

std::string either(const std::vector<std::string>& texts) {
  if (texts.size() < 2) return join(texts, "");
  return join({texts.begin(), texts.end() - 1}, ", ") + " or " + texts.back();
}

void refuse_unclear(const Spec& spec, const std::vector<TensorInfo>& outputs) {
  if (!spec.readings) return;
  const std::string found = shapes_text(outputs);
  if (spec.readings->empty()) {
    throw ModelError("The meaning of the outputs is unknown: " + found + ".",
                     "Say it with --outputs, if they are one of " + all_names() + ".");
  }
  std::vector<std::string> names;
  for (const std::string& reading : *spec.readings) names.push_back(reading.substr(0, reading.find(' ')));
  throw ModelError(found + " may be " + either(*spec.readings) + ", and the file does not say which.",
                   "Say which: --outputs " + either(names));
}

}  // namespace deploykit
