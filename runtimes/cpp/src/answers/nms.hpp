// Non-maximum suppression, of upright and of rotated boxes, as the YOLO codes do it.
#pragma once

#include <cstdint>
#include <vector>

namespace deploykit {

// A detection in pixels of the tensor: x1, y1, x2, y2, or centre x, centre y, width, height of a
// rotated one.
struct Candidate {
  float box[4] = {0, 0, 0, 0};
  float score = 0;
  std::int64_t class_id = 0;
  std::size_t index = 0;  // which one it was before sorting
};

struct Candidates {
  std::vector<Candidate> rows;
  std::vector<float> extra;     // mask coefficients, keypoints or the angle, in the order of the indices
  std::size_t extra_count = 0;  // values per row

  const float* extra_of(const Candidate& row) const { return extra.data() + row.index * extra_count; }
};

struct SuppressionScratch {
  std::vector<float> boxes;
  std::vector<std::size_t> kept;
  std::vector<Candidate> rows;
};

// Highest score first, equal ones in the order they came.
void sort_by_score(std::vector<Candidate>& rows);

// Keeps, of sorted rows, those that no better kept one overlaps by more than `iou`; stops at `limit`.
// Equal to torchvision.ops.nms on boxes that Ultralytics has offset by class. The offset stays in
// float32 as there: it costs the coordinates of high class ids some precision, and decides close calls.
void suppress(std::vector<Candidate>& rows, bool across_classes, float iou, std::size_t limit,
              SuppressionScratch& scratch);

// Fast NMS (https://arxiv.org/abs/1904.02689) of rotated boxes: a box falls to any better box that
// overlaps it, also to one that is suppressed itself. The angle is the last extra value.
void suppress_rotated(Candidates& found, bool across_classes, float iou, std::size_t limit,
                      SuppressionScratch& scratch);

// 1 - Hellinger distance of boxes x, y, width, height, angle as Gaussians (https://arxiv.org/abs/2106.06072).
float probabilistic_iou(const float* first, const float* second);

}  // namespace deploykit
