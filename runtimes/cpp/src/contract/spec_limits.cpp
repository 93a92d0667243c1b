#include "contract/spec_limits.hpp"

#include <string>

#include "contract/limits.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

[[noreturn]] void refuse(const std::string& key, std::int64_t low, std::int64_t high, const std::string& found) {
  throw LimitError("Metadata deploykit." + key + " wants " + std::to_string(low) + " to " + std::to_string(high) +
                   ", found " + found + ".");
}

void check(const std::string& key, std::int64_t low, std::int64_t high, std::int64_t found) {
  if (found < low || found > high) refuse(key, low, high, std::to_string(found));
}

void check(const std::string& key, double found) {
  if (!(found >= 0 && found <= 1)) refuse(key, 0, 1, number_text(found));
}

void check_sizes(const std::string& part, const InputSpec& tensor) {
  check(part + ".height", 1, limits::kSide, tensor.height);
  check(part + ".width", 1, limits::kSide, tensor.width);
  check(part + ".channels", 1, limits::kChannels, tensor.channels);
  check(part + ".batch", 1, limits::kChannels, tensor.batch);
}

void check_numbers(const Spec& spec) {
  check_sizes("input", spec.input);
  if (spec.network) check_sizes("network", *spec.network);
  const Preprocess& how = spec.preprocess;
  for (const std::int64_t side : how.resize_to) check("preprocess.resize_to", 1, limits::kSide, side);
  if (how.crop) {
    check("preprocess.crop", 1, limits::kSide, how.crop->height);
    check("preprocess.crop", 1, limits::kSide, how.crop->width);
  }
  check("preprocess.pre_crop", how.pre_crop);
  check("preprocess.stride", 0, limits::kSide, how.stride);
  check("num_classes", 0, limits::kNames, spec.num_classes);
  const OutputSpec& output = spec.output;
  check("output.max_det", 1, limits::kNames, output.max_det);
  check("output.top_k", 0, limits::kNames, output.top_k);
  check("output.conf", output.conf);
  check("output.iou", output.iou);
  check("output.keypoints", 0, limits::kChannels, output.keypoints);
  check("output.keypoints", 0, limits::kChannels, output.keypoint_dims);
  check("output.mask_channels", 0, limits::kChannels, output.mask_channels);
}

// In doubles: a graph of another exporter can have any sizes.
void check_values(const std::string& part, const char* what, double found, std::int64_t most) {
  if (found <= static_cast<double>(most)) return;
  throw LimitError("The model's " + part + " wants " + count_text(found) + " values for " + what +
                       ", deploykit makes " + std::to_string(most) + " at most.",
                   "Export it for smaller images or batches, or prepare the tensor in another program.");
}

void check_tensor(const std::string& part, const InputSpec& tensor) {
  const auto real = [](std::int64_t n) { return static_cast<double>(n); };
  const double image = real(tensor.channels) * real(tensor.height) * real(tensor.width);
  check_values(part, "an image", image, limits::kImage);
  check_values(part, "a batch", tensor.range("batch") == nullptr ? image * real(tensor.batch) : image, limits::kFeed);
}

}  // namespace

void check_spec_limits(const Spec& spec) {
  if (!spec.inferred) check_numbers(spec);  // else the sizes are the graph's own
  check_tensor("input", spec.input);
  if (spec.network) check_tensor("network", *spec.network);
}

}  // namespace deploykit
