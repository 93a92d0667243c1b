// How much memory a model may take; the rules and their reasons are those of Python's memory_limit.py.
#pragma once

#include <cstdint>
#include <optional>

namespace deploykit {

// While it lives, the process may take only so much more; behind it, its own limit holds.
class MemoryLimit {
 public:
  // For a model of this many bytes, with the weights beside it, while it is loaded.
  // Throws OptionError: DEPLOYKIT_MEMORY is not a size.
  static MemoryLimit loading(std::uint64_t bytes);
  // Of a model in its first run, on inputs of this many values.
  static MemoryLimit first_run(std::uint64_t values);
  // No limit.
  MemoryLimit() = default;

  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;
  ~MemoryLimit();

  // Bytes that may be taken meanwhile; nothing: there is no limit.
  std::optional<std::uint64_t> allowed() const { return allowed_; }

 private:
  explicit MemoryLimit(std::uint64_t more);

  std::optional<std::uint64_t> allowed_;
  std::uint64_t most_ = 0;
};

}  // namespace deploykit
