// The golden vectors of tests/golden.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace golden {

using Block = std::map<std::string, std::string>;

// Blocks of "key<TAB>value" lines, separated by empty lines.
std::vector<Block> read_blocks(const std::string& path);
std::vector<std::uint8_t> read_bytes(const std::string& path);
std::string read_text(const std::string& path);

// An entry "file height width" or "file channels height width" of an index.
struct Entry {
  std::string file;
  std::vector<std::int64_t> shape;
};
Entry parse_entry(const std::string& text);

struct Photo {
  std::vector<std::uint8_t> pixels;
  std::int64_t height = 0;
  std::int64_t width = 0;
};
Photo read_photo(const std::string& entry);

// The first difference of two JSON documents: numbers may differ by the tolerance, layout does not
// count. Empty where there is none.
std::string difference(const std::string& found, const std::string& wanted, double tolerance);

}  // namespace golden
