// Hostile files and calls: any bytes are read as a model file or refused; any tensors and images that are
// given to a model through the C ABI are answered or refused.
//
//   DEPLOYKIT_GOLDEN=tests/golden build/fuzz/fuzz_inputs

#include <deploykit/deploykit.h>

#include <cstdlib>
#include <stdexcept>

#include "deploykit/error.hpp"
#include "onnx/file.hpp"

namespace {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  int number(int low, int high) { return size_ == 0 ? low : (--size_, low + *data_++ % (high - low + 1)); }
  std::string_view rest() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

constexpr int kLongest = 24;
// Room for every shape that is tried, of the widest type.
alignas(8) const std::uint8_t kMemory[8 * 4 * kLongest * kLongest * 4] = {};

// Kept for the whole run; NULL where ONNX Runtime or the golden models are not there.
deploykit_model* open_model() {
  const char* golden = std::getenv("DEPLOYKIT_GOLDEN");
  if (golden == nullptr) return nullptr;
  deploykit_model* model = nullptr;
  deploykit_options options{};
  options.size = sizeof options;
  options.threads = 1;
  const std::string path = std::string(golden) + "/cpp/finished_thresholds.onnx";
  deploykit_error* error = deploykit_model_open(path.c_str(), &options, &model);
  if (error != nullptr) std::fprintf(stderr, "%s\n", deploykit_error_message(error));
  deploykit_error_free(error);
  return model;
}

void infer(deploykit_model* model, Bytes& bytes) {
  static const char* const names[] = {"images", "conf", "iou", "other", ""};
  deploykit_feed feeds[4] = {};
  std::int64_t shapes[4][5] = {};
  const int count = bytes.number(0, 4);
  for (int i = 0; i < count; ++i) {
    const int axes = bytes.number(0, 5);
    for (int axis = 0; axis < axes; ++axis) {
      // Few large axes, so that the memory is enough for what may be taken.
      shapes[i][axis] = axis == 1 || axis == 2 ? bytes.number(-2, kLongest) : bytes.number(-1, 4);
    }
    feeds[i] = {sizeof(deploykit_feed),
                names[bytes.number(0, 4)],
                bytes.number(-1, DEPLOYKIT_OTHER_TYPE),
                shapes[i],
                static_cast<std::size_t>(axes),
                bytes.number(0, 9) == 0 ? nullptr : kMemory};
  }
  deploykit_tensors* tensors = nullptr;
  deploykit_error_free(deploykit_infer(model, feeds, static_cast<std::size_t>(count), &tensors));
  deploykit_tensors_free(tensors);
}

void predict(deploykit_model* model, Bytes& bytes) {
  deploykit_image images[2] = {};
  const int count = bytes.number(0, 2);
  for (int i = 0; i < count; ++i) {
    images[i] = {sizeof(deploykit_image),      bytes.number(0, 9) == 0 ? nullptr : kMemory,
                 bytes.number(-1, kLongest),   bytes.number(-1, kLongest),
                 bytes.number(0, 5),           bytes.number(-1, 2),
                 bytes.number(0, 4 * kLongest)};
  }
  deploykit_predict_options options = deploykit_predict_defaults();
  options.conf = bytes.number(-2, 12) / 10.0;
  options.iou = bytes.number(-2, 12) / 10.0;
  options.max_det = bytes.number(-1, 5);
  options.batch = bytes.number(-1, 3);
  deploykit_results* results = nullptr;
  deploykit_error_free(deploykit_predict(model, images, static_cast<std::size_t>(count), &options, &results));
  for (std::size_t i = 0; i < deploykit_result_count(results); ++i) deploykit_result_json(results, i);
  deploykit_results_free(results);
}

void read_file(std::string_view bytes) {
  try {
    const deploykit::OnnxFile file = deploykit::parse_onnx(bytes);
    deploykit::spec_of(file.inputs, file.outputs, file.metadata);
  } catch (const std::invalid_argument&) {
    return;
  } catch (const deploykit::Error&) {
    return;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static deploykit_model* const model = open_model();
  Bytes bytes(data, size);
  const int what = bytes.number(0, 2);
  if (what == 0) read_file(bytes.rest());
  if (what == 1 && model != nullptr) infer(model, bytes);
  if (what == 2 && model != nullptr) predict(model, bytes);
  return 0;
}
