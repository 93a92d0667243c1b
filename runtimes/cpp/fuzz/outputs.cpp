// Hostile tensors: heads of any shape and any values are read or refused.

#include <cstring>

#include "answers/decode.hpp"
#include "deploykit/error.hpp"
#include "answers/heads.hpp"
#include "answers/masks.hpp"

namespace {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::int64_t number(std::int64_t below) { return size_ == 0 ? 0 : (--size_, *data_++ % below); }

  std::vector<float> floats(std::size_t count) {
    std::vector<float> values(count);
    const std::size_t bytes = std::min(size_, count * sizeof(float));
    if (bytes > 0) std::memcpy(values.data(), data_, bytes);
    data_ += bytes;
    size_ -= bytes;
    return values;
  }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

deploykit::Spec spec_of(Bytes& bytes) {
  deploykit::Spec spec;
  spec.task = static_cast<deploykit::Task>(1 + bytes.number(4));
  spec.output.layout = static_cast<deploykit::Layout>(3 + bytes.number(4));
  spec.num_classes = bytes.number(4);
  spec.output.mask_channels = bytes.number(4);
  spec.output.keypoints = bytes.number(4);
  spec.output.keypoint_dims = bytes.number(4);
  spec.output.decoded = bytes.number(2) == 0;
  spec.output.strides = {bytes.number(20), 8};
  return spec;
}

void draw_masks(const deploykit::Candidates& found, const deploykit::Geometry& plan, Bytes& bytes) {
  const auto channels = static_cast<std::int64_t>(found.extra_count);
  if (channels == 0) return;
  const std::int64_t height = 1 + bytes.number(6);
  const std::int64_t width = 1 + bytes.number(6);
  const std::vector<float> values = bytes.floats(static_cast<std::size_t>(channels * height * width));
  const deploykit::Prototypes prototypes{values.data(), channels, height, width};
  deploykit::MaskScratch scratch;
  for (const deploykit::Candidate& row : found.rows) {
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(plan.image_size[0] * plan.image_size[1]));
    deploykit::decode_mask(prototypes, found.extra_of(row), row.box, plan, mask.data(), scratch);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const deploykit::Spec spec = spec_of(bytes);
  std::vector<std::int64_t> shape;
  std::size_t count = 1;
  for (std::int64_t axes = bytes.number(4); axes > 0; --axes) {
    shape.push_back(bytes.number(12));
    count *= static_cast<std::size_t>(shape.back());
  }
  const std::vector<float> values = bytes.floats(count);
  deploykit::Candidates found;
  deploykit::HeadScratch head;
  deploykit::SuppressionScratch suppression;
  try {
    deploykit::read_candidates({values.data(), &shape}, bytes.number(3), spec, {32, 32}, 0.1F, found, head);
  } catch (const deploykit::Error&) {
    return 0;
  }
  deploykit::sort_by_score(found.rows);
  if (spec.task == deploykit::Task::obb && found.extra_count > 0) {
    deploykit::suppress_rotated(found, false, 0.5F, 100, suppression);
  } else {
    deploykit::suppress(found.rows, false, 0.5F, 100, suppression);
  }
  deploykit::Preprocess how;
  how.resize = deploykit::Resize::letterbox;
  how.resize_to = {32, 32};
  deploykit::InputSpec tensor;
  tensor.height = 32;
  tensor.width = 32;
  const deploykit::Geometry plan = deploykit::plan_geometry({20, 30}, how, tensor, std::nullopt);
  for (const deploykit::Candidate& row : found.rows) {
    plan.box_to_image({row.box[0], row.box[1], row.box[2], row.box[3]});
  }
  draw_masks(found, plan, bytes);
  return 0;
}
