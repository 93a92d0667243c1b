#include "answers/heads.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "deploykit/error.hpp"
#include "text/text.hpp"
#include "answers/value_checks.hpp"

namespace deploykit {
namespace {

const char* name_of(Layout layout) {
  switch (layout) {
    case Layout::yolo: return "yolo";
    case Layout::yolov5: return "yolov5";
    case Layout::end2end: return "end2end";
    case Layout::end2end_flat: return "end2end_flat";
    default: return "other";
  }
}

std::int64_t extra_columns(const Spec& spec) {
  switch (spec.task) {
    case Task::segment: return spec.output.mask_channels;
    case Task::pose: return spec.output.keypoints * spec.output.keypoint_dims;
    case Task::obb: return 1;
    default: return 0;
  }
}

// `columns` values per detection on `axis`, or where 0 at least `least`.
void expect(const FloatView& output, const Spec& spec, std::size_t axes, std::int64_t columns, std::size_t axis,
            std::int64_t least, std::int64_t image) {
  const bool fits = output.axes() == axes && (columns == 0 || output.size(axis) == columns) &&
                    output.size(axis) >= least && (axes == 2 || output.size(0) > image);
  if (fits) return;
  throw ModelError("A " + std::string(to_string(spec.task)) + " head of layout " + quoted(name_of(spec.output.layout)) +
                       " gives " + (columns == 0 ? "some" : std::to_string(columns)) +
                       " values per detection, the graph gave " + list_text(*output.shape) + ".",
                   "Is the number of classes right? `deploykit inspect` shows what the file says.");
}

Candidate& add(Candidates& found, float score, std::int64_t class_id) {
  Candidate row;
  row.score = score;
  row.class_id = class_id;
  row.index = found.rows.size();
  found.rows.push_back(row);
  return found.rows.back();
}

// Corners of upright boxes; rotated ones keep their centre and sides.
void set_box(Candidate& row, const Spec& spec, float x, float y, float width, float height) {
  const bool rotated = spec.task == Task::obb;
  row.box[0] = rotated ? x : x - width / 2;
  row.box[1] = rotated ? y : y - height / 2;
  row.box[2] = rotated ? width : x + width / 2;
  row.box[3] = rotated ? height : y + height / 2;
}

// [4 + C + E, A]: one row per value, so the search for the best class runs along memory.
void read_anchor_free(const float* head, std::int64_t columns, std::int64_t anchors, const Spec& spec, float conf,
                      Candidates& found, HeadScratch& scratch) {
  const auto count = static_cast<std::size_t>(anchors);
  const auto extra = static_cast<std::int64_t>(found.extra_count);
  scratch.best.assign(head + 4 * anchors, head + 5 * anchors);
  scratch.best_class.assign(count, 0);
  for (std::int64_t c = 1; c < columns - 4 - extra; ++c) {
    const float* scores = head + (4 + c) * anchors;
    for (std::size_t i = 0; i < count; ++i) {
      if (scores[i] > scratch.best[i]) {
        scratch.best[i] = scores[i];
        scratch.best_class[i] = static_cast<std::int32_t>(c);
      }
    }
  }
  for (std::size_t i = 0; i < count; ++i) {
    if (!(scratch.best[i] > conf)) continue;
    const float* box = head + i;
    set_box(add(found, scratch.best[i], scratch.best_class[i]), spec, box[0], box[anchors], box[2 * anchors],
            box[3 * anchors]);
    for (std::int64_t e = columns - extra; e < columns; ++e) found.extra.push_back(box[e * anchors]);
  }
}

// YOLOX's raw head: centres relative to their cell, logarithms of the sides, in units of the stride.
class Grid {
 public:
  Grid(const Spec& spec, Size size, std::int64_t rows)
      : size_(size), strides_(spec.output.strides.empty() ? own_strides() : spec.output.strides) {
    std::int64_t cells = 0;
    for (const std::int64_t stride : strides_) {
      if (stride < 1) throw ModelError("The model's metadata holds a stride of " + std::to_string(stride) + ".");
      cells += (size.height / stride) * (size.width / stride);
    }
    if (cells == rows) return;
    std::string text;
    for (const std::int64_t stride : strides_) text += (text.empty() ? "" : ", ") + std::to_string(stride);
    throw ModelError("A " + std::to_string(size.height) + "x" + std::to_string(size.width) + " input has " +
                     std::to_string(cells) + " cells at the strides (" + text + "), the graph gave " +
                     std::to_string(rows) + ".");
  }

  void decode(std::int64_t row, float (&box)[4]) const {
    for (const std::int64_t stride : strides_) {
      const std::int64_t width = size_.width / stride;
      const std::int64_t cells = (size_.height / stride) * width;
      if (row >= cells) {
        row -= cells;
        continue;
      }
      const auto scale = static_cast<float>(stride);
      box[0] = (box[0] + static_cast<float>(row % width)) * scale;
      box[1] = (box[1] + static_cast<float>(row / width)) * scale;
      box[2] = std::exp(box[2]) * scale;
      box[3] = std::exp(box[3]) * scale;
      return;
    }
  }

 private:
  static const std::vector<std::int64_t>& own_strides() {
    static const std::vector<std::int64_t> strides{8, 16, 32};
    return strides;
  }

  Size size_;
  const std::vector<std::int64_t>& strides_;
};

// [A, 5 + C + E]; the score is objectness times class.
void read_with_objectness(const float* head, std::int64_t anchors, std::int64_t columns, const Spec& spec,
                          Size input_size, float conf, Candidates& found) {
  std::optional<Grid> grid;
  if (!spec.output.decoded) grid.emplace(spec, input_size, anchors);
  if (anchors == 0) return;
  const std::int64_t stop = columns - static_cast<std::int64_t>(found.extra_count);
  check_numbers({head + 4, anchors, 1, columns});
  for (std::int64_t i = 0; i < anchors; ++i, head += columns) {
    if (!(head[4] > conf)) continue;
    check_numbers({head + 5, 1, stop - 5, columns});
    float best = head[5] * head[4];
    std::int64_t class_id = 0;
    for (std::int64_t c = 6; c < stop; ++c) {
      const float score = head[c] * head[4];
      if (score > best) {
        best = score;
        class_id = c - 5;
      }
    }
    if (!(best > conf)) continue;
    float box[4] = {head[0], head[1], head[2], head[3]};
    if (grid) grid->decode(i, box);
    set_box(add(found, best, class_id), spec, box[0], box[1], box[2], box[3]);
    found.extra.insert(found.extra.end(), head + stop, head + columns);
  }
}

// [K, 6 + E]: x1 y1 x2 y2, score, class, extra.
void read_end2end(const float* row, std::int64_t count, std::int64_t columns, float conf, Candidates& found) {
  for (std::int64_t i = 0; i < count; ++i, row += columns) {
    if (!(row[4] > conf)) continue;
    std::copy(row, row + 4, add(found, row[4], class_id_of(row[5])).box);
    found.extra.insert(found.extra.end(), row + 6, row + columns);
  }
}

// [K, 7]: image, x1 y1 x2 y2, class, score.
void read_flat(const float* row, std::int64_t count, std::int64_t image, float conf, Candidates& found) {
  for (std::int64_t i = 0; i < count; ++i, row += 7) {
    if (row[0] != static_cast<float>(image) || !(row[6] > conf)) continue;
    std::copy(row + 1, row + 5, add(found, row[6], class_id_of(row[5])).box);
  }
}

}  // namespace

std::int64_t class_id_of(float value) { return value > -1e9F && value < 1e9F ? static_cast<std::int64_t>(value) : -1; }

// An output without rows may come with a null pointer, on which any arithmetic is undefined: such an output is
// checked for its shape, then left alone.
void read_candidates(const FloatView& output, std::int64_t image, const Spec& spec, Size input_size, float conf,
                     Candidates& found, HeadScratch& scratch) {
  found.rows.clear();
  found.extra.clear();
  found.extra_count = 0;
  if (spec.output.layout == Layout::end2end_flat) {
    expect(output, spec, 2, 7, 1, 7, image);
    const std::int64_t count = output.size(0);
    if (count == 0) return;
    if (spec.inferred) {
      check_whole({output.values, count, 1, 7}, spec, "number of an image");
      check_whole({output.values + 5, count, 1, 7}, spec, "class number");
      check_scores({output.values + 6, count, 1, 7}, spec, -1);
    }
    check_numbers({output.values + 6, count, 1, 7});
    read_flat(output.values, count, image, conf, found);
    return;
  }
  const std::int64_t extra = extra_columns(spec);
  if (extra < 0 || spec.num_classes < 0) throw ModelError("The model's metadata holds negative numbers of channels.");
  found.extra_count = static_cast<std::size_t>(extra);
  const std::int64_t classes = spec.num_classes;
  switch (spec.output.layout) {
    case Layout::end2end: {
      expect(output, spec, 3, 6 + extra, 2, 6, image);
      const std::int64_t count = output.size(1);
      const std::int64_t columns = output.size(2);
      if (count == 0) return;
      const float* rows = output.values + image * count * columns;
      if (spec.inferred) {
        check_whole({rows + 5, count, 1, columns}, spec, "class number");
        check_scores({rows + 4, count, 1, columns}, spec, -1);
      }
      check_numbers({rows + 4, count, 1, columns});
      read_end2end(rows, count, columns, conf, found);
      return;
    }
    case Layout::yolo: {
      expect(output, spec, 3, classes != 0 ? 4 + classes + extra : 0, 1, 5 + extra, image);
      const std::int64_t columns = output.size(1);
      const std::int64_t anchors = output.size(2);
      if (anchors == 0) return;
      const float* head = output.values + image * columns * anchors;
      if (spec.inferred) check_scores({head + 4 * anchors, columns - 4 - extra, anchors, anchors}, spec);
      check_numbers({head + 4 * anchors, columns - 4 - extra, anchors, anchors});
      read_anchor_free(head, columns, anchors, spec, conf, found, scratch);
      return;
    }
    case Layout::yolov5: {
      expect(output, spec, 3, classes != 0 ? 5 + classes + extra : 0, 2, 6 + extra, image);
      const std::int64_t anchors = output.size(1);
      const std::int64_t columns = output.size(2);
      const float* head = output.values + image * anchors * columns;
      if (spec.inferred && anchors != 0) check_scores({head + 4, anchors, columns - 4 - extra, columns}, spec);
      read_with_objectness(head, anchors, columns, spec, input_size, conf, found);
      return;
    }
    default: throw ModelError("The layout holds no detections.");
  }
}

}  // namespace deploykit
