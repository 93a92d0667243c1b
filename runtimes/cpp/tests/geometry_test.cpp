// Sizes that a plan must refuse, and coordinates that must come back.

#include "pixels/geometry.hpp"

#include <array>
#include <cmath>
#include <random>

#include "check.hpp"
#include "deploykit/error.hpp"

namespace {

using deploykit::InputSpec;
using deploykit::Preprocess;
using deploykit::Resize;

Preprocess letterbox(std::int64_t side) {
  Preprocess how;
  how.resize = Resize::letterbox;
  how.resize_to = {side, side};
  return how;
}

InputSpec tensor_of(std::int64_t side) {
  InputSpec tensor;
  tensor.height = side;
  tensor.width = side;
  return tensor;
}

}  // namespace

TEST(boxes_come_back) {
  std::mt19937 random(1);
  std::uniform_int_distribution<std::int64_t> side(1, 900);
  for (int i = 0; i < 2000; ++i) {
    const deploykit::Size image{side(random), side(random)};
    const auto plan = deploykit::plan_geometry(image, letterbox(64), tensor_of(64), std::nullopt);
    const auto height = static_cast<float>(image.height);
    const auto width = static_cast<float>(image.width);
    const deploykit::Box box{0.1F * width, 0.2F * height, 0.8F * width, 0.9F * height};
    const deploykit::Box back = plan.box_to_image(plan.box_to_tensor(box));
    CHECK(std::abs(back.x1 - box.x1) < 1e-3F * width && std::abs(back.y2 - box.y2) < 1e-3F * height);
    CHECK(plan.offset[0] >= 0 && plan.offset[0] + plan.resized[0] <= 64);
    CHECK(plan.offset[1] >= 0 && plan.offset[1] + plan.resized[1] <= 64);
  }
}

TEST(impossible_sizes) {
  const auto plan = [](const Preprocess& how, std::int64_t side) {
    return deploykit::plan_geometry({100, 50}, how, tensor_of(side), std::nullopt);
  };
  Preprocess how;
  how.resize = Resize::stretch;
  how.resize_to = {0, 0};
  CHECK_THROWS(plan(how, 0), deploykit::ModelError);
  how.resize_to = {};
  CHECK_THROWS(plan(how, 64), deploykit::ModelError);
  how.resize = Resize::short_edge;
  how.resize_to = {2147483647};
  CHECK_THROWS(plan(how, 64), deploykit::ModelError);
  how = Preprocess();
  how.pre_crop = 1e12;
  CHECK_THROWS(plan(how, 64), deploykit::ModelError);
  how.pre_crop = 1.5;
  CHECK_THROWS(plan(how, 75), deploykit::ModelError);
  CHECK_THROWS(plan(Preprocess(), 64), deploykit::InputError);
  CHECK_THROWS(deploykit::plan_geometry({0, 5}, Preprocess(), tensor_of(64), std::nullopt), deploykit::InputError);
}

TEST(half_a_pixel_of_the_last_crop) {
  Preprocess how;
  how.crop = deploykit::Size{64, 64};
  const auto offset = [&](deploykit::CropOffset half) {
    how.crop_offset = half;
    return deploykit::plan_geometry({77, 451}, how, tensor_of(64), std::nullopt).offset;
  };
  CHECK(offset(deploykit::CropOffset::even) == (std::array<std::int64_t, 2>{-6, -194}));
  CHECK(offset(deploykit::CropOffset::down) == (std::array<std::int64_t, 2>{-6, -193}));
  CHECK(offset(deploykit::CropOffset::up) == (std::array<std::int64_t, 2>{-7, -194}));
}
