#include "selftest/measure.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

#include "deploykit/error.hpp"
#include "ort/half.hpp"
#include "text/text.hpp"

namespace deploykit::selftest {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr std::size_t kWholeAxis = 1024;  // longest axis with a mean for each index
constexpr std::size_t kBins = 64;         // equal stretches of a longer one
constexpr double kSmall = 1e-3;           // engines compute small probabilities to an absolute precision
constexpr std::array<const char*, 9> kLayouts{"logits",  "probabilities", "features", "yolo",      "yolov5",
                                              "end2end", "end2end_flat",  "top_k",    "detections"};

// As Python writes a tuple.
std::string shape_tuple(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> sides;
  for (const std::int64_t n : shape) sides.push_back(std::to_string(n));
  return "(" + join(sides, ", ") + (sides.size() == 1 ? ",)" : ")");
}

const Tensor* find(const std::vector<Tensor>& outputs, const std::string& name) {
  const auto found =
      std::find_if(outputs.begin(), outputs.end(), [&](const Tensor& each) { return each.name == name; });
  return found == outputs.end() ? nullptr : &*found;
}

std::size_t count_of(const std::vector<std::int64_t>& shape) {
  std::size_t count = 1;
  for (const std::int64_t n : shape) count *= static_cast<std::size_t>(n);
  return count;
}

template <class T>
std::vector<double> copied(const Tensor& tensor) {
  const T* values = tensor.as<T>();
  std::vector<double> found(count_of(tensor.shape));
  std::transform(values, values + found.size(), found.begin(), [](T value) { return static_cast<double>(value); });
  return found;
}

// Empty where a tensor holds no numbers.
std::vector<double> numbers_of(const Tensor& tensor) {
  switch (tensor.dtype) {
    case DType::float32: return copied<float>(tensor);
    case DType::float64: return copied<double>(tensor);
    case DType::uint8:
    case DType::boolean: return copied<std::uint8_t>(tensor);
    case DType::int8: return copied<std::int8_t>(tensor);
    case DType::uint16: return copied<std::uint16_t>(tensor);
    case DType::int16: return copied<std::int16_t>(tensor);
    case DType::int32: return copied<std::int32_t>(tensor);
    case DType::int64: return copied<std::int64_t>(tensor);
    case DType::uint32: return copied<std::uint32_t>(tensor);
    case DType::uint64: return copied<std::uint64_t>(tensor);
    case DType::float16: break;
    case DType::other: return {};
  }
  std::vector<double> found(count_of(tensor.shape));
  const auto* halves = tensor.as<std::uint16_t>();
  std::transform(halves, halves + found.size(), found.begin(),
                 [](std::uint16_t half) { return static_cast<double>(from_half(half)); });
  return found;
}

double log_score(double score) { return std::log(score + kSmall); }

// The part start..stop of an axis.
Values taken(const Values& whole, std::size_t axis, std::int64_t start, std::int64_t stop) {
  Values part;
  part.shape = whole.shape;
  part.shape[axis] = stop - start;
  const auto from = whole.shape.begin() + static_cast<std::ptrdiff_t>(axis);
  const std::size_t outer = count_of({whole.shape.begin(), from});
  const std::size_t inner = count_of({from + 1, whole.shape.end()});
  const std::size_t stride = inner * static_cast<std::size_t>(*from);
  part.flat.reserve(count_of(part.shape));
  for (std::size_t i = 0; i < outer; ++i) {
    const auto first = whole.flat.begin() + static_cast<std::ptrdiff_t>(i * stride);
    part.flat.insert(part.flat.end(), first + start * static_cast<std::ptrdiff_t>(inner),
                     first + stop * static_cast<std::ptrdiff_t>(inner));
  }
  return part;
}

// For each index of an axis the mean over all others.
std::vector<double> axis_means(const Values& values, std::size_t axis) {
  const auto length = static_cast<std::size_t>(values.shape[axis]);
  const auto from = values.shape.begin() + static_cast<std::ptrdiff_t>(axis);
  const std::size_t inner = count_of({from + 1, values.shape.end()});
  std::vector<double> sums(length, 0.0);
  const double* value = values.flat.data();
  for (std::size_t start = 0; start < values.flat.size(); start += length * inner) {
    for (std::size_t i = 0; i < length; ++i) {
      double sum = 0;
      for (const double* end = value + inner; value != end; ++value) sum += *value;
      sums[i] += sum;
    }
  }
  const double others = length == 0 ? 0 : static_cast<double>(values.flat.size()) / static_cast<double>(length);
  for (double& sum : sums) sum /= others;
  return sums;
}

// The means of the equal stretches of a long axis; with the signs, where they are asked for.
void append_stretches(const std::vector<double>& each, bool with_signs, std::vector<double>& found) {
  for (std::size_t bin = 0; bin < kBins; ++bin) {
    const std::size_t start = bin * each.size() / kBins;
    const std::size_t stop = (bin + 1) * each.size() / kBins;
    double sum = 0;
    for (std::size_t i = start; i < stop; ++i) {
      sum += with_signs && random_number(1, i) % 2 == 1 ? -each[i] : each[i];
    }
    found.push_back(sum / static_cast<double>(stop - start));
  }
}

// The outputs of a layout of answers, by name, with the shapes that it has.
class Answers {
 public:
  Answers(const std::vector<Tensor>& outputs, const Spec& spec) : outputs_(outputs), spec_(spec) {}

  Rows read() const {
    if (spec_.output.layout == Layout::top_k) return top_k();
    if (spec_.output.layout == Layout::end2end) return end2end();
    return detections();
  }

  double upright_gap(const Rows& rows) const {
    const Tensor* known = find(outputs_, "boxes");
    const std::vector<std::int64_t>& places = find(outputs_, "scores")->shape;
    if (known == nullptr) return 0;
    if (known->shape != std::vector<std::int64_t>{places[0], places[1], 4}) return kInfinity;
    const std::vector<double> upright = values("boxes").flat;
    double worst = 0;
    for (std::size_t image = 0; image < rows.images.size(); ++image) {
      const double* box = upright.data() + image * static_cast<std::size_t>(places[1]) * 4;
      for (const std::vector<double>& row : rows.images[image]) {
        const double cos = std::abs(std::cos(row[6])), sin = std::abs(std::sin(row[6]));
        const double x = (row[4] * cos + row[5] * sin) / 2, y = (row[4] * sin + row[5] * cos) / 2;
        for (const double off : {row[2] - x - box[0], row[3] - y - box[1], row[2] + x - box[2], row[3] + y - box[3]}) {
          worst = std::max(worst, std::isfinite(off) ? std::abs(off) : kInfinity);
        }
        box += 4;
      }
    }
    return worst;
  }

 private:
  [[noreturn]] void refuse() const {
    const std::string layout = kLayouts.at(static_cast<std::size_t>(spec_.output.layout));
    std::vector<std::string> shapes;
    for (const Tensor& each : outputs_) shapes.push_back(quoted(each.name) + ": " + shape_tuple(each.shape));
    throw ModelError("The outputs are not those of the layout " + layout + ": {" + join(shapes, ", ") + "}.");
  }

  bool has(const char* name) const { return find(outputs_, name) != nullptr; }

  Values values(const std::string& name) const {
    const Tensor* found = find(outputs_, name);
    if (found == nullptr || found->dtype == DType::other) refuse();
    return {found->shape, numbers_of(*found)};
  }

  // Of a shape that begins with `images` and `places`.
  Values values(const char* name, const std::vector<std::int64_t>& first, std::size_t axes) const {
    Values found = values(name);
    const bool fits = found.shape.size() == axes && std::equal(first.begin(), first.end(), found.shape.begin());
    if (!fits) refuse();
    return found;
  }

  Rows top_k() const {
    const Values scores = values("probabilities", {}, 2);
    const Values classes = values("classes", scores.shape, 2);
    Rows found;
    const auto places = static_cast<std::size_t>(scores.shape[1]);
    found.images.resize(scores.images());
    for (std::size_t i = 0; i < scores.flat.size(); ++i) {
      found.images[i / places].push_back({classes.flat[i], log_score(scores.flat[i])});
    }
    return found;
  }

  Rows end2end() const {
    if (spec_.output.names.empty()) refuse();
    const Values table = values(spec_.output.names[0]);
    if (table.shape.size() != 3 || table.shape[1] < 1 || table.shape[2] < 6) refuse();
    const auto places = static_cast<std::size_t>(table.shape[1]);
    const auto columns = static_cast<std::size_t>(table.shape[2]);
    Rows found;
    found.box = 4;
    found.extra = columns - 6;
    found.images.resize(table.images());
    for (std::size_t i = 0; i < table.images() * places; ++i) {
      const double* from = table.flat.data() + i * columns;
      std::vector<double> row{from[5], log_score(from[4])};
      row.insert(row.end(), from, from + 4);
      row.insert(row.end(), from + 6, from + columns);
      found.images[i / places].push_back(std::move(row));
    }
    return found;
  }

  Rows detections() const {
    const Values boxes = values(spec_.task == Task::obb ? "rotated_boxes" : "boxes", {}, 3);
    const std::vector<std::int64_t> first(boxes.shape.begin(), boxes.shape.begin() + 2);
    const Values scores = values("scores", first, 2);
    const Values classes = values("classes", first, 2);
    const Values counts = values("count", {first.begin(), first.begin() + 1}, 1);
    const DType kind = find(outputs_, "count")->dtype;
    if (kind == DType::float16 || kind == DType::float32 || kind == DType::float64) refuse();
    const std::vector<Values> more = extras(first);
    Rows found;
    found.box = static_cast<std::size_t>(boxes.shape[2]);
    for (const Values& each : more) found.extra += static_cast<std::size_t>(each.shape[2]);
    found.images.resize(boxes.images());
    const auto places = static_cast<std::size_t>(first[1]);
    for (std::size_t image = 0; image < boxes.images(); ++image) {
      const double count = counts.flat[image];
      if (!(count >= 0 && count <= static_cast<double>(places))) refuse();
      for (std::size_t at = image * places; at < image * places + static_cast<std::size_t>(count); ++at) {
        std::vector<double> row{classes.flat[at], log_score(scores.flat[at])};
        append(boxes, at, row);
        for (const Values& each : more) append(each, at, row);
        found.images[image].push_back(std::move(row));
      }
    }
    return found;
  }

  // The columns of one place of [N, K, columns].
  static void append(const Values& table, std::size_t at, std::vector<double>& row) {
    const auto columns = static_cast<std::size_t>(table.shape[2]);
    const double* from = table.flat.data() + at * columns;
    row.insert(row.end(), from, from + columns);
  }

  // How large masks [N, K, H, W] are and where, [N, K, 3]: the means over all pixels of the mask, of the mask times
  // (column + 0.5) / W, and of the mask times (row + 0.5) / H. The sums are of whole numbers.
  static Values moments(const Values& masks) {
    const auto size = [&](std::size_t axis) { return static_cast<std::size_t>(masks.shape[axis]); };
    const std::size_t places = size(0) * size(1);
    const std::size_t height = size(2);
    const std::size_t width = size(3);
    const auto pixels = static_cast<double>(std::max<std::size_t>(height * width, 1));
    const double across = 2.0 * static_cast<double>(std::max<std::size_t>(width, 1)) * pixels;
    const double down = 2.0 * static_cast<double>(std::max<std::size_t>(height, 1)) * pixels;
    Values found{{masks.shape[0], masks.shape[1], 3}, std::vector<double>(3 * places)};
    const double* from = masks.flat.data();
    for (std::size_t i = 0; i < places; ++i) {
      std::array<double, 3> sums{};
      for (std::size_t row = 0; row < height; ++row) {
        for (std::size_t column = 0; column < width; ++column) {
          const double value = *from++;
          sums[0] += value;
          sums[1] += value * static_cast<double>(2 * column + 1);
          sums[2] += value * static_cast<double>(2 * row + 1);
        }
      }
      found.flat[3 * i] = sums[0] / pixels;
      found.flat[3 * i + 1] = sums[1] / across;
      found.flat[3 * i + 2] = sums[2] / down;
    }
    return found;
  }

  // What detections have besides a box, each [N, K, E].
  std::vector<Values> extras(const std::vector<std::int64_t>& first) const {
    std::vector<Values> found;
    const std::size_t places = count_of(first);
    const auto per_place = [&](const Values& table) { return places == 0 ? 0 : table.flat.size() / places; };
    if (has("keypoints")) {
      Values table = values("keypoints");
      const bool fits = table.shape.size() >= 2 && std::equal(first.begin(), first.end(), table.shape.begin());
      if (!fits) refuse();
      table.shape = {first[0], first[1], static_cast<std::int64_t>(per_place(table))};
      found.push_back(std::move(table));
    }
    if (has("mask_coefficients")) found.push_back(values("mask_coefficients", first, 3));
    if (has("masks")) found.push_back(moments(values("masks", first, 4)));
    return found;
  }

  const std::vector<Tensor>& outputs_;
  const Spec& spec_;
};

}  // namespace

Values sliced(const std::vector<Tensor>& outputs, const Slice& part) {
  const Tensor* found = find(outputs, part.output);
  if (found == nullptr) {
    std::vector<std::string> names;
    for (const Tensor& each : outputs) names.push_back(each.name);
    std::sort(names.begin(), names.end());
    throw ModelError("The engine returns " + list_text(names) + ", the golden cases know " + quoted(part.output) + ".");
  }
  if (found->dtype == DType::other) {
    throw ModelError("The golden cases want numbers of " + part.output + ", found another type.");
  }
  Values values{found->shape, numbers_of(*found)};
  if (part.axis >= 0) {
    const auto axis = static_cast<std::size_t>(part.axis);
    const bool fits =
        axis < values.shape.size() && 0 <= part.start && part.start < part.stop && part.stop <= values.shape[axis];
    if (!fits) {
      throw ModelError("The golden cases want " + std::to_string(part.start) + ".." + std::to_string(part.stop) +
                       " on axis " + std::to_string(part.axis) + " of " + part.output + ", found the shape " +
                       shape_tuple(values.shape) + ".");
    }
    values = taken(values, axis, part.start, part.stop);
  }
  if (part.log) std::transform(values.flat.begin(), values.flat.end(), values.flat.begin(), log_score);
  return values;
}

std::vector<double> means(const Values& values) {
  std::vector<double> found;
  for (std::size_t axis = 0; axis < values.shape.size(); ++axis) {
    if (values.shape[axis] == 1) continue;
    const std::vector<double> each = axis_means(values, axis);
    if (each.size() <= kWholeAxis) {
      found.insert(found.end(), each.begin(), each.end());
      continue;
    }
    append_stretches(each, false, found);
    append_stretches(each, true, found);
  }
  return found;
}

Rows rows_of(const std::vector<Tensor>& outputs, const Spec& spec) { return Answers(outputs, spec).read(); }

double upright_gap(const std::vector<Tensor>& outputs, const Spec& spec, const Rows& rows) {
  if (spec.task != Task::obb || spec.output.layout != Layout::detections) return 0;
  return Answers(outputs, spec).upright_gap(rows);
}

}  // namespace deploykit::selftest
