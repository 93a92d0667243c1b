#include "golden_files.hpp"

#include <charconv>
#include <cmath>
#include <fstream>
#include <iterator>
#include <sstream>
#include <stdexcept>

#include "check.hpp"

namespace golden {
namespace {

// Texts in quotes, numbers, and single signs.
std::vector<std::string> tokens(const std::string& json) {
  std::vector<std::string> found;
  for (std::size_t i = 0; i < json.size();) {
    const std::size_t start = i;
    if (std::string(" \n\r\t").find(json[i]) != std::string::npos) {
      ++i;
      continue;
    }
    if (json[i] == '"') {
      for (++i; i < json.size() && json[i] != '"'; ++i) i += json[i] == '\\' ? 1 : 0;
      ++i;
    } else if (std::string("{}[],:").find(json[i]) != std::string::npos) {
      ++i;
    } else {
      while (i < json.size() && std::string("{}[],: \n\r\t").find(json[i]) == std::string::npos) ++i;
    }
    found.push_back(json.substr(start, i - start));
  }
  return found;
}

bool close(const std::string& left, const std::string& right, double tolerance) {
  if (left == right) return true;
  double a = 0;
  double b = 0;
  const bool numbers = std::from_chars(left.data(), left.data() + left.size(), a).ec == std::errc() &&
                       std::from_chars(right.data(), right.data() + right.size(), b).ec == std::errc();
  return numbers && std::abs(a - b) <= tolerance;
}

}  // namespace

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw std::runtime_error("cannot read " + path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::vector<std::uint8_t> read_bytes(const std::string& path) {
  const std::string text = read_text(path);
  return {text.begin(), text.end()};
}

std::vector<Block> read_blocks(const std::string& path) {
  std::vector<Block> blocks(1);
  std::istringstream lines(read_text(path));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t tab = line.find('\t');
    if (tab != std::string::npos) {
      blocks.back()[line.substr(0, tab)] = line.substr(tab + 1);
    } else if (!blocks.back().empty()) {
      blocks.emplace_back();
    }
  }
  if (blocks.back().empty()) blocks.pop_back();
  return blocks;
}

Entry parse_entry(const std::string& text) {
  Entry entry;
  std::istringstream words(text);
  words >> entry.file;
  for (std::int64_t n = 0; words >> n;) entry.shape.push_back(n);
  return entry;
}

Photo read_photo(const std::string& text) {
  const Entry entry = parse_entry(text);
  return {read_bytes(check::golden() + "/preprocess/" + entry.file), entry.shape.at(0), entry.shape.at(1)};
}

std::string difference(const std::string& found, const std::string& wanted, double tolerance) {
  const auto a = tokens(found);
  const auto b = tokens(wanted);
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    if (!close(a[i], b[i], tolerance)) return "item " + std::to_string(i) + ": found " + a[i] + ", wanted " + b[i];
  }
  return a.size() == b.size() ? "" : "found " + std::to_string(a.size()) + " items, wanted " + std::to_string(b.size());
}

}  // namespace golden
