// OpenCV's resize of 8-bit images: not antialiased, weights of 11 bits.
//
// The arithmetic is that of modules/imgproc/src/resize.cpp of OpenCV 4 and 5, as the Python runtime
// reproduces it (deploykit_runtimes/pixels/resample.py): every cast to float and every shift matters.

#include <algorithm>
#include <cmath>
#include <string>

#include "deploykit/error.hpp"
#include "pixels/resample.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

constexpr float kOne = 2048;

enum Kind : std::int64_t { kLinear = 100, kCubic, kEnlargingArea };

double real(std::int64_t value) { return static_cast<double>(value); }

// Not n / m: OpenCV inverts the rounded inverse.
double scale_of(std::int64_t n, std::int64_t m) { return 1.0 / (real(m) / real(n)); }

// The pixel at or before an output position, and the weights of the pixels around it.
struct Sample {
  std::int64_t start = 0;
  std::array<float, 4> weights{};
};

Sample linear(std::int64_t i, std::int64_t n, std::int64_t m) {
  const auto position = static_cast<float>((real(i) + 0.5) * scale_of(n, m) - 0.5);
  const float start = std::floor(position);
  const float x = position - start;
  return {static_cast<std::int64_t>(start), {1 - x, x}};
}

Sample enlarging_area(std::int64_t i, std::int64_t n, std::int64_t m) {
  const auto start = static_cast<std::int64_t>(std::floor(real(i) * scale_of(n, m)));
  auto x = static_cast<float>(real(i + 1) - real(start + 1) * (real(m) / real(n)));
  x = x <= 0 ? 0.0F : x - std::floor(x);
  return {start, {1 - x, x}};
}

// Keys' cubic convolution with a = -0.75.
Sample cubic(std::int64_t i, std::int64_t n, std::int64_t m) {
  const Sample base = linear(i, n, m);
  const float x = base.weights[1];
  constexpr float a = -0.75F;
  const float far = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a;
  const float near = ((a + 2) * x - (a + 3)) * x * x + 1;
  const float after = ((a + 2) * (1 - x) - (a + 3)) * (1 - x) * (1 - x) + 1;
  return {base.start - 1, {far, near, after, 1 - far - near - after}};
}

// `first` holds a clipped source position per weight.
void compute_taps(Taps& taps, Kind kind, std::int64_t n, std::int64_t m, std::int64_t start, std::int64_t stop) {
  const std::array<std::int64_t, 5> key{n, m, start, stop, kind};
  if (taps.key == key) return;
  taps.count = kind == kCubic ? 4 : 2;
  taps.first.clear();
  taps.weights.clear();
  for (std::int64_t i = start; i < stop; ++i) {
    const Sample sample = kind == kCubic ? cubic(i, n, m) : kind == kLinear ? linear(i, n, m) : enlarging_area(i, n, m);
    for (std::size_t k = 0; k < taps.count; ++k) {
      const auto at = std::clamp<std::int64_t>(sample.start + static_cast<std::int64_t>(k), 0, n - 1);
      taps.first.push_back(static_cast<std::int32_t>(at));
      taps.weights.push_back(static_cast<std::int32_t>(std::nearbyint(sample.weights[k] * kOne)));
    }
  }
  taps.key = key;
}

// One source row, resized along its length, in exact integers.
template <std::size_t Channels>
void sum_columns(const Pixels& source, std::int64_t y, const Taps& across, std::int32_t* out) {
  const std::uint8_t* line = source.row(y);
  const std::size_t positions = across.first.size() / across.count;
  for (std::size_t x = 0; x < positions; ++x, out += Channels) {
    std::array<std::int32_t, Channels> total{};
    for (std::size_t k = x * across.count; k < (x + 1) * across.count; ++k) {
      const std::uint8_t* pixel = line + across.first[k] * source.pixel_bytes;
      for (std::size_t c = 0; c < Channels; ++c) total[c] += pixel[source.rgb[c]] * across.weights[k];
    }
    std::copy(total.begin(), total.end(), out);
  }
}

// OpenCV drops 4 bits before and 16 after the product, to stay within 32 bits.
void mix_linear(const std::array<const std::int32_t*, 4>& rows, const std::int32_t* weights, std::size_t count,
                std::uint8_t* out) {
  for (std::size_t i = 0; i < count; ++i) {
    const std::int32_t upper = ((rows[0][i] >> 4) * weights[0]) >> 16;
    const std::int32_t lower = ((rows[1][i] >> 4) * weights[1]) >> 16;
    out[i] = static_cast<std::uint8_t>((upper + lower + 2) >> 2);
  }
}

// OpenCV's vector code sums in float32, the last row first, and rounds half to even.
void mix_cubic(const std::array<const std::int32_t*, 4>& rows, const std::int32_t* weights, std::size_t count,
               std::uint8_t* out) {
  constexpr auto unit = static_cast<float>(1.0 / (2048.0 * 2048.0));
  for (std::size_t i = 0; i < count; ++i) {
    float total = static_cast<float>(rows[3][i]) * (static_cast<float>(weights[3]) * unit);
    for (std::size_t k = 3; k-- > 0;) {
      total += static_cast<float>(rows[k][i]) * (static_cast<float>(weights[k]) * unit);
    }
    out[i] = static_cast<std::uint8_t>(std::clamp(std::nearbyint(total), 0.0F, 255.0F));
  }
}

// Rows that neighbours share are summed once: a row keeps the slot of its number modulo `count`.
void resize_separable(const Pixels& source, std::int64_t height, std::int64_t width, Kind kind, const Window& window,
                      std::uint8_t* out, ResampleScratch& scratch) {
  Taps& across = scratch.across;
  Taps& down = scratch.down;
  compute_taps(across, kind, source.width, width, window.left, window.right);
  compute_taps(down, kind, source.height, height, window.top, window.bottom);
  const auto row_values = static_cast<std::size_t>(window.width()) * source.channels;
  const auto sum = source.channels == 1 ? sum_columns<1> : sum_columns<3>;
  scratch.sums.resize(row_values * down.count);
  std::array<std::int32_t, 4> kept{-1, -1, -1, -1};
  for (std::size_t y = 0; y < static_cast<std::size_t>(window.height()); ++y, out += row_values) {
    std::array<const std::int32_t*, 4> rows{};
    for (std::size_t k = 0; k < down.count; ++k) {
      const std::int32_t row = down.first[y * down.count + k];
      const std::size_t slot = static_cast<std::size_t>(row) % down.count;
      std::int32_t* sums = scratch.sums.data() + slot * row_values;
      if (kept[slot] != row) {
        sum(source, row, across, sums);
        kept[slot] = row;
      }
      rows[k] = sums;
    }
    const std::int32_t* weights = down.weights.data() + y * down.count;
    if (kind == kCubic) {
      mix_cubic(rows, weights, row_values, out);
    } else {
      mix_linear(rows, weights, row_values, out);
    }
  }
}

void resize_nearest(const Pixels& source, std::int64_t height, std::int64_t width, const Window& window,
                    std::uint8_t* out) {
  const auto position = [](std::int64_t i, std::int64_t n, std::int64_t m) {
    return static_cast<std::int64_t>(std::min(std::floor(real(i) * scale_of(n, m)), real(n - 1)));
  };
  for (std::int64_t y = window.top; y < window.bottom; ++y) {
    const std::uint8_t* line = source.row(position(y, source.height, height));
    for (std::int64_t x = window.left; x < window.right; ++x) {
      const std::uint8_t* pixel = line + position(x, source.width, width) * source.pixel_bytes;
      for (std::size_t c = 0; c < source.channels; ++c) *out++ = pixel[source.rgb[c]];
    }
  }
}

void halve(const Pixels& source, const Window& window, std::uint8_t* out) {
  for (std::int64_t y = window.top; y < window.bottom; ++y) {
    for (std::int64_t x = window.left; x < window.right; ++x) {
      const std::uint8_t* upper = source.row(2 * y) + 2 * x * source.pixel_bytes;
      const std::uint8_t* lower = source.row(2 * y + 1) + 2 * x * source.pixel_bytes;
      for (std::size_t c = 0; c < source.channels; ++c) {
        const std::ptrdiff_t channel = source.rgb[c];
        const int sum =
            upper[channel] + upper[channel + source.pixel_bytes] + lower[channel] + lower[channel + source.pixel_bytes];
        *out++ = static_cast<std::uint8_t>((sum + 2) >> 2);
      }
    }
  }
}

// The share of source pixel j in output pixel i of a shrinking area resize.
float coverage(std::int64_t i, std::int64_t j, double scale) {
  const double overlap = std::min(real(i + 1) * scale, real(j + 1)) - std::max(real(i) * scale, real(j));
  const double share = std::clamp(overlap, 0.0, 1.0);
  return share < 1e-3 ? 0.0F : static_cast<float>(share / scale);  // OpenCV ignores slivers
}

void resize_area(const Pixels& source, std::int64_t height, std::int64_t width, const Window& window, std::uint8_t* out,
                 std::vector<float>& line) {
  const double down = scale_of(source.height, height);
  const double across = scale_of(source.width, width);
  const auto first_of = [](std::int64_t i, double scale) { return static_cast<std::int64_t>(real(i) * scale); };
  const auto last_of = [](std::int64_t i, double scale, std::int64_t n) {
    return std::min(n, static_cast<std::int64_t>(std::ceil(real(i + 1) * scale)));
  };
  const std::size_t channels = source.channels;
  const auto values = static_cast<std::size_t>(window.width()) * channels;
  line.resize(values);
  for (std::int64_t y = window.top; y < window.bottom; ++y, out += values) {
    std::fill(line.begin(), line.end(), 0.0F);
    for (std::int64_t row = first_of(y, down); row < last_of(y, down, source.height); ++row) {
      const float share = coverage(y, row, down);
      float* target = line.data();
      for (std::int64_t x = window.left; x < window.right; ++x, target += channels) {
        std::array<float, 3> sum{};
        for (std::int64_t column = first_of(x, across); column < last_of(x, across, source.width); ++column) {
          const std::uint8_t* pixel = source.row(row) + column * source.pixel_bytes;
          const float part = coverage(x, column, across);
          for (std::size_t c = 0; c < channels; ++c) sum[c] += part * static_cast<float>(pixel[source.rgb[c]]);
        }
        for (std::size_t c = 0; c < channels; ++c) target[c] += share * sum[c];
      }
    }
    for (std::size_t i = 0; i < values; ++i) {
      out[i] = static_cast<std::uint8_t>(std::clamp(std::nearbyint(line[i]), 0.0F, 255.0F));
    }
  }
}

}  // namespace

void resize_opencv(const Pixels& source, std::int64_t height, std::int64_t width, Interpolation interpolation,
                   const Window& window, std::uint8_t* out, ResampleScratch& scratch) {
  switch (interpolation) {
    case Interpolation::nearest: return resize_nearest(source, height, width, window, out);
    case Interpolation::bilinear: return resize_separable(source, height, width, kLinear, window, out, scratch);
    case Interpolation::bicubic: return resize_separable(source, height, width, kCubic, window, out, scratch);
    case Interpolation::area:
      if (height > source.height || width > source.width) {
        return resize_separable(source, height, width, kEnlargingArea, window, out, scratch);
      }
      if (source.height == 2 * height && source.width == 2 * width) return halve(source, window, out);
      return resize_area(source, height, width, window, out, scratch.floats);
    case Interpolation::lanczos:
    case Interpolation::box: break;
  }
  throw ModelError("The model asks for OpenCV's " + quoted(to_string(interpolation)) + " resize, which does not exist.",
                   "OpenCV has nearest, bilinear, bicubic and area; lanczos and box are Pillow's.");
}

}  // namespace deploykit
