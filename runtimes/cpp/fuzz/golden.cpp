// Hostile golden cases: any keys are read or refused; what is read becomes feeds, and is compared with outputs of any
// shape.

#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "deploykit/error.hpp"
#include "deploykit/spec.hpp"
#include "selftest/cases.hpp"
#include "selftest/compare.hpp"
#include "selftest/inputs.hpp"

namespace {

using namespace deploykit;

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::size_t number(std::size_t below) { return size_ == 0 ? 0 : (--size_, *data_++ % below); }
  std::string_view rest() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

// A picture of one pixel, a comparison of values and one of rows; "key=value" lines change it.
std::map<std::string, std::string> keys_of(std::string_view text) {
  std::map<std::string, std::string> keys{{"cases", "1"},
                                          {"pictures", "1"},
                                          {"picture.0", "1 1 3 AQID"},
                                          {"0.images", "picture 0 2 8 8 image 0"},
                                          {"0.outputs", "2"},
                                          {"0.0.kind", "values"},
                                          {"0.0.output", "boxes"},
                                          {"0.0.slice", "1 0 1"},
                                          {"0.0.log", "0"},
                                          {"0.0.samples", "AAAAAAAAgD8="},
                                          {"0.0.means", "AACAPw=="},
                                          {"0.0.best", "0 1"},
                                          {"0.0.margins", "AAAAAAAAgD8="},
                                          {"0.0.tolerance.fp32", "1e-5 1e-6"},
                                          {"0.1.kind", "rows"},
                                          {"0.1.columns", "4 0"},
                                          {"0.1.rows", "AAAAAAAAAAAAAAAAAACAPwAAgD8AAIA/AACAPw=="},
                                          {"0.1.cuts", "AAAAAAAAgD8="},
                                          {"0.1.tolerance.fp32", "1e-5 1e-6 1"}};
  std::map<std::string, std::string> found;
  for (const auto& [key, value] : keys) found["deploykit.golden." + key] = value;
  for (std::size_t start = 0; start < text.size();) {
    const std::size_t stop = std::min(text.find('\n', start), text.size());
    const std::string_view line = text.substr(start, stop - start);
    const std::size_t equals = line.find('=');
    if (equals != std::string_view::npos) {
      found["deploykit.golden." + std::string(line.substr(0, equals))] = line.substr(equals + 1);
    }
    start = stop + 1;
  }
  return found;
}

Spec spec_of(Bytes& bytes) {
  Spec spec;
  spec.task = bytes.number(2) == 0 ? Task::detect : Task::obb;
  spec.input.height = spec.input.width = 8;
  spec.input.channels = bytes.number(2) == 0 ? 3 : 1 + static_cast<std::int64_t>(bytes.number(6));
  spec.input.layout = bytes.number(2) == 0 ? Axes::nchw : Axes::nhwc;
  spec.input.dtype = std::array<const char*, 3>{"float32", "float16", "uint8"}[bytes.number(3)];
  for (const char* axis : {"height", "width"}) spec.input.dynamic[axis] = {1, 64, 1};
  spec.preprocess.included = bytes.number(4) == 0;
  spec.preprocess.color = spec.input.channels == 3 ? Color::rgb : Color::as_is;
  spec.preprocess.resize = bytes.number(2) == 0 ? Resize::letterbox : Resize::none;
  spec.preprocess.resize_to = {8, 8};
  spec.preprocess.mean = spec.preprocess.std = {1.0};
  spec.output.runtime_thresholds = bytes.number(2) == 0;
  spec.output.layout =
      std::array<Layout, 4>{Layout::logits, Layout::top_k, Layout::end2end, Layout::detections}[bytes.number(4)];
  spec.output.names = {"boxes"};
  return spec;
}

// Room for every shape that is tried.
constexpr std::size_t kSide = 9;
constexpr std::size_t kAxes = 4;
constexpr std::size_t kMost = kSide * kSide * kSide * kSide;

Tensor tensor_of(const char* name, Bytes& bytes, const void* memory) {
  Tensor tensor;
  tensor.name = name;
  tensor.dtype = static_cast<DType>(bytes.number(static_cast<std::size_t>(DType::other) + 1));
  tensor.data = memory;
  const std::size_t same = bytes.number(4);
  const std::size_t axes = same == 0 ? bytes.number(kAxes + 1) : 3;
  for (std::size_t i = 0; i < axes; ++i) {
    tensor.shape.push_back(same != 0 && i < 2 ? 2 : static_cast<std::int64_t>(bytes.number(kSide)));
  }
  if (std::string_view(name) != "boxes" && same > 1) tensor.shape.resize(2);
  if (std::string_view(name) == "count" && same > 1) tensor.shape.resize(1);
  return tensor;
}

void follow(const selftest::Case& golden, const Spec& spec, const std::vector<Tensor>& outputs) {
  if (golden.batch * golden.height * golden.width < 1 << 14) {
    selftest::CaseFeeds made;
    try {
      selftest::feeds_of(golden, spec, made);
    } catch (const Error&) {
      made.feeds.clear();  // refused
    }
  }
  for (const selftest::Kept& kept : golden.kept) {
    for (const auto& entry : selftest::tolerances_of(kept)) {
      const Difference found = selftest::difference(outputs, kept, spec, entry.first);
      if (std::isnan(found.found) || (found.ok && !(found.found <= found.allowed))) std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const Spec spec = spec_of(bytes);
  std::vector<double> memory(kMost);
  const std::array<double, 6> values{0, 1, -0.25, 1e300, std::numeric_limits<double>::quiet_NaN(), 0.5};
  const std::size_t kind = bytes.number(values.size() + 1);
  for (std::size_t i = 0; i < 64; ++i) memory[i] = kind == values.size() ? values[bytes.number(6)] : values[kind];
  std::vector<Tensor> outputs;
  for (const char* name : {"boxes", "scores", "classes", "count", "probabilities", "masks", "keypoints"}) {
    if (bytes.number(8) < 7) outputs.push_back(tensor_of(name, bytes, memory.data()));
  }
  try {
    for (const auto& golden : selftest::cases_from_keys(keys_of(bytes.rest()))) follow(golden, spec, outputs);
  } catch (const Error&) {
    return 0;  // refused: that is what should happen to most of it
  }
  return 0;
}
