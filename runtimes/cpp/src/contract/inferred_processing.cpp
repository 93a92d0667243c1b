#include "contract/inferred_processing.hpp"

#include <algorithm>

namespace deploykit {
namespace {

constexpr std::int64_t kSide = 640;  // the size of YOLO models if none is given
constexpr const char* kOwn = "Ultralytics' own pre-processing for its task";

// Whether images are letterboxed: for boxes, and for the raw maps of a model of boxes.
bool is_yolo(const Fit& found, const Told& told) {
  if (found.reading->task != Task::features) return found.reading->task != Task::classify;
  return told.origin == "yolov5" || (told.task && *told.task != Task::classify);
}

// The size and steps of free axes.
void set_size(InputSpec& image, const Told& told, bool yolo) {
  if (!yolo && told.origin == "foreign") return;
  const auto set = [&](const char* axis, std::int64_t& side) {
    if (image.range(axis) == nullptr) return;
    image.dynamic[axis] = {told.stride, 8192, told.stride};
    if (yolo && !told.size) side = kSide;
  };
  set("height", image.height);
  set("width", image.width);
}

// Of detectors. YOLOv5 and YOLOv7 pad to the whole size, Ultralytics to the next multiple of the stride.
void set_letterbox(Spec& spec, const Fit& found, const Told& told) {
  Preprocess& how = spec.preprocess;
  how.resize = Resize::letterbox;
  how.resize_to = {spec.input.height, spec.input.width};
  how.resampler = Resampler::opencv;
  how.pad_value = 114;
  how.stride = told.stride;
  const bool own = told.origin == "ultralytics";
  if (own) spec.assumed.emplace_back(kOwn);
  if (found.reading->is_yolox()) {
    how.color = Color::bgr;
    how.anchor = Anchor::top_left;
    how.stride = 0;
    how.scale = 1.0;
    spec.assumed.emplace_back("YOLOX's own pre-processing since 0.2: letterbox at the top left, BGR in 0..255");
  } else if (found.reading->layout == Layout::yolov5 || found.reading->layout == Layout::end2end_flat ||
             told.origin == "yolov5") {
    how.stride = 0;
    spec.assumed.emplace_back("YOLOv5's and YOLOv7's own pre-processing: letterbox padded with 114, RGB in 0..1");
  } else if (!own) {
    spec.assumed.emplace_back("YOLO's pre-processing: letterbox padded with 114, RGB in 0..1");
  }
  if (told.most == 0) return;
  spec.assumed.emplace_back(
      "suppression is inside the graph: scores up to the confidence of its export, 0.25 unless it was given, are "
      "gone, and iou has no effect");
}

void set_classifier(Spec& spec, const Fit& found, const Told& told) {
  Preprocess& how = spec.preprocess;
  const Size size{spec.input.height, spec.input.width};
  how.resize = Resize::stretch;
  how.resize_to = {size.height, size.width};
  if (told.origin == "ultralytics") {
    // classify_transforms(): the short side for a square, both sides exactly for any other size.
    if (size.height == size.width) {
      how.resize = Resize::short_edge;
      how.resize_to = {size.height};
    }
    how.crop = size;
    spec.assumed.emplace_back(kOwn);
    return;
  }
  how.mean = {0.485, 0.456, 0.406};
  how.std = {0.229, 0.224, 0.225};
  if (told.origin == "yolov5") {
    how.pre_crop = 1.0;
    how.pre_crop_offset = CropOffset::down;
    how.resampler = Resampler::opencv;
    spec.assumed.emplace_back("YOLOv5's own pre-processing: the largest centred square, ImageNet mean and std");
    return;
  }
  const std::string text = "ImageNet mean and std, image stretched to the input size";
  if (found.reading->layout != Layout::logits || found.reading->activation != Activation::softmax) {
    spec.assumed.push_back(text);
    return;
  }
  spec.assumed.push_back(text + ", scores are logits");
  spec.assumed.emplace_back("other readings: --outputs multilabel, probabilities or features");
}

// Of images that are not in colour, whose mean and std nobody knows.
void set_channels(Spec& spec) {
  const std::string colours = "ImageNet mean and std";
  if (spec.input.channels == 3) return;
  spec.preprocess.color = spec.input.channels == 1 ? Color::grey : Color::as_is;
  spec.preprocess.mean = {0.0};
  spec.preprocess.std = {1.0};
  for (std::string& line : spec.assumed) {
    const std::size_t found = line.find(colours);
    if (found != std::string::npos) line.replace(found, colours.size(), "pixels scaled to 0..1");
  }
}

void set_output(OutputSpec& output, const Fit& found, const Told& told) {
  const OutputReading& reading = *found.reading;
  output.layout = reading.layout;
  output.activation = reading.activation;
  output.decoded = reading.decoded;
  output.nms = reading.layout == Layout::end2end || reading.layout == Layout::end2end_flat;
  output.keypoints = found.keypoints;
  output.keypoint_dims = found.keypoint_dims;
  output.mask_channels = found.mask_channels;
  if (reading.is_yolox()) {
    output.iou = 0.45;
    output.class_agnostic = true;
    if (!reading.decoded) output.strides = {8, 16, 32};
  } else if (reading.layout == Layout::yolov5 || told.origin == "yolov5") {
    output.iou = 0.45;
    output.max_det = 1000;
  }
}

}  // namespace

Spec contract(const Fit& found, InputSpec image, const std::vector<TensorInfo>& outputs, const Told& told,
              const std::string& meaning) {
  const OutputReading& reading = *found.reading;
  const bool yolo = is_yolo(found, told);
  set_size(image, told, yolo);
  Spec spec;
  spec.task = reading.task;
  spec.family = yolo || told.origin != "foreign" ? "yolo" : "unknown";
  spec.variant = "unknown";
  spec.origin = told.origin;
  spec.input = std::move(image);
  spec.inferred = true;
  if (!meaning.empty()) spec.assumed.push_back(meaning);
  if (yolo) {
    set_letterbox(spec, found, told);
  } else if (reading.task == Task::features && told.origin == "foreign") {
    spec.preprocess.resize = Resize::stretch;
    spec.preprocess.resize_to = {spec.input.height, spec.input.width};
    spec.assumed.emplace_back("pixels scaled to 0..1, image stretched to the input size, outputs are features");
  } else {
    set_classifier(spec, found, told);
  }
  set_channels(spec);
  if (!told.size && (spec.input.range("height") != nullptr || spec.input.range("width") != nullptr)) {
    spec.assumed.push_back("image size " + std::to_string(spec.input.height) + "x" +
                           std::to_string(spec.input.width));
  }
  set_output(spec.output, found, told);
  const std::size_t named = reading.task == Task::features ? outputs.size() : reading.task == Task::segment ? 2 : 1;
  for (std::size_t i = 0; i < std::min(named, outputs.size()); ++i) spec.output.names.push_back(outputs[i].name);
  if (reading.task == Task::features) return spec;
  spec.classes = told.classes;
  spec.num_classes = found.classes != 0 ? found.classes : static_cast<std::int64_t>(told.classes.size());
  return spec;
}

}  // namespace deploykit
