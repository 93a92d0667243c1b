#include "ort/settings.hpp"

#include <sched.h>

#include <algorithm>
#include <map>
#include <thread>

#include "deploykit/error.hpp"
#include "contract/readings.hpp"
#include "text/text.hpp"

namespace deploykit {
namespace {

// Cores that this process may run on, which can be fewer than the machine has.
int usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

std::string shape_of(const InputSpec& image, const std::array<std::int64_t, 3>& sizes) {
  const auto [batch, height, width] = sizes;
  return image.name + ":" +
         shape_text(image.layout == Axes::nchw ? std::vector<std::int64_t>{batch, image.channels, height, width}
                                               : std::vector<std::int64_t>{batch, height, width, image.channels});
}

bool computes_half_in_full(const Options& options) {
#if defined(__x86_64__) || defined(__i386__)
  // ONNX Runtime has no half-precision kernels for x86: it converts and computes in FP32.
  return options.device == "cpu";
#else
  return options.device == "none";
#endif
}

constexpr int kMostThreads = 1024;

}  // namespace

void check_options(const Options& options) {
  if (options.threads < 0 || options.threads > kMostThreads) {
    throw OptionError("--threads wants a whole number from 1 to " + std::to_string(kMostThreads) + ", found " +
                      std::to_string(options.threads) + ".");
  }
  if (options.goal != "latency" && options.goal != "throughput") {
    throw OptionError("--goal wants one of latency, throughput, found " + quoted(options.goal) + ".");
  }
  if (options.precision != "model" && options.precision != "auto") {
    throw OptionError("--precision wants one of model, auto, found " + quoted(options.precision) + ".");
  }
  if (options.gpu < 0) {
    throw OptionError("--gpu wants a whole number of at least 0, found " + std::to_string(options.gpu) + ".");
  }
  if (!options.outputs.empty()) parse_outputs(options.outputs);
}

int threads_of(const Options& options) {
  if (options.threads > 0) return options.threads;
  // For throughput the callers' own threads are the parallelism, and each runs its call alone.
  return options.goal == "latency" ? usable_cores() : 1;
}

Settings session_settings(const Options& options) {
  Settings settings{{"session.record_ep_graph_assignment_info", "1"}};
  if (options.goal == "latency") {
    // Spinning this long before sleeping is as fast as spinning for ever, at half the CPU use.
    settings.emplace_back("session.intra_op.spin_duration_us", "100");
  } else {
    settings.emplace_back("session.intra_op.allow_spinning", "0");
  }
  return settings;
}

Settings cuda_settings(const Options& options) {
  return {{"device_id", std::to_string(options.gpu)},
          // TF32 would break the proof's tolerance.
          {"use_tf32", options.precision == "auto" ? "1" : "0"},
          // The default, an exhaustive search, stalls at every new shape.
          {"cudnn_conv_algo_search", "HEURISTIC"},
          // Doubling the arena at each growth, the default, is how memory runs out with varying shapes.
          {"arena_extend_strategy", "kSameAsRequested"},
          {"enable_cuda_graph", options.cuda_graph ? "1" : "0"}};
}

// Without explicit profiles a new engine would be built, for minutes, whenever a shape is larger or smaller
// than all before.
Settings tensorrt_settings(const InputSpec& image, const Options& options, const std::string& folder) {
  const auto shapes = profile_shapes(image);
  return {{"device_id", std::to_string(options.gpu)},
          {"trt_profile_min_shapes", shapes[0]},
          {"trt_profile_opt_shapes", shapes[1]},
          {"trt_profile_max_shapes", shapes[2]},
          {"trt_engine_cache_enable", "1"},
          {"trt_engine_cache_path", folder},
          {"trt_timing_cache_enable", "1"},
          {"trt_timing_cache_path", folder},
          {"trt_cuda_graph_enable", options.cuda_graph ? "1" : "0"}};
}

std::array<std::string, 3> profile_shapes(const InputSpec& image) {
  const std::array<std::int64_t, 3> own{image.batch, image.height, image.width};
  std::array<std::int64_t, 3> low = own;
  std::array<std::int64_t, 3> high = own;
  constexpr std::array<const char*, 3> axes{"batch", "height", "width"};
  for (std::size_t i = 0; i < axes.size(); ++i) {
    const AxisRange* allowed = image.range(axes[i]);
    if (allowed == nullptr) continue;
    low[i] = allowed->min;
    high[i] = allowed->max;
  }
  return {shape_of(image, low), shape_of(image, own), shape_of(image, high)};
}

std::string working_precision(const std::vector<std::pair<std::string, double>>& weights, const Options& options) {
  static const std::map<std::string, std::string> names{
      {"float32", "fp32"}, {"float16", "fp16"}, {"bfloat16", "bf16"}, {"int8", "int8"}, {"uint8", "int8"}};
  // Weights of a type below this share are constants of the graph, not what it computes in.
  constexpr double share = 0.01;
  auto ranked = weights;
  ranked.erase(
      std::remove_if(ranked.begin(), ranked.end(), [](const auto& item) { return names.count(item.first) == 0; }),
      ranked.end());
  std::stable_sort(ranked.begin(), ranked.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  double total = 0;
  for (const auto& [type, count] : ranked) total += count;
  std::vector<std::string> found;
  for (const auto& [type, count] : ranked) {
    if (!(count >= share * total)) continue;
    std::string name = names.at(type);
    if (computes_half_in_full(options) && (name == "fp16" || name == "bf16")) name = "fp32";
    if (options.device == "cuda" && options.precision == "auto" && name == "fp32") name = "tf32";
    if (std::find(found.begin(), found.end(), name) == found.end()) found.push_back(name);
  }
  return found.empty() ? "fp32" : join(found, "+");
}

}  // namespace deploykit
