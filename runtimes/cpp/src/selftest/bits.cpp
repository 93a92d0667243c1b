#include "selftest/bits.hpp"

#include <algorithm>

namespace deploykit::selftest {
namespace {

constexpr std::uint64_t kStep = 0x9E3779B97F4A7C15U;
constexpr std::int64_t kTurn = 7;  // columns by which every further round of channels is turned

// Of a new pixel: the old one before its centre, the next one, and how far behind the first it lies, of 256.
struct Place {
  std::int64_t before;
  std::int64_t after;
  std::int64_t share;
};

std::vector<Place> places(std::int64_t source, std::int64_t length) {
  std::vector<Place> found;
  found.reserve(static_cast<std::size_t>(length));
  for (std::int64_t i = 0; i < length; ++i) {
    const std::int64_t exact = (2 * i + 1) * source * 256 / (2 * length) - 128;
    const std::int64_t centre = std::clamp<std::int64_t>(exact, 0, (source - 1) * 256);
    const std::int64_t before = centre >> 8;
    found.push_back({before, std::min(before + 1, source - 1), centre & 255});
  }
  return found;
}

// Writes one channel of an image whose pixels are `step` bytes apart.
void scale(const Picture& picture, std::int64_t channel, const std::vector<Place>& rows,
           const std::vector<Place>& columns, std::uint8_t* out, std::int64_t step) {
  const std::int64_t band = channel % picture.channels;
  const std::int64_t turn = kTurn * (channel / picture.channels) % picture.width;
  const auto pixel = [&](std::int64_t y, std::int64_t x) -> std::int64_t {
    const std::int64_t turned = x < turn ? x - turn + picture.width : x - turn;
    return picture.pixels[static_cast<std::size_t>((y * picture.width + turned) * picture.channels + band)];
  };
  for (const Place& row : rows) {
    for (const Place& column : columns) {
      const auto across = [&](std::int64_t y) {
        return pixel(y, column.before) * (256 - column.share) + pixel(y, column.after) * column.share;
      };
      const std::int64_t sum = across(row.before) * (256 - row.share) + across(row.after) * row.share + 32768;
      *out = static_cast<std::uint8_t>(sum >> 16);
      out += step;
    }
  }
}

std::size_t count_of(const Shape4& shape) {
  return static_cast<std::size_t>(shape[0] * shape[1] * shape[2] * shape[3]);
}

}  // namespace

std::uint64_t random_number(std::uint64_t seed, std::uint64_t index) {
  std::uint64_t state = seed + (index + 1) * kStep;
  state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9U;
  state = (state ^ (state >> 27)) * 0x94D049BB133111EBU;
  return state ^ (state >> 31);
}

std::vector<std::uint8_t> noise(std::uint64_t seed, const Shape4& shape) {
  std::vector<std::uint8_t> pixels(count_of(shape));
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(random_number(seed, i) >> 56);
  return pixels;
}

std::vector<std::uint8_t> views(const Picture& picture, const Shape4& shape) {
  const auto [count, height, width, channels] = shape;
  const auto rows = places(picture.height, height);
  const auto columns = places(picture.width, width);
  std::vector<std::uint8_t> pixels(count_of(shape));
  for (std::int64_t channel = 0; channel < channels; ++channel) {
    scale(picture, channel, rows, columns, pixels.data() + channel, channels);
  }
  const std::uint8_t* first = pixels.data();
  std::uint8_t* out = pixels.data() + height * width * channels;
  for (std::int64_t image = 1; image < count; ++image) {
    for (std::int64_t y = 0; y < height; ++y) {
      const std::uint8_t* row = first + (image / 2 % 2 == 1 ? height - 1 - y : y) * width * channels;
      for (std::int64_t x = 0; x < width; ++x) {
        out = std::copy_n(row + (image % 2 == 1 ? width - 1 - x : x) * channels, channels, out);
      }
    }
  }
  return pixels;
}

void soften(std::vector<std::uint8_t>& pixels, std::int64_t halvings) {
  const int grey = 128 * ((1 << halvings) - 1);
  for (std::uint8_t& pixel : pixels) pixel = static_cast<std::uint8_t>((pixel + grey) >> halvings);
}

std::vector<std::int64_t> positions(std::int64_t size, std::int64_t count) {
  std::vector<std::int64_t> found(static_cast<std::size_t>(std::min(size, count)));
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto index = static_cast<std::int64_t>(i);
    if (size <= count) {
      found[i] = index;
      continue;
    }
    const std::int64_t start = index * size / count;
    const std::int64_t stop = (index + 1) * size / count;
    found[i] = start + static_cast<std::int64_t>(random_number(0, i) % static_cast<std::uint64_t>(stop - start));
  }
  return found;
}

}  // namespace deploykit::selftest
