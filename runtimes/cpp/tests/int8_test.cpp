// INT8 files at load: byte for byte what Python makes of them, from vectors that it wrote (tests/golden/make_int8.py).

#include <string>

#include "check.hpp"
#include "suitability.hpp"
#include "golden_files.hpp"
#include "machine/cpu.hpp"
#include "machine/sha256.hpp"
#include "onnx/file.hpp"
#include "ort/rewrites/saturation.hpp"
#include "ort/rewrites/unsigned.hpp"
#include "text/text.hpp"

namespace {

std::string folder() { return check::golden() + "/int8/"; }

std::string digest(const std::optional<std::string>& model) { return model ? deploykit::sha256_of(*model) : "-"; }

std::string unescaped(std::string text) {
  for (std::size_t at = 0; (at = text.find("\\n", at)) != std::string::npos; ++at) text.replace(at, 2, "\n");
  return text;
}

// A model that is not rewritten, or one whose size is bounded by the file's.
void rewrite_or_leave(const std::string& model) {
  const auto found = deploykit::make_unsigned(model);
  CHECK(!found || found->size() < 2 * model.size() + 1000);
  const auto wide = deploykit::widen_products(model);
  CHECK(!wide || wide->size() < 2 * model.size() + 1000);
}

}  // namespace

TEST(graphs_change_as_in_python) {
  const auto blocks = golden::read_blocks(folder() + "index.txt");
  CHECK(blocks.size() > 15);
  for (const auto& block : blocks) {
    const std::string content = golden::read_text(folder() + block.at("model"));
    const auto found = deploykit::make_unsigned(content);
    CHECK_EQUAL(block.at("model") + " " + digest(found), block.at("model") + " " + block.at("unsigned"));
    const std::string changed = found.value_or(content);
    const auto wide = deploykit::widen_products(changed);
    CHECK_EQUAL(block.at("model") + " " + digest(wide), block.at("model") + " " + block.at("wide"));
    CHECK_EQUAL(deploykit::keeps_signed(wide.value_or(changed)), block.at("signed") == "1");
    CHECK_EQUAL(deploykit::keeps_signed(content), block.at("exact") == "1");
  }
}

TEST(cut_and_changed_graphs) {
  for (const auto& block : golden::read_blocks(folder() + "index.txt")) {
    const std::string whole = golden::read_text(folder() + block.at("model"));
    for (std::size_t size = 0; size < whole.size(); size += 11) rewrite_or_leave(whole.substr(0, size));
    for (std::size_t place = 0; place < whole.size(); place += 2) {
      std::string changed = whole;
      changed[place] = static_cast<char>(changed[place] ^ (1 << place % 8));
      rewrite_or_leave(changed);
    }
  }
}

TEST(advice_is_pythons) {
  const auto blocks = golden::read_blocks(folder() + "advice.txt");
  CHECK(blocks.size() > 8);
  for (const auto& block : blocks) {
    deploykit::PrecisionRecord record;
    record.compute = block.at("compute");
    record.target = block.at("target");
    record.cpus = deploykit::words(block.at("cpus"));
    deploykit::Placement placement;
    placement.engine = block.at("engine");
    placement.device = block.at("device");
    placement.precision = block.at("precision");
    placement.providers[block.at("provider")] = 1;
    CHECK_EQUAL(deploykit::advice_of(record, placement, block.at("cpu")), block.at("advice"));
  }
}

TEST(classes_of_processors) {
  const auto blocks = golden::read_blocks(folder() + "cpus.txt");
  CHECK(blocks.size() > 5);
  for (const auto& block : blocks) {
    const std::string cpuinfo = block.count("cpuinfo") > 0 ? unescaped(block.at("cpuinfo")) : "";
    CHECK_EQUAL(deploykit::cpu_class(block.at("machine"), cpuinfo), block.at("class"));
  }
  CHECK(!deploykit::cpu_class().empty());
}
