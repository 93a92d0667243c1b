// Ultralytics' keys are Python literals in texts: task, names, imgsz, stride, batch, kpt_shape, head, end2end and
// args, the arguments of the export, with nms (ultralytics/engine/exporter.py). Older releases lack the last
// three. YOLOv5 writes stride and names alone (export.py), and what is forked from it does so too.

#include "contract/exporter_metadata.hpp"

#include <algorithm>
#include <array>

#include "deploykit/error.hpp"
#include "contract/limits.hpp"
#include "text/literal.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

using Metadata = std::map<std::string, std::string>;

constexpr double kLargest = 8192;     // no stride or batch is larger
constexpr double kEnd = 2147483648.0;  // 2^31

ModelError damaged(const Metadata& metadata, const std::string& key) {
  return ModelError("Metadata " + key + " cannot be read: " + quoted(metadata.at(key).substr(0, 80)) + ".",
                    "The file was altered: export it again.");
}

Task task_of(const std::string& name) {
  for (const Task task : {Task::detect, Task::segment, Task::pose, Task::obb, Task::classify}) {
    if (name == to_string(task)) return task;
  }
  throw ModelError("The metadata names the task " + quoted(name) + "; known are detect, segment, pose, obb, classify.");
}

std::optional<Literal> literal(const Metadata& metadata, const std::string& key) {
  const auto found = metadata.find(key);
  if (found == metadata.end()) return std::nullopt;
  if (static_cast<std::int64_t>(found->second.size()) > limits::kLiteral) {
    throw LimitError("Metadata " + key + " wants at most " + std::to_string(limits::kLiteral) + " bytes, found " +
                     std::to_string(found->second.size()) + ".");
  }
  return parse_literal(key, found->second);
}

bool is_true(const Literal* value) {
  return value != nullptr && value->is(Literal::Kind::boolean) && value->boolean;
}

std::int64_t whole(const Metadata& metadata, const std::string& key, std::int64_t otherwise) {
  const auto found = literal(metadata, key);
  if (!found) return otherwise;
  const bool usable = found->is(Literal::Kind::number) && found->number >= 1 && found->number <= kLargest;
  if (!usable) throw damaged(metadata, key);
  return static_cast<std::int64_t>(found->number);
}

// One number for a square, or several of which the first and the last count.
std::array<std::int64_t, 2> pair_of(const Metadata& metadata, const std::string& key,
                                    std::array<std::int64_t, 2> otherwise, double least) {
  const auto found = literal(metadata, key);
  if (!found) return otherwise;
  const std::vector<Literal> items =
      found->is(Literal::Kind::list) ? found->items : std::vector<Literal>{*found};
  const bool usable = !items.empty() && std::all_of(items.begin(), items.end(), [&](const Literal& item) {
    return item.is(Literal::Kind::number) && item.number >= least && item.number < kEnd;
  });
  if (!usable) throw damaged(metadata, key);
  return {static_cast<std::int64_t>(items.front().number), static_cast<std::int64_t>(items.back().number)};
}

// The number of a class; nothing where the key is not a number.
std::optional<std::int64_t> class_number(const Literal& key) {
  const bool digits = !key.text.empty() && key.text.find_first_not_of("0123456789") == std::string::npos;
  if (!digits || key.text.size() > 9 || !(key.is(Literal::Kind::number) || key.is(Literal::Kind::text))) {
    return std::nullopt;
  }
  return std::stoll(key.text);
}

// From a list, or a dict from 0 on.
std::vector<std::string> class_names(const Metadata& metadata) {
  const Literal names = *literal(metadata, "names");
  std::map<std::int64_t, std::optional<std::string>> numbered;
  if (!names.is(Literal::Kind::list) && !names.is(Literal::Kind::dict)) throw damaged(metadata, "names");
  for (std::size_t i = 0; i < names.items.size(); ++i) {
    const auto number = names.is(Literal::Kind::dict) ? class_number(names.keys[i])
                                                      : std::optional<std::int64_t>(static_cast<std::int64_t>(i));
    if (!number) throw damaged(metadata, "names");
    numbered[*number] = names.items[i].as_text();
  }
  std::vector<std::string> found;
  for (const auto& [number, name] : numbered) {
    if (!name || number != static_cast<std::int64_t>(found.size())) throw damaged(metadata, "names");
    found.push_back(*name);
  }
  return found;
}

}  // namespace

Told read_exporter_metadata(const Metadata& metadata) {
  Told told;
  if (metadata.count("names") == 0 || (metadata.count("task") == 0 && metadata.count("stride") == 0)) return told;
  told.stride = whole(metadata, "stride", told.stride);
  told.classes = class_names(metadata);
  if (metadata.count("task") == 0) {
    told.origin = "yolov5";
    return told;
  }
  told.origin = "ultralytics";
  told.task = task_of(metadata.at("task"));
  const auto arguments = literal(metadata, "args");
  const bool nms = arguments && is_true(arguments->find("nms"));
  const auto end2end = literal(metadata, "end2end");
  told.rows = nms || (end2end && is_true(&*end2end));
  if (end2end) told.finished = is_true(&*end2end) ? "end2end=True" : "end2end=False";
  if (nms) told.finished = "args nms=True";
  const auto [height, width] = pair_of(metadata, "imgsz", {640, 640}, 1);
  told.size = Size{height, width};
  const auto keypoints = pair_of(metadata, "kpt_shape", {0, 0}, 0);
  told.keypoints = keypoints[0];
  told.keypoint_dims = keypoints[1];
  told.most = nms ? whole(metadata, "batch", 1) : 0;
  const auto value = [&](const char* key) {
    const auto found = metadata.find(key);
    return found == metadata.end() ? std::string() : found->second;
  };
  told.shares = value("head") == "RTDETRDecoder" || value("description").find("rtdetr") != std::string::npos;
  return told;
}

}  // namespace deploykit
