// Detections of every task, from heads that leave the suppression to the host and from finished graphs.

#include <algorithm>
#include <cmath>
#include <string>

#include "answers/decode.hpp"
#include "answers/value_checks.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

constexpr std::size_t kMaxCandidates = 30000;  // of the best scores, as in Ultralytics

// Which detections to keep, best first.
void select(const Reading& reading) {
  Candidates& found = reading.scratch.candidates;
  const OutputSpec& output = reading.spec().output;
  const auto limit = static_cast<std::size_t>(reading.thresholds.max_det);
  sort_by_score(found.rows);
  const bool suppressed = output.nms || output.layout == Layout::end2end || output.layout == Layout::end2end_flat;
  if (suppressed) {
    found.rows.resize(std::min(found.rows.size(), limit));
    return;
  }
  found.rows.resize(std::min(found.rows.size(), kMaxCandidates));
  const auto iou = static_cast<float>(reading.thresholds.iou);
  if (reading.spec().task == Task::obb) {
    suppress_rotated(found, output.class_agnostic, iou, limit, reading.scratch.suppression);
  } else {
    suppress(found.rows, output.class_agnostic, iou, limit, reading.scratch.suppression);
  }
}

Box box_of(const Candidate& row) { return {row.box[0], row.box[1], row.box[2], row.box[3]}; }

void add(const Reading& reading, const Candidate& row, const Box& box) {
  reading.result.detections.push_back({box, row.score, row.class_id, reading.class_name(row.class_id)});
}

// Bottom right first, as Ultralytics does.
std::array<Point, 4> corners_of(const RotatedBox& box) {
  const float cos = std::cos(box.angle);
  const float sin = std::sin(box.angle);
  const Point along{box.width / 2 * cos, box.width / 2 * sin};
  const Point down{box.height / 2 * -sin, box.height / 2 * cos};
  return {{{box.x + along.x + down.x, box.y + along.y + down.y},
           {box.x + along.x - down.x, box.y + along.y - down.y},
           {box.x - along.x - down.x, box.y - along.y - down.y},
           {box.x - along.x + down.x, box.y - along.y + down.y}}};
}

void add_rotated(const Reading& reading, const Candidate& row, const Geometry& geometry) {
  const Candidates& found = reading.scratch.candidates;
  const float angle = found.extra_of(row)[found.extra_count - 1];
  const RotatedBox rotated = geometry.rotated_to_image({row.box[0], row.box[1], row.box[2], row.box[3], angle});
  const auto corners = corners_of(rotated);
  const auto [low_x, high_x] = std::minmax({corners[0].x, corners[1].x, corners[2].x, corners[3].x});
  const auto [low_y, high_y] = std::minmax({corners[0].y, corners[1].y, corners[2].y, corners[3].y});
  add(reading, row, {low_x, low_y, high_x, high_y});
  reading.result.rotated.push_back(rotated);
  reading.result.corners.push_back(corners);
}

void add_keypoints(const Reading& reading, const Candidate& row, const Geometry& geometry) {
  const auto count = static_cast<std::size_t>(reading.spec().output.keypoints);
  const auto dims = static_cast<std::size_t>(reading.spec().output.keypoint_dims);
  const float* values = reading.scratch.candidates.extra_of(row);
  for (std::size_t k = 0; k < count; ++k, values += dims) {
    const Point point = geometry.point_to_image({values[0], values[1]});
    reading.result.keypoints.insert(reading.result.keypoints.end(), {point.x, point.y});
    reading.result.keypoints.insert(reading.result.keypoints.end(), values + 2, values + dims);
  }
  reading.result.keypoint_count = count;
  reading.result.keypoint_dims = dims;
}

Prototypes prototypes_of(const Reading& reading, std::size_t index) {
  const auto channels = static_cast<std::int64_t>(reading.scratch.candidates.extra_count);
  std::string shapes = list_text(reading.view(std::size_t{0}).shape);
  if (index < reading.table.size()) {
    const FloatView view = reading.floats(index);
    if (view.axes() == 4 && view.size(1) == channels && view.size(0) > reading.image && view.size(2) > 0 &&
        view.size(3) > 0) {
      const std::int64_t values = channels * view.size(2) * view.size(3);
      return {view.values + reading.image * values, channels, view.size(2), view.size(3)};
    }
    shapes += ", " + list_text(*view.shape);
  }
  throw ModelError("A segmentation head gives detections and prototypes [N, " + std::to_string(channels) +
                   ", h, w], the graph gave [" + shapes + "].");
}

// A detection of whose mask nothing lies inside its box in the tensor is dropped, as in Ultralytics.
void add_segments(const Reading& reading, const Geometry& geometry, const Prototypes& prototypes, bool in_image) {
  const Candidates& found = reading.scratch.candidates;
  std::vector<std::uint8_t>& masks = reading.result.masks;
  const auto pixels = static_cast<std::size_t>(geometry.image_size[0] * geometry.image_size[1]);
  std::size_t used = 0;
  for (const Candidate& row : found.rows) {
    const Box box = in_image ? geometry.box_to_tensor(box_of(row)) : box_of(row);
    const float corners[4] = {box.x1, box.y1, box.x2, box.y2};
    masks.resize(used + pixels, 0);
    if (!decode_mask(prototypes, found.extra_of(row), corners, geometry, masks.data() + used, reading.scratch.mask)) {
      continue;
    }
    add(reading, row, geometry.box_to_image(box));
    used += pixels;
  }
  masks.resize(used);
}

// The chosen detections as the task's result; their coordinates are those of the geometry's tensor.
void place(const Reading& reading, const Geometry& geometry) {
  for (const Candidate& row : reading.scratch.candidates.rows) {
    if (reading.spec().task == Task::obb) {
      add_rotated(reading, row, geometry);
      continue;
    }
    add(reading, row, geometry.box_to_image(box_of(row)));
    if (reading.spec().task == Task::pose) add_keypoints(reading, row, geometry);
  }
}

void require_keypoints(const Spec& spec, std::size_t extra) {
  if (spec.task != Task::pose) return;
  const bool whole = spec.output.keypoints >= 0 && spec.output.keypoint_dims >= 2 &&
                     extra == static_cast<std::size_t>(spec.output.keypoints * spec.output.keypoint_dims);
  if (whole) return;
  throw ModelError("A pose head wants " + std::to_string(spec.output.keypoints) + " keypoints of " +
                   std::to_string(spec.output.keypoint_dims) + " values, found " + std::to_string(extra) + " values.");
}

// The values of one image of an output [N, K, ...], which must have `rows` of them, and `columns` values
// in each unless that is 0.
FloatView rows_of(const Reading& reading, const char* name, std::int64_t rows, std::size_t axes,
                  std::int64_t columns = 0) {
  FloatView view = reading.floats(name);
  const bool fits = view.axes() == axes && view.size(0) > reading.image && (axes == 1 || view.size(1) >= rows) &&
                    (columns == 0 || view.size(axes - 1) == columns);
  if (!fits) {
    throw ModelError("Finished detections want boxes [N, K, 4] and scores [N, K], the graph gave " +
                     list_text(reading.view("boxes").shape) + " and " + list_text(reading.view("scores").shape) +
                     ", and " + name + " " + list_text(*view.shape) + ".");
  }
  std::int64_t values = 1;
  for (std::size_t axis = 1; axis < axes; ++axis) values *= view.size(axis);
  view.values += reading.image * values;
  return view;
}

// `values` of each row go into the candidates' extra.
void take_extra(const FloatView& view, Candidates& found, std::size_t skip) {
  std::size_t values = 1;
  for (std::size_t axis = 2; axis < view.axes(); ++axis) values *= static_cast<std::size_t>(view.size(axis));
  found.extra_count = values - skip;
  for (const Candidate& row : found.rows) {
    const float* start = view.values + row.index * values;
    found.extra.insert(found.extra.end(), start + skip, start + values);
  }
}

// Until their extra values are taken, the rows' indices are those of the graph's outputs.
void read_rows(const Reading& reading, Candidates& found) {
  const FloatView scores = rows_of(reading, "scores", 0, 2);
  const std::int64_t most = scores.size(1);
  const auto counted = class_id_of(rows_of(reading, "count", 0, 1).values[0]);
  const std::int64_t count = std::clamp<std::int64_t>(counted, 0, most);
  const FloatView boxes = rows_of(reading, "boxes", most, 3, 4);
  const FloatView classes = rows_of(reading, "classes", most, 2);
  const auto conf = static_cast<float>(reading.thresholds.conf);
  const auto limit = static_cast<std::size_t>(reading.thresholds.max_det);
  check_numbers({scores.values, 1, count, count});
  for (std::int64_t i = 0; i < count && found.rows.size() < limit; ++i) {
    if (!(scores.values[i] > conf)) continue;
    Candidate row;
    row.score = scores.values[i];
    row.class_id = class_id_of(classes.values[i]);
    row.index = static_cast<std::size_t>(i);
    std::copy_n(boxes.values + 4 * i, 4, row.box);
    found.rows.push_back(row);
  }
  if (reading.spec().task == Task::obb) {
    const FloatView rotated = rows_of(reading, "rotated_boxes", most, 3, 5);
    for (Candidate& row : found.rows) std::copy_n(rotated.values + 5 * row.index, 4, row.box);
    take_extra(rotated, found, 4);
  }
  if (reading.has("keypoints")) take_extra(rows_of(reading, "keypoints", most, 4), found, 0);
  if (reading.has("mask_coefficients")) take_extra(rows_of(reading, "mask_coefficients", most, 3), found, 0);
  for (std::size_t i = 0; i < found.rows.size(); ++i) found.rows[i].index = i;
}

// Masks that the graph has made at the size of the image.
void take_masks(const Reading& reading) {
  const Outputs::View& view = reading.view("masks");
  const auto [height, width] = reading.geometry.image_size;
  const Candidates& found = reading.scratch.candidates;
  const bool fits = view.dtype == DType::uint8 && view.shape.size() == 4 && view.shape[0] > reading.image &&
                    view.shape[2] == height && view.shape[3] == width &&
                    view.shape[1] >= static_cast<std::int64_t>(found.rows.size());
  if (!fits) {
    throw ModelError("Finished masks want uint8 [N, K, " + std::to_string(height) + ", " + std::to_string(width) +
                     "], the graph gave " + to_string(view.dtype) + " " + list_text(view.shape) + ".");
  }
  const auto pixels = static_cast<std::size_t>(height * width);
  const auto* first =
      static_cast<const std::uint8_t*>(view.data) + static_cast<std::size_t>(reading.image * view.shape[1]) * pixels;
  reading.result.masks.assign(first, first + found.rows.size() * pixels);
  for (const Candidate& row : found.rows) add(reading, row, box_of(row));
}

}  // namespace

void read_detections(const Reading& reading) {
  Candidates& found = reading.scratch.candidates;
  const Size size{reading.geometry.input_size[0], reading.geometry.input_size[1]};
  read_candidates(reading.floats(std::size_t{0}), reading.image, reading.spec(), size,
                  static_cast<float>(reading.thresholds.conf), found, reading.scratch.head);
  require_keypoints(reading.spec(), found.extra_count);
  select(reading);
  if (reading.spec().task == Task::segment) {
    add_segments(reading, reading.geometry, prototypes_of(reading, 1), false);
  } else {
    place(reading, reading.geometry);
  }
}

void read_postprocessed(const Reading& reading) {
  Candidates& found = reading.scratch.candidates;
  found.rows.clear();
  found.extra.clear();
  found.extra_count = 0;
  read_rows(reading, found);
  require_keypoints(reading.spec(), found.extra_count);
  const bool in_image = reading.spec().preprocess.included;
  if (reading.spec().task != Task::segment) {
    place(reading, in_image ? reading.geometry.of_image() : reading.geometry);
  } else if (in_image && reading.has("masks")) {
    take_masks(reading);
  } else {
    add_segments(reading, reading.geometry, prototypes_of(reading, reading.table.find("prototypes")), in_image);
  }
}

}  // namespace deploykit
