// The driver's answers, asked from a stand-in with the same functions.

#include "machine/nvidia.hpp"

#include "check.hpp"
#include "deploykit/error.hpp"
#include "machine/elf.hpp"

TEST(a_gpu_is_described) {
  const deploykit::Gpu gpu = deploykit::read_gpu(1);
  CHECK_EQUAL(gpu.name, "NVIDIA Test 11");
  CHECK_EQUAL(gpu.capability, "8.9");
  CHECK_EQUAL(gpu.driver, "13.1");
}

TEST(a_gpu_that_is_not_there) {
  try {
    deploykit::read_gpu(2);
    CHECK(false);
  } catch (const deploykit::RuntimeUnavailableError& error) {
    CHECK_EQUAL(error.problem(), "GPU 2 was asked for, the NVIDIA driver shows 2 (code 0).");
  }
}

TEST(versions_of_tensorrt) {
  CHECK_EQUAL(deploykit::tensorrt_version("libcuda.so.1"), "10.16.1");
  CHECK_EQUAL(deploykit::tensorrt_version("libnone.so"), "");
  CHECK_EQUAL(deploykit::tensorrt_version_text(8601), "8.6.1");
  CHECK_EQUAL(deploykit::tensorrt_version_text(110400), "11.4.0");
}

TEST(lines_that_install_libraries) {
  CHECK_EQUAL(deploykit::library_fix({"libnvinfer.so.10", "libnvonnxparser.so.10"}), "pip install 'tensorrt==10.*'");
  CHECK_EQUAL(deploykit::library_fix({"libnvinfer.so.10", "libcudart.so.13"}),
              "pip install 'onnxruntime-gpu[cuda,cudnn]'");
}

TEST(libraries_of_a_library) {
  const auto needed = deploykit::needed_libraries("/proc/self/exe");
  CHECK(std::find(needed.begin(), needed.end(), "libc.so.6") != needed.end());
  CHECK(deploykit::needed_libraries(check::golden() + "/cpp/yolo.onnx").empty());
  CHECK(deploykit::needed_libraries("missing").empty());
  CHECK(deploykit::missing_libraries("/proc/self", "exe").empty());
  CHECK_EQUAL(deploykit::find_in_wheels("/none/onnxruntime/capi", "libcudart.so.13"), "");
}
