#include "answers/nms.hpp"

#include <algorithm>
#include <cmath>

namespace deploykit {
namespace {

// Ultralytics separates the classes by moving each to coordinates of its own, this far apart.
constexpr float kClassOffset = 7680;

float class_offset(const Candidate& row, bool across_classes) {
  return across_classes ? 0.0F : static_cast<float>(row.class_id) * kClassOffset;
}

// 0 for empty boxes.
float box_iou(const float* a, const float* b) {
  const float width = std::min(a[2], b[2]) - std::max(a[0], b[0]);
  const float height = std::min(a[3], b[3]) - std::max(a[1], b[1]);
  const float shared = std::max(width, 0.0F) * std::max(height, 0.0F);
  const float sum = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared;
  return sum > 0 ? shared / sum : 0.0F;
}

// [[a, c], [c, b]] of the uniform distribution over a rotated box.
struct Covariance {
  float a = 0;
  float b = 0;
  float c = 0;

  explicit Covariance(const float* box) {
    const float width = box[2] * box[2] / 12;
    const float height = box[3] * box[3] / 12;
    const float cos = std::cos(box[4]);
    const float sin = std::sin(box[4]);
    a = width * (cos * cos) + height * (sin * sin);
    b = width * (sin * sin) + height * (cos * cos);
    c = (width - height) * cos * sin;
  }
};

void take(std::vector<Candidate>& rows, SuppressionScratch& scratch) {
  scratch.rows.clear();
  for (const std::size_t index : scratch.kept) scratch.rows.push_back(rows[index]);
  rows.swap(scratch.rows);
}

}  // namespace

void sort_by_score(std::vector<Candidate>& rows) {
  // std::stable_sort would allocate.
  std::sort(rows.begin(), rows.end(), [](const Candidate& left, const Candidate& right) {
    return left.score != right.score ? left.score > right.score : left.index < right.index;
  });
}

void suppress(std::vector<Candidate>& rows, bool across_classes, float iou, std::size_t limit,
              SuppressionScratch& scratch) {
  scratch.kept.clear();
  scratch.boxes.clear();
  for (std::size_t i = 0; i < rows.size() && scratch.kept.size() < limit; ++i) {
    const float offset = class_offset(rows[i], across_classes);
    float box[4];
    for (std::size_t k = 0; k < 4; ++k) box[k] = rows[i].box[k] + offset;
    bool falls = false;
    for (std::size_t k = 0; k < scratch.boxes.size() && !falls; k += 4) {
      falls = box_iou(scratch.boxes.data() + k, box) > iou;
    }
    if (falls) continue;
    scratch.kept.push_back(i);
    scratch.boxes.insert(scratch.boxes.end(), box, box + 4);
  }
  take(rows, scratch);
}

void suppress_rotated(Candidates& found, bool across_classes, float iou, std::size_t limit,
                      SuppressionScratch& scratch) {
  scratch.kept.clear();
  scratch.boxes.clear();
  for (std::size_t i = 0; i < found.rows.size() && scratch.kept.size() < limit; ++i) {
    const Candidate& row = found.rows[i];
    const float offset = class_offset(row, across_classes);
    const float angle = found.extra_of(row)[found.extra_count - 1];
    const float box[5] = {row.box[0] + offset, row.box[1] + offset, row.box[2], row.box[3], angle};
    bool falls = false;
    for (std::size_t k = 0; k < scratch.boxes.size() && !falls; k += 5) {
      falls = probabilistic_iou(scratch.boxes.data() + k, box) > iou;
    }
    scratch.boxes.insert(scratch.boxes.end(), box, box + 5);
    if (!falls) scratch.kept.push_back(i);
  }
  take(found.rows, scratch);
}

float probabilistic_iou(const float* first, const float* second) {
  constexpr float eps = 1e-7F;
  const Covariance p(first);
  const Covariance q(second);
  const float a = p.a + q.a;
  const float b = p.b + q.b;
  const float c = p.c + q.c;
  const float x = second[0] - first[0];
  const float y = first[1] - second[1];
  const float determinant = a * b - c * c;
  float mahalanobis = (a * (y * y) + b * (x * x)) / (determinant + eps) / 4;
  mahalanobis += c * x * y / (determinant + eps) / 2;
  const float volumes = std::sqrt(std::max(p.a * p.b - p.c * p.c, 0.0F) * std::max(q.a * q.b - q.c * q.c, 0.0F));
  const float shape = std::log(determinant / (4 * volumes + eps) + eps) / 2;
  const float distance = std::clamp(mahalanobis + shape, eps, 100.0F);
  return 1 - std::sqrt(1 - std::exp(-distance) + eps);
}

}  // namespace deploykit
