#include "text/json.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>

#include "deploykit/placement.hpp"
#include "text/escapes.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

// Before what ends or escapes in a text of JSON.
std::string with_backslashes(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out;
}

std::string json_escape(char32_t c) {
  static constexpr std::string_view special = "\b\f\n\r\t";
  static constexpr std::string_view letters = "bfnrt";
  const std::size_t place = c < 0x80 ? special.find(static_cast<char>(c)) : std::string_view::npos;
  if (place != std::string_view::npos) return {'\\', letters[place]};
  std::array<char, 16> text{};
  if (c < 0x10000) {
    std::snprintf(text.data(), text.size(), "\\u%04x", static_cast<unsigned>(c));
  } else {
    std::snprintf(text.data(), text.size(), "\\u%04x\\u%04x", static_cast<unsigned>(0xd7c0 + (c >> 10)),
                  static_cast<unsigned>(0xdc00 + (c & 0x3ff)));
  }
  return text.data();
}

void write_numbers(JsonWriter& json, const float* values, std::size_t count) {
  json.begin_array();
  for (std::size_t i = 0; i < count; ++i) json.value(values[i]);
  json.end_array();
}

// COCO's uncompressed run lengths: counts of 0s, 1s, 0s... down the columns.
void write_mask(JsonWriter& json, const std::uint8_t* mask, Size size) {
  json.begin_object();
  json.key("size");
  json.begin_array();
  json.value(size.height);
  json.value(size.width);
  json.end_array();
  json.key("counts");
  json.begin_array();
  std::uint8_t current = 0;
  std::int64_t run = 0;
  for (std::int64_t x = 0; x < size.width; ++x) {
    for (std::int64_t y = 0; y < size.height; ++y) {
      const std::uint8_t pixel = mask[y * size.width + x] != 0 ? 1 : 0;
      if (pixel != current) {
        json.value(run);
        run = 0;
        current = pixel;
      }
      ++run;
    }
  }
  json.value(run);
  json.end_array();
  json.end_object();
}

void write_keypoints(JsonWriter& json, const Result& result, std::size_t index) {
  json.key("keypoints");
  json.begin_array();
  const float* values = result.keypoints.data() + index * result.keypoint_count * result.keypoint_dims;
  for (std::size_t k = 0; k < result.keypoint_count; ++k, values += result.keypoint_dims) {
    write_numbers(json, values, result.keypoint_dims);
  }
  json.end_array();
}

void write_rotated(JsonWriter& json, const Result& result, std::size_t index) {
  const RotatedBox& box = result.rotated[index];
  json.key("rotated");
  const std::array<float, 5> values{box.x, box.y, box.width, box.height, box.angle};
  write_numbers(json, values.data(), values.size());
  json.key("corners");
  json.begin_array();
  for (const Point& point : result.corners[index]) {
    const std::array<float, 2> pair{point.x, point.y};
    write_numbers(json, pair.data(), pair.size());
  }
  json.end_array();
}

void write_detection(JsonWriter& json, const Result& result, std::size_t index) {
  const Detection& found = result.detections[index];
  json.begin_object();
  json.member("class_id", found.class_id);
  json.member("name", found.name);
  json.member("score", found.score);
  json.key("box");
  const std::array<float, 4> box{found.box.x1, found.box.y1, found.box.x2, found.box.y2};
  write_numbers(json, box.data(), box.size());
  if (result.task == Task::segment) {
    json.key("mask");
    write_mask(json, result.mask(index), result.image_size);
  }
  if (result.task == Task::pose) write_keypoints(json, result, index);
  if (result.task == Task::obb) write_rotated(json, result, index);
  json.end_object();
}

void write_map(JsonWriter& json, const FeatureMap& map) {
  json.begin_object();
  json.member("name", map.name);
  json.key("shape");
  json.begin_array();
  std::size_t count = 1;
  for (const std::int64_t n : map.shape) {
    json.value(n);
    count *= static_cast<std::size_t>(n);
  }
  json.end_array();
  const float* end = map.values + count;
  double total = 0;
  for (const float* value = map.values; value != end; ++value) total += static_cast<double>(*value);
  const double mean = total / static_cast<double>(count);
  double squares = 0;
  for (const float* value = map.values; value != end; ++value) {
    squares += (static_cast<double>(*value) - mean) * (static_cast<double>(*value) - mean);
  }
  const auto [low, high] = std::minmax_element(map.values, end);
  json.member("mean", mean);
  json.member("std", std::sqrt(squares / static_cast<double>(count)));
  json.member("min", count == 0 ? NAN : *low);
  json.member("max", count == 0 ? NAN : *high);
  json.end_object();
}

}  // namespace

void JsonWriter::key(std::string_view name) {
  before_value();
  quote(name);
  text_ += ": ";
  after_key_ = true;
}

void JsonWriter::value(std::string_view text) {
  before_value();
  quote(text);
}

void JsonWriter::value(bool truth) {
  before_value();
  text_ += truth ? "true" : "false";
}

void JsonWriter::value(std::int64_t number) {
  before_value();
  text_ += std::to_string(number);
}

void JsonWriter::value(double number) {
  before_value();
  text_ += std::isfinite(number) ? number_text(number) : "null";
}

void JsonWriter::raw(std::string_view written) {
  before_value();
  for (const char c : written) {
    text_ += c;
    if (c == '\n') text_.append(2 * depth_, ' ');
  }
}

void JsonWriter::open(char bracket) {
  before_value();
  text_ += bracket;
  ++depth_;
  first_ = true;
}

void JsonWriter::close(char bracket) {
  --depth_;
  if (!first_) new_line();
  text_ += bracket;
  first_ = false;
}

void JsonWriter::before_value() {
  if (!after_key_ && depth_ > 0) {
    if (!first_) text_ += ',';
    new_line();
  }
  after_key_ = false;
  first_ = false;
}

void JsonWriter::new_line() {
  text_ += '\n';
  text_.append(2 * depth_, ' ');
}

void JsonWriter::quote(std::string_view text) { text_ += '"' + escaped(with_backslashes(text), json_escape) + '"'; }

std::string json_ascii(std::string_view text) {
  std::string out = "\"";
  for (const char32_t c : decoded(with_backslashes(text))) {
    if (c >= 0x20 && c < 0x80) {
      out += static_cast<char>(c);
    } else {
      out += json_escape(c);
    }
  }
  return out + '"';
}

void write_members(JsonWriter& json, const Result& result) {
  json.member("task", to_string(result.task));
  json.key("image_size");
  json.begin_array();
  json.value(result.image_size.height);
  json.value(result.image_size.width);
  json.end_array();
  if (result.task == Task::classify) {
    json.key("top");
    json.begin_array();
    for (const ClassScore& entry : result.top) {
      json.begin_object();
      json.member("class_id", entry.class_id);
      json.member("name", entry.name);
      json.member("score", entry.score);
      json.end_object();
    }
  } else if (result.task == Task::features) {
    json.key("maps");
    json.begin_array();
    for (const FeatureMap& map : result.maps) write_map(json, map);
  } else {
    json.key("detections");
    json.begin_array();
    for (std::size_t i = 0; i < result.detections.size(); ++i) write_detection(json, result, i);
  }
  json.end_array();
}

void write_placement(JsonWriter& json, const Placement& placement) {
  json.begin_object();
  json.member("engine", placement.engine);
  json.member("version", placement.version);
  json.member("device", placement.device);
  json.key("providers");
  json.begin_object();
  for (const auto& [name, count] : placement.providers) json.member(name, count);
  json.end_object();
  json.member("precision", placement.precision);
  json.key("precisions");
  json.begin_object();
  json.end_object();
  json.key("rewrites");
  json.begin_array();
  for (const std::string& name : placement.rewrites) json.value(name);
  json.end_array();
  json.key("settings");
  json.begin_object();
  for (const auto& [name, value] : placement.settings) json.member(name, value);
  json.end_object();
  json.member("saturates", false);     // of other engines than ONNX Runtime
  json.member("joins_signed", false);  // of OpenVINO
  json.end_object();
}

std::string to_json(const Placement& placement) {
  JsonWriter json;
  write_placement(json, placement);
  return json.text();
}

std::string to_json(const Result& result) {
  JsonWriter json;
  json.begin_object();
  write_members(json, result);
  json.end_object();
  return json.text();
}

}  // namespace deploykit
