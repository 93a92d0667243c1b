// What infer() and predict() cost over a hand-written ONNX Runtime loop on the same session settings.
//
//   cmake -S benchmarks/cpp_overhead -B build/cpp_overhead && cmake --build build/cpp_overhead
//   build/cpp_overhead/cpp_overhead MODEL [CALLS]
//
// MODEL is exported with --preprocess --postprocess (raw pixels straight through), or plain. The hand-
// written loop runs a tensor that is ready, as infer() does: for a plain model, what predict() adds is the
// pre-processing and decoding that the loop does not do. The sides are called in turns, so that a busy
// neighbour hits all alike; the overhead is the median of the differences of neighbouring calls.

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

#include "deploykit/model.hpp"
#include "ort/api/library.hpp"

namespace {

namespace ort = deploykit::ort;

constexpr std::int64_t kHeight = 480;
constexpr std::int64_t kWidth = 640;

// As someone would write it against the C API: one session, names and a tensor made once, Run, a look at
// the first output, release.
class HandWritten {
 public:
  HandWritten(const std::string& path, const deploykit::Model& model, const std::vector<std::uint8_t>& pixels)
      : f_(ort::library().functions) {
    ort::SessionOptions* options = nullptr;
    ort::check(f_.CreateSessionOptions(&options));
    ort::check(f_.SetSessionLogSeverityLevel(options, 3));
    ort::check(f_.SetIntraOpNumThreads(options, 1));
    ort::check(f_.AddSessionConfigEntry(options, "session.intra_op.spin_duration_us", "100"));
    ort::Session* session = nullptr;
    ort::check(f_.CreateSession(ort::library().env, path.c_str(), options, &session));
    session_.reset(session);
    f_.ReleaseSessionOptions(options);
    const auto& input = model.inputs().at(0);
    name_ = input.name;
    for (const auto& output : model.outputs()) names_.push_back(output.name.c_str());
    outputs_.resize(names_.size());
    const bool raw = input.dtype == deploykit::DType::uint8;
    shape_ = raw ? std::vector<std::int64_t>{1, kHeight, kWidth, 3}
                 : std::vector<std::int64_t>{1, 3, model.spec().input.height, model.spec().input.width};
    std::size_t count = 1;
    for (const std::int64_t n : shape_) count *= static_cast<std::size_t>(n);
    floats_.assign(raw ? 0 : count, 0.25F);
    void* data = raw ? const_cast<std::uint8_t*>(pixels.data()) : static_cast<void*>(floats_.data());
    constexpr int kFloat = 1;
    constexpr int kUint8 = 2;
    ort::Value* value = nullptr;
    ort::check(f_.CreateTensorWithDataAsOrtValue(ort::library().cpu_memory, data, raw ? count : 4 * count,
                                                 shape_.data(), shape_.size(), raw ? kUint8 : kFloat, &value));
    input_.reset(value);
  }

  deploykit::Feed feed(const std::vector<std::uint8_t>& pixels) const {
    const bool raw = floats_.empty();
    const void* data = raw ? static_cast<const void*>(pixels.data()) : floats_.data();
    return {name_, raw ? deploykit::DType::uint8 : deploykit::DType::float32, shape_, data};
  }

  float operator()() {
    const char* name = name_.c_str();
    const ort::Value* input = input_.get();
    std::fill(outputs_.begin(), outputs_.end(), nullptr);
    ort::check(f_.Run(session_.get(), nullptr, &name, &input, 1, names_.data(), names_.size(), outputs_.data()));
    void* data = nullptr;
    ort::check(f_.GetTensorMutableData(outputs_[0], &data));
    const float first = *static_cast<float*>(data);
    for (ort::Value* output : outputs_) f_.ReleaseValue(output);
    return first;
  }

 private:
  const ort::Functions& f_;
  ort::OwnedSession session_;
  ort::OwnedValue input_;
  std::string name_;
  std::vector<const char*> names_;
  std::vector<ort::Value*> outputs_;
  std::vector<std::int64_t> shape_;
  std::vector<float> floats_;
};

template <class Call>
double milliseconds(Call call) {
  const auto started = std::chrono::steady_clock::now();
  call();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - started).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

using Sides = std::array<std::function<void()>, 3>;

// Times the sides in turns; the first one is the base. Which one begins changes: the next finds warmer caches.
void compare(const Sides& sides, int calls) {
  std::array<std::vector<double>, 3> times;
  for (int i = -20; i < calls; ++i) {
    for (std::size_t k = 0; k < sides.size(); ++k) {
      const std::size_t side = (k + static_cast<std::size_t>(i + 20)) % sides.size();
      const double time = milliseconds(sides[side]);
      if (i >= 0) times[side].push_back(time);
    }
  }
  const double base = median(times[0]);
  std::printf("hand-written %.3f ms (medians of %d calls)\n", base, calls);
  const char* const names[] = {"infer", "predict"};
  for (std::size_t side = 1; side < sides.size(); ++side) {
    std::vector<double> differences;
    for (std::size_t i = 0; i < times[0].size(); ++i) differences.push_back(times[side][i] - times[0][i]);
    const double over = median(differences);
    std::printf("%-12s %.3f ms, overhead %.1f us = %.2f %%\n", names[side - 1], median(times[side]), 1000 * over,
                100 * over / base);
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 2) return std::fprintf(stderr, "usage: %s MODEL [CALLS]\n", argv[0]), 2;
  const int calls = argc > 2 ? std::atoi(argv[2]) : 500;
  std::vector<std::uint8_t> pixels(static_cast<std::size_t>(3 * kHeight * kWidth));
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<std::uint8_t>(i * 7 % 251);
  try {
    const deploykit::Model model(argv[1], deploykit::Options{}.with_threads(1));
    const deploykit::ImageView image(pixels.data(), kHeight, kWidth);
    HandWritten hand_written(argv[1], model, pixels);
    const std::vector<deploykit::Feed> feeds{hand_written.feed(pixels)};
    deploykit::Result result;
    const Sides sides{[&] { hand_written(); }, [&] { model.infer(feeds); }, [&] { model.predict(image, result); }};
    compare(sides, calls);
  } catch (const deploykit::Error& error) {
    return std::fprintf(stderr, "error: %s\n", error.what()), static_cast<int>(error.code());
  }
  return 0;
}
