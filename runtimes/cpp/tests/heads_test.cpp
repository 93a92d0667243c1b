// Outputs of detectors that hold no rows: each is checked for its shape, and nothing is read from a null pointer.

#include "answers/heads.hpp"

#include "check.hpp"
#include "deploykit/error.hpp"

namespace {

std::size_t rows_of(deploykit::Layout layout, const std::vector<std::int64_t>& shape, bool decoded = true,
                    bool inferred = false) {
  deploykit::Spec spec;
  spec.task = deploykit::Task::detect;
  spec.output.layout = layout;
  spec.output.decoded = decoded;
  spec.inferred = inferred;
  spec.num_classes = 2;
  deploykit::Candidates found;
  deploykit::HeadScratch scratch;
  deploykit::read_candidates({nullptr, &shape}, 0, spec, {32, 32}, 0.1F, found, scratch);
  return found.rows.size();
}

}  // namespace

TEST(an_output_without_rows_holds_no_detections) {
  for (const bool inferred : {false, true}) {
    CHECK_EQUAL(rows_of(deploykit::Layout::yolo, {1, 6, 0}, true, inferred), 0U);
    CHECK_EQUAL(rows_of(deploykit::Layout::yolov5, {1, 0, 7}, true, inferred), 0U);
    CHECK_EQUAL(rows_of(deploykit::Layout::end2end, {1, 0, 6}, true, inferred), 0U);
    CHECK_EQUAL(rows_of(deploykit::Layout::end2end_flat, {0, 7}, true, inferred), 0U);
  }
}

TEST(an_output_without_rows_is_checked_for_its_shape) {
  CHECK_THROWS(rows_of(deploykit::Layout::yolo, {1, 9, 0}), deploykit::ModelError);
  CHECK_THROWS(rows_of(deploykit::Layout::yolov5, {1, 0, 9}), deploykit::ModelError);
  CHECK_THROWS(rows_of(deploykit::Layout::yolov5, {1, 0, 7}, false), deploykit::ModelError);
  CHECK_THROWS(rows_of(deploykit::Layout::end2end, {1, 0, 3}), deploykit::ModelError);
  CHECK_THROWS(rows_of(deploykit::Layout::end2end_flat, {0, 6}), deploykit::ModelError);
}
