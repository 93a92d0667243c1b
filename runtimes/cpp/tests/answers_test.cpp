// Every output layout: the documents that Python printed for the same models and photos.

#include "golden_files.hpp"
#include "models.hpp"

namespace {

constexpr double kTolerance = 1e-4;  // of pixels; scores are compared tighter below

deploykit::Options options_of(const golden::Block& block) {
  const auto declared = block.find("outputs");
  return deploykit::Options{}.with_threads(1).with_outputs(declared == block.end() ? "" : declared->second);
}

}  // namespace

TEST(documents_are_pythons) {
  const auto blocks = golden::read_blocks(model_path("index.txt"));
  CHECK(blocks.size() > 15);
  for (const auto& block : blocks) {
    const golden::Photo photo = golden::read_photo(block.at("image"));
    const deploykit::Model model(model_path(block.at("model")), options_of(block));
    const deploykit::Result result = model.predict({photo.pixels.data(), photo.height, photo.width});
    const std::string wanted = golden::read_text(model_path(block.at("answer")));
    const std::string found = golden::difference(to_json(result), wanted, kTolerance);
    if (!found.empty()) check::fail(__FILE__, __LINE__, block.at("model") + ": " + found);
  }
}

TEST(one_result_is_filled_again_and_again) {
  deploykit::Result result;
  for (const auto& block : golden::read_blocks(model_path("index.txt"))) {
    const golden::Photo photo = golden::read_photo(block.at("image"));
    const deploykit::Model model(model_path(block.at("model")), options_of(block));
    model.predict({photo.pixels.data(), photo.height, photo.width}, result);
    const std::string wanted = golden::read_text(model_path(block.at("answer")));
    CHECK_EQUAL(golden::difference(to_json(result), wanted, kTolerance), "");
  }
}

TEST(outputs_of_other_exporters_are_refused_in_pythons_words) {
  const auto blocks = golden::read_blocks(model_path("foreign_errors.txt"));
  CHECK(blocks.size() > 5);
  for (const auto& block : blocks) {
    const golden::Photo photo = golden::read_photo(block.at("image"));
    try {
      const deploykit::Model model(model_path(block.at("model")), options_of(block));
      model.predict({photo.pixels.data(), photo.height, photo.width});
      check::fail(__FILE__, __LINE__, block.at("model") + " is answered");
    } catch (const deploykit::Error& error) {
      CHECK_EQUAL(error.problem(), block.at("problem"));
      CHECK_EQUAL(error.hint(), block.at("hint"));
    }
  }
}

TEST(tensors_run_whatever_they_mean) {
  const deploykit::Model model(model_path("foreign_unclear.onnx"));
  CHECK_EQUAL(model.spec().readings->size(), 4U);
  const std::vector<float> pixels(3 * 64 * 64, 0.5F);
  const auto outputs = model.infer({{"images", deploykit::DType::float32, {1, 3, 64, 64}, pixels.data()}});
  CHECK_EQUAL(outputs.at(0).shape.at(1), 7);
}

TEST(results_outlive_the_model) {
  const golden::Photo photo = golden::read_photo("cat_wide.rgb 100 150");
  deploykit::Result result;
  std::string wanted;
  {
    deploykit::Model model(model_path("features.onnx"));
    deploykit::Model moved = std::move(model);
    result = moved.predict({photo.pixels.data(), photo.height, photo.width});
    wanted = to_json(result);
    moved.predict({photo.pixels.data(), photo.height, photo.width});
  }
  CHECK_EQUAL(to_json(result), wanted);
}

TEST(raw_pixels_in_any_form) {
  const golden::Photo photo = golden::read_photo("cat_wide.rgb 100 150");
  const deploykit::Model model(model_path("finished_detect.onnx"));
  const std::string wanted = to_json(model.predict({photo.pixels.data(), 100, 150}));
  std::vector<std::uint8_t> reversed(photo.pixels.rbegin(), photo.pixels.rend());
  // Rows from the bottom up, pixels from the right, blue first: the first row is the last in memory.
  const deploykit::ImageView view(reversed.data(), 100, 150, 3, deploykit::ColorOrder::bgr);
  CHECK_EQUAL(to_json(model.predict(view)), wanted);
}

TEST(batches_keep_the_order) {
  const golden::Photo wide = golden::read_photo("cat_wide.rgb 100 150");
  const golden::Photo tall = golden::read_photo("astronaut_tall.rgb 120 81");
  const deploykit::Model model(model_path("finished_detect.onnx"));
  std::vector<deploykit::ImageView> images;
  for (int i = 0; i < 7; ++i) {
    const golden::Photo& photo = i % 3 == 0 ? wide : tall;
    images.emplace_back(photo.pixels.data(), photo.height, photo.width);
  }
  deploykit::Timings timings;
  const auto results = model.predict(images, {}, &timings);
  CHECK_EQUAL(results.size(), images.size());
  for (std::size_t i = 0; i < images.size(); ++i) CHECK_EQUAL(results[i].image_size.height, images[i].height);
  CHECK(timings.infer_ms > 0);
  CHECK(model.predict(std::vector<deploykit::ImageView>{}).empty());
}

TEST(contract_and_placement) {
  const deploykit::Model model(model_path("finished_thresholds.onnx"));
  CHECK(model.spec().is_postprocessed());
  CHECK_EQUAL(model.inputs().size(), 3U);
  CHECK_EQUAL(to_string(model.inputs()[0]), "images uint8 [1, height, width, 3]");
  CHECK_EQUAL(model.placement().engine, "onnxruntime");
  CHECK_EQUAL(model.metadata().at("deploykit.family"), "yolo");
  const auto providers = model.placement().providers;
  if (!providers.empty()) CHECK(providers.at("CPUExecutionProvider") > 0);
}
