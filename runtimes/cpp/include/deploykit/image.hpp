// The caller's pixels. They are read in place and never copied where the model takes them as they are.
#pragma once

#include <cstdint>

#include "deploykit/spec.hpp"

namespace deploykit {

// uint8 pixels, row by row. For a model of colour images 3 channels, 4 (the last is ignored) or 1 (grey); for one of
// grey images 1, or 3 or 4, which become grey as the training code makes them; for any other as many as the model has.
struct ImageView {
  const std::uint8_t* pixels = nullptr;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 3;
  ColorOrder order = ColorOrder::rgb;  // bgr: OpenCV's cv::Mat
  std::int64_t row_bytes = 0;          // from one row to the next; 0: rows follow each other

  ImageView() = default;
  ImageView(const std::uint8_t* pixels_, std::int64_t height_, std::int64_t width_, std::int64_t channels_ = 3,
            ColorOrder order_ = ColorOrder::rgb, std::int64_t row_bytes_ = 0)
      : pixels(pixels_), height(height_), width(width_), channels(channels_), order(order_), row_bytes(row_bytes_) {}
};

}  // namespace deploykit
