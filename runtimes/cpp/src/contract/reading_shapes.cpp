// Shapes alone often fit several readings: [1, 84, 6] may be finished boxes, or a head with 80 classes and 6
// anchors. The number of anchors tells most of them apart: it follows from the size of the image.

#include "contract/reading_shapes.hpp"

#include <algorithm>
#include <array>

namespace deploykit {
namespace {

constexpr std::array<std::int64_t, 5> kStrides{4, 8, 16, 32, 64};
constexpr std::int64_t kAnchors = 3;  // boxes in a cell of YOLOv5 and YOLOv7; later heads have one
constexpr const char* kAnchorsAxis = "anchors";  // as the exporters of YOLOv5 and Ultralytics call a free number
constexpr std::int64_t kMasks = 32;   // mask coefficients of YOLO, where the file leaves their number open
// Above, [N, K, 6 + J * D] is not taken for poses.
constexpr std::int64_t kMostRows = 1000;
constexpr std::int64_t kMostKeypoints = 200;

bool is_free(const InputSpec& image, const char* axis) { return image.range(axis) != nullptr; }

// Whether an axis cannot be the batch: it is another number.
bool contradicts(const InputSpec& image, std::int64_t axis) {
  return axis >= 0 && !is_free(image, "batch") && axis != image.batch;
}

// Whether an axis is the batch.
Match match_batch(const InputSpec& image, const TensorInfo& info, const Known& known) {
  const std::int64_t axis = info.shape[0];
  if (axis >= 0) return is_free(image, "batch") ? Match::open : Match::exact;
  if (!known.batch.empty() && known.batch != "?" && info.axes[0] == known.batch) return Match::exact;
  return is_free(image, "batch") ? Match::open : Match::odd;  // a fixed batch gives a fixed number of rows
}

std::int64_t cells(const InputSpec& image, std::int64_t stride) {
  return (image.height / stride) * (image.width / stride);
}

bool is_grid(const InputSpec& image, std::int64_t anchors) {
  for (std::size_t first = 0; first < kStrides.size(); ++first) {
    std::int64_t total = cells(image, kStrides[first]);
    for (std::size_t last = first + 1; last < kStrides.size(); ++last) {
      total += cells(image, kStrides[last]);
      if (total == anchors) return true;
    }
  }
  return false;
}

// Whether a head of this kind has this many boxes at the size of the image.
Match match_anchors(const OutputReading& reading, const InputSpec& image, const TensorInfo& info, std::size_t axis) {
  const std::int64_t anchors = info.shape[axis];
  if (anchors < 0 && info.axes[axis] == kAnchorsAxis) return reading.is_yolox() ? Match::open : Match::exact;
  if (anchors < 0) return Match::open;
  if (is_free(image, "height") || is_free(image, "width")) return Match::odd;  // their number would follow the size
  bool grid = is_grid(image, anchors);
  if (reading.is_yolox()) grid = anchors == cells(image, 8) + cells(image, 16) + cells(image, 32);
  const bool several = !reading.is_yolox() && reading.layout == Layout::yolov5 && anchors % kAnchors == 0 &&
                       is_grid(image, anchors / kAnchors);
  return grid || several ? Match::exact : Match::odd;
}

std::int64_t extra_of(const Fit& found) {
  return found.mask_channels + found.keypoints * found.keypoint_dims + (found.reading->task == Task::obb ? 1 : 0);
}

// Maps [N, C, H, W] or tokens [N, T, C]; vectors [N, C] only beside others.
Fit fit_features(Fit found, const InputSpec& image, const std::vector<TensorInfo>& outputs) {
  const std::size_t least = outputs.size() > 1 ? 2 : 3;
  const bool fits = std::all_of(outputs.begin(), outputs.end(), [&](const TensorInfo& info) {
    const bool floating = info.dtype == DType::float32 || info.dtype == DType::float16;
    if (!floating || info.shape.size() < least || info.shape.size() > 4) return false;
    return is_free(image, "batch") || info.shape[0] == image.batch;
  });
  found.match = fits ? Match::exact : Match::odd;
  return found;
}

std::optional<Fit> fit_classes(Fit found, const InputSpec& image, const TensorInfo& info, const Known& known) {
  if (info.shape.size() != 2 || contradicts(image, info.shape[0]) || info.shape[1] == 0) return std::nullopt;
  found.classes = info.shape[1] > 0 ? info.shape[1] : known.classes;
  if (known.classes != 0 && found.classes != known.classes) return std::nullopt;
  found.match = match_batch(image, info, known);
  return found;
}

std::optional<Fit> fit_flat(Fit found, const InputSpec& image, const TensorInfo& info, const Known& known) {
  if (info.shape.size() != 2 || (info.shape[1] >= 0 && info.shape[1] != 7)) return std::nullopt;
  const Match batch = match_batch(image, info, known);
  found.match = batch == Match::exact ? Match::odd : batch == Match::odd ? Match::exact : Match::open;
  if (contradicts(image, info.shape[0])) found.match = Match::exact;
  if (info.shape[1] < 0) found.match = Match::open;
  return found;
}

// Finished boxes, one in a row: its corners, score and class, and what else it has.
std::optional<Fit> fit_rows(Fit found, std::int64_t rows, std::int64_t columns) {
  if (columns < 0) return found;
  if (found.reading->task == Task::pose && found.keypoints == 0) {
    const auto whole = [&](std::int64_t each) {
      const std::int64_t values = columns - 6;
      return values > 0 && values % each == 0 && values / each <= kMostKeypoints;
    };
    if (!whole(2) && !whole(3)) return std::nullopt;
    found.match = rows <= kMostRows ? Match::exact : Match::odd;
    return found;
  }
  if (columns != 6 + extra_of(found)) return std::nullopt;
  found.match = Match::exact;
  return found;
}

// A head with a box for each anchor, before suppression.
std::optional<Fit> fit_head(Fit found, const InputSpec& image, const TensorInfo& info) {
  const bool values_first = found.reading->layout == Layout::yolo;
  const std::size_t axis = values_first ? 1 : 2;
  const std::int64_t columns = info.shape[axis];
  const std::int64_t told = found.classes;
  if (columns < 0 && info.axes[axis] == kAnchorsAxis) return std::nullopt;
  found.match = match_anchors(*found.reading, image, info, values_first ? 2 : 1);
  if (columns < 0) return found;
  const std::int64_t rest = columns - (values_first ? 4 : 5) - extra_of(found);
  if (found.reading->task == Task::pose && found.keypoints == 0) {  // classes and keypoints share what is left
    if (rest < std::max<std::int64_t>(told, 1) + 2) return std::nullopt;
    return found;
  }
  if (rest < 1 || (told != 0 && rest != told)) return std::nullopt;
  found.classes = rest;
  return found;
}

}  // namespace

const std::vector<std::string>& maybe(std::size_t axes) {
  static const std::vector<std::string> none;
  static const std::vector<std::string> classes{"logits", "yolov7-end2end"};
  static const std::vector<std::string> boxes{"yolo",    "yolo-obb",    "yolo-pose",   "yolov5", "yolox", "yolox-decoded",
                                              "end2end", "end2end-obb", "end2end-pose"};
  static const std::vector<std::string> masks{"yolo-segment", "yolov5-segment", "end2end-segment"};
  return axes == 2 ? classes : axes == 3 ? boxes : axes == 4 ? masks : none;
}

std::optional<Fit> fit(const OutputReading& reading, const InputSpec& image, const std::vector<TensorInfo>& outputs,
                       const Known& known) {
  Fit found;
  found.reading = &reading;
  const TensorInfo& first = outputs.front();
  if (reading.task == Task::features) return fit_features(found, image, outputs);
  if (reading.task == Task::classify) return fit_classes(found, image, first, known);
  if (reading.layout == Layout::end2end_flat) return fit_flat(found, image, first, known);
  if (first.shape.size() != 3 || contradicts(image, first.shape[0])) return std::nullopt;
  found.classes = known.classes;
  if (reading.task == Task::pose) {
    found.keypoints = known.keypoints;
    found.keypoint_dims = known.keypoint_dims;
  }
  if (reading.task == Task::segment) {
    if (outputs.size() < 2 || outputs[1].shape.size() != 4) return std::nullopt;
    found.mask_channels = outputs[1].shape[1] >= 0 ? outputs[1].shape[1] : kMasks;
  }
  if (reading.layout == Layout::end2end) return fit_rows(found, first.shape[1], first.shape[2]);
  return fit_head(found, image, first);
}

std::vector<Fit> fitting(const std::vector<std::string>& names, const InputSpec& image,
                         const std::vector<TensorInfo>& outputs, const Known& known) {
  std::vector<Fit> found;
  for (const std::string& name : names) {
    const std::optional<Fit> one = fit(*find_reading(name), image, outputs, known);
    if (one) found.push_back(*one);
  }
  return found;
}

}  // namespace deploykit
