// Files of other exporters: what Python says of each, over the matrix that tests/golden/make_foreign.py makes.

#include "contract/inferred_spec.hpp"

#include "check.hpp"
#include "deploykit/error.hpp"
#include "golden_files.hpp"
#include "text/text.hpp"

namespace {

using deploykit::Spec;
using deploykit::split;
using deploykit::TensorInfo;

// "images float32 [batch, 3, 64, 64]"
TensorInfo tensor_of(const std::string& text) {
  TensorInfo info;
  const std::size_t first = text.find(' ');
  const std::size_t second = text.find(' ', first + 1);
  info.name = text.substr(0, first);
  info.dtype_name = text.substr(first + 1, second - first - 1);
  info.dtype = info.dtype_name == "float32" ? deploykit::DType::float32 : deploykit::DType::int64;
  const std::string shape = text.substr(second + 2, text.size() - second - 3);
  for (std::string axis : shape.empty() ? std::vector<std::string>{} : split(shape, ',')) {
    axis.erase(0, axis.find_first_not_of(' '));
    const bool number = axis.find_first_not_of("0123456789") == std::string::npos;
    info.shape.push_back(number ? std::stoll(axis) : -1);
    info.axes.push_back(number ? "" : axis);
  }
  return info;
}

std::vector<TensorInfo> tensors_of(const std::string& text) {
  std::vector<TensorInfo> found;
  for (std::string part : split(text, ';')) {
    part.erase(0, part.find_first_not_of(' '));
    found.push_back(tensor_of(part));
  }
  return found;
}

std::map<std::string, std::string> metadata_of(const std::string& text) {
  std::map<std::string, std::string> found;
  if (text.empty()) return found;
  for (const std::string& entry : split(text, '|')) {
    const std::size_t equals = entry.find('=');
    found[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  return found;
}

template <class T>
std::string spaced(const std::vector<T>& values) {
  std::string text;
  for (const auto& value : values) text += (text.empty() ? "" : " ") + std::to_string(value);
  return text;
}

std::string first_of(const std::vector<std::string>& texts, std::size_t count) {
  return deploykit::join({texts.begin(), texts.begin() + static_cast<std::ptrdiff_t>(std::min(count, texts.size()))},
                         " ");
}

const char* layout_name(deploykit::Layout layout) {
  static const char* const names[] = {"logits",  "probabilities", "features", "yolo",      "yolov5",
                                      "end2end", "end2end_flat",  "top_k",    "detections"};
  return names[static_cast<std::size_t>(layout)];
}

const char* activation_name(deploykit::Activation activation) {
  static const char* const names[] = {"softmax", "sigmoid", "none"};
  return names[static_cast<std::size_t>(activation)];
}

const char* resize_name(deploykit::Resize resize) {
  switch (resize) {
    case deploykit::Resize::stretch: return "stretch";
    case deploykit::Resize::short_edge: return "short";
    case deploykit::Resize::letterbox: return "letterbox";
    default: return "other";
  }
}

std::string summary(const Spec& spec) {
  const auto& output = spec.output;
  const auto& image = spec.input;
  const auto& how = spec.preprocess;
  std::vector<std::string> free;
  for (const char* axis : {"batch", "height", "width"}) {
    if (image.range(axis) != nullptr) free.push_back(std::string(axis) + " " + to_string(*image.range(axis)));
  }
  const auto number = [](auto value) { return std::to_string(value); };
  const std::string crop = how.crop ? number(how.crop->height) + " " + number(how.crop->width) : "";
  const std::vector<std::string> parts{
      std::string(to_string(spec.task)) + " " + spec.family + " " + spec.origin + " " + number(spec.num_classes) + " " +
          first_of(spec.classes, 2),
      std::string(layout_name(output.layout)) + " " + activation_name(output.activation) + " " +
          number(int{output.decoded}) + " " + number(int{output.nms}) + " " + first_of(output.names, 99),
      deploykit::short_number(output.iou) + " " + number(output.max_det) + " " + number(int{output.class_agnostic}) +
          " " + number(output.keypoints) + " " + number(output.keypoint_dims) + " " + number(output.mask_channels) +
          " " + spaced(output.strides),
      number(image.batch) + " " + number(image.channels) + " " + number(image.height) + " " + number(image.width) +
          " " + deploykit::join(free, ", "),
      std::string(resize_name(how.resize)) + " " + spaced(how.resize_to) + " " +
          (how.resampler == deploykit::Resampler::opencv ? "opencv" : "pillow") + " " +
          (how.color == deploykit::Color::bgr ? "bgr" : "rgb") + " " +
          (how.anchor == deploykit::Anchor::top_left ? "top_left" : "center") + " " + crop + " " +
          number(how.stride) + " " + number(how.pad_value) + " " + deploykit::short_number(how.scale) + " " +
          deploykit::short_number(how.pre_crop) + " " + deploykit::short_number(how.mean[0]),
      spec.readings ? deploykit::join(*spec.readings, " or ") : "known",
      deploykit::join(spec.assumed, " / ")};
  return deploykit::join(parts, " | ");
}

std::string verdict(const std::vector<std::string>& columns) {
  const std::string declared = columns.at(3) == "-" ? "" : columns.at(3);
  const auto error_text = [](const char* kind, const deploykit::Error& error) {
    return std::string(kind) + ": " + error.problem() + " / " + error.hint();
  };
  try {
    return summary(deploykit::infer_spec(tensors_of(columns.at(0)), tensors_of(columns.at(1)),
                                         metadata_of(columns.at(2)), declared));
  } catch (const deploykit::OptionError& error) {
    return error_text("OptionError", error);
  } catch (const deploykit::ModelError& error) {
    return error_text("ModelError", error);
  }
}

}  // namespace

TEST(every_file_is_read_as_python_reads_it) {
  std::size_t count = 0;
  const std::string text = golden::read_text(check::golden() + "/cpp/foreign.txt");
  for (const std::string& line : split(text, '\n')) {
    if (line.empty()) continue;
    const std::vector<std::string> columns = split(line, '\t');
    const std::string found = verdict(columns);
    if (found != columns.at(4)) {
      check::fail(__FILE__, __LINE__, line + "\n  found " + found);
    }
    ++count;
  }
  CHECK(count > 800);
}
