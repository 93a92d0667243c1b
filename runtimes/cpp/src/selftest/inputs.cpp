#include "selftest/inputs.hpp"

#include <algorithm>
#include <string>

#include "contract/limits.hpp"
#include "deploykit/error.hpp"
#include "deploykit/image.hpp"
#include "ort/half.hpp"
#include "pixels/geometry.hpp"
#include "pixels/pixel_format.hpp"
#include "pixels/preprocess.hpp"
#include "text/text.hpp"

namespace deploykit::selftest {
namespace {

// Refuses what no honest file asks for, before any memory is taken. No factor is above 2^31.
void check_values(const Case& golden, const std::array<std::int64_t, 4>& shape) {
  double count = 1;
  for (const std::int64_t n : shape) count *= static_cast<double>(n);
  if (count > static_cast<double>(limits::kFeed)) {
    throw LimitError("The golden case " + golden.title() + " wants at most " + std::to_string(limits::kFeed) +
                     " values, found " + count_text(count) + ".");
  }
}

// The contract of a case whose images are of the size of the tensor: they are normalised only.
Preprocess processing_of(const Case& golden, const Spec& spec) {
  Preprocess how = spec.preprocess;
  if (golden.stage == Stage::image) return how;
  how.pre_crop = 0;
  how.resize = Resize::none;
  how.resize_to.clear();
  how.crop.reset();
  return how;
}

void feed_tensor(const Case& golden, const Spec& spec, CaseFeeds& made) {
  const InputSpec& input = spec.input;
  const Preprocess how = processing_of(golden, spec);
  const PixelFormat format = format_of(spec);
  const Normalisation normalisation = normalisation_of(how, input.channels);
  const Geometry plan = plan_geometry({golden.height, golden.width}, how, spec.tensor(), std::nullopt);
  check_resized(plan);
  const auto [height, width] = plan.input_size;
  check_values(golden, {golden.batch, format.channels, height, width});
  const auto image_bytes = static_cast<std::size_t>(golden.height * golden.width * format.channels);
  const auto image_values = static_cast<std::size_t>(format.channels * height * width);
  const auto count = static_cast<std::size_t>(golden.batch);
  const bool channels_last = input.layout == Axes::nhwc;
  made.tensor.resize(image_values * count);
  PreprocessScratch scratch;
  for (std::size_t i = 0; i < count; ++i) {
    const ImageView view(made.pixels.data() + i * image_bytes, golden.height, golden.width, format.channels);
    render(pixels_of(view, format), plan, how, normalisation, channels_last, made.tensor.data() + i * image_values,
           scratch);
  }
  Feed feed{input.name, DType::float32, {golden.batch, format.channels, height, width}, made.tensor.data()};
  if (channels_last) feed.shape = {golden.batch, height, width, format.channels};
  if (input.dtype == "float16") {
    made.halves.resize(made.tensor.size());
    std::transform(made.tensor.begin(), made.tensor.end(), made.halves.begin(), to_half);
    feed.dtype = DType::float16;
    feed.data = made.halves.data();
  } else if (input.dtype != "float32") {
    throw ModelError(
        "The model takes pixels of the type " + quoted(input.dtype) + "; images are fed as float32 or float16.",
        "Prepare the tensor yourself and call infer().");
  }
  made.feeds.push_back(feed);
}

}  // namespace

std::vector<std::uint8_t> images_of(const Case& golden, std::int64_t channels) {
  const Shape4 shape{golden.batch, golden.height, golden.width, channels};
  check_values(golden, shape);
  std::vector<std::uint8_t> pixels =
      golden.picture == nullptr ? noise(golden.seed, shape) : views(*golden.picture, shape);
  if (golden.soft > 0) soften(pixels, golden.soft);
  return pixels;
}

void feeds_of(const Case& golden, const Spec& spec, CaseFeeds& made) {
  const InputSpec& input = spec.input;
  made.feeds.clear();
  made.pixels = images_of(golden, std::max<std::int64_t>(0, input.channels));
  if (spec.preprocess.included) {
    made.feeds.push_back(
        {input.name, DType::uint8, {golden.batch, golden.height, golden.width, input.channels}, made.pixels.data()});
  } else {
    feed_tensor(golden, spec, made);
  }
  if (!spec.output.runtime_thresholds) return;
  made.thresholds = {static_cast<float>(spec.output.conf), static_cast<float>(spec.output.iou)};
  made.feeds.push_back({"conf", DType::float32, {}, &made.thresholds[0]});
  made.feeds.push_back({"iou", DType::float32, {}, &made.thresholds[1]});
}

}  // namespace deploykit::selftest
