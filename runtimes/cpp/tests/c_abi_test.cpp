// The C ABI: ownership, null pointers, structs of older callers.

#include <deploykit/deploykit.h>

#include <cstring>

#include "golden_files.hpp"
#include "models.hpp"

namespace {

deploykit_model* open_model(const char* name) {
  deploykit_model* model = nullptr;
  deploykit_error* error = deploykit_model_open(model_path(name).c_str(), nullptr, &model);
  CHECK(error == nullptr);
  return model;
}

void refuses(deploykit_error* error, int code, const char* problem) {
  CHECK_EQUAL(deploykit_error_code(error), code);
  CHECK_EQUAL(std::string(deploykit_error_problem(error)), problem);
  deploykit_error_free(error);
}

}  // namespace

TEST(c_detections) {
  const golden::Photo photo = golden::read_photo("cat_wide.rgb 100 150");
  deploykit_model* model = open_model("segment.onnx");
  CHECK_EQUAL(deploykit_model_task(model), static_cast<int>(DEPLOYKIT_SEGMENT));
  CHECK_EQUAL(deploykit_model_class_count(model), 3);
  CHECK_EQUAL(std::string(deploykit_model_class_name(model, 2)), "bläu");
  CHECK(deploykit_model_class_name(model, 3) == nullptr);
  CHECK_EQUAL(std::string(deploykit_model_metadata(model, "deploykit.family")), "yolo");
  CHECK(deploykit_model_metadata(model, "none") == nullptr);
  CHECK(deploykit_model_nodes_on(model, "CUDAExecutionProvider") == 0);
  const std::string placement = deploykit_model_placement(model);
  CHECK(placement.find("\"engine\": \"onnxruntime\"") != std::string::npos);
  CHECK(placement.find("\"rewrites\": []") != std::string::npos);
  CHECK_EQUAL(std::string(deploykit_model_advice(model)), "");
  const deploykit_image image{sizeof image, photo.pixels.data(), 100, 150, 3, DEPLOYKIT_RGB, 0};
  const deploykit_image images[] = {image, image};
  deploykit_results* results = nullptr;
  CHECK(deploykit_predict(model, images, 2, nullptr, &results) == nullptr);
  CHECK_EQUAL(deploykit_result_count(results), 2U);
  CHECK_EQUAL(
      golden::difference(deploykit_result_json(results, 1), golden::read_text(model_path("segment.json")), 1e-4), "");
  deploykit_detection found{};
  CHECK(deploykit_detection_get(results, 1, 0, &found) == 1);
  CHECK(found.score > 0 && found.name != nullptr);
  CHECK(deploykit_detection_mask(results, 1, 0) != nullptr);
  CHECK(deploykit_detection_keypoints(results, 1, 0, nullptr, nullptr) == nullptr);
  CHECK(deploykit_detection_get(results, 2, 0, &found) == 0);
  CHECK(deploykit_detection_get(results, 0, 1000, &found) == 0);
  CHECK(deploykit_result_json(results, 2) == nullptr);
  CHECK_EQUAL(deploykit_class_score_count(results, 0), 0U);
  deploykit_results_free(results);
  deploykit_model_close(model);
}

TEST(c_options) {
  const golden::Photo photo = golden::read_photo("cat_wide.rgb 100 150");
  deploykit_model* model = open_model("logits.onnx");
  const deploykit_image image{sizeof image, photo.pixels.data(), 100, 150, 3, DEPLOYKIT_RGB, 0};
  deploykit_predict_options options = deploykit_predict_defaults();
  options.top_k = 1;
  deploykit_results* results = nullptr;
  // A caller of a version that had one member less.
  options.size = offsetof(deploykit_predict_options, batch);
  options.batch = 99;
  CHECK(deploykit_predict(model, &image, 1, &options, &results) == nullptr);
  CHECK_EQUAL(deploykit_class_score_count(results, 0), 1U);
  deploykit_class_score best{};
  CHECK(deploykit_class_score_get(results, 0, 0, &best) == 1);
  CHECK_EQUAL(best.class_id, 1);
  deploykit_results_free(results);
  options.size = 0;
  refuses(deploykit_predict(model, &image, 1, &options, &results), DEPLOYKIT_OPTION,
          "The first member of a struct is its size, found 0.");
  deploykit_model_close(model);
}

TEST(c_declared_outputs) {
  deploykit_options options{};
  options.size = sizeof options;
  options.outputs = "yolo";
  deploykit_model* model = nullptr;
  CHECK(deploykit_model_open(model_path("foreign_declared.onnx").c_str(), &options, &model) == nullptr);
  CHECK_EQUAL(deploykit_model_task(model), static_cast<int>(DEPLOYKIT_DETECT));
  deploykit_model_close(model);
  // A caller of a version without the member.
  options.size = offsetof(deploykit_options, outputs);
  options.outputs = "no reading";
  CHECK(deploykit_model_open(model_path("foreign_declared.onnx").c_str(), &options, &model) == nullptr);
  CHECK_EQUAL(deploykit_model_task(model), static_cast<int>(DEPLOYKIT_FEATURES));
  deploykit_model_close(model);
  options.size = sizeof options;
  options.outputs = "end2end";
  refuses(deploykit_model_open(model_path("foreign_declared.onnx").c_str(), &options, &model), DEPLOYKIT_OPTION,
          "--outputs end2end wants [N, K, 6], found output0 float32 [1, 7, 84] for an image of 64x64.");
}

TEST(c_errors) {
  model_path("");
  deploykit_model* model = nullptr;
  refuses(deploykit_model_open("missing.onnx", nullptr, &model), DEPLOYKIT_MODEL, "missing.onnx does not exist.");
  CHECK(model == nullptr);
  refuses(deploykit_model_open(nullptr, nullptr, &model), DEPLOYKIT_OPTION,
          "Wanted the path of a model, found a null pointer.");
  refuses(deploykit_predict(nullptr, nullptr, 0, nullptr, nullptr), DEPLOYKIT_OPTION,
          "Wanted a model, found a null pointer.");
  CHECK_EQUAL(deploykit_error_code(nullptr), 0);
  deploykit_error_free(nullptr);
  deploykit_results_free(nullptr);
  deploykit_tensors_free(nullptr);
  deploykit_model_close(nullptr);
}

TEST(c_tensors) {
  deploykit_model* model = open_model("logits.onnx");
  const std::vector<float> values(3 * 64 * 64);
  const std::int64_t shape[] = {1, 3, 64, 64};
  const deploykit_feed feed{sizeof feed, "images", DEPLOYKIT_FLOAT32, shape, 4, values.data()};
  deploykit_tensors* tensors = nullptr;
  CHECK(deploykit_infer(model, &feed, 1, &tensors) == nullptr);
  deploykit_tensor found{};
  CHECK_EQUAL(deploykit_tensor_count(tensors), 1U);
  CHECK(deploykit_tensor_get(tensors, 0, &found) == 1);
  CHECK_EQUAL(std::string(found.name), "logits");
  CHECK_EQUAL(static_cast<const float*>(found.data)[0], 0.5F);
  CHECK(deploykit_tensor_get(tensors, 1, &found) == 0);
  deploykit_tensors_free(tensors);
  deploykit_model_close(model);
}

TEST(c_self_test) {
  deploykit_model* model = open_model("logits.onnx");
  deploykit_report* report = nullptr;
  refuses(deploykit_self_test(model, &report), DEPLOYKIT_MODEL, "The model file carries no golden cases.");
  CHECK(report == nullptr);
  refuses(deploykit_self_test(model, nullptr), DEPLOYKIT_OPTION,
          "Wanted a place for the report, found a null pointer.");
  refuses(deploykit_self_test(nullptr, &report), DEPLOYKIT_OPTION, "Wanted a model, found a null pointer.");
  CHECK_EQUAL(deploykit_report_ok(nullptr), 0);
  CHECK_EQUAL(std::string(deploykit_report_problem(nullptr)), "");
  CHECK_EQUAL(std::string(deploykit_report_summary(nullptr)), "");
  CHECK_EQUAL(deploykit_report_case_count(nullptr), 0U);
  CHECK(deploykit_report_json(nullptr) == nullptr);
  deploykit_report_free(nullptr);
  deploykit_model_close(model);
}
