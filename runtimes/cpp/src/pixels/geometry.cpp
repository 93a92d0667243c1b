#include "pixels/geometry.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "deploykit/error.hpp"
#include "contract/limits.hpp"

namespace deploykit {
namespace {

using Pair = std::array<std::int64_t, 2>;

// Larger sizes come from damaged metadata alone; refused here, none of the arithmetic can overflow.
constexpr double kLargest = 2147483647.0;

[[noreturn]] void impossible() { throw ModelError("The model's pre-processing asks for an impossible size."); }

std::int64_t whole(double value) {
  if (!(std::abs(value) <= kLargest)) impossible();
  return static_cast<std::int64_t>(value);
}

// Half to even, as Python rounds.
std::int64_t rounded(double value) { return whole(std::nearbyint(value)); }

double real(std::int64_t value) { return static_cast<double>(value); }

// Floor division, also of negative numbers.
std::int64_t floor_divide(std::int64_t value, std::int64_t divisor) {
  const std::int64_t quotient = value / divisor;
  return value % divisor != 0 && (value < 0) != (divisor < 0) ? quotient - 1 : quotient;
}

std::int64_t floor_modulo(std::int64_t value, std::int64_t divisor) {
  return value - floor_divide(value, divisor) * divisor;
}

std::array<std::int64_t, 4> pre_crop(Pair size, const Preprocess& how) {
  if (how.pre_crop <= 0) return {0, 0, size[0], size[1]};
  const double exact = how.pre_crop * real(std::min(size[0], size[1]));
  const std::int64_t side = std::max<std::int64_t>(1, whole(exact));
  const auto start = [&](std::int64_t length) {
    if (how.pre_crop_offset == CropOffset::even) {
      return std::max<std::int64_t>(0, rounded((real(length) - exact) / 2));
    }
    return floor_divide(length - side + (how.pre_crop_offset == CropOffset::up ? 1 : 0), 2);
  };
  return {start(size[0]), start(size[1]), side, side};
}

Pair own_size(const Preprocess& how, const InputSpec& tensor) {
  if (how.resize == Resize::letterbox && how.resize_to.size() == 2) return {how.resize_to[0], how.resize_to[1]};
  return {tensor.height, tensor.width};
}

// Another crop size keeps its share of the resized edge: 288 of 329 as 224 of 256.
std::int64_t scaled_edge(const Preprocess& how, Pair imgsz) {
  const auto [low, high] = std::minmax(imgsz[0], imgsz[1]);
  if (!how.crop) return how.resize == Resize::short_edge ? low : high;
  return whole(real(how.resize_to[0] * low) / real(std::min(how.crop->height, how.crop->width)));
}

// Half to even, of numbers that are not negative.
std::int64_t rounded_quotient(std::int64_t number, std::int64_t divisor) {
  const std::int64_t quotient = (2 * number + divisor) / (2 * divisor);
  const bool half = (2 * number + divisor) % (2 * divisor) == 0;
  return std::max<std::int64_t>(1, half && quotient % 2 == 1 ? quotient - 1 : quotient);
}

// Scaled until it covers the target; in whole numbers, as the Python runtime and graphs do it.
Pair covering(Pair size, Pair target) {
  if (size[0] * target[1] <= size[1] * target[0]) {
    return {target[0], rounded_quotient(size[1] * target[0], size[0])};
  }
  return {rounded_quotient(size[0] * target[1], size[1]), target[1]};
}

Pair cover(Pair size, const Preprocess& how, const std::optional<Size>& imgsz) {
  Pair target{how.resize_to.front(), how.resize_to.back()};
  if (imgsz) {
    const Pair own = how.crop ? Pair{how.crop->height, how.crop->width} : target;
    target = {target[0] * imgsz->height / own[0], target[1] * imgsz->width / own[1]};
  }
  return covering(size, target);
}

Pair resized_size(Pair size, const Preprocess& how, const std::optional<Size>& imgsz) {
  if (how.resize == Resize::none) return size;
  if (how.resize_to.empty()) {
    throw ModelError("The model's metadata asks for a resize without deploykit.preprocess.resize_to.");
  }
  if (how.resize == Resize::stretch) {
    if (imgsz) return {imgsz->height, imgsz->width};
    return {how.resize_to.front(), how.resize_to.back()};
  }
  if (how.resize == Resize::cover) return cover(size, how, imgsz);
  const std::int64_t edge = imgsz ? scaled_edge(how, {imgsz->height, imgsz->width}) : how.resize_to[0];
  const bool by_height = how.resize == Resize::short_edge ? size[0] <= size[1] : size[0] >= size[1];
  const double half = how.rounding == Rounding::round ? 0.5 : 0.0;
  const std::int64_t known = by_height ? size[0] : size[1];
  const std::int64_t other = by_height ? size[1] : size[0];
  const std::int64_t scaled = std::max<std::int64_t>(1, whole(real(edge * other) / real(known) + half));
  return by_height ? Pair{edge, scaled} : Pair{scaled, edge};
}

// Offset of a centre crop, as torchvision's where halves go to even; pads the smaller half first.
std::int64_t centred(std::int64_t length, std::int64_t window, CropOffset half) {
  if (window > length) return floor_divide(window - length, 2);
  if (half == CropOffset::even) return -rounded(real(length - window) / 2);
  return -floor_divide(length - window + (half == CropOffset::up ? 1 : 0), 2);
}

// The least padding that leaves a multiple of `stride`, as the model's range allows.
std::int64_t rectangle(std::int64_t length, std::int64_t target, std::int64_t stride, const AxisRange& allowed) {
  return std::max(length + floor_modulo(target - length, stride), std::min(target, allowed.min));
}

// `center` is the LetterBox of Ultralytics and YOLOv5, which rounds the sides; `top_left` is YOLOX's,
// which floors them.
void letterbox(Geometry& plan, Pair target, const Preprocess& how, const InputSpec& tensor) {
  const Pair size{plan.region[2], plan.region[3]};
  double ratio = std::min(real(target[0]) / real(size[0]), real(target[1]) / real(size[1]));
  if (!how.scale_up) ratio = std::min(ratio, 1.0);
  const bool center = how.anchor == Anchor::center;
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const double side = real(size[axis]) * ratio;
    plan.resized[axis] = std::max<std::int64_t>(1, center ? rounded(side) : whole(side));
  }
  const AxisRange* height = tensor.range("height");
  const AxisRange* width = tensor.range("width");
  if (how.stride != 0 && height != nullptr && width != nullptr) {
    target = {rectangle(plan.resized[0], target[0], how.stride, *height),
              rectangle(plan.resized[1], target[1], how.stride, *width)};
  }
  for (std::size_t axis = 0; axis < 2; ++axis) {
    plan.offset[axis] = center ? rounded(real(target[axis] - plan.resized[axis]) / 2 - 0.1) : 0;
  }
  plan.input_size = target;
}

std::string size_text(const Pair& size) { return std::to_string(size[0]) + "x" + std::to_string(size[1]); }

void check_axis(const char* axis, std::size_t index, const Geometry& plan, const InputSpec& tensor, bool chosen) {
  const std::int64_t found = plan.input_size[index];
  const std::int64_t own = index == 0 ? tensor.height : tensor.width;
  const AxisRange* allowed = tensor.range(axis);
  if (allowed == nullptr ? found == own : allowed->contains(found)) return;
  const std::string wanted = allowed == nullptr ? std::to_string(own) : to_string(*allowed);
  const char* hint = !chosen ? "The model's pre-processing does not bring images to this size: resize them before."
                     : allowed == nullptr ? "Leave out --imgsz, or export with --dynamic."
                                          : "Choose another size with --imgsz.";
  throw InputError(
      "The model takes a " + std::string(axis) + " of " + wanted + ", but a " + size_text(plan.image_size) +
          " image would come to " + size_text(plan.input_size) + ".",
      hint);
}

// Damaged metadata can ask for sides of 0 pixels and for regions outside the image.
void refuse_impossible(const Geometry& plan) {
  for (std::size_t axis = 0; axis < 2; ++axis) {
    const bool inside = plan.region[axis] >= 0 && plan.region[axis + 2] >= 1 &&
                        plan.region[axis] + plan.region[axis + 2] <= plan.image_size[axis];
    if (!inside || plan.resized[axis] < 1 || plan.input_size[axis] < 1) impossible();
  }
}

}  // namespace

Geometry plan_geometry(Size image, const Preprocess& how, const InputSpec& tensor, const std::optional<Size>& imgsz) {
  Geometry plan;
  plan.image_size = {image.height, image.width};
  if (std::min(image.height, image.width) < 1) {
    throw InputError("Wanted an image with pixels, found " + size_text(plan.image_size) + ".");
  }
  if (real(std::max(image.height, image.width)) > kLargest) {
    throw InputError("Wanted an image of at most 2147483647 pixels a side, found " + size_text(plan.image_size) + ".");
  }
  plan.region = pre_crop(plan.image_size, how);
  const Pair target = imgsz ? Pair{imgsz->height, imgsz->width} : own_size(how, tensor);
  if (how.resize == Resize::letterbox) {
    letterbox(plan, target, how, tensor);
  } else {
    plan.resized = resized_size({plan.region[2], plan.region[3]}, how, imgsz);
    plan.input_size = plan.resized;
    if (how.crop) plan.input_size = imgsz ? target : Pair{how.crop->height, how.crop->width};
    for (std::size_t axis = 0; axis < 2; ++axis) {
      plan.offset[axis] = centred(plan.resized[axis], plan.input_size[axis], how.crop_offset);
    }
  }
  check_axis("height", 0, plan, tensor, imgsz.has_value());
  check_axis("width", 1, plan, tensor, imgsz.has_value());
  refuse_impossible(plan);
  return plan;
}

void check_resized(const Geometry& plan) {
  if (real(plan.resized[0]) * real(plan.resized[1]) > real(limits::kFeed)) {
    throw InputError("Wanted an image of at most " + std::to_string(limits::kFeed) +
                         " pixels when it is resized, found " + size_text(plan.image_size) + ", which comes to " +
                         size_text(plan.resized) + ".",
                     "Crop the image: one of its sides is many times the other.");
  }
}

Geometry Geometry::of_image() const {
  Geometry plan;
  plan.image_size = plan.input_size = plan.resized = image_size;
  plan.region = {0, 0, image_size[0], image_size[1]};
  return plan;
}

float Geometry::unmapped(float value, std::size_t axis) const {
  return (value - static_cast<float>(offset[axis])) / static_cast<float>(gain(axis)) + static_cast<float>(region[axis]);
}

Box Geometry::box_to_tensor(const Box& box) const {
  const auto map = [&](float value, std::size_t axis) {
    return (value - static_cast<float>(region[axis])) * static_cast<float>(gain(axis)) +
           static_cast<float>(offset[axis]);
  };
  return {map(box.x1, 1), map(box.y1, 0), map(box.x2, 1), map(box.y2, 0)};
}

Point Geometry::point_to_image(Point point) const {
  return {std::clamp(unmapped(point.x, 1), 0.0F, static_cast<float>(image_size[1])),
          std::clamp(unmapped(point.y, 0), 0.0F, static_cast<float>(image_size[0]))};
}

Box Geometry::box_to_image(const Box& box) const {
  const Point first = point_to_image({box.x1, box.y1});
  const Point second = point_to_image({box.x2, box.y2});
  return {first.x, first.y, second.x, second.y};
}

RotatedBox Geometry::rotated_to_image(const RotatedBox& box) const {
  return {unmapped(box.x, 1), unmapped(box.y, 0), box.width / static_cast<float>(gain(1)),
          box.height / static_cast<float>(gain(0)), box.angle};
}

}  // namespace deploykit
