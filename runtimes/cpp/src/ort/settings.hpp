// What is set on a session of ONNX Runtime, and why. Pure functions from options to settings.
//
// Keys: https://github.com/microsoft/onnxruntime/blob/main/include/onnxruntime/core/session/
// onnxruntime_session_options_config_keys.h; options of the providers:
// https://onnxruntime.ai/docs/execution-providers/.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "deploykit/model.hpp"

namespace deploykit {

using Settings = std::vector<std::pair<std::string, std::string>>;

// Throws OptionError.
void check_options(const Options& options);

// Threads inside one operator, by goal.
int threads_of(const Options& options);
// Configuration entries of the session.
Settings session_settings(const Options& options);
// Options of the CUDA execution provider.
Settings cuda_settings(const Options& options);
// Options of the TensorRT execution provider: one engine for the whole declared range, kept in a folder.
Settings tensorrt_settings(const InputSpec& image, const Options& options, const std::string& folder);
// The smallest, usual and largest shape of the image input: "images:1x3x224x224".
std::array<std::string, 3> profile_shapes(const InputSpec& image);

// What a model computes in, from the types of its weights: "fp32", "fp16+fp32".
std::string working_precision(const std::vector<std::pair<std::string, double>>& weights, const Options& options);

}  // namespace deploykit
