// Text of strangers: the rule is Python's (tests/golden/make_printable.py).

#include "deploykit/printable.hpp"

#include <algorithm>
#include <string>

#include "check.hpp"
#include "deploykit/error.hpp"
#include "golden_files.hpp"
#include "text/json.hpp"
#include "text/text.hpp"

namespace {

// Pairs of hexadecimal digits, or one such and how often it comes.
std::string bytes_of(const std::string& text) {
  const std::size_t star = text.find('*');
  const auto byte = [&](std::size_t at) { return static_cast<char>(std::stoi(text.substr(at, 2), nullptr, 16)); };
  if (star != std::string::npos) return std::string(std::stoul(text.substr(star + 1)), byte(0));
  std::string bytes;
  for (std::size_t at = 0; at + 1 < text.size(); at += 2) bytes += byte(at);
  return bytes;
}

}  // namespace

TEST(foreign_text_like_python) {
  const auto blocks = golden::read_blocks(check::golden() + "/printable.txt");
  CHECK(blocks.size() > 30);
  for (const auto& block : blocks) {
    const std::string bytes = bytes_of(block.at("bytes"));
    const std::size_t most = std::stoul(block.at("most"));
    const std::string shown = deploykit::printable(bytes, most);
    CHECK_EQUAL(shown, block.at("printable"));
    CHECK_EQUAL(deploykit::printable(shown, std::max(most, shown.size())), shown);
    if (block.count("json") == 0) continue;
    deploykit::JsonWriter json;
    json.value(bytes);
    CHECK_EQUAL(json.text(), block.at("json"));
    CHECK_EQUAL(deploykit::printable(deploykit::quoted(bytes)), block.at("repr"));
  }
}

TEST(errors_are_printable) {
  const deploykit::ModelError error("found \x1b]0;owned\x07\n\xff", "say\r\xe2\x80\xae");
  CHECK_EQUAL(error.problem(), "found \\x1b]0;owned\\x07\\n\\udcff");
  CHECK_EQUAL(std::string(error.what()), error.problem() + "\n  say\\r\\u202e");
}

TEST(keys_of_caches_like_python) {
  CHECK_EQUAL(deploykit::json_ascii("a\"\\\n\x01\x7f\xc3\xa4\xf0\x9f\x90\xb1\xff"),
              "\"a\\\"\\\\\\n\\u0001\x7f\\u00e4\\ud83d\\udc31\\udcff\"");
}
