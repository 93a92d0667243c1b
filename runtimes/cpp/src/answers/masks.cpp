#include "answers/masks.hpp"

#include <algorithm>
#include <cmath>

namespace deploykit {
namespace {

using Axis = MaskScratch::Axis;

double real(std::int64_t value) { return static_cast<double>(value); }

struct Range {
  std::int64_t start = 0;
  std::int64_t stop = 0;

  std::int64_t size() const { return stop - start; }
};

// The whole pixels p with low <= p < high that the tensor has.
Range pixels_between(float low, float high, std::int64_t length) {
  const auto edge = [&](float value) {
    // Also false for NaN, which no cast to an integer survives.
    if (!(value > 0.0F)) return std::int64_t{0};
    return std::ceil(value) < static_cast<float>(length) ? static_cast<std::int64_t>(std::ceil(value)) : length;
  };
  return {edge(low), edge(high)};
}

// Bilinear samples with half-pixel centres of each tensor pixel in the prototypes.
void sample_prototypes(Axis& axis, Range window, std::int64_t length, std::int64_t tensor_length) {
  axis.clear();
  const double scale = real(length) / real(tensor_length);
  for (std::int64_t pixel = window.start; pixel < window.stop; ++pixel) {
    const double position = std::max((real(pixel) + 0.5) * scale - 0.5, 0.0);
    const std::int64_t before = std::min(static_cast<std::int64_t>(position), length - 1);
    axis.add(pixel, before, std::min(before + 1, length - 1), static_cast<float>(position - real(before)));
  }
}

// The image pixels that sample the tensor between start - 1 and stop + 1, and how they sample it.
void sample_tensor(Axis& axis, Range window, const Geometry& geometry, std::size_t side) {
  axis.clear();
  const double gain = geometry.gain(side);
  const std::int64_t offset = geometry.offset[side];
  const auto low = static_cast<std::int64_t>(std::floor(real(window.start - offset) / gain - 0.5)) - 1;
  const auto high = static_cast<std::int64_t>(std::ceil(real(window.stop - offset) / gain + 0.5)) + 1;
  const std::int64_t stop = std::min(high, geometry.region[side + 2]);
  for (std::int64_t pixel = std::max<std::int64_t>(low, 0); pixel < stop; ++pixel) {
    const double last = real(geometry.resized[side] - 1);
    const double position = std::clamp((real(pixel) + 0.5) * gain - 0.5, 0.0, last) + real(offset);
    const std::int64_t before =
        std::clamp(static_cast<std::int64_t>(std::floor(position)), window.start - 1, window.stop);
    const bool near = position >= real(window.start - 1) && position <= real(window.stop);
    axis.add(pixel + geometry.region[side], before, std::min(before + 1, window.stop),
             near ? static_cast<float>(position - real(before)) : 0.0F);
  }
}

// The logits of the part of the prototypes that the samples touch, row by row.
void sum_prototypes(const Prototypes& prototypes, const float* coefficients, const Axis& rows, const Axis& columns,
                    std::vector<float>& logits) {
  const std::int64_t top = rows.before.front();
  const std::int64_t left = columns.before.front();
  const std::int64_t width = columns.after.back() + 1 - left;
  const std::int64_t height = rows.after.back() + 1 - top;
  logits.assign(static_cast<std::size_t>(width * height), 0.0F);
  for (std::int64_t channel = 0; channel < prototypes.channels; ++channel) {
    const float weight = coefficients[channel];
    float* out = logits.data();
    for (std::int64_t y = top; y < top + height; ++y) {
      const float* values = prototypes.values + (channel * prototypes.height + y) * prototypes.width + left;
      for (std::int64_t x = 0; x < width; ++x) *out++ += weight * values[x];
    }
  }
}

// Bilinear values at every row and column sample; `use` gets the row, the column and the value.
template <class Use>
void interpolate(const std::vector<float>& values, std::int64_t width, const Axis& rows, std::int64_t first_row,
                 const Axis& columns, std::int64_t first_column, std::vector<float>& lines, Use use) {
  const std::size_t height = values.size() / static_cast<std::size_t>(width);
  lines.resize(height * columns.size());
  for (std::size_t y = 0; y < height; ++y) {
    const float* line = values.data() + y * static_cast<std::size_t>(width);
    for (std::size_t x = 0; x < columns.size(); ++x) {
      const float share = columns.share[x];
      lines[y * columns.size() + x] =
          line[columns.before[x] - first_column] * (1 - share) + line[columns.after[x] - first_column] * share;
    }
  }
  for (std::size_t y = 0; y < rows.size(); ++y) {
    const float* upper = lines.data() + static_cast<std::size_t>(rows.before[y] - first_row) * columns.size();
    const float* lower = lines.data() + static_cast<std::size_t>(rows.after[y] - first_row) * columns.size();
    for (std::size_t x = 0; x < columns.size(); ++x) {
      use(y, x, upper[x] * (1 - rows.share[y]) + lower[x] * rows.share[y]);
    }
  }
}

}  // namespace

void Axis::clear() {
  pixels.clear();
  before.clear();
  after.clear();
  share.clear();
}

void Axis::add(std::int64_t pixel, std::int64_t before_, std::int64_t after_, float share_) {
  pixels.push_back(pixel);
  before.push_back(before_);
  after.push_back(after_);
  share.push_back(share_);
}

bool decode_mask(const Prototypes& prototypes, const float* coefficients, const float* box, const Geometry& geometry,
                 std::uint8_t* mask, MaskScratch& scratch) {
  const Range across = pixels_between(box[0], box[2], geometry.input_size[1]);
  const Range down = pixels_between(box[1], box[3], geometry.input_size[0]);
  if (across.size() <= 0 || down.size() <= 0) return false;
  Axis& rows = scratch.rows;
  Axis& columns = scratch.columns;
  sample_prototypes(rows, down, prototypes.height, geometry.input_size[0]);
  sample_prototypes(columns, across, prototypes.width, geometry.input_size[1]);
  sum_prototypes(prototypes, coefficients, rows, columns, scratch.logits);

  // The mask in the tensor, with a border of zeros.
  const auto bordered = static_cast<std::size_t>(across.size() + 2);
  bool seen = false;
  scratch.inside.assign(bordered * static_cast<std::size_t>(down.size() + 2), 0.0F);
  interpolate(scratch.logits, columns.after.back() + 1 - columns.before.front(), rows, rows.before.front(), columns,
              columns.before.front(), scratch.lines, [&](std::size_t y, std::size_t x, float logit) {
                if (!(logit > 0)) return;
                scratch.inside[(y + 1) * bordered + x + 1] = 1.0F;
                seen = true;
              });

  sample_tensor(rows, down, geometry, 0);
  sample_tensor(columns, across, geometry, 1);
  interpolate(scratch.inside, across.size() + 2, rows, down.start - 1, columns, across.start - 1, scratch.lines,
              [&](std::size_t y, std::size_t x, float value) {
                if (value > 0.5F) mask[rows.pixels[y] * geometry.image_size[1] + columns.pixels[x]] = 1;
              });
  return seen;
}

}  // namespace deploykit
