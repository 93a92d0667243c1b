// What is read of a model file without an engine: every cut and every changed byte is refused or read.

#include "onnx/file.hpp"

#include <cstdio>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "deploykit/error.hpp"
#include "golden_files.hpp"
#include "check.hpp"
#include "machine/sha256.hpp"
#include "onnx/model_file.hpp"

namespace {

std::string model(const char* name) { return golden::read_text(check::golden() + "/cpp/" + name); }

void read_or_refuse(const std::string& bytes) {
  try {
    deploykit::parse_onnx(bytes);
  } catch (const std::invalid_argument&) {
    return;
  }
}

}  // namespace

TEST(the_outside_of_a_model) {
  const auto file = deploykit::read_onnx(check::golden() + "/cpp/finished_thresholds.onnx");
  CHECK_EQUAL(file.metadata.at("deploykit.family"), "yolo");
  CHECK_EQUAL(file.inputs.size(), 3U);
  CHECK_EQUAL(to_string(file.inputs[0]), "images uint8 [1, height, width, 3]");
  CHECK_EQUAL(to_string(file.inputs[1]), "conf float32 []");
  CHECK_EQUAL(file.outputs[0].name, "boxes");
  CHECK_EQUAL(file.weights[0].first, "float32");
  CHECK(file.weights[0].second > 16);
  const deploykit::Spec spec = deploykit::spec_of(file.inputs, file.outputs, file.metadata);
  CHECK_EQUAL(spec.input.range("height")->max, 4096);
  const auto foreign = deploykit::read_onnx(check::golden() + "/cpp/foreign_ultralytics.onnx");
  CHECK(deploykit::spec_of(foreign.inputs, foreign.outputs, foreign.metadata).inferred);
}

TEST(files_that_are_no_models) {
  const std::string path = "onnx_file_test.onnx";
  for (const std::string& bytes : {std::string(), std::string("no model"), model("yolo.onnx").substr(0, 900)}) {
    std::ofstream(path, std::ios::binary) << bytes;
    try {
      deploykit::read_onnx(path);
      CHECK(false);
    } catch (const deploykit::ModelError& error) {
      const std::string start = path + " is not a valid ONNX model: it ";
      CHECK_EQUAL(error.problem().substr(0, start.size()), start);
    }
  }
  std::remove(path.c_str());
}

TEST(cut_and_changed_files) {
  const std::string whole = model("finished_detect.onnx");
  for (std::size_t size = 0; size < whole.size(); size += 7) read_or_refuse(whole.substr(0, size));
  for (std::size_t place = 0; place < whole.size(); place += 3) {
    std::string changed = whole;
    changed[place] = static_cast<char>(changed[place] ^ (1 << place % 8));
    read_or_refuse(changed);
  }
}

TEST(tensors_of_every_place_name_their_files) {
  const std::string folder = check::golden() + "/outside/";
  std::istringstream expected(golden::read_text(folder + "expected.txt"));
  std::string hash, name;
  expected >> hash;
  std::vector<std::string> names;
  while (expected >> name) names.push_back(name);
  CHECK_EQUAL(names.size(), 5U);
  CHECK(deploykit::read_onnx(folder + "model.onnx").external == names);
  CHECK_EQUAL(deploykit::hash_model(folder + "model.onnx"), hash);
  const std::string alone = check::golden() + "/cpp/yolo.onnx";
  CHECK_EQUAL(deploykit::hash_model(alone), deploykit::sha256_of_file(alone));
}
