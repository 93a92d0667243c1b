#include "onnx/mapping.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace deploykit {

Mapping::Mapping(const std::string& path) : descriptor_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
  struct stat status {};
  if (descriptor_ < 0 || fstat(descriptor_, &status) != 0 || status.st_size <= 0) return;
  void* start = mmap(nullptr, static_cast<std::size_t>(status.st_size), PROT_READ, MAP_PRIVATE, descriptor_, 0);
  if (start == MAP_FAILED) return;
  bytes_ = {static_cast<const char*>(start), static_cast<std::size_t>(status.st_size)};
}

Mapping::~Mapping() {
  if (!bytes_.empty()) munmap(const_cast<char*>(bytes_.data()), bytes_.size());
  if (descriptor_ >= 0) close(descriptor_);
}

}  // namespace deploykit
