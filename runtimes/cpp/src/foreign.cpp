#include "foreign.hpp"

#include <algorithm>
#include <array>

#include "deploykit/error.hpp"
#include "literal.hpp"
#include "text.hpp"

namespace deploykit {
namespace {

using Metadata = std::map<std::string, std::string>;

InputSpec image_input(const std::vector<TensorInfo>& inputs) {
  const bool takes_image = inputs.size() == 1 && inputs[0].shape.size() == 4 &&
                           (inputs[0].dtype == DType::float32 || inputs[0].dtype == DType::float16);
  if (!takes_image) {
    std::vector<std::string> found;
    for (const TensorInfo& info : inputs) found.push_back(to_string(info));
    throw ModelError("Wanted a model with one float image input [N, C, H, W], found " +
                         (found.empty() ? "no inputs" : join(found, "; ")) + ".",
                     "Export the checkpoint with deploykit, which describes the model inside the file.");
  }
  const TensorInfo& info = inputs[0];
  const auto own = [&](std::size_t axis, std::int64_t otherwise) {
    return info.shape[axis] >= 0 ? info.shape[axis] : otherwise;
  };
  InputSpec image;
  image.name = info.name;
  image.dtype = info.dtype_name;
  image.batch = own(0, 1);
  image.channels = own(1, 3);
  image.height = own(2, 224);
  image.width = own(3, 224);
  if (info.shape[0] < 0) image.dynamic["batch"] = {1, 1024, 1};
  if (info.shape[2] < 0) image.dynamic["height"] = {1, 8192, 1};
  if (info.shape[3] < 0) image.dynamic["width"] = {1, 8192, 1};
  return image;
}

Spec plain_spec(const InputSpec& image, const std::vector<TensorInfo>& outputs) {
  Spec spec;
  spec.family = "unknown";
  spec.variant = "unknown";
  spec.origin = "foreign";
  spec.input = image;
  spec.preprocess.resize = Resize::stretch;
  spec.preprocess.resize_to = {image.height, image.width};
  spec.inferred = true;
  for (const TensorInfo& info : outputs) spec.output.names.push_back(info.name);
  if (outputs.size() != 1 || outputs[0].shape.size() != 2) {
    spec.task = Task::features;
    spec.output.layout = Layout::features;
    spec.assumed = {"pixels scaled to 0..1, image stretched to the input size"};
    return spec;
  }
  spec.task = Task::classify;
  spec.preprocess.mean = {0.485, 0.456, 0.406};
  spec.preprocess.std = {0.229, 0.224, 0.225};
  spec.output.layout = Layout::logits;
  spec.output.activation = Activation::softmax;
  spec.num_classes = std::max<std::int64_t>(outputs[0].shape[1], 0);
  spec.assumed = {"ImageNet mean and std, image stretched to the input size, scores are logits"};
  return spec;
}

Task task_of(const std::string& name) {
  for (const Task task : {Task::detect, Task::segment, Task::pose, Task::obb, Task::classify}) {
    if (name == to_string(task)) return task;
  }
  throw ModelError("The metadata names the task " + quoted(name) + "; known are detect, segment, pose, obb, classify.");
}

// One number for a square, or several of which the first and the last count.
std::array<std::int64_t, 2> pair_of(const Metadata& metadata, const std::string& key,
                                    std::array<std::int64_t, 2> otherwise) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return otherwise;
  const Literal literal = parse_literal(key, found->second);
  if (literal.kind == Literal::Kind::number) return {literal.number, literal.number};
  if (literal.kind == Literal::Kind::list && !literal.list.empty()) return {literal.list.front(), literal.list.back()};
  throw ModelError("Metadata " + key + " cannot be read: " + quoted(found->second.substr(0, 80)) + ".");
}

// [N, K, 6 + extra] holds one detection per row; a raw head has 4 + classes + extra on axis 1.
bool is_row_layout(const TensorInfo& info, std::size_t classes) {
  if (info.shape.size() != 3 || info.shape[1] < 0 || info.shape[2] < 0) return false;
  return info.shape[2] < info.shape[1] && info.shape[1] != 4 + static_cast<std::int64_t>(classes);
}

void set_detector(Spec& spec, const Metadata& metadata, const std::vector<TensorInfo>& outputs, Size size,
                  std::int64_t stride) {
  spec.preprocess.resize = Resize::letterbox;
  spec.preprocess.resize_to = {size.height, size.width};
  spec.preprocess.resampler = Resampler::opencv;
  spec.preprocess.pad_value = 114;
  spec.preprocess.stride = stride;
  const bool rows = is_row_layout(outputs[0], spec.classes.size());
  for (const TensorInfo& info : outputs) spec.output.names.push_back(info.name);
  spec.output.layout = rows ? Layout::end2end : Layout::yolo;
  spec.output.nms = rows;
  const auto keypoints = pair_of(metadata, "kpt_shape", {0, 0});
  spec.output.keypoints = keypoints[0];
  spec.output.keypoint_dims = keypoints[1];
  spec.output.mask_channels = spec.task == Task::segment ? 32 : 0;
}

Spec ultralytics_spec(InputSpec image, const std::vector<TensorInfo>& outputs, const Metadata& metadata) {
  Spec spec;
  spec.task = task_of(metadata.at("task"));
  const Literal names = parse_literal("names", metadata.at("names"));
  for (const auto& [index, name] : names.dict) spec.classes.push_back(name);
  const auto [height, width] = pair_of(metadata, "imgsz", {640, 640});
  const std::int64_t stride = pair_of(metadata, "stride", {32, 32})[0];
  if (stride < 1 || height < 1 || width < 1) throw ModelError("The model's metadata holds a size below 1.");
  for (auto& [axis, allowed] : image.dynamic) {
    if (axis != "batch") allowed = {stride, 8192, stride};
  }
  image.height = height;
  image.width = width;
  spec.family = "yolo";
  spec.variant = "unknown";
  spec.origin = "ultralytics";
  spec.input = std::move(image);
  spec.num_classes = static_cast<std::int64_t>(spec.classes.size());
  spec.assumed = {"Ultralytics' own pre-processing for its task"};
  spec.inferred = true;
  if (spec.task != Task::classify) {
    set_detector(spec, metadata, outputs, {height, width}, stride);
    return spec;
  }
  spec.preprocess.resize = Resize::short_edge;
  spec.preprocess.resize_to = {std::min(height, width)};
  spec.preprocess.crop = Size{height, width};
  spec.output.names = {outputs[0].name};
  spec.output.layout = Layout::probabilities;
  return spec;
}

}  // namespace

Spec infer_spec(const std::vector<TensorInfo>& inputs, const std::vector<TensorInfo>& outputs,
                const Metadata& metadata) {
  InputSpec image = image_input(inputs);
  if (outputs.empty()) throw ModelError("Wanted a model with outputs, found none.");
  if (metadata.count("task") != 0 && metadata.count("names") != 0) {
    return ultralytics_spec(std::move(image), outputs, metadata);
  }
  return plain_spec(image, outputs);
}

}  // namespace deploykit
