// The metadata keys that hold golden cases, one value at a time, strictly.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace deploykit::selftest {

inline constexpr std::string_view kGolden = "deploykit.golden.";

// A whole number of at most 19 digits; the least one of all for what does not fit, which no range holds.
std::optional<std::int64_t> whole_number(std::string_view word);

// Keys are named without kGolden. Everything throws ModelError: a key is missing or malformed.
class Keys {
 public:
  using Metadata = std::map<std::string, std::string>;

  explicit Keys(const Metadata& metadata) : metadata_(metadata) {}

  bool has(const std::string& key) const { return metadata_.count(std::string(kGolden) + key) > 0; }
  const std::string& text(const std::string& key) const;
  std::vector<std::int64_t> integers(const std::string& key, std::size_t count, std::int64_t least,
                                     std::int64_t most) const;
  std::int64_t integer(const std::string& key, std::int64_t least, std::int64_t most) const {
    return integers(key, 1, least, most).front();
  }
  // float32 in base64.
  std::vector<float> floats(const std::string& key) const;
  std::vector<std::uint8_t> decoded(std::string_view text, const std::string& key) const;
  // The numbers of every key "<prefix>tolerance.<precision>", by precision.
  std::map<std::string, std::vector<double>> tolerances(const std::string& prefix, std::size_t count) const;

  // Tells what was found, unless that is too long to show.
  [[noreturn]] void refuse(const std::string& key, const std::string& wanted, bool show = true) const;

 private:
  const Metadata& metadata_;
};

}  // namespace deploykit::selftest
