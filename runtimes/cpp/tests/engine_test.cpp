// The engine behind the library: what the file says against what the session says, and calls through bound
// buffers, which are what a CUDA graph needs, against plain ones.

#include "ort/engine.hpp"

#include <thread>

#include "ort/api/bound_calls.hpp"
#include "golden_files.hpp"
#include "models.hpp"
#include "onnx/file.hpp"
#include "ort/api/session_info.hpp"

namespace {

namespace ort = deploykit::ort;

ort::OwnedSession open_session(const std::string& path) {
  const ort::Library& library = ort::library();
  ort::SessionOptions* options = nullptr;
  ort::check(library.functions.CreateSessionOptions(&options));
  const ort::OwnedSessionOptions owned(options);
  ort::check(library.functions.SetIntraOpNumThreads(options, 1));
  ort::Session* session = nullptr;
  ort::check(library.functions.CreateSession(library.env, path.c_str(), options, &session));
  return ort::OwnedSession(session);
}

const float* floats(const ort::OwnedValue& value) {
  void* data = nullptr;
  ort::check(ort::library().functions.GetTensorMutableData(value.get(), &data));
  return static_cast<const float*>(data);
}

}  // namespace

TEST(files_and_sessions_say_the_same) {
  for (const auto& block : golden::read_blocks(model_path("index.txt"))) {
    const std::string path = model_path(block.at("model"));
    const deploykit::Engine engine(path, deploykit::Options{}.with_threads(1));
    const deploykit::OnnxFile file = deploykit::read_onnx(path);
    CHECK(file.metadata == engine.metadata());
    CHECK_EQUAL(file.inputs.size(), engine.inputs().size());
    for (std::size_t i = 0; i < file.inputs.size(); ++i) {
      CHECK_EQUAL(to_string(file.inputs[i]), to_string(engine.inputs()[i]));
    }
    CHECK_EQUAL(file.outputs.size(), engine.outputs().size());
  }
}

TEST(bound_calls_are_plain_calls) {
  const golden::Photo wide = golden::read_photo("cat_wide.rgb 100 150");
  const golden::Photo tall = golden::read_photo("astronaut_tall.rgb 120 81");
  const std::string path = model_path("finished_detect.onnx");
  const deploykit::Engine engine(path, deploykit::Options{}.with_threads(1));
  const ort::OwnedSession session = open_session(path);
  std::vector<const char*> outputs;
  for (const auto& info : engine.outputs()) outputs.push_back(info.name.c_str());
  deploykit::BoundCalls calls(session.get(), {engine.inputs()[0].name.c_str()}, outputs, -1);
  const auto same = [&](const golden::Photo& photo, std::vector<ort::OwnedValue>& found) {
    const std::int64_t shape[] = {1, photo.height, photo.width, 3};
    const auto value = engine.wrap(photo.pixels.data(), photo.pixels.size(), deploykit::DType::uint8, shape, 4);
    const ort::Value* raw = value.get();
    deploykit::Outputs wanted(outputs.size());
    engine.run(&raw, wanted);
    calls.run(&raw, found);
    return std::equal(wanted[0].floats(), wanted[0].floats() + wanted[0].size(), floats(found[0]));
  };
  std::vector<ort::OwnedValue> first(outputs.size());
  CHECK(same(wide, first));
  const float before = floats(first[0])[0];
  // More shapes than are kept, from several threads that take turns.
  std::vector<std::thread> threads;
  for (int t = 0; t < 2; ++t) {
    threads.emplace_back([&, t] {
      std::vector<ort::OwnedValue> found(outputs.size());
      for (std::int64_t rows = 40; rows < 60; ++rows) {
        golden::Photo part = t == 0 ? wide : tall;
        part.height = rows;
        part.pixels.resize(static_cast<std::size_t>(3 * rows * part.width));
        if (!same(part, found)) check::fail(__FILE__, __LINE__, "bound and plain calls differ");
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_EQUAL(floats(first[0])[0], before);
}
