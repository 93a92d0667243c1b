// SHA-256 (https://csrc.nist.gov/pubs/fips/180-4/upd1/final).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace deploykit {

class Sha256 {
 public:
  void add(std::string_view bytes);
  // 64 hex digits. Nothing can be added after it.
  std::string digest();

 private:
  void mix(const std::uint8_t* block);

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, 64> block_{};
  std::size_t filled_ = 0;
  std::uint64_t bytes_ = 0;
};

std::string sha256_of(std::string_view bytes);
// Of a file's bytes, in bounded memory. Throws ModelError: it cannot be read.
std::string sha256_of_file(const std::string& path);

}  // namespace deploykit
