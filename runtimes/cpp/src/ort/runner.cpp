#include "ort/runner.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "ort/half.hpp"
#include "onnx/file.hpp"
#include "contract/readings.hpp"
#include "ort/api/session_info.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

constexpr std::int64_t kDefaultBatch = 8;
constexpr std::size_t kSpare = 4;  // memory this many times larger than what is needed is given back
constexpr std::array<const char*, 2> kThresholdInputs{"conf", "iou"};

std::shared_ptr<const Contract> contract_of(const Engine& engine, const std::string& declared) {
  auto contract = std::make_shared<Contract>();
  contract->spec = spec_of(engine.inputs(), engine.outputs(), engine.metadata(), declared, engine.makers());
  return contract;
}

std::size_t place_of(const std::vector<TensorInfo>& inputs, const std::string& name) {
  const auto found = std::find_if(inputs.begin(), inputs.end(), [&](const auto& info) { return info.name == name; });
  return static_cast<std::size_t>(found - inputs.begin());
}

int checked_workers(int count) {
  if (count < 1) throw OptionError("Wanted at least one worker, found " + std::to_string(count) + ".");
  return count;
}

// The smallest batch the model takes that holds the images.
std::int64_t batch_size(std::int64_t images, const InputSpec& input) {
  const AxisRange* allowed = input.range("batch");
  if (allowed == nullptr) return input.batch;
  return std::max(allowed->min, (images + allowed->step - 1) / allowed->step * allowed->step);
}

void check_side(const InputSpec& input, const char* axis, std::int64_t wanted, std::int64_t own) {
  const AxisRange* allowed = input.range(axis);
  const std::string asked = std::string("imgsz asks for a ") + axis + " of " + std::to_string(wanted);
  if (allowed == nullptr && wanted != own) {
    throw OptionError(asked + ", the model's is fixed to " + std::to_string(own) + ".",
                      std::string("Leave it out, or export again with --dynamic ") + axis + ", or with --imgsz.");
  }
  if (allowed != nullptr && !allowed->contains(wanted)) {
    const std::int64_t step = allowed->step;
    const auto near =
        static_cast<std::int64_t>(std::nearbyint(static_cast<double>(wanted) / static_cast<double>(step)));
    const std::int64_t lowest = (allowed->min + step - 1) / step * step;
    const std::int64_t nearest = std::min(std::max(near * step, lowest), allowed->max / step * step);
    throw OptionError(asked + ", the model takes " + to_string(*allowed) + ".",
                      "The nearest is " + std::to_string(nearest) + ".");
  }
}

void check_size(const Spec& spec, Size size) {
  constexpr std::int64_t longest = 1 << 14;
  if (std::min(size.height, size.width) < 1 || std::max(size.height, size.width) > longest) {
    throw OptionError("imgsz wants H or H,W, whole numbers of pixels from 1 to 16384 (height, width), found (" +
                      std::to_string(size.height) + ", " + std::to_string(size.width) + ").");
  }
  if (spec.preprocess.included) {
    throw OptionError("imgsz cannot be followed: the model's pre-processing is inside its graph.",
                      "Export again with --imgsz.");
  }
  check_side(spec.input, "height", size.height, spec.input.height);
  check_side(spec.input, "width", size.width, spec.input.width);
}

// Ultralytics' classifiers crop images for a square size, and stretch them for any other.
void check_same_crop(const Spec& spec, Size size) {
  const InputSpec& own = spec.input;
  const bool crops = spec.origin == "ultralytics" && spec.task == Task::classify && spec.preprocess.crop;
  if (!crops || (own.height == own.width) == (size.height == size.width)) return;
  const auto text = [](std::int64_t height, std::int64_t width, const char* between) {
    return std::to_string(height) + between + std::to_string(width);
  };
  throw OptionError("imgsz asks for " + text(size.height, size.width, "x") +
                        ", and the model's pre-processing is that of " + text(own.height, own.width, "x") +
                        ": Ultralytics crops images for a square size, and stretches them for others.",
                    "Leave it out, or export again with --imgsz " + text(size.height, size.width, ",") + ".");
}

template <class T>
T* sized(std::vector<T>& buffer, std::size_t count) {
  if (buffer.capacity() > kSpare * count) std::vector<T>().swap(buffer);
  buffer.resize(count);
  return buffer.data();
}

// Adds the time until its end to one of the timings.
class Stopwatch {
 public:
  explicit Stopwatch(double* total) : total_(total) {
    if (total_ != nullptr) started_ = std::chrono::steady_clock::now();
  }
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;
  ~Stopwatch() {
    if (total_ == nullptr) return;
    *total_ += std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - started_).count();
  }

 private:
  double* total_;
  std::chrono::steady_clock::time_point started_;
};

}  // namespace

Runner::Runner(const std::string& path, const Options& options)
    : engine_(path, options),
      contract_(contract_of(engine_, options.outputs)),
      table_(contract_->spec, engine_.outputs()),
      normalisation_(normalisation_of(contract_->spec.preprocess, contract_->spec.input.channels)),
      image_input_(place_of(engine_.inputs(), spec().input.name)),
      workers_(checked_workers(options.workers)) {
  for (std::size_t i = 0; i < kThresholdInputs.size(); ++i) {
    threshold_inputs_[i] = place_of(engine_.inputs(), kThresholdInputs[i]);
  }
}

void Runner::predict(const ImageView& image, const PredictOptions& options, Result& result) {
  const Thresholds thresholds = thresholds_of(spec().output, options);
  check_predictable(options);
  batch_limit(options);
  Lease lease(contexts_);
  Context& context = *lease;
  context.images.assign(1, image);
  context.geometries.assign(1, plan(image, options));
  run(context, thresholds, nullptr);
  read(context, 0, thresholds, result);
  lease.give_back();
}

std::vector<Result> Runner::predict(const std::vector<ImageView>& images, const PredictOptions& options,
                                    Timings* timings) {
  const Thresholds thresholds = thresholds_of(spec().output, options);
  check_predictable(options);
  const auto limit = static_cast<std::size_t>(batch_limit(options));
  std::vector<Result> results(images.size());
  Lease lease(contexts_);
  Context& context = *lease;
  std::vector<Geometry> plans;
  std::vector<std::size_t> waiting;
  std::vector<std::size_t> job;
  for (std::size_t start = 0; start < images.size(); start += limit) {
    const std::size_t stop = std::min(images.size(), start + limit);
    plans.clear();
    waiting.clear();
    for (std::size_t i = start; i < stop; ++i) {
      plans.push_back(plan(images[i], options));
      waiting.push_back(i);
    }
    // A graph that resizes by itself takes the images as they are.
    const auto size_of_tensor = [&](std::size_t i) {
      const Geometry& geometry = plans[i - start];
      return spec().preprocess.included ? geometry.image_size : geometry.input_size;
    };
    while (!waiting.empty()) {
      const auto size = size_of_tensor(waiting.front());
      const auto rest = std::stable_partition(waiting.begin(), waiting.end(),
                                              [&](std::size_t i) { return size_of_tensor(i) == size; });
      job.assign(waiting.begin(), rest);
      waiting.erase(waiting.begin(), rest);
      context.images.clear();
      context.geometries.clear();
      for (const std::size_t i : job) {
        context.images.push_back(images[i]);
        context.geometries.push_back(plans[i - start]);
      }
      run(context, thresholds, timings);
      const Stopwatch watch(timings == nullptr ? nullptr : &timings->postprocess_ms);
      for (std::size_t k = 0; k < job.size(); ++k) read(context, k, thresholds, results[job[k]]);
    }
  }
  lease.give_back();
  return results;
}

std::vector<Tensor> Runner::infer(const std::vector<Feed>& feeds) const {
  check_feeds(spec(), engine_.inputs(), feeds);
  std::vector<ort::OwnedValue> values;
  std::vector<const ort::Value*> raw;
  for (const TensorInfo& info : engine_.inputs()) {
    const auto feed =
        std::find_if(feeds.begin(), feeds.end(), [&](const Feed& item) { return item.name == info.name; });
    std::size_t bytes = size_of(feed->dtype);
    for (const std::int64_t n : feed->shape) bytes *= static_cast<std::size_t>(n);
    values.push_back(engine_.wrap(feed->data, bytes, feed->dtype, feed->shape.data(), feed->shape.size()));
    raw.push_back(values.back().get());
  }
  const auto outputs = std::make_shared<Outputs>(engine_.outputs().size());
  engine_.run(raw.data(), *outputs);
  std::vector<Tensor> found;
  for (std::size_t i = 0; i < outputs->size(); ++i) {
    const Outputs::View& view = (*outputs)[i];
    found.push_back({engine_.outputs()[i].name, view.dtype, view.shape, view.data, outputs});
  }
  return found;
}

void Runner::run(Context& context, const Thresholds& thresholds, Timings* timings) {
  const std::size_t count = engine_.inputs().size();
  const bool free_thresholds = spec().output.runtime_thresholds;
  const std::size_t wanted = free_thresholds ? 3 : 1;
  const bool known =
      image_input_ < count && (!free_thresholds || (threshold_inputs_[0] < count && threshold_inputs_[1] < count));
  if (!known || count != wanted) {
    std::vector<Feed> feeds{{spec().input.name, DType::other, {}, nullptr}};
    for (std::size_t i = 0; i + 1 < wanted; ++i) feeds.push_back({kThresholdInputs[i], DType::float32, {}, nullptr});
    check_feeds(spec(), engine_.inputs(), feeds);
  }
  context.inputs.resize(count);
  context.feeds.resize(count);
  {
    const Stopwatch watch(timings == nullptr ? nullptr : &timings->preprocess_ms);
    feed_image(context, batch_size(static_cast<std::int64_t>(context.images.size()), spec().input));
  }
  if (free_thresholds) {
    context.thresholds = {static_cast<float>(thresholds.conf), static_cast<float>(thresholds.iou)};
    for (std::size_t i = 0; i < 2; ++i) {
      context.inputs[threshold_inputs_[i]] =
          engine_.wrap(&context.thresholds[i], sizeof(float), DType::float32, nullptr, 0);
    }
  }
  for (std::size_t i = 0; i < count; ++i) context.feeds[i] = context.inputs[i].get();
  // Results may still point into the outputs of the last call.
  if (context.outputs == nullptr || context.outputs.use_count() > 1) {
    context.outputs = std::make_shared<Outputs>(engine_.outputs().size());
  }
  const Stopwatch watch(timings == nullptr ? nullptr : &timings->infer_ms);
  engine_.run(context.feeds.data(), *context.outputs);
}

void Runner::read(Context& context, std::size_t index, const Thresholds& thresholds, Result& result) const {
  const std::shared_ptr<const Outputs> outputs = context.outputs;
  decode({*contract_, table_, outputs, static_cast<std::int64_t>(index), context.geometries[index], thresholds, result,
          context.decode});
  result.spec = std::shared_ptr<const Spec>(contract_, &contract_->spec);
}

void Runner::feed_image(Context& context, std::int64_t count) const {
  if (spec().preprocess.included) {
    feed_raw(context, count);
  } else {
    feed_tensor(context, count);
  }
}

// The caller's own pixels where they are what the graph takes; a batch that must be larger is filled
// with zeros.
void Runner::feed_raw(Context& context, std::int64_t count) const {
  const ImageView& first = context.images.front();
  const PixelFormat format = format_of(spec());
  const std::int64_t channels = format.channels;
  const std::array<std::int64_t, 4> shape{count, first.height, first.width, channels};
  const auto bytes = static_cast<std::size_t>(first.height * first.width * channels);
  const bool as_it_is = count == 1 && first.channels == channels &&
                        (first.order == ColorOrder::rgb || !format.is_colour()) &&
                        (first.row_bytes == 0 || first.row_bytes == channels * first.width);
  if (as_it_is) return feed_pixels(context, DType::uint8, first.pixels, bytes, shape);
  std::uint8_t* out = sized(context.raw, bytes * static_cast<std::size_t>(count));
  for (const ImageView& image : context.images) {
    copy_image(pixels_of(image, format), format, out);
    out += bytes;
  }
  std::fill(out, context.raw.data() + context.raw.size(), std::uint8_t{0});
  feed_pixels(context, DType::uint8, context.raw.data(), context.raw.size(), shape);
}

void Runner::feed_tensor(Context& context, std::int64_t count) const {
  const InputSpec& input = spec().input;
  const auto [height, width] = context.geometries.front().input_size;
  const bool channels_last = input.layout == Axes::nhwc;
  const PixelFormat format = format_of(spec());
  const std::int64_t channels = format.channels;
  const std::array<std::int64_t, 4> shape = channels_last
                                                ? std::array<std::int64_t, 4>{count, height, width, channels}
                                                : std::array<std::int64_t, 4>{count, channels, height, width};
  const auto values = static_cast<std::size_t>(channels * height * width);
  float* out = sized(context.tensor, values * static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < context.images.size(); ++i, out += values) {
    render(pixels_of(context.images[i], format), context.geometries[i], spec().preprocess, normalisation_,
           channels_last, out, context.preprocess);
  }
  const std::vector<float>& tensor = context.tensor;
  std::fill(out, context.tensor.data() + tensor.size(), 0.0F);
  if (input.dtype == "float32") {
    return feed_pixels(context, DType::float32, tensor.data(), tensor.size() * sizeof(float), shape);
  }
  if (input.dtype != "float16") {
    throw ModelError(
        "The model takes pixels of the type " + quoted(input.dtype) + "; images are fed as float32 or float16.",
        "Prepare the tensor yourself and call infer().");
  }
  std::uint16_t* halves = sized(context.halves, tensor.size());
  std::transform(tensor.begin(), tensor.end(), halves, to_half);
  feed_pixels(context, DType::float16, halves, tensor.size() * sizeof(std::uint16_t), shape);
}

void Runner::feed_pixels(Context& context, DType dtype, const void* data, std::size_t bytes,
                         const std::array<std::int64_t, 4>& shape) const {
  const TensorInfo& info = engine_.inputs()[image_input_];
  bool matches = info.dtype == dtype && info.shape.size() == shape.size();
  for (std::size_t axis = 0; matches && axis < shape.size(); ++axis) {
    const AxisRange* allowed = info.shape[axis] < 0 ? spec().input.range(info.axes[axis].c_str()) : nullptr;
    matches =
        info.shape[axis] < 0 ? allowed == nullptr || allowed->contains(shape[axis]) : info.shape[axis] == shape[axis];
  }
  if (!matches) {
    // Says what does not fit. The thresholds of a finished graph do not matter here.
    check_feeds(spec(), {info}, {{info.name, dtype, {shape.begin(), shape.end()}, data}});
  }
  context.inputs[image_input_] = engine_.wrap(data, bytes, dtype, shape.data(), shape.size());
}

void Runner::check_predictable(const PredictOptions& options) const {
  refuse_unclear(spec(), engine_.outputs());
  format_of(spec());
  if (options.imgsz) {
    check_size(spec(), *options.imgsz);
    check_same_crop(spec(), *options.imgsz);
  }
}

Geometry Runner::plan(const ImageView& image, const PredictOptions& options) const {
  pixels_of(image, format_of(spec()));
  const Geometry found =
      plan_geometry({image.height, image.width}, spec().preprocess, spec().tensor(), options.imgsz);
  if (!spec().preprocess.included) check_resized(found);
  return found;
}

std::int64_t Runner::batch_limit(const PredictOptions& options) const {
  const InputSpec& input = spec().input;
  const AxisRange* allowed = input.range("batch");
  if (options.batch && *options.batch < 1) {
    throw OptionError("batch wants at least 1, found " + std::to_string(*options.batch) + ".");
  }
  if (allowed == nullptr) {
    if (options.batch && *options.batch != input.batch) {
      throw OptionError("The model's batch is fixed to " + std::to_string(input.batch) +
                            ", found batch=" + std::to_string(*options.batch) + ".",
                        "Export with --dynamic to run other batches.");
    }
    if (input.batch < 1) throw ModelError("The model's metadata holds a batch of " + std::to_string(input.batch) + ".");
    return input.batch;
  }
  if (options.batch && !allowed->contains(*options.batch)) {
    throw OptionError("The model runs batches of " + to_string(*allowed) +
                      ", found batch=" + std::to_string(*options.batch) + ".");
  }
  return options.batch.value_or(std::max(allowed->min, std::min(kDefaultBatch, allowed->max)));
}

}  // namespace deploykit
