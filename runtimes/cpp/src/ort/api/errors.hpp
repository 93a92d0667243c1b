// What ONNX Runtime could not do, as one of our errors; the texts are those of Python's ort_errors.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ort/api/library.hpp"

namespace deploykit {

// A file that was not loaded onto a device. `allowed`: bytes that it could take meanwhile; nothing: all there are.
[[noreturn]] void throw_load_error(const ort::Failure& failure, const std::string& path, const std::string& device,
                                   std::optional<std::uint64_t> allowed = std::nullopt);
// A graph that was not run to its end; where memory ran out, what asked for how much.
[[noreturn]] void throw_run_error(const ort::Failure& failure, std::optional<std::uint64_t> allowed = std::nullopt);
// Memory of our own.
[[noreturn]] void throw_out_of_memory(const std::string& what);

}  // namespace deploykit
