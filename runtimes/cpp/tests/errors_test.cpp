// What is asked for wrongly is refused with the class and the words of Python.

#include <cstdio>
#include <fstream>

#include "golden_files.hpp"
#include "models.hpp"

namespace {

using deploykit::ErrorCode;

const std::uint8_t kPixels[4 * 4 * 3] = {};

void refuses(ErrorCode code, const std::string& start, const std::function<void()>& action) {
  try {
    action();
    check::fail(__FILE__, __LINE__, "not refused: " + start);
  } catch (const deploykit::Error& error) {
    CHECK_EQUAL(static_cast<int>(error.code()), static_cast<int>(code));
    CHECK_EQUAL(error.problem().substr(0, start.size()), start);
  }
}

void predict(const char* model, const deploykit::PredictOptions& options) {
  deploykit::Model(model_path(model)).predict({kPixels, 4, 4}, options);
}

}  // namespace

TEST(models_that_cannot_be_opened) {
  model_path("");
  refuses(ErrorCode::model, "missing.onnx does not exist.", [] { deploykit::Model("missing.onnx"); });
  refuses(ErrorCode::model, "/ is a folder without a model for ort-cpu.", [] { deploykit::Model("/"); });
  refuses(ErrorCode::model,
          model_path("index.txt") + " is not a valid ONNX model: [ONNXRuntimeError] : 7 : INVALID_PROTOBUF",
          [] { deploykit::Model(model_path("index.txt")); });
  refuses(ErrorCode::option, "Device 'gpu' is not one of cpu, cuda, tensorrt.",
          [] { deploykit::Model(model_path("yolo.onnx"), deploykit::Options{}.with_device("gpu")); });
  refuses(ErrorCode::option, "--threads wants a whole number from 1 to 1024, found -1.",
          [] { deploykit::Model(model_path("yolo.onnx"), deploykit::Options{}.with_threads(-1)); });
  refuses(ErrorCode::option, "Wanted at least one worker, found 0.",
          [] { deploykit::Model(model_path("yolo.onnx"), deploykit::Options{}.with_workers(0)); });
}

TEST(a_truncated_model) {
  const std::string whole = golden::read_text(model_path("finished_masks.onnx"));
  const std::string path = "truncated.onnx";
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{10}, whole.size() / 2, whole.size() - 1}) {
    std::ofstream(path, std::ios::binary) << whole.substr(0, bytes);
    refuses(ErrorCode::model, path + " is not a valid ONNX model: ", [&] { deploykit::Model model(path); });
  }
  std::remove(path.c_str());
}

TEST(a_model_of_a_later_form_of_onnx) {
  std::string changed = golden::read_text(model_path("yolo.onnx"));
  CHECK_EQUAL(changed[0], '\x08');  // the tag of ir_version
  changed[1] = 99;
  const std::string path = "later.onnx";
  std::ofstream(path, std::ios::binary) << changed;
  refuses(ErrorCode::model, path + " is in a newer form of ONNX than ONNX Runtime ",
          [&] { deploykit::Model model(path); });
  std::remove(path.c_str());
}

TEST(a_device_that_is_not_there) {
  try {
    deploykit::Model(model_path("yolo.onnx"), deploykit::Options{}.with_device("cuda"));
  } catch (const deploykit::RuntimeUnavailableError& error) {
    CHECK_EQUAL(error.problem().substr(0, 38), "CUDAExecutionProvider was asked for, b");
    CHECK(!error.hint().empty());
  }
}

TEST(options_out_of_range) {
  deploykit::PredictOptions options;
  refuses(ErrorCode::option, "conf wants a number in 0..1, found 1.5.",
          [&] { predict("yolo.onnx", options.with_conf(1.5)); });
  refuses(ErrorCode::option, "max_det wants a whole number of at least 1, found 0.",
          [] { predict("yolo.onnx", deploykit::PredictOptions{}.with_max_det(0)); });
  refuses(ErrorCode::option, "batch wants at least 1, found 0.",
          [] { predict("yolo.onnx", deploykit::PredictOptions{}.with_batch(0)); });
  refuses(ErrorCode::option, "The model's batch is fixed to 1, found batch=2.",
          [] { predict("yolo.onnx", deploykit::PredictOptions{}.with_batch(2)); });
  refuses(ErrorCode::option,
          "imgsz wants H or H,W, whole numbers of pixels from 1 to 16384 (height, width), found (0, 5).",
          [] { predict("yolo.onnx", deploykit::PredictOptions{}.with_imgsz(0, 5)); });
  refuses(ErrorCode::option,
          "imgsz asks for 64x96, and the model's pre-processing is that of 64x64: Ultralytics crops images for a "
          "square size, and stretches them for others.",
          [] { predict("classify_free.onnx", deploykit::PredictOptions{}.with_imgsz(64, 96)); });
  predict("classify_free.onnx", deploykit::PredictOptions{}.with_imgsz(96, 96));
  refuses(ErrorCode::option, "imgsz cannot be followed: the model's pre-processing is inside its graph.",
          [] { predict("top_k.onnx", deploykit::PredictOptions{}.with_imgsz(64, 64)); });
  refuses(ErrorCode::option, "The model's post-processing is inside its graph, with top_k 3; found top_k=4.",
          [] { predict("top_k.onnx", deploykit::PredictOptions{}.with_top_k(4)); });
  refuses(ErrorCode::option, "The model's post-processing is inside its graph, with conf 0.25; found conf=0.1.",
          [] { predict("finished_detect.onnx", deploykit::PredictOptions{}.with_conf(0.1)); });
}

TEST(images_that_do_not_fit) {
  const deploykit::Model model(model_path("yolo.onnx"));
  refuses(ErrorCode::input, "Wanted an array of shape [H, W, 3] (or [H, W, 4], [H, W]), found [0, 4, 3].", [&] {
    model.predict({kPixels, 0, 4});
  });
  refuses(ErrorCode::option, "imgsz asks for a height of 128, the model's is fixed to 64.",
          [] { predict("yolo.onnx", deploykit::PredictOptions{}.with_imgsz(128, 128)); });
}

TEST(errors_by_their_classes) {
  model_path("");
  CHECK_THROWS(deploykit::Model("missing.onnx"), deploykit::ModelError);
  CHECK_THROWS(deploykit::Model("missing.onnx"), deploykit::Error);
  CHECK_THROWS(deploykit::Model("missing.onnx"), std::runtime_error);
  const deploykit::Model model(model_path("yolo.onnx"));
  auto future = deploykit::predict_async(model, {nullptr, 4, 4});
  CHECK_THROWS(future.get(), deploykit::InputError);
}
