// Raw tensors, in and out.

#include <limits>

#include "models.hpp"

namespace {

constexpr std::size_t kValues = 3 * 64 * 64;

deploykit::Feed feed(const std::vector<float>& values) {
  return {"images", deploykit::DType::float32, {1, 3, 64, 64}, values.data()};
}

std::string problem(const deploykit::Model& model, const std::vector<deploykit::Feed>& feeds) {
  try {
    model.infer(feeds);
  } catch (const deploykit::InputError& error) {
    return error.problem();
  }
  return "";
}

}  // namespace

TEST(tensors_come_and_go) {
  const deploykit::Model model(model_path("logits.onnx"));
  const std::vector<float> values(kValues, 100.0F);
  const auto outputs = model.infer({feed(values)});
  CHECK_EQUAL(outputs.size(), 1U);
  CHECK_EQUAL(outputs[0].name, "logits");
  CHECK_EQUAL(outputs[0].shape.at(1), 3);
  CHECK(outputs[0].as<float>()[1] > 2.25F && outputs[0].as<float>()[1] < 2.27F);
}

TEST(feeds_that_do_not_fit) {
  const deploykit::Model model(model_path("logits.onnx"));
  const std::vector<float> values(kValues);
  CHECK_EQUAL(problem(model, {}), "The model takes the inputs ['images'], found [].");
  auto wrong = feed(values);
  wrong.name = "image";
  CHECK_EQUAL(problem(model, {wrong}), "The model takes the inputs ['images'], found ['image'].");
  wrong = feed(values);
  wrong.dtype = deploykit::DType::uint8;
  CHECK_EQUAL(problem(model, {wrong}), "Input images float32 [1, 3, 64, 64] wants float32, found uint8.");
  wrong = feed(values);
  wrong.shape = {3, 64, 64};
  CHECK_EQUAL(problem(model, {wrong}), "Input images float32 [1, 3, 64, 64] wants 4 axes, found 3x64x64.");
  wrong.shape = {1, 3, 64, 32};
  CHECK_EQUAL(problem(model, {wrong}),
              "Input images float32 [1, 3, 64, 64] is fixed to 64 on axis 3, found 1x3x64x32.");
  wrong = feed(values);
  wrong.data = nullptr;
  CHECK_EQUAL(problem(model, {wrong}), "Input images float32 [1, 3, 64, 64] wants data, found a null pointer.");
}

TEST(values_that_are_no_numbers) {
  const deploykit::Model model(model_path("logits.onnx"));
  std::vector<float> values(kValues);
  values[64 * 64 + 3 * 64 + 5] = std::numeric_limits<float>::infinity();
  values[3 * 64 * 64 - 1] = std::numeric_limits<float>::quiet_NaN();
  CHECK_EQUAL(problem(model, {feed(values)}),
              "Input images float32 [1, 3, 64, 64] holds NaN or infinity in 2 of 12288 values, the first at "
              "[0, 1, 3, 5]: inf.");
}

TEST(dynamic_axes_have_a_range) {
  const deploykit::Model model(model_path("top_k.onnx"));
  const std::vector<std::uint8_t> pixels(5000 * 3);
  CHECK_EQUAL(problem(model, {{"images", deploykit::DType::uint8, {1, 5000, 1, 3}, pixels.data()}}),
              "Input images uint8 [1, height, width, 3] accepts height 1..4096, found 1x5000x1x3.");
}
