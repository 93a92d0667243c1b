#include "npy.hpp"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <string_view>

#include <deploykit/error.hpp>

namespace tool {
namespace {

constexpr std::string_view kMagic{"\x93NUMPY", 6};
constexpr std::int64_t kLongest = 1 << 20;  // of an axis

[[noreturn]] void refuse(const std::string& path, const char* what) {
  throw deploykit::InputError("Image " + path + " is not a valid .npy file.", what);
}

// The text between a key of the header's dictionary and the end of its value.
std::string_view value_of(std::string_view header, std::string_view key, char stop) {
  const std::size_t at = header.find(key);
  if (at == std::string_view::npos) return {};
  const std::size_t start = header.find(':', at) + 1;
  const std::size_t end = header.find(stop, start);
  return end == std::string_view::npos ? std::string_view{} : header.substr(start, end - start);
}

std::vector<std::int64_t> numbers(std::string_view text) {
  std::vector<std::int64_t> found;
  bool inside = false;
  for (const char letter : text) {
    const bool digit = std::isdigit(static_cast<unsigned char>(letter)) != 0;
    if (digit && !inside) found.push_back(0);
    if (digit && found.back() <= kLongest) found.back() = 10 * found.back() + (letter - '0');
    inside = digit;
  }
  return found;
}

}  // namespace

bool is_npy(const std::string& path) {
  static constexpr std::string_view suffix = ".npy";
  return path.size() >= suffix.size() &&
         std::equal(suffix.rbegin(), suffix.rend(), path.rbegin(),
                    [](char a, char b) { return a == std::tolower(static_cast<unsigned char>(b)); });
}

Image read_npy(const std::string& path, const std::vector<std::uint8_t>& file) {
  const std::string_view text(reinterpret_cast<const char*>(file.data()), file.size());
  if (text.substr(0, kMagic.size()) != kMagic || file.size() < 12) refuse(path, "It lacks the magic bytes.");
  const std::size_t wide = file[6] == 1 ? 2 : 4;  // bytes of the header's length
  std::size_t length = 0;
  for (std::size_t i = 0; i < wide; ++i) length |= static_cast<std::size_t>(file[8 + i]) << (8 * i);
  const std::size_t start = 8 + wide;
  if (length > file.size() - start) refuse(path, "Its header is cut off.");
  const std::string_view header = text.substr(start, length);
  const std::string_view type = value_of(header, "'descr'", ',');
  if (type.find("u1'") == std::string_view::npos) {
    throw deploykit::InputError("Image " + path + " holds values of the type" + std::string(type) +
                                    "; wanted uint8 pixels in 0..255.",
                                "Scale them to 0..255 first, as the training did.");
  }
  const std::vector<std::int64_t> shape = numbers(value_of(header, "'shape'", ')'));
  const bool rows_last = value_of(header, "'fortran_order'", ',').find("True") != std::string_view::npos;
  if (rows_last || shape.size() < 2 || shape.size() > 3) {
    refuse(path, "Wanted an array [H, W] or [H, W, C] in C order: numpy.ascontiguousarray(array).");
  }
  Image image;
  image.height = shape[0];
  image.width = shape[1];
  image.channels = shape.size() == 3 ? shape[2] : 1;
  const std::size_t left = file.size() - start - length;
  const bool small = std::all_of(shape.begin(), shape.end(), [](std::int64_t n) { return n <= kLongest; });
  if (!small || static_cast<std::size_t>(image.height * image.width * image.channels) > left) {
    refuse(path, "It is damaged or truncated.");
  }
  const auto first = file.begin() + static_cast<std::ptrdiff_t>(start + length);
  image.pixels.assign(first, first + image.height * image.width * image.channels);
  return image;
}

}  // namespace tool
