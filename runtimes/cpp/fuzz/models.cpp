// Hostile models: a graph that returns any tensors under any contract is answered or refused. All heads are read
// this way, the finished ones too, and every key of the contract is forged.
//
//   build/fuzz/fuzz_models (needs ONNX Runtime's library)

#include <sys/mman.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "deploykit/error.hpp"
#include "deploykit/memory.hpp"
#include "deploykit/model.hpp"

namespace {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), size_(size) {}

  std::size_t number(std::size_t below) { return size_ == 0 ? 0 : (--size_, *data_++ % below); }
  std::string_view rest() const { return {reinterpret_cast<const char*>(data_), size_}; }

 private:
  const std::uint8_t* data_;
  std::size_t size_;
};

std::string varint(std::uint64_t value) {
  std::string out;
  for (; value > 0x7F; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}

std::string number(std::uint64_t field, std::uint64_t value) { return varint(field << 3) + varint(value); }

std::string text(std::uint64_t field, std::string_view value) {
  return varint(field << 3 | 2) + varint(value.size()) + std::string(value);
}

std::string value_info(std::string_view name, std::uint64_t type, const std::vector<std::size_t>& shape) {
  std::string dims;
  for (const std::size_t n : shape) dims += text(1, number(1, n));
  return text(1, name) + text(2, text(1, number(1, type) + text(2, dims)));
}

struct Type {
  std::uint64_t onnx;
  std::size_t size;
};

constexpr std::array<Type, 5> kTypes{{{1, 4}, {1, 4}, {7, 8}, {2, 1}, {10, 2}}};
constexpr std::array<float, 12> kFloats{
    {0.0F, 0.5F, 0.9F, 1.0F, 2.0F, 7.5F, -1.0F, 3e38F, -3e38F, 1e-40F, 1e9F, 0.26F}};

std::string values(Bytes& bytes, const Type& type, std::size_t count) {
  std::string raw(count * type.size, '\0');
  for (std::size_t i = 0; i < count; ++i) {
    char* at = raw.data() + i * type.size;
    const std::size_t choice = bytes.number(16);
    if (type.onnx == 1) {
      const std::uint32_t special = choice == 12 ? 0x7fc00000U : choice == 13 ? 0x7f800000U : 0xff800000U;
      if (choice < kFloats.size()) {
        std::memcpy(at, &kFloats[choice], 4);
      } else {
        std::memcpy(at, &special, 4);
      }
    } else if (type.onnx == 7) {
      const std::int64_t whole = choice < 12 ? static_cast<std::int64_t>(choice) - 2
                                             : (choice % 2 == 0 ? INT64_MAX : INT64_MIN);
      std::memcpy(at, &whole, 8);
    } else {
      for (std::size_t k = 0; k < type.size; ++k) at[k] = static_cast<char>(bytes.number(256));
    }
  }
  return raw;
}

constexpr std::array<const char*, 6> kTasks{"classify", "detect", "segment", "pose", "obb", "features"};
constexpr std::array<const char*, 9> kLayouts{"logits",  "probabilities", "features", "yolo",      "yolov5",
                                              "end2end", "end2end_flat",  "top_k",    "detections"};
constexpr std::array<const char*, 10> kFinished{"boxes",     "scores",  "classes",       "count",
                                                "masks",     "keypoints", "rotated_boxes", "mask_coefficients",
                                                "prototypes", "probabilities"};
constexpr std::array<const char*, 5> kHeads{"output0", "output1", "output2", "probabilities", "classes"};

// "key=value" lines change the contract.
std::string metadata(Bytes& bytes, std::string_view task, std::string_view layout, const std::string& names) {
  std::string out;
  const auto entry = [&](const std::string& key, std::string_view value) {
    out += text(14, text(1, "deploykit." + key) + text(2, value));
  };
  entry("format", "1");
  entry("task", task);
  for (const char* key : {"family", "variant", "origin"}) entry(key, "x");
  entry("input.height", "8");
  entry("input.width", "8");
  entry("preprocess.resize", "letterbox");
  entry("preprocess.resize_to", "8 8");
  entry("preprocess.resampler", bytes.number(2) == 0 ? "opencv" : "pillow");
  entry("output.names", names);
  entry("output.layout", layout);
  entry("num_classes", std::to_string(bytes.number(4)));
  entry("output.mask_channels", std::to_string(bytes.number(4)));
  entry("output.keypoints", std::to_string(bytes.number(4)) + " " + std::to_string(bytes.number(4)));
  entry("output.conf", bytes.number(2) == 0 ? "0.25" : "0");
  std::string_view lines = bytes.rest();
  for (std::size_t start = 0; start < lines.size();) {
    const std::size_t stop = std::min(lines.find('\n', start), lines.size());
    const std::string_view line = lines.substr(start, stop - start);
    const std::size_t equals = line.find('=');
    if (equals != std::string_view::npos) entry(std::string(line.substr(0, equals)), line.substr(equals + 1));
    start = stop + 1;
  }
  return out;
}

std::string model(Bytes& bytes) {
  const char* task = kTasks[bytes.number(kTasks.size())];
  const std::size_t layout = bytes.number(kLayouts.size());
  const bool finished = layout == kLayouts.size() - 1;
  std::string graph;
  std::string names;
  std::string outside = text(11, value_info("images", 1, {1, 3, 8, 8}));
  for (std::size_t count = 1 + bytes.number(6), i = 0; i < count; ++i) {
    const char* name = finished ? kFinished[bytes.number(kFinished.size())] : kHeads[i % kHeads.size()];
    if ((" " + names + " ").find(" " + std::string(name) + " ") != std::string::npos) continue;
    const Type& type = kTypes[bytes.number(kTypes.size())];
    std::vector<std::size_t> shape;
    std::size_t values_count = 1;
    for (std::size_t axes = bytes.number(5); axes > 0; --axes) {
      shape.push_back(bytes.number(4) == 0 ? bytes.number(12) : 1 + shape.size() * bytes.number(4));
      values_count *= shape.back();
    }
    std::string tensor;
    for (const std::size_t n : shape) tensor += number(1, n);
    tensor += number(2, type.onnx) + text(8, std::string(name) + "_stored") + text(9, values(bytes, type, values_count));
    graph += text(5, tensor) + text(1, text(1, std::string(name) + "_stored") + text(2, name) + text(4, "Identity"));
    outside += text(12, value_info(name, type.onnx, shape));
    names += (names.empty() ? "" : " ") + std::string(name);
  }
  const std::string keys = metadata(bytes, task, kLayouts[layout], names);
  return number(1, 8) + text(8, number(2, 17)) + text(7, graph + text(2, "g") + outside) + keys;
}

// A file in memory, with a path.
class File {
 public:
  explicit File(const std::string& content) : descriptor_(memfd_create("model", 0)) {
    if (descriptor_ < 0 || write(descriptor_, content.data(), content.size()) < 0) std::abort();
  }
  File(const File&) = delete;
  File& operator=(const File&) = delete;
  ~File() { close(descriptor_); }

  std::string path() const { return "/proc/self/fd/" + std::to_string(descriptor_); }

 private:
  int descriptor_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Bytes bytes(data, size);
  const File file(model(bytes));
  static const std::uint8_t pixels[9 * 13 * 3] = {};
  deploykit::limit_memory();  // as deploykit-run has it
  try {
    const deploykit::Model opened(file.path(), deploykit::Options{}.with_threads(1));
    for (const deploykit::ImageView& image : {deploykit::ImageView(pixels, 9, 13), deploykit::ImageView(pixels, 1, 39)}) {
      to_json(opened.predict(image));
    }
  } catch (const deploykit::DependencyError&) {
    std::abort();  // without ONNX Runtime nothing would be tried
  } catch (const deploykit::Error&) {
    return 0;
  }
  return 0;
}
