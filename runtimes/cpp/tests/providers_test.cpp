// What reaches the CUDA and TensorRT providers, on a machine without a GPU: a stand-in for ONNX Runtime
// writes it down, and one for the driver describes two GPUs.

#include "ort/providers.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <filesystem>

#include "deploykit/error.hpp"
#include "ort/engine.hpp"
#include "golden_files.hpp"
#include "models.hpp"
#include "machine/sha256.hpp"

namespace {

namespace fs = std::filesystem;

const fs::path kCache = "providers_test_cache";

std::string record() {
  const char* path = std::getenv("DEPLOYKIT_ONNXRUNTIME");
  void* handle = path == nullptr ? nullptr : dlopen(path, RTLD_NOW | RTLD_NOLOAD);
  void* function = handle == nullptr ? nullptr : dlsym(handle, "stand_in_record");
  return function == nullptr ? "" : reinterpret_cast<const char* (*)()>(function)();
}

std::string line_of(const deploykit::Settings& settings) {
  std::string text;
  for (const auto& [key, value] : settings) text += (text.empty() ? "" : " ") + key + "=" + value;
  return text + "\n";
}

deploykit::Options options_for(const char* device) {
  return deploykit::Options{}.with_device(device).with_threads(1).with_gpu(1).with_cache(kCache.string());
}

void refuses(const deploykit::Options& options, const std::string& start) {
  try {
    deploykit::Engine engine(model_path("finished_detect.onnx"), options);
    check::fail(__FILE__, __LINE__, "not refused: " + start);
  } catch (const deploykit::RuntimeUnavailableError& error) {
    CHECK_EQUAL(error.problem().substr(0, start.size()), start);
  }
}

}  // namespace

TEST(cuda_is_given_its_options) {
  record();
  for (const char* precision : {"model", "auto"}) {
    const auto options = options_for("cuda").with_precision(precision);
    const deploykit::Engine engine(model_path("finished_detect.onnx"), options);
    CHECK_EQUAL(record(), line_of(deploykit::cuda_settings(options)));
    CHECK_EQUAL(engine.placement().device, "cuda");
    CHECK_EQUAL(engine.placement().precision, std::string(precision) == "auto" ? "tf32" : "fp32");
  }
}

TEST(tensorrt_is_given_profiles_and_a_folder) {
  fs::remove_all(kCache);
  const auto options = options_for("tensorrt");
  const std::string path = model_path("finished_detect.onnx");
  record();
  { const deploykit::Engine engine(path, options); }
  const std::string first = record();
  CHECK(first.find("trt_profile_min_shapes=images:1x1x1x3 trt_profile_opt_shapes=images:1x64x64x3 "
                   "trt_profile_max_shapes=images:1x4096x4096x3") != std::string::npos);
  // The engine was built in a draft that then got its name.
  CHECK(first.find("trt_engine_cache_path=" + kCache.string() + "/.") != std::string::npos);
  CHECK_EQUAL(std::distance(fs::directory_iterator(kCache), fs::directory_iterator()), 1);
  const std::string folder = fs::directory_iterator(kCache)->path().string();
  const std::string key = golden::read_text(folder + "/key.json");
  CHECK_EQUAL(kCache / deploykit::folder_name(key), fs::path(folder));
  CHECK(key.find("\"gpu\": \"NVIDIA Test 11\"") != std::string::npos);
  CHECK(key.find(deploykit::sha256_of_file(path)) != std::string::npos);
  // The next process finds it there.
  { const deploykit::Engine engine(path, options); }
  deploykit::InputSpec image;
  image.layout = deploykit::Axes::nhwc;
  image.height = image.width = 64;
  image.dynamic["height"] = image.dynamic["width"] = {1, 4096, 1};
  CHECK_EQUAL(record(), line_of(deploykit::tensorrt_settings(image, options, folder)) +
                            line_of(deploykit::cuda_settings(options)));
  fs::remove_all(kCache);
}

TEST(what_cannot_run_is_refused) {
  refuses(options_for("cuda").with_strict(), "--strict wants every node on CUDAExecutionProvider, found ");
  refuses(options_for("tensorrt").with_gpu(2), "GPU 2 was asked for, the NVIDIA driver shows 2 (code 0).");
}
