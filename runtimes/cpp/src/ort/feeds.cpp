// Tensors that the caller feeds, against what the model declares.

#include <algorithm>
#include <cmath>
#include <cstring>

#include "ort/engine.hpp"
#include "ort/half.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

std::string axis_name(const TensorInfo& info, std::size_t axis) {
  return info.axes[axis].empty() ? "?" : info.axes[axis];
}

void check_shape(const Spec& spec, const TensorInfo& info, const std::vector<std::int64_t>& shape) {
  const std::string input = "Input " + to_string(info);
  const std::string found = shape_text(shape);
  if (shape.size() != info.shape.size()) {
    throw InputError(input + " wants " + std::to_string(info.shape.size()) + " axes, found " + found + ".");
  }
  for (std::size_t axis = 0; axis < shape.size(); ++axis) {
    const std::int64_t wanted = info.shape[axis];
    if (wanted >= 0) {
      if (shape[axis] == wanted) continue;
      throw InputError(input + " is fixed to " + std::to_string(wanted) + " on axis " + std::to_string(axis) +
                           ", found " + found + ".",
                       "Export with --dynamic to accept other sizes.");
    }
    const std::string name = axis_name(info, axis);
    const AxisRange* allowed = info.name == spec.input.name ? spec.input.range(name.c_str()) : nullptr;
    if (allowed != nullptr && !allowed->contains(shape[axis])) {
      throw InputError(input + " accepts " + name + " " + to_string(*allowed) + ", found " + found + ".");
    }
    if (allowed == nullptr && shape[axis] < 1) {
      throw InputError(input + " has an empty axis " + std::to_string(axis) + ": " + found + ".");
    }
  }
}

// "nan", "inf" or "-inf", as numpy prints them.
std::string wrong_value(double value) { return std::isnan(value) ? "nan" : value > 0 ? "inf" : "-inf"; }

// Whether a value is NaN or infinity: one whose exponent has all bits set, so that adding the lowest of them
// carries into the sign. Without a branch, which lets compilers work on many values at once.
template <class Bits>
bool has_special(const void* data, std::size_t count, Bits exponent) {
  const auto lowest = static_cast<Bits>(exponent & (~exponent + 1U));
  const auto* bytes = static_cast<const char*>(data);
  Bits seen = 0;
  for (std::size_t i = 0; i < count; ++i) {
    Bits bits = 0;
    std::memcpy(&bits, bytes + i * sizeof(Bits), sizeof(Bits));
    seen = static_cast<Bits>(seen | static_cast<Bits>((bits & exponent) + lowest));
  }
  return seen >> (8 * sizeof(Bits) - 1) != 0;
}

// Values that no model answers sensibly; `value_at` reads one of them.
template <class Bits, class ValueAt>
void check_finite(const TensorInfo& info, const Feed& feed, Bits exponent, ValueAt value_at) {
  const std::vector<std::int64_t>& shape = feed.shape;
  std::size_t count = 1;
  for (const std::int64_t n : shape) count *= static_cast<std::size_t>(n);
  if (!has_special(feed.data, count, exponent)) return;
  std::size_t wrong = 0;
  std::size_t first = 0;
  for (std::size_t i = count; i-- > 0;) {
    if (std::isfinite(value_at(i))) continue;
    ++wrong;
    first = i;
  }
  std::string place;
  std::size_t rest = first;
  for (std::size_t axis = shape.size(); axis-- > 0;) {
    const auto n = static_cast<std::size_t>(shape[axis]);
    place = std::to_string(rest % n) + (place.empty() ? "" : ", ") + place;
    rest /= n;
  }
  throw InputError("Input " + to_string(info) + " holds NaN or infinity in " + std::to_string(wrong) + " of " +
                       std::to_string(count) + " values, the first at [" + place +
                       "]: " + wrong_value(value_at(first)) + ".",
                   "Look for a division by zero, uninitialised memory or a float16 overflow before this.");
}

void check_values(const TensorInfo& info, const Feed& feed) {
  if (feed.dtype == DType::float32) {
    const auto* values = static_cast<const float*>(feed.data);
    check_finite(info, feed, std::uint32_t{0x7f800000}, [&](std::size_t i) { return static_cast<double>(values[i]); });
  } else if (feed.dtype == DType::float64) {
    const auto* values = static_cast<const double*>(feed.data);
    check_finite(info, feed, std::uint64_t{0x7ff0000000000000}, [&](std::size_t i) { return values[i]; });
  } else if (feed.dtype == DType::float16) {
    const auto* values = static_cast<const std::uint16_t*>(feed.data);
    check_finite(info, feed, std::uint16_t{0x7c00},
                 [&](std::size_t i) { return static_cast<double>(from_half(values[i])); });
  }
}

}  // namespace

void check_feeds(const Spec& spec, const std::vector<TensorInfo>& inputs, const std::vector<Feed>& feeds) {
  std::vector<std::string> wanted;
  std::vector<std::string> found;
  for (const TensorInfo& info : inputs) wanted.push_back(info.name);
  for (const Feed& feed : feeds) found.push_back(feed.name);
  std::sort(wanted.begin(), wanted.end());
  std::sort(found.begin(), found.end());
  if (wanted != found) {
    throw InputError("The model takes the inputs " + list_text(wanted) + ", found " + list_text(found) + ".",
                     "Feed exactly the inputs that `deploykit inspect` lists.");
  }
  for (const TensorInfo& info : inputs) {
    const auto feed =
        std::find_if(feeds.begin(), feeds.end(), [&](const Feed& given) { return given.name == info.name; });
    if (feed->dtype != info.dtype || info.dtype == DType::other) {
      throw InputError(
          "Input " + to_string(info) + " wants " + info.dtype_name + ", found " + to_string(feed->dtype) + ".",
          "Convert it with .astype(np." + info.dtype_name + ").");
    }
    check_shape(spec, info, feed->shape);
    if (feed->data == nullptr) throw InputError("Input " + to_string(info) + " wants data, found a null pointer.");
    check_values(info, *feed);
  }
}

}  // namespace deploykit
