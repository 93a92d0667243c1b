// Calls in steady state allocate nothing beyond what the engine's own calls do.
//
// Every malloc of the process is counted, and with it every operator new, ONNX Runtime's included; a
// prediction is compared with a loop that only runs the engine on the same tensor.

#include <atomic>
#include <cstdlib>
#include <deploykit/memory.hpp>

#include "ort/engine.hpp"
#include "golden_files.hpp"
#include "models.hpp"

namespace {

std::atomic<long> allocations{0};

}  // namespace

// glibc's own functions under their other names.
extern "C" {
void* __libc_malloc(std::size_t bytes);
void* __libc_calloc(std::size_t count, std::size_t bytes);
void* __libc_realloc(void* memory, std::size_t bytes);
void* __libc_memalign(std::size_t alignment, std::size_t bytes);

void* malloc(std::size_t bytes) {
  ++allocations;
  return __libc_malloc(bytes);
}

void* calloc(std::size_t count, std::size_t bytes) {
  ++allocations;
  return __libc_calloc(count, bytes);
}

void* realloc(void* memory, std::size_t bytes) {
  ++allocations;
  return __libc_realloc(memory, bytes);
}

void* aligned_alloc(std::size_t alignment, std::size_t bytes) {
  ++allocations;
  return __libc_memalign(alignment, bytes);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t bytes) {
  ++allocations;
  *memory = __libc_memalign(alignment, bytes);
  return *memory == nullptr ? 12 : 0;  // ENOMEM
}
}

namespace {

constexpr int kCalls = 100;

template <class Call>
long allocations_of(Call call) {
  for (int i = 0; i < 10; ++i) call();
  const long before = allocations;
  for (int i = 0; i < kCalls; ++i) call();
  return allocations - before;
}

// What running the engine alone takes: its inputs wrapped, its outputs described and released.
long engine_allocations(const std::string& path, const golden::Photo& photo) {
  const deploykit::Engine engine(path, deploykit::Options{}.with_threads(1));
  std::vector<std::vector<float>> memory;
  std::vector<std::vector<std::int64_t>> shapes;
  for (const auto& info : engine.inputs()) {
    std::vector<std::int64_t> shape = info.shape;
    for (std::size_t axis = 0; axis < shape.size(); ++axis) {
      if (shape[axis] < 0) shape[axis] = axis == 1 ? photo.height : photo.width;
    }
    std::size_t count = 1;
    for (const std::int64_t n : shape) count *= static_cast<std::size_t>(n);
    memory.emplace_back(count, 0.5F);
    shapes.push_back(shape);
  }
  deploykit::Outputs outputs(engine.outputs().size());
  std::vector<deploykit::ort::OwnedValue> values(memory.size());
  std::vector<const deploykit::ort::Value*> raw(memory.size());
  return allocations_of([&] {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const auto dtype = engine.inputs()[i].dtype;
      values[i] =
          engine.wrap(memory[i].data(), memory[i].size() * size_of(dtype), dtype, shapes[i].data(), shapes[i].size());
      raw[i] = values[i].get();
    }
    engine.run(raw.data(), outputs);
  });
}

}  // namespace

TEST(allocations_are_counted) {
  const long before = allocations;
  const auto* volatile number = new int(1);
  delete number;
  void* volatile memory = std::malloc(1);
  std::free(memory);
  CHECK(allocations - before >= 2);
}

TEST(predictions_allocate_nothing_of_their_own) {
  deploykit::limit_memory();  // holds while a model is loaded and in its first run, and costs nothing behind that
  const golden::Photo photo = golden::read_photo("cat_wide.rgb 100 150");
  for (const char* name :
       {"logits.onnx", "yolo.onnx", "yolov5_grid.onnx", "end2end.onnx", "segment.onnx", "pose.onnx", "obb.onnx",
        "half_nhwc.onnx", "top_k.onnx", "finished_detect.onnx", "finished_thresholds.onnx", "finished_masks.onnx"}) {
    const long engine = engine_allocations(model_path(name), photo);
    const deploykit::Model model(model_path(name), deploykit::Options{}.with_threads(1));
    deploykit::Result result;
    const long found = allocations_of([&] { model.predict({photo.pixels.data(), 100, 150}, result); });
    std::printf("     %s: %ld allocations of the engine, %ld of a prediction, per call\n", name, engine / kCalls,
                found / kCalls);
    CHECK_EQUAL(found, engine);
  }
}
