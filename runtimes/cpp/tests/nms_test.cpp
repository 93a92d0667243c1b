// Suppression on boxes where the answer is known.

#include "answers/nms.hpp"

#include "check.hpp"

namespace {

deploykit::Candidate candidate(float x1, float y1, float x2, float y2, float score, std::int64_t class_id,
                               std::size_t index) {
  deploykit::Candidate row;
  row.box[0] = x1;
  row.box[1] = y1;
  row.box[2] = x2;
  row.box[3] = y2;
  row.score = score;
  row.class_id = class_id;
  row.index = index;
  return row;
}

}  // namespace

TEST(equal_scores_keep_their_order) {
  std::vector<deploykit::Candidate> rows;
  for (std::size_t i = 0; i < 50; ++i) rows.push_back(candidate(0, 0, 1, 1, i % 2 == 0 ? 0.5F : 0.7F, 0, i));
  deploykit::sort_by_score(rows);
  CHECK_EQUAL(rows.front().index, 1U);
  CHECK_EQUAL(rows[25].index, 0U);
  CHECK_EQUAL(rows.back().index, 48U);
}

TEST(overlaps_fall_within_their_class) {
  const std::vector<deploykit::Candidate> all{candidate(0, 0, 10, 10, 0.9F, 0, 0), candidate(1, 0, 11, 10, 0.8F, 0, 1),
                                              candidate(1, 0, 11, 10, 0.7F, 1, 2),
                                              candidate(50, 50, 60, 60, 0.6F, 0, 3), candidate(5, 5, 5, 9, 0.5F, 0, 4)};
  deploykit::SuppressionScratch scratch;
  auto rows = all;
  deploykit::suppress(rows, false, 0.5F, 10, scratch);
  CHECK_EQUAL(rows.size(), 4U);
  CHECK_EQUAL(rows[1].index, 2U);
  rows = all;
  deploykit::suppress(rows, true, 0.5F, 10, scratch);
  CHECK_EQUAL(rows.size(), 3U);
  rows = all;
  deploykit::suppress(rows, false, 0.5F, 2, scratch);
  CHECK_EQUAL(rows.size(), 2U);
}

TEST(rotated_boxes_fall_to_any_better_one) {
  // Each overlaps the one before enough, the third the first too little.
  deploykit::Candidates found;
  for (std::size_t i = 0; i < 3; ++i) {
    found.rows.push_back(candidate(static_cast<float>(4 * i), 0, 20, 10, 0.9F - 0.1F * static_cast<float>(i), 0, i));
    found.extra.push_back(0.1F);
  }
  found.extra_count = 1;
  const float first[5] = {0, 0, 20, 10, 0.1F};
  const float third[5] = {8, 0, 20, 10, 0.1F};
  CHECK(deploykit::probabilistic_iou(first, first) > 0.99F);
  const float threshold = deploykit::probabilistic_iou(first, third) + 0.01F;
  deploykit::SuppressionScratch scratch;
  deploykit::suppress_rotated(found, false, threshold, 10, scratch);
  CHECK_EQUAL(found.rows.size(), 1U);
}
