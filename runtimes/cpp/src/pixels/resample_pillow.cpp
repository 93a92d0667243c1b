// Pillow's resize of 8-bit images: two passes of a filter as wide as the shrinkage, weights of 22 bits,
// 8 bits between the passes. The order of the passes is that of Pillow 13; before, it was always the
// width first, which differs where an image shrinks much more in height.

#include <algorithm>
#include <cmath>
#include <string>

#include "deploykit/error.hpp"
#include "pixels/resample.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

constexpr int kBits = 22;
constexpr double kPi = 3.14159265358979323846;

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

// Keys' cubic convolution with a = -0.5.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

double sinc(double x) {
  if (x == 0.0) return 1.0;
  x *= kPi;
  return std::sin(x) / x;
}

double lanczos(double x) { return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

struct Filter {
  double (*weight)(double);
  double support;
};

Filter filter_of(Interpolation interpolation) {
  switch (interpolation) {
    case Interpolation::bilinear: return {triangle, 1.0};
    case Interpolation::bicubic: return {cubic, 2.0};
    case Interpolation::lanczos: return {lanczos, 3.0};
    case Interpolation::box: return {box, 0.5};
    case Interpolation::nearest:
    case Interpolation::area: break;
  }
  throw ModelError("The model asks for Pillow's " + quoted(to_string(interpolation)) +
                   " resize, which does not exist.");
}

// The weights of output positions start..stop of a resize from n to m.
void compute_taps(Taps& taps, std::int64_t n, std::int64_t m, std::int64_t start, std::int64_t stop,
                  Interpolation interpolation) {
  const std::array<std::int64_t, 5> key{n, m, start, stop, static_cast<std::int64_t>(interpolation)};
  if (taps.key == key) return;
  const Filter filter = filter_of(interpolation);
  const double scale = static_cast<double>(n) / static_cast<double>(m);
  const double stretch = std::max(scale, 1.0);
  const double support = filter.support * stretch;
  const double inverse = 1.0 / stretch;
  const auto positions = static_cast<std::size_t>(stop - start);
  taps.count = static_cast<std::size_t>(std::ceil(support)) * 2 + 1;
  taps.first.assign(positions, 0);
  taps.length.assign(positions, 0);
  taps.weights.assign(positions * taps.count, 0);
  taps.exact.assign(taps.count, 0.0);
  for (std::size_t i = 0; i < positions; ++i) {
    const double center = (static_cast<double>(start) + static_cast<double>(i) + 0.5) * scale;
    const auto low = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto high = std::min<std::int64_t>(static_cast<std::int64_t>(center + support + 0.5), n);
    double total = 0.0;
    const auto length = static_cast<std::size_t>(high - low);
    for (std::size_t k = 0; k < length; ++k) {
      const double x = static_cast<double>(low) + static_cast<double>(k) - center + 0.5;
      taps.exact[k] = filter.weight(x * inverse);
      total += taps.exact[k];
    }
    for (std::size_t k = 0; k < length; ++k) {
      const double weight = (total != 0.0 ? taps.exact[k] / total : taps.exact[k]) * (1 << kBits);
      taps.weights[i * taps.count + k] = static_cast<std::int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
    taps.first[i] = static_cast<std::int32_t>(low);
    taps.length[i] = static_cast<std::int32_t>(length);
  }
  taps.key = key;
}

bool columns_first(const Pixels& source, std::int64_t height, std::int64_t width) {
  return height < source.height && source.height - height > 2 * (source.width - width);
}

bool is_tight(const Pixels& source) {
  if (source.channels == 1) return source.pixel_bytes == 1;
  return source.pixel_bytes == 3 && source.rgb[0] == 0 && source.rgb[1] == 1;
}

std::int64_t channels_of(const Pixels& source) { return static_cast<std::int64_t>(source.channels); }

std::uint8_t clipped(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp<std::int32_t>(sum >> kBits, 0, 255));
}

// Filters `rows` source rows along their length. The source starts at column first_column of the whole.
void filter_rows_of_colours(const Pixels& source, std::int64_t first_row, std::int64_t rows, std::int64_t first_column,
                            const Taps& taps, std::uint8_t* out) {
  const auto [red, green, blue] = source.rgb;
  for (std::int64_t y = 0; y < rows; ++y) {
    const std::uint8_t* line = source.row(first_row + y);
    const std::int32_t* weights = taps.weights.data();
    for (std::size_t x = 0; x < taps.first.size(); ++x, weights += taps.count, out += 3) {
      const std::uint8_t* pixel = line + (taps.first[x] - first_column) * source.pixel_bytes;
      std::int32_t r = 1 << (kBits - 1);
      std::int32_t g = r;
      std::int32_t b = r;
      for (std::int32_t k = 0; k < taps.length[x]; ++k, pixel += source.pixel_bytes) {
        r += pixel[red] * weights[k];
        g += pixel[green] * weights[k];
        b += pixel[blue] * weights[k];
      }
      out[0] = clipped(r);
      out[1] = clipped(g);
      out[2] = clipped(b);
    }
  }
}

// The same for one channel.
void filter_rows_of_grey(const Pixels& source, std::int64_t first_row, std::int64_t rows, std::int64_t first_column,
                         const Taps& taps, std::uint8_t* out) {
  for (std::int64_t y = 0; y < rows; ++y) {
    const std::uint8_t* line = source.row(first_row + y);
    const std::int32_t* weights = taps.weights.data();
    for (std::size_t x = 0; x < taps.first.size(); ++x, weights += taps.count) {
      const std::uint8_t* pixel = line + (taps.first[x] - first_column) * source.pixel_bytes;
      std::int32_t sum = 1 << (kBits - 1);
      for (std::int32_t k = 0; k < taps.length[x]; ++k, pixel += source.pixel_bytes) sum += *pixel * weights[k];
      *out++ = clipped(sum);
    }
  }
}

void filter_rows(const Pixels& source, std::int64_t first_row, std::int64_t rows, std::int64_t first_column,
                 const Taps& taps, std::uint8_t* out) {
  const auto filter = source.channels == 1 ? filter_rows_of_grey : filter_rows_of_colours;
  filter(source, first_row, rows, first_column, taps, out);
}

// Filters tight rows down their columns. The source starts at row first_row of the whole.
void filter_columns(const Pixels& source, std::int64_t first_row, const Taps& taps, std::uint8_t* out,
                    std::vector<std::int32_t>& sums) {
  const auto values = static_cast<std::size_t>(source.width * channels_of(source));
  sums.resize(values);
  for (std::size_t y = 0; y < taps.first.size(); ++y, out += values) {
    std::fill(sums.begin(), sums.end(), 1 << (kBits - 1));
    for (std::int32_t k = 0; k < taps.length[y]; ++k) {
      const std::uint8_t* line = source.row(taps.first[y] + k - first_row);
      const std::int32_t weight = taps.weights[y * taps.count + static_cast<std::size_t>(k)];
      for (std::size_t i = 0; i < values; ++i) sums[i] += line[i] * weight;
    }
    for (std::size_t i = 0; i < values; ++i) out[i] = clipped(sums[i]);
  }
}

// The source positions that the taps reach.
struct Reach {
  std::int64_t start;
  std::int64_t stop;

  explicit Reach(const Taps& taps) : start(taps.first.front()), stop(taps.first.back() + taps.length.back()) {}
  std::int64_t size() const { return stop - start; }
};

// Tight pixels in memory of our own.
Pixels tight_pixels(std::vector<std::uint8_t>& memory, std::int64_t height, std::int64_t width, std::size_t channels) {
  memory.resize(channels * static_cast<std::size_t>(height * width));
  Pixels pixels;
  pixels.channels = channels;
  pixels.pixel_bytes = static_cast<std::ptrdiff_t>(channels);
  pixels.first = memory.data();
  pixels.height = height;
  pixels.width = width;
  pixels.row_bytes = pixels.pixel_bytes * width;
  return pixels;
}

// A part of the source as tight rows: in place where it is that already.
Pixels tight_part(const Pixels& source, const Window& part, std::vector<std::uint8_t>& memory) {
  if (is_tight(source)) {
    Pixels view = source;
    view.first = source.row(part.top) + part.left * source.pixel_bytes;
    view.height = part.height();
    view.width = part.width();
    return view;
  }
  const Pixels copy = tight_pixels(memory, part.height(), part.width(), source.channels);
  copy_pixels(source, part, memory.data());
  return copy;
}

// Pillow adds up steps instead of multiplying, and the rounding of that decides ties.
void nearest_positions(Taps& taps, std::int64_t n, std::int64_t m, std::int64_t start, std::int64_t stop) {
  const double step = static_cast<double>(n) / static_cast<double>(m);
  double position = step * 0.5;
  taps.key = {};
  taps.first.clear();
  for (std::int64_t i = 0; i < stop; ++i, position += step) {
    const auto at = std::min<std::int64_t>(static_cast<std::int64_t>(position), n - 1);
    if (i >= start) taps.first.push_back(static_cast<std::int32_t>(at));
  }
}

void resize_nearest(const Pixels& source, std::int64_t height, std::int64_t width, const Window& window,
                    std::uint8_t* out, ResampleScratch& scratch) {
  nearest_positions(scratch.down, source.height, height, window.top, window.bottom);
  nearest_positions(scratch.across, source.width, width, window.left, window.right);
  for (const std::int32_t y : scratch.down.first) {
    for (const std::int32_t x : scratch.across.first) {
      const std::uint8_t* pixel = source.row(y) + x * source.pixel_bytes;
      for (std::size_t c = 0; c < source.channels; ++c) *out++ = pixel[source.rgb[c]];
    }
  }
}

}  // namespace

void resize_pillow(const Pixels& source, std::int64_t height, std::int64_t width, Interpolation interpolation,
                   const Window& window, std::uint8_t* out, ResampleScratch& scratch) {
  if (interpolation == Interpolation::nearest) {
    resize_nearest(source, height, width, window, out, scratch);
    return;
  }
  Taps& across = scratch.across;
  Taps& down = scratch.down;
  compute_taps(across, source.width, width, window.left, window.right, interpolation);
  compute_taps(down, source.height, height, window.top, window.bottom, interpolation);
  const Reach rows(down);
  const Reach columns(across);
  if (height == source.height) {
    filter_rows(source, window.top, window.height(), 0, across, out);
  } else if (width == source.width) {
    const Pixels part = tight_part(source, {rows.start, window.left, rows.stop, window.right}, scratch.lines);
    filter_columns(part, rows.start, down, out, scratch.sums);
  } else if (columns_first(source, height, width)) {
    const Pixels part = tight_part(source, {rows.start, columns.start, rows.stop, columns.stop}, scratch.lines);
    const Pixels middle = tight_pixels(scratch.middle, window.height(), columns.size(), source.channels);
    filter_columns(part, rows.start, down, scratch.middle.data(), scratch.sums);
    filter_rows(middle, 0, window.height(), columns.start, across, out);
  } else {
    const Pixels middle = tight_pixels(scratch.middle, rows.size(), window.width(), source.channels);
    filter_rows(source, rows.start, rows.size(), 0, across, scratch.middle.data());
    filter_columns(middle, rows.start, down, out, scratch.sums);
  }
}

void copy_pixels(const Pixels& source, const Window& window, std::uint8_t* out) {
  const bool tight = is_tight(source);
  for (std::int64_t y = window.top; y < window.bottom; ++y) {
    const std::uint8_t* pixel = source.row(y) + window.left * source.pixel_bytes;
    if (tight) {
      out = std::copy_n(pixel, window.width() * source.pixel_bytes, out);
      continue;
    }
    for (std::int64_t x = window.left; x < window.right; ++x, pixel += source.pixel_bytes) {
      for (std::size_t c = 0; c < source.channels; ++c) *out++ = pixel[source.rgb[c]];
    }
  }
}

const char* to_string(Interpolation interpolation) {
  static const std::array<const char*, 6> names{"nearest", "bilinear", "bicubic", "lanczos", "box", "area"};
  return names.at(static_cast<std::size_t>(interpolation));
}

}  // namespace deploykit
