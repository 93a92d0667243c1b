#include "suitability.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "text/text.hpp"

namespace deploykit {
namespace {

using Pair = std::pair<const char*, const char*>;

// How the names of ONNX Runtime's providers begin, and the engine that they are.
constexpr std::array<Pair, 3> kPlugins{{{"OpenVINO", "ov"}, {"NvTensorRTRTX", "trt"}, {"Tensorrt", "trt"}}};
// By the device of ONNX Runtime.
constexpr std::array<Pair, 3> kDevices{{{"cpu", "ort-cpu"}, {"cuda", "ort-cuda"}, {"tensorrt", "trt"}}};

std::string engine_of(const Placement& placement) {
  for (const auto& [start, name] : kPlugins) {
    for (const auto& [provider, nodes] : placement.providers) {
      if (provider.rfind(start, 0) == 0) return name;
    }
  }
  for (const auto& [device, name] : kDevices) {
    if (placement.engine == "onnxruntime" && placement.device == device) return name;
  }
  if (placement.engine == "tensorrt") return "trt";
  return placement.engine == "openvino" ? "ov" : placement.engine;
}

}  // namespace

std::string advice_of(const PrecisionRecord& record, const Placement& placement, const std::string& cpu) {
  const std::string engine = engine_of(placement);
  if (record.target != "any" && record.target != engine) {
    return "The " + record.compute + " file was made for " + record.target + " and runs on " + engine +
           ": its accuracy and speed were not measured there. Quantise the float32 file for " + engine + ".";
  }
  if (record.compute == "fp16" && engine == "ort-cpu" && placement.precision == "fp32") {
    return "The fp16 file is computed in float32 on ort-cpu, and is not faster than the float32 file. Run that one "
           "here, and this one on a GPU.";
  }
  const bool on_cpu = placement.device == "cpu" && (engine == "ort-cpu" || engine == "ov");
  const bool shown = std::find(record.cpus.begin(), record.cpus.end(), cpu) != record.cpus.end();
  if (on_cpu && !record.cpus.empty() && !shown) {
    return "The accuracy of the " + record.compute + " file was shown for CPUs of the class " +
           join(record.cpus, " and ") + ", and this one is of the class " + cpu +
           ". Compare with `deploykit eval` here.";
  }
  return {};
}

}  // namespace deploykit
