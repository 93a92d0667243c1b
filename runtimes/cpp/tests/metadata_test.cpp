// The contract, and the texts of what is wrong with it: those of Python.

#include "check.hpp"
#include "deploykit/error.hpp"
#include "deploykit/spec.hpp"
#include "golden_files.hpp"

namespace {

// The contract that tests/golden/make_cpp.py damages.
golden::Block valid() {
  return {{"deploykit.format", "1"},
          {"deploykit.task", "classify"},
          {"deploykit.family", "yolo"},
          {"deploykit.variant", "golden"},
          {"deploykit.origin", "golden"},
          {"deploykit.classes", "red thing\nquoted \"thing\"\nbläu"},
          {"deploykit.num_classes", "3"},
          {"deploykit.input.height", "64"},
          {"deploykit.input.width", "48"},
          {"deploykit.input.dynamic.batch", "1 64 1"},
          {"deploykit.preprocess.crop", "64 48"},
          {"deploykit.preprocess.mean", "0.485 0.456 0.406"},
          {"deploykit.output.names", "logits other"},
          {"deploykit.output.layout", "logits"},
          {"deploykit.parity.unknown", "ignored"}};
}

std::string unescaped(std::string text) {
  for (std::size_t at = 0; (at = text.find("\\n", at)) != std::string::npos;) text.replace(at, 2, "\n");
  return text;
}

}  // namespace

TEST(reads_what_was_written) {
  auto metadata = valid();
  metadata.erase("deploykit.parity.unknown");
  const deploykit::Spec spec = deploykit::spec_from_metadata(metadata);
  CHECK(spec.task == deploykit::Task::classify);
  CHECK_EQUAL(spec.classes.size(), 3U);
  CHECK_EQUAL(spec.classes[2], "bläu");
  CHECK_EQUAL(spec.input.width, 48);
  CHECK_EQUAL(to_string(spec.input.dynamic.at("batch")), "1..64");
  CHECK(spec.input.range("height") == nullptr);
  CHECK_EQUAL(spec.preprocess.crop->width, 48);
  CHECK_EQUAL(spec.preprocess.mean[1], 0.456);
  CHECK_EQUAL(spec.output.names[1], "other");
  CHECK(!spec.network.has_value());
  CHECK(!spec.parity.has_value());
}

TEST(reads_the_precision) {
  auto metadata = valid();
  metadata.erase("deploykit.parity.unknown");
  CHECK(!deploykit::spec_from_metadata(metadata).precision.has_value());
  metadata["deploykit.precision.compute"] = "int8";
  metadata["deploykit.precision.cpus"] = "vnni no-vnni";
  metadata["deploykit.precision.accuracy"] = "0.975";
  metadata["deploykit.precision.kept"] = "head: boxes\nfirst: range";
  const deploykit::PrecisionRecord precision = *deploykit::spec_from_metadata(metadata).precision;
  CHECK_EQUAL(precision.compute, "int8");
  CHECK_EQUAL(precision.target, "any");
  CHECK_EQUAL(precision.cpus.size(), 2U);
  CHECK_EQUAL(precision.accuracy, 0.975);
  CHECK_EQUAL(precision.kept[1], "first: range");
  metadata["deploykit.precision.compute"] = "int4";
  CHECK_THROWS(deploykit::spec_from_metadata(metadata), deploykit::ModelError);
}

TEST(errors_have_pythons_text) {
  const auto blocks = golden::read_blocks(check::golden() + "/cpp/metadata.txt");
  CHECK(blocks.size() > 20);
  for (const auto& block : blocks) {
    auto metadata = valid();
    metadata.erase("deploykit.parity.unknown");
    metadata[block.at("key")] = unescaped(block.at("value"));
    if (block.at("value") == "-") metadata.erase(block.at("key"));
    try {
      deploykit::spec_from_metadata(metadata);
      check::fail(__FILE__, __LINE__, block.at("key") + " is taken");
    } catch (const deploykit::ModelError& error) {
      CHECK_EQUAL(error.problem(), block.at("problem"));
      CHECK_EQUAL(error.hint(), block.at("hint"));
    }
  }
}
