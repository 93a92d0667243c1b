// Golden cases: the numbers, pictures, feeds, differences and errors that Python has (tests/golden/make_selftest.py).

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <sstream>

#include "check.hpp"
#include "deploykit/error.hpp"
#include "golden_files.hpp"
#include "machine/sha256.hpp"
#include "ort/half.hpp"
#include "selftest/cases.hpp"
#include "selftest/compare.hpp"
#include "selftest/inputs.hpp"
#include "selftest/measure.hpp"
#include "text/text.hpp"

namespace {

using namespace deploykit;

// Blocks of one kind, each with the contract that holds for it.
std::vector<golden::Block> blocks_of(const std::string& kind) {
  std::vector<golden::Block> found;
  golden::Block contract;
  for (golden::Block block : golden::read_blocks(check::golden() + "/selftest/index.txt")) {
    if (block.at("kind") == "contract") contract = block;
    if (block.at("kind") != kind) continue;
    block.insert(contract.begin(), contract.end());
    found.push_back(std::move(block));
  }
  CHECK(!found.empty());
  return found;
}

std::vector<std::int64_t> integers(const std::string& text) {
  std::vector<std::int64_t> found;
  for (const std::string& word : words(text)) found.push_back(std::stoll(word));
  return found;
}

double number(const std::string& text) {
  if (text == "inf") return INFINITY;
  if (text == "-inf") return -INFINITY;
  if (text == "nan") return NAN;
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

bool is_close(double a, double b, double relative, double absolute) {
  return a == b || std::fabs(a - b) <= absolute + relative * std::fabs(b);
}

template <class T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

// "name dtype shape values" as a tensor that owns its memory.
Tensor tensor_of(const std::string& text) {
  const auto items = words(text);
  Tensor tensor;
  tensor.name = items.at(0);
  for (int i = 0; i < static_cast<int>(DType::other); ++i) {
    if (items.at(1) == to_string(static_cast<DType>(i))) tensor.dtype = static_cast<DType>(i);
  }
  if (items.at(2) != "-") {
    for (const std::string& side : split(items.at(2), 'x')) tensor.shape.push_back(std::stoll(side));
  }
  auto bytes = std::make_shared<std::string>();
  for (std::size_t i = 3; i < items.size(); ++i) {
    const double value = number(items[i]);
    switch (tensor.dtype) {
      case DType::float32: append(*bytes, static_cast<float>(value)); break;
      case DType::float64: append(*bytes, value); break;
      case DType::float16: append(*bytes, to_half(static_cast<float>(value))); break;
      case DType::uint8: append(*bytes, static_cast<std::uint8_t>(value)); break;
      case DType::int32: append(*bytes, static_cast<std::int32_t>(value)); break;
      case DType::int64: append(*bytes, static_cast<std::int64_t>(value)); break;
      default: check::fail(__FILE__, __LINE__, "no such type: " + items[1]);
    }
  }
  tensor.data = bytes->data();
  tensor.owner = bytes;
  return tensor;
}

std::string unescaped(std::string text) {
  for (std::size_t at = 0; (at = text.find("\\n", at)) != std::string::npos;) text.replace(at, 2, "\n");
  return text;
}

}  // namespace

TEST(golden_numbers) {
  for (const auto& block : blocks_of("numbers")) {
    const std::uint64_t seed = std::stoull(block.at("seed"));
    const auto wanted = words(block.at("values"));
    CHECK_EQUAL(std::to_string(wanted.size()), block.at("count"));
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      CHECK_EQUAL(std::to_string(selftest::random_number(seed, i)), wanted[i]);
    }
  }
  for (const auto& block : blocks_of("positions")) {
    const auto found = selftest::positions(std::stoll(block.at("size")), std::stoll(block.at("count")));
    CHECK(found == integers(block.at("values")));
  }
}

TEST(golden_images) {
  for (const auto& block : blocks_of("images")) {
    const auto shape = integers(block.at("shape"));
    selftest::Case made;
    made.batch = shape[0];
    made.height = shape[1];
    made.width = shape[2];
    made.soft = std::stoll(block.at("soft"));
    if (block.count("noise") > 0) {
      made.seed = std::stoull(block.at("noise"));
    } else {
      const auto numbers = integers(block.at("picture"));
      auto picture = std::make_shared<selftest::Picture>();
      picture->height = numbers[0];
      picture->width = numbers[1];
      picture->channels = numbers[2];
      for (auto pixel = numbers.begin() + 3; pixel != numbers.end(); ++pixel) {
        picture->pixels.push_back(static_cast<std::uint8_t>(*pixel));
      }
      made.picture = picture;
    }
    const auto pixels = selftest::images_of(made, shape[3]);
    CHECK((std::vector<std::int64_t>(pixels.begin(), pixels.end()) == integers(block.at("pixels"))));
  }
}

TEST(golden_means) {
  for (const auto& block : blocks_of("means")) {
    selftest::Values values;
    values.shape = integers(block.at("shape"));
    std::size_t count = 1;
    for (const std::int64_t n : values.shape) count *= static_cast<std::size_t>(n);
    const std::uint64_t seed = std::stoull(block.at("seed"));
    for (std::size_t i = 0; i < count; ++i) {
      values.flat.push_back(static_cast<double>(selftest::random_number(seed, i) >> 40) / (1 << 24) - 0.5);
    }
    const auto found = selftest::means(values);
    const auto wanted = words(block.at("values"));
    CHECK_EQUAL(found.size(), wanted.size());
    for (std::size_t i = 0; i < std::min(found.size(), wanted.size()); ++i) {
      CHECK(is_close(found[i], number(wanted[i]), 0, 1e-14));
    }
  }
}

TEST(golden_feeds) {
  for (const auto& block : blocks_of("case")) {
    const auto cases = selftest::cases_from_keys(block);
    CHECK_EQUAL(cases.at(0).title(), block.at("title"));
    selftest::CaseFeeds made;
    selftest::feeds_of(cases.at(0), spec_from_metadata(block), made);
    for (std::size_t i = 0; i < made.feeds.size(); ++i) {
      const Feed& feed = made.feeds[i];
      std::size_t bytes = size_of(feed.dtype);
      std::vector<std::string> sides;
      for (const std::int64_t n : feed.shape) {
        bytes *= static_cast<std::size_t>(n);
        sides.push_back(std::to_string(n));
      }
      const std::string digest = sha256_of({static_cast<const char*>(feed.data), bytes});
      CHECK_EQUAL(
          feed.name + " " + to_string(feed.dtype) + " " + (sides.empty() ? "-" : join(sides, "x")) + " " + digest,
          block.at("feed." + std::to_string(i)));
    }
    CHECK(block.count("feed." + std::to_string(made.feeds.size())) == 0);
  }
}

TEST(golden_differences) {
  for (const auto& block : blocks_of("difference")) {
    const auto cases = selftest::cases_from_keys(block);
    std::vector<Tensor> outputs;
    for (std::size_t i = 0; block.count("output." + std::to_string(i)) > 0; ++i) {
      outputs.push_back(tensor_of(block.at("output." + std::to_string(i))));
    }
    const auto found =
        selftest::difference(outputs, cases.at(0).kept.at(0), spec_from_metadata(block), block.at("precision"));
    CHECK_EQUAL(found.output, block.at("output"));
    CHECK_EQUAL(found.part, block.at("part"));
    CHECK_EQUAL(std::to_string(found.agreed), block.at("agreed"));
    CHECK_EQUAL(std::to_string(found.answers), block.at("answers"));
    CHECK_EQUAL(std::string(found.ok ? "True" : "False"), block.at("ok"));
    CHECK(is_close(found.found, number(block.at("found")), 1e-9, 1e-13));
    CHECK(is_close(found.allowed, number(block.at("allowed")), 0, 0));
    CHECK(is_close(found.scale, number(block.at("scale")), 0, 0));
  }
}

TEST(damaged_golden_keys_have_pythons_text) {
  const auto valid = blocks_of("valid").at(0);
  CHECK_EQUAL(selftest::cases_from_keys(valid).size(), 1U);
  for (const auto& block : blocks_of("problem")) {
    auto keys = valid;
    keys.erase(block.at("key"));
    if (block.at("value") != "-") keys[block.at("key")] = unescaped(block.at("value"));
    try {
      selftest::cases_from_keys(keys);
      check::fail(__FILE__, __LINE__, block.at("key") + " is taken: " + block.at("value"));
    } catch (const ModelError& error) {
      CHECK_EQUAL(error.problem(), block.at("problem"));
      CHECK_EQUAL(error.hint(), "The file was altered: export the checkpoint again.");
    }
  }
}

TEST(a_case_takes_no_more_memory_than_a_call) {
  selftest::Case made;
  made.batch = 1024;
  made.height = 256;
  made.width = 256;
  try {
    selftest::images_of(made, 65536);
    check::fail(__FILE__, __LINE__, "4 TB are made");
  } catch (const ModelError& error) {
    CHECK_EQUAL(error.problem(),
                "The golden case noise 1024x256x256 wants at most 268435456 values, found 4398046511104.");
  }
}
