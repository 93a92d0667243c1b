// A file in memory, as long as this lives.
#pragma once

#include <string>
#include <string_view>

namespace deploykit {

class Mapping {
 public:
  explicit Mapping(const std::string& path);
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping();

  // Empty where the file is, or cannot be read.
  std::string_view bytes() const { return bytes_; }

 private:
  int descriptor_;
  std::string_view bytes_;
};

}  // namespace deploykit
