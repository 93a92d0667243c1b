#include "contract/inferred_spec.hpp"

#include <algorithm>

#include "deploykit/error.hpp"
#include "contract/inferred_processing.hpp"
#include "contract/reading_shapes.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

// Finished boxes of YOLOv10 by the releases of Ultralytics that do not write whether they are finished.
constexpr std::int64_t kRows = 300;

struct File {
  const std::vector<TensorInfo>& outputs;
  InputSpec image;
  Told told;
  Known known;
};

InputSpec image_input(const std::vector<TensorInfo>& inputs) {
  const bool takes_image = inputs.size() == 1 && inputs[0].shape.size() == 4 &&
                           (inputs[0].dtype == DType::float32 || inputs[0].dtype == DType::float16);
  if (!takes_image) {
    std::vector<std::string> found;
    for (const TensorInfo& info : inputs) found.push_back(to_string(info));
    throw ModelError("Wanted a model with one float image input [N, C, H, W], found " +
                         (found.empty() ? "no inputs" : join(found, "; ")) + ".",
                     "Export the checkpoint with deploykit, which describes the model inside the file.");
  }
  const TensorInfo& info = inputs[0];
  const auto own = [&](std::size_t axis, std::int64_t otherwise) {
    return info.shape[axis] >= 0 ? info.shape[axis] : otherwise;
  };
  InputSpec image;
  image.name = info.name;
  image.dtype = info.dtype_name;
  image.batch = own(0, 1);
  image.channels = own(1, 3);
  image.height = own(2, 224);
  image.width = own(3, 224);
  if (info.shape[0] < 0) image.dynamic["batch"] = {1, 1024, 1};
  if (info.shape[2] < 0) image.dynamic["height"] = {1, 8192, 1};
  if (info.shape[3] < 0) image.dynamic["width"] = {1, 8192, 1};
  return image;
}

// With what the metadata says about its axes, where the graph leaves them open.
void set_told(InputSpec& image, const Told& told) {
  if (told.size) {
    if (image.range("height") != nullptr) image.height = told.size->height;
    if (image.range("width") != nullptr) image.width = told.size->width;
  }
  if (told.most != 0 && image.range("batch") != nullptr) image.dynamic["batch"] = {1, told.most, 1};
}

bool is_odd(const Fit& one) { return one.match == Match::odd; }

std::vector<Fit> without_odd(std::vector<Fit> fits) {
  fits.erase(std::remove_if(fits.begin(), fits.end(), is_odd), fits.end());
  return fits;
}

// The readings that fit, features where there is no other.
std::vector<Fit> by_shape(const File& file) {
  const auto axes = [&](std::size_t i) { return file.outputs[i].shape.size(); };
  // Releases of YOLOv5 return raw maps of 5 axes beside the boxes.
  const bool raw_maps = std::all_of(file.outputs.begin() + 1, file.outputs.end(),
                                    [](const TensorInfo& info) { return info.shape.size() == 5; });
  const bool masks = file.outputs.size() > 1 && axes(0) == 3 && axes(1) == 4;
  const std::size_t kind = masks ? 4 : raw_maps ? axes(0) : 0;
  // A single output of 4 axes is a map.
  const std::vector<std::string>& names = maybe(kind);
  if (file.told.origin == "yolov5") {
    std::vector<std::string> usual;
    // What the repository of YOLOv5 writes, and YOLOv9's, which is forked from it.
    for (const char* name : {"yolov5", "yolo", "yolov5-segment", "yolo-segment", "logits"}) {
      if (std::find(names.begin(), names.end(), name) != names.end()) usual.emplace_back(name);
    }
    std::vector<Fit> fits = without_odd(fitting(usual, file.image, file.outputs, file.known));
    if (fits.size() == 1) return fits;
  }
  std::vector<Fit> fits = without_odd(fitting(names, file.image, file.outputs, file.known));
  const std::vector<Fit> features = without_odd(fitting({"features"}, file.image, file.outputs, file.known));
  // Tokens have the shape of poses in rows, and are the more usual ones.
  if (fits.size() == 1 && fits[0].reading == find_reading("end2end-pose")) fits.clear();
  const bool open = std::all_of(fits.begin(), fits.end(), [](const Fit& one) { return one.match == Match::open; });
  // Sizes that the file leaves open are those of maps and tokens as well.
  if (fits.empty() || (kind != 2 && open)) fits.insert(fits.end(), features.begin(), features.end());
  return fits;
}

// The readings of the task that Ultralytics' metadata names.
std::vector<Fit> by_metadata(const File& file) {
  const Told& told = file.told;
  if (told.shares) return {};
  const std::string task = to_string(*told.task);
  const std::string suffix = *told.task == Task::detect ? "" : "-" + task;
  std::vector<std::string> names{"end2end" + suffix, "yolo" + suffix};
  std::string says = "the task " + task;
  if (*told.task == Task::classify) {
    names = {"probabilities"};
  } else if (!told.finished.empty()) {
    names.erase(told.rows ? names.begin() + 1 : names.begin());
    says += " and " + told.finished;
  }
  std::vector<Fit> fits = fitting(names, file.image, file.outputs, file.known);
  if (fits.empty()) {
    std::vector<std::string> wanted;
    for (const std::string& name : names) wanted.emplace_back(find_reading(name)->shape);
    const std::string classes =
        file.known.classes != 0 ? " with " + std::to_string(file.known.classes) + " classes" : "";
    throw ModelError("The file's metadata says " + says + ": " + join(wanted, " or ") + classes + ", found " +
                         shapes_text(file.outputs) + ".",
                     "If the graph was changed after its export, say what its outputs mean with --outputs.");
  }
  if (fits.size() == 2 && fits[0].match == Match::open && file.outputs[0].shape[1] != kRows) fits.erase(fits.begin());
  const std::vector<Fit> usual = without_odd(fits);
  return usual.empty() ? fits : usual;
}

std::string size_text(const InputSpec& image) {
  const auto side = [&](const char* axis, std::int64_t own) {
    return image.range(axis) != nullptr ? std::string(axis) : std::to_string(own);
  };
  return side("height", image.height) + "x" + side("width", image.width);
}

void refuse_other_task(const OutputReading& reading, const Told& told) {
  if (!told.task || *told.task == reading.task || reading.task == Task::features) return;
  std::vector<std::string> names;
  for (const OutputReading& other : readings()) {
    if (other.task == *told.task) names.emplace_back(other.name);
  }
  const std::string task = to_string(*told.task);
  throw OptionError("--outputs " + std::string(reading.name) + " reads the task " + to_string(reading.task) +
                        ", and the file's metadata names the task " + task + ".",
                    "Say one of " + task + ": " + join(names, ", ") + ".");
}

// What the caller says, where the file does not rule it out.
Fit by_declaration(const Declared& declared, File& file) {
  const OutputReading& reading = *declared.reading;
  const std::string name = reading.name;
  if (declared.keypoints != 0) {
    file.known.keypoints = declared.keypoints;
    file.known.keypoint_dims = declared.keypoint_dims;
  }
  refuse_other_task(reading, file.told);
  if (file.told.shares && reading.task != Task::features) {
    throw OptionError(
        "--outputs " + name + " reads boxes in pixels, and those of RT-DETR are fractions of the image.",
        "--outputs features gives the rows as they are.");
  }
  if (reading.task == Task::pose && file.known.keypoints == 0) {
    throw OptionError("--outputs " + name + " wants the number of keypoints and of the values of each.",
                      "For instance: --outputs " + name + ":17x3");
  }
  const std::optional<Fit> found = fit(reading, file.image, file.outputs, file.known);
  if (reading.task == Task::features) return *found;
  std::vector<std::string> others;
  bool better = false;
  for (const Fit& one : by_shape(file)) {
    if (one.reading == &reading) continue;
    others.push_back(to_string(one));
    better = better || !is_odd(one);
  }
  if (found && !(is_odd(*found) && better)) return *found;
  const std::string classes =
      file.known.classes != 0 ? " with " + std::to_string(file.known.classes) + " classes, which the file names" : "";
  throw OptionError("--outputs " + name + " wants " + reading.shape + classes + ", found " +
                        shapes_text(file.outputs) + " for an image of " + size_text(file.image) + ".",
                    others.empty() ? "" : "What fits: " + join(others, ", ") + ".");
}

// A contract under which the tensors run, and no answer is read.
Spec unclear(const std::vector<Fit>& fits, const File& file) {
  Fit features;
  features.reading = find_reading("features");
  Spec spec = contract(features, file.image, file.outputs, Told{});
  spec.assumed.clear();
  spec.readings.emplace();
  for (const Fit& one : fits) spec.readings->push_back(to_string(one));
  return spec;
}

}  // namespace

Spec infer_spec(const std::vector<TensorInfo>& inputs, const std::vector<TensorInfo>& outputs,
                const std::map<std::string, std::string>& metadata, const std::string& declared,
                const std::map<std::string, std::string>& makers) {
  const Declared chosen = declared.empty() ? Declared{} : parse_outputs(declared);
  InputSpec image = image_input(inputs);
  if (outputs.empty()) throw ModelError("Wanted a model with outputs, found none.");
  Told told = read_exporter_metadata(metadata);
  set_told(image, told);
  const Known known{static_cast<std::int64_t>(told.classes.size()), told.keypoints, told.keypoint_dims,
                    inputs[0].shape[0] < 0 ? inputs[0].axes[0] : ""};
  File file{outputs, std::move(image), std::move(told), known};
  if (chosen.reading != nullptr) {
    const Fit found = by_declaration(chosen, file);
    return contract(found, file.image, outputs, file.told);
  }
  const std::vector<Fit> fits = file.told.task ? by_metadata(file) : by_shape(file);
  if (fits.size() != 1) return unclear(fits, file);
  Fit found = fits[0];
  std::string meaning;
  const Task task = found.reading->task;
  const auto maker = makers.find(outputs[0].name);
  const std::string kind = maker == makers.end() ? "" : maker->second;
  if (found.reading == find_reading("logits") && (kind == "Softmax" || kind == "Sigmoid")) {
    found.reading = find_reading("probabilities");
    meaning = outputs[0].name + " ends with " + kind + ": scores are probabilities";
  } else if (file.told.origin != "ultralytics" && task != Task::classify && task != Task::features) {
    meaning = shapes_text(outputs) + ": " + to_string(found) + ", the only reading that fits";
  }
  return contract(found, file.image, outputs, file.told, meaning);
}

}  // namespace deploykit
