// What to keep of the model's answers.

#include <string>

#include "answers/decode.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

// Options that a graph with its post-processing inside can no longer follow.
void check_built_in(const OutputSpec& output, const PredictOptions& options) {
  if (output.layout != Layout::top_k && output.layout != Layout::detections) return;
  const auto refuse = [](const std::string& name, double built_in, double given, bool threshold) {
    std::string option = name;
    for (char& c : option) c = c == '_' ? '-' : c;
    throw OptionError("The model's post-processing is inside its graph, with " + name + " " + short_number(built_in) +
                          "; found " + name + "=" + short_number(given) + ".",
                      "Export again with --" + option + " " + short_number(given) +
                          (threshold ? ", or with --runtime-thresholds." : "."));
  };
  const auto real = [](std::int64_t value) { return static_cast<double>(value); };
  const bool free = output.runtime_thresholds;
  if (output.layout == Layout::top_k && options.top_k && *options.top_k > output.top_k) {
    refuse("top_k", real(output.top_k), real(*options.top_k), false);
  }
  if (!free && options.conf && *options.conf < output.conf) refuse("conf", output.conf, *options.conf, true);
  if (!free && options.iou && *options.iou != output.iou) refuse("iou", output.iou, *options.iou, true);
  if (options.max_det && *options.max_det > output.max_det) {
    refuse("max_det", real(output.max_det), real(*options.max_det), false);
  }
}

void check_share(const char* name, double value) {
  if (value >= 0 && value <= 1) return;
  throw OptionError(std::string(name) + " wants a number in 0..1, found " + number_text(value) + ".");
}

void check_count(const char* name, std::int64_t value) {
  if (value >= 1) return;
  throw OptionError(std::string(name) + " wants a whole number of at least 1, found " + std::to_string(value) + ".");
}

}  // namespace

Thresholds thresholds_of(const OutputSpec& output, const PredictOptions& options) {
  check_built_in(output, options);
  Thresholds found;
  found.top_k = options.top_k.value_or(output.top_k != 0 ? output.top_k : 5);
  found.conf = options.conf.value_or(output.conf);
  found.iou = options.iou.value_or(output.iou);
  found.max_det = options.max_det.value_or(output.max_det);
  check_share("conf", found.conf);
  check_share("iou", found.iou);
  check_count("top_k", found.top_k);
  check_count("max_det", found.max_det);
  return found;
}

}  // namespace deploykit
